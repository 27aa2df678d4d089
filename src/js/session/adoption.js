/**
 * Takes over a run that JavaScript workers, or somebody by hand, have begun (rules: opening.js).
 */
import { hasReplaced, prematureIn } from './premature.js'

/** @typedef {import('./run-graph.js').RunGraph} RunGraph */
/** @typedef {import('./run-context.js').RunContext} RunContext */

/**
 * What is taken over besides what the graph has completed.
 * @typedef {object} Adoption
 * @property {{ nodes: string[], details: Record<string, any> }} awaiting
 * @property {string[]} due whatever messages say
 * @property {Set<string>} early nodes whose messages say nothing (premature.js)
 * @property {Map<string, string>} replaced nodes that have failed, and the fallback that has run in their place
 */

/**
 * What has an `_outputs.*` key is completed, unless it has run too early. Aliases and rewritten inputs, which those workers do not
 * keep, are added.
 * @param {RunGraph} graph
 * @param {RunContext} context
 * @param {import('./premature.js').Entry} entry
 * @param {import('./run-session.js').SessionEnvironment} env
 * @returns {Adoption}
 */
export function adoptRun(graph, context, entry, env) {
	const { nodes, edges } = entry.blueprint
	const premature = prematureIn(graph, context, entry, env)
	const { early, dropped, due, waiting } = premature
	for (const id of premature.batches) forgetBatch(graph, context, id)
	for (const id of dropped) forgetNode(context, id, edges, dropped)
	const awaiting = awaitingOnly(context, waiting)
	const replaced = replacements(context, nodes)
	const recorded = nodes
		.map(({ id }) => id)
		.filter((id) => context.contains(`_outputs.${id}`) && !waiting.includes(id) && !due.includes(id))
	const transformed = new Set(edges.filter((edge) => edge.transform !== undefined).map((edge) => edge.target))
	graph.restore({
		completed: recorded.map((id) => [id, { wave: 0, order: 0 }]),
		inputs: [...transformed].filter((id) => context.contains(`_inputs.${id}`)).map((id) => [id, `_inputs.${id}`]),
		inputWaves: [],
		dynamic: [],
		batches: [],
	})
	for (const id of replaced.keys()) context.write(`_outputs.${id}`, null)
	for (const id of recorded) if (!context.contains(id)) context.write(id, context.read(`_outputs.${id}`))
	return { awaiting, due: [...due, ...unfollowed(context, replaced, edges)], early, replaced }
}

/**
 * A scatter notes how far it came before it ends, and would emit nothing the next time.
 * @param {RunGraph} graph @param {RunContext} context @param {string} id
 */
function forgetBatch(graph, context, id) {
	const gather = graph.node(id)?.params?.gatherNodeId
	const { outputKey } = graph.node(gather)?.params ?? {}
	forgetOutput(context, id)
	for (const key of [`${id}_currentIndex`, `${gather}_hasMore`, `${gather}_allWorkerIds`]) context.remove(key)
	for (const key of context.keys()) if (key.startsWith(`_batch.${id}_`)) context.remove(key)
	if (context.contains(`_outputs.${gather}`)) context.remove(outputKey)
}

/** @param {RunContext} context @param {string} id @param {import('flowcraft').EdgeDefinition[]} edges @param {Set<string>} dropped */
function forgetNode(context, id, edges, dropped) {
	forgetOutput(context, id)
	context.remove(`_subflowState.${id}`)
	const isFed = edges.some(
		({ source, target }) => target === id && !dropped.has(source) && context.contains(`_outputs.${source}`),
	)
	if (!isFed) context.remove(`_inputs.${id}`)
}

/** @param {RunContext} context @param {string} id */
function forgetOutput(context, id) {
	const output = context.textOf(`_outputs.${id}`)
	// Another value under the bare id is the user's.
	if (output !== undefined && context.textOf(id) === output) context.remove(id)
	context.remove(`_outputs.${id}`)
}

