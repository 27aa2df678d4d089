/**
 * Which features of spec §5 a blueprint has: its row numbers, found in the blueprint itself and in what memory made of it,
 * not in the recipe, so that a generator that stops making something is noticed.
 */

/**
 * @typedef {object} View
 * @property {any[]} nodes of the blueprint and of its subflows
 * @property {any[]} own nodes of the blueprint
 * @property {any[]} edges
 * @property {any} blueprint
 * @property {any[]} children blueprints that subflows use
 * @property {import('./build.mjs').Built} built
 * @property {any} result of memory, in the comparator's form
 * @property {(id: string) => string[]} sources distinct ones
 * @property {(id: string, other: string) => boolean} leadsTo by edges
 * @property {(id: string) => boolean} ran
 * @property {(id: string) => boolean} failed
 */

import { answerTo, pausesOf } from './pauses.mjs'

const kind =
	(/** @type {string[]} */ ...kinds) =>
	({ nodes }) =>
		nodes.some((/** @type {any} */ node) => node.uses.startsWith('body') && kinds.includes(node.params.kind))
const uses =
	(/** @type {string} */ name) =>
	({ nodes }) =>
		nodes.some((/** @type {any} */ node) => node.uses === name)
const twist =
	(/** @type {string} */ name) =>
	({ built }) =>
		built.twists.includes(name)
const isAny = (/** @type {any} */ node) => node.config?.joinStrategy === 'any' && node.uses !== 'loop-controller'
const isJoin = (/** @type {View} */ { sources }, /** @type {any} */ node) => sources(node.id).length > 1
const parallel = (/** @type {any} */ a, /** @type {any} */ b) =>
	a !== b && a.source === b.source && a.target === b.target
/** Its body ran more than once, and not because it is tried again. @param {View} view @param {any} node */
const runsAgain = ({ built }, { id, config }) => built.ran.get(id) > 1 && config.maxRetries === undefined
/** Parts of loops are called after them (`parts.mjs`). @param {any} node */
const isInLoop = ({ id }) => /^n\d+_\d/.test(id)
const inherits = (/** @type {any} */ node) => node.config?.fallback !== undefined

