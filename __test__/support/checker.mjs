/**
 * What became of a set of runs: lost and doubled effects, from the journal of the node bodies and the status rows.
 */
import assert from 'node:assert/strict'

/**
 * @typedef {import('./worker-process.mjs').Entry} Entry
 * @typedef {import('./cluster.mjs').StatusRow} StatusRow
 */

/** @param {{ run: string, node: string }} entry */
const visitOf = ({ run, node }) => `${run} ${node}`

/**
 * How often each node body of each run was begun.
 *
 * @param {Entry[]} entries
 * @returns {Map<string, Entry[]>} by `run node`
 */
export function executions(entries) {
	/** @type {Map<string, Entry[]>} */
	const found = new Map()
	for (const entry of entries) {
		if (entry.what !== 'begin') continue
		const visit = visitOf(entry)
		const list = found.get(visit)
		if (list) list.push(entry)
		else found.set(visit, [entry])
	}
	return found
}

/**
 * @param {object} parts
 * @param {Entry[]} parts.entries
 * @param {string[]} parts.runs
 * @param {string[]} parts.nodes of each run
 * @returns {{ lost: string[], doubled: string[], strange: string[] }} lost: never ended; doubled: begun more than once
 */
export function effects({ entries, runs, nodes }) {
	const begun = executions(entries)
	const ended = new Set(entries.filter(({ what }) => what === 'end').map(visitOf))
	const expected = runs.flatMap((run) => nodes.map((node) => visitOf({ run, node })))
	const known = new Set(expected)
	return {
		lost: expected.filter((visit) => !ended.has(visit)),
		doubled: expected.filter((visit) => (begun.get(visit)?.length ?? 0) > 1),
		strange: [...begun.keys()].filter((visit) => !known.has(visit)),
	}
}

/**
 * The largest number of node bodies that ran at once: over all runs, and within one.
 *
 * @param {Entry[]} entries
 */
export function concurrency(entries) {
	const running = new Set()
	/** @type {Map<string, number>} */
	const perRun = new Map()
	let runs = 0
	let withinRun = 0
	for (const { what, run, node, pid } of [...entries].sort((a, b) => a.at - b.at)) {
		if (what === 'abort') continue
		const change = what === 'begin' ? 1 : -1
		if (what === 'begin') running.add(`${run} ${node} ${pid}`)
		else running.delete(`${run} ${node} ${pid}`)
		const count = (perRun.get(run) ?? 0) + change
		if (count > 0) perRun.set(run, count)
		else perRun.delete(run)
		runs = Math.max(runs, perRun.size)
		withinRun = Math.max(withinRun, count)
	}
	return { runs, withinRun }
}

/**
 * Visits that a process had begun and that were not provably recorded when it ended: none of their successors had begun,
 * and their run had no outcome.
 *
 * @param {Entry[]} entries
 * @param {number} pid of the process that was killed
 * @param {{ source: string, target: string }[]} edges
 * @param {Set<string>} ended runs with an outcome before it was killed
 * @returns {Set<string>} the visits that may run again
 */
export function inFlight(entries, pid, edges, ended) {
	const begunThere = executions(entries.filter((entry) => entry.pid === pid && !ended.has(entry.run)))
	const recorded = new Set()
	for (const [visit] of begunThere) {
		const [run, node] = visit.split(' ')
		// D5: no successor starts before its predecessor's result is durable.
		for (const { source, target } of edges) if (target === node) recorded.add(`${run} ${source}`)
	}
	return new Set([...begunThere.keys()].filter((visit) => !recorded.has(visit)))
}

/**
 * Every row says `completed` and its payload is what the nodes return.
 *
 * @param {Map<string, StatusRow>} rows
 * @param {(runId: string) => Record<string, any>} outputs by node id
 */
export function assertCompleted(rows, outputs) {
	for (const [runId, { status, data }] of rows) {
		assert.equal(status, 'completed', `${runId}: ${JSON.stringify(data).slice(0, 500)}`)
		const { context } = data.payload
		for (const [node, output] of Object.entries(outputs(runId))) {
			assert.deepEqual(context[`_outputs.${node}`], output, `${runId} ${node}`)
		}
	}
}
