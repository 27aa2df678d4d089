/**
 * The JavaScript end of the bridge (docs/bridge.md): hands the engine's events to the sessions of its runs.
 *
 * Nothing here throws: what goes wrong is told to the engine, or logged.
 */
import { withTimeouts } from '../session/attempt-limits.js'
import { createBlueprintCatalog } from '../session/blueprint-catalog.js'
import { openRun } from '../session/opening.js'
import { messageOf } from '../session/outcome.js'
import { QueueRetries, withSingleAttempts } from '../session/queue-retries.js'
import { ParkedSession } from '../session/parked-session.js'
import { Permits } from '../session/permits.js'
import { finalStatus, overOpening } from '../session/final-status.js'
import { RunContext } from '../session/run-context.js'
import { RunSession } from '../session/run-session.js'
import { codecOf } from '../stores/stored-values.js'
import { VALUE_SIZES, refusedSize, sizeWarning } from '../stores/value-limits.js'
import { RegisteredVersions } from '../session/versions.js'

const OPEN = 1
const DURABLE = 2
const MERGE = 3
const STRAY = 4
const ABORT = 5
const CLOSE = 6
const START = 10
const DRAIN = 11
const ALL_SEEN = 12
const COMMAND = 13
const REFRESHED = 14
// About the worker, not about a run.
const PULSE = 20

/**
 * @typedef {object} SessionOptions
 * @property {number} [maxConcurrentJobs] node bodies that run at once in this worker (default 256)
 * @property {number} [maxConcurrentJobsPerRun] and in one run (default 32)
 * @property {import('../stores/value-limits.js').ValueSizes} [valueSizes]
 * @property {{ visits: number, workerId: string }} [history] how many visits of a run its checkpoint keeps; default none
 * @property {'eager' | 'wave'} [schedule] default `eager`
 * @property {boolean} [strict] runs of blueprints with cycles fail
 * @property {boolean} [enforceTimeouts] whether `config.timeout` of nodes counts; default false
 * @property {boolean} [webhooks] whether a `webhook` node waits for its request; default false
 * @property {boolean} [localStarts] default true; `false` waits for the job message of each visit
 * @property {number} [concurrency] nodes of one wave that run at once in schedule `wave` (default as `FlowRuntime.run`)
 */

/**
 * @param {object} parts
 * @param {import('flowcraft').FlowRuntime<any, any>} parts.runtime
 * @param {import('../session/run-session.js').NativeSteps} parts.native
 * @param {SessionOptions} [parts.options]
 * @param {import('flowcraft').ILogger} parts.logger
 * @param {import('flowcraft').IEventBus} [parts.adapterBus] gets `job:*`
 * @param {{ onJobStart?: Function, isReadyForFanIn?: Function }} [parts.hooks] bound methods that a subclass has overridden
 * @param {import('../session/queue-retries.js').RetryHooks} [parts.retries] absent where all attempts of nodes follow each other
 * @param {import('../stores/live-runs.js').LivePlace} [parts.livePlace] absent where the state of runs is kept by a subclass
 * @param {import('../session/final-status.js').ReadStatus} [parts.readStatus] absent where results are published by a subclass
 * @param {(event: any[]) => void} [parts.fallback] gets events that are not about sessions
 */
