/** What a worker that has nothing to do asks of Cassandra, counted on the wire. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, until } from '../support/cluster.mjs'
import { startCqlProxy } from '../support/cql-proxy.mjs'

const PARTITIONS = 8
const LEASE_TTL_MS = 8_000
/** Three renewals of each lease. Nothing happens in it, so there is no condition to wait for. */
const WINDOW_MS = LEASE_TTL_MS
/** A partition's timers are read once in this time: `a_partition_without_timers_is_read_once_in_five_minutes` in the kernel. */
const READING_EVERY_S = 300

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

test('an idle worker of eight partitions polls with less than two statements a second; leases cost three per life', async (t) => {
	const place = await cluster.place({ name: 'idle', schema: 'column', partitions: PARTITIONS })
	const proxy = await startCqlProxy(cluster.where.contactPoints[0])
	const { localDataCenter } = cluster.where
	const adapter = new KafkaAdapter(
		place.options({
			cassandraClient: { contactPoints: [proxy.address], localDataCenter },
			leaseTtlMs: LEASE_TTL_MS,
			runtimeOptions: { logger: new NullLogger(), registry: {}, blueprints: {} },
		}),
	)
	const counted = (from = 0) => {
		const since = proxy.statements.slice(from)
		const naming = (/** @type {string} */ table) => since.filter((text) => text.includes(`${place.statuses}_${table} `))
		const [timers, leases] = [naming('due').length, naming('leases').length]
		return { timers, leases, others: since.length - timers - leases }
	}
	await adapter.start()
	try {
		// The cursor and at least one hour of each, and its parked runs.
		await until('the timers of each partition are read', () => counted().timers >= 3 * PARTITIONS)
		let seen = -1
		await until('all of them are read', () => seen === (seen = counted().timers), { everyMs: 1_000 })
		const reading = counted().timers
		const from = proxy.statements.length
		await sleep(WINDOW_MS)
		const { timers, leases, others } = counted(from)
		const perSecond = reading / READING_EVERY_S + (timers + others) / (WINDOW_MS / 1_000)
		t.diagnostic(
			`${reading} statements for a reading of all timers; in ${WINDOW_MS} ms: ${timers} for timers, ${others} others, ${leases} for leases`,
		)
		assert.ok(perSecond < 2, `${perSecond} statements a second`)
		// One may fall on each edge of the window.
		const renewals = PARTITIONS * Math.ceil(WINDOW_MS / (LEASE_TTL_MS / 3) + 1)
		assert.ok(leases > 0 && leases <= renewals, `${leases} statements for leases, at most ${renewals}`)
	} finally {
		await adapter.stop()
		await proxy.close()
	}
})
