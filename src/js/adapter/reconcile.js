/**
 * Which nodes of a stored run are due, so that a message for each of them lets the run go on.
 */
import { GraphTraverser, sanitizeBlueprint } from 'flowcraft'
import { asEngine, RESERVED_KEY } from '../cassandra-context.js'
import { isObject } from '../clients/genuine.js'

/**
 * @typedef {import('flowcraft').WorkflowBlueprint} Blueprint
 * @typedef {import('flowcraft').NodeDefinition} NodeDefinition
 * @typedef {Record<string, unknown>} Document
 *
 * What it needs of an adapter. A store may lack any of its methods: mocks do.
 * @typedef {object} ReconcileHost
 * @property {(id: string) => Blueprint | undefined} blueprint
 * @property {Partial<import('flowcraft').ICoordinationStore> | undefined} store
 * @property {import('flowcraft').ILogger} logger
 * @property {import('../bridge/js-ports.js').Hooks['createContext']} createContext
 * @property {import('../bridge/js-ports.js').Hooks['enqueueJob']} enqueueJob
 * @property {(runId: string) => Promise<string | undefined>} statusOf
 */

/** How long a nudge keeps others from nudging the same node, as in the JavaScript package. */
const NUDGE_LOCK_SECONDS = 120

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
 * The JavaScript package leaves runs without a message that are over: where not all ends of the blueprint were reached, it never says
 * so. Their last nodes are looked at again: recorded, they only tell what follows.
 *
 * @param {Blueprint} blueprint
 * @param {Document} document of a run without checkpoint in which nothing is due
 */
const lastNodes = ({ nodes, edges }, document) => {
	const completed = completedNodes(document)
	if (awaitingNodes(document).size > 0) return []
	const leads = new Set(edges.filter(({ target }) => completed.has(target)).map(({ source }) => source))
	return nodes.map(({ id }) => id).filter((id) => completed.has(id) && !leads.has(id))
}

/**
 * Visits whose time has not come: their run does not stall, however old its status row is. Overdue ones it starts when it is nudged.
 *
 * @param {unknown} attempts of a checkpoint
 */
const attemptsToCome = (attempts) => {
	const now = Date.now()
	const records = Array.isArray(attempts) ? attempts : []
	return records.filter(([, , dueAt]) => dueAt > now).map(([visit]) => visit)
}

/**
 * @param {unknown} checkpoint as docs/checkpoint.md has it: empty lists are left out
 * @returns {string[] | undefined} `undefined`: there is no checkpoint
 */
const dueOfCheckpoint = (checkpoint) => {
	if (!isObject(checkpoint)) return undefined
	const { due, attempts, outcome } = checkpoint
	if (!Array.isArray(due) || (isObject(outcome) && outcome.status !== 'running')) return []
	const waiting = new Set(attemptsToCome(attempts))
	return due.filter(([visit]) => !waiting.has(visit)).map(([_visit, nodeId]) => String(nodeId))
}

/**
 * @param {Blueprint} registered
 * @param {Document} document the run's whole document, the reserved key included
 * @param {() => Promise<string | undefined>} status
 * @returns {Promise<Set<string>>}
 */
const dueNodes = async (registered, document, status) => {
	const recorded = dueOfCheckpoint(document[RESERVED_KEY])
	if (recorded) return new Set(recorded)
	const blueprint = sanitizeBlueprint(registered)
	const due = frontier(blueprint, document)
	if (due.length > 0 || (await status()) !== 'running') return new Set(due)
	return new Set(lastNodes(blueprint, document))
}

/**
 * @param {ReconcileHost} host
 * @param {string} runId
 * @param {Document} document
 * @returns {Promise<Blueprint>}
 */
const blueprintOf = async ({ blueprint, store }, runId, document) => {
	const { blueprint: recorded } = /** @type {{ blueprint?: string }} */ (document[RESERVED_KEY] ?? {})
	const id = recorded || document.blueprintId || (await store?.get?.(`flowcraft:blueprint:${runId}`))
	if (!id) {
		throw new Error(`Cannot reconcile runId '${runId}': blueprintId not found in context or coordination store.`)
	}
	const found = blueprint(String(id))
	if (found) return found
	throw new Error(`Cannot reconcile runId '${runId}': Blueprint with ID '${id}' not found.`)
}

/**
 * @param {ReconcileHost} host
 * @param {import('flowcraft').JobPayload} job
 * @returns {Promise<boolean>} whether it was sent
 */
const nudge = async ({ store, logger, enqueueJob }, job) => {
	const { runId, nodeId } = job
	const lock = `flowcraft:nodelock:${runId}:${nodeId}`
	const isFree = (await store?.setIfNotExist?.(lock, 'locked', NUDGE_LOCK_SECONDS)) ?? true
	if (!isFree) {
		logger.info(`[Adapter] Reconciling: Node '${nodeId}' is already locked.`, { runId })
		return false
	}
	logger.info(`[Adapter] Reconciling: Enqueuing ready job for node '${nodeId}'`, { runId })
	try {
		await enqueueJob(job)
	} catch (error) {
		// Nothing was sent: the next attempt must not find the node locked.
		await store?.delete?.(lock)
		throw error
	}
	return true
}

/**
 * @param {ReconcileHost} host
 * @param {string} runId
 * @returns {Promise<Set<string>>} ids of the nodes for which a message was sent
 */
export const reconcileRun = async (host, runId) => {
	const document = await asEngine(() => host.createContext(runId).toJSON())
	const blueprint = await blueprintOf(host, runId, document)
	/** @type {Set<string>} */
	const enqueued = new Set()
	for (const nodeId of await dueNodes(blueprint, document, () => host.statusOf(runId))) {
		if (await nudge(host, { runId, blueprintId: blueprint.id, nodeId })) enqueued.add(nodeId)
	}
	return enqueued
}
