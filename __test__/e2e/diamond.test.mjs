/**
 * G1, G3, G5, G7, G8 under load: a diamond, worker processes that come, go and are killed.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { openCluster, until } from '../support/cluster.mjs'
import { drive, homePartition } from '../support/cluster-drive.mjs'
import { assertCompleted, concurrency, effects, executions, inFlight } from '../support/checker.mjs'
import { diamond, NODES, outputs } from './flows.mjs'
import { runIds, scene } from './scene.mjs'

const WINDOW = 64
/** The requirement's number, for each of the three ways in which it is made hard. */
const RUNS = 1_000

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

describe('a diamond, 64 runs in flight', () => {
	test('G1, G3: 1,000 runs complete, each node body once, with a second worker joining half-way', async (t) => {
		await scene(cluster, 'diamond', { parameters: { nodeMs: 100 } }, async ({ place, journal, worker }) => {
			const first = await worker('first')
			const runs = runIds('run', RUNS)
			/** @type {Promise<import('../support/worker-process.mjs').WorkerProcess> | undefined} */
			let second
			const rows = await drive(place, {
				blueprint: diamond,
				runs,
				window: WINDOW,
				at: { 400: () => (second = worker('second')) },
				// It joins under load, and before most of the load is over.
				gates: { 800: () => until('the second worker was called', () => second).then(() => second) },
			})
			const entries = journal.read()
			assertCompleted(rows, outputs)
			assert.equal(rows.size, RUNS)
			assert.deepEqual(effects({ entries, runs, nodes: NODES }), { lost: [], doubled: [], strange: [] })
			const peak = concurrency(entries)
			assert.ok(peak.runs >= 32, `${peak.runs} runs with a node body running at once`)
			assert.ok(peak.withinRun >= 2, `${peak.withinRun} node bodies of one run at once`)
			const joined = await /** @type {NonNullable<typeof second>} */ (second)
			const shares = [first, joined].map(
				({ pid }) => entries.filter((entry) => entry.pid === pid && entry.what === 'begin').length,
			)
			assert.ok(shares[1] > 0, 'the second worker took its share')
			t.diagnostic(`node bodies: ${shares.join(' + ')}; at once: ${peak.runs} runs, ${peak.withinRun} in one run`)
			await place.allCommitted()
			await first.stop()
			await joined.stop()
		})
	})

	test('G8: nodes of 20 s: only those that outlive the grace of a revocation run again, each explained', async (t) => {
		await scene(cluster, 'slow', { parameters: { nodeMs: 50, slowMs: 20_000 } }, async ({ place, journal, worker }) => {
			const first = await worker('first')
			const slow = [...runIds('slow-obedient', 8), ...runIds('slow-stubborn', 8)]
			for (const runId of slow) await place.startRun(diamond, {}, runId)
			const begun = () => executions(journal.read())
			await until('all slow nodes run', () => slow.every((run) => begun().has(`${run} b`)))

			const fast = runIds('run', RUNS - slow.length)
			const load = drive(place, { blueprint: diamond, runs: fast, window: WINDOW })
			const second = await worker('second')
			assertCompleted(await load, outputs)
			const rows = await place.outcomes(slow, { timeoutMs: 90_000 })
			assertCompleted(rows, outputs)

			const runs = [...slow, ...fast]
			const entries = journal.read()
			const { lost, doubled, strange } = effects({ entries, runs, nodes: NODES })
			assert.deepEqual({ lost, strange }, { lost: [], strange: [] })
			const home = homePartition(place)
			const { partitions: moved } = await second.health()
			assert.ok(moved.length > 0, 'partitions have moved')
			const explained = slow.filter((run) => moved.includes(home(run))).map((run) => `${run} b`)
			assert.ok(explained.length > 0, 'slow nodes were on partitions that moved')
			assert.deepEqual(doubled.toSorted(), explained.toSorted(), 'those on partitions that moved, and no others')
			for (const visit of explained) {
				const times = begun().get(visit) ?? []
				assert.deepEqual(
					times.map(({ pid }) => pid),
					[first.pid, second.pid],
					`${visit}: once here, once there`,
				)
				assert.ok(
					entries.some(
						({ what, run, node, pid }) => what === 'abort' && `${run} ${node}` === visit && pid === first.pid,
					),
					`${visit} got its abort signal`,
				)
			}
			t.diagnostic(
				`${explained.length} of ${slow.length} nodes of 20 s outlived the grace and ran again: ${explained.join(', ')}`,
			)
			await place.allCommitted()
			await first.stop()
			await second.stop()
		})
	})

	test('G1, G5: kill -9 of one of two workers: nothing lost, what runs again was in flight at the kill', async (t) => {
		const quick = { kafka: { sessionTimeoutMs: 3_000, heartbeatIntervalMs: 500 }, adapter: { leaseTtlMs: 3_000 } }
		await scene(cluster, 'kill', { parameters: { nodeMs: 50 }, ...quick }, async ({ place, journal, worker }) => {
			const first = await worker('first')
			const second = await worker('second')
			await until('both have partitions', async () => (await second.health()).partitions.length > 0)
			const runs = runIds('run', RUNS)
			/** @type {Set<string>} */
			const endedBefore = new Set()
			const rows = await drive(place, {
				blueprint: diamond,
				runs,
				window: WINDOW,
				at: {
					400: async () => {
						for (const { runId, status } of await place.statusRows(runs))
							if (status === 'completed') endedBefore.add(runId)
						await second.kill()
					},
				},
			})
			assertCompleted(rows, outputs)
			const entries = journal.read()
			const { lost, doubled, strange } = effects({ entries, runs, nodes: NODES })
			assert.deepEqual({ lost, strange }, { lost: [], strange: [] })
			const there = inFlight(entries, second.pid, diamond.edges, endedBefore)
			const unexplained = doubled.filter((visit) => !there.has(visit))
			assert.deepEqual(unexplained, [], 'only what was in flight at the kill ran again')
			assert.ok(doubled.length <= there.size)
			assert.ok(there.size <= WINDOW * 2, 'a diamond has at most two visits in flight')
			for (const visit of doubled) assert.equal(executions(entries).get(visit)?.length, 2, visit)
			t.diagnostic(`${there.size} visits in flight at the kill, ${doubled.length} of them ran again`)
			await place.allCommitted()
			await first.stop()
		})
	})

	test('G7: stop() under load loses nothing and doubles nothing, with and without another worker', async (t) => {
		await scene(cluster, 'stop', { parameters: { nodeMs: 50 } }, async ({ place, journal, worker }) => {
			const first = await worker('first')
			const second = await worker('second')
			await until('both have partitions', async () => (await second.health()).partitions.length > 0)
			const runs = runIds('run', 600)
			/** @type {number[]} */
			const stops = []
			const timed = async (/** @type {import('../support/worker-process.mjs').WorkerProcess} */ one) => {
				const from = performance.now()
				await one.stop()
				stops.push(Math.round(performance.now() - from))
			}
			const rows = await drive(place, {
				blueprint: diamond,
				runs,
				window: WINDOW,
				at: {
					150: () => timed(first),
					// Now nobody is left for a moment.
					350: () => timed(second).then(() => worker('third')),
				},
			})
			assertCompleted(rows, outputs)
			assert.deepEqual(effects({ entries: journal.read(), runs, nodes: NODES }), { lost: [], doubled: [], strange: [] })
			t.diagnostic(`stop() and the process's end took ${stops.join(' and ')} ms`)
			await place.allCommitted()
		})
	})
})
