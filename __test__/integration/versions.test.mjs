/** Runs that began with a version of their blueprint which their worker does not have (row 68). */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'
import { withWorker } from './one-worker.mjs'

const pair = (/** @type {string} */ version) => ({
	id: 'pair',
	nodes: [
		{ id: 'a', uses: 'say' },
		{ id: 'w', uses: 'wait' },
		{ id: 'z', uses: 'say' },
	],
	edges: [
		{ source: 'a', target: 'w' },
		{ source: 'w', target: 'z' },
	],
	metadata: { version },
})
const registry = { say: async (/** @type {any} */ { input }) => ({ output: { said: input ?? null } }) }
const PARKED_BUCKET = -2

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home
before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'versions' })
})
after(() => cluster.close())

/** @param {import('../support/cluster.mjs').Place} place @param {string} version */
const adapterAt = (place, version, logger = new NullLogger()) =>
	new KafkaAdapter(place.options({ runtimeOptions: { logger, registry, blueprints: { pair: pair(version) } } }))

/** The place's parked runs in the table of timers. @param {import('../support/cluster.mjs').Place} place */
const parkedRows = async ({ keyspace, statuses, topic }) => {
	const query = `SELECT topic, bucket, run_id, node_id FROM ${keyspace}.${statuses}_due`
	const { rows } = await cluster.cassandra.execute(query)
	const parked = rows.filter((row) => Number(row.bucket) === PARKED_BUCKET && row.topic === topic)
	return parked.map((row) => [row.run_id, row.node_id])
}

/** @param {import('../../index.js').RunHandle} run @param {string} status */
const reaches = (run, status) => until(`run is ${status}`, async () => (await run.status()) === status)

/**
 * A worker at version 2, and a process that consumes nothing and has version 1.
 * @param {(tools: { place: import('../support/cluster.mjs').Place, worker: KafkaAdapter, client: KafkaAdapter }) => Promise<void>} work
 */
async function scene(work) {
	const blueprints = { pair: pair('2') }
	await withWorker(home, { blueprints, registry }, {}, async (place, worker) => {
		const client = adapterAt(place, '1')
		try {
			await work({ place, worker, client })
		} finally {
			await client.stop()
		}
	})
}

