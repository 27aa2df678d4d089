/**
 * Many random blueprints on the public adapter over the in-memory ports, compared with memory.
 */
import fc from 'fast-check'
import { randomFrom } from '../support/fake-engine.mjs'
import { build } from './build.mjs'
import { difference } from './comparator.mjs'
import { openEmbedded } from './embedded.mjs'
import { Histogram } from './features.mjs'
import { recipes, sample } from './generator.mjs'
import { endsSoWhenSlow, expected, expectedAnswered } from './memory.mjs'

/**
 * @typedef {object} Mode
 * @property {import('./generator.mjs').Profile} profile
 * @property {'eager' | 'wave'} schedule
 * @property {boolean} [pauses] with waits and sleeps; the run is compared as it awaits
 * @property {boolean} [answered] or when everything that awaits has got its answer
 * @property {boolean} [webhooks] some of it by a request
 * @property {boolean} [endless] with loops without end
 * @property {boolean} [twice] every job message is delivered twice
 * @property {boolean} [kills] the worker dies again and again, with any call of its stores and its log
 */

/** @type {Record<string, Mode>} */
export const MODES = {
	wave: { profile: 'wave', schedule: 'wave', endless: true },
	eager: { profile: 'eager', schedule: 'eager' },
	'wave-pauses': { profile: 'wave', schedule: 'wave', pauses: true },
	'eager-answered': { profile: 'eager', schedule: 'eager', pauses: true, answered: true, webhooks: true },
	'wave-answered': { profile: 'eager', schedule: 'wave', pauses: true, answered: true, webhooks: true },
	'wave-twice': { profile: 'wave', schedule: 'wave', twice: true },
	'eager-twice': { profile: 'eager', schedule: 'eager', twice: true },
	'wave-killed': { profile: 'calm', schedule: 'wave', kills: true },
	'eager-killed': { profile: 'eager', schedule: 'eager', kills: true },
}

const BLUEPRINTS_PER_CLUSTER = 250
/** Runs at once. With kills few: a life has to be long enough for some to end. */
const WINDOW = { calm: 24, killed: 3 }
/** Calls that a worker has before it dies: its start alone takes a dozen. */
const LIFE = { shortest: 2, longest: 120 }
/** Of each cluster, so that it comes to an end; fewer where each next owner waits for a lease. */
const MOST_KILLS = { free: 200, leased: 5 }
/** Which speeds of node bodies the clusters have, in turn. */
const SPEEDS = [0, 2, 3, 5]
const SHRINK_MS = 30_000

/** @typedef {{ at: number, recipe: any, difference: string }} Failure */

/**
 * @typedef {object} Report
 * @property {number} compared
 * @property {number} kills
 * @property {number} raced what memory itself ends with where one of the nodes is slow: left out
 * @property {Failure[]} failures
 */

/**
 * @param {keyof typeof MODES} name
 * @param {number} seed
 * @param {number} count
 * @param {Histogram} histogram
 * @returns {Promise<Report>}
 */
export async function campaign(name, seed, count, histogram) {
	const mode = MODES[name]
	const all = sample(recipes(mode.profile, mode), seed, count)
	const report = { compared: 0, kills: 0, raced: 0, failures: [] }
	for (let from = 0; from < count; from += BLUEPRINTS_PER_CLUSTER) {
		const scene = { mode, histogram, report, random: randomFrom(seed + from), from }
		await compareAll(all.slice(from, from + BLUEPRINTS_PER_CLUSTER), scene)
	}
	return report
}

/**
 * What the generator makes, by memory alone.
 *
 * @param {keyof typeof MODES} name
 * @param {number} seed
 * @param {number} count
 */
export async function featuresOfMode(name, seed, count) {
	const mode = MODES[name]
	const histogram = new Histogram()
	for (const [at, recipe] of sample(recipes(mode.profile, mode), seed, count).entries()) {
		const built = build(recipe, `random-${at}`)
		const memory = await expectedIn(mode, built)
		if (memory) histogram.add(built, memory)
	}
	return histogram
}

