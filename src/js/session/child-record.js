/**
 * What is kept of a subflow's child that awaits, besides its context (`children` in docs/checkpoint.md): where it goes on.
 *
 * A wait in a child is addressed by its path: the ids of the subflows and of the node itself, with slashes between them.
 */
import { unlessEmpty } from './checkpoint.js'

/** @typedef {[nodeId: string, visit: number, at?: number]} WaitRecord */

/**
 * @typedef {object} ChildRecord
 * @property {WaitRecord[]} waiting nodes that await: the run's visit in which they began to, and
 *   when a timer wakes them, milliseconds since the epoch
 * @property {string[]} [done] completed nodes, apart from workers of batches
 * @property {string[]} [ready] nodes that the wait keeps from running
 * @property {[string, any][]} [inputs] that edges have rewritten
 * @property {import('./run-graph.js').DynamicNode[]} [dynamic]
 * @property {import('./batch-record.js').BatchEntry[]} [batches]
 * @property {import('./outcome.js').ErrorRecord[]} [errors]
 * @property {1} [fallback]
 * @property {string[]} [absent] keys whose value is `undefined`
 * @property {[string, ChildRecord][]} [children] of subflows that await
 */

/** A node that awaits, and the subflows that it is in. @typedef {{ ids: string[], visit?: number, at?: number }} OpenWait */

/** @param {string[]} ids */
export const pathOf = (ids) => ids.join('/')

/** Whether an address names a wait or a subflow that it is in. @param {string} address @param {OpenWait} wait */
export const leadsTo = (address, { ids }) => ids.some((_, at) => pathOf(ids.slice(0, at + 1)) === address)

/** The waits of a child and of its own children, the longest first. @param {ChildRecord} record @returns {(OpenWait & { visit: number })[]} */
export function openWaits({ waiting, children }) {
	const inner = new Map(children)
	const waits = waiting.flatMap(([nodeId, visit, at]) => {
		const child = inner.get(nodeId)
		if (!child) return [{ ids: [nodeId], visit, at }]
		return openWaits(child).map((wait) => ({ ...wait, ids: [nodeId, ...wait.ids] }))
	})
	return waits.sort((a, b) => a.visit - b.visit)
}

/**
 * Which waits of a child an answer is for.
 * @param {ChildRecord} record
 * @param {string | undefined} within their path in the child; the first one without it
 * @param {number} [timer] a timer's time: those whose time has come by then
 */
export function waitsFor(record, within, timer) {
	const open = openWaits(record)
	if (timer !== undefined) return open.filter(({ at }) => at !== undefined && at <= timer)
	const found = within === undefined ? open[0] : open.find((wait) => leadsTo(within, wait))
	return found ? [found] : []
}

/** When the next timer of a child is due. @param {ChildRecord} record @returns {number | undefined} milliseconds since the epoch */
export function nextAlarm(record) {
	const times = openWaits(record).flatMap(({ at }) => (at === undefined ? [] : [at]))
	return times.length > 0 ? Math.min(...times) : undefined
}

/** Whether what an address names is completed. @param {Pick<ChildRecord, 'done' | 'children'>} record @param {string} address @returns {boolean} */
export function isOverIn({ done = [], children = [] }, address) {
	const isIn = (/** @type {string} */ nodeId) => address.startsWith(`${nodeId}/`)
	if (done.some((nodeId) => nodeId === address || isIn(nodeId))) return true
	return children.some(([nodeId, child]) => isIn(nodeId) && isOverIn(child, address.slice(nodeId.length + 1)))
}

/**
 * The record of a child of which only the context is kept, because memory or an earlier version has paused it. What was ready beside
 * its waits is not known.
 * @param {any} context
 * @param {{ deserialize(text: string): any }} serializer
 * @returns {ChildRecord}
 */
export function recordOf(context, serializer) {
	/** @type {string[]} */
	const ids = context._awaitingNodeIds ?? []
	const outputs = Object.keys(context).filter((key) => key.startsWith('_outputs.'))
	const children = ids.flatMap((nodeId) => {
		const text = context[`_subflowState.${nodeId}`]
		return typeof text === 'string' ? [pair(nodeId, recordOf(serializer.deserialize(text), serializer))] : []
	})
	return {
		waiting: ids.map((nodeId) => waitRecord(nodeId, 0, context._awaitingDetails?.[nodeId])),
		done: outputs.map((key) => key.slice('_outputs.'.length)).filter((nodeId) => !ids.includes(nodeId)),
		children: unlessEmpty(children),
	}
}

/** @param {string} nodeId @param {ChildRecord} record @returns {[string, ChildRecord]} */
const pair = (nodeId, record) => [nodeId, record]

/** @param {string} nodeId @param {number} visit @param {any} details @returns {WaitRecord} */
export function waitRecord(nodeId, visit, details) {
	const at = timeOf(details)
	// JSON has no `undefined` in lists.
	return at === undefined ? [nodeId, visit] : [nodeId, visit, at]
}

/** When a timer wakes a node with these details. @param {any} details @returns {number | undefined} milliseconds since the epoch */
export const timeOf = (details) => (details?.reason === 'timer' ? Date.parse(details.wakeUpAt) : undefined)
