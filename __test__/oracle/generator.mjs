/**
 * Random recipes of blueprints: JSON, so that fast-check can shrink them and `corpus/` can keep them. `build.mjs` makes
 * blueprints of them.
 *
 * A recipe's profile says what it is compared on:
 * - `wave`: everything, races included, since `wave` runs in memory's order.
 * - `calm`: as `wave`, without what depends on who else runs or on live objects; for workers that are killed.
 * - `eager`: as `calm`, without what docs/checkpoint.md ("Memory's order") names as a race.
 */
import fc from 'fast-check'

/** Plain objects: recipes are written down as JSON. */
const record = (/** @type {any} */ model) => fc.record(model, { noNullPrototype: true })

/** @typedef {'wave' | 'calm' | 'eager'} Profile */

/** A word that stands there twice is made twice as often. */
const words = (/** @type {string} */ text) => text.trim().split(/\s+/)

const PLAIN = words(`
	value value value value value value undefined empty void null text string reads identity
	action action stay fail fail fatal missing retry retry dynamic writes class classFallback classFails
`)
/** They see what others do meanwhile, or rest on live objects. */
const RACING = ['keys', 'counter', 'mutates', 'date', 'isDate', 'alias']
const PAUSING = words('wait wait wait sleep sleep')
/** They need an adapter, so memory has no answer to them but ours. */
const WEBHOOKS = words('webhook webhook')

const EDGES = words(`
	plain plain plain plain plain plain plain action action other true false transform transform context
	twice retransform missing
`)

/** What a whole blueprint can be besides. */
const TWISTS = words('objects objects seeded ring strict boom boom version')
/** It takes memory a quarter of a second, so not where a blueprint runs there many times. */
const ONLY_ENDLESS = ['endless']
const ONLY_ANSWERED = words('cancel cancel cancel')
/** Where answers are routed, more of what is. */
const WAITS_OF_CHILDREN = words('wait wait wait wait wait wait wait wait')
const ROUTES = words('action action action other other other')
const MAX_DEPTH = 2

/** Of waves that answers divide, fewer lead to one join twice, so more joins are such. @param {string[]} kinds @param {boolean} answered */
const plain = (kinds, answered) =>
	record({
		kind: fc.constantFrom(...kinds),
		delay: fc.nat(3),
		any: fc.nat(answered ? 1 : 4).map((n) => n === 0),
		fallback: fc.option(fc.nat(15), { freq: 3 }),
		inputs: fc.constantFrom('none', 'none', 'none', 'string', 'map'),
		count: fc.nat(4),
		hook: fc.constantFrom(...Array(18).fill(''), '_watched', '_short', '_loud'),
		limits: fc.constantFrom('', '', '', '', '', '', 'times', 'never'),
	})

/** @param {string[]} kinds @param {number} depth @param {boolean} answered @returns {fc.Arbitrary<any>} */
function node(kinds, depth, answered) {
	if (depth === 0) return plain(kinds, answered)
	const inner = node(kinds, depth - 1, answered)
	const innerOfChild = answered ? node([...kinds, ...WAITS_OF_CHILDREN], depth - 1, answered) : inner
	const loop = record({
		kind: fc.constant('loop'),
		count: fc.nat(4),
		exit: fc.nat(3).map((n) => n === 0),
		body: fc.array(inner, { maxLength: 2 }),
	})
	const batch = record({
		kind: fc.constant('batch'),
		count: fc.nat(4),
		worker: fc.constantFrom('worker', 'worker', 'worker', 'badWorker', 'batchWorker', 'emitWorker'),
		chunked: fc.nat(5).map((n) => n === 0),
	})
	const subflow = record({
		kind: fc.constant('subflow'),
		mapped: fc.boolean(),
		child: record({
			nodes: fc.array(innerOfChild, { minLength: 1, maxLength: 5, size: 'max' }),
			edges: fc.array(edge(answered), { maxLength: 8, size: 'max' }),
		}),
	})
	return fc.oneof(
		{ weight: 30, arbitrary: plain(kinds, answered) },
		{ weight: 2, arbitrary: loop },
		{ weight: 2, arbitrary: batch },
		{ weight: answered ? 4 : 2, arbitrary: subflow },
	)
}

const edge = (/** @type {boolean} */ answered) =>
	record({ from: fc.nat(15), to: fc.nat(15), type: fc.constantFrom(...EDGES, ...(answered ? ROUTES : [])) })

/**
 * @param {Profile} profile
 * @param {{ pauses?: boolean, answered?: boolean, webhooks?: boolean, endless?: boolean }} [options] `pauses`: waits and sleeps;
 *   `answered`: they get their answers, `webhooks` by requests; `endless`: loops without end
 * @returns {fc.Arbitrary<any>}
 */
export function recipes(profile, { pauses = false, answered = false, webhooks = false, endless = false } = {}) {
	const isRacing = profile === 'wave'
	const kinds = [...PLAIN, ...(isRacing ? RACING : []), ...(pauses ? PAUSING : []), ...(webhooks ? WEBHOOKS : [])]
	const twists = [
		...TWISTS,
		...(endless ? ONLY_ENDLESS : []),
		...(webhooks ? ONLY_ANSWERED : []),
		...Array(12).fill(''),
	]
	return record({
		profile: fc.constant(profile),
		pauses: fc.constant(pauses),
		answered: fc.constant(answered),
		endless: fc.constant(endless),
		twists: fc.array(fc.constantFrom(...twists), { maxLength: 2, size: 'max' }),
		nodes: fc.array(node(kinds, MAX_DEPTH, answered), { minLength: 1, maxLength: 16, size: 'max' }),
		edges: fc.array(edge(answered), { maxLength: 26, size: 'max' }),
	})
}

/**
 * Recipe `path` of a seed is that at which `fc.assert` fails with this seed and path.
 *
 * @param {fc.Arbitrary<any>} arbitrary
 * @param {number} seed
 * @param {number} count
 * @returns {any[]}
 */
export const sample = (arbitrary, seed, count) => fc.sample(arbitrary, { seed, numRuns: count })
