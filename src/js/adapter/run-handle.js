/**
 * Starting a run, and the handle on it.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { GraphTraverser, sanitizeBlueprint } from 'flowcraft'
import { asEngine, RESERVED_KEY } from '../cassandra-context.js'
import { Code, KafkaAdapterError, optionError } from '../errors.js'
import { seen } from '../promises.js'

/**
 * @typedef {import('../bridge/js-ports.js').FinalResult} FinalResult
 * @typedef {import('../stores/status-table.js').StatusRow} StatusRow
 *
 * What starting and watching a run needs of an adapter.
 * @typedef {object} RunHost
 * @property {Record<string, import('flowcraft').WorkflowBlueprint>} blueprints
 * @property {Omit<import('../bridge/js-ports.js').Hooks, 'handle'>} hooks
 * @property {(runId: string) => Promise<StatusRow | undefined>} readStatus
 * @property {(job: import('flowcraft').JobPayload) => Promise<void>} send
 * @property {(runId: string) => Promise<void>} sent all its start messages are on their way
 * @property {(runId: string, action?: string, output?: unknown, options?: { nodeId?: string }) => Promise<Set<string>>} resume
 * @property {(runId: string, reason?: string) => Promise<void>} cancel
 * @property {(runId: string) => Promise<import('../../../index.js').RunHistory>} history
 */

const FINAL = new Set(['completed', 'failed', 'cancelled', 'stalled'])
const FIRST_POLL_MS = 20
const LONGEST_POLL_MS = 500
const MAX_RUN_ID_BYTES = 1024

export class RunHandle {
	#host

	/**
	 * @param {RunHost} host
	 * @param {string} runId
	 */
	constructor(host, runId) {
		this.#host = host
		this.runId = runId
	}

	/** @returns {Promise<string | undefined>} as in the status table; `undefined` while there is no row */
	async status() {
		return (await this.#host.readStatus(this.runId))?.status
	}

	/**
	 * Waits until the run has ended.
	 *
	 * @param {{ timeoutMs?: number }} [options]
	 * @returns {Promise<FinalResult>}
	 */
	async result({ timeoutMs = Infinity } = {}) {
		const deadline = performance.now() + timeoutMs
		for (let pause = FIRST_POLL_MS; ; pause = Math.min(pause * 1.5, LONGEST_POLL_MS)) {
			const row = await this.#host.readStatus(this.runId)
			if (row && FINAL.has(row.status)) return row.result ?? { status: row.status }
			const left = deadline - performance.now()
			if (left <= 0) throw this.#tooLate(timeoutMs, row?.status)
			await sleep(Math.min(pause, left))
		}
	}

	/**
	 * @param {string} [action] which edges of the waiting node to follow
	 * @param {unknown} [output] of the waiting node
	 * @param {{ nodeId?: string }} [options] which node, where several wait
	 */
	async resume(action, output, options) {
		return this.#host.resume(this.runId, action, output, options)
	}

	/** @param {string} [reason] */
	async cancel(reason) {
		await this.#host.cancel(this.runId, reason)
	}

	/** What the run has done so far. */
	async history() {
		return this.#host.history(this.runId)
	}

	/**
	 * @param {number} timeoutMs
	 * @param {string | undefined} status
	 */
	#tooLate(timeoutMs, status) {
		const state = status ? `it is "${status}"` : 'it has no status row yet'
		const text = `run "${this.runId}" has not ended after ${timeoutMs} ms (${state}). Wait longer, or look at its worker`
		return new KafkaAdapterError(Code.ResultTimeout, text, { retryable: true })
	}
}

/** @param {unknown} runId */
const checkRunId = (runId) => {
	if (typeof runId === 'string' && runId !== '' && Buffer.byteLength(runId) <= MAX_RUN_ID_BYTES) return
	throw optionError(
		'runId',
		'not an id',
		`Use a non-empty string of at most ${MAX_RUN_ID_BYTES} bytes, or leave it out`,
	)
}

/**
 * @param {RunHost} host
 * @param {string} blueprintId
 */
const startNodes = (host, blueprintId) => {
	const blueprint = host.blueprints[blueprintId]
	if (!blueprint) {
		const known = Object.keys(host.blueprints).join(', ') || 'none'
		const text = `blueprint "${blueprintId}" is not in runtimeOptions.blueprints (there: ${known}). Register it`
		throw new KafkaAdapterError(Code.BlueprintUnknown, text)
	}
	const ready = new GraphTraverser(sanitizeBlueprint(blueprint)).getReadyNodes().map(({ nodeId }) => nodeId)
	if (ready.length > 0) return { version: blueprint.metadata?.version || null, ready }
	throw new KafkaAdapterError(Code.BlueprintEmpty, `blueprint "${blueprintId}" has no node to start with`)
}

/**
 * A start that was interrupted may be repeated; a run that has made progress may not be started again.
 *
 * @param {Record<string, unknown>} document
 * @param {string} runId
 * @param {string} blueprintId
 */
const checkUnused = (document, runId, blueprintId) => {
	const keys = Object.keys(document)
	const begun = keys.some((key) => key === RESERVED_KEY || key.startsWith('_outputs.'))
	if (keys.length === 0 || (!begun && document.blueprintId === blueprintId)) return
	throw new KafkaAdapterError(Code.RunExists, `run "${runId}" exists already. Use another runId, or leave it out`)
}

/**
 * @param {RunHost} host
 * @param {string} blueprintId
 * @param {Record<string, unknown>} initialContext
 * @param {{ runId?: string }} options
 * @returns {Promise<RunHandle>}
 */
export const startRun = async (host, blueprintId, initialContext, { runId = randomUUID() }) => {
	checkRunId(runId)
	const { version, ready } = startNodes(host, blueprintId)
	const context = host.hooks.createContext(runId)
	checkUnused(await asEngine(() => context.toJSON()), runId, blueprintId)
	// Both beside an output are the mark of a run that JavaScript workers have begun (src/js/session/opening.js); the run's owner adds the version.
	const isSeeded = Object.keys(initialContext).some((key) => key.startsWith('_outputs.'))
	const document = { ...initialContext, blueprintId, ...(isSeeded ? {} : { blueprintVersion: version }) }
	const operations = Object.entries(document).map(([key, value]) => ({ op: /** @type {const} */ ('set'), key, value }))
	if (context.patch) await context.patch(operations)
	else for (const { key, value } of operations) await context.set(key, value)
	await host.hooks.touchStatus(runId)
	for (const nodeId of ready) await host.send({ runId, blueprintId, nodeId })
	// Nobody waits for it: whoever searches for stalled runs looks at one that is left in the index once, and no harm is done.
	seen(host.sent(runId))
	return new RunHandle(host, runId)
}
