/**
 * G11 on real services, for blueprints that nobody has thought of, half of them on each layout of the context table.
 * `BLUEPRINT_SEED` replays a seed.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { openCluster } from '../support/cluster.mjs'
import { oracle } from '../support/differential.mjs'
import { published, runInMemory } from '../support/oracle.mjs'
import { arbitrarySpec, buildBlueprint, randomRuntime } from '../support/random-blueprints.mjs'
import { comparable, withWorker } from './one-worker.mjs'

const RANDOM_BLUEPRINTS = 40
const seed = Number(process.env.BLUEPRINT_SEED) || Math.floor(Math.random() * 2 ** 31)

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

describe('G11: random blueprints', () => {
	const cases = /** @type {const} */ ([
		['eager', 'full', seed],
		['eager', 'entries', seed + 1],
		['wave', 'full', seed],
		['wave', 'entries', seed + 1],
	])
	for (const [profile, schema, own] of cases) {
		const numRuns = RANDOM_BLUEPRINTS / cases.length
		test(`${numRuns} random blueprints on schedule ${profile}, tables ${schema} (BLUEPRINT_SEED=${seed})`, async (t) => {
			t.diagnostic(`BLUEPRINT_SEED=${seed}`)
			const home = await cluster.place({ schema, name: `random_${schema}`, partitions: 0 })
			const built = fc.sample(arbitrarySpec(profile), { numRuns, seed: own }).map(buildBlueprint)
			const all = built.map((one, at) => ({ ...one, blueprint: { ...one.blueprint, id: `random-${at}` } }))
			const blueprints = Object.assign(
				{},
				...all.map((one) => ({ ...one.blueprints, [one.blueprint.id]: one.blueprint })),
			)
			await withWorker(home, { ...randomRuntime(), blueprints }, { schedule: profile }, async (place) => {
				// One after the other: bodies take turns of one event loop, whose order is that of memory only then.
				for (const one of all) {
					const { blueprint, initial, ignore, blueprints: children } = one
					// D6: where nodes race, eager may end as another order in memory would.
					if (!(await oracle(one, profile))) continue
					const options = { ...randomRuntime(), blueprints: children }
					const expected = await runInMemory(structuredClone(blueprint), options, initial)
					const runId = await place.startRun(blueprint, initial)
					const { data } = await place.outcome(runId)
					assert.deepEqual(
						comparable(published(data, blueprint, initial), ignore),
						comparable(expected, ignore),
						`BLUEPRINT_SEED=${seed}, ${blueprint.id} of ${profile}: ${JSON.stringify(blueprint)}`,
					)
				}
				await place.allCommitted()
			})
		})
	}
})
