/** The index of running runs: who is in it, what a search costs, and that a wrong row does no harm. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { NullLogger } from 'flowcraft'
import { createKafkaReconciler, KafkaAdapter } from '../../src/js/index.js'
import { openCluster, until } from '../support/cluster.mjs'

const BUCKET_MS = 600_000
const DIRECTORY = { shard: -1, bucket: 0 }
const STALLED = 100
const ENDED = 1_500
/** For a pair of reconcilers, which send a job for each of two nodes of a run. */
const SHARED = 10_000
const WRITES_AT_ONCE = 256
/** What keeps connections alive is counted by the server, too. */
const KEEPALIVES = 20

const blueprint = {
	id: 'gated',
	nodes: [
		{ id: 'a', uses: 'gated' },
		{ id: 'ask', uses: 'wait' },
	],
	edges: [{ source: 'a', target: 'ask' }],
}

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ schema: 'full', name: 'running', partitions: 0 })
	await createIndex(home)
})

after(() => cluster.close())

/** @param {import('../support/cluster.mjs').Place} place */
const tableOf = ({ keyspace, statuses }) => `${keyspace}.${statuses}_running`
const index = () => tableOf(home)

/** @param {import('../support/cluster.mjs').Place} place */
const createIndex = (place) =>
	cluster.cassandra.execute(
		`CREATE TABLE ${tableOf(place)} (shard int, bucket bigint, run_id text, PRIMARY KEY ((shard, bucket), run_id))`,
	)

const presentBucket = () => Math.floor(Date.now() / BUCKET_MS)

/** @returns {Promise<{ runId: string, shard: number, bucket: number }[]>} the directory left out */
async function rows() {
	const found = (await cluster.cassandra.execute(`SELECT shard, bucket, run_id FROM ${index()}`)).rows
	return found
		.map(({ shard, bucket, run_id: runId }) => ({ runId, shard, bucket: Number(bucket) }))
		.filter(({ shard }) => shard !== DIRECTORY.shard)
}

/** @param {string} runId */
const rowOf = async (runId) => (await rows()).find((row) => row.runId === runId)

/** Buckets as `<bucket>`, single places of settled ones as `<bucket>:<shard>`. */
async function directory() {
	const query = `SELECT run_id FROM ${index()} WHERE shard = ? AND bucket = ?`
	const found = await cluster.cassandra.execute(query, [DIRECTORY.shard, DIRECTORY.bucket], { prepare: true })
	return found.rows.map(({ run_id: text }) => text)
}

/** @param {number} shard @param {number} bucket @param {string} runId */
const insertRow = (shard, bucket, runId) =>
	cluster.cassandra.execute(`INSERT INTO ${index()} (shard, bucket, run_id) VALUES (?, ?, ?)`, [shard, bucket, runId], {
		prepare: true,
	})

/** @param {string} runId @param {string} status @param {number} at milliseconds since the epoch */
const insertStatus = (runId, status, at) =>
	cluster.cassandra.execute(
		`INSERT INTO ${home.keyspace}.${home.statuses} (run_id, status, updated_at) VALUES (?, ?, ?)`,
		[runId, status, new Date(at)],
		{ prepare: true },
	)

/** Runs that have stood at `running` for so long, in a bucket that the directory names. @param {string[]} ids @param {number} bucket @param {number} forMs */
async function insertStalled(ids, bucket, forMs) {
	await insertRow(DIRECTORY.shard, DIRECTORY.bucket, String(bucket))
	await forEach(ids, async (id) => {
		await insertRow(shardOf(id), bucket, id)
		await insertStatus(id, 'running', Date.now() - forMs)
	})
}

/** So that no later test finds them. @param {string[]} ids */
const end = (ids) => forEach(ids, (id) => insertStatus(id, 'completed', Date.now()))

/** @param {string[]} ids @param {(id: string) => Promise<unknown>} write */
async function forEach(ids, write) {
	for (let at = 0; at < ids.length; at += WRITES_AT_ONCE)
		await Promise.all(ids.slice(at, at + WRITES_AT_ONCE).map(write))
}

