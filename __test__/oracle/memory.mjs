/** What `FlowRuntime.run` makes of a blueprint. */
import { isDeepStrictEqual } from 'node:util'
import { VARIANTS, runtimeOptions } from './bodies.mjs'
import { comparable, difference, runInMemory } from './comparator.mjs'
import { answered, breaksAtPause, withoutChains } from './pauses.mjs'

/** A blueprint that runs more bodies is left out: it would only take long. */
const MOST_BODIES = 300
/** Longer than all other nodes of a blueprint together. */
const SLOW_MS = 300
/** Under which all bodies count that stand for an answer, and all nodes. */
const ANSWERS = '~'
const NODES = '~nodes'
/** Of a chain: what would take a longer one only takes long. */
const LONGEST = 100

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
 * Answers may come before what else could run, a child rests while it awaits, what could await in it need not come to it, and sleeps are
 * over whenever their time comes.
 */
const AT_ONCE = { length: 0 }
const LATE = [{}, { inChildren: 0 }, { subflows: 0 }, { sleeps: 'first' }, { sleeps: 'last' }]
const MARGIN = 5

/**
 * What memory makes of it where everything that awaits gets its answer. Undefined also where it matters when that comes.
 *
 * @param {import('./build.mjs').Built} built
 * @returns {Promise<any>}
 */
export async function expectedAnswered(built) {
	const atOnce = breaksAtPause(built) ? undefined : await expected(answered(built, AT_ONCE))
	if (!atOnce) return undefined
	const isCancelled = built.twists.includes('cancel') && atOnce.context !== undefined && built.ran.has(ANSWERS)
	const whole = withoutChains(atOnce)
	// There are no more waves than nodes that run.
	const length = built.ran.get(NODES) + MARGIN
	if (length > LONGEST) return undefined
	for (const chains of LATE) {
		const late = await expected(answered(built, { length, ...chains }), { raceFree: false })
		if (!late || difference(withoutChains(late), whole)) return undefined
	}
	return isCancelled ? CANCELLED : whole
}

/** As `FlowRuntime.run` ends with an aborted signal. */
const CANCELLED = { status: 'cancelled', context: {}, errors: [] }

/**
 * Whether memory ends so when one of its nodes is slow. A node that runs again after a kill is, and then nodes race that never do
 * otherwise: whichever of two predecessors ends last has its output in `_inputs.<node>`, and one of them may take longer at any speed.
 *
 * @param {import('./build.mjs').Built} built
 * @param {any} result of a run with kills that differs from `expected`
 */
export async function endsSoWhenSlow(built, result) {
	const places = [built.blueprint, ...Object.values(built.children)].flatMap(({ id, nodes }) =>
		nodesOf({ nodes })
			.filter(({ params }) => params?.delay !== undefined)
			.map((node) => [id, node.id]),
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
					nodes: nodesOf(blueprint).map((/** @type {any} */ node) =>
						node.id === nodeId ? { ...node, params: { ...node.params, delay: SLOW_MS } } : node,
					),
				}
			: blueprint
	const children = Object.fromEntries(Object.entries(built.children).map(([id, child]) => [id, slow(child)]))
	return { ...built, blueprint: slow(built.blueprint), children }
}

/** Of a blueprint in either form (row 65). @param {any} blueprint @returns {any[]} */
const nodesOf = ({ nodes }) => (Array.isArray(nodes) ? nodes : Object.values(nodes))

/** @param {import('./build.mjs').Built} built @param {number} variant @param {any} [options] */
async function runVariant({ blueprint, children, initial, strict, ignore, ran }, variant, options) {
	const tooLong = new AbortController()
	let bodies = 0
	ran.clear()
	ran.set(NODES, 0)
	const begin = (/** @type {any} */ { params }) => {
		if (++bodies > MOST_BODIES) tooLong.abort()
		for (const name of [params.name, ...(params.kind === 'answer' ? [ANSWERS] : [])])
			ran.set(name, (ran.get(name) ?? 0) + 1)
	}
	const eventBus = {
		emit: async (/** @type {any} */ { type }) => void (type === 'node:start' && ran.set(NODES, ran.get(NODES) + 1)),
	}
	const runtime = { ...runtimeOptions(variant, { begin }), blueprints: children, eventBus }
	const result = await runInMemory(blueprint, runtime, initial, { strict, signal: tooLong.signal, ...options })
	return tooLong.signal.aborted || result.rejected?.includes('maximum iterations')
		? undefined
		: comparable(result, ignore)
}
