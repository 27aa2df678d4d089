/**
 * Graph and state of a subflow's child while it runs: Flowcraft's own, which know that a node which awaits has not ended.
 */
import { WorkflowState } from 'flowcraft'
import { unlessEmpty } from './checkpoint.js'
import { recordError, reviveError } from './outcome.js'
import { RunGraph, shapeOf } from './run-graph.js'

/** @typedef {import('./child-record.js').ChildRecord} ChildRecord */

/** @param {any} state of a child @param {string} nodeId @returns {boolean} */
export const awaits = (state, nodeId) => state.getAwaitingNodeIds().includes(nodeId)

/** Memory completes a node that begins to await and readies its successors, but runs none of them. */
export class ChildGraph extends RunGraph {
	#state

	/**
	 * @param {import('flowcraft').WorkflowBlueprint} blueprint
	 * @param {import('flowcraft').GraphTraverser} traverser of it, at the beginning
	 * @param {any} state of the child
	 */
	constructor(blueprint, traverser, state) {
		super({ blueprint, shape: shapeOf(blueprint), traverser })
		this.#state = state
		this.clearFrontier()
	}

	/** @param {import('flowcraft').GraphTraverser} traverser */
	begin(traverser) {
		for (const { nodeId } of traverser.getReadyNodes()) this.addToFrontier(nodeId)
	}

	/** @param {ChildRecord} record stays as it is: another attempt may go on from it */
	goOn({ done = [], ready = [], inputs = [], dynamic = [], batches = [] }) {
		this.restore({
			completed: done.map((nodeId) => [nodeId, this.now]),
			inputs,
			inputWaves: [],
			dynamic: dynamic.map((one) => ({ ...one, def: { ...one.def } })),
			batches: structuredClone(batches),
		})
		for (const nodeId of ready) this.addToFrontier(nodeId)
	}

	/** @param {string} nodeId @param {any} result @param {import('flowcraft').NodeDefinition[]} nextNodes @override */
	markNodeCompleted(nodeId, result, nextNodes) {
		if (awaits(this.#state, nodeId)) return
		super.markNodeCompleted(nodeId, result, nextNodes)
		this.asked = []
	}

	/** @param {string} nodeId @param {import('flowcraft').NodeDefinition} def @param {string} from @param {string} [gather] @override */
	addDynamicNode(nodeId, def, from, gather) {
		if (!awaits(this.#state, from)) super.addDynamicNode(nodeId, def, from, gather)
	}

	/** @returns {Omit<ChildRecord, 'waiting'>} */
	record() {
		return {
			done: unlessEmpty([...this.plainCompleted.keys()]),
			ready: unlessEmpty(this.getReadyNodes().map(({ nodeId }) => nodeId)),
			inputs: unlessEmpty([...this.rewritten]),
			dynamic: unlessEmpty([...this.dynamic.values()]),
			batches: unlessEmpty(this.batches.map((batch) => batch.entry())),
		}
	}
}

/**
 * The state of a child that goes on: waits that are still open from before end no wave.
 * @extends {WorkflowState<any>}
 */
export class ChildState extends WorkflowState {
	#before

	/**
	 * @param {Record<string, any>} context
	 * @param {ChildRecord} record
	 * @param {string[]} answered nodes
	 */
	constructor(context, { waiting, errors = [], fallback }, answered) {
		super(context)
		this.#before = new Set(waiting.map(([nodeId]) => nodeId).filter((nodeId) => !answered.includes(nodeId)))
		// Before there is an event bus, which these changes are nothing for.
		for (const nodeId of answered) this.clearAwaiting(nodeId)
		for (const record of errors) this.getErrors().push(/** @type {any} */ (reviveError(record)))
		if (fallback) this.markFallbackExecuted()
	}

	/** @param {string} nodeId @param {any} [details] @override */
	markAsAwaiting(nodeId, details) {
		this.#before.delete(nodeId)
		return super.markAsAwaiting(nodeId, details)
	}

	/** @param {string} nodeId that awaits */
	awaitsSinceBefore(nodeId) {
		return this.#before.has(nodeId)
	}

	/** @override */
	isAwaiting() {
		return this.getAwaitingNodeIds().some((nodeId) => !this.#before.has(nodeId))
	}
}

/** @param {any} state of a child @returns {Pick<ChildRecord, 'errors' | 'fallback'>} */
export const stateRecord = (state) => ({
	errors: unlessEmpty(state.getErrors().map(recordError)),
	fallback: state.getAnyFallbackExecuted() ? 1 : undefined,
})

/**
 * The context of a child as it was when it paused.
 * @param {Record<string, any>} context as its text has it
 * @param {ChildRecord} record
 * @param {import('flowcraft').WorkflowBlueprint} blueprint
 */
export function contextOf(context, { waiting, absent = [], done = [] }, { nodes }) {
	// It is put into results only, where it is added again.
	delete context._executionId
	context._awaitingNodeIds = waiting.map(([nodeId]) => nodeId)
	for (const key of absent) if (!(key in context)) context[key] = undefined
	// Flowcraft does not wait for the alias of a node that a fallback replaces; the text may have been made before it was there.
	const replaced = nodes.filter(({ id, config }) => config?.fallback && done.includes(id) && !(id in context))
	for (const { id } of replaced) if (context[`_outputs.${id}`] === null) context[id] = null
	return context
}