/** FNV-1a, as the engine has it. @param {string} runId */
const shardOf = (runId) => {
	let hash = 0x811c9dc5
	for (const byte of Buffer.from(runId)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
	return hash % 64
}

/** @param {number} seconds @param {any} adapter @param {number} [fullSearchEverySeconds] */
const reconcilerOf = (seconds, adapter, fullSearchEverySeconds = Infinity) =>
	createKafkaReconciler({
		adapter,
		cassandraClient: cluster.cassandra,
		keyspace: home.keyspace,
		statusTableName: home.statuses,
		stalledThresholdSeconds: seconds,
		fullSearchEverySeconds,
	})

/** A reconciler's stalled runs. @param {number} seconds @param {number} [fullSearchEverySeconds] */
async function stalled(seconds, fullSearchEverySeconds) {
	/** @type {string[]} */
	const found = []
	const adapter = {
		logger: new NullLogger(),
		reconcile: async (/** @type {string} */ runId) => (found.push(runId), new Set(['a'])),
	}
	await reconcilerOf(seconds, adapter, fullSearchEverySeconds).run()
	return found
}

/** @param {(parts: { adapter: KafkaAdapter, place: any, release: () => void }) => Promise<void>} work */
async function withWorker(work) {
	let release = () => {}
	const released = new Promise((resolve) => (release = () => resolve(undefined)))
	const registry = { gated: async () => (await released, { output: 1 }) }
	const place = await home.sibling({ partitions: 3 })
	const runtimeOptions = { registry, blueprints: { gated: blueprint }, logger: new NullLogger() }
	const adapter = new KafkaAdapter(place.options({ runtimeOptions }))
	await adapter.start()
	try {
		await work({ adapter, place, release })
	} finally {
		release()
		await adapter.stop()
	}
}

test('a run is in it while it is open for more than a second, and neither while it waits nor after its end', () =>
	withWorker(async ({ adapter, release }) => {
		const run = await adapter.startRun('gated')
		const row = await until('the run is in the index', () => rowOf(run.runId))
		assert.equal(row.shard, shardOf(run.runId))
		assert.ok((await directory()).includes(String(row.bucket)), 'the directory has its bucket')
		release()
		await until('the run awaits', async () => (await run.status()) === 'awaiting')
		await until('it has left', async () => !(await rowOf(run.runId)))
		await run.resume()
		assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
		assert.equal(await rowOf(run.runId), undefined)
	}))

test('a run whose client ended before it had sent it is found, and completes; one that was sent has left', () =>
	withWorker(async ({ place, adapter, release }) => {
		release()
		class Unsent extends KafkaAdapter {
			/** @override */
			async enqueueJob() {
				throw new Error('the client ends here')
			}
		}
		const runtimeOptions = { registry: {}, blueprints: { gated: blueprint }, logger: new NullLogger() }
		const client = new Unsent(place.options({ runtimeOptions }))
		await assert.rejects(client.startRun('gated', {}, { runId: 'unsent' }), /the client ends here/)
		assert.ok(await rowOf('unsent'))
		const sent = await adapter.startRun('gated', {}, { runId: 'sent' })
		await until('the one that was sent has left', async () => !(await rowOf('sent')))
		assert.deepEqual(await reconcilerOf(0, adapter).run(), { stalledRuns: 1, reconciledRuns: 1, failedRuns: 0 })
		for (const run of [sent, adapter.getRun('unsent')]) {
			await until(`${run.runId} awaits`, async () => (await run.status()) === 'awaiting')
			await run.cancel()
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'cancelled')
		}
		await client.stop()
	}))

test('rows that are not true leave; of an old bucket, the directory keeps the places that hold rows, and then nothing', async () => {
	const old = presentBucket() - 20
	const hoursAgo = Date.now() - 14_400_000
	await insertRow(DIRECTORY.shard, DIRECTORY.bucket, String(old))
	for (const [runId, status] of [
		['ended', 'completed'],
		['still', 'running'],
	]) {
		await insertRow(shardOf(runId), old, runId)
		await insertStatus(runId, status, hoursAgo)
	}
	await insertRow(shardOf('nobody'), old, 'nobody')
	await insertRow(shardOf('touched'), old, 'touched')
	await insertStatus('touched', 'running', Date.now())

	const own = ['ended', 'nobody', 'still', 'touched']
	const left = async () => (await rows()).map(({ runId }) => runId).filter((runId) => own.includes(runId))
	const listed = async () => (await directory()).filter((text) => text.split(':')[0] === String(old)).toSorted()
	const places = (/** @type {string[]} */ ...runs) => runs.map((runId) => `${old}:${shardOf(runId)}`).toSorted()

	// For a search so far back the bucket is not settled.
	assert.deepEqual(await stalled(9_000), ['still'])
	assert.deepEqual((await left()).toSorted(), ['still', 'touched'])
	assert.deepEqual(await listed(), [String(old)])
	for (let time = 0; time < 2; time++) {
		assert.deepEqual(await stalled(60), ['still'])
		assert.deepEqual((await left()).toSorted(), ['still', 'touched'])
		assert.deepEqual(await listed(), places('still', 'touched'))
	}
	await end(['still', 'touched'])
	assert.deepEqual(await stalled(60), [])
	assert.deepEqual(await left(), [])
	assert.deepEqual(await listed(), [])
})

test('two reconcilers of different thresholds at once lose no run', async () => {
	const old = presentBucket() - 30
	const ids = Array.from({ length: STALLED }, (_, at) => `shared ${at}`)
	await insertStalled(ids, old, 18_000_000)
	for (const seconds of [60, 17_000]) {
		const found = await Promise.all([stalled(60), stalled(seconds), stalled(60)])
		for (const one of found) assert.deepEqual(one.toSorted(), ids.toSorted())
	}
	await end(ids)
})

