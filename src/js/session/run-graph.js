/**
 * Flowcraft's `GraphTraverser` for one run, with what a checkpoint needs noted as it happens: waves of completed nodes,
 * rewritten `inputs`, dynamic nodes, loop resets.
 */
import { GraphTraverser } from 'flowcraft'
import { BatchRecord } from './batch-record.js'

/** @typedef {import('flowcraft').NodeDefinition} NodeDefinition */
/** @typedef {{ def: NodeDefinition, from: string, gather?: string }} DynamicNode */

/** When in memory's order something happened: the wave, and its place among the results of that wave. @typedef {{ wave: number, order: number }} Moment */
/** @typedef {{ completed: [string, Moment][], inputs: [string, any][], inputWaves: [string, number][], dynamic: DynamicNode[], batches: import('./batch-record.js').BatchEntry[] }} GraphRecord */

/**
 * What the edges of a blueprint say, once for all its runs.
 * @typedef {object} BlueprintShape
 * @property {Set<string>} conditional nodes with a condition on an incoming edge
 * @property {Set<string>} contested nodes that several others may ask for, or that take the place of others
 * @property {Map<string, Set<string>>} sources whose results may lead to a node: its predecessors, and what takes the place of one that has failed
 * @property {Map<string, string[]>} successors
 * @property {(nodeId: string) => Set<string>} ancestors nodes from which results may lead to this one, itself included
 */

/** @param {import('flowcraft').WorkflowBlueprint} blueprint @returns {BlueprintShape} */
export function shapeOf({ nodes, edges }) {
	const fallbacks = new Map(nodes.map((node) => [node.id, node.config?.fallback]))
	/** @type {Map<string, Set<string>>} */
	const sources = new Map()
	/** @type {Map<string, Set<string>>} */
	const successors = new Map()
	for (const { source, target } of edges) {
		add(successors, source, target)
		add(sources, target, source)
		const fallback = fallbacks.get(source)
		if (fallback) add(sources, target, fallback)
	}
	const contested = new Set([...sources].filter(([, from]) => from.size > 1).map(([target]) => target))
	for (const fallback of fallbacks.values()) if (fallback) contested.add(fallback)
	return {
		conditional: new Set(edges.filter((edge) => edge.condition).map((edge) => edge.target)),
		contested,
		sources,
		successors: new Map(Array.from(successors, ([source, targets]) => [source, [...targets]])),
		ancestors: ancestorsIn(nodes, sources),
	}
}

/** @param {NodeDefinition[]} nodes @param {Map<string, Set<string>>} sources */
function ancestorsIn(nodes, sources) {
	const from = new Map(Array.from(sources, ([target, list]) => [target, new Set(list)]))
	for (const { id, config } of nodes) if (config?.fallback) add(from, config.fallback, id)
	/** @type {Map<string, Set<string>>} */
	const known = new Map()
	return (/** @type {string} */ nodeId) => {
		let found = known.get(nodeId)
		if (!found) {
			found = new Set([nodeId])
			for (const one of found) for (const source of from.get(one) ?? []) found.add(source)
			known.set(nodeId, found)
		}
		return found
	}
}

/** @param {Map<string, Set<string>>} map @param {string} key @param {string} value */
function add(map, key, value) {
	const values = map.get(key)
	if (values) values.add(value)
	else map.set(key, new Set([value]))
}

/** @typedef {{ blueprint: import('flowcraft').WorkflowBlueprint, shape: BlueprintShape, traverser: GraphTraverser }} GraphTemplate */

/** Instead of a blueprint that cannot be used. */
const NOTHING = { id: '', nodes: [], edges: [] }
const FIELDS = ['allPredecessors', 'allSuccessors', 'completedNodes', 'dynamicBlueprint', 'frontier', 'nodesInLoops']
/**
 * Cloning and analysing a blueprint costs more than running a short one, so a run's traverser takes the result over from
 * the first. It does so only as long as Flowcraft's class has the fields that this was written for.
 */
const HAS_KNOWN_FIELDS = Object.keys(new GraphTraverser(NOTHING)).sort().join() === FIELDS.join()

/**
 * @param {import('flowcraft').WorkflowBlueprint} blueprint sanitised; copied, never changed
 * @returns {GraphTemplate}
 */
export function graphTemplate(blueprint) {
	return { blueprint, shape: shapeOf(blueprint), traverser: new GraphTraverser(blueprint) }
}

export const EMPTY_TEMPLATE = graphTemplate(NOTHING)

/** A run's own copy of what runs change; the rest is shared. @param {any} traverser */
function fieldsFrom({ dynamicBlueprint, allPredecessors, allSuccessors, nodesInLoops }) {
	const nodes = dynamicBlueprint.nodes.map(copyNode)
	return { dynamicBlueprint: { ...dynamicBlueprint, nodes }, allPredecessors, allSuccessors, nodesInLoops }
}

/** Nodes may change their own params within a run. @param {NodeDefinition} node */
function copyNode(node) {
	return node.params ? { ...node, params: structuredClone(node.params) } : { ...node }
}

