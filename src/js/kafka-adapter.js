/**
 * `KafkaAdapter`: the class of the JavaScript package, over the native engine.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BaseDistributedAdapter } from 'flowcraft'
import { asEngine, CassandraContext, RESERVED_KEY } from './cassandra-context.js'
import { isGenuineKafka } from './clients/kafkajs.js'
import { Code, KafkaAdapterError, optionError, unwrap } from './errors.js'
import { isBareJob } from './job-message.js'
import { createPorts } from './js-ports.js'
import { JsSource } from './js-source.js'
import { buildConfig, checkClients, isKafkaSettings } from './native-config.js'
import { isEmbedded, isRedisSettings, nativeCassandra } from './native-connections.js'
import { readOptions } from './options.js'
import { dueNodes } from './reconcile.js'
import { RedisCoordinationStore } from './redis-coordination-store.js'
import { RunHandle, startRun } from './run-handle.js'
import { Worker } from './worker.js'

/**
 * @typedef {import('flowcraft').JobPayload} JobPayload
 * @typedef {import('./js-ports.js').FinalResult} FinalResult
 * @typedef {import('./js-source.js').JobHandler} JobHandler
 * @typedef {import('./native-config.js').Overrides} Overrides
 *
 * @typedef {object} StatusClient
 * @property {(query: string, params: unknown[], options: { prepare: true }) => Promise<{ wasApplied(): boolean }>} execute
 *
 * @typedef {{ producer: () => any, consumer: (options: { groupId: string }) => any }} KafkaLike
 */

const STOP_DEADLINE_MS = 25_000
/** How long a `processJobs` of the user may take to hand over to ours before the engine comes up without a consumer. */
const DECISION_MS = 1_000
/** How long a reconcile keeps others from nudging the same node, as in the JavaScript package. */
const NUDGE_LOCK_SECONDS = 120
const HOOKS = /** @type {const} */ ([
	'createContext',
	'onJobStart',
	'publishFinalResult',
	'enqueueJob',
	'processJobs',
	'handleJob',
])

/**
 * @param {unknown} kafka
 * @returns {kafka is KafkaLike}
 */
const isKafkaLike = (kafka) => !isKafkaSettings(kafka) && !isEmbedded(kafka)

/**
 * Marks a rejection as seen: whoever starts a worker without waiting for it has the log line, and the process lives.
 *
 * @template T
 * @param {Promise<T>} promise
 */
const seen = (promise) => {
	promise.catch(() => undefined)
	return promise
}

/** @param {unknown} value */
const stopDeadline = (value = STOP_DEADLINE_MS) => {
	if (typeof value === 'number' && value >= 0 && Number.isFinite(value)) return value
	throw optionError(
		'deadlineMs',
		`${String(value)} is not a number of milliseconds`,
		`The default is ${STOP_DEADLINE_MS}`,
	)
}

/**
 * @template T
 * @param {number} limitMs may be `Infinity`
 * @param {Promise<T>} work
 * @returns {Promise<T>}
 */
const within = async (limitMs, work) => {
	if (limitMs === Infinity) return work
	const done = new AbortController()
	const late = sleep(limitMs, undefined, { signal: done.signal }).then(() => {
		const text = `start() gave up after ${limitMs} ms while asking for the brokers. Check the function, or raise startTimeoutMs`
		throw new KafkaAdapterError(Code.StartTimeout, text, { retryable: true })
	})
	return Promise.race([work, seen(late)]).finally(() => done.abort())
}

/**
 * Every step is taken, whatever becomes of the others.
 *
 * @param {(() => unknown)[]} steps
 * @returns {Promise<unknown[]>} what went wrong
 */
const inTurn = async (steps) => {
	/** @type {unknown[]} */
	const failures = []
	for (const step of steps) {
		try {
			await step()
		} catch (error) {
			failures.push(error)
		}
	}
	return failures
}

/**
 * @param {unknown} text `status_data`
 * @returns {FinalResult | undefined}
 */
