/**
 * Looking at runs, and resuming and cancelling them, from any process: by what is stored of them, and by commands to whoever owns
 * them (design D12).
 */
import { isOver, moments, parseCheckpoint } from '../session/checkpoint.js'
import { isOverIn, leadsTo, openWaits, pathOf } from '../session/child-record.js'
import { asEngine, RESERVED_KEY } from '../cassandra-context.js'
import { formatCommand } from './command-messages.js'
import { readHistory } from '../session/run-history.js'
import { Code, KafkaAdapterError, optionError } from '../errors.js'

/**
 * @typedef {object} ControlHost
 * @property {(runId: string) => import('flowcraft').IAsyncContext<Record<string, any>>} createContext
 * @property {(runId: string, command: string) => Promise<void>} send fulfils when it is acknowledged
 * @property {() => import('../stores/stored-values.js').ValueCodec} codec
 */

/**
 * @param {ControlHost} host
 * @param {string} runId
 */
const readRun = async ({ createContext }, runId) => {
	if (typeof runId !== 'string' || runId === '') throw optionError('runId', 'no run id', 'Use a non-empty string')
	const document = /** @type {Record<string, any>} */ (await asEngine(() => createContext(runId).toJSON()))
	if (Object.keys(document).length === 0) {
		throw new KafkaAdapterError(
			Code.RunUnknown,
			`run "${runId}" is not in the context table. Start it first, or check its id and the table`,
		)
	}
	const stored = document[RESERVED_KEY]
	const checkpoint = stored === undefined ? undefined : parseCheckpoint(JSON.stringify(stored))
	// Without a checkpoint the run was begun by JavaScript workers, or nobody has begun it yet.
	const waiting = checkpoint?.waiting ?? (document._awaitingNodeIds ?? []).map((/** @type {string} */ id) => [id])
	return { document, checkpoint, waits: waitsOf(waiting, checkpoint?.children) }
}

/** @typedef {{ ids: string[], wave?: number, visit?: number }} Wait */

/**
 * What an answer can be for, in the order in which it began to wait: nodes of the run, told by their wave, and in place of a subflow those
 * that await in its child, told by the visit in which they began to.
 *
 * @param {[nodeId: string, wave?: number][]} waiting
 * @param {import('../session/checkpoint.js').Checkpoint['children']} children
 * @returns {Wait[]}
 */
const waitsOf = (waiting, children) => {
	const records = new Map(children)
	return waiting.flatMap(([nodeId, wave]) => {
		const record = records.get(nodeId)
		const inner = record && openWaits(record).map(({ ids, visit }) => ({ ids: [nodeId, ...ids], visit }))
		return /** @type {Wait[]} */ (inner ?? [{ ids: [nodeId], wave }])
	})
}

/**
 * @param {Wait[]} waits
 * @param {string} address of a node, or the path of one in a subflow
 */
const findWait = (waits, address) =>
	waits.find(({ ids }) => ids[0] === address) ?? waits.find((wait) => leadsTo(address, wait))

/**
 * Whom a resume is for.
 *
 * @param {string | undefined} address
 * @param {Wait | undefined} wait
 */
const targetOf = (address, wait) => ({
	nodeId: wait ? pathOf(wait.ids) : address,
	wave: wait?.wave,
	visit: wait?.visit,
})

/**
 * @param {ControlHost} host
 * @param {string} runId
 * @returns {Promise<import('../../../index.js').RunHistory>}
 */
export const historyOf = async (host, runId) => {
	const { document, checkpoint } = await readRun(host, runId)
	const { blueprint = document.blueprintId, version = document.blueprintVersion } = checkpoint ?? {}
	return { runId, blueprintId: blueprint, version: version ?? null, ...readHistory(checkpoint?.history) }
}

/**
 * Lets a node that awaits go on. A node that does not await yet gets its answer when it does.
 *
 * @param {ControlHost} host
 * @param {string} runId
 * @param {string | undefined} action
 * @param {unknown} output
 * @param {{ nodeId?: string }} [options]
 * @returns {Promise<Set<string>>} the node, if it is known yet
 */
