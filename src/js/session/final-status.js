/**
 * How a run stands by its status row. Whoever has left no checkpoint has told there alone that it ended.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CHECKPOINT_VERSION } from './checkpoint.js'
import { messageOf } from './outcome.js'

/** @typedef {{ status: string, result: { status: string, reason?: string, payload?: any } | undefined }} StatusRow */
/** @typedef {(runId: string) => Promise<StatusRow | undefined>} ReadStatus */

/** Statuses that are never left; `failed` is, where other branches go on (spec row 22). */
const OVER = new Set(['completed', 'cancelled'])
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 3000
/** Attempts where trying again may not help: a table without the columns, a client that is none. */
const FEW = 5

/**
 * @param {ReadStatus} read
 * @param {string} runId
 * @param {{ isWanted: () => boolean, warn: (text: string) => void }} asker
 * @returns {Promise<StatusRow | undefined>} `undefined` where there is no row, or no answer
 */
export async function finalStatus(read, runId, { isWanted, warn }) {
	for (let attempt = 1, pause = FIRST_PAUSE_MS; ; attempt++, pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
		try {
			return await read(runId)
		} catch (error) {
			if (!isWanted()) return undefined
			const mayPass = /** @type {any} */ (error)?.retryable === true
			const text = `[KafkaAdapter] The status of run '${runId}' cannot be read (${messageOf(error)})`
			if (attempt === 1) warn(`${text}; it is asked for again before the run goes on`)
			if (mayPass || attempt < FEW) await sleep(pause, undefined, { ref: false })
			else {
				warn(`${text}; the run goes on as if it had none`)
				return undefined
			}
		}
	}
}

/**
 * @param {import('./opening.js').Opening} opening of an adopted run
 * @param {StatusRow | undefined} row
 * @returns {import('./opening.js').Opening}
 */
export function overOpening(opening, row) {
	if (row?.status === 'failed') return { ...opening, failure: row.result?.reason ?? 'the run has failed' }
	if (!row || !OVER.has(row.status)) return opening
	const outcome = /** @type {import('./outcome.js').Outcome} */ ({ ...row.result, status: row.status })
	const { blueprintId: blueprint, entry } = opening
	const checkpoint = { v: CHECKPOINT_VERSION, blueprint, version: entry.version, last: 0, outcome }
	return { ...opening, kind: 'restored', checkpoint, nodeIds: [] }
}