export class RunGraph extends GraphTraverser {
	/** Completed nodes and since when. @type {Map<string, Moment>} */
	completed = new Map()
	/** Those of them that no batch keeps. @type {Map<string, Moment>} */
	plainCompleted = new Map()
	/** Dynamic nodes that are no batch workers. @type {Map<string, DynamicNode>} */
	dynamic = new Map()
	/** @type {BatchRecord[]} */
	batches = []
	/** Batch workers: their record and item. @type {Map<string, { batch: number, item: number }>} */
	workers = new Map()
	/** `inputs` that edges have rewritten in this run's copy of the blueprint. @type {Map<string, any>} */
	rewritten = new Map()
	/** The wave of the last edge that wrote the input of a contested node. @type {Map<string, number>} */
	inputWaves = new Map()
	/** The result that is being processed. @type {Moment} */
	now = { wave: 0, order: 0 }
	/** Nodes that the processed result asks for, ready or not; `any` joins only where no edge of it has matched. @type {string[]} */
	asked = []
	/** Whether an edge of the processed result has matched. */
	matched = false
	/** Told of every node that a loop un-completes. @type {(nodeId: string) => void} */
	onReset = () => {}
	/** @type {Map<string, NodeDefinition>} */
	#nodes = new Map()
	#shape
	/** Nodes that dynamic nodes lead to, and dynamic nodes themselves. @type {Map<string, Set<string>>} */
	#dynamicSuccessors = new Map()
	#sharesPredecessors = HAS_KNOWN_FIELDS
	/** The predecessor that was missing when a node was last asked about. @type {Map<string, string>} */
	#missing = new Map()