export const resumeRun = async (host, runId, action, output, { nodeId } = {}) => {
	if (action !== undefined && typeof action !== 'string') {
		throw optionError('action', `a ${typeof action} is no action`, 'Use a string, or leave it out')
	}
	if (nodeId !== undefined && (typeof nodeId !== 'string' || nodeId === '')) {
		throw optionError('options.nodeId', 'no node id', 'Use the id of the node that waits, or leave it out')
	}
	const { checkpoint, waits } = await readRun(host, runId)
	if (isOver(checkpoint)) return new Set()
	const target = targetOf(nodeId, nodeId === undefined ? waits[0] : findWait(waits, nodeId))
	const raw = output === undefined ? undefined : host.codec().encode(output)
	await host.send(runId, formatCommand(runId, { kind: 'resume', ...target, action }, raw))
	return new Set(target.nodeId === undefined ? [] : [target.nodeId])
}

/** @param {ControlHost} host @param {string} runId @param {Parameters<typeof formatCommand>[1]} command */
const commandParked = async (host, runId, command) => {
	const { checkpoint } = await readRun(host, runId)
	if (!checkpoint?.parked) return false
	await host.send(runId, formatCommand(runId, command))
	return true
}

/**
 * Lets a parked run go on with another version of its blueprint, where a worker has it.
 *
 * @param {ControlHost} host
 * @param {string} runId
 * @param {string | null} version
 * @returns {Promise<boolean>} whether the run is parked
 */
export const moveParkedRun = async (host, runId, version) => {
	if (version !== null && (typeof version !== 'string' || version === '')) {
		throw optionError('version', 'no version', 'Use the metadata.version of a blueprint, or null for one without')
	}
	return commandParked(host, runId, { kind: 'move', version })
}

/**
 * Ends a parked run as `failed`.
 *
 * @param {ControlHost} host
 * @param {string} runId
 * @param {string} [reason]
 * @returns {Promise<boolean>} whether the run is parked
 */
export const failParkedRun = async (host, runId, reason) => {
	checkReason(reason)
	return commandParked(host, runId, { kind: 'fail', reason })
}

/** @param {unknown} reason */
const checkReason = (reason) => {
	if (reason === undefined || typeof reason === 'string') return
	throw optionError('reason', `a ${typeof reason} is no reason`, 'Use a string, or leave it out')
}

/**
 * Answers the wait of a node under an id, so that a repeat changes nothing. A node that does not await yet gets its answer when
 * it does.
 *
 * @param {ControlHost} host
 * @param {string} runId
 * @param {{ id: string, nodeId: string, output: unknown }} answer
 * @returns {Promise<boolean>} false where nothing was sent: the run is over, or the node has its answer
 */
export const answerWait = async (host, runId, { id, nodeId, output }) => {
	const { checkpoint, waits } = await readRun(host, runId)
	const wait = findWait(waits, nodeId)
	if (isOver(checkpoint) || checkpoint?.commands?.includes(id)) return false
	if (!wait && isAnswered(checkpoint, nodeId)) return false
	const command = { id, kind: /** @type {const} */ ('resume'), ...targetOf(nodeId, wait) }
	await host.send(runId, formatCommand(runId, command, host.codec().encode(output)))
	return true
}

/** @param {import('../session/checkpoint.js').Checkpoint | undefined} checkpoint @param {string} nodeId of a node that does not wait */
const isAnswered = (checkpoint, nodeId) => {
	if (!checkpoint) return false
	const isKept = checkpoint.kept?.some(([id]) => id === nodeId) ?? false
	const done = moments(checkpoint.done).map(([id]) => id)
	return isKept || isOverIn({ done, children: checkpoint.children }, nodeId)
}

/**
 * Ends a run. What is recorded first stands: a run that ends by itself meanwhile stays as it ended.
 *
 * @param {ControlHost} host
 * @param {string} runId
 * @param {string} [reason]
 */
export const cancelRun = async (host, runId, reason) => {
	checkReason(reason)
	const { checkpoint } = await readRun(host, runId)
	if (!isOver(checkpoint)) await host.send(runId, formatCommand(runId, { kind: 'cancel', reason }))
}
