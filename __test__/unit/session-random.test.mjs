/**
 * Random blueprints in memory and on the sessions (G11), with every job twice, and with the worker killed at each of its
 * calls. `SEED=random` or `SEED=<n>` and `RUNS=<n>` look further; a failure prints its seed, path and recipe.
 */
import { test } from 'node:test'
import fc from 'fast-check'
import { recipes } from '../oracle/generator.mjs'
import { compare, compareAnswered, compareWithKills } from '../oracle/sessions.mjs'
import { seed } from '../support/seed.mjs'

const twice = { engine: { duplicate: true, ackDelay: 'random', seed } }

/**
 * @param {string} name
 * @param {import('../oracle/generator.mjs').Profile} profile
 * @param {number} runs
 * @param {(recipe: any) => Promise<boolean | number>} check
 * @param {{ pauses?: boolean }} [options]
 */
function random(name, profile, runs, check, options) {
	const numRuns = Number(process.env.RUNS ?? runs)
	test(`${name} (${profile}, seed ${seed}, ${numRuns} blueprints)`, async (t) => {
		let done = 0
		const property = fc.asyncProperty(recipes(profile, options), async (recipe) => {
			done += Number(await check(recipe))
		})
		await fc.assert(property, {
			numRuns,
			seed,
			path: process.env.FAILED_PATH,
			endOnFailure: process.env.CI !== undefined,
		})
		t.diagnostic(`${done} compared`)
	})
}

random('G11: as in memory', 'wave', 150, compare)
random('G11: as in memory, with waits and sleeps', 'wave', 60, compare, { pauses: true })
for (const schedule of /** @type {const} */ (['eager', 'wave']))
	random(
		`rows 49-53: each wait and sleep answered, schedule ${schedule}`,
		'eager',
		40,
		(recipe) => compareAnswered(recipe, schedule),
		{ pauses: true, answered: true },
	)
random('G11: as in memory where nodes do not race', 'eager', 40, compare)
random('G11: every job twice, acknowledgements late', 'wave', 60, (recipe) => compare(recipe, twice))
random('G11: every job twice, acknowledgements late', 'eager', 25, (recipe) => compare(recipe, twice))
random('G2: killed at every call', 'eager', 20, compareWithKills)
random('G2: killed at every call', 'calm', 20, compareWithKills)
random('G2: killed at every call, every job twice', 'eager', 10, (recipe) => compareWithKills(recipe, twice))
