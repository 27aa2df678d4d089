/**
 * What `processResults` needs of the runtime, with a note of the inputs that it rewrites.
 */

/** @typedef {import('./run-graph.js').RunGraph} RunGraph */

export class RunRouter {
	#runtime
	#graph
	#keepInput
	/** Inputs that previews have rewritten, as they were. @type {Map<any, any>} */
	#previewed = new Map()

	/**
	 * @param {import('flowcraft').FlowRuntime<any, any>} runtime
	 * @param {RunGraph} graph
	 * @param {(nodeId: string) => void} [keepInput] called before an edge writes a node's input
	 */
	constructor(runtime, graph, keepInput = () => {}) {
		this.#runtime = /** @type {any} */ (runtime)
		this.#graph = graph
		this.#keepInput = keepInput
		/** For nodes that await: the context gets what memory would write, the graph stays as it is. */
		this.preview = {
			determineNextNodes: this.determineNextNodes.bind(this),
			applyEdgeTransform: this.#applyForNow.bind(this),
		}
	}

	/** @param {any[]} args */
	determineNextNodes(...args) {
		return this.#runtime.determineNextNodes(...args)
	}

	/** @param {any} edge @param {any} result @param {any} target @param {any[]} rest */
	async applyEdgeTransform(edge, result, target, ...rest) {
		const rewrites = target.inputs === undefined || edge.transform !== undefined
		if (!this.#isOvertaken(target.id)) {
			this.#keepInput(target.id)
			await this.#runtime.applyEdgeTransform(edge, result, target, ...rest)
		}
		if (rewrites) this.#graph.rewrite(target.id, `_inputs.${target.id}`)
	}

	/**
	 * The last edge into a node writes its input: the last in memory's order, not the one of the slowest predecessor.
	 * @param {string} nodeId
	 */
	#isOvertaken(nodeId) {
		const { now, inputWaves } = this.#graph
		if (!this.#graph.isContested(nodeId) || this.#graph.isAnyJoin(nodeId)) return false
		if ((inputWaves.get(nodeId) ?? 0) > now.wave) return true
		inputWaves.set(nodeId, now.wave)
		return false
	}

	/** @param {any} edge @param {any} result @param {any} target @param {any[]} rest */
	async #applyForNow(edge, result, target, ...rest) {
		const { inputs } = target
		this.#keepInput(target.id)
		await this.#runtime.applyEdgeTransform(edge, result, target, ...rest)
		if (target.inputs !== inputs && !this.#previewed.has(target)) this.#previewed.set(target, inputs)
	}

	/** Takes back what previews have rewritten. */
	endPreviews() {
		for (const [target, inputs] of this.#previewed) if (!this.#graph.rewritten.has(target.id)) target.inputs = inputs
		this.#previewed.clear()
	}

	/** A traverser that completes nothing and readies nothing. */
	withoutRouting() {
		return {
			getDynamicBlueprint: () => this.#graph.getDynamicBlueprint(),
			getAllPredecessors: () => this.#graph.getAllPredecessors(),
			addDynamicNode() {},
			markNodeCompleted() {},
		}
	}
}
