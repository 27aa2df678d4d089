/** Blueprints of recipes (`generator.mjs`). The same recipe and id always give the same blueprint. */
import { INNER_BATCH } from './bodies.mjs'
import { part } from './parts.mjs'
import { pausesIn } from './pauses.mjs'

const MAX_NODES = 40
/** Of sleeps that are over while somebody looks, and of others. */
const SHORT_MS = 3
const LONG_MS = 60_000

/**
 * @typedef {object} Built
 * @property {import('./generator.mjs').Profile} profile
 * @property {boolean} pauses
 * @property {boolean} answered
 * @property {boolean} endless
 * @property {string[]} twists
 * @property {any} blueprint
 * @property {Record<string, any>} children by id
 * @property {Record<string, any>} initial
 * @property {boolean} strict
 * @property {Set<string>} ignore keys that are not compared
 * @property {Map<string, number>} ran how often memory has run each body
 */

/** @param {any} recipe @param {string} id of the blueprint @returns {Built} */
export function build(recipe, id) {
	const { profile, twists } = recipe
	/** @type {Set<string>} */
	const ignore = new Set()
	/** @type {import('./parts.mjs').Scope} */
	const scope = {
		profile,
		blueprintId: id,
		blueprints: {},
		budget: { left: MAX_NODES },
		buildChild,
		sleepMs: recipe.answered ? SHORT_MS : LONG_MS,
	}
	const blueprint = buildScope(recipe, id, scope, ignore)
	const has = (/** @type {string} */ twist) => twists.includes(twist)
	// In a ring memory begins with every controller (spec 4.2). The end of a loop then runs whether or not its beginning has, which
	// it reads: a race.
	const isRing = has('ring') && !(profile === 'eager' && blueprint.nodes.some(isController))
	if (isRing) closeRing(blueprint)
	if (isRing && has('version')) blueprint.metadata = { cycleEntryPoints: [blueprint.nodes.at(-1).id] }
	if (has('boom') && blueprint.edges.length > 0) blueprint.edges[0].condition = 'boom'
	if (has('version')) blueprint.metadata = { ...blueprint.metadata, version: '7' }
	if (has('endless')) addEndlessChild(blueprint, scope.blueprints)
	return {
		profile,
		pauses: recipe.pauses,
		answered: recipe.answered ?? false,
		endless: recipe.endless ?? false,
		twists,
		blueprint: has('objects') ? asObjects(blueprint) : blueprint,
		children: { ...scope.blueprints, inner_batch: INNER_BATCH },
		initial: {
			flag: true,
			zero: 0,
			counter: 0,
			...(has('seeded') ? { [`_outputs.${blueprint.nodes[0].id}`]: 'seeded' } : {}),
		},
		strict: has('strict'),
		ignore,
		ran: new Map(),
	}
}

/** A subflow that loops until memory's cap. @param {any} blueprint @param {Record<string, any>} children */
function addEndlessChild({ id, nodes, edges }, children) {
	const blueprintId = `${id}_endless`
	children[blueprintId] = {
		id: blueprintId,
		// Links take no time (bodies.mjs).
		nodes: [
			{ id: 'in~0', uses: 'pass' },
			{ id: 'round~1', uses: 'pass' },
			{ id: 'loop~2', uses: 'loop-controller', params: { condition: 'true' }, config: { joinStrategy: 'any' } },
		],
		edges: [
			{ source: 'in~0', target: 'loop~2' },
			{ source: 'loop~2', target: 'round~1', action: 'continue' },
			{ source: 'round~1', target: 'loop~2' },
		],
	}
	edges.push({ source: nodes[0].id, target: 'endless' })
	nodes.push({ id: 'endless', uses: 'subflow', params: { blueprintId }, config: {} })
}

/** @param {any} child @param {string} id @param {import('./parts.mjs').Scope} scope */
function buildChild(child, id, scope) {
	const blueprint = buildScope(child, id, { ...scope, blueprintId: id }, new Set())
	for (const { params } of blueprint.nodes) if (params?.kind) params.inner = true
	return blueprint
}

/** @param {any} recipe @param {string} id @param {import('./parts.mjs').Scope} scope @param {Set<string>} ignore */
function buildScope(recipe, id, scope, ignore) {
	/** @type {import('./parts.mjs').Part[]} */
	const parts = []
	for (const [at, one] of recipe.nodes.entries())
		if (parts.length === 0 || scope.budget.left > 0) parts.push(part(one, `n${at}`, scope))
	const edges = forwardEdges(recipe.edges, parts)
	addFallbacks(recipe.nodes, parts, edges, scope)
	const blueprint = {
		id,
		nodes: parts.flatMap((one) => one.nodes),
		edges: [...parts.flatMap((one) => one.edges), ...edges],
	}
	if (scope.profile === 'eager') withoutRaces(blueprint, edges, ignore)
	for (const node of blueprint.nodes) addInputs(node, predecessors(node.id, blueprint.edges))
	return blueprint
}