/** @type {Record<string, (view: View) => boolean>} */
const FEATURES = {
	'1 chain': ({ edges, sources }) =>
		edges.some(({ source, target }) => sources(target).length === 1 && sources(source).length === 1),
	'2 node id as key': (view) =>
		kind('reads')(view) || view.edges.some(({ condition }) => condition?.startsWith('context')),
	'3 undefined output': kind('undefined', 'empty'),
	'4 returns nothing': kind('void'),
	'5 fan-out and all join': (view) =>
		view.nodes.some((node) => isJoin(view, node) && !isAny(node) && view.ran(node.id)),
	'6 implicit input of a join': (view) =>
		view.nodes.some((node) => isJoin(view, node) && !isAny(node) && node.inputs === undefined && view.ran(node.id)),
	'9 any join': (view) => view.nodes.some((node) => isJoin(view, node) && isAny(node) && view.ran(node.id)),
	'10 any join, several waves': (view) =>
		view.nodes.some((node) => isAny(node) && isJoin(view, node) && runsAgain(view, node) && !isInLoop(node)),
	'11 double edges': ({ edges }) => edges.some((a) => edges.some((b) => parallel(a, b) && a.action !== b.action)),
	'12 edges that differ in transform': ({ edges }) =>
		edges.some((a) => edges.some((b) => parallel(a, b) && a.action === b.action && a.transform !== b.transform)),
	'13 conditions': ({ edges }) => edges.some(({ condition }) => condition === 'result.output'),
	'14 actions': (view) => kind('action')(view) && view.edges.some(({ action }) => action === 'go'),
	'15 no edge matches': ({ edges, ran }) =>
		edges.some(({ source, action, condition }) => ran(source) && (action === 'stay' || condition === 'zero')),
	'16 skipped join': (view) => view.nodes.some((node) => isJoin(view, node) && !view.ran(node.id)),
	'17 edge to nobody': ({ edges }) => edges.some(({ target }) => target === 'nowhere'),
	'18 transform': ({ edges }) => edges.some(({ transform }) => transform?.startsWith('input')),
	'19 transform and inputs': ({ nodes, edges }) =>
		nodes.some(
			({ id, inputs, uses: name }) =>
				name === 'body' && inputs && edges.some((one) => one.target === id && one.transform),
		),
	'21 inputs: string': ({ nodes }) => nodes.some(({ inputs, params }) => typeof inputs === 'string' && params.inputs),
	'21 inputs: map': ({ nodes }) => nodes.some(({ inputs }) => typeof inputs === 'object'),
	'22 failure': ({ result }) => result.status === 'failed' && result.errors?.length > 0,
	'23 all join, failed predecessor': (view) =>
		view.nodes.some((node) => !isAny(node) && isJoin(view, node) && view.sources(node.id).some(view.failed)),
	'24 any join, failed predecessor': (view) =>
		view.nodes.some((node) => isAny(node) && isJoin(view, node) && view.sources(node.id).some(view.failed)),
	'25 retries': kind('retry'),
	'26 maxRetries 0': ({ nodes }) => nodes.some(({ config }) => config?.maxRetries === 0),
	'27 timeout, retryDelay': ({ nodes }) => nodes.some(({ config }) => config?.timeout),
	'28 fallback': ({ nodes, result }) =>
		nodes.some((node) => inherits(node) && result.context?.[`_outputs.${node.id}`] === null),
	'29 fallback with edges': ({ nodes, edges }) =>
		nodes.some((node) => inherits(node) && edges.some(({ source }) => source === node.config.fallback)),
	'30 unused fallback': ({ nodes, ran }) => nodes.some((node) => inherits(node) && !ran(node.config.fallback)),
	'30a fallback downstream': ({ nodes, edges }) =>
		nodes.some(
			(node) =>
				inherits(node) && edges.some(({ source, target }) => source === node.id && target === node.config.fallback),
		),
	'31 chain of fallbacks': ({ nodes }) =>
		nodes.some((node) => inherits(node) && nodes.some((other) => other.id === node.config.fallback && inherits(other))),
	'32 fallback masks errors': ({ result }) => result.status === 'completed' && result.errors.length > 0,
	'34 fatal': kind('fatal'),
	'35 missing implementation': uses('nowhere'),
	'36 dynamic nodes': kind('dynamic'),
	'37 batch': ({ nodes, result }) =>
		nodes.some(({ uses: name, params }) => name === 'batch-gather' && result.context?.[params.outputKey]),
	'38 batch, worker fails': ({ nodes }) => nodes.some(({ params }) => params?.workerUsesKey === 'badWorker'),
	'39 batch in chunks': ({ nodes }) => nodes.some(({ params }) => params?.chunkSize),
	'37 batch in a batch': ({ nodes }) => nodes.some(({ params }) => params?.workerUsesKey === 'batchWorker'),
	'41 loop': uses('loop-controller'),
	'42 conditional exit of a loop': ({ edges }) => edges.some(({ condition }) => condition?.endsWith('=== 2')),
	'44 no start node': twist('ring'),
	'45 strict': twist('strict'),
	'46 subflow': uses('subflow'),
	'47 subflow with something inside': ({ children }) =>
		children.some(({ nodes }) =>
			nodes.some((/** @type {any} */ node) => !node.uses.startsWith('body') || inherits(node)),
		),
	'56 middleware': ({ nodes }) => nodes.some(({ id }) => /_(watched|short|loud)$/.test(id)),
	'57 class nodes': uses('body_class'),
	'58 executionId': kind('identity'),
	'65 object form': twist('objects'),
	'66 seeded outputs': twist('seeded'),
	'68 version': ({ blueprint }) => blueprint.metadata?.version !== undefined,
	'75 evaluator throws': ({ result }) => result.rejected === 'the evaluator broke',
	'83 cause': ({ result }) =>
		(result.errors ?? []).some((/** @type {string} */ line) => line.endsWith('execution failed')),
}

/** Only where nodes race or values live: profile `wave`. @type {Record<string, (view: View) => boolean>} */
const RACING = {
	'7 sibling seen in a condition': ({ edges }) => edges.some(({ condition }) => condition?.startsWith('context')),
	'8 lost updates': kind('counter'),
	'20 two transforms': ({ nodes, edges }) =>
		nodes.some(({ id }) => {
			const into = edges.filter(({ target, transform }) => target === id && transform?.startsWith('input'))
			return new Set(into.map(({ source }) => source)).size > 1
		}),
	'59 visible keys': kind('keys'),
	'61 set undefined': kind('writes'),
	'62 live values': kind('date', 'isDate'),
	'63 shared objects': kind('mutates', 'alias'),
}

/** @type {Record<string, (view: View) => boolean>} */
const ENDLESS = {
	'43 loop without end': ({ result }) =>
		(result.errors ?? []).some((/** @type {string} */ line) => line.startsWith('endless:')),
}

/** @type {Record<string, (view: View) => boolean>} */
const PAUSING = {
	'48 subflow that awaits': ({ built, result, ran }) =>
		subflowsThatAwait(built).some(({ id }) => ran(id) || `_subflowState.${id}` in (result.context ?? {})),
	'49 wait': uses('wait'),
	'50 sleep': uses('sleep'),
	'51 branch beside a wait': (view) =>
		pausesOf(view.blueprint, view.built.children).some(({ id }) =>
			view.own.some((node) => isBeside(view, id, node.id)),
		),
}

