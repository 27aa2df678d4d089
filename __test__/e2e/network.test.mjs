/**
 * G10, G1: a network that is slow, resets connections, swallows what is sent and cuts answers off, between a worker and its
 * stores. A checker counts what was lost or done twice. Kafka names its own address to clients, so nothing stands before it.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { assertCompleted, effects } from '../support/checker.mjs'
import { openCluster, until } from '../support/cluster.mjs'
import { startFaultProxy } from '../support/fault-proxy.mjs'
import { diamond, NODES, outputs } from './flows.mjs'
import { runIds, scene } from './scene.mjs'

const RUNS = 200
const NOTHING = { lost: [], doubled: [], strange: [] }
/** How long a fault lasts. */
const FAULT_MS = 3_000

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/fault-proxy.mjs').FaultProxy} */
let cassandra
/** @type {import('../support/fault-proxy.mjs').FaultProxy} */
let redis

before(async () => {
	cluster = await openCluster()
	cassandra = await startFaultProxy(cluster.where.contactPoints[0])
	redis = await startFaultProxy(new URL(cluster.where.redisUrl).host)
})

after(async () => {
	await cassandra?.close()
	await redis?.close()
	await cluster?.close()
})

/** @typedef {import('../support/fault-proxy.mjs').FaultProxy} FaultProxy @type {Record<string, (proxy: FaultProxy) => Promise<void>>} */
const FAULTS = {
	async 'is slow'(proxy) {
		proxy.delay(150)
		await sleep(FAULT_MS)
		proxy.delay(0)
	},
	async 'resets every connection, over and over'(proxy) {
		for (let i = 0; i < 10; i++) {
			proxy.reset()
			await sleep(FAULT_MS / 10)
		}
	},
	async 'swallows everything'(proxy) {
		proxy.silence()
		await sleep(FAULT_MS)
		proxy.speak()
	},
	async 'cuts answers off'(proxy) {
		for (let i = 0; i < 10; i++) {
			proxy.cut(2)
			await sleep(FAULT_MS / 10)
		}
		proxy.cut(0)
	},
	async 'is not there'(proxy) {
		await proxy.away()
		await sleep(FAULT_MS)
		await proxy.back()
	},
}

for (const [service, proxyOf] of /** @type {[string, () => FaultProxy][]} */ ([
	['Cassandra', () => cassandra],
	['Redis', () => redis],
]))
	describe(`a network before ${service}`, () => {
		for (const [what, fault] of Object.entries(FAULTS))
			test(`that ${what} loses nothing and doubles nothing`, async () => {
				const { localDataCenter } = cluster.where
				const adapter = {
					cassandraClient: { contactPoints: [cassandra.address], localDataCenter },
					coordinationStore: `redis://${redis.address}`,
					// Outlives a fault: whoever loses a lease may run a node twice, and that is not what these are about.
					leaseTtlMs: 2.5 * FAULT_MS,
				}
				const parameters = { nodeMs: 100 }
				await scene(cluster, 'network', { adapter, parameters }, async ({ place, journal, worker }) => {
					const one = await worker('one')
					const before = proxyOf().bytes
					const runs = runIds('run', RUNS)
					const start = (/** @type {string[]} */ some) =>
						Promise.all(some.map((runId) => place.startRun(diamond, {}, runId)))
					await start(runs.slice(0, RUNS / 2))
					await until('runs are in work', () => journal.read().some(({ what }) => what === 'end'))
					// Half of them begin in the fault: those of before may have ended by then.
					await Promise.all([fault(proxyOf()), start(runs.slice(RUNS / 2))])
					const rows = await place.outcomes(runs, { timeoutMs: 60_000, describe: () => one.health() })
					await until('the worker speaks through the proxy', () => proxyOf().bytes > before)
					assertCompleted(rows, outputs)
					assert.deepEqual(effects({ entries: journal.read(), runs, nodes: NODES }), NOTHING)
					await place.allCommitted()
					await until('the worker is green', async () => (await one.health()).healthy)
					await one.stop()
				})
			})
	})
