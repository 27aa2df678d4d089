/**
 * What workers of 1.4.4 have run too early: what follows a wait, since they do not wait (spec rows 48 to 51); a gather and what
 * follows it, since they do not run the workers of a batch (row 37); a fallback that a client has started, and what follows it
 * (row 30). It counts as not run: the graph readies it when its time has come, and messages for it say nothing.
 */
import { SleepNode, WaitNode } from 'flowcraft'
import { nextAlarm, recordOf, timeOf } from './child-record.js'
import { isSubflow } from './child-run.js'

/** @typedef {import('./run-graph.js').RunGraph} RunGraph */
/** @typedef {import('./run-context.js').RunContext} RunContext */
/** @typedef {import('./run-session.js').SessionEnvironment} Environment */
/** @typedef {Pick<import('./blueprint-catalog.js').CatalogEntry, 'blueprint' | 'startSet' | 'entryNodes'>} Entry */

/**
 * A node that those workers have not waited for.
 * @typedef {object} Root
 * @property {'wait' | 'batch' | 'fallback'} kind
 * @property {string} id
 * @property {string[]} from whatever follows these is early
 * @property {string[]} due what has to run, or to run again, before that
 */

/**
 * @param {RunGraph} graph
 * @param {RunContext} context
 * @param {Entry} entry
 * @param {Environment} env
 */
export function prematureIn(graph, context, entry, env) {
	const { blueprint } = entry
	const roots = [...waits(graph, context, entry, env), ...batches(context, blueprint), ...fallbacks(context, entry)]
	const reach = reaching(graph, context, blueprint, new Set(roots.map(({ id }) => id)))
	const reached = roots.map(({ from }) => reach(from))
	// A root that follows another one is early itself. Of a ring the first one counts.
	const first = roots.filter(({ id }, at) =>
		reached.every((nodes, other) => !nodes.has(id) || other === at || (reached[at].has(roots[other].id) && at < other)),
	)
	const dropped = new Set(first.flatMap((root) => [...reached[roots.indexOf(root)]]))
	for (const { kind, id } of first) if (kind === 'fallback') dropped.add(id)
	return {
		dropped,
		early: new Set([...dropped, ...onlyFallbacks(entry)]),
		due: [...new Set(first.flatMap(({ due }) => due))],
		waiting: first.filter(({ kind, due }) => kind === 'wait' && due.length === 0).map(({ id }) => id),
		/** All that have to begin anew, at once or when their time has come. */
		batches: roots.filter(({ kind }) => kind === 'batch').map(({ id }) => id),
	}
}

/** Nodes that clients take for the beginning of a run. @param {Entry} entry */
const onlyFallbacks = ({ entryNodes, startSet }) => [...entryNodes].filter((id) => !startSet.includes(id))

/** @param {RunContext} context @returns {string[]} */
const awaitingIds = (context) => {
	const ids = context.read('_awaitingNodeIds')
	return Array.isArray(ids) ? ids : []
}

/** @param {RunGraph} graph @param {RunContext} context @param {Entry} entry @param {Environment} env @returns {Root[]} */
function waits(graph, context, entry, env) {
	const others = new Set(onlyFallbacks(entry))
	const ids = awaitingIds(context).filter((id) => graph.node(id) && !others.has(id))
	return ids.map((id) => {
		const missing = replacedBy(entry, id).filter((one) => !context.contains(`_outputs.${one}`))
		return { kind: 'wait', id, from: [id, ...missing], due: isWaiting(graph, context, env, id) ? [] : [id] }
	})
}

/**
 * Whether the row has all that a node leaves which awaits. It says first that the node awaits: a worker may have been stopped after that,
 * and then the node runs again. So does one that nothing can wake here, to fail as it has to.
 * @param {RunGraph} graph @param {RunContext} context @param {Environment} env @param {string} id
 */
function isWaiting(graph, context, { runtime, native }, id) {
	const { uses, inputs } = /** @type {import('flowcraft').NodeDefinition} */ (graph.node(id))
	const implementation = /** @type {any} */ (runtime.registry.get(uses))
	const details = context.read('_awaitingDetails')?.[id]
	const child = context.read(`_subflowState.${id}`)
	const isA = (/** @type {any} */ kind) => implementation === kind || implementation?.prototype instanceof kind
	if (isSubflow(implementation) && child === undefined) return false
	if ((isA(WaitNode) || isA(SleepNode)) && details === undefined) return false
	// What a sleep passes on is recorded last.
	const passesOn = inputs !== undefined || context.contains(`_inputs.${id}`)
	if (isA(SleepNode) && passesOn && !context.contains(`_outputs.${id}`)) return false
	const inChild =
		typeof child === 'string' ? recordOf(runtime.serializer.deserialize(child), runtime.serializer) : undefined
	const alarm = timeOf(details) ?? (inChild && nextAlarm(inChild))
	return alarm === undefined || native.timersMissing() === null
}

