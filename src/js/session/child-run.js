/**
 * The child of one visit of a subflow. Flowcraft's `SubflowNode` runs it, by the orchestrator of the runtime that it is given:
 * that is this one, which goes on with a child that awaits, or begins one, and notes what it leaves when it pauses.
 */
import { SubflowNode, executeBatch, processResults } from 'flowcraft'
import { AsyncScope } from '../async-scope.js'
import { waitsForWebhook } from '../webhooks/webhook-nodes.js'
import { unlessEmpty } from './checkpoint.js'
import { ChildGraph, ChildState, awaits, contextOf, stateRecord } from './child-graph.js'
import { waitRecord } from './child-record.js'
import { RunRouter } from './run-router.js'
import { succeeded } from './settled-results.js'

/** @typedef {import('./child-record.js').ChildRecord} ChildRecord */
/** `ids`: the node that it is for, and the subflows that it is in. @typedef {{ ids: string[], action?: string, output?: any }} ChildAnswer */
/** A child that awaits: its context as text, what is kept besides, and the answers with which it goes on. @typedef {{ text: string, record: ChildRecord, answers: ChildAnswer[] }} PausedChild */
/** @typedef {{ runId: string, path: string[], nodes: import('flowcraft').NodeDefinition[] }} ChildPlace */

/** @type {AsyncScope<ChildPlace>} */
const places = new AsyncScope()

/** In which child the node runs that calls this. @returns {ChildPlace | undefined} */
export const childPlace = () => places.value

/** Whether a node is a subflow, whose child goes on before the node itself does. @param {any} implementation */
export const isSubflow = (implementation) =>
	implementation === SubflowNode || implementation?.prototype instanceof SubflowNode

/** @param {any} execution @param {Record<string, any>} changes */
const changed = (execution, changes) =>
	Object.assign(Object.create(Object.getPrototypeOf(execution)), execution, changes)

export class ChildRun {
	/** What is kept of the child, if it awaits. @type {ChildRecord | undefined} */
	left
	#env
	#visit
	#path
	#paused
	/** Children of the child in this visit. @type {Map<string, ChildRun>} */
	#inner = new Map()
	/** Those of them that go on, until they do. @type {Map<string, ChildRun>} */
	#going = new Map()

