/**
 * The nodes of a run that await somebody from outside.
 *
 * The first resume of a wait counts. One that comes before its wait is kept for it.
 */
import { SubflowNode, analyzeBlueprint, FlowcraftError } from 'flowcraft'
import { unlessEmpty } from './checkpoint.js'
import { failed, succeeded } from './settled-results.js'

/** @typedef {{ action?: string, output?: any, timer?: true }} Answer */

/** Stands for whichever node awaits first. */
export const ANY = ''

/**
 * When a timer wakes a node that awaits: its own details say so (`sleep`), or those of a subflow's child that sleeps.
 *
 * @param {{ getAwaitingDetails(nodeId: string): any }} state
 * @param {any} child what the subflow has kept of its child, serialised
 * @param {{ deserialize(text: string): any }} serializer
 * @param {string} nodeId
 * @returns {number | undefined} milliseconds since the epoch
 */
export function alarmOf(state, child, serializer, nodeId) {
	const details = state.getAwaitingDetails(nodeId)
	if (details?.reason === 'timer') return Date.parse(details.wakeUpAt)
	if (typeof child !== 'string') return undefined
	return firstAlarm(serializer.deserialize(child))?.at
}

/**
 * The next timer of a child that awaits.
 *
 * @param {any} child context of the child
 * @returns {{ nodeId: string, at: number } | undefined}
 */
function firstAlarm(child) {
	const details = Object.entries(/** @type {Record<string, any>} */ (child._awaitingDetails ?? {}))
	const timers = details.filter(([, { reason }]) => reason === 'timer')
	const alarms = timers.map(([nodeId, { wakeUpAt }]) => ({ nodeId, at: Date.parse(wakeUpAt) }))
	return alarms.sort((a, b) => a.at - b.at)[0]
}

export class RunWaits {
	/** Nodes that await, and the wave of their visit. @type {Map<string, number>} */
	#waves = new Map()
	/** Answers that came before their wait. @type {Map<string, Answer>} */
	#early = new Map()
	/** When timers wake nodes that await, milliseconds since the epoch. @type {Map<string, number>} */
	#alarms = new Map()
	/** Alarms that are not durable yet. @type {[nodeId: string, visit: number, at: number][]} */
	#fresh = []

	/** @param {string} nodeId */
	has(nodeId) {
		return this.#waves.has(nodeId)
	}

	/** The lowest wave from which an answer may still lead on. */
	get lowestWave() {
		return Math.min(...this.#waves.values())
	}

	get size() {
		return this.#waves.size
	}

	/** @returns {string | undefined} */
	get first() {
		return this.#waves.keys().next().value
	}

	/**
	 * A node begins to await.
	 * @param {string} nodeId
	 * @param {number} wave
	 * @param {number} [alarm] when a timer wakes it, milliseconds since the epoch
	 * @returns {Answer | undefined} the answer, if it has come already
	 */
	begin(nodeId, wave, alarm) {
		this.#waves.set(nodeId, wave)
		const from = this.#early.has(nodeId) || alarm !== undefined ? nodeId : ANY
		const answer = this.#early.get(from)
		this.#early.delete(from)
		if (alarm !== undefined && !answer) {
			this.#alarms.set(nodeId, alarm)
			this.#fresh.push([nodeId, wave, alarm])
		}
		return answer
	}

	/** Ends a wait. @param {string} nodeId @returns {number | undefined} its wave */
	end(nodeId) {
		const wave = this.#waves.get(nodeId)
		this.#waves.delete(nodeId)
		this.#alarms.delete(nodeId)
		return wave
	}

	/** The wave of a wait's visit. @param {string} nodeId */
	waveOf(nodeId) {
		return this.#waves.get(nodeId)
	}

	/** When a timer wakes the node. @param {string} nodeId */
	alarmOf(nodeId) {
		return this.#alarms.get(nodeId)
	}

	/** An alarm that wakes no node that awaits. @param {string} nodeId @param {number} visit @param {number} at milliseconds since the epoch */
	alarm(nodeId, visit, at) {
		this.#fresh.push([nodeId, visit, at])
	}

	/** The alarms that the step which is taken now must make durable. */
	takeAlarms() {
		return this.#fresh.splice(0)
	}

	/** Keeps an answer for a wait to come; the first one counts. @param {string} nodeId @param {Answer} answer */
	keep(nodeId, answer) {
		if (!this.#early.has(nodeId)) this.#early.set(nodeId, answer)
	}

	/** @param {string} nodeId */
	isAnswered(nodeId) {
		return this.#early.has(nodeId)
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	write(checkpoint) {
		checkpoint.waiting = unlessEmpty([...this.#waves])
		checkpoint.kept = unlessEmpty([...this.#early])
		checkpoint.alarms = unlessEmpty([...this.#alarms])
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	restore(checkpoint) {
		for (const [nodeId, wave] of checkpoint.waiting ?? []) this.#waves.set(nodeId, wave)
		for (const [nodeId, answer] of checkpoint.kept ?? []) this.#early.set(nodeId, answer)
		for (const [nodeId, at] of checkpoint.alarms ?? []) this.#alarms.set(nodeId, at)
	}
}

/** Whether a node is a subflow, whose child goes on before the node itself does. @param {any} implementation */
export function isSubflow(implementation) {
	return implementation === SubflowNode || implementation?.prototype instanceof SubflowNode
}

/**
 * Goes on with the child of a subflow that awaits, as `FlowRuntime.resume` does: the child runs in memory, in this process.
 * @param {any} execution
 * @param {import('flowcraft').NodeDefinition} node
 * @param {Answer} answer
 * @param {any} state of the visit
 * @returns {Promise<import('./settled-results.js').Settled>}
 */
export async function resumeSubflow(execution, node, answer, state) {
	const { runtime } = execution
	const context = state.getContext()
	const key = `_subflowState.${node.id}`
	const blueprint = runtime.blueprints[node.params?.blueprintId]
	const kept = await context.get(key)
	const { timer, ...resumeData } = answer
	const sleeper = timer && firstAlarm(runtime.serializer.deserialize(kept))?.nodeId
	const child = await runtime.resume(blueprint, kept, resumeData, sleeper, { signal: execution.signal })
	if (child.status === 'awaiting') {
		await state.markAsAwaiting(node.id)
		await context.set(key, child.serializedContext)
		return succeeded(node.id, { output: undefined })
	}
	if (child.status !== 'completed') {
		const message = `Resumed subflow '${blueprint.id}' did not complete. Status: ${child.status}`
		return failed(node.id, new FlowcraftError(message, { nodeId: node.id, blueprintId: execution.blueprint.id }))
	}
	await context.delete(key)
	return succeeded(node.id, { output: await subflowOutput(node, blueprint, child.context, context) })
}

/** As `SubflowNode` gives it. @param {any} node @param {any} blueprint @param {Record<string, any>} child @param {any} context */
async function subflowOutput(node, blueprint, child, context) {
	if (node.params?.outputs) {
		for (const [parentKey, childKey] of Object.entries(node.params.outputs)) {
			await context.set(parentKey, child[`_outputs.${childKey}`] ?? child[childKey])
		}
		return child
	}
	const { terminalNodeIds } = analyzeBlueprint(blueprint)
	if (terminalNodeIds.length === 1) return child[`_outputs.${terminalNodeIds[0]}`]
	return Object.fromEntries(terminalNodeIds.map((id) => [id, child[`_outputs.${id}`]]))
}
