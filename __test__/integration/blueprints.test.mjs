/**
 * G11 on real services: what the worker publishes for a blueprint is what `FlowRuntime.run` returns for it.
 *
 * One test per row of the feature matrix (flowcraft-spec.md §5), on both layouts of the context table at once.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
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

	test('rows 46, 58: nodes are told the run id as executionId, those of a subflow as well', async () => {
		const tell = async (/** @type {any} */ { dependencies }) => ({ output: dependencies.runtime.executionId })
		const parent = { id: 'parent', nodes: [{ id: 's', uses: 'subflow', params: { blueprintId: 'pair' } }], edges: [] }
		const blueprints = { pair: blueprint, parent }
		await withWorker(home, { registry: { a: tell, b: tell }, blueprints }, {}, async (place) => {
			const [plain, nested] = [await place.startRun(blueprint), await place.startRun(parent)]
			const rows = await place.outcomes([plain, nested])
			assert.equal(rows.get(plain)?.data.payload.context['_outputs.a'], plain)
			assert.equal(rows.get(nested)?.data.payload.context['_outputs.s'], nested)
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

	for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
		test(`row 69: every message of a run comes twice and a third time, its node runs once (${schedule})`, async () => {
			/** @type {string[]} */
			const ran = []
			const say = (/** @type {string} */ id) => async () => (ran.push(id), { output: id, action: 'go' })
			const ids = ['a', 'b', 'c', 'd']
			const edges = [
				{ source: 'a', target: 'b', action: 'go' },
				{ source: 'a', target: 'c', action: 'go' },
				{ source: 'a', target: 'never', action: 'stay' },
				{ source: 'b', target: 'd' },
				{ source: 'c', target: 'd' },
			]
			const nodes = [...ids, 'never'].map((id) => ({ id, uses: id }))
			const routed = { id: 'routed', nodes, edges }
			const registry = Object.fromEntries([...ids, 'never'].map((id) => [id, say(id)]))
			/** Whoever overrides it sees each message that the worker sends, and sends it twice. */
			class Twice extends KafkaAdapter {
				/** @param {any} job @override */
				async enqueueJob(job) {
					await super.enqueueJob(job)
					await super.enqueueJob(job)
				}
			}
			const place = await home.sibling({ partitions: 3 })
			const runtimeOptions = { logger: new NullLogger(), registry, blueprints: { routed } }
			const adapter = new Twice(place.options({ schedule, runtimeOptions }))
			await adapter.start()
			try {
				const job = (/** @type {string} */ nodeId) => ({ runId: 'twice', blueprintId: 'routed', nodeId })
				await place.writeContext('twice', '{}')
				await place.send([job('a'), job('a')])
				const { status, text } = await place.outcome('twice')
				assert.equal(status, 'completed')
				// A message is held until what follows it has been sent.
				await place.allCommitted()
				const messages = await (await cluster.readTopic(place.topic)).caughtUp()
				const sent = messages.map(({ value }) => JSON.parse(String(value)).nodeId)
				assert.deepEqual(
					sent.toSorted(),
					ids.flatMap((id) => [id, id]),
				)
				// And when all is over.
				await place.send(ids.map(job))
				await place.allCommitted()
				assert.deepEqual(ran.toSorted(), ids)
				assert.equal((await place.statusRows(['twice']))[0].text, text)
			} finally {
				await adapter.stop()
			}
		})
	}

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
