/**
 * Consumes and produces jobs through kafkajs-like objects: mocks, wrappers, and genuine clients whose settings the
 * native client cannot honour. Calls are those of the JavaScript package, in its order.
 */
import { Code, KafkaAdapterError, messageOf } from '../errors.js'
import { decodeJob } from '../adapter/job-message.js'

/**
 * @typedef {import('flowcraft').ILogger} ILogger
 * @typedef {import('flowcraft').JobPayload} JobPayload
 * @typedef {(job: JobPayload) => Promise<void>} JobHandler
 *
 * @typedef {Record<string, string | Uint8Array | (string | Uint8Array)[] | null | undefined>} Headers
 * @typedef {{ key?: string | Uint8Array | null, value: string | Uint8Array | null, headers?: Headers }} OutboundMessage
 *
 * @typedef {object} ProducerLike
 * @property {() => Promise<void>} connect
 * @property {() => Promise<void>} disconnect
 * @property {(record: { topic: string, messages: OutboundMessage[] }) => Promise<unknown>} send
 *
 * @typedef {{ topic: string, partition: number, message: { value: Uint8Array | null, key?: Uint8Array | null,
 *   offset?: string, headers?: Headers } }} Delivery
 *
 * @typedef {object} ConsumerLike
 * @property {() => Promise<void>} connect
 * @property {() => Promise<void>} disconnect
 * @property {(subscription: { topic: string, fromBeginning: boolean }) => Promise<void>} subscribe
 * @property {(config: { partitionsConsumedConcurrently: number, eachMessage: (delivery: Delivery) => Promise<void> }) =>
 *   Promise<void>} run
 *
 * Read anew at each use: they are properties of the adapter that tests and users replace.
 * @typedef {object} Ends
 * @property {ProducerLike | undefined} producer absent where only settings were given
 * @property {ConsumerLike | undefined} consumer likewise
 * @property {string} topic
 * @property {string} deadLetterTopic
 * @property {ILogger} logger
 */

/** What the names of this package's own headers begin with. */
const OWN_HEADERS = 'flowcraft-'
/** kafkajs takes these for programming errors and stops consuming for good. */
const FATAL_TO_KAFKAJS = [SyntaxError, TypeError, RangeError, ReferenceError]

/** @param {unknown} error */
const retryable = (error) =>
	FATAL_TO_KAFKAJS.some((type) => error instanceof type)
		? new KafkaAdapterError(Code.Callback, messageOf(error), { retryable: true, cause: error })
		: error

/**
 * @template T
 * @param {T | undefined} end
 * @returns {T}
 */
const present = (end) => {
	if (end) return end
	const text =
		'processJobs is overridden, and options.kafka has only settings: there is no producer for its jobs. ' +
		'Override enqueueJob too, or pass a kafkajs client'
	throw new KafkaAdapterError(Code.Option, text)
}

export class JsSource {
	#ends
	/** @type {Promise<void> | undefined} */
	#connected

	/** @param {() => Ends} ends */
	constructor(ends) {
		this.#ends = ends
	}

	/** The producer is connected once, by whoever needs it first. */
	connectProducer() {
		this.#connected ??= present(this.#ends().producer).connect()
		this.#connected.catch(() => {
			this.#connected = undefined
		})
		return this.#connected
	}

	/** Reaches the brokers. */
	async connect() {
		const { topic } = this.#ends()
		const consumer = present(this.#ends().consumer)
		await this.connectProducer()
		await consumer.connect()
		await consumer.subscribe({ topic, fromBeginning: false })
	}

	/**
	 * Joins the group, and calls `handler` for each job.
	 *
	 * @param {JobHandler} handler
	 */
	async run(handler) {
		await present(this.#ends().consumer).run({
			partitionsConsumedConcurrently: 1,
			eachMessage: (delivery) => this.#take(delivery, handler),
		})
	}

	/**
	 * @param {Delivery} delivery
	 * @param {JobHandler} handler
	 */
	async #take(delivery, handler) {
		const { logger } = this.#ends()
		const { topic, partition, message } = delivery
		if (!message.value) return
		const job = await this.#decode(delivery, message.value)
		if (!job) return
		const what = job.command ? 'command' : `job for Node: ${job.nodeId}`
		logger.info(`[KafkaAdapter] ==> [P${partition}] Picked up ${what}, Run: ${job.runId}`)
		try {
			await handler(job)
		} catch (error) {
			logger.error(`[KafkaAdapter] Error processing message on topic ${topic}:`, { error })
			throw retryable(error)
		}
	}

	/**
	 * @param {Delivery} delivery
	 * @param {Uint8Array} value
	 * @returns {Promise<import('../adapter/job-message.js').Received | undefined>} `undefined`: nobody can process it, it went to the dead letters
	 */
	async #decode({ topic, partition, message }, value) {
		try {
			return decodeJob(value)
		} catch (error) {
			const { code } = /** @type {KafkaAdapterError} */ (error)
			this.#ends().logger.error(`[KafkaAdapter] Error processing message on topic ${topic}:`, { error })
			const { key, offset = '', headers } = message
			await this.deadLetter({ key, value, headers, partition, offset, code, reason: messageOf(error) })
			return undefined
		}
	}

	/** @param {JobPayload} job */
	async send(job) {
		await this.connectProducer()
		await this.produce(job)
	}

	/**
	 * @param {string} runId
	 * @param {string} command raw JSON
	 */
	async sendCommand(runId, command) {
		await this.connectProducer()
		const { producer, topic } = this.#ends()
		const value = `{"runId":${JSON.stringify(runId)},"command":${command}}`
		await present(producer).send({ topic, messages: [{ key: runId, value }] })
	}

	/** @param {JobPayload} job through a producer that is connected already */
	async produce(job) {
		const { producer, topic } = this.#ends()
		await present(producer).send({ topic, messages: [{ key: job.runId, value: JSON.stringify(job) }] })
	}

	/**
	 * @param {{ key?: Uint8Array | null, value: Uint8Array | null, headers?: Headers, partition: number,
	 *   offset: string | number, code: string, reason: string, run?: string | null }} letter
	 */
	async deadLetter({ key, value, headers: given = {}, partition, offset, code, reason, run }) {
		const { producer, topic, deadLetterTopic } = this.#ends()
		const headers = {
			// Those of an earlier burial say nothing about this one.
			...Object.fromEntries(Object.entries(given).filter(([name]) => !name.startsWith(OWN_HEADERS))),
			'flowcraft-code': code,
			'flowcraft-reason': reason,
			'flowcraft-topic': topic,
			'flowcraft-partition': String(partition),
			'flowcraft-offset': String(offset),
			...(run ? { 'flowcraft-run': run } : {}),
		}
		await this.connectProducer()
		await present(producer).send({ topic: deadLetterTopic, messages: [{ key, value, headers }] })
	}

	/** Leaves the group; messages in work are delivered again to others unless they complete now. */
	async stop() {
		await this.#ends().consumer?.disconnect()
	}

	async close() {
		this.#connected = undefined
		await this.#ends().producer?.disconnect()
	}
}
