/** G8, D3: leases as rows, where the table of leases exists. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'

const PARTITIONS = 2
const blueprint = {
	id: 'pair',
	nodes: [
		{ id: 'a', uses: 'work' },
		{ id: 'b', uses: 'work' },
	],
	edges: [{ source: 'a', target: 'b' }],
}
const runtimeOptions = () => ({
	logger: recorder(),
	blueprints: { pair: /** @type {any} */ (blueprint) },
	registry: { work: async () => ({ output: 'done' }) },
})
const runs = ['run-0', 'run-1', 'run-2', 'run-3']

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
before(async () => {
	cluster = await openCluster()
})
after(() => cluster.close())

/**
 * @param {import('node:test').TestContext} t
 * @param {import('../support/cluster.mjs').Place} place
 * @param {Record<string, any>} [more]
 */
const adapterOf = (t, place, more = {}) => {
	const options = place.options({ runtimeOptions: runtimeOptions(), leaseTtlMs: 2_000, ...more })
	const adapter = new KafkaAdapter(options)
	t.after(() => adapter.stop())
	return adapter
}

/** @param {import('../support/cluster.mjs').Place} place @returns {Promise<any[]>} by partition */
async function leases(place) {
	const query = `SELECT partition, epoch, holder, valid_until FROM ${place.keyspace}.${place.statuses}_leases`
	const { rows } = await cluster.cassandra.execute(query)
	return rows
		.map((row) => ({ ...row, epoch: Number(row.epoch), valid_until: row.valid_until.getTime() }))
		.toSorted((one, other) => one.partition - other.partition)
}

/** @param {import('../support/cluster.mjs').Place} place */
async function complete(place, names = runs) {
	for (const runId of names) await place.startRun(blueprint, {}, runId)
	for (const [runId, { status }] of await place.outcomes(names)) assert.equal(status, 'completed', runId)
}

/** @param {import('../support/cluster.mjs').Place} place @param {number} until milliseconds */
async function forgeLeases(place, until) {
	const query =
		`INSERT INTO ${place.keyspace}.${place.statuses}_leases (topic, partition, epoch, holder, valid_until) ` +
		'VALUES (?, ?, 7, ?, ?) IF NOT EXISTS'
	for (let partition = 0; partition < PARTITIONS; partition++) {
		const values = [place.topic, partition, `${place.group} (a worker that died)`, new Date(until)]
		await cluster.cassandra.execute(query, values, { prepare: true })
	}
}

describe('leases as rows', () => {
	test('D3: a lease is held while a worker runs, and given back for the next one', async (t) => {
		const place = await cluster.place({ name: 'leases', schema: 'column', partitions: PARTITIONS })
		const first = adapterOf(t, place, { workerId: 'first' })
		await first.start()
		await complete(place, runs.slice(0, 2))
		const held = await leases(place)
		assert.deepEqual(
			held.map(({ epoch, holder }) => ({ epoch, holder })),
			Array(PARTITIONS).fill({ epoch: 1, holder: `${place.group} (first)` }),
		)
		await until('they are renewed', async () =>
			(await leases(place)).every(({ valid_until }, at) => valid_until > held[at].valid_until),
		)
		await first.stop()
		const free = await leases(place)
		assert.deepEqual(
			free.map(({ epoch, holder }) => ({ epoch, holder })),
			Array(PARTITIONS).fill({ epoch: 1, holder: '' }),
		)
		// So that write times do not run ahead of the clocks from hand-over to hand-over.
		for (const { valid_until } of free) assert.ok(valid_until <= Date.now() + 1, `${valid_until}`)

		const second = adapterOf(t, place, { workerId: 'second' })
		await second.start()
		await complete(place, runs.slice(2))
		for (const { epoch, holder } of await leases(place))
			assert.deepEqual({ epoch, holder }, { epoch: 2, holder: `${place.group} (second)` })
		await second.stop()
	})

	test('G8: writes go above all that the owner before may still send, and what it sends loses', async (t) => {
		const place = await cluster.place({ name: 'leases', schema: 'column', partitions: PARTITIONS })
		// Its clock was ten minutes ahead.
		const ahead = Date.now() + 600_000
		await forgeLeases(place, ahead)
		const adapter = adapterOf(t, place)
		await adapter.start()
		await complete(place)
		const { keyspace, contexts } = place
		const times = `SELECT context_data, WRITETIME(context_data) AS at FROM ${keyspace}.${contexts} WHERE run_id = ?`
		const late = `UPDATE ${keyspace}.${contexts} USING TIMESTAMP ${ahead * 1_000} SET context_data = ? WHERE run_id = ?`
		for (const runId of runs) {
			const { rows } = await cluster.cassandra.execute(times, [runId], { prepare: true })
			assert.ok(Number(rows[0].at) > ahead * 1_000, `${runId} was written at ${rows[0].at}`)
			await cluster.cassandra.execute(late, ['{"zombie":true}', runId], { prepare: true })
			const again = await cluster.cassandra.execute(times, [runId], { prepare: true })
			assert.equal(again.rows[0].context_data, rows[0].context_data)
		}
		for (const { epoch, valid_until } of await leases(place)) {
			assert.equal(epoch, 8)
			assert.ok(valid_until > ahead)
		}
		await adapter.stop()
	})

	test('D3: a second group on the topic gets no lease, and says whose it is', async (t) => {
		const place = await cluster.place({ name: 'leases', schema: 'column', partitions: PARTITIONS })
		const first = adapterOf(t, place, { workerId: 'first' })
		const stranger = adapterOf(t, place, { workerId: 'stranger', groupId: `${place.group}-2` })
		await first.start()
		await stranger.start()
		const trouble = await until('the stranger says so', () =>
			/** @type {any} */ (stranger.health()).troubles.find((/** @type {any} */ { code }) => code === 'ERR_LEASE_HELD'),
		)
		assert.match(trouble.message, new RegExp(`is leased by ${place.group} \\(first\\)`))
		await complete(place)
		assert.ok((await leases(place)).every(({ epoch, holder }) => epoch === 1 && holder === `${place.group} (first)`))
		await stranger.stop()
		await first.stop()
	})
})
