/**
 * What memory would make of a run whose waits and sleeps are answered. `FlowRuntime.resume` is no measure (spec 4.11), so
 * `FlowRuntime.run` gets the blueprints with an ordinary node in each one's place, which returns the answer. As a resume comes
 * after everything that could run before it, each such node stands behind a chain that is longer than that takes, and so does
 * a subflow in which something waits.
 */
import { digest } from './bodies.mjs'

const LINK = /~\d+$/
const PAUSES = new Set(['wait', 'sleep', 'webhook'])
const SLEEPS = new Set(['sleep'])

const isPause = (/** @type {any} */ { uses }) => PAUSES.has(uses)

/** Whether a node awaits, or one in its child. @param {any} node @param {Record<string, any>} children @param {Set<string>} [kinds] @returns {boolean} */
export function pausesIn(node, children, kinds = PAUSES) {
	if (node.uses !== 'subflow') return kinds.has(node.uses)
	const child = children[node.params.blueprintId]
	return Object.values(child?.nodes ?? {}).some((/** @type {any} */ inner) => pausesIn(inner, children, kinds))
}

/** What a request to a webhook says. @param {any} node */
export const bodyTo = ({ id }) => `answer to ${id}`

/**
 * What a pause is answered with: an output, and perhaps an action. A sleep goes on with what it has passed on.
 *
 * @param {any} node
 * @returns {{ output?: any, action?: string }}
 */
export function answerTo(node) {
	const { id, uses } = node
	if (uses === 'sleep') return {}
	if (uses === 'webhook') {
		const headers = { 'content-type': 'text/plain;charset=UTF-8' }
		const request = { method: 'POST', headers, query: {}, body: bodyTo(node) }
		return { output: { url: 'there', event: `webhook:${id}`, request } }
	}
	const action = ['go', 'stay', undefined][(digest(id) >>> 0) % 3]
	return { output: { id: `answer to ${id}` }, ...(action ? { action } : {}) }
}

/** What pauses of a blueprint, in the order in which it is answered. @param {any} blueprint @param {Record<string, any>} children @returns {any[]} */
export function pausesOf({ nodes }, children) {
	return Object.values(nodes).filter((node) => pausesIn(node, children))
}

/** @typedef {{ ids: string[], node: any, context: any }} OpenPause */

/**
 * The pauses that await, in the order in which they are answered.
 *
 * @param {any} context of a run that awaits
 * @param {any} blueprint
 * @param {Record<string, any>} children
 * @returns {OpenPause[]} `context`: the one that the pause is in
 */
export function openPauses(context, blueprint, children) {
	return pausesOf(blueprint, children).flatMap((node) => {
		if (!context._awaitingNodeIds?.includes(node.id)) return []
		if (node.uses !== 'subflow') return [{ ids: [node.id], node, context }]
		const inner = JSON.parse(context[`_subflowState.${node.id}`])
		const open = openPauses(inner, children[node.params.blueprintId], children)
		return open.map((pause) => ({ ...pause, ids: [node.id, ...pause.ids] }))
	})
}

/**
 * How long the chains are before pauses, before subflows with pauses, and in these (0: every pause is over at once), and whether sleeps are
 * over before all others, or after them and the last one first.
 * @typedef {{ length: number, subflows?: number, inChildren?: number, sleeps?: 'first' | 'last' }} Chains
 */

/**
 * @param {import('./build.mjs').Built} built
 * @param {Chains} chains
 * @returns {import('./build.mjs').Built}
 */
export function answered(built, chains) {
	const { blueprint, children } = built
	const { length, inChildren = length, sleeps } = chains
	const inner = { length: inChildren, sleeps }
	const own = Object.entries(children).map(([id, child]) => [id, answeredIn(child, children, inner)])
	return {
		...built,
		children: Object.fromEntries(own),
		blueprint: answeredIn(blueprint, children, chains),
		ignore: ignoredIn(built),
	}
}

