/**
 * The runs that are parked because nobody has their version of the blueprint, as the status table has them.
 */
import { runPages } from '../reconciler.js'

/** Clocks of workers may be ahead of ours. */
const AHEAD_MS = 86_400_000
/** Rows that are read at once. */
const AT_ONCE = 16

/** @typedef {import('../../../index.js').ParkedRun} ParkedRun */

/**
 * @param {import('../stores/status-table.js').StatusTable} statuses
 * @param {string} runId
 * @returns {Promise<ParkedRun[]>} none where it is parked no more
 */
const parkedRun = async (statuses, runId) => {
	const row = await statuses.read(runId)
	if (row?.status !== 'parked') return []
	const { reason = '', payload = {} } = /** @type {any} */ (row.result ?? {})
	const { blueprintId, version = null, since } = payload
	return [{ runId, blueprintId, version, reason, since: new Date(since) }]
}

/**
 * @param {{ client: unknown, table: string, statuses: import('../stores/status-table.js').StatusTable }} place
 * @returns {Promise<ParkedRun[]>} the oldest first
 */
export const listParkedRuns = async ({ client, table, statuses }) => {
	/** @type {ParkedRun[]} */
	const found = []
	for await (const page of runPages(client, table, 'parked', Date.now() + AHEAD_MS)) {
		const runIds = page.filter(Boolean).map(String)
		for (let at = 0; at < runIds.length; at += AT_ONCE) {
			const read = runIds.slice(at, at + AT_ONCE).map((runId) => parkedRun(statuses, runId))
			found.push(...(await Promise.all(read)).flat())
		}
	}
	return found.sort((a, b) => a.since.getTime() - b.since.getTime())
}
