/**
 * G11 on real services: what the worker publishes for a blueprint is what `FlowRuntime.run` returns for it.
 *
 * One test per row of the feature matrix (flowcraft-spec.md §5), on both layouts of the context table at once.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { openCluster } from '../support/cluster.mjs'
import { published, runInMemory } from '../support/oracle.mjs'
import { comparable, withWorker } from './one-worker.mjs'
import { CASES, bodies } from './rows.mjs'

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home
/** @type {import('../support/cluster.mjs').Place[]} */
let homes

before(async () => {
	cluster = await openCluster()
	const schemas = /** @type {const} */ (['full', 'entries'])
	homes = await Promise.all(
		schemas.map((schema) => cluster.place({ schema, name: `blueprints_${schema}`, partitions: 0 })),
	)
	home = homes[0]
})

after(() => cluster.close())

describe('G11: each row of the feature matrix', () => {
	for (const {
		row,
		name,
		blueprint,
		blueprints,
		initial = {},
		schedule = 'eager',
		evaluator,
		middleware,
		strict = false,
		status,
		ran,
		also,
	} of CASES) {
		test(`row ${row}: ${name} (${schedule})`, async () => {
			/** @type {string[]} */
			const inMemory = []
			const runtimeOptions = (/** @type {string[]} */ trace) => ({
				registry: bodies(trace),
				blueprints: { ...blueprints, [blueprint.id]: structuredClone(blueprint) },
				...(evaluator ? { evaluator } : {}),
				...(middleware ? { middleware } : {}),
			})
			const expected = await runInMemory(structuredClone(blueprint), runtimeOptions(inMemory), initial, { strict })
			const onLayout = async (/** @type {import('../support/cluster.mjs').Place} */ layout) => {
				/** @type {string[]} */
				const here = []
				await withWorker(layout, runtimeOptions(here), { schedule, strict }, async (place) => {
					const { schema } = place
					const runId = await place.startRun(blueprint, initial)
					const { data } = await place.outcome(runId)
					assert.equal(data.status, status, schema)
					assert.deepEqual(
						{ schema, ...comparable(published(data, blueprint, initial)) },
						{ schema, ...comparable(expected) },
					)
					assert.deepEqual(here.toSorted(), inMemory.toSorted(), `${schema}: the same node bodies ran, as often`)
					if (ran) assert.deepEqual(here.toSorted(), ran.toSorted(), schema)
					if (also) assert.ok(also(data.payload.context), `${schema}: ${JSON.stringify(data.payload.context)}`)
					await place.allCommitted()
				})
			}
			await Promise.all(homes.map(onLayout))
		})
	}
})

describe('rows that are about the wire and the row', () => {
	const blueprint = {
		id: 'pair',
		nodes: [
			{ id: 'a', uses: 'a' },
			{ id: 'b', uses: 'b' },
		],
		edges: [{ source: 'a', target: 'b' }],
	}

	test('row 58: nodes are told the run id as executionId', async () => {
		const registry = {
			a: async ({ dependencies }) => ({ output: dependencies.runtime.executionId }),
			b: async () => ({ output: 1 }),
		}
		await withWorker(home, { registry, blueprints: { pair: blueprint } }, {}, async (place) => {
			const runId = await place.startRun(blueprint)
			const { data } = await place.outcome(runId)
			assert.equal(data.payload.context['_outputs.a'], runId)
		})
	})

	test('row 59: nodes see the keys of the user and of Flowcraft, no bookkeeping', async () => {
		const registry = {
			a: async () => ({ output: 1 }),
			b: async ({ context }) => ({ output: Object.keys(await context.toJSON()).sort() }),
		}
		await withWorker(home, { registry, blueprints: { pair: blueprint } }, {}, async (place) => {
			const { data } = await place.outcome(await place.startRun(blueprint, { mine: 1 }))
			assert.deepEqual(data.payload.context['_outputs.b'], ['_inputs.b', '_outputs.a', 'a', 'mine'])
		})
	})

	test('row 68: an absent blueprintVersion is stamped', async () => {
		const registry = { a: async () => ({ output: 1 }), b: async () => ({ output: 2 }) }
		const versioned = { ...blueprint, metadata: { version: '2' } }
		await withWorker(home, { registry, blueprints: { pair: versioned } }, {}, async (place) => {
			const fresh = await place.startRun(versioned)
			assert.equal((await place.outcome(fresh)).status, 'completed')
			const { document } = /** @type {any} */ (await place.context(fresh))
			assert.equal(document.blueprintVersion, '2')
		})
	})

	test('row 69: a run whose start job comes three times runs once', async () => {
		const ran = { a: 0, b: 0 }
		const registry = {
			a: async () => ({ output: ++ran.a, action: 'go' }),
			b: async () => ({ output: ++ran.b }),
		}
		await withWorker(home, { registry, blueprints: { pair: blueprint } }, {}, async (place) => {
			const job = { runId: 'thrice', blueprintId: 'pair', nodeId: 'a' }
			await place.writeContext('thrice', '{}')
			await place.send([job, job])
			await place.outcome('thrice')
			await place.send([job])
			await place.allCommitted()
			assert.deepEqual(ran, { a: 1, b: 1 })
		})
	})
})
