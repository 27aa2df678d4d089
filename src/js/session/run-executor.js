/**
 * How the nodes of a run are executed, by Flowcraft, and what stops them.
 */
import { executeBatch } from 'flowcraft'
import { recordedResult } from './adoption.js'
import { ChildRun, isSubflow } from './child-run.js'
import { isSuccess, succeeded } from './settled-results.js'
import { VisitExecution, countingAttempts } from './visit.js'
import { waitsForWebhook } from '../webhooks/webhook-nodes.js'

/** @typedef {import('./run-state.js').VisitState} VisitState */
/** @typedef {import('./settled-results.js').Settled} Settled */
/** @typedef {import('./visit.js').Visit} Visit */

export class RunExecutor {
	/** Why nothing may start any more. @type {string | undefined} */
	stopped
	#env
	#runId
	#blueprintId
	#graph
	#context
	#children
	/** One signal for all nodes of the run, as in memory; made when the first of them starts. @type {AbortController | undefined} */
	#abort

	/**
	 * @param {import('./run-session.js').SessionEnvironment} env
	 * @param {object} run
	 * @param {string} run.runId
	 * @param {string} run.blueprintId under which it is registered
	 * @param {import('./run-graph.js').RunGraph} run.graph
	 * @param {import('./run-context.js').RunContext} run.context
	 * @param {import('./run-children.js').RunChildren} run.children
	 */
	constructor(env, { runId, blueprintId, graph, context, children }) {
		this.#env = env
		this.#runId = runId
		this.#blueprintId = blueprintId
		this.#graph = graph
		this.#context = context
		this.#children = children
	}

	/** @param {Visit} visit @param {VisitState} state @returns {Promise<Settled>} */
	async execute(visit, state) {
		const recorded = this.#replayed(visit)
		if (!recorded) return this.#run(visit, state)
		// Nothing runs here.
		visit.startedAt = 0
		return recorded
	}

	/**
	 * What other workers have recorded of a node. When another branch has written since, the row may not tell its action any more: then it
	 * runs again.
	 *
	 * @param {Visit} visit
	 * @returns {Settled | undefined}
	 */
	#replayed({ nodeId, replay }) {
		const recorded = replay ? recordedResult(this.#graph, this.#context, nodeId) : undefined
		return recorded && succeeded(nodeId, recorded)
	}

	/** @param {Visit} visit @param {VisitState} state @returns {Promise<Settled>} */
	async #run(visit, state) {
		const { runtime, services, hooks } = this.#env
		const { nodeId } = visit
		if (hooks.onJobStart) await hooks.onJobStart(this.#runId, this.#blueprintId, nodeId)
		const blueprint = this.#graph.getDynamicBlueprint()
		const { signal } = (this.#abort ??= new AbortController())
		const nodeDef = /** @type {any} */ (this.#graph.node(nodeId))
		const child = isSubflow(runtime.registry.get(nodeDef.uses)) ? this.#childOf(visit) : undefined
		const execution = new VisitExecution({
			blueprint,
			state,
			runtime: child?.runtime ?? runtime,
			services,
			executionId: this.#runId,
			signal,
		})
		visit.plan = state.plan = this.#env.retries?.planFor(nodeDef)
		const executorOf = () => countingAttempts(visit, runtime.getExecutorForNode(nodeId, /** @type {any} */ (execution)))
		const [settled] = await executeBatch(
			[{ nodeId, nodeDef }],
			blueprint,
			/** @type {any} */ (state),
			executorOf,
			runtime,
		)
		if (
			this.#env.webhooks &&
			isSuccess(settled) &&
			waitsForWebhook(runtime.registry.get(nodeDef.uses), nodeDef, blueprint)
		)
			await state.markAsAwaiting(nodeId)
		visit.child = child?.left
		return /** @type {Settled} */ (settled)
	}

	/** @param {Visit} visit of a subflow */
	#childOf({ number, nodeId, answer }) {
		const { to, action, output } = answer ?? {}
		const record = to && this.#children.get(nodeId)
		const paused = record && {
			text: this.#context.read(`_subflowState.${nodeId}`),
			record,
			answers: to.map((ids) => ({ ids, action, output })),
		}
		return new ChildRun(this.#env, { visit: number, path: [nodeId], paused })
	}

	/** Flowcraft tells cancellations by this class and name. @param {string} reason */
	signal(reason) {
		this.#abort?.abort(new DOMException(reason || 'aborted', 'AbortError'))
	}

	/** Nothing starts any more, and what runs is told so. @param {string} reason */
	stop(reason) {
		this.stopped = reason
		this.signal(reason)
	}
}
