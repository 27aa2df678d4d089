/**
 * The life of an adapter: starting, consuming and stopping, with one engine at a time.
 */
import { isGenuineKafka } from '../clients/kafkajs.js'
import { createPorts } from '../bridge/js-ports.js'
import { JsSource } from '../bridge/js-source.js'
import { livePlace } from '../stores/live-runs.js'
import { buildConfig, isKafkaLike } from '../bridge/native-config.js'
import { Code, KafkaAdapterError } from '../errors.js'
import { inTurn, seen, settledOr, within } from '../promises.js'
import { Worker } from './worker.js'

/**
 * @typedef {import('flowcraft').JobPayload} JobPayload
 * @typedef {import('../bridge/js-source.js').JobHandler} JobHandler
 * @typedef {import('../../../index.js').WorkerHealth} WorkerHealth
 *
 * What the life cycle needs of its adapter. Functions where users and tests replace members at any time.
 * @typedef {object} Host
 * @property {import('./options.js').Settings} settings
 * @property {() => import('flowcraft').FlowRuntime<any, any>} runtime
 * @property {import('flowcraft').IEventBus | undefined} adapterBus
 * @property {() => import('flowcraft').ILogger} logger
 * @property {() => import('flowcraft').ICoordinationStore} store
 * @property {() => import('../bridge/js-source.js').Ends} ends
 * @property {() => import('../bridge/native-config.js').Overrides} overrides
 * @property {() => { onJobStart?: Function, isReadyForFanIn?: Function }} sessionHooks
 * @property {() => import('../session/queue-retries.js').RetryHooks | undefined} retryHooks
 * @property {Omit<import('../bridge/js-ports.js').Hooks, 'handle'>} hooks
 * @property {(job: JobPayload) => Promise<void>} handleJob
 * @property {(handler: JobHandler) => unknown} processJobs
 * @property {(runId: string) => Promise<import('../stores/status-table.js').StatusRow | undefined>} readStatus
 * @property {() => boolean} waitsForWebhooks
 * @property {(value?: boolean) => boolean} isRunning the adapter's property, which users set, too
 */

/** How long a `processJobs` of the user may take to hand over to ours before the engine comes up without a consumer. */
const DECISION_MS = 1_000

const stopped = () =>
	new KafkaAdapterError(Code.NotRunning, 'the adapter was stopped meanwhile. Start it again, or repeat the call')

export class LifeCycle {
	#host
	#source
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
	/** Stops that have ended. */
	#stops = 0
	/** @type {JobHandler} What `start()` gives to `processJobs`; any other handler is a wrapper of the user. */
	#ownHandler = (job) => this.#host.handleJob(job)
	#handler = this.#ownHandler
	/** @type {WorkerHealth} */
	#lastState = { state: 'idle' }

	/** @param {Host} host */
	constructor(host) {
		this.#host = host
		this.#source = new JsSource(host.ends)
	}

