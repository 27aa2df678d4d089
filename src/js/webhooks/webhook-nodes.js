/**
 * Which node of a run a webhook answers.
 *
 * Flowcraft's compiler makes two nodes of a webhook: `webhook`, which has the address, and later a `wait` whose
 * `params.eventName` is `webhook:<id of the former>`. A `webhook` node without such a wait waits itself.
 */
import { SubflowNode, WaitNode, WebhookNode, sanitizeBlueprint } from 'flowcraft'
import { pathOf } from '../session/child-record.js'

/** @typedef {import('flowcraft').WorkflowBlueprint} Blueprint */

/** @param {import('flowcraft').NodeDefinition[]} nodes @param {string} nodeId */
const waitFor = (nodes, nodeId) =>
	nodes.find(
		({ uses, params }) => (uses === 'wait' || uses === WaitNode.name) && params?.eventName === `webhook:${nodeId}`,
	)

/**
 * @param {Record<string, Blueprint>} blueprints
 * @param {string | undefined} blueprintId of the run
 * @param {string} nodeId that asked for the address
 * @param {import('../session/child-run.js').ChildPlace} [place] of the subflow's child in which it did
 * @returns {string} the node of the run that awaits; in a subflow, its path
 */
export const webhookTarget = (blueprints, blueprintId, nodeId, place) => {
	if (place?.nodes.some(({ id }) => id === nodeId))
		return pathOf([...place.path, waitFor(place.nodes, nodeId)?.id ?? nodeId])
	const blueprint = blueprintId === undefined ? undefined : blueprints[blueprintId]
	return pathOf((blueprint && idsTo(blueprints, blueprint, nodeId, new Set([blueprint.id]))) ?? [nodeId])
}

/**
 * @param {Record<string, Blueprint>} blueprints
 * @param {Blueprint} blueprint
 * @param {string} nodeId
 * @param {Set<string>} seen
 * @returns {string[] | undefined} the node that awaits, behind the subflows that it is in
 */
const idsTo = (blueprints, blueprint, nodeId, seen) => {
	const { nodes } = sanitizeBlueprint(blueprint)
	if (nodes.some(({ id }) => id === nodeId)) return [waitFor(nodes, nodeId)?.id ?? nodeId]
	for (const { id, uses, params } of nodes) {
		const childId = params?.blueprintId
		const child = typeof childId === 'string' && !seen.has(childId) ? blueprints[childId] : undefined
		if (!child || (uses !== 'subflow' && uses !== SubflowNode.name)) continue
		const ids = idsTo(blueprints, child, nodeId, new Set([...seen, childId]))
		if (ids) return [id, ...ids]
	}
	return undefined
}

/**
 * Whether a node that has ended is to wait for its webhook.
 *
 * @param {any} implementation
 * @param {import('flowcraft').NodeDefinition} node
 * @param {Blueprint} blueprint that it is in
 */
export const waitsForWebhook = (implementation, node, blueprint) =>
	(implementation === WebhookNode || implementation?.prototype instanceof WebhookNode) &&
	waitFor(blueprint.nodes, node.id) === undefined