test('what the index does not know is found by the first search, and by one that is due again', async () => {
	await insertStatus('unknown', 'running', Date.now() - 3_600_000)
	const hour = 3_600
	const searches = { shard: -1, bucket: -1 }
	assert.deepEqual(await stalled(60, hour), ['unknown'])
	assert.deepEqual(await stalled(60, hour), [])
	assert.deepEqual(await stalled(60), [], 'never')
	const query = `SELECT run_id FROM ${index()} WHERE shard = ? AND bucket = ?`
	const marks = async () =>
		(await cluster.cassandra.execute(query, [searches.shard, searches.bucket], { prepare: true })).rows.map(
			(row) => row.run_id,
		)
	const [mark] = await marks()
	assert.ok(Math.abs(Date.now() - Number(mark)) < 60_000)
	const hourAgo = Number(mark) - hour * 1000
	await cluster.cassandra.execute(`DELETE FROM ${index()} WHERE shard = -1 AND bucket = -1 AND run_id = '${mark}'`)
	await insertRow(searches.shard, searches.bucket, String(hourAgo))
	assert.deepEqual(await stalled(60, hour), ['unknown'])
	assert.equal((await marks()).length, 1, 'the mark before it is gone')
	assert.deepEqual(await stalled(60, hour), [])
	await end(['unknown'])
})

/** Requests that Cassandra has counted of this process's native connections. */
async function requests() {
	const { rows: clients } = await cluster.cassandra.execute(
		'SELECT client_options, request_count FROM system_views.clients',
	)
	const own = clients.filter(({ client_options: options }) => options?.APPLICATION_NAME === 'flowcraft')
	return own.reduce((sum, { request_count: count }) => sum + Number(count), 0)
}

test(`F11: a search for ${STALLED} stalled runs costs the same beside ${ENDED} runs that have ended`, async () => {
	const bucket = presentBucket() - 1
	const ids = Array.from({ length: STALLED }, (_, at) => `stalled ${at}`)
	await insertStalled(ids, bucket, 900_000)
	const cost = async () => {
		const before = await requests()
		assert.deepEqual((await stalled(600)).toSorted(), ids.toSorted())
		return (await requests()) - before
	}
	await cost()
	const alone = await cost()
	const hourAgo = Date.now() - 3_600_000
	for (let at = 0; at < ENDED; at += 100)
		await Promise.all(Array.from({ length: 100 }, (_, one) => insertStatus(`ended ${at + one}`, 'completed', hourAgo)))
	const beside = await cost()
	assert.ok(alone >= STALLED, `${alone} requests`)
	assert.ok(Math.abs(beside - alone) <= KEEPALIVES, `${alone} requests without them, ${beside} beside them`)
	await end(ids)
})

test(`two reconcilers at once on ${SHARED} runs send each due node's job once`, () =>
	withWorker(async ({ place, adapter }) => {
		const twoStarts = { id: 'pair', nodes: [...'ab'].map((id) => ({ id, uses: 'gated' })), edges: [] }
		const runtimeOptions = { registry: {}, blueprints: { pair: twoStarts }, logger: new NullLogger() }
		/** @type {string[]} */
		const sent = []
		class Counting extends KafkaAdapter {
			/** @param {any} job @override */
			async enqueueJob({ runId, nodeId }) {
				sent.push(`${runId} ${nodeId}`)
			}
		}
		const clients = [0, 1].map(() => new Counting(place.options({ runtimeOptions })))
		const ids = Array.from({ length: SHARED }, (_, at) => `both ${at}`)
		const context = JSON.stringify({ blueprintId: 'pair', blueprintVersion: null })
		await forEach(ids, (id) => place.writeContext(id, context))
		await insertStalled(ids, presentBucket() - 1, 900_000)
		const stats = await Promise.all(clients.map((client) => reconcilerOf(600, client).run({ concurrency: 32 })))
		const due = ids.flatMap((id) => [`${id} a`, `${id} b`])
		assert.equal(sent.length, due.length)
		assert.deepEqual(new Set(sent), new Set(due))
		assert.deepEqual(
			stats.map(({ failedRuns }) => failedRuns),
			[0, 0],
		)
		await end(ids)
		assert.ok(adapter.isRunning)
		await Promise.all(clients.map((client) => client.stop()))
	}))

test('an index that cannot be written holds up no run', async () => {
	/** @type {string[]} */
	const errors = []
	const place = await cluster.place({ schema: 'full', name: 'unindexed', partitions: 3 })
	await createIndex(place)
	const registry = { gated: async () => (await until('it is logged', () => errors.length > 0), { output: 1 }) }
	const logger = Object.assign(new NullLogger(), { error: (/** @type {string} */ text) => errors.push(text) })
	const adapter = new KafkaAdapter(
		place.options({ runtimeOptions: { registry, blueprints: { gated: blueprint }, logger } }),
	)
	await adapter.start()
	await cluster.cassandra.execute(`DROP TABLE ${tableOf(place)}`)
	const run = await adapter.startRun('gated')
	await until('the run awaits', async () => (await run.status()) === 'awaiting')
	assert.match(errors[0], /index of running runs/)
	await run.cancel()
	assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'cancelled')
	await adapter.stop()
})
