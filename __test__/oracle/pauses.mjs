/**
 * What memory would make of a run whose waits and sleeps are answered. `FlowRuntime.resume` is no measure (spec 4.11), so
 * `FlowRuntime.run` gets the blueprint with an ordinary node in each one's place, which returns the answer. As a resume comes
 * after everything that could run before it, each such node stands behind a chain that is longer than that takes.
 */
import { digest } from './bodies.mjs'

const CHAIN = 50
const LINK = /~\d+$/

const isPause = (/** @type {any} */ { uses }) => uses === 'wait' || uses === 'sleep'

/**
 * What the wait is answered with: an output, and perhaps an action. A sleep goes on with what it has passed on.
 *
 * @param {any} node
 * @returns {{ output?: any, action?: string }}
 */
export function answerTo({ id, uses }) {
	if (uses === 'sleep') return {}
	const action = ['go', 'stay', undefined][(digest(id) >>> 0) % 3]
	return { output: { id: `answer to ${id}` }, ...(action ? { action } : {}) }
}

/** The pauses of a blueprint in the order in which they are answered. @param {any} blueprint @returns {any[]} */
export function pausesOf({ nodes }) {
	return Object.values(nodes).filter(isPause)
}

/**
 * @param {import('./build.mjs').Built} built
 * @param {number} [length] of a chain
 * @returns {import('./build.mjs').Built}
 */
export function answered(built, length = CHAIN) {
	const { blueprint, ignore } = built
	const pauses = pausesOf(blueprint)
	const heads = new Map(pauses.map(({ id }) => [id, `${id}~0`]))
	const chains = pauses.map(({ id }, at) => chainTo(id, Math.max(1, length * (at + 1))))
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
		...built,
		blueprint: {
			...blueprint,
			nodes: [...Object.values(blueprint.nodes).map(inPlace), ...chains.flatMap(({ nodes }) => nodes)],
			edges: [
				...edges.map((edge) => ({ ...edge, target: heads.get(edge.target) ?? edge.target })),
				...chains.flatMap((chain) => chain.edges),
			],
		},
		// Where a node begins to wait, memory writes the inputs of successors that the answer may not lead to.
		ignore: new Set([
			...ignore,
			...edges.filter(({ source }) => heads.has(source)).map(({ target }) => `_inputs.${target}`),
			...pauses.map(({ id }) => `_inputs.${id}`),
		]),
	}
}

/** Keys that only the chains have made. @param {string} key */
export const isOfChain = (key) => LINK.test(key)

/** @param {string} id @param {number} length */
function chainTo(id, length) {
	const ids = Array.from({ length }, (_, at) => `${id}~${at}`)
	return {
		nodes: ids.map((link) => ({ id: link, uses: 'pass' })),
		edges: ids.map((source, at) => ({ source, target: ids[at + 1] ?? id })),
	}
}
