/**
 * Flowcraft's `GraphTraverser` for one run, with what a checkpoint needs noted as it happens: waves of completed nodes,
 * rewritten `inputs`, dynamic nodes, loop resets.
 */
import { GraphTraverser } from 'flowcraft'

/** @typedef {import('flowcraft').NodeDefinition} NodeDefinition */
/** @typedef {{ def: NodeDefinition, from: string, gather?: string }} DynamicNode */

/** @typedef {{ completed: [string, number][], inputs: [string, any][], dynamic: DynamicNode[] }} GraphRecord */

export class RunGraph extends GraphTraverser {
	/** Completed nodes and the wave of their last visit. @type {Map<string, number>} */
	completed = new Map()
	/** @type {Map<string, DynamicNode>} */
	dynamic = new Map()
	/** `inputs` that edges have rewritten in this run's copy of the blueprint. @type {Map<string, any>} */
	rewritten = new Map()
	/** The wave of the visit whose result is being processed. */
	wave = 0
	/** Told of every node that a loop un-completes. @type {(nodeId: string) => void} */
	onReset = () => {}
	/** @type {Map<string, NodeDefinition>} */
	#nodes = new Map()

	/** @param {import('flowcraft').WorkflowBlueprint} blueprint sanitised; copied, never changed */
	constructor(blueprint) {
		super(blueprint)
		for (const node of this.getDynamicBlueprint().nodes) if (!this.#nodes.has(node.id)) this.#nodes.set(node.id, node)
	}

	/** @param {string} nodeId */
	node(nodeId) {
		return this.#nodes.get(nodeId)
	}

	/** @param {string} nodeId */
	isAnyJoin(nodeId) {
		return this.#nodes.get(nodeId)?.config?.joinStrategy === 'any'
	}

	/** @param {string} nodeId */
	predecessorsOf(nodeId) {
		return this.getAllPredecessors().get(nodeId)
	}

	/**
	 * The wave in which a node runs that the processed result made ready.
	 * @param {string} nodeId
	 */
	waveOf(nodeId) {
		let last = this.wave
		if (!this.isAnyJoin(nodeId)) {
			for (const predecessor of this.predecessorsOf(nodeId) ?? [])
				last = Math.max(last, this.completed.get(predecessor) ?? 0)
		}
		return last + 1
	}

	/** @param {string} nodeId @param {any} result @param {NodeDefinition[]} nextNodes @override */
	markNodeCompleted(nodeId, result, nextNodes) {
		this.completed.set(nodeId, this.wave)
		super.markNodeCompleted(nodeId, result, nextNodes)
	}

	/** @param {string} nodeId @override */
	resetNodeCompletion(nodeId) {
		this.completed.delete(nodeId)
		super.resetNodeCompletion(nodeId)
		this.onReset(nodeId)
	}

	/** Takes a completion back that a loop had reset before it came. @param {string} nodeId */
	uncomplete(nodeId) {
		this.completed.delete(nodeId)
		super.resetNodeCompletion(nodeId)
	}

	/** @param {string} nodeId @param {NodeDefinition} def @param {string} from @param {string} [gather] @override */
	addDynamicNode(nodeId, def, from, gather) {
		super.addDynamicNode(nodeId, def, from, gather)
		// The first definition of an id is the one that runs, the last emitter is its predecessor: as in memory.
		if (!this.#nodes.has(def.id)) this.#nodes.set(def.id, def)
		this.dynamic.set(def.id, { def: this.dynamic.get(def.id)?.def ?? def, from, gather })
	}

	/** @param {string} nodeId @param {any} inputs */
	rewrite(nodeId, inputs) {
		const node = this.#nodes.get(nodeId)
		if (node) node.inputs = inputs
		this.rewritten.set(nodeId, inputs)
	}

	/** Takes over what a checkpoint recorded. @param {GraphRecord} record */
	restore({ completed, inputs, dynamic }) {
		for (const { def, from, gather } of dynamic)
			this.addDynamicNode(def.id, this.#withLocalWorker(def, from), from, gather)
		for (const [nodeId, value] of inputs) this.rewrite(nodeId, value)
		const nodes = /** @type {{ completedNodes: Set<string> }} */ (/** @type {unknown} */ (this)).completedNodes
		for (const [nodeId, wave] of completed) {
			this.completed.set(nodeId, wave)
			nodes.add(nodeId)
		}
		this.clearFrontier()
	}

	/**
	 * A batch worker's registry key is made of a hash and a counter, so another process may know the same function under
	 * another key: the local scatter node says which.
	 * @param {NodeDefinition} def @param {string} from
	 */
	#withLocalWorker(def, from) {
		const emitter = this.#nodes.get(from)
		const uses = emitter?.uses === 'batch-scatter' ? emitter.params?.workerUsesKey : undefined
		return uses ? { ...def, uses } : def
	}
}