/** @param {RunContext} context @param {Entry['blueprint']} blueprint @returns {Root[]} */
function batches(context, { nodes }) {
	const open = nodes.filter(({ id, uses, params }) => {
		if (uses !== 'batch-scatter' || !hasScattered(context, id)) return false
		const workers = context.read(`${params?.gatherNodeId}_allWorkerIds`)
		return !Array.isArray(workers) || !workers.every((worker) => context.contains(`_outputs.${worker}`))
	})
	return open.map(({ id }) => ({ kind: 'batch', id, from: [id], due: [id] }))
}

/** Whether a batch has begun. @param {RunContext} context @param {string} id */
export function hasScattered(context, id) {
	return context.contains(`${id}_currentIndex`) || [...context.keys()].some((key) => key.startsWith(`_batch.${id}_`))
}

/**
 * Those that clients have started, or seem to have. What they take the place of and the row does not have, or not for certain, has yet to
 * run, and is due where it was asked for: the row does not tell whether it has run without leaving an output, or has failed.
 * @param {RunContext} context @param {Entry} entry @returns {Root[]}
 */
function fallbacks(context, entry) {
	const awaiting = awaitingIds(context)
	const ran = onlyFallbacks(entry).filter((id) => context.contains(`_outputs.${id}`) || awaiting.includes(id))
	return ran.flatMap((id) => {
		const replaced = replacedBy(entry, id)
		if (replaced.some((one) => hasReplaced(context, id, one))) return []
		// 1.4.4 loses writes here: of two equal outputs one may be the other.
		const isDecided = (/** @type {string} */ one) =>
			context.contains(`_outputs.${one}`) && context.textOf(`_outputs.${one}`) !== context.textOf(`_outputs.${id}`)
		const missing = replaced.filter((one) => !isDecided(one))
		const due = missing.filter((one) => entry.startSet.includes(one) || context.contains(`_inputs.${one}`))
		return [{ kind: /** @type {const} */ ('fallback'), id, from: [id, ...missing], due }]
	})
}

/** @param {Entry} entry @param {string} fallback */
function replacedBy({ blueprint }, fallback) {
	return blueprint.nodes.filter(({ config }) => config?.fallback === fallback).map(({ id }) => id)
}

/**
 * Whether a fallback has run in the place of a node: those workers record its output for both, and only then under its bare id.
 * @param {RunContext} context @param {string} fallback @param {string} nodeId
 */
export function hasReplaced(context, fallback, nodeId) {
	return context.contains(fallback) && [fallback, nodeId].every((id) => context.contains(`_outputs.${id}`))
}

/**
 * What a result may lead to. A loop begins anew where it is entered, so what lies behind its controller is left alone; so is an `any`
 * join to which a recorded node has led that is not early.
 * @param {RunGraph} graph @param {RunContext} context @param {Entry['blueprint']} blueprint @param {Set<string>} roots
 */
function reaching(graph, context, { nodes, edges }, roots) {
	const links = edges.map(({ source, target }) => [source, target])
	for (const { id, config, params, uses } of nodes) {
		if (uses === 'batch-scatter' && params?.gatherNodeId) links.push([id, params.gatherNodeId])
		if (config?.fallback) links.push([id, config.fallback])
	}
	const walk = (/** @type {string[]} */ from, /** @type {(id: string) => boolean} */ isEntered) => {
		const found = new Set(from)
		for (const id of found)
			for (const [source, target] of links) if (source === id && isEntered(target)) found.add(target)
		for (const id of from) found.delete(id)
		return found
	}
	return (/** @type {string[]} */ from) => {
		const isEntered = (/** @type {string} */ id) =>
			graph.node(id) !== undefined && graph.node(id)?.uses !== 'loop-controller'
		const all = walk(from, isEntered)
		const isOutside = (/** @type {string} */ id) =>
			!all.has(id) && !from.includes(id) && !roots.has(id) && context.contains(`_outputs.${id}`)
		const stays = (/** @type {string} */ id) =>
			graph.isAnyJoin(id) && edges.some(({ source, target }) => target === id && isOutside(source))
		return walk(from, (id) => isEntered(id) && !stays(id))
	}
}
