/**
 * G10: a store that is away under load. A proxy stands in its place, where nobody listens meanwhile.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { openCluster, until } from '../support/cluster.mjs'
import { startFaultProxy } from '../support/fault-proxy.mjs'
import { runIds, scene } from './scene.mjs'

const flows = new URL('hardship-flows.mjs', import.meta.url).href
const RUNS = 20_000
const MAX_WAITING = 2_000
/** What the worker may grow by while it waits. All messages and their bookkeeping would be several times that. */
const GROWTH_MB = 64
const CHUNK = 500

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/fault-proxy.mjs').FaultProxy} */
let proxy

before(async () => {
	cluster = await openCluster()
	proxy = await startFaultProxy(cluster.where.contactPoints[0])
})

after(async () => {
	await proxy?.close()
	await cluster?.close()
})

/** @param {number} pid resident memory in MiB, as Linux tells it */
const residentMb = (pid) =>
	Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN) / 1024

test('20,000 runs that wait for Cassandra fit into bounded memory, and complete', { timeout: 300_000 }, async () => {
	const adapter = {
		cassandraClient: { contactPoints: [proxy.address], localDataCenter: cluster.where.localDataCenter },
		maxWaitingMessages: MAX_WAITING,
	}
	const options = { flows, adapter, parameters: { nodeMs: 0, quiet: true } }
	await scene(cluster, 'memory', options, async ({ place, worker }) => {
		const one = await worker('one')
		// Warm: what a worker that works needs anyway is no growth.
		const warm = runIds('warm', 200)
		const jobs = (/** @type {string[]} */ ids) => ids.map((runId) => ({ runId, blueprintId: 'chain', nodeId: 'a' }))
		await place.send(jobs(warm))
		await place.outcomes(warm)
		await proxy.away()
		const before = residentMb(one.pid)
		const runs = runIds('run', RUNS)
		for (let i = 0; i < RUNS; i += CHUNK) await place.send(jobs(runs.slice(i, i + CHUNK)))
		await until('fetching is paused', async () => (await one.health()).paused)
		const { healthy, waitingMessages } = await one.health()
		assert.equal(healthy, false)
		// What was fetched already comes on top: at most one batch for each partition.
		assert.ok(waitingMessages < MAX_WAITING + place.partitions * 1_000, `${waitingMessages} messages wait`)
		const grown = residentMb(one.pid) - before
		assert.ok(grown < GROWTH_MB, `it grew by ${grown} MiB`)

		await proxy.back()
		const rows = await place.outcomes(runs, { timeoutMs: 200_000, describe: () => one.health() })
		for (const [runId, { status }] of rows) assert.equal(status, 'completed', runId)
		await place.allCommitted()
		await one.stop()
	})
})
