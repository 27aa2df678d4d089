/**
 * Takes over a run that JavaScript workers, or somebody by hand, have begun (rules: opening.js).
 */

/**
 * What has an `_outputs.*` key is completed. Aliases and rewritten inputs, which those workers do not keep, are added.
 * @param {import('./run-graph.js').RunGraph} graph
 * @param {import('./run-context.js').RunContext} context
 * @param {import('flowcraft').WorkflowBlueprint} blueprint
 */
export function adoptRun(graph, context, { nodes, edges }) {
	const recorded = nodes.map(({ id }) => id).filter((id) => context.contains(`_outputs.${id}`))
	const transformed = new Set(edges.filter((edge) => edge.transform !== undefined).map((edge) => edge.target))
	graph.restore({
		completed: recorded.map((id) => [id, { wave: 0, order: 0 }]),
		inputs: [...transformed].filter((id) => context.contains(`_inputs.${id}`)).map((id) => [id, `_inputs.${id}`]),
		inputWaves: [],
		dynamic: [],
		batches: [],
	})
	for (const id of recorded) if (!context.contains(id)) context.write(id, context.read(`_outputs.${id}`))
}

/**
 * How a node that those workers have recorded is gone on from. They keep its output, but neither the action nor the dynamic nodes that it
 * returned. The action is told by the successors that they had chosen: `_inputs.<successor>` is written before its job is sent.
 *
 * @param {import('./run-graph.js').RunGraph} graph
 * @param {import('./run-context.js').RunContext} context
 * @param {string} nodeId
 * @returns {{ output: any, action?: string } | undefined} `undefined`: the row does not decide, so the node runs again
 */
export function recordedResult(graph, context, nodeId) {
	const { edges } = graph.getDynamicBlueprint()
	const { uses } = /** @type {import('flowcraft').NodeDefinition} */ (graph.node(nodeId))
	const output = context.read(`_outputs.${nodeId}`)
	// What they decide is a matter of the context alone; what a scatter emits is not kept.
	if (uses === 'loop-controller' || typeof output?.gatherNodeId === 'string') return undefined
	const outgoing = edges.filter(({ source }) => source === nodeId)
	if (!outgoing.some(({ action }) => action)) return { output }
	const chosen = outgoing.filter(({ target }) => context.contains(`_inputs.${target}`) && isOnlyFrom(target))
	if (chosen.length === 0) return undefined
	const byDefault = chosen.some(({ action }) => !action)
	return byDefault ? { output } : { output, action: chosen[0].action }

	/** Whether nobody else can have written the input of a node. @param {string} target */
	function isOnlyFrom(target) {
		return edges.every((edge) => edge.target !== target || edge.source === nodeId || !graph.completed.has(edge.source))
	}
}

/**
 * A controller that becomes due takes back what its loop has completed, as in memory.
 * @param {import('./run-graph.js').RunGraph} graph
 * @param {string} nodeId
 */
export function enterLoop(graph, nodeId) {
	for (const inside of graph.getNodesInLoop(nodeId)) graph.resetNodeCompletion(inside)
}
