/**
 * One life of the engine in this process: from `start` to `stop`, with everything JavaScript keeps for it.
 */
import { Code, KafkaAdapterError, messageOf, unwrap } from '../errors.js'
import { getNative } from '../native.js'
import { createSessions } from '../bridge/sessions.js'
import { byTurns } from '../bridge/turns.js'

/**
 * @typedef {import('flowcraft').ILogger} ILogger
 * @typedef {import('../native.js').BridgeEvent} BridgeEvent
 * @typedef {import('../native.js').NativeWorker} NativeWorker
 * @typedef {(op: string, argsJson: string) => Promise<string | null>} Ports
 *
 * @typedef {object} WorkerParts
 * @property {Record<string, unknown>} config for the engine, see docs/bridge.md
 * @property {Ports} ports
 * @property {ILogger} logger
 * @property {boolean} holdsProcess whether the process stays for it: a worker goes on until it is stopped
 * @property {(state: string, detail: unknown) => void} onState
 * @property {Omit<Parameters<typeof createSessions>[0], 'native' | 'logger' | 'fallback'>} sessions
 */

// Kinds of events that are not about runs.
const REQUEST = 7
const LOG = 8
const STATE = 9
const PULSE = 20
/** @type {Record<string, 'debug' | 'info' | 'warn' | 'error'>} */
const LEVELS = { debug: 'debug', info: 'info', warn: 'warn', error: 'error' }

/** A worker goes on until it is stopped, and nothing native keeps the process alive. */
const holdProcess = () => {
	const timer = setInterval(() => {}, 2 ** 30)
	return () => clearInterval(timer)
}

/**
 * @typedef {{ sessions?: ReturnType<typeof createSessions> }} Door
 *
 * A function of its own: an arrow in the constructor would hold whatever the other arrows there hold, `this` included.
 *
 * @param {Door} door
 * @returns {(events: any[][]) => void}
 */
const through = (door) => (events) => door.sessions?.onBatch(events)

/**
 * What was validated is not refused here; if it is all the same, the refusal is one of ours.
 *
 * @param {Record<string, unknown>} config
 * @param {(events: any[][]) => void} onBatch
 * @returns {NativeWorker}
 */
const newNative = (config, onBatch) => {
	const { NativeWorker } = getNative()
	try {
		return new NativeWorker(JSON.stringify(config), onBatch)
	} catch (error) {
		const { code } = /** @type {{ code?: unknown }} */ (error)
		const isOurs = Object.values(Code).some((known) => known === code)
		throw new KafkaAdapterError(isOurs ? String(code) : Code.Internal, messageOf(error), { cause: error })
	}
}

export class Worker {
	#parts
	/** @type {NativeWorker} */
	#native
	#sessions
	#release = () => {}
	/**
	 * What native code calls. It lives as long as the native object, so it must not hold what holds that object: closed
	 * after the last event, or worker and adapter would stay in memory for good.
	 *
	 * @type {Door}
	 */
	#door = {}
	/** @type {Promise<void> | undefined} */
	#started
	#isStopped = false

	/** @param {WorkerParts} parts */
	constructor(parts) {
		this.#parts = parts
		// Nothing may be thrown back into native code: the sessions catch what goes wrong, `#handle` included.
		this.#native = newNative(parts.config, through(this.#door))
		this.#sessions = this.#door.sessions = createSessions({
			...parts.sessions,
			native: byTurns(this.#native),
			logger: parts.logger,
			fallback: (event) => this.#handle(/** @type {BridgeEvent} */ (event)),
		})
	}

	/** Fulfils once the group is joined. */
	async start() {
		if (this.#parts.holdsProcess) this.#release = holdProcess()
		this.#started = unwrap(this.#native.start())
		try {
			await this.#started
			if (this.#isStopped) throw new KafkaAdapterError(Code.NotRunning, 'the worker was stopped while it started')
			this.#sessions.watchVersions()
		} catch (error) {
			this.#release()
			// What was half started ends by itself; nobody waits for it.
			this.#native
				.stop(0)
				.catch(() => undefined)
				.finally(() => this.#close())
			throw error
		}
	}

	/**
	 * @param {number} deadlineMs
	 * @returns {Promise<{ drained: boolean, abandonedRuns: number }>}
	 */
	async stop(deadlineMs) {
		this.#isStopped = true
		try {
			const report = JSON.parse(await unwrap(this.#native.stop(deadlineMs)))
			// An engine that was only reaching the services comes up first, and is stopped by `start()`.
			await this.#started?.catch(() => undefined)
			return report
		} finally {
			this.#sessions.abortAll('the worker stopped')
			this.#release()
		}
	}

	health() {
		// Before the engine is up it has nothing to say.
		return { state: 'starting', ...JSON.parse(this.#native.health() ?? '{}'), sessions: this.#sessions.stats() }
	}

	/** @param {import('flowcraft').JobPayload} job */
	async enqueue({ runId, blueprintId, nodeId }) {
		await unwrap(this.#native.enqueue(runId, blueprintId, nodeId))
	}

	/**
	 * @param {string} runId
	 * @param {string} command raw JSON
	 */
	async sendCommand(runId, command) {
		await unwrap(this.#native.sendCommand(runId, command))
	}

	/** @param {import('./job-message.js').Received} job */
	async submit({ runId, blueprintId, nodeId, command }) {
		const text = command === undefined ? [] : [JSON.stringify(command)]
		await unwrap(this.#native.submit(runId, blueprintId ?? '', nodeId ?? '', ...text))
	}

	/** @param {BridgeEvent} event */
	#handle([kind, ...rest]) {
		if (kind === REQUEST) void this.#answer(Number(rest[0]), String(rest[1]), String(rest[2]))
		else if (kind === LOG) this.#log(String(rest[0]), String(rest[1]))
		else if (kind === PULSE) this.#native.alive()
		else if (kind === STATE) this.#changeState(String(rest[0]), String(rest[1] ?? 'null'))
	}

	/**
	 * @param {number} requestId
	 * @param {string} op
	 * @param {string} argsJson
	 */
	async #answer(requestId, op, argsJson) {
		try {
			this.#native.reply(requestId, null, await this.#parts.ports(op, argsJson))
		} catch (error) {
			this.#native.reply(requestId, messageOf(error), null)
		}
	}

	/**
	 * @param {string} level
	 * @param {string} text
	 */
	#log(level, text) {
		this.#parts.logger[LEVELS[level] ?? 'info'](text)
	}

	/**
	 * @param {string} state
	 * @param {string} detailJson
	 */
	#changeState(state, detailJson) {
		const isOver = state === 'failed' || state === 'closed'
		if (isOver) this.#release()
		this.#parts.onState(state, JSON.parse(detailJson || 'null'))
		if (isOver) this.#close()
	}

	#close() {
		this.#sessions.closeAll('the worker is closed')
		this.#door.sessions = undefined
	}
}
