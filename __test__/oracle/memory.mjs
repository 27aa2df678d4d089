/** What `FlowRuntime.run` makes of a blueprint. */
import { isDeepStrictEqual } from 'node:util'
import { VARIANTS, runtimeOptions } from './bodies.mjs'
import { comparable, difference, runInMemory } from './comparator.mjs'
import { isOfChain } from './pauses.mjs'

/** A blueprint that runs more bodies is left out: it would only take long. */
const MOST_BODIES = 300
/** Longer than all other nodes of a blueprint together. */
const SLOW_MS = 300

/**
 * Undefined where the blueprint cannot be compared: it takes too long, or its nodes race.
 *
 * @param {import('./build.mjs').Built} built
 * @param {{ raceFree?: boolean }} [options] default: as the profile says
 * @returns {Promise<any>}
 */
export async function expected(built, { raceFree = built.profile === 'eager' } = {}) {
	const first = await runVariant(built, 0)
	if (!first || !raceFree) return first
	for (let variant = 1; variant < VARIANTS; variant++) {
		// One after the other: nobody waits for a place in a chunk.
		if (!isDeepStrictEqual(await runVariant(built, variant, { concurrency: 100 }), first)) return undefined
	}
	return first
}

/**
 * Whether memory ends so when one of its nodes is slow. A node that runs again after a kill is, and then nodes race that never do
 * otherwise: whichever of two predecessors ends last has its output in `_inputs.<node>`, and one of them may take longer at any speed.
 *
 * @param {import('./build.mjs').Built} built
 * @param {any} result of a run with kills that differs from `expected`
 */
export async function endsSoWhenSlow(built, result) {
	const places = [built.blueprint, ...Object.values(built.children)].flatMap(({ id, nodes }) =>
		nodes.filter(({ params }) => params?.delay !== undefined).map((node) => [id, node.id]),
	)
	const ends = await Promise.all(places.map(async ([id, node]) => runVariant(slowed(built, id, node), 0)))
	return ends.some((end) => end && !difference(result, end))
}

/** @param {import('./build.mjs').Built} built @param {string} blueprintId @param {string} nodeId */
function slowed(built, blueprintId, nodeId) {
	const slow = (/** @type {any} */ blueprint) =>
		blueprint.id === blueprintId
			? {
					...blueprint,
					nodes: blueprint.nodes.map((/** @type {any} */ node) =>
						node.id === nodeId ? { ...node, params: { ...node.params, delay: SLOW_MS } } : node,
					),
				}
			: blueprint
	const children = Object.fromEntries(Object.entries(built.children).map(([id, child]) => [id, slow(child)]))
	return { ...built, blueprint: slow(built.blueprint), children }
}

/** @param {import('./build.mjs').Built} built @param {number} variant @param {any} [options] */
async function runVariant({ blueprint, children, initial, strict, ignore }, variant, options) {
	const tooLong = new AbortController()
	let bodies = 0
	const begin = () => {
		if (++bodies > MOST_BODIES) tooLong.abort()
	}
	const runtime = { ...runtimeOptions(variant, { begin }), blueprints: children }
	const result = await runInMemory(blueprint, runtime, initial, { strict, signal: tooLong.signal, ...options })
	if (result.context) for (const key of Object.keys(result.context)) if (isOfChain(key)) delete result.context[key]
	return tooLong.signal.aborted || result.rejected?.includes('maximum iterations')
		? undefined
		: comparable(result, ignore)
}
