/**
 * The demo's work: one adapter that is worker and client at once, and one run per file, so many at a time.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { KafkaAdapter } from '../../src/js/index.js'
import { CONTEXTS, STATUSES } from './store.mjs'
import { BLUEPRINT, contextOf, registryOf } from './workflow.mjs'

/** A look at the stop signal between two waits for a result. */
const LOOK_UP_MS = 1_000
const SESSION_TIMEOUT_MS = 6_000
const PARTITIONS = 4
const OVER = new Set(['completed', 'failed', 'cancelled', 'stalled'])

/**
 * @param {object} options
 * @param {Record<string, string>} options.env addresses of the services
 * @param {{ keyspace: string, topic: string, group: string }} options.names
 * @param {import('./journal.mjs').Journal} options.journal
 * @param {number} options.pauseMs added to each node
 * @param {(line: string) => void} options.log
 */
export function createAdapter({ env, names, journal, pauseMs, log }) {
	const journaled = (nodeId, body) => async (node) => {
		journal.record(await node.context.get('run'), nodeId)
		if (pauseMs > 0) await sleep(pauseMs)
		return body(node)
	}
	return new KafkaAdapter({
		kafka: {
			brokers: env.KAFKA_BROKERS,
			clientId: 'flowcraft-demo',
			sessionTimeoutMs: SESSION_TIMEOUT_MS,
			// A demo that was killed and starts again takes the place of its former self, instead of waiting for its end.
			groupInstanceId: names.group,
		},
		cassandraClient: { contactPoints: env.CASSANDRA_CONTACT_POINTS, localDataCenter: env.CASSANDRA_DATACENTER },
		coordinationStore: env.REDIS_URL,
		keyspace: names.keyspace,
		contextTableName: CONTEXTS,
		statusTableName: STATUSES,
		topicName: names.topic,
		groupId: names.group,
		topicPartitions: PARTITIONS,
		consistency: 'LOCAL_QUORUM',
		runtimeOptions: {
			registry: registryOf(journaled),
			blueprints: { [BLUEPRINT.id]: BLUEPRINT },
			logger: quietLogger(log),
		},
	})
}

/** What is only said for the record would tear the progress bar. */
function quietLogger(log) {
	const say = (message, meta) => log(meta?.error ? `${message} ${meta.error.message ?? meta.error}` : message)
	return { debug() {}, info() {}, warn: say, error: say }
}

/** Sees every run to its end, a bounded number at a time. What an earlier start has done is not started again. */
export class Runs {
	#adapter
	#runs
	#statuses
	#signal
	#onDone
	#begun = 0
	#over

	/**
	 * @param {object} options
	 * @param {KafkaAdapter} options.adapter started
	 * @param {{ runId: string, file: import('./files.mjs').InputFile }[]} options.runs
	 * @param {Map<string, string>} options.statuses what earlier starts have left behind
	 * @param {AbortSignal} options.signal
	 * @param {() => void} options.onDone called for each run
	 */
	constructor({ adapter, runs, statuses, signal, onDone }) {
		this.#adapter = adapter
		this.#runs = runs.filter(({ runId }) => !OVER.has(statuses.get(runId) ?? ''))
		this.#statuses = statuses
		this.#signal = signal
		this.#onDone = onDone
		this.#over = runs.length - this.#runs.length
	}

	get over() {
		return this.#over
	}

	get inFlight() {
		return this.#begun
	}

	/**
	 * @param {number} atOnce
	 * @param {() => void} onStarted
	 * @returns {Promise<void>} over when every run is, or soon after the signal; rejects with a problem of the worker
	 */
	async start(atOnce, onStarted) {
		await this.#adapter.start()
		onStarted()
		const left = this.#runs.values()
		const lane = async () => {
			for (const run of left) {
				if (this.#signal.aborted) return
				await this.#see(run)
			}
		}
		await Promise.all(Array.from({ length: atOnce }, lane))
	}

	async #see(run) {
		this.#begun++
		const isOver = await this.#handle(run)
			.then((handle) => this.#ended(handle))
			.finally(() => this.#begun--)
		if (!isOver) return
		this.#over++
		this.#onDone()
	}

	/** A run with a status row was started; its job is in Kafka, unless the demo was killed between the two. */
	async #handle({ runId, file }) {
		if (!this.#statuses.has(runId)) return this.#adapter.startRun(BLUEPRINT.id, contextOf(runId, file), { runId })
		await this.#adapter.reconcile(runId)
		return this.#adapter.getRun(runId)
	}

	/** @returns {Promise<boolean>} `false` when the demo is to stop first */
	async #ended(handle) {
		while (!this.#signal.aborted) {
			try {
				await handle.result({ timeoutMs: LOOK_UP_MS })
				return true
			} catch (error) {
				if (error.code !== 'ERR_RESULT_TIMEOUT') throw error
			}
		}
		return false
	}
}
