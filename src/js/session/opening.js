/**
 * What an opened run is: new, handed over by another owner, or begun by somebody else.
 *
 * Rules (design D2, G12; spec rows 30, 59, 66, 68):
 * 1. A checkpoint decides everything: its blueprint, its version, its due visits. Node ids of messages are then nudges.
 * 2. Without one, the run was begun by JavaScript workers when its row has `blueprintId` (this blueprint's),
 *    `blueprintVersion` and the output of a node of the start set: a worker writes the first two before it runs anything,
 *    and a start node is always the first to be recorded. Such a run is adopted. Outputs that a client has put into a
 *    fresh row are no sign of that: such a row lacks one of these, and the nodes still run.
 * 3. Else a message for an entry node starts the whole start set. Entry nodes are the start set and what clients take for
 *    it: nodes without incoming edges that are only fallbacks. Those do not run.
 * 4. Else a message for another node of the blueprint is a hand-made restart: the run is adopted.
 * 5. Messages for nodes that the blueprint does not have are refused when nothing else brought the run here.
 * 6. A command alone begins a run that nobody has begun, as its start messages would: they are on their way.
 * 7. A run of another version than the registered one is parked (`parked-session.js`), until somebody has its version or
 *    moves it to another. A run that has ended needs no blueprint's version.
 *
 * Adopted: due is what the messages say, now and later; what has an `_outputs.*` key counts as completed, and a message
 * for it is not executed again, only its successors are found.
 */
import { isOver, parseCheckpoint } from './checkpoint.js'
import { messageOf } from './outcome.js'
import { hasScattered } from './premature.js'
import { versionKey } from './versions.js'

/** @typedef {import('./blueprint-catalog.js').CatalogEntry} CatalogEntry */
/** @typedef {{ code: string, reason: string, status: string | null }} Refusal */
/** @typedef {import('./parked-session.js').Parking} Parking */

/**
 * @typedef {object} Opening
 * @property {CatalogEntry} entry
 * @property {string} blueprintId
 * @property {'restored' | 'fresh' | 'adopted'} kind
 * @property {import('./checkpoint.js').Checkpoint} [checkpoint]
 * @property {string[]} nodeIds of the waiting messages, as far as the blueprint knows them
 * @property {string} [failure] why other workers have called the run failed
 * @property {{ timer: [key: string, at: number], commands: string[] }} [unparked] the run was parked until now: what tells its
 *   timer, and the commands that came meanwhile
 */

/**
 * @param {{ get(id: string): CatalogEntry | undefined }} catalog
 * @param {import('./run-context.js').RunContext} context gets the stored entries
 * @param {{ blueprintId: string, nodeIds: string[], entries: string[], checkpoint: string | null, moved?: { version: string | null } }} stored
 *   `moved`: where a command wants to move the run, if it is parked
 * @returns {{ opening: Opening } | { refusal: Refusal } | { parking: Parking }}
 */
export function openRun(catalog, context, { blueprintId, nodeIds, entries, checkpoint: text, moved }) {
	let checkpoint
	try {
		checkpoint = text === null ? undefined : parseCheckpoint(text)
	} catch (error) {
		return refuse('ERR_STATE_CORRUPT', `The run's checkpoint cannot be used: ${messageOf(error)}`)
	}
	const id = checkpoint?.blueprint ?? blueprintId
	const entry = catalog.get(id)
	const parked = checkpoint?.parked
	if (!entry && !parked) {
		return refuse(
			'ERR_BLUEPRINT_UNKNOWN',
			`Blueprint with ID '${id}' not found in the worker's runtime registry.`,
			// A command says nothing about the run's blueprint.
			nodeIds.length > 0 ? 'failed' : null,
		)
	}
	context.load(entries, checkpoint)
	const version = checkpoint ? checkpoint.version : context.read('blueprintVersion')
	const wanted = parked && moved ? moved.version : version
	const isVersioned = checkpoint !== undefined || context.contains('blueprintVersion')
	if (
		!entry ||
		(isVersioned && !isOver(checkpoint) && versionKey(id, wanted ?? null) !== versionKey(id, entry.version))
	) {
		const isBegun = checkpoint !== undefined && !parked?.nodes
		return {
			parking: {
				blueprintId: id,
				version,
				checkpoint,
				reason: reasonOf(version, entry),
				nodeIds: isBegun ? undefined : union(parked?.nodes, nodeIds),
			},
		}
	}
	if (wanted !== version) context.restamp(entry.version)
	return openKnown(context, entry, id, checkpoint, nodeIds)
}

