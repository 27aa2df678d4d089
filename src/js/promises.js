/** Waiting: for what may never come, for what nobody else waits for, and for several things that may fail. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Code, KafkaAdapterError } from './errors.js'

/**
 * Marks a rejection as seen: whoever starts a worker without waiting for it has the log line, and the process lives.
 *
 * @template T
 * @param {Promise<T>} promise
 */
export const seen = (promise) => {
	promise.catch(() => undefined)
	return promise
}

/**
 * @template T
 * @param {number} limitMs of `start()`, may be `Infinity`
 * @param {string} waitingFor
 * @param {Promise<T>} work
 * @param {number} [spentMs] how much of the limit is gone already
 * @returns {Promise<T>}
 */
export const within = async (limitMs, waitingFor, work, spentMs = 0) => {
	if (limitMs === Infinity) return work
	const done = new AbortController()
	const late = sleep(Math.max(0, limitMs - spentMs), undefined, { signal: done.signal }).then(() => {
		const text = `start() gave up after ${limitMs} ms while ${waitingFor}. Check the service or raise startTimeoutMs`
		throw new KafkaAdapterError(Code.StartTimeout, text, { retryable: true })
	})
	return Promise.race([work, seen(late)]).finally(() => done.abort())
}

/**
 * @param {Promise<unknown>} work
 * @param {number} limitMs
 * @returns {Promise<void>} when the work is done or has failed, or the time is over
 */
export const settledOr = async (work, limitMs) => {
	const done = new AbortController()
	const patience = sleep(limitMs, undefined, { signal: done.signal })
	await Promise.race([work, seen(patience)]).finally(() => done.abort())
}

/**
 * Every step is taken, whatever becomes of the others.
 *
 * @param {(() => unknown)[]} steps
 * @returns {Promise<unknown[]>} what went wrong
 */
export const inTurn = async (steps) => {
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
