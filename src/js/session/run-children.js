/**
 * The children of a run's subflows that await.
 */
import { unlessEmpty } from './checkpoint.js'
import { isOverIn, leadsTo, nextAlarm, openWaits, recordOf, waitsFor } from './child-record.js'
import { isSubflow } from './child-run.js'

/** @typedef {import('./child-record.js').ChildRecord} ChildRecord */
/** What a child goes on with; `to`: the nodes that it is for, each as ids from the child's own nodes on. @typedef {{ to: string[][], action?: string, output?: any }} AnswerWithin */
/** A node of the run; `within`: the path of one in its child. @typedef {{ nodeId: string, within?: string }} Target */

export class RunChildren {
	/** By the subflow. @type {Map<string, ChildRecord>} */
	#records = new Map()
	#graph
	#context
	#runtime

	/**
	 * @param {import('./run-graph.js').RunGraph} graph
	 * @param {import('./run-context.js').RunContext} context
	 * @param {any} runtime
	 */
	constructor(graph, context, runtime) {
		this.#graph = graph
		this.#context = context
		this.#runtime = runtime
	}

	/** @param {string} nodeId */
	get(nodeId) {
		return this.#records.get(nodeId)
	}

	/** Takes over what a recorded visit has left, if it was a subflow. @param {import('./visit.js').Visit} visit */
	record({ nodeId, child, answer }) {
		if (child) this.#records.set(nodeId, child)
		else if (answer) {
			this.#records.delete(nodeId)
			this.#context.remove(`_subflowState.${nodeId}`)
		}
	}

	/** Of children that memory or an earlier version has paused there is only their context. @param {Iterable<string>} nodeIds that await */
	adopt(nodeIds) {
		for (const nodeId of nodeIds) {
			const text = this.#context.read(`_subflowState.${nodeId}`)
			const { serializer } = this.#runtime
			if (typeof text === 'string' && !this.#records.has(nodeId) && this.#isSubflow(nodeId))
				this.#records.set(nodeId, recordOf(serializer.deserialize(text), serializer))
		}
	}

	/** @param {string} nodeId */
	#isSubflow(nodeId) {
		return isSubflow(this.#runtime.registry.get(this.#graph.node(nodeId)?.uses))
	}

	/** Whom an address means: a node of the run before one in a subflow. @param {string} address @returns {Target} */
	target(address) {
		if (this.#graph.node(address)) return { nodeId: address }
		for (let at = address.indexOf('/'); at > 0; at = address.indexOf('/', at + 1)) {
			const nodeId = address.slice(0, at)
			if (this.#isSubflow(nodeId)) return { nodeId, within: address.slice(at + 1) }
		}
		return { nodeId: address }
	}

	/**
	 * Whether somebody in a child awaits an answer, or may come to.
	 * @param {Required<Target>} target whose child is known
	 * @param {number | undefined} visit in which the wait that is meant has begun
	 * @param {AnswerWithin | undefined} running answer with which the child goes on now
	 */
	mayAnswer({ nodeId, within }, visit, running) {
		const record = /** @type {ChildRecord} */ (this.get(nodeId))
		const wait = openWaits(record).find((open) => leadsTo(within, open))
		if (!wait) return visit === undefined && !isOverIn(record, within)
		if (visit !== undefined && wait.visit !== visit) return false
		return !running?.to.some((ids) => leadsTo(ids.join('/'), wait))
	}

	/**
	 * @param {Target} target whose child awaits
	 * @param {import('./run-waits.js').Answer} answer
	 * @returns {AnswerWithin | undefined} `undefined`: nobody there awaits it yet
	 */
	answer({ nodeId, within }, { action, output, timer }) {
		const waits = waitsFor(/** @type {ChildRecord} */ (this.get(nodeId)), within, timer)
		return waits.length > 0 ? { to: waits.map(({ ids }) => ids), action, output } : undefined
	}

	/** @param {string} nodeId @returns {import('./child-record.js').OpenWait[] | undefined} the waits in its child */
	waitsOf(nodeId) {
		const record = this.get(nodeId)
		return record && openWaits(record).map((wait) => ({ ...wait, ids: [nodeId, ...wait.ids] }))
	}

	/**
	 * When a timer wakes a child. One whose time has passed may have fired already, and what it was made of is about to be deleted: the
	 * next one needs a time of its own.
	 * @param {ChildRecord | undefined} record
	 * @returns {number | undefined} milliseconds since the epoch
	 */
	alarmOf(record) {
		const at = record && nextAlarm(record)
		return at === undefined ? undefined : Math.max(at, Date.now() + 1)
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	write(checkpoint) {
		checkpoint.children = unlessEmpty([...this.#records])
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	restore({ children = [], waiting = [] }) {
		for (const [nodeId, record] of children) this.#records.set(nodeId, record)
		this.adopt(waiting.map(([nodeId]) => nodeId))
	}
}