const parseResult = (text) => (typeof text === 'string' ? JSON.parse(text) : undefined)

/**
 * @param {import('./options.js').Settings} settings
 * @returns {import('flowcraft').ICoordinationStore}
 */
const coordinationStore = ({ coordination }) => {
	const isOurs = isEmbedded(coordination) || isRedisSettings(coordination)
	const store = isOurs ? new RedisCoordinationStore(coordination) : coordination
	return /** @type {import('flowcraft').ICoordinationStore} */ (store)
}

export class KafkaAdapter extends BaseDistributedAdapter {
	#settings
	/** @type {Worker | undefined} */
	#worker
	/** @type {Promise<Worker> | undefined} */
	#working
	/** Whether the worker at hand takes jobs from the topic, or only those that are handed to it. */
	#consumes = false
	/** Whether jobs come and go through the user's kafkajs objects. */
	#isThroughJs = false
	#isLaunching = false
	/** @type {Promise<void> | undefined} */
	#starting
	/** @type {Promise<void> | undefined} */
	#stopping
	#source
	/** @type {JobHandler} The handler that `start()` gives to `processJobs`; any other is a wrapper of the user. */
	#ownHandler = (job) => this.handleJob(job)
	#handler = this.#ownHandler
	/** @type {import('../../index.js').WorkerHealth} */
	#lastState = { state: 'idle' }