/** Nodes that do not await any more leave the row. @param {RunContext} context @param {string[]} waiting */
function awaitingOnly(context, waiting) {
	const before = context.read('_awaitingDetails') ?? {}
	const details = Object.fromEntries(waiting.filter((id) => id in before).map((id) => [id, before[id]]))
	if (waiting.length === 0) for (const key of ['_awaitingNodeIds', '_awaitingDetails']) context.remove(key)
	else if (context.read('_awaitingNodeIds').length > waiting.length) {
		context.write('_awaitingNodeIds', waiting)
		context.write('_awaitingDetails', details)
	}
	return { nodes: waiting, details }
}

/** @param {RunContext} context @param {import('flowcraft').NodeDefinition[]} nodes @returns {Map<string, string>} */
function replacements(context, nodes) {
	/** @type {Map<string, string>} */
	const found = new Map()
	for (const { id, config } of nodes)
		if (config?.fallback && hasReplaced(context, config.fallback, id)) found.set(id, config.fallback)
	return found
}

/**
 * Fallbacks that those workers have gone on from by the edges of the failed node alone.
 * @param {RunContext} context @param {Map<string, string>} replaced @param {import('flowcraft').EdgeDefinition[]} edges
 */
function unfollowed(context, replaced, edges) {
	const isNew = (/** @type {string} */ id) => !context.contains(`_inputs.${id}`) && !context.contains(`_outputs.${id}`)
	return [...new Set(replaced.values())].filter((fallback) => {
		const own = edges.filter(({ source }) => source === fallback)
		return own.length > 0 && own.every(({ target }) => isNew(target))
	})
}

/**
 * How a node that those workers have recorded is gone on from. They keep its output, but neither the action nor the dynamic nodes that it
 * returned. The action is told by the successors that they had chosen: `_inputs.<successor>` is written before its job is sent.
 *
 * @param {RunGraph} graph
 * @param {RunContext} context
 * @param {string} nodeId
 * @returns {{ output: any, action?: string } | undefined} `undefined`: the row does not decide, so the node runs again
 */
export function recordedResult(graph, context, nodeId) {
	const { nodes, edges } = graph.getDynamicBlueprint()
	const { uses } = /** @type {import('flowcraft').NodeDefinition} */ (graph.node(nodeId))
	const output = context.read(`_outputs.${nodeId}`)
	// What they decide is a matter of the context alone; what a scatter emits is not kept.
	if (uses === 'loop-controller' || typeof output?.gatherNodeId === 'string') return undefined
	// A fallback is gone on from by the edges of what it has replaced, too.
	const replaced = nodes.filter(({ config }) => config?.fallback === nodeId).map(({ id }) => id)
	const sources = new Set([nodeId, ...replaced])
	const outgoing = edges.filter(({ source }) => sources.has(source))
	if (!outgoing.some(({ action }) => action)) return { output }
	const chosen = outgoing.filter(({ target }) => context.contains(`_inputs.${target}`) && isOnlyFrom(target))
	if (chosen.length === 0) return undefined
	const byDefault = chosen.some(({ action }) => !action)
	return byDefault ? { output } : { output, action: chosen[0].action }

	/** Whether nobody else can have written the input of a node. @param {string} target */
	function isOnlyFrom(target) {
		return edges.every(
			(edge) => edge.target !== target || sources.has(edge.source) || !graph.completed.has(edge.source),
		)
	}
}

/**
 * A controller that becomes due takes back what its loop has completed, as in memory.
 * @param {RunGraph} graph
 * @param {string} nodeId
 */
export function enterLoop(graph, nodeId) {
	for (const inside of graph.getNodesInLoop(nodeId)) graph.resetNodeCompletion(inside)
}

/** 1.4.4 tells of a failure in these words unless the node threw an error of Flowcraft's. */
const FAILED_NODE = /^Node '(.*)' (?:execution failed|failed execution\.)$/s

/**
 * The error of a run that those workers have published as failed; its other branches go on (row 22).
 * @param {string} reason
 * @param {Set<string>} nodeIds
 * @returns {import('./outcome.js').ErrorRecord}
 */
export function publishedError(reason, nodeIds) {
	const named = FAILED_NODE.exec(reason)?.[1] ?? ''
	const error = { name: 'FlowcraftError', message: reason }
	const timestamp = new Date().toISOString()
	return { ...error, nodeId: nodeIds.has(named) ? named : '', isFatal: false, timestamp, originalError: error }
}
