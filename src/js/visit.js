/**
 * One due execution of a node, and how Flowcraft's executor sees the run from inside it.
 */
import { WorkflowState } from 'flowcraft'

/** What `executeBatch` gives for one node. @typedef {{ status: 'fulfilled', value: any } | { status: 'rejected', reason: any }} Settled */

export class Visit {
	/** A loop has reset this node's completion while the visit was running. */
	reset = false
	/** The node's output was recorded by somebody else: only what follows is to be found. */
	replay = false
	/** The node (or it by another name) waits for somebody from outside. */
	awaits = false
	started = false
	startedAt = 0
	/** @type {Settled | undefined} */
	settled = undefined
	/** @type {import('./run-context.js').VisitContext | undefined} */
	context = undefined
	/** @type {AbortController | undefined} */
	abort = undefined

	/** @param {number} number @param {string} nodeId @param {number} wave */
	constructor(number, nodeId, wave) {
		this.number = number
		this.nodeId = nodeId
		this.wave = wave
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
	 * @param {import('flowcraft').WorkflowBlueprint} blueprint
	 * @param {any} state
	 * @param {any} nodeRegistry
	 * @param {string} executionId
	 * @param {any} runtime
	 * @param {any} services
	 * @param {AbortSignal} signal
	 * @param {number | undefined} concurrency
	 */
	constructor(blueprint, state, nodeRegistry, executionId, runtime, services, signal, concurrency) {
		this.blueprint = blueprint
		this.state = state
		this.nodeRegistry = nodeRegistry
		this.executionId = executionId
		this.runtime = runtime
		this.services = services
		this.signal = signal
		this.concurrency = concurrency
	}

	/** @param {import('flowcraft').WorkflowBlueprint} blueprint @param {Record<string, any>} initial */
	createForSubflow(blueprint, initial) {
		const { nodeRegistry, executionId, runtime, services, signal, concurrency } = this
		const state = new WorkflowState(initial)
		state.setEventEmitter(services.eventBus, executionId)
		return new VisitExecution(blueprint, state, nodeRegistry, executionId, runtime, services, signal, concurrency)
	}
}