/** Whether edges are evaluated already where a node begins to wait, and throw. @param {import('./build.mjs').Built} built */
export function breaksAtPause({ blueprint, children }) {
	const pauses = new Set(pausesOf(blueprint, children).map(({ id }) => id))
	return Object.values(blueprint.edges).some(({ source, condition }) => condition === 'boom' && pauses.has(source))
}

/**
 * Keys that memory writes where a node begins to wait: the inputs of successors to which the answer may not lead, and its output, which
 * takes the place of a seeded one.
 *
 * @param {import('./build.mjs').Built} built
 */
export function ignoredIn({ blueprint, children, ignore, initial }) {
	const pauses = pausesOf(blueprint, children).map(({ id }) => id)
	const edges = Object.values(blueprint.edges).filter(({ source }) => pauses.includes(source))
	const inputs = [...pauses, ...edges.map(({ target }) => target)].map((id) => `_inputs.${id}`)
	const seeded = pauses.map((id) => `_outputs.${id}`).filter((key) => key in initial)
	return new Set([...ignore, ...inputs, ...seeded])
}

/** @param {any} blueprint @param {Record<string, any>} children @param {Chains} chains */
function answeredIn(blueprint, children, { length, subflows = length, sleeps }) {
	const inOrder = pausesOf(blueprint, children)
	if (inOrder.length === 0) return blueprint
	const sleepers = inOrder.filter((node) => sleeps && pausesIn(node, children, SLEEPS))
	const others = inOrder.filter((node) => !sleepers.includes(node))
	const pauses = sleeps === 'first' ? [...sleepers, ...others] : [...others, ...sleepers.toReversed()]
	const chains = pauses.map(({ id, uses }, at) => chainTo(id, (uses === 'subflow' ? subflows : length) * (at + 1)))
	const heads = new Map(pauses.map(({ id }, at) => [id, chains[at].nodes[0]?.id ?? id]))
	const edges = Object.values(blueprint.edges)
	/** @param {any} node */
	const inPlace = (node) => {
		const fallback = heads.get(node.config?.fallback)
		const config = fallback ? { ...node.config, fallback } : node.config
		if (!isPause(node)) return { ...node, config }
		const params = node.uses === 'sleep' ? { kind: 'same' } : { kind: 'answer', answer: answerTo(node) }
		return { id: node.id, uses: 'body', params: { ...params, name: node.id }, config }
	}
	return {
		...blueprint,
		nodes: [...Object.values(blueprint.nodes).map(inPlace), ...chains.flatMap(({ nodes }) => nodes)],
		edges: [
			...edges.map((edge) => ({ ...edge, target: heads.get(edge.target) ?? edge.target })),
			...chains.flatMap((chain) => chain.edges),
		],
	}
}

/**
 * A result without what only the chains have made, and without what depends on when a wait was answered: inputs within whole contexts of
 * children; how often a node fails that two pauses lead to, which is once where they are over in one wave.
 *
 * @param {any} result in the comparator's form
 */
export function withoutChains(result) {
	if (!result.context) return result
	const own = Object.entries(result.context).filter(([key]) => !LINK.test(key))
	return {
		...result,
		context: Object.fromEntries(own.map(([key, value]) => [key, withoutInner(value)])),
		errors: [...new Set(result.errors)],
	}
}

/** @param {any} value @returns {any} */
function withoutInner(value) {
	if (typeof value !== 'object' || value === null) return value
	if (Array.isArray(value)) return value.map(withoutInner)
	const kept = Object.entries(value).filter(([key]) => !LINK.test(key) && !key.startsWith('_inputs.'))
	return Object.fromEntries(kept.map(([key, inner]) => [key, withoutInner(inner)]))
}

/** @param {string} id @param {number} length */
function chainTo(id, length) {
	const ids = Array.from({ length }, (_, at) => `${id}~${at}`)
	return {
		nodes: ids.map((link) => ({ id: link, uses: 'pass' })),
		edges: ids.map((source, at) => ({ source, target: ids[at + 1] ?? id })),
	}
}
