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
	})
	for (const id of recorded) if (!context.contains(id)) context.write(id, context.read(`_outputs.${id}`))
}