/** @type {Record<string, (view: View) => boolean>} */
const ANSWERED = {
	'48 wait with actions in a subflow': ({ built, ran }) =>
		subflowsThatAwait(built).some(({ id, params }) => {
			const { nodes, edges } = built.children[params.blueprintId]
			const hasActions = (/** @type {any} */ node) =>
				edges.some((/** @type {any} */ { source, action }) => source === node.id && action)
			return ran(id) && nodes.some((/** @type {any} */ node) => node.uses === 'wait' && hasActions(node))
		}),
	'52 resume with an action': ({ own, edges, ran }) =>
		own.some((node) => ran(node.id) && isRoutedByAction(node, edges)),
	'53 several waits': (view) => {
		const waits = pausesOf(view.blueprint, view.built.children).filter(({ id }) => view.ran(id))
		return waits.some(({ id }) => waits.some((other) => isBeside(view, id, other.id)))
	},
	'54 webhook': ({ nodes, ran }) => nodes.some(({ id, uses: name }) => name === 'webhook' && ran(id)),
	'55 cancelled': ({ result }) => result.status === 'cancelled',
}

/** @param {import('./build.mjs').Built} built @returns {any[]} */
const subflowsThatAwait = ({ blueprint, children }) =>
	pausesOf(blueprint, children).filter((node) => node.uses === 'subflow')

/** @param {any} node @param {any[]} edges */
function isRoutedByAction(node, edges) {
	if (node.uses !== 'wait') return false
	const { action } = answerTo(node)
	return action !== undefined && edges.some((edge) => edge.source === node.id && edge.action === action)
}

/** Whether a node has run that neither leads to this one nor follows it. @param {View} view @param {string} id @param {string} other */
const isBeside = ({ leadsTo, ran }, id, other) =>
	id !== other && ran(other) && !leadsTo(id, other) && !leadsTo(other, id)

/** @param {any} recipe `profile`, `pauses`, `answered` and `endless` @returns {Record<string, (view: View) => boolean>} */
const featuresOf = ({ profile, pauses, answered, endless }) => ({
	...FEATURES,
	...(profile === 'wave' ? RACING : {}),
	...(endless ? ENDLESS : {}),
	...(pauses ? PAUSING : {}),
	...(answered ? ANSWERED : {}),
})

/** Eager leaves these out: docs/checkpoint.md, "Memory's order". */
const RACES_OF_EAGER = ['30a fallback downstream']

/** Counts features over blueprints. */
export class Histogram {
	/** @type {Map<string, number>} */
	#counts = new Map()
	#total = 0

	/** @param {import('./build.mjs').Built} built @param {any} result of memory */
	add(built, result) {
		this.#total++
		const found = viewOf(built, result)
		for (const [name, has] of Object.entries(featuresOf(built))) {
			if (built.profile === 'eager' && RACES_OF_EAGER.includes(name)) continue
			this.#counts.set(name, (this.#counts.get(name) ?? 0) + (has(found) ? 1 : 0))
		}
	}

	/** @param {number} share @returns {string[]} */
	rarerThan(share) {
		return [...this.#counts].filter(([, count]) => count < share * this.#total).map(([name]) => name)
	}

	/** @override */
	toString() {
		const percent = (/** @type {number} */ count) => ((100 * count) / this.#total).toFixed(1).padStart(5)
		const lines = [...this.#counts].map(([name, count]) => `${percent(count)} %  ${name}`)
		return [`${this.#total} blueprints`, ...lines].join('\n')
	}
}

/** @param {string} id @param {any[]} edges */
function reachable(id, edges) {
	const found = new Set([id])
	for (const one of found) for (const { source, target } of edges) if (source === one) found.add(target)
	return found
}

/** @param {import('./build.mjs').Built} built @param {any} result @returns {View} */
function viewOf(built, result) {
	const { blueprint, children } = built
	const list = (/** @type {any} */ value) => (Array.isArray(value) ? value : Object.values(value))
	const inner = Object.values(children).filter(({ id }) => id !== 'inner_batch')
	const edges = [blueprint, ...inner].flatMap((one) => list(one.edges))
	const own = list(blueprint.edges)
	return {
		built,
		blueprint,
		result,
		edges,
		children: inner,
		nodes: [blueprint, ...inner].flatMap((one) => list(one.nodes)),
		own: list(blueprint.nodes),
		leadsTo: (id, other) => reachable(id, own).has(other),
		sources: (id) => [...new Set(own.filter(({ target }) => target === id).map(({ source }) => source))],
		ran: (id) => result.context !== undefined && `_outputs.${id}` in result.context,
		failed: (id) => (result.errors ?? []).some((/** @type {string} */ line) => line.startsWith(`${id}:`)),
	}
}