/** @param {any[]} some @param {any} scene */
async function compareAll(some, { mode, histogram, report, random, from }) {
	const cases = []
	for (const [at, recipe] of some.entries()) {
		const built = build(recipe, `random-${from + at}`)
		const memory = await expectedIn(mode, built)
		if (!memory) continue
		histogram.add(built, memory)
		cases.push({ at: from + at, recipe, built, memory })
	}
	const clusters = new Map()
	const speeds = speedsOf(mode)
	const variant = speeds[(from / BLUEPRINTS_PER_CLUSTER) % speeds.length]
	for (const strict of [false, true]) {
		const own = cases.filter(({ built }) => built.strict === strict).map(({ built }) => built)
		clusters.set(
			strict,
			await openEmbedded(own, { ...mode, strict, variant, ...(mode.kills ? mortal(random, strict) : {}) }),
		)
	}
	const waiting = cases.values()
	const next = async () => {
		for (const { at, recipe, built, memory } of waiting) {
			const result = await clusters.get(built.strict).run(built, memory.status)
			const found = difference(result, memory)
			if (found && (await hasOnlyRaced(mode, built, result))) {
				report.raced++
				continue
			}
			report.compared++
			if (found) report.failures.push({ at, recipe, difference: found })
		}
	}
	await Promise.all(Array.from({ length: mode.kills ? WINDOW.killed : WINDOW.calm }, next))
	for (const cluster of clusters.values()) {
		report.kills += cluster.kills
		await cluster.close()
	}
}

/** A node that runs again ends in another place of its wave, so with kills races are out of question. */
const expectedIn = (
	/** @type {Mode} */ { profile, kills, answered },
	/** @type {import('./build.mjs').Built} */ built,
) => (answered ? expectedAnswered(built) : expected(built, { raceFree: profile === 'eager' || kills }))

/**
 * Whether a difference is a race: nodes may end in another order than at any of memory's speeds. A node that runs again after a death is
 * slow; in `eager` two that memory begins together begin when their own predecessors have ended.
 * @param {Mode} mode @param {import('./build.mjs').Built} built @param {any} result
 */
const hasOnlyRaced = async ({ schedule, kills }, built, result) =>
	(kills || schedule === 'eager') && (await endsSoWhenSlow(built, result))

/** @param {() => number} random @param {boolean} leases */
function mortal(random, leases) {
	let kills = leases ? MOST_KILLS.leased : MOST_KILLS.free
	const life = () => (kills-- > 0 ? LIFE.shortest + Math.floor(random() * (LIFE.longest - LIFE.shortest)) : undefined)
	return { leases, life }
}

/** Memory's order of ends is the order of `wave`, so there is one speed to compare. @param {Mode} mode */
const speedsOf = ({ schedule }) => (schedule === 'eager' ? SPEEDS : [0])

/**
 * One recipe at each speed, on a cluster of its own.
 *
 * @param {keyof typeof MODES} name
 * @param {any} recipe
 * @param {number} [repeat] runs, for what shows only sometimes
 * @returns {Promise<string | undefined>} what differs
 */
export async function compareOne(name, recipe, repeat = 1) {
	const mode = MODES[name]
	const built = build(recipe, 'random')
	const memory = await expectedIn(mode, built)
	if (!memory) return undefined
	for (const variant of speedsOf(mode)) {
		const deaths = mode.kills ? mortal(randomFrom(1), false) : {}
		const cluster = await openEmbedded([built], { ...mode, strict: built.strict, variant, ...deaths })
		try {
			for (let run = 1; run <= repeat; run++) {
				const result = await cluster.run(built, memory.status)
				const found = difference(result, memory)
				if (found && !(await hasOnlyRaced(mode, built, result))) return found
			}
		} finally {
			await cluster.close()
		}
	}
	return undefined
}

/**
 * The smallest recipe found that still fails; undefined where the failure does not come again on a cluster of its own.
 *
 * @param {keyof typeof MODES} name
 * @param {number} seed
 * @param {number | string} path
 */
export async function shrink(name, seed, path) {
	const property = fc.asyncProperty(recipes(MODES[name].profile, MODES[name]), async (recipe) => {
		const found = await compareOne(name, recipe)
		if (found) throw new Error(found)
	})
	const details = await fc.check(property, { seed, path: String(path), interruptAfterTimeLimit: SHRINK_MS })
	return details.counterexample?.[0]
}

/**
 * @param {keyof typeof MODES} name
 * @param {number} seed
 * @param {Failure[]} failures
 */
export async function explain(name, seed, failures) {
	const [{ at, recipe, difference: found }] = failures
	const smallest = (await shrink(name, seed, at)) ?? recipe
	return [
		`${failures.length} blueprints end differently (at ${failures.map((one) => one.at).join(', ')}). The first:`,
		found,
		`Again: node __test__/oracle/long.mjs --mode ${name} --seed ${seed} --path ${at}`,
		`To keep it, as a file of __test__/oracle/corpus: ${JSON.stringify({ story: '...', modes: [name], recipe: smallest })}`,
	].join('\n')
}
