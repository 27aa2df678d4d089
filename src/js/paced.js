/** Work on many runs, one after the other or some at once: no faster than told, and patient with what may pass. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Code, unwrap } from './errors.js'

/** Of what may pass: pauses of 0.2 to 6.4 s. */
const ATTEMPTS = 7
const FIRST_PAUSE_MS = 200

/**
 * @param {number} ms
 * @param {AbortSignal | undefined} signal ends the rest
 */
const rest = (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined)

/**
 * What may pass is tried again.
 *
 * @template T
 * @param {() => Promise<T | import('./errors.js').Failure>} work
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<T>}
 */
export const patiently = async (work, signal) => {
	for (let attempt = 1, pause = FIRST_PAUSE_MS; ; attempt++, pause *= 2) {
		try {
			return await unwrap(work())
		} catch (error) {
			if (!(/** @type {any} */ (error).retryable) || attempt === ATTEMPTS || signal?.aborted) throw error
			await rest(pause, signal)
		}
	}
}

/**
 * Lets one through after the other, so many in a second.
 *
 * @param {number} perSecond may be `Infinity`
 * @param {AbortSignal} [signal] lets all through
 * @param {{ now: () => number, rest: (ms: number, signal: AbortSignal | undefined) => Promise<unknown> }} [clock]
 */
export const pace = (perSecond, signal, clock = { now: () => performance.now(), rest }) => {
	let next = 0
	return async () => {
		const now = clock.now()
		const at = Math.max(now, next)
		next = at + 1000 / perSecond
		if (at > now) await clock.rest(at - now, signal)
	}
}

/**
 * Some at once. When one of them breaks, none begins another, and the reason is thrown when all have ended.
 *
 * @template T
 * @param {AsyncGenerator<T>} items
 * @param {number} lanes
 * @param {(item: T) => Promise<void>} work
 */
export const inLanes = async (items, lanes, work) => {
	let isBroken = false
	const lane = async () => {
		// They share one generator, which hands out one item after the other, whoever asks.
		for (let next = await items.next(); !next.done && !isBroken; next = await items.next()) await work(next.value)
	}
	const breaking = (/** @type {unknown} */ error) => {
		isBroken = true
		throw error
	}
	const ends = await Promise.allSettled(Array.from({ length: lanes }, () => lane().catch(breaking)))
	for (const ended of ends) if (ended.status === 'rejected') throw ended.reason
}

/** Failures that are told; all are counted. */
const MOST_FAILURES = 100

/**
 * Counts what a run failed for.
 *
 * @param {{ failed: number, failures: { runId: string, code: string, message: string }[] }} report
 * @param {string} runId
 * @param {unknown} error
 */
export const noteFailure = (report, runId, error) => {
	report.failed++
	const { code = Code.Internal, message } = /** @type {any} */ (error)
	if (report.failures.length < MOST_FAILURES) report.failures.push({ runId, code, message })
}
