/**
 * Flowcraft's `WorkflowState` over a `RunContext`, and what a single visit of a node sees of it.
 */
import { WorkflowState } from 'flowcraft'

/** @typedef {import('./run-context.js').RunContext} RunContext */
/** @typedef {import('./run-context.js').VisitContext} VisitContext */

/** @extends {WorkflowState<any>} */
export class RunState extends WorkflowState {
	/** @type {Promise<void>[]} */
	#writes = []

	/**
	 * @param {RunContext} context
	 * @param {{ nodes: string[], details: Record<string, any> } | undefined} awaiting as the checkpoint has it; without
	 *   a checkpoint the initial keys decide, as in memory
	 */
	constructor(context, awaiting) {
		/** @type {Record<string, any>} */
		const initial = {}
		for (const key of context.keys()) if (key.startsWith('_outputs.')) initial[key] = true
		if (awaiting) {
			if (awaiting.nodes.length > 0) initial._awaitingNodeIds = awaiting.nodes
			initial._awaitingDetails = awaiting.details
		} else {
			initial._awaitingNodeIds = context.read('_awaitingNodeIds')
			initial._awaitingDetails = context.read('_awaitingDetails')
		}
		super(initial, /** @type {any} */ (context))
	}

	/**
	 * `processResults` does not wait for the writes of a node that a fallback replaces: we do, before a step is taken.
	 * @param {string} nodeId @param {any} output @override
	 */
	addCompletedNode(nodeId, output) {
		const written = super.addCompletedNode(nodeId, output)
		written.catch(() => {})
		this.#writes.push(written)
		return written
	}

	/** Resolves when everything that was written so far has reached the context; rejects with what a write met. */
	async settled() {
		while (this.#writes.length > 0) await Promise.all(this.#writes.splice(0))
		await /** @type {RunContext} */ (/** @type {unknown} */ (this.getContext())).announced()
	}
}

/** The state as one visit sees it: everything is the run's, but the context notes what the visit holds. */
export class VisitState {
	#run
	#context
	/** Nodes that this visit has marked as awaiting. @type {Set<string> | undefined} */
	marked

	/** How a node is retried by timers; `undefined`: in the process. @type {import('./queue-retries.js').RetryPlan | undefined} */
	plan
	/** Which attempt of the node this is, from 1. */
	attempt

	/** @param {RunState} run @param {VisitContext} context @param {number} [attempt] */
	constructor(run, context, attempt = 1) {
		this.#run = run
		this.#context = context
		this.attempt = attempt
	}

	/** @param {string} nodeId @param {any} [details] */
	markAsAwaiting(nodeId, details) {
		this.marked ??= new Set()
		this.marked.add(nodeId)
		return this.#run.markAsAwaiting(nodeId, details)
	}

	getContext() {
		return this.#context
	}

	get run() {
		return this.#run
	}

	get isLastAttempt() {
		return this.plan ? this.attempt >= this.plan.attempts : this.#run.isLastAttempt
	}
}

for (const name of Object.getOwnPropertyNames(WorkflowState.prototype)) {
	if (name in VisitState.prototype) continue
	Object.defineProperty(VisitState.prototype, name, {
		configurable: true,
		writable: true,
		/** @this {{ run: any }} @param {any[]} args */
		value(...args) {
			return this.run[name](...args)
		},
	})
}