describe('row 68: a run of another version', () => {
	test('row 68: is parked, listed, and taken up within seconds by a worker that registers its version', () =>
		scene(async ({ place, worker, client }) => {
			const letters = await place.readDeadLetters()
			const run = await client.startRun('pair', { mine: 1 })
			await reaches(run, 'parked')
			await place.allCommitted()
			assert.deepEqual(await parkedRows(place), [[run.runId, '["pair","1"]']])
			const listed = (await client.listParked()).filter(({ runId }) => runId === run.runId)
			assert.equal(listed.length, 1)
			const [{ since, reason, ...rest }] = listed
			assert.deepEqual(rest, { runId: run.runId, blueprintId: 'pair', version: '1' })
			assert.match(reason, /stored version '1', current version '2'/)
			assert.ok(Math.abs(Date.now() - since.getTime()) < 60_000)
			// An answer that comes meanwhile is for the wait to come.
			await run.resume(undefined, 'early', { nodeId: 'w' })
			await place.allCommitted()

			const begun = performance.now()
			Reflect.get(worker, 'runtime').options.blueprints.pair = pair('1')
			const { status, payload } = await run.result({ timeoutMs: 20_000 })
			assert.equal(status, 'completed')
			assert.ok(performance.now() - begun < 10_000)
			assert.deepEqual([payload.context.mine, payload.context.z], [1, { said: 'early' }])
			await place.allCommitted()
			await until('its timer is gone', async () => (await parkedRows(place)).length === 0)
			assert.deepEqual(letters.messages, [])
		}))

	test('row 68: is taken up by a worker that starts with its version, where it stands', async () => {
		const place = await home.sibling({ partitions: 3 })
		const first = adapterAt(place, '1')
		await first.start()
		const run = await first.startRun('pair')
		await reaches(run, 'awaiting')
		await first.stop()
		const second = adapterAt(place, '2')
		await second.start()
		await run.resume(undefined, 'yes')
		await reaches(run, 'parked')
		await place.allCommitted()
		await second.stop()
		const third = adapterAt(place, '1')
		await third.start()
		try {
			const { status, payload } = await third.getRun(run.runId).result({ timeoutMs: 20_000 })
			assert.deepEqual([status, payload.context.z], ['completed', { said: 'yes' }])
			await until('its timer is gone', async () => (await parkedRows(place)).length === 0)
		} finally {
			await third.stop()
		}
	})

	test('row 68: waits while the worker of its partition lacks the version, and moves with the partition', async () => {
		const place = await home.sibling({ partitions: 4 })
		const [old, recent] = [adapterAt(place, '1'), adapterAt(place, '2')]
		const owns = (/** @type {KafkaAdapter} */ adapter) => adapter.health().partitions?.length ?? 0
		await old.start()
		await recent.start()
		try {
			await until('each has partitions', () => owns(old) > 0 && owns(recent) > 0 && owns(old) + owns(recent) === 4)
			// Ids decide about partitions: some run comes to each worker.
			/** @type {Map<string, import('../../index.js').RunHandle[]>} */
			const seen = new Map()
			while (!seen.has('parked') || !seen.has('awaiting')) {
				const run = await old.startRun('pair')
				const settled = async () => ['parked', 'awaiting'].includes(String(await run.status()))
				await until('the run is parked or awaits', settled)
				const status = String(await run.status())
				seen.set(status, [...(seen.get(status) ?? []), run])
			}
			await place.allCommitted()
			const parked = /** @type {import('../../index.js').RunHandle[]} */ (seen.get('parked'))
			assert.equal((await parkedRows(place)).length, parked.length)
			await recent.stop()
			for (const run of parked) await reaches(run, 'awaiting')
			await until('the timers are gone', async () => (await parkedRows(place)).length === 0)
		} finally {
			await recent.stop()
			await old.stop()
		}
	})

	test('row 68: is moved or failed by an operator, from a process that consumes nothing', () =>
		scene(async ({ place, client }) => {
			const [moved, failed, cancelled] = await Promise.all([1, 2, 3].map(() => client.startRun('pair')))
			for (const run of [moved, failed, cancelled]) await reaches(run, 'parked')
			assert.equal(await client.moveParked(moved.runId, '2'), true)
			await reaches(moved, 'awaiting')
			assert.equal(await client.moveParked(moved.runId, '3'), false, 'it is parked no more')
			await moved.resume(undefined, 'on')
			assert.deepEqual((await moved.result({ timeoutMs: 20_000 })).payload.context.z, { said: 'on' })
			assert.equal(await client.failParked(failed.runId, 'too old'), true)
			const { status, reason } = await failed.result({ timeoutMs: 20_000 })
			assert.deepEqual([status, reason], ['failed', 'too old'])
			await cancelled.cancel()
			assert.equal((await cancelled.result({ timeoutMs: 20_000 })).status, 'cancelled')
			const runIds = [moved, failed, cancelled].map(({ runId }) => runId)
			assert.deepEqual(
				(await client.listParked()).filter(({ runId }) => runIds.includes(runId)),
				[],
			)
			await place.allCommitted()
			await until('the timers are gone', async () => (await parkedRows(place)).length === 0)
			await assert.rejects(client.moveParked('nobody', '1'), { code: 'ERR_RUN_UNKNOWN' })
			await assert.rejects(client.moveParked(moved.runId, ''), { code: 'ERR_OPTION' })
			await assert.rejects(client.failParked(moved.runId, /** @type {any} */ (7)), { code: 'ERR_OPTION' })
		}))

	test('row 68: goes to the dead letters where there is no table of timers', async () => {
		const documented = await cluster.place({ name: 'unversioned', schema: 'readme' })
		const logger = recorder()
		await withWorker(documented, { logger, blueprints: { pair: pair('2') }, registry }, {}, async (place) => {
			const atStart = logger.texts('warn').filter((text) => /_due" is missing.*CREATE TABLE/.test(text))
			assert.equal(atStart.length, 1)
			const letters = await place.readDeadLetters()
			const runId = await place.startRun(pair('2'), { blueprintVersion: '1' })
			const letter = await letters.find(({ headers }) => headers['flowcraft-run'] === runId)
			assert.equal(letter.headers['flowcraft-code'], 'ERR_BLUEPRINT_VERSION')
			const kept = /** @type {any} */ (await place.context(runId))
			assert.deepEqual(kept.document, { blueprintVersion: '1' })
			await place.allCommitted()
			const warnings = logger.texts('warn').filter((text) => /other versions go to the dead letters/.test(text))
			assert.equal(warnings.length, 1)
		})
	})
})
