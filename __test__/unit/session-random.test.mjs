/**
 * Random blueprints in memory and on the sessions (G11), with every job twice, and with the worker killed at each of its
 * calls. `SEED=random` or `SEED=<n>` and `RUNS=<n>` look further; a failure prints its seed, path and blueprint.
 */
import { test } from 'node:test'
import fc from 'fast-check'
import { compare, compareWithKills } from '../support/differential.mjs'
import { arbitrarySpec } from '../support/random-blueprints.mjs'

const seed = process.env.SEED === 'random' ? Math.floor(Math.random() * 2 ** 31) : Number(process.env.SEED ?? 20251122)
const twice = { engine: { duplicate: true, ackDelay: 'random', seed } }

/**
 * @param {string} name
 * @param {'eager' | 'wave'} profile
 * @param {number} runs
 * @param {(spec: any) => Promise<boolean | number>} check
 * @param {any} [options]
 */
function random(name, profile, runs, check, options) {
	const numRuns = Number(process.env.RUNS ?? runs)
	test(`${name} (${profile}, seed ${seed}, ${numRuns} blueprints)`, async (t) => {
		let done = 0
		const property = fc.asyncProperty(arbitrarySpec(profile, options), async (spec) => {
			done += Number(await check(spec))
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

random('G11: as in memory', 'wave', 500, compare)
random('G11: as in memory where nodes do not race', 'eager', 300, compare)
random('G11: every job twice, acknowledgements late', 'wave', 150, (spec) => compare(spec, twice))
random('G11: every job twice, acknowledgements late', 'eager', 75, (spec) => compare(spec, twice))
const calm = { racing: false }
random('G2: killed at every call', 'eager', 60, compareWithKills, calm)
random('G2: killed at every call', 'wave', 60, compareWithKills, calm)
random('G2: killed at every call, every job twice', 'eager', 30, (spec) => compareWithKills(spec, twice), calm)