	/** Several calls are one start. */
	start() {
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
		const begun = this.#stops
		const consuming = Promise.resolve(this.#host.processJobs(this.#ownHandler))
		if (!this.#host.overrides().processJobs) return void (await consuming)
		// A consumer of the user may return at once, or never; it may also hand over to ours, soon or late.
		await settledOr(consuming, DECISION_MS)
		if (this.#isOvertaken(begun)) throw stopped()
		await this.engine(this.#consumes)
		this.#host.isRunning(true)
	}

	/**
	 * What `processJobs` does unless it is overridden.
	 *
	 * @param {JobHandler} handler called for each job
	 */
	async consume(handler) {
		if (this.#host.isRunning()) return void this.#host.logger().warn('[KafkaAdapter] Consumer is already running.')
		this.#handler = handler
		try {
			await this.#takeJobs(handler)
			this.#host.isRunning(true)
		} catch (error) {
			this.#host.logger().error('[KafkaAdapter] Failed to start Kafka producer/consumer:', { error })
			await this.#discard()
			throw error
		}
	}

	/** @param {JobHandler} handler */
	async #takeJobs(handler) {
		const { kafka, startTimeoutMs } = this.#host.settings
		// A handler given to a mock's consumer may do without the engine; ours brings the engine up when it is called.
		const isMockOnly = !this.#isLaunching && isKafkaLike(kafka) && !isGenuineKafka(kafka)
		const begun = performance.now()
		if (!isMockOnly) await this.engine(true)
		if (!isMockOnly && !this.#isThroughJs) return this.#announce()
		const spentMs = performance.now() - begun
		await within(startTimeoutMs, 'reaching Kafka through the kafkajs object', this.#source.connect(), spentMs)
		this.#host.isRunning(true)
		this.#announce()
		await this.#source.run(handler)
	}

	#announce() {
		const { groupId, topic } = this.#host.settings
		this.#host.logger().info(`[KafkaAdapter] Worker (Group: ${groupId}) listening on topic: "${topic}"`)
	}

	/**
	 * The engine, started by whoever needs it first.
	 *
	 * @param {boolean} consumes whether it is to take jobs from the topic
	 * @returns {Promise<Worker>}
	 */
	async engine(consumes) {
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
		const host = this.#host
		const begun = performance.now()
		const { config: settings, token } = await this.#configure()
		/** @type {typeof settings} */
		const config = { ...settings, startSpentMs: Math.round(performance.now() - begun) }
		this.#isThroughJs = config.kafka.kind === 'js'
		const hooks = { ...host.hooks, handle: (/** @type {JobPayload} */ job) => this.#handler(job) }
		const worker = new Worker({
			config,
			ports: createPorts({ hooks, store: host.store, source: this.#source, token: () => token }),
			logger: host.logger(),
			holdsProcess: this.#consumes || host.overrides().processJobs,
			onState: (state, detail) => this.#follow(worker, state, detail),
			sessions: {
				runtime: host.runtime(),
				options: {
					// One at a time means in topic order; an overridden handleJob sees every job before it starts.
					localStarts: config.handle === 'native' && host.settings.limits.maxConcurrentJobs !== 1,
					schedule: host.settings.schedule,
					strict: host.settings.strict,
					enforceTimeouts: host.settings.enforceTimeouts,
					webhooks: host.waitsForWebhooks(),
					...host.settings.limits,
					valueSizes: host.settings.valueSizes,
					history: { visits: host.settings.maxHistoryVisits, workerId: host.settings.workerId },
				},
				adapterBus: host.adapterBus,
				hooks: host.sessionHooks(),
				retries: host.retryHooks(),
				livePlace: this.#livePlace(),
				readStatus: host.overrides().publishFinalResult ? undefined : host.readStatus,
			},
		})
		this.#worker = worker
		await worker.start()
		return worker
	}

	/** A subclass that keeps the state elsewhere, or in a form of its own, does without: the table is not where it looks. */
	#livePlace() {
		const { cassandra, keyspace, contextTable } = this.#host.settings
		return this.#host.overrides().createContext ? undefined : livePlace(cassandra, `${keyspace}.${contextTable}`)
	}

	/** Reading the clients may ask the user's code (a brokers function), which may never answer. */
	async #configure() {
		const { settings, overrides, logger } = this.#host
		const isWrapped = this.#consumes && this.#handler !== this.#ownHandler
		const plan = {
			settings,
			overrides: overrides(),
			consumes: this.#consumes,
			handledByUser: overrides().handleJob || isWrapped,
			warn: (/** @type {string} */ text) => logger().warn(text),
		}
		return within(settings.startTimeoutMs, 'asking for the brokers', buildConfig(plan))
	}

	/**
	 * @param {Worker} worker
	 * @param {string} state
	 * @param {unknown} detail
	 */
	#follow(worker, state, detail) {
		if (this.#worker !== worker) return
		this.#lastState = { state, detail }
		const isUp = state === 'joining' || state === 'running'
		// Jobs may come before `start()` has fulfilled, and enqueue others.
		if (isUp && this.#consumes && !this.#isThroughJs) this.#host.isRunning(true)
		if (state !== 'failed') return
		// The engine has said why.
		this.#host.isRunning(false)
		this.#forget()
		if (this.#isThroughJs) seen(this.#source.stop())
	}

	#forget() {
		this.#worker = undefined
		this.#working = undefined
		this.#consumes = false
	}

	/** Gives up a worker that did not start, or that has to make room for another. */
	async #discard() {
		const worker = this.#worker
		this.#host.isRunning(false)
		this.#forget()
		await worker?.stop(0).catch(() => undefined)
		// kafkajs would go on trying, and keep the process alive for it.
		if (this.#isThroughJs) await inTurn([() => this.#source.stop(), () => this.#source.close()])
	}

	/** @param {number} deadlineMs */
	stop(deadlineMs) {
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
		const drain = async () => this.#report(await worker?.stop(deadlineMs), deadlineMs)
		const failures = await inTurn([drain, () => this.#source.stop(), () => this.#source.close()])
		this.#forget()
		this.#stops++
		this.#host.isRunning(false)
		if (failures.length > 0) throw failures[0]
	}

	/**
	 * @param {{ abandonedRuns?: number } | undefined} report
	 * @param {number} deadlineMs
	 */
	#report(report, deadlineMs) {
		if (!report?.abandonedRuns) return
		const text = `${report.abandonedRuns} runs had nodes that did not end within ${deadlineMs} ms; they go on elsewhere`
		this.#host.logger().warn(`[KafkaAdapter] ${text}`)
	}

	/** @returns {WorkerHealth} */
	health() {
		return this.#worker?.health() ?? this.#lastState
	}

	/** Whether a stop came after what began with so many stops. @param {number} begun */
	#isOvertaken(begun) {
		return this.#stopping !== undefined || this.#stops !== begun
	}

	/**
	 * For one call of the user, also without a started worker. A call that a stop overtakes may use the worker while it is being
	 * stopped, as the nodes that it still has do, but brings up no other one: nobody would stop that.
	 */
	client() {
		const begun = this.#stops
		const worker = async () => {
			if (!this.#working && this.#isOvertaken(begun)) throw stopped()
			return this.engine(this.#consumes)
		}
		return {
			/** @param {JobPayload} job */
			send: async (job) => {
				const native = await worker()
				await (this.#isThroughJs ? this.#source.send(job) : native.enqueue(job))
			},
			/** @param {string} runId @param {string} command raw JSON */
			sendCommand: async (runId, command) => {
				const native = await worker()
				await (this.#isThroughJs ? this.#source.sendCommand(runId, command) : native.sendCommand(runId, command))
			},
			/** @param {JobPayload} job to be run here; fulfils when it is completed */
			submit: async (job) => (await worker()).submit(job),
		}
	}

	/**
	 * @param {JobPayload} job
	 * @param {boolean} isBare whether it has nothing beyond the three fields that the engine sends
	 */
	async enqueue(job, isBare) {
		// Without a worker the user has connected the producer by hand.
		if (!this.#worker) return this.#source.produce(job)
		const hasProducer = this.#host.ends().producer !== undefined
		const goesThroughJs = this.#isThroughJs || (hasProducer && !isBare)
		return goesThroughJs ? this.#source.send(job) : this.#worker.enqueue(job)
	}
}