	/**
	 * @param {{ runtime: any, webhooks: boolean }} env
	 * @param {object} child
	 * @param {number} child.visit the run's visit
	 * @param {string[]} child.path ids of the subflow and of those that it is in
	 * @param {PausedChild} [child.paused] absent: the child begins
	 */
	constructor({ runtime, webhooks }, { visit, path, paused }) {
		this.#env = { runtime, webhooks }
		this.#visit = visit
		this.#path = path
		this.#paused = paused
		/** For the subflow node. */
		this.runtime = Object.create(runtime, { orchestrator: { value: { run: this.#run.bind(this) } } })
	}

	/**
	 * As `FlowRuntime` asks its orchestrator.
	 * @param {any} execution
	 * @param {import('flowcraft').GraphTraverser} traverser
	 */
	async #run(execution, traverser) {
		this.left = undefined
		const { blueprint } = execution
		const state = this.#paused ? this.#revived(this.#paused, execution) : execution.state
		const graph = new ChildGraph(blueprint, traverser, state)
		if (this.#paused) graph.goOn(this.#paused.record)
		else graph.begin(traverser)
		const router = new RunRouter(this.#env.runtime, graph)
		const own = changed(execution, { state, runtime: this.#runtimeOf(router, state) })
		if (this.#paused) await this.#answer(this.#paused, own, graph)
		// A wave in which a node begins to await is the last one, also that of a subflow that awaits again.
		const held = state.isAwaiting() ? graph.getReadyNodes() : []
		const result = await this.#env.runtime.orchestrator.run(own, graph)
		for (const { nodeId } of held) graph.addToFrontier(nodeId)
		router.endPreviews()
		if (result.status === 'awaiting') this.left = this.#record(graph, state, result.context)
		return result
	}

	/** @param {PausedChild} paused @param {any} execution */
	#revived({ text, record, answers }, { blueprint, services, executionId }) {
		const context = contextOf(services.serializer.deserialize(text), record, blueprint)
		const state = new ChildState(
			context,
			record,
			answers.map(({ ids }) => ids[0]),
		)
		state.setEventEmitter(services.eventBus, executionId)
		return state
	}

	/**
	 * What Flowcraft's orchestrator needs of the runtime.
	 * @param {RunRouter} router
	 * @param {any} state
	 */
	#runtimeOf(router, state) {
		/** @type {Pick<RunRouter, 'determineNextNodes' | 'applyEdgeTransform'>} */
		let routing = router
		return Object.create(this.#env.runtime, {
			getExecutorForNode: { value: this.#executorFor.bind(this) },
			determineNextNodes: {
				value(/** @type {any} */ blueprint, /** @type {string} */ nodeId, /** @type {any[]} */ ...rest) {
					routing = awaits(state, nodeId) ? router.preview : router
					return routing.determineNextNodes(blueprint, nodeId, ...rest)
				},
			},
			applyEdgeTransform: {
				value: (/** @type {[any, any, any]} */ ...args) => routing.applyEdgeTransform(...args),
			},
		})
	}

	/** @param {string} nodeId @param {any} execution @returns {{ execute(input: any): Promise<any> }} */
	#executorFor(nodeId, execution) {
		const { runtime, webhooks } = this.#env
		const { blueprint, state, nodeRegistry, executionId } = execution
		const nodeDef = blueprint.nodes.find((/** @type {any} */ { id }) => id === nodeId)
		const implementation = nodeRegistry.get(nodeDef?.uses)
		const inner = isSubflow(implementation) ? this.#childOf(nodeId) : undefined
		const executor = runtime.getExecutorForNode(nodeId, changed(execution, { runtime: inner?.runtime ?? runtime }))
		if (!webhooks) return executor
		const place = { runId: executionId, path: this.#path, nodes: blueprint.nodes }
		return {
			execute: (input) =>
				places.run(place, async () => {
					const result = await executor.execute(input)
					if (result.status === 'success' && waitsForWebhook(implementation, nodeDef, blueprint))
						await state.markAsAwaiting(nodeId)
					return result
				}),
		}
	}

	/** @param {string} nodeId of a subflow that runs now */
	#childOf(nodeId) {
		const inner =
			this.#going.get(nodeId) ?? new ChildRun(this.#env, { visit: this.#visit, path: [...this.#path, nodeId] })
		this.#going.delete(nodeId)
		this.#inner.set(nodeId, inner)
		return inner
	}

	/** @param {PausedChild} paused @param {any} execution @param {ChildGraph} graph */
	async #answer({ record, answers }, execution, graph) {
		const { state, runtime, blueprint, executionId } = execution
		const children = new Map(record.children)
		const settled = []
		for (const nodeId of new Set(answers.map(({ ids }) => ids[0]))) {
			const some = answers.filter(({ ids }) => ids[0] === nodeId)
			const child = some[0].ids.length > 1 ? children.get(nodeId) : undefined
			settled.push(
				child
					? await this.#goOnWithin(nodeId, child, some, execution, graph)
					: succeeded(nodeId, { output: await outputOf(some[0], nodeId, state), action: some[0].action }),
			)
		}
		await processResults(/** @type {any} */ (settled), graph, state, runtime, blueprint, executionId)
	}

	/**
	 * @param {string} nodeId of a subflow in the child
	 * @param {ChildRecord} record
	 * @param {ChildAnswer[]} answers
	 * @param {any} execution
	 * @param {ChildGraph} graph
	 */
	async #goOnWithin(nodeId, record, answers, execution, graph) {
		const { state, runtime } = execution
		const key = `_subflowState.${nodeId}`
		const paused = {
			text: await state.getContext().get(key),
			record,
			answers: answers.map(({ ids, ...answer }) => ({ ...answer, ids: ids.slice(1) })),
		}
		this.#going.set(nodeId, new ChildRun(this.#env, { visit: this.#visit, path: [...this.#path, nodeId], paused }))
		const blueprint = graph.getDynamicBlueprint()
		const [settled] = await executeBatch(
			[{ nodeId, nodeDef: /** @type {any} */ (graph.node(nodeId)) }],
			blueprint,
			state,
			() => runtime.getExecutorForNode(nodeId, changed(execution, { blueprint })),
			runtime,
		)
		if (!awaits(state, nodeId)) await state.getContext().delete(key)
		return settled
	}

	/** @param {ChildGraph} graph @param {any} state @param {Record<string, any>} context @returns {ChildRecord} */
	#record(graph, state, context) {
		const { waiting = [], children: known = [] } = this.#paused?.record ?? {}
		const visits = new Map(waiting.map(([nodeId, visit]) => [nodeId, visit]))
		const visitOf = (/** @type {string} */ nodeId) =>
			(state instanceof ChildState && state.awaitsSinceBefore(nodeId) && visits.get(nodeId)) || this.#visit
		const children = new Map(known)
		for (const [nodeId, { left }] of this.#inner) if (left) children.set(nodeId, left)
		const ids = /** @type {string[]} */ (state.getAwaitingNodeIds())
		return {
			waiting: ids.map((nodeId) => waitRecord(nodeId, visitOf(nodeId), state.getAwaitingDetails(nodeId))),
			...graph.record(),
			...stateRecord(state),
			absent: unlessEmpty(Object.keys(context).filter((key) => context[key] === undefined)),
			children: unlessEmpty([...children].filter(([nodeId]) => ids.includes(nodeId))),
		}
	}
}

/** Without an output of its own an answer keeps what the node has left, e.g. what a sleep passes on. @param {ChildAnswer} answer @param {string} nodeId @param {any} state */
const outputOf = async ({ output }, nodeId, state) =>
	output === undefined ? state.getContext().get(`_outputs.${nodeId}`) : output
