/**
 * One due execution of a node, and how Flowcraft's executor sees the run from inside it.
 */
import { WorkflowState } from 'flowcraft'

export class Visit {
	/** A loop has reset this node's completion while the visit was running. */
	reset = false
	/** The node's output was recorded by somebody else: only what follows is to be found. */
	replay = false
	/** An answer that a subflow's child goes on with. @type {import('./run-waits.js').Answer | undefined} */
	answer = undefined
	/** Nodes that this visit has marked as awaiting: itself, as a rule. @type {Set<string> | undefined} */
	marked = undefined
	started = false
	holdsPermit = false
	#startedAt = 0
	/** Milliseconds from the start of the node to its end. */
	duration = 0
	/** @type {import('./settled-results.js').Settled | undefined} */
	settled = undefined
	/** @type {import('./run-context.js').VisitContext | undefined} */
	context = undefined

	/** @param {number} number @param {string} nodeId @param {number} wave */
	constructor(number, nodeId, wave) {
		this.number = number
		this.nodeId = nodeId
		this.wave = wave
	}

	start() {
		this.started = true
		this.holdsPermit = true
		this.#startedAt = performance.now()
	}

	/** @param {import('./settled-results.js').Settled} settled @param {Set<string> | undefined} marked */
	end(settled, marked) {
		this.settled = settled
		this.marked = marked
		this.duration = Math.round(performance.now() - this.#startedAt)
	}

	get running() {
		return this.started && !this.settled
	}

	get succeeded() {
		return this.settled?.status === 'fulfilled' && this.settled.value.executionResult.status === 'success'
	}

	/** The error of a node that did not succeed. @returns {any} */
	get error() {
		const settled = /** @type {any} */ (this.settled)
		return settled.status === 'rejected' ? settled.reason.error : settled.value.executionResult.error
	}
}

/** The execution context that Flowcraft's executors and nodes get: `ExecutionContext` is not exported. */
export class VisitExecution {
	/**
	 * @param {{ blueprint: import('flowcraft').WorkflowBlueprint, state: any, runtime: any, services: any, executionId: string, signal: AbortSignal }} parts
	 */
	constructor({ blueprint, state, runtime, services, executionId, signal }) {
		this.blueprint = blueprint
		this.state = state
		this.nodeRegistry = runtime.registry
		this.executionId = executionId
		this.runtime = runtime
		this.services = services
		this.signal = signal
		/** Subflows take memory's own default. @type {number | undefined} */
		this.concurrency = undefined
	}

	/** @param {import('flowcraft').WorkflowBlueprint} blueprint @param {Record<string, any>} initial */
	createForSubflow(blueprint, initial) {
		const state = new WorkflowState(initial)
		state.setEventEmitter(this.services.eventBus, this.executionId)
		return new VisitExecution({ ...this, blueprint, state })
	}
}

const RESET = 1
const REPLAY = 2

/** A due visit in the checkpoint. @typedef {[number: number, nodeId: string, wave: number, flags?: number, answer?: import('./run-waits.js').Answer]} DueRecord */

/** @param {Visit} visit @returns {DueRecord} */
export function dueRecord({ number, nodeId, wave, reset, replay, answer }) {
	const flags = (reset ? RESET : 0) | (replay ? REPLAY : 0)
	if (answer) return [number, nodeId, wave, flags, answer]
	return flags ? [number, nodeId, wave, flags] : [number, nodeId, wave]
}

/** @param {DueRecord} record */
export function reviveVisit([number, nodeId, wave, flags = 0, answer]) {
	const visit = new Visit(number, nodeId, wave)
	visit.reset = (flags & RESET) !== 0
	visit.replay = (flags & REPLAY) !== 0
	visit.answer = answer
	return visit
}