/**
 * @param {import('./run-context.js').RunContext} context
 * @param {CatalogEntry} entry
 * @param {string} id
 * @param {import('./checkpoint.js').Checkpoint | undefined} checkpoint
 * @param {string[]} nodeIds
 * @returns {{ opening: Opening } | { refusal: Refusal }}
 */
function openKnown(context, entry, id, checkpoint, nodeIds) {
	const { parked, ...begun } = checkpoint ?? {}
	const timer = parked && /** @type {[string, number]} */ ([versionKey(id, checkpoint?.version ?? null), parked.at])
	const unparked = timer && { timer, commands: parked?.commands ?? [] }
	const asked = union(parked?.nodes, nodeIds)
	const known = asked.filter((nodeId) => entry.nodeIds.has(nodeId))
	if (checkpoint && !parked?.nodes) {
		const restored = /** @type {import('./checkpoint.js').Checkpoint} */ (begun)
		return { opening: { entry, blueprintId: id, kind: 'restored', checkpoint: restored, nodeIds: known, unparked } }
	}
	const answer = firstContact(context, entry, id, asked, known)
	return 'opening' in answer ? { opening: { ...answer.opening, unparked } } : answer
}

/** @param {string | null} version @param {CatalogEntry | undefined} entry */
const reasonOf = (version, entry) =>
	`Blueprint version mismatch: stored version '${version}', current version '${entry ? entry.version : 'none'}'.`

/** @param {string[] | undefined} some @param {string[]} others */
const union = (some = [], others) => [...new Set([...some, ...others])]

/**
 * @param {import('./run-context.js').RunContext} context
 * @param {CatalogEntry} entry
 * @param {string} blueprintId
 * @param {string[]} asked
 * @param {string[]} known
 * @returns {{ opening: Opening } | { refusal: Refusal }}
 */
function firstContact(context, entry, blueprintId, asked, known) {
	if (asked.length > 0 && known.length === 0 && !entry.problem) {
		return refuse('ERR_NODE_UNKNOWN', `Node '${asked[0]}' not found in blueprint '${blueprintId}'.`, 'failed')
	}
	const isStart = asked.length === 0 || known.some((nodeId) => entry.entryNodes.has(nodeId))
	const fresh = isStart && !begunByWorkers(context, entry, blueprintId)
	return { opening: { entry, blueprintId, kind: fresh || entry.problem ? 'fresh' : 'adopted', nodeIds: known } }
}

/** @param {import('./run-context.js').RunContext} context @param {CatalogEntry} entry @param {string} blueprintId */
function begunByWorkers(context, entry, blueprintId) {
	return (
		context.read('blueprintId') === blueprintId &&
		context.contains('blueprintVersion') &&
		[...entry.entryNodes].some((nodeId) => hasRun(context, entry, nodeId))
	)
}

/** Whether a node has left anything: not all that run record an output. @param {import('./run-context.js').RunContext} context @param {CatalogEntry} entry @param {string} nodeId */
function hasRun(context, { blueprint }, nodeId) {
	if (context.contains(`_outputs.${nodeId}`)) return true
	const awaiting = context.read('_awaitingNodeIds')
	if (Array.isArray(awaiting) && awaiting.includes(nodeId)) return true
	const node = blueprint.nodes.find(({ id }) => id === nodeId)
	return node?.uses === 'batch-scatter' && hasScattered(context, nodeId)
}

/**
 * @param {string} code
 * @param {string} reason
 * @param {string | null} [status]
 * @returns {{ refusal: Refusal }}
 */
function refuse(code, reason, status = null) {
	return { refusal: { code, reason, status } }
}
