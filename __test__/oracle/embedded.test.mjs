/**
 * G11 by the thousand: random blueprints on the public adapter over the in-memory ports end as `FlowRuntime.run` does, with
 * every message twice, with workers that die, and with answers to what they await. `SEED` takes others; long.mjs goes on for as long as it is told.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { seed } from '../support/seed.mjs'
import { MODES, campaign, compareOne, explain, featuresOfMode } from './campaign.mjs'
import { Histogram } from './features.mjs'

const COUNTS = {
	wave: 900,
	eager: 250,
	'wave-pauses': 250,
	'eager-answered': 120,
	'wave-answered': 120,
	'wave-twice': 200,
	'eager-twice': 75,
	'wave-killed': 60,
	'eager-killed': 60,
}
/** Of the blueprints, each feature of spec §5 has to be in so many. */
const SHARE = 0.02
const GENERATED = { wave: 1_000, eager: 1_000, 'wave-pauses': 1_000, 'eager-answered': 300 }
const GENERATED_SEED = 1

describe('G11: random blueprints over the in-memory ports', () => {
	for (const [mode, count] of Object.entries(COUNTS)) {
		test(`${count} blueprints, ${mode} (SEED=${seed})`, async (t) => {
			const histogram = new Histogram()
			const { compared, kills, failures } = await campaign(mode, seed, count, histogram)
			t.diagnostic(`${compared} compared, ${kills} kills`)
			if (failures.length > 0) assert.fail(await explain(mode, seed, failures))
			assert.ok(compared > count * 0.6, `only ${compared} of ${count} could be compared`)
			if (MODES[mode].kills) assert.ok(kills > 3, `only ${kills} kills`)
			if (count >= 250) t.diagnostic(histogram.toString())
		})
	}
})

// Always the same ones, and many: a few hundred random ones have a rare feature less often now and then.
describe('what the generator makes', () => {
	for (const [mode, count] of Object.entries(GENERATED)) {
		test(`each feature is in at least ${SHARE * 100} % of ${count} blueprints, ${mode}`, async () => {
			const histogram = await featuresOfMode(mode, GENERATED_SEED, count)
			assert.deepEqual(histogram.rarerThan(SHARE), [], `features that the generator hardly makes\n${histogram}`)
		})
	}
})

describe('blueprints that once ended differently', () => {
	const folder = new URL('corpus/', import.meta.url)
	for (const file of readdirSync(folder)) {
		const { story, modes, repeat = 1, recipe } = JSON.parse(readFileSync(new URL(file, folder), 'utf8'))
		for (const mode of modes) {
			test(`${file}, ${mode}: ${story}`, async () => assert.equal(await compareOne(mode, recipe, repeat), undefined))
		}
	}
})