	/** @param {GraphTemplate} template */
	constructor({ blueprint, shape, traverser }) {
		super(HAS_KNOWN_FIELDS ? NOTHING : blueprint)
		this.#shape = shape
		if (HAS_KNOWN_FIELDS) Object.assign(this, fieldsFrom(traverser))
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
	isContested(nodeId) {
		return this.#shape.contested.has(nodeId) || (this.predecessorsOf(nodeId)?.size ?? 0) > 1
	}

	/** Whether a result of `from` may still lead to this node. @param {string} from @param {string} nodeId */
	leadsTo(from, nodeId) {
		return this.dynamic.has(from) || this.workers.has(from) || this.#shape.ancestors(nodeId).has(from)
	}

	/** Whether a result of `from` may write this node's input. @param {string} from @param {string} nodeId */
	feeds(from, nodeId) {
		return (this.#shape.sources.get(nodeId)?.has(from) || this.predecessorsOf(nodeId)?.has(from)) ?? false
	}

	/** @param {string} nodeId */
	predecessorsOf(nodeId) {
		return this.getAllPredecessors().get(nodeId)
	}

	/**
	 * Whether all predecessors of a node were completed at that moment of memory's order.
	 * @param {string} nodeId
	 * @param {Moment} moment
	 */
	isReadyAt(nodeId, moment) {
		const missing = this.#missing.get(nodeId)
		if (missing !== undefined && !this.isCompletedAt(missing, moment)) return false
		for (const predecessor of this.predecessorsOf(nodeId) ?? []) {
			if (this.isCompletedAt(predecessor, moment)) continue
			this.#missing.set(nodeId, predecessor)
			return false
		}
		return true
	}

	/** @param {string} nodeId @param {Moment} moment */
	isCompletedAt(nodeId, { wave, order }) {
		const since = this.completed.get(nodeId)
		return since !== undefined && (since.wave < wave || (since.wave === wave && since.order <= order))
	}

	/** @param {string} nodeId @param {any} result @param {NodeDefinition[]} nextNodes @override */
	markNodeCompleted(nodeId, result, nextNodes) {
		// An `any` join's visit of an early wave may end after one of a later wave.
		if (!this.isCompletedAt(nodeId, this.now)) this.#complete(nodeId)
		super.markNodeCompleted(nodeId, result, nextNodes)
		this.matched = nextNodes.length > 0
		if (this.matched) for (const { id } of nextNodes) if (!this.isAnyJoin(id)) this.asked.push(id)
		if (!this.matched) this.asked.push(...this.#unconditional(nodeId))
	}

	/** @param {string} nodeId */
	#complete(nodeId) {
		this.completed.set(nodeId, this.now)
		const worker = this.workers.get(nodeId)
		if (!worker) this.plainCompleted.set(nodeId, this.now)
		// A wave of its own: as any other node.
		else if (!this.batches[worker.batch].complete(worker.item, this.now.wave)) this.plainCompleted.set(nodeId, this.now)
	}

	/** Whom Flowcraft asks when no edge of a node matches. @param {string} nodeId */
	#unconditional(nodeId) {
		const targets = [...(this.#shape.successors.get(nodeId) ?? []), ...(this.#dynamicSuccessors.get(nodeId) ?? [])]
		return targets.filter((target) => !this.#shape.conditional.has(target) && this.#nodes.has(target))
	}

	/**
	 * A loop whose controller is asked for late resets only what memory had completed by then.
	 * @param {string} nodeId
	 * @override
	 */
	resetNodeCompletion(nodeId) {
		if (this.completed.has(nodeId) && !this.isCompletedAt(nodeId, this.now)) return
		this.completed.delete(nodeId)
		this.plainCompleted.delete(nodeId)
		super.resetNodeCompletion(nodeId)
		this.onReset(nodeId)
	}

	/** What was completed when the run was adopted counts as wave 0 until something here goes on from it. @param {string} nodeId */
	goneOnFrom(nodeId) {
		this.completed.set(nodeId, { wave: 1, order: 0 })
		this.plainCompleted.set(nodeId, { wave: 1, order: 0 })
	}

	/** Takes a completion back that a loop had reset before it came. @param {string} nodeId */
	uncomplete(nodeId) {
		this.completed.delete(nodeId)
		this.plainCompleted.delete(nodeId)
		super.resetNodeCompletion(nodeId)
	}

	/** @param {string} nodeId @param {NodeDefinition} def @param {string} from @param {string} [gather] @override */
	addDynamicNode(nodeId, def, from, gather) {
		if (this.#sharesPredecessors) this.#ownPredecessors()
		super.addDynamicNode(nodeId, def, from, gather)
		add(this.#dynamicSuccessors, from, def.id)
		if (gather) add(this.#dynamicSuccessors, def.id, gather)
		if (this.#nodes.has(def.id)) this.#emitAgain(def, from, gather)
		else {
			this.#nodes.set(def.id, def)
			if (!this.#addWorker(def, from, gather)) this.dynamic.set(def.id, { def, from, gather })
		}
	}

	/** The first definition of an id is the one that runs, the last emitter is its predecessor: as in memory. @param {NodeDefinition} def @param {string} from @param {string | undefined} gather */
	#emitAgain(def, from, gather) {
		this.dynamic.set(def.id, { def: this.dynamic.get(def.id)?.def ?? def, from, gather })
	}

	/** @param {NodeDefinition} def @param {string} from @param {string | undefined} gather */
	#addWorker(def, from, gather) {
		let batch = this.batches.at(-1)
		if (!batch?.isNext(def, from, gather)) {
			batch = BatchRecord.of(def, from, gather)
			if (!batch) return false
			this.batches.push(batch)
		}
		this.workers.set(def.id, { batch: this.batches.length - 1, item: batch.first + batch.count++ })
		return true
	}

	/** What several runs share until one of them changes it. */
	#ownPredecessors() {
		const own = new Map(Array.from(this.getAllPredecessors(), ([id, predecessors]) => [id, new Set(predecessors)]))
		Object.assign(this, { allPredecessors: own })
		this.#sharesPredecessors = false
	}

	/** @param {string} nodeId @param {any} inputs */
	rewrite(nodeId, inputs) {
		const node = this.#nodes.get(nodeId)
		if (node) node.inputs = inputs
		this.rewritten.set(nodeId, inputs)
	}

	/** Takes over what a checkpoint recorded. @param {GraphRecord} record */
	restore({ completed, inputs, inputWaves, dynamic, batches }) {
		for (const entry of batches) this.#restoreBatch(BatchRecord.revive(entry))
		for (const { def, from, gather } of dynamic)
			this.addDynamicNode(def.id, this.#withLocalWorker(def, from), from, gather)
		for (const [nodeId, value] of inputs) this.rewrite(nodeId, value)
		for (const [nodeId, wave] of inputWaves) this.inputWaves.set(nodeId, wave)
		for (const [nodeId, since] of completed) {
			this.#markRestored(nodeId, since)
			this.plainCompleted.set(nodeId, since)
		}
		this.clearFrontier()
	}

	/** @param {BatchRecord} batch */
	#restoreBatch(batch) {
		if (this.#sharesPredecessors) this.#ownPredecessors()
		const at = this.batches.push(batch) - 1
		const { from, gather, first, count, wave } = batch
		for (let item = first; item < first + count; item++) {
			const def = batch.worker(item)
			this.workers.set(def.id, { batch: at, item })
			// Known already: addDynamicNode makes no second record of it.
			this.#nodes.set(def.id, this.#withLocalWorker(def, from))
			super.addDynamicNode(def.id, /** @type {NodeDefinition} */ (this.#nodes.get(def.id)), from, gather)
			add(this.#dynamicSuccessors, from, def.id)
			if (gather) add(this.#dynamicSuccessors, def.id, gather)
		}
		for (const item of batch.doneItems()) this.#markRestored(batch.worker(item).id, { wave, order: 0 })
	}

	/** @param {string} nodeId @param {Moment} since */
	#markRestored(nodeId, since) {
		this.completed.set(nodeId, since)
		const nodes = /** @type {{ completedNodes: Set<string> }} */ (/** @type {unknown} */ (this)).completedNodes
		nodes.add(nodeId)
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
