/**
 * `KafkaAdapter`: the class of the JavaScript package, over the native engine.
 */
import { BaseDistributedAdapter } from 'flowcraft'
import { CassandraContext, asEngine } from './cassandra-context.js'
import { optionError } from './errors.js'
import { caretakersOf } from './adapter/duties.js'
import { isBareJob } from './adapter/job-message.js'
import { LifeCycle } from './adapter/life-cycle.js'
import { checkClients, isKafkaLike } from './bridge/native-config.js'
import { isEmbedded, isRedisSettings } from './bridge/native-connections.js'
import { readOptions } from './adapter/options.js'
import { seen } from './promises.js'
import { reconcileRun } from './adapter/reconcile.js'
import { RedisCoordinationStore } from './redis-coordination-store.js'
import { RETRY_DELAY_MS } from './session/queue-retries.js'
import { listParkedRuns } from './adapter/parked-runs.js'
import { cancelRun, failParkedRun, historyOf, moveParkedRun, resumeRun } from './adapter/run-control.js'
import { RunHandle, startRun } from './adapter/run-handle.js'
import { ensureSchema, inTurns, schemaStatements } from './schema.js'
import { StatusTable } from './stores/status-table.js'
import { codecOf } from './stores/stored-values.js'
import { SealedTokens } from './webhooks/webhook-tokens.js'
import { handleWebhook, registerWebhook } from './webhooks/webhooks.js'

/**
 * @typedef {import('flowcraft').JobPayload} JobPayload
 * @typedef {import('flowcraft').WorkflowBlueprint} Blueprint
 * @typedef {import('./bridge/js-ports.js').FinalResult} FinalResult
 * @typedef {import('./bridge/js-source.js').JobHandler} JobHandler
 * @typedef {import('./bridge/native-config.js').Overrides} Overrides
 * @typedef {import('../../index.js').KafkaAdapterOptions} KafkaAdapterOptions
 */

const STOP_DEADLINE_MS = 25_000
const HOOKS = /** @type {const} */ ([
	'createContext',
	'onJobStart',
	'publishFinalResult',
	'enqueueJob',
	'processJobs',
	'handleJob',
])

/** @param {unknown} value */
const stopDeadline = (value = STOP_DEADLINE_MS) => {
	if (typeof value === 'number' && value >= 0 && Number.isFinite(value)) return value
	const fix = `The default is ${STOP_DEADLINE_MS}`
	throw optionError('deadlineMs', `${String(value)} is not a number of milliseconds`, fix)
}

/**
 * @param {import('./adapter/options.js').Settings} settings
 * @returns {import('flowcraft').ICoordinationStore}
 */
const coordinationStore = ({ coordination }) => {
	const isOurs = isEmbedded(coordination) || isRedisSettings(coordination)
	const store = isOurs ? new RedisCoordinationStore(coordination) : coordination
	return /** @type {import('flowcraft').ICoordinationStore} */ (store)
}

export class KafkaAdapter extends BaseDistributedAdapter {
	#settings
	#life
	/** @type {(() => import('./webhooks/webhooks.js').WebhookHost) | undefined} */
	#webhooks
	#caretakers