	/** @param {import('../../index.js').KafkaAdapterOptions} options */
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
		this.#source = new JsSource(() => ({
			producer: this.producer,
			consumer: this.consumer,
			topic: this.topicName,
			deadLetterTopic: settings.deadLetterTopic,
			logger: this.logger,
		}))
		checkClients({ settings, overrides: this.#overrides(), consumes: true, handledByUser: false })
	}

	/** @returns {Overrides} */
	#overrides() {
		/** @type {Partial<Overrides>} */
		const found = {}
		for (const hook of HOOKS) found[hook] = this[hook] !== KafkaAdapter.prototype[hook]
		return /** @type {Overrides} */ (found)
	}

	/** @returns {import('./js-ports.js').Hooks} */
	#hooks() {
		return {
			createContext: (runId) => this.createContext(runId),
			touchStatus: async (runId) => {
				// An overridden `onJobStart` is called for each node by the session.
				if (!this.#overrides().onJobStart) await this.onJobStart(runId, '', '')
			},
			publishFinalResult: (runId, result) => this.publishFinalResult(runId, result),
			enqueueJob: (job) => this.enqueueJob(job),
			handle: (job) => this.#handler(job),
		}
	}

	/** Hooks that run once per node; ours would only repeat what the engine does anyway. */
	#sessionHooks() {
		const hasOwnFanIn = this.isReadyForFanIn !== BaseDistributedAdapter.prototype['isReadyForFanIn']
		return {
			...(this.#overrides().onJobStart ? { onJobStart: this.onJobStart.bind(this) } : {}),
			...(hasOwnFanIn ? { isReadyForFanIn: this.isReadyForFanIn.bind(this) } : {}),
		}
	}

	/** Fulfils once the worker is a member of its consumer group; rejects when the services cannot be reached. */
	start() {
		this.logger.info('[Adapter] Starting worker...')
		if (this.#starting) return this.#starting
		this.#isLaunching = true
		this.#starting = seen(
			this.#launch().finally(() => {
				this.#isLaunching = false
				this.#starting = undefined
			}),
		)
		return this.#starting
	}

	async #launch() {
		const consuming = Promise.resolve(this.processJobs(this.#ownHandler))
		if (!this.#overrides().processJobs) return consuming
		// A consumer of the user may return at once, or never; it may also hand over to ours, soon or late.
		const decided = new AbortController()
		const patience = sleep(DECISION_MS, undefined, { signal: decided.signal }).catch(() => undefined)
		await Promise.race([consuming, patience]).finally(() => decided.abort())
		await this.#engine(this.#consumes)
		this.isRunning = true
	}

	/**
	 * @param {JobHandler} handler called for each job
	 * @returns {Promise<void>}
	 */
	processJobs(handler) {
		return seen(this.#consume(handler))
	}

	/** @param {JobHandler} handler */
	async #consume(handler) {
		if (this.isRunning) {
			this.logger.warn('[KafkaAdapter] Consumer is already running.')
			return
		}
		this.#handler = handler
		try {
			await this.#takeJobs(handler)
			this.isRunning = true
		} catch (error) {
			this.logger.error('[KafkaAdapter] Failed to start Kafka producer/consumer:', { error })
			await this.#discard()
			throw error
		}
	}

	/** @param {JobHandler} handler */
	async #takeJobs(handler) {
		const { kafka } = this.#settings
		// A handler given to a mock's consumer may do without the engine; ours brings the engine up when it is called.
		const isMockOnly = !this.#isLaunching && isKafkaLike(kafka) && !isGenuineKafka(kafka)
		if (!isMockOnly) await this.#engine(true)
		if (!isMockOnly && !this.#isThroughJs) return this.#announce()
		await this.#source.start(handler, () => {
			this.isRunning = true
			this.#announce()
		})
	}

	#announce() {
		this.logger.info(`[KafkaAdapter] Worker (Group: ${this.groupId}) listening on topic: "${this.topicName}"`)
	}

	/**
	 * The engine of this adapter, started by whoever needs it first.
	 *
	 * @param {boolean} consumes whether it is to take jobs from the topic
	 * @returns {Promise<Worker>}
	 */
	async #engine(consumes) {
		if (this.#working && consumes && !this.#consumes) await this.#discard()
		if (!this.#working) {
			this.#consumes = consumes
			const working = seen(this.#raise())
			this.#working = working
			// A worker that did not come up is forgotten, so that the next one who needs it tries again.
			working.catch(() => this.#working === working && this.#forget())
		}
		return this.#working
	}

	async #raise() {
		const { config, token } = await this.#configure()
		const hooks = this.#hooks()
		this.#isThroughJs = config.kafka.kind === 'js'
		const worker = new Worker({
			config,
			ports: createPorts({ hooks, store: () => this.store, source: this.#source, token: () => token }),
			logger: this.logger,
			onState: (state, detail) => this.#follow(worker, state, detail),
			sessions: {
				runtime: this.runtime,
				options: {
					schedule: this.#settings.schedule,
					...this.#settings.limits,
					// As in the engine: one at a time means in topic order, and an overridden handleJob sees every job.
					localStarts: this.#settings.limits.maxConcurrentJobs !== 1 && config.handle === 'native',
				},
				adapterBus: this.eventBus,
				hooks: this.#sessionHooks(),
			},
		})
		this.#worker = worker
		await worker.start()
		return worker
	}

	/** Reading the clients may ask the user's code (a brokers function), which may never answer. */
	async #configure() {
		const overrides = this.#overrides()
		const isWrapped = this.#consumes && this.#handler !== this.#ownHandler
		return within(
			this.#settings.startTimeoutMs,
			buildConfig({
				settings: this.#settings,
				overrides,
				consumes: this.#consumes,
				handledByUser: overrides.handleJob || isWrapped,
				warn: (text) => this.logger.warn(text),
			}),
		)
	}

	/**
	 * @param {Worker} worker
	 * @param {string} state
	 * @param {unknown} detail
	 */
	#follow(worker, state, detail) {
		if (this.#worker !== worker) return
		this.#lastState = { state, detail }
		if (state === 'joining' || state === 'running') this.isRunning ||= this.#consumes && !this.#isThroughJs
		if (state !== 'failed') return
		this.isRunning = false
		// While starting, the rejection says it.
		if (!this.#starting)
			this.logger.error('[KafkaAdapter] The worker failed and stopped. Call start() again:', { detail })
		this.#forget()
	}

	#forget() {
		this.#worker = undefined
		this.#working = undefined
		this.#consumes = false
	}

	/** Gives up a worker that did not start, or that has to make room for another. */
	async #discard() {
		const worker = this.#worker
		this.isRunning = false
		this.#forget()
		await worker?.stop(0).catch(() => undefined)
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
		this.#stopping ??= this.#shutDown(deadlineMs).finally(() => {
			this.#stopping = undefined
		})
		return this.#stopping
	}

	/** @param {number} deadlineMs */
	async #shutDown(deadlineMs) {
		// A start that still reads its settings has no worker yet.
		if (!this.#worker) await this.#working?.catch(() => undefined)
		const worker = this.#worker
		const steps = [() => worker?.stop(deadlineMs), () => this.#source.stop(), () => this.#source.close()]
		const failures = await inTurn(steps)
		this.#forget()
		this.isRunning = false
		if (failures.length > 0) throw failures[0]
	}

	/** @returns {import('../../index.js').WorkerHealth} what the engine reports; `{ state }` while there is none */
	health() {
		return this.#worker?.health() ?? this.#lastState
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
		})
	}

	get #statusTable() {
		return `${this.keyspace}.${this.statusTableName}`
	}

	/**
	 * @param {string} runId
	 * @param {string} _blueprintId
	 * @param {string} _nodeId
	 */
	async onJobStart(runId, _blueprintId, _nodeId) {
		try {
			await this.#touchStatus(runId)
		} catch (error) {
			console.error(`[KafkaAdapter] Failed to update updated_at timestamp for Run ID ${runId}`, error)
		}
	}

	/** @param {string} runId */
	async #touchStatus(runId) {
		const connection = nativeCassandra(this.cassandra)
		if (connection) return unwrap((await connection).touchStatus(this.#statusTable, runId))
		const client = /** @type {StatusClient} */ (this.cassandra)
		const touch = `INSERT INTO ${this.#statusTable} (run_id, status, updated_at) VALUES (?, 'running', toTimestamp(now())) IF NOT EXISTS`
		const update = `UPDATE ${this.#statusTable} SET updated_at = toTimestamp(now()) WHERE run_id = ?`
		const result = await client.execute(touch, [runId], { prepare: true })
		if (!result.wasApplied()) await client.execute(update, [runId], { prepare: true })
	}

	/**
	 * @param {string} runId
	 * @param {FinalResult} result
	 */
	async publishFinalResult(runId, result) {
		const data = JSON.stringify(result)
		const connection = nativeCassandra(this.cassandra)
		if (connection) {
			await unwrap((await connection).publishStatus(this.#statusTable, runId, result.status, data))
		} else {
			const query = `INSERT INTO ${this.#statusTable} (run_id, status, status_data, updated_at) VALUES (?, ?, ?, toTimestamp(now()))`
			const client = /** @type {StatusClient} */ (this.cassandra)
			await client.execute(query, [runId, result.status, data], { prepare: true })
		}
		this.logger.info(`[KafkaAdapter] Published final result for Run ID ${runId}.`)
	}

	/**
	 * @param {string} _runId
	 * @param {string} _nodeId
	 * @returns {Promise<{ url: string, event: string }>}
	 */
	async registerWebhookEndpoint(_runId, _nodeId) {
		throw new Error('registerWebhookEndpoint not implemented for KafkaAdapter')
	}

	/** @param {JobPayload} job */
	async enqueueJob(job) {
		if (!this.isRunning) throw new Error('Kafka producer is not connected. Adapter must be started.')
		const worker = this.#worker
		// Without a worker the user has connected the producer by hand.
		if (!worker) return this.#source.produce(job)
		// The engine's own messages have the three fields; a job with more goes out as it is.
		const goesThroughJs = this.#isThroughJs || (this.producer && !isBareJob(job))
		return goesThroughJs ? this.#source.send(job) : worker.enqueue(job)
	}

	/**
	 * Runs one job. Fulfils when the job is completed: its result is durable and its successors are on their way.
	 *
	 * @param {JobPayload} job
	 */
	async handleJob(job) {
		const worker = await this.#engine(false)
		await worker.submit(job)
	}

	/**
	 * Sends a job for each node of a run that is due and not being worked on. Changes nothing in the run's state.
	 *
	 * @param {string} runId
	 * @returns {Promise<Set<string>>} ids of the nodes
	 */
	async reconcile(runId) {
		const document = await asEngine(() => this.createContext(runId).toJSON())
		const blueprint = await this.#blueprintOf(runId, document)
		/** @type {Set<string>} */
		const enqueued = new Set()
		for (const nodeId of dueNodes(blueprint, document)) {
			if (await this.#nudge({ runId, blueprintId: blueprint.id, nodeId })) enqueued.add(nodeId)
		}
		return enqueued
	}

	/**
	 * @param {string} runId
	 * @param {Record<string, unknown>} document
	 * @returns {Promise<import('flowcraft').WorkflowBlueprint>}
	 */
	async #blueprintOf(runId, document) {
		const { blueprint: recorded } = /** @type {{ blueprint?: string }} */ (document[RESERVED_KEY] ?? {})
		const id = recorded || document.blueprintId || (await this.store?.get?.(`flowcraft:blueprint:${runId}`))
		if (!id) {
			throw new Error(`Cannot reconcile runId '${runId}': blueprintId not found in context or coordination store.`)
		}
		const blueprint = this.runtime.options.blueprints?.[String(id)]
		if (blueprint) return blueprint
		throw new Error(`Cannot reconcile runId '${runId}': Blueprint with ID '${id}' not found.`)
	}

	/**
	 * @param {JobPayload} job
	 * @returns {Promise<boolean>} whether it was sent
	 */
	async #nudge(job) {
		const { runId, nodeId } = job
		const lock = `flowcraft:nodelock:${runId}:${nodeId}`
		const isFree = (await this.store?.setIfNotExist?.(lock, 'locked', NUDGE_LOCK_SECONDS)) ?? true
		if (!isFree) {
			this.logger.info(`[Adapter] Reconciling: Node '${nodeId}' is already locked.`, { runId })
			return false
		}
		this.logger.info(`[Adapter] Reconciling: Enqueuing ready job for node '${nodeId}'`, { runId })
		try {
			await this.enqueueJob(job)
		} catch (error) {
			// Nothing was sent: the next attempt must not find the node locked.
			await this.store?.delete?.(lock)
			throw error
		}
		return true
	}

	/**
	 * @param {string} runId
	 * @param {string} [_action]
	 * @param {unknown} [_output]
	 * @returns {Promise<Set<string>>}
	 */
	async resumeWithAction(runId, _action, _output) {
		throw new KafkaAdapterError(Code.Unsupported, `run "${runId}" cannot be resumed by this engine yet`)
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

	/** @returns {import('./run-handle.js').RunHost} */
	#runHost() {
		return {
			blueprints: this.runtime.options.blueprints,
			hooks: this.#hooks(),
			readStatus: (runId) => this.#readStatus(runId),
			resume: (runId, action, output) => this.resumeWithAction(runId, action, output),
		}
	}

	/**
	 * @param {string} runId
	 * @returns {Promise<import('./run-handle.js').StatusRow | undefined>}
	 */
	async #readStatus(runId) {
		const connection = nativeCassandra(this.cassandra)
		if (connection) {
			const text = await unwrap((await connection).readStatus(this.#statusTable, runId))
			if (text === null) return undefined
			const { status, statusData } = JSON.parse(text)
			return { status, result: parseResult(statusData) }
		}
		const client = /** @type {import('./cassandra-context.js').CassandraLike} */ (this.cassandra)
		const query = `SELECT status, status_data FROM ${this.#statusTable} WHERE run_id = ?`
		const row = (await client.execute(query, [runId], { prepare: true })).first()
		return row ? { status: String(row.get('status')), result: parseResult(row.get('status_data')) } : undefined
	}
}