/** @param {any[]} recipes @param {import('./parts.mjs').Part[]} parts */
function forwardEdges(recipes, parts) {
	/** @type {any[]} */
	const edges = []
	for (const { from, to, type } of recipes) {
		const [a, b] = [from % parts.length, to % parts.length].sort((x, y) => x - y)
		if (type === 'missing') edges.push({ source: parts[a].exit, target: 'nowhere' })
		else if (a !== b) edges.push(...edgesOf(parts[a].exit, parts[b].entry, parts[0].exit, type))
	}
	return edges
}

/** @param {string} source @param {string} target @param {string} first @param {string} type */
function edgesOf(source, target, first, type) {
	const base = { source, target }
	if (type === 'action') return [{ ...base, action: 'go' }]
	if (type === 'other') return [{ ...base, action: 'stay' }]
	if (type === 'true') return [{ ...base, condition: 'result.output' }]
	if (type === 'false') return [{ ...base, condition: 'zero' }]
	if (type === 'context') return [{ ...base, condition: `context["${first}"] || flag` }]
	if (type === 'transform') return [{ ...base, transform: 'input && input.id' }]
	if (type === 'twice') return [base, { ...base, action: 'go' }]
	if (type === 'retransform')
		return [
			{ ...base, transform: 'input && input.id' },
			{ ...base, transform: '[input]' },
		]
	return [base]
}

/** @param {any[]} recipes @param {import('./parts.mjs').Part[]} parts @param {any[]} edges @param {any} scope */
function addFallbacks(recipes, parts, edges, scope) {
	for (const [at, one] of parts.entries()) {
		const { fallback = null } = recipes[at]
		const own = one.nodes[0]
		if (fallback === null || one.nodes.length > 1 || !own.config) continue
		// Backward fallbacks make cycles of inherited edges: memory then runs until its cap.
		const target = parts[at + 1 + (fallback % Math.max(1, parts.length - at - 1))]
		if (!target || target.nodes.length > 1) continue
		// pauses.mjs could not put a chain in front of such a pause: it inherits edges.
		if (scope.profile === 'eager' && pausesIn(target.nodes[0], scope.blueprints)) continue
		// A fallback that also runs for itself writes to the successors of what it would replace, whenever it comes.
		if (scope.profile === 'eager' && edges.some((other) => other.target === target.entry)) continue
		own.config.fallback = target.entry
	}
}

/** Takes out what docs/checkpoint.md calls a race. @param {any} blueprint @param {any[]} edges @param {Set<string>} ignore */
function withoutRaces(blueprint, edges, ignore) {
	// Memory's barrier lets conditions read what siblings of the source have written (row 7).
	for (const one of edges) if (one.condition?.endsWith('|| flag')) one.condition = 'flag'
	const hasFallback = new Set(blueprint.nodes.filter((/** @type {any} */ one) => one.config?.fallback).map(idOf))
	for (const node of blueprint.nodes) {
		// Of two transforms into one node the second sees the first one's result (row 20): their order matters. A fallback
		// inherits the edges of what it replaces.
		const sources = predecessors(node.id, blueprint.edges)
		if (sources.length > 1 || sources.some((id) => hasFallback.has(id)))
			for (const one of edges) if (one.target === node.id) delete one.transform
		// An eager `any` join does not wait for the end of the wave: what it reads of its sources is a race.
		if (node.config?.joinStrategy === 'any') {
			if (node.params && node.uses !== 'loop-controller') node.params.blind = true
			ignore.add(`_inputs.${node.id}`)
		}
	}
}

/** @param {any} node @param {string[]} sources */
function addInputs(node, sources) {
	if (!node.params || node.params.blind || sources.length === 0) return
	if (node.params.kind === 'reads') node.params.reads = sources[0]
	if (node.params.inputs === 'string') node.inputs = sources[0]
	if (node.params.inputs === 'map') node.inputs = Object.fromEntries([...sources, 'flag'].map((id) => [id, id]))
}

const isController = (/** @type {any} */ { uses }) => uses === 'loop-controller'

const idOf = (/** @type {any} */ { id }) => id

/** Distinct sources of a node's edges. @param {string} id @param {any[]} edges @returns {string[]} */
function predecessors(id, edges) {
	return [...new Set(edges.filter(({ target }) => target === id).map(({ source }) => source))]
}

/** A cycle through the first and the last node, and no node that nothing leads to. @param {any} blueprint */
function closeRing({ nodes, edges }) {
	const fallbacks = new Set(nodes.map((/** @type {any} */ node) => node.config?.fallback))
	const [first, last] = [nodes[0], nodes.at(-1)]
	// An `any` node in a ring runs for ever.
	if (first === last || [first, last].some(({ config }) => config?.joinStrategy === 'any')) return
	edges.push({ source: last.id, target: first.id }, { source: first.id, target: last.id })
	for (const { id } of nodes) {
		const isRoot = !edges.some((/** @type {any} */ edge) => edge.target === id) && !fallbacks.has(id)
		if (isRoot) edges.push({ source: first.id, target: id })
	}
}

/** Nodes and edges by name instead of in a list (row 65). @param {any} blueprint */
function asObjects({ nodes, edges, ...rest }) {
	return {
		...rest,
		nodes: Object.fromEntries(nodes.map((/** @type {any} */ node) => [node.id, node])),
		edges: Object.fromEntries(edges.map((/** @type {any} */ edge, /** @type {number} */ at) => [`e${at}`, edge])),
	}
}
