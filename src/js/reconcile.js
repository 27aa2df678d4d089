/**
 * Which nodes of a stored run are due, so that a message for each of them lets the run go on.
 */
import { GraphTraverser, sanitizeBlueprint } from 'flowcraft'
import { RESERVED_KEY } from './cassandra-context.js'
import { isObject } from './clients/genuine.js'

/**
 * @typedef {import('flowcraft').WorkflowBlueprint} Blueprint
 * @typedef {import('flowcraft').NodeDefinition} NodeDefinition
 * @typedef {Record<string, unknown>} Document
 */

const OUTPUT = '_outputs.'

/** @param {Document} document */
const completedNodes = (document) =>
	new Set(
		Object.keys(document)
			.filter((key) => key.startsWith(OUTPUT))
			.map((key) => key.slice(OUTPUT.length)),
	)

/**
 * @param {Document} document
 * @returns {Set<string>}
 */
const awaitingNodes = (document) => {
	const ids = document._awaitingNodeIds
	return new Set(Array.isArray(ids) ? ids : [])
}

/**
 * Whether a message for the node may have been sent: the JavaScript package writes `_inputs.<node>` for every
 * successor before it sends the job, and routes by conditions and actions before that, so a successor without it was
 * not chosen, or its predecessor's job is not done.
 *
 * @param {Blueprint} blueprint
 * @param {Document} document
 * @param {string} nodeId
 */
const wasChosen = (blueprint, document, nodeId) => {
	if (Object.hasOwn(document, `_inputs.${nodeId}`)) return true
	const completed = completedNodes(document)
	const arriving = blueprint.edges.filter(({ target, source }) => target === nodeId && completed.has(source))
	return arriving.some(({ condition, action }) => !condition && !action)
}

/**
 * @param {Blueprint} blueprint
 * @param {Document} document of a run without checkpoint
 * @returns {string[]}
 */
const frontier = (blueprint, document) => {
	const traverser = new GraphTraverser(blueprint)
	const starts = new Set(traverser.getReadyNodes().map(({ nodeId }) => nodeId))
	const completed = completedNodes(document)
	const awaiting = awaitingNodes(document)
	if (completed.size === 0) return [...starts].filter((id) => !awaiting.has(id))
	const isReady = (/** @type {NodeDefinition} */ { id, config }) => {
		const predecessors = [...traverser.getPredecessors(id)]
		if (predecessors.length === 0) return starts.has(id)
		const arrived = predecessors.filter((predecessor) => completed.has(predecessor))
		const enough = config?.joinStrategy === 'any' ? arrived.length > 0 : arrived.length === predecessors.length
		return enough && wasChosen(blueprint, document, id)
	}
	return blueprint.nodes
		.filter((node) => !completed.has(node.id) && !awaiting.has(node.id) && isReady(node))
		.map(({ id }) => id)
}

/**
 * @param {unknown} checkpoint as docs/checkpoint.md has it: empty lists are left out
 * @returns {string[] | undefined} `undefined`: there is no checkpoint
 */
const dueOfCheckpoint = (checkpoint) => {
	if (!isObject(checkpoint)) return undefined
	const { due, outcome } = checkpoint
	if (outcome || !Array.isArray(due)) return []
	return due.map(([_visit, nodeId]) => String(nodeId))
}

/**
 * @param {Blueprint} registered
 * @param {Document} document the run's whole document, the reserved key included
 * @returns {string[]} distinct ids
 */
export const dueNodes = (registered, document) => [
	...new Set(dueOfCheckpoint(document[RESERVED_KEY]) ?? frontier(sanitizeBlueprint(registered), document)),
]
