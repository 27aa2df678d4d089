/**
 * `CassandraContext` on each layout of the context table: what it answers is the same, what it touches is not.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { NullLogger } from 'flowcraft'
import { CassandraContext, KafkaAdapter } from '../../src/js/index.js'
import { asEngine } from '../../src/js/cassandra-context.js'
import { openCluster, unique } from '../support/cluster.mjs'

const WRITERS = 16
const OPERATIONS = 1_000

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

/** @param {import('../support/cluster.mjs').Place} place @param {string} runId */
const contextOf = (place, runId) =>
	new CassandraContext(runId, {
		client: cluster.cassandra,
		keyspace: place.keyspace,
		tableName: place.contexts,
	})

describe('a context', () => {
	for (const schema of /** @type {const} */ (['full', 'column', 'entries'])) {
		test(`answers on tables ${schema} as on any other`, async () => {
			const place = await cluster.place({ schema, name: `contexts_${schema}`, partitions: 0 })
			const context = contextOf(place, 'r')
			assert.deepEqual(await context.toJSON(), {})
			assert.deepEqual(
				[await context.get('a'), await context.has('a'), await context.delete('a')],
				[undefined, false, false],
			)
			await context.set('a', { x: [1, null, 'ü"'] })
			await context.set('gone', 1)
			await context.set('gone', undefined)
			await context.set('nothing', null)
			await context.patch([
				{ op: 'set', key: 'b', value: 1 },
				{ op: 'delete', key: 'b' },
				{ op: 'set', key: 'b', value: 2 },
				{ op: 'delete', key: 'never' },
			])
			assert.deepEqual(await context.get('a'), { x: [1, null, 'ü"'] })
			assert.deepEqual([await context.has('nothing'), await context.has('gone')], [true, false])
			assert.deepEqual(await context.toJSON(), { a: { x: [1, null, 'ü"'] }, nothing: null, b: 2 })
			assert.deepEqual([await context.delete('a'), await context.delete('a')], [true, false])
			await context.writeContext({ only: 1 })
			assert.deepEqual(await context.toJSON(), { only: 1 })
			assert.deepEqual((await place.context('r'))?.document, { only: 1 })
		})

		test(`keeps and hides the checkpoint on tables ${schema}`, async () => {
			const place = await cluster.place({ schema, name: `hidden_${schema}`, partitions: 0 })
			const context = contextOf(place, 'r')
			await asEngine(() => context.patch([{ op: 'set', key: '_flowcraft', value: { v: 1 } }]))
			await context.set('a', 1)
			await context.writeContext({ b: 2 })
			assert.deepEqual(await context.toJSON(), { b: 2 })
			assert.deepEqual([await context.get('_flowcraft'), await context.has('_flowcraft')], [undefined, false])
			assert.equal(await context.delete('_flowcraft'), false)
			await assert.rejects(context.set('_flowcraft', 0), { code: 'ERR_RESERVED_KEY' })
			await assert.rejects(context.patch([{ op: 'delete', key: '_flowcraft' }]), { code: 'ERR_RESERVED_KEY' })
			assert.deepEqual(await asEngine(() => context.toJSON()), { b: 2, _flowcraft: { v: 1 } })
		})

		test(`shows what a run on tables ${schema} has recorded, and the run is known to have begun`, async () => {
			const place = await cluster.place({ schema, name: `runs_${schema}` })
			const blueprint = { id: 'one', nodes: [{ id: 'a', uses: 'a' }], edges: [] }
			const registry = { a: async (/** @type {any} */ { context }) => ({ output: (await context.get('n')) + 1 }) }
			const runtimeOptions = { registry, blueprints: { one: blueprint }, logger: new NullLogger() }
			const adapter = new KafkaAdapter(place.options({ runtimeOptions }))
			await adapter.start()
			try {
				const run = await adapter.startRun('one', { n: 1 })
				assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
				const context = await contextOf(place, run.runId).toJSON()
				assert.deepEqual([context.n, context['_outputs.a'], '_flowcraft' in context], [1, 2, false])
				assert.deepEqual(await adapter.reconcile(run.runId), new Set(), 'its checkpoint says that it has ended')
				await assert.rejects(adapter.startRun('one', {}, { runId: run.runId }), { code: 'ERR_RUN_EXISTS' })
			} finally {
				await adapter.stop()
			}
		})
	}

	test(`${WRITERS} writers of different keys lose nothing of each other in ${OPERATIONS} operations each`, async () => {
		const place = await cluster.place({ schema: 'entries', name: 'writers', partitions: 0 })
		const runId = unique('run')
		/** What each writer has left of its ten keys. @type {Record<string, number>} */
		const expected = {}
		const write = async (/** @type {number} */ writer) => {
			const context = contextOf(place, runId)
			for (let count = 0; count < OPERATIONS; count++) {
				const key = `w${writer}.k${count % 10}`
				if (count % 7 === 6) {
					await context.patch([{ op: 'delete', key }])
					delete expected[key]
				} else {
					await context.set(key, count)
					expected[key] = count
				}
			}
		}
		await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)))
		assert.ok(Object.keys(expected).length > WRITERS * 5)
		assert.deepEqual(await contextOf(place, runId).toJSON(), expected)
	})
})