	/** @param {KafkaAdapterOptions} options */
	constructor(options) {
		const settings = readOptions(options)
		super({ ...options, coordinationStore: coordinationStore(settings) })
		const { kafka } = settings
		this.#settings = settings
		this.cassandra = settings.cassandra
		this.keyspace = settings.keyspace
		this.contextTableName = settings.contextTable
		this.statusTableName = settings.statusTable
		this.topicName = settings.topic
		this.groupId = settings.groupId
		this.producer = isKafkaLike(kafka) ? kafka.producer() : undefined
		this.consumer = isKafkaLike(kafka) ? kafka.consumer({ groupId: this.groupId }) : undefined
		this.isRunning = false
		this.#webhooks = this.#webhookHost(settings.webhooks)
		this.#life = new LifeCycle(this.#host())
		this.#caretakers = caretakersOf({
			settings,
			partitions: () => /** @type {{ partitions?: number[] }} */ (this.health()).partitions ?? [],
			logger: () => this.logger,
			reconcile: (runId) => this.reconcile(runId),
		})
		checkClients({ settings, overrides: this.#overrides(), consumes: true, handledByUser: false })
	}

	/** @returns {import('./adapter/life-cycle.js').Host} */
	#host() {
		return {
			settings: this.#settings,
			runtime: () => this.runtime,
			adapterBus: this.eventBus,
			logger: () => this.logger,
			store: () => this.store,
			ends: () => this.#ends(),
			overrides: () => this.#overrides(),
			sessionHooks: () => this.#sessionHooks(),
			retryHooks: () => this.#retryHooks(),
			hooks: this.#hooks(),
			handleJob: (job) => this.handleJob(job),
			processJobs: (handler) => this.processJobs(handler),
			readStatus: (runId) => this.#statuses.read(runId),
			waitsForWebhooks: () => this.#hasOwnWebhooks,
			isRunning: (value = this.isRunning) => (this.isRunning = value),
		}
	}

	/** @returns {import('./bridge/js-source.js').Ends} */
	#ends() {
		const { producer, consumer, topicName: topic, logger } = this
		return { producer, consumer, topic, deadLetterTopic: this.#settings.deadLetterTopic, logger }
	}

	/** @returns {Overrides} */
	#overrides() {
		/** @type {Partial<Overrides>} */
		const found = {}
		for (const hook of HOOKS) found[hook] = this[hook] !== KafkaAdapter.prototype[hook]
		return /** @type {Overrides} */ (found)
	}

	/** @returns {import('./adapter/life-cycle.js').Host['hooks']} */
	#hooks() {
		return {
			createContext: (runId) => this.createContext(runId),
			touchStatus: async (runId) => {
				// An overridden `onJobStart` is called for each node by the session.
				if (!this.#overrides().onJobStart) await this.onJobStart(runId, '', '')
			},
			publishFinalResult: (runId, result) => this.publishFinalResult(runId, result),
			enqueueJob: (job) => this.enqueueJob(job),
		}
	}

	/** Whether nodes wait for webhooks of ours; a subclass that registers them elsewhere answers them in its own way. */
	get #hasOwnWebhooks() {
		const { registerWebhookEndpoint } = KafkaAdapter.prototype
		return this.#webhooks !== undefined && this.registerWebhookEndpoint === registerWebhookEndpoint
	}

	/** Hooks that run once per node; ours would only repeat what the engine does anyway. */
	#sessionHooks() {
		const hasOwnFanIn = this.isReadyForFanIn !== BaseDistributedAdapter.prototype['isReadyForFanIn']
		return {
			...(this.#overrides().onJobStart ? { onJobStart: this.onJobStart.bind(this) } : {}),
			...(hasOwnFanIn ? { isReadyForFanIn: this.isReadyForFanIn.bind(this) } : {}),
		}
	}

	/** @returns {import('./session/queue-retries.js').RetryHooks | undefined} */
	#retryHooks() {
		const isOurs = this.shouldRetryInProcess === KafkaAdapter.prototype.shouldRetryInProcess
		if (isOurs && this.#settings.retryMode === 'in-process') return undefined
		return {
			shouldRetryInProcess: (node) => this.shouldRetryInProcess(node),
			getQueueRetryOptions: (node) => this.getQueueRetryOptions(node),
		}
	}

	/**
	 * @param {import('flowcraft').NodeDefinition} _node
	 * @returns {boolean} whether the attempts of a node follow each other in the process; else each waits for a durable timer
	 */
	shouldRetryInProcess(_node) {
		return this.#settings.retryMode === 'in-process'
	}

	/**
	 * Asked for a node that `shouldRetryInProcess` denies. What is left out comes from the node's config.
	 *
	 * @param {import('flowcraft').NodeDefinition} node
	 * @returns {import('../../index.js').QueueRetryOptions | undefined}
	 */
	getQueueRetryOptions({ config }) {
		if (this.#settings.retryMode === 'in-process') return undefined
		const backoff = { type: /** @type {const} */ ('exponential'), delay: config?.retryDelay ?? RETRY_DELAY_MS }
		return { attempts: config?.maxRetries ?? 1, backoff }
	}

	/**
	 * Fulfils once the worker is a member of its consumer group; rejects when the services cannot be reached.
	 *
	 * @returns {Promise<void>}
	 */
	start() {
		this.logger.info('[Adapter] Starting worker...')
		return this.#life.start()
	}

	/**
	 * @param {JobHandler} handler called for each job
	 * @returns {Promise<void>}
	 */
	processJobs(handler) {
		for (const caretaker of this.#caretakers) caretaker.start()
		return seen(this.#life.consume(handler))
	}

	/**
	 * Stops taking jobs, lets running nodes finish and record, commits, and leaves the group. Clients that were passed
	 * in stay open.
	 *
	 * @param {{ deadlineMs?: number }} [options]
	 */
	async stop(options) {
		const deadlineMs = stopDeadline(options?.deadlineMs)
		this.logger.info('[KafkaAdapter] Stopping Kafka producer and consumer.')
		const caretakers = this.#caretakers.map((caretaker) => caretaker.stop())
		await this.#life.stop(deadlineMs)
		await Promise.all(caretakers)
	}

	/** @returns {import('../../index.js').WorkerHealth} */
	health() {
		return this.#life.health()
	}

	/**
	 * Creates and alters keyspace and tables until nothing is missing; of several workers at once, one after the other.
	 *
	 * @param {import('../../index.js').SchemaOptions} [options]
	 */
	async ensureSchema(options) {
		const work = () => ensureSchema({ ...this.#tables(), ...options, cassandraClient: this.#settings.cassandra })
		return inTurns(this.store, this.keyspace, work)
	}

	/**
	 * @param {import('../../index.js').SchemaOptions} [options]
	 * @returns {string[]} the CQL for people who run it themselves
	 */
	schemaStatements(options) {
		return schemaStatements({ ...this.#tables(), ...options })
	}

	#tables() {
		const { keyspace, contextTableName, statusTableName } = this
		return { keyspace, contextTableName, statusTableName }
	}

	/**
	 * @param {string} runId
	 * @returns {CassandraContext}
	 */
	createContext(runId) {
		return new CassandraContext(runId, {
			client: this.cassandra,
			keyspace: this.keyspace,
			tableName: this.contextTableName,
			maxValueBytes: this.#settings.valueSizes.maxValueBytes,
		})
	}

	get #statuses() {
		return new StatusTable(this.cassandra, `${this.keyspace}.${this.statusTableName}`)
	}

	/**
	 * @param {string} runId
	 * @param {string} _blueprintId
	 * @param {string} _nodeId
	 */
	async onJobStart(runId, _blueprintId, _nodeId) {
		try {
			await this.#statuses.touch(runId)
		} catch (error) {
			console.error(`[KafkaAdapter] Failed to update updated_at timestamp for Run ID ${runId}`, error)
		}
	}

	/**
	 * @param {string} runId
	 * @param {FinalResult} result
	 */
	async publishFinalResult(runId, result) {
		await this.#statuses.publish(runId, result)
		this.logger.info(`[KafkaAdapter] Published final result for Run ID ${runId}.`)
	}

	/**
	 * @param {string} runId
	 * @param {string} nodeId
	 * @returns {Promise<{ url: string, event: string }>}
	 */
	async registerWebhookEndpoint(runId, nodeId) {
		if (this.#webhooks) return registerWebhook(this.#webhooks(), runId, nodeId)
		throw new Error('registerWebhookEndpoint not implemented for KafkaAdapter')
	}

	/**
	 * Takes a request to an address of `registerWebhookEndpoint`. Needs no started worker.
	 *
	 * @param {Request} request
	 * @returns {Promise<Response>}
	 */
	async handleWebhook(request) {
		if (this.#webhooks) return handleWebhook(this.#webhooks(), request)
		throw optionError('options.webhooks', 'missing', 'Give { baseUrl, secret }')
	}

	/** @param {JobPayload} job */
	async enqueueJob(job) {
		if (!this.isRunning) throw new Error('Kafka producer is not connected. Adapter must be started.')
		await this.#life.enqueue(job, isBareJob(job))
	}

	/**
	 * Runs one job. Fulfils when the job is completed: its result is durable and its successors are on their way.
	 *
	 * @param {JobPayload} job
	 */
	async handleJob(job) {
		await this.#life.client().submit(job)
	}

	/** @returns {Record<string, Blueprint>} */
	get #blueprints() {
		// A runtime made from a container keeps them beside its options.
		return this.runtime.options?.blueprints ?? Reflect.get(this.runtime, 'blueprints') ?? {}
	}

	/**
	 * Sends a job for each node of a run that is due. Changes nothing in the run's state.
	 *
	 * @param {string} runId
	 * @returns {Promise<Set<string>>} ids of the nodes
	 */
	async reconcile(runId) {
		const { createContext, enqueueJob } = this.#hooks()
		const { store, logger } = this
		// Without an answer the run is taken for ended: that only leaves it as it is.
		const statusOf = (/** @type {string} */ id) =>
			this.#statuses.read(id).then(
				(row) => row?.status,
				() => undefined,
			)
		const blueprint = (/** @type {string} */ id) => this.#blueprints[id]
		return reconcileRun({ blueprint, store, logger, createContext, enqueueJob, statusOf }, runId)
	}

	/**
	 * Lets a node that awaits go on, on whichever worker has the run. Needs no started worker.
	 *
	 * @param {string} runId
	 * @param {string} [action]
	 * @param {unknown} [output]
	 * @param {{ nodeId?: string }} [options]
	 * @returns {Promise<Set<string>>}
	 */
	async resumeWithAction(runId, action, output, options) {
		return resumeRun(this.#controlHost(), runId, action, output, options)
	}

	/**
	 * Ends a run as `cancelled`, on whichever worker has it. Needs no started worker.
	 *
	 * @param {string} runId
	 * @param {string} [reason]
	 */
	async cancel(runId, reason) {
		await cancelRun(this.#controlHost(), runId, reason)
	}

	/**
	 * What a run has done so far. Needs no started worker.
	 *
	 * @param {string} runId
	 */
	async history(runId) {
		return historyOf(this.#controlHost(), runId)
	}

	/**
	 * The runs that wait for a version of their blueprint. Needs no started worker.
	 *
	 * @returns {Promise<import('../../index.js').ParkedRun[]>}
	 */
	async listParked() {
		const table = `${this.keyspace}.${this.statusTableName}`
		return listParkedRuns({ client: this.cassandra, table, statuses: this.#statuses })
	}

	/**
	 * Lets a parked run go on with another version of its blueprint. Needs no started worker.
	 *
	 * @param {string} runId
	 * @param {string | null} version
	 * @returns {Promise<boolean>}
	 */
	async moveParked(runId, version) {
		return moveParkedRun(this.#controlHost(), runId, version)
	}

	/**
	 * Ends a parked run as `failed`. Needs no started worker.
	 *
	 * @param {string} runId
	 * @param {string} [reason]
	 * @returns {Promise<boolean>}
	 */
	async failParked(runId, reason) {
		return failParkedRun(this.#controlHost(), runId, reason)
	}

	/** @returns {import('./adapter/run-control.js').ControlHost} */
	#controlHost() {
		return {
			createContext: (runId) => this.createContext(runId),
			send: this.#life.client().sendCommand,
			codec: () => codecOf(this.runtime),
		}
	}

	/** @param {import('./webhooks/webhook-options.js').WebhookSettings | undefined} settings */
	#webhookHost(settings) {
		if (!settings) return undefined
		const parts = { store: () => this.store, logger: () => this.logger, topic: this.topicName }
		const tokens = settings.tokens ?? new SealedTokens({ ...parts, secrets: settings.secrets })
		return () => ({
			settings,
			tokens,
			blueprints: this.#blueprints,
			control: this.#controlHost(),
			blueprintOf: (/** @type {string} */ runId) => asEngine(() => this.createContext(runId).get('blueprintId')),
			logger: this.logger,
		})
	}

	/**
	 * Writes a new run and sends its first jobs; any worker of the topic may then run it.
	 *
	 * @param {string} blueprintId
	 * @param {Record<string, unknown>} [initialContext]
	 * @param {{ runId?: string }} [options]
	 */
	async startRun(blueprintId, initialContext = {}, options = {}) {
		return startRun(this.#runHost(), blueprintId, initialContext, options)
	}

	/**
	 * @param {string} runId
	 * @returns {RunHandle} on a run that was started before, here or elsewhere
	 */
	getRun(runId) {
		return new RunHandle(this.#runHost(), runId)
	}

	/**
	 * A subclass sees the jobs of a start as any other.
	 *
	 * @param {JobPayload} job
	 * @param {{ send: (job: JobPayload) => Promise<void> }} client
	 */
	async #sendStart(job, client) {
		const isPlain = !this.#overrides().enqueueJob && !this.isRunning
		await (isPlain ? client.send(job) : this.enqueueJob(job))
	}

	/** @returns {import('./adapter/run-handle.js').RunHost} */
	#runHost() {
		const client = this.#life.client()
		return {
			blueprints: this.#blueprints,
			hooks: this.#hooks(),
			readStatus: (runId) => this.#statuses.read(runId),
			send: (job) => this.#sendStart(job, client),
			sent: (runId) => this.#statuses.sent(runId),
			resume: (runId, ...answer) => this.resumeWithAction(runId, ...answer),
			cancel: (runId, reason) => this.cancel(runId, reason),
			history: (runId) => this.history(runId),
		}
	}
}