export function createSessions({
	runtime: given,
	native,
	options = {},
	logger: userLogger,
	adapterBus,
	hooks = {},
	retries,
	livePlace,
	readStatus,
	fallback = () => {},
}) {
	const logger = guarded(userLogger)
	const attempting = retries ? withSingleAttempts(given) : given
	const runtime = options.enforceTimeouts ? withTimeouts(attempting) : attempting
	/** @type {Map<number, RunSession | ParkedSession>} */
	const sessions = new Map()
	/** Of runs whose status is being read: what came meanwhile. @type {Map<number, any[][]>} */
	const opening = new Map()
	const catalog = createBlueprintCatalog(runtime, options)
	const versions = new RegisteredVersions(
		() => catalog.versions(),
		(keys) => native.versions(keys),
		(error) => logger.warn(`[KafkaAdapter] The registered blueprints cannot be looked at: ${messageOf(error)}`),
	)
	const permits = new Permits(options.maxConcurrentJobs ?? 256)
	const codec = codecOf(runtime)
	const { eventBus, serializer, evaluator, middleware, dependencies } = runtime
	/** @type {import('../session/run-session.js').SessionEnvironment} */
	const env = {
		runtime,
		native,
		hooks,
		livePlace,
		logger,
		adapterBus,
		contextBus: /** @type {any} */ (runtime).container || runtime.options?.eventBus ? eventBus : undefined,
		codec,
		services: { logger: runtime.logger, eventBus, serializer, evaluator, middleware, dependencies },
		permits,
		permitsPerRun: options.maxConcurrentJobsPerRun ?? 32,
		localStarts: options.localStarts ?? true,
		serial: options.maxConcurrentJobs === 1,
		history: options.history,
		webhooks: options.webhooks ?? false,
		retries:
			retries &&
			new QueueRetries(retries, { missing: () => native.timersMissing(), warn: (text) => logger.warn(text) }),
		schedule: options.schedule ?? 'eager',
		concurrency:
			options.concurrency ?? Math.min(/** @type {any} */ (globalThis).navigator?.hardwareConcurrency || 4, 10),
		abortGraceMs: 5000,
	}

	const { maxValueBytes, warnValueBytes } = { ...VALUE_SIZES, ...options.valueSizes }

	/** Refuses texts that are too large, and warns of large ones once per key. @param {string} runId */
	function weighing(runId) {
		const warned = new Set()
		return (/** @type {string} */ key, /** @type {string} */ raw) => {
			const refusal = refusedSize(runId, key, raw, maxValueBytes)
			const warning = refusal || warned.has(key) ? undefined : sizeWarning(runId, key, raw, warnValueBytes)
			if (warning) {
				warned.add(key)
				logger.warn(warning)
			}
			return refusal
		}
	}

	/** @param {any[]} event */
	function open([, handle, runId, blueprintId, nodeIds, entries, checkpoint, , moreMayCome, tokens = [], texts = []]) {
		try {
			const context = new RunContext(
				codec,
				(key, error) =>
					logger.warn(
						`[KafkaAdapter] Key '${key}' of run '${runId}' cannot be stored and lives in this process only: ${messageOf(error)}`,
					),
				weighing(runId),
			)
			const commands = tokens.map((/** @type {number} */ token, /** @type {number} */ at) => ({
				token,
				text: texts[at],
			}))
			const moved = movedTo(texts)
			const answer = openRun(catalog, context, { blueprintId, nodeIds, entries, checkpoint, moved })
			if ('refusal' in answer) {
				const { code, reason, status } = answer.refusal
				native.refuse(handle, code, reason, status)
				return
			}
			if ('parking' in answer) {
				if (!mayPark(answer.parking.reason))
					return native.refuse(handle, 'ERR_BLUEPRINT_VERSION', answer.parking.reason, null)
				const session = new ParkedSession(env, { handle, runId, context, parking: answer.parking, moreMayCome })
				sessions.set(handle, session)
				session.open(commands)
				return
			}
			const run = { handle, runId, context, opening: answer.opening, moreMayCome }
			if (run.opening.kind === 'adopted' && readStatus) void openAdopted(readStatus, run, commands)
			else openSession(run, commands)
		} catch (error) {
			cannotOpen(handle, error)
		}
	}

	/** @typedef {ConstructorParameters<typeof RunSession>[1]} Run */

	/** @param {Run} run @param {{ token: number, text: string }[]} commands */
	function openSession(run, commands) {
		const session = new RunSession(env, run)
		sessions.set(run.handle, session)
		session.open(commands)
	}

	/** @param {number} handle @param {unknown} error */
	function cannotOpen(handle, error) {
		sessions.delete(handle)
		native.refuse(handle, 'ERR_STATE_CORRUPT', `The run cannot be opened: ${messageOf(error)}`, null)
	}

	/**
	 * Those who have begun a run may have ended it, and only its status says so.
	 * @param {import('../session/final-status.js').ReadStatus} read @param {Run} run @param {{ token: number, text: string }[]} commands
	 */
	async function openAdopted(read, run, commands) {
		const { handle, runId } = run
		/** @type {any[][]} */
		const events = []
		opening.set(handle, events)
		const isWanted = () => opening.get(handle) === events
		const status = await finalStatus(read, runId, { isWanted, warn: (text) => logger.warn(text) })
		if (!isWanted()) return
		opening.delete(handle)
		try {
			openSession({ ...run, opening: overOpening(run.opening, status) }, commands)
		} catch (error) {
			return cannotOpen(handle, error)
		}
		for (const event of events) dispatchSafely(event)
	}

	let hasWarned = false

	/** Without a place for timers nothing would wake a parked run. @param {string} reason */
	function mayPark(reason) {
		const missing = native.timersMissing()
		// What the engine knows must not be older than the parking: it would wake the run for nothing.
		if (missing === null) versions.look()
		else if (!hasWarned)
			logger.warn(`[KafkaAdapter] Runs of other versions go to the dead letters (${reason}): ${missing}`)
		hasWarned ||= missing !== null
		return missing === null
	}

	/** @param {any[]} event */
	function dispatch(event) {
		const [kind, handle, detail, more] = event
		if (kind === OPEN) return open(event)
		if ((kind > CLOSE && kind < START) || kind === PULSE) return fallback(event)
		const waiting = opening.get(handle)
		if (waiting && kind === CLOSE) opening.delete(handle)
		else if (waiting) waiting.push(event)
		const session = sessions.get(handle)
		if (!session) return
		if (kind === DURABLE) session.durable(detail)
		else if (kind === MERGE) session.merge(detail)
		else if (kind === STRAY) session.stray(detail)
		else if (kind === ABORT) session.abort(detail)
		else if (kind === ALL_SEEN) session.allSeen()
		else if (kind === START) session.startVisits(detail)
		else if (kind === COMMAND) session.command(detail, more)
		else if (kind === REFRESHED) session.fresh.now()
		else if (kind === DRAIN) session.drain()
		else if (kind === CLOSE) {
			sessions.delete(handle)
			session.close(detail)
		}
	}

	/** @param {any[]} event */
	function dispatchSafely(event) {
		try {
			dispatch(event)
		} catch (error) {
			logger.error(`[KafkaAdapter] Event ${event?.[0]} failed: ${messageOf(error)}`)
		}
	}

	return {
		/** @param {any[][]} events */
		onBatch(events) {
			for (const event of events) dispatchSafely(event)
		},
		/** @param {string} reason */
		abortAll(reason) {
			for (const session of sessions.values()) session.abort(reason)
		},
		/** The engine is up: from now on it is told which versions of blueprints are registered. */
		watchVersions() {
			versions.watch()
		},
		/** Nothing of the engine will come any more. @param {string} reason */
		closeAll(reason) {
			versions.stop()
			opening.clear()
			for (const session of sessions.values()) session.close(reason)
			sessions.clear()
		},
		/** @param {number} handle */
		get: (handle) => sessions.get(handle),
		stats() {
			return { sessions: sessions.size, running: permits.used, waiting: permits.waiting }
		},
	}
}

/** The version that the last of these commands moves a parked run to. @param {string[]} commands raw JSON */
function movedTo(commands) {
	const found = commands.map((text) => JSON.parse(text)).findLast((command) => command?.kind === 'move')
	return found && { version: found.version ?? null }
}

/** A logger that throws must not take a run with it. @param {import('flowcraft').ILogger} logger @returns {import('flowcraft').ILogger} */
function guarded(logger) {
	const log = (/** @type {'debug' | 'info' | 'warn' | 'error'} */ level) => (/** @type {string} */ text) => {
		try {
			logger[level](text)
		} catch {
			// There is nowhere left to say it.
		}
	}
	return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
}
