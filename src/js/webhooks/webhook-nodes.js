/**
 * Which node of a run a webhook answers.
 *
 * Flowcraft's compiler makes two nodes of a webhook: `webhook`, which has the address, and later a `wait` whose
 * `params.eventName` is `webhook:<id of the former>`. A `webhook` node without such a wait waits itself.
 */
import { SubflowNode, WaitNode, WebhookNode, sanitizeBlueprint } from 'flowcraft'

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
 * @returns {string} the node of the run that awaits; of a subflow's child, the subflow
 */
export const webhookTarget = (blueprints, blueprintId, nodeId) => {
	const blueprint = blueprintId === undefined ? undefined : blueprints[blueprintId]
	if (!blueprint) return nodeId
	const { nodes } = sanitizeBlueprint(blueprint)
	if (nodes.some(({ id }) => id === nodeId)) return waitFor(nodes, nodeId)?.id ?? nodeId
	const subflow = nodes.find((node) => holds(blueprints, node, nodeId, new Set([blueprint.id])))
	return subflow?.id ?? nodeId
}

/**
 * @param {Record<string, Blueprint>} blueprints
 * @param {import('flowcraft').NodeDefinition} node
 * @param {string} nodeId
 * @param {Set<string>} seen
 * @returns {boolean} whether the node is a subflow with such a node in it
 */
const holds = (blueprints, { uses, params }, nodeId, seen) => {
	const id = params?.blueprintId
	const child = typeof id === 'string' && !seen.has(id) ? blueprints[id] : undefined
	if (!child || (uses !== 'subflow' && uses !== SubflowNode.name)) return false
	const { nodes } = sanitizeBlueprint(child)
	const within = new Set([...seen, id])
	return nodes.some((node) => node.id === nodeId || holds(blueprints, node, nodeId, within))
}

/**
 * Whether a node that has ended is to wait for its webhook.
 *
 * @param {any} implementation
 * @param {import('flowcraft').NodeDefinition} node
 * @param {Blueprint} blueprint of the run
 */
export const waitsForWebhook = (implementation, node, blueprint) =>
	(implementation === WebhookNode || implementation?.prototype instanceof WebhookNode) &&
	waitFor(blueprint.nodes, node.id) === undefined
