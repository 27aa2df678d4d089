/**
 * G8, G10, D3, G1: what services, networks and other clients do to a worker under load. On services of its own, which it
 * stops and starts; a checker counts lost and doubled effects after each.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openOwnCluster } from '../support/faults.mjs'
import { unique, until } from '../support/cluster.mjs'
import { drive, homePartition } from '../support/cluster-drive.mjs'
import { assertCompleted, effects, executions } from '../support/checker.mjs'
import { diamond, NODES, outputs } from './flows.mjs'
import { runIds, scene } from './scene.mjs'

const NOTHING = { lost: [], doubled: [], strange: [] }
const RUNS = 300
/** A worker that is gone is noticed after three seconds. */
const QUICK = { kafka: { sessionTimeoutMs: 3_000, heartbeatIntervalMs: 500 }, adapter: { leaseTtlMs: 3_000 } }

/** @type {Awaited<ReturnType<typeof openOwnCluster>>['services']} */
let services
/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	;({ services, cluster } = await openOwnCluster())
})

after(async () => {
	await cluster?.close()
	await services?.stop()
})

/** Rows of runs as they are stored, with their write times. @param {any} place @param {string[]} runs */
async function stored(place, runs) {
	const { keyspace, contexts, statuses, schema } = place
	const { cassandra } = cluster
	const read = async (/** @type {string} */ columns, /** @type {string} */ table) => {
		const found = []
		for (let i = 0; i < runs.length; i += 50) {
			const ids = runs.slice(i, i + 50)
			const query = `SELECT run_id, ${columns} FROM ${keyspace}.${table} WHERE run_id IN (${ids.map(() => '?').join(', ')})`
			const { rows } = await cassandra.execute(query, ids, { prepare: true })
			found.push(...rows.map((row) => JSON.stringify(row)))
		}
		return found.toSorted()
	}
	return {
		contexts: await read(
			schema === 'entries' ? 'key, value, WRITETIME(value) AS at' : 'context_data, WRITETIME(context_data) AS at',
			contexts,
		),
		statuses: await read('status, status_data, WRITETIME(status_data) AS at', statuses),
	}
}

describe('a worker that was paused', () => {
	test('G8: SIGSTOP across a take-over, then SIGCONT: the zombie records nothing and works again', async (t) => {
		await scene(
			cluster,
			'zombie',
			{ parameters: { nodeMs: 500, signed: true }, ...QUICK },
			async ({ place, journal, worker }) => {
				const first = await worker('first')
				const zombie = await worker('zombie')
				await until('both have partitions', async () => (await zombie.health()).partitions.length > 0)
				const runs = runIds('run', 100)
				for (const runId of runs) await place.startRun(diamond, {}, runId)
				const running = () => {
					const entries = journal.read().filter(({ pid }) => pid === zombie.pid)
					const over = new Set(entries.filter(({ what }) => what === 'end').map(({ run, node }) => `${run} ${node}`))
					return entries.filter(({ what, run, node }) => what === 'begin' && !over.has(`${run} ${node}`))
				}
				await until('the zombie has node bodies in flight', () => running().length >= 10)
				zombie.signal('SIGSTOP')
				const frozen = running()
				const rows = await place.outcomes(runs, { timeoutMs: 60_000 })
				for (const [runId, { status }] of rows) assert.equal(status, 'completed', runId)
				const before = await stored(place, runs)

				zombie.signal('SIGCONT')
				// Its node bodies go on and return; what they return differs from what was recorded meanwhile.
				const ended = () =>
					new Set(
						journal
							.read()
							.filter(({ what, pid }) => what === 'end' && pid === zombie.pid)
							.map(({ run, node }) => `${run} ${node}`),
					)
				await until('the bodies of the zombie have ended', () =>
					frozen.every(({ run, node }) => ended().has(`${run} ${node}`)),
				)
				await cluster.members(place.group, 2)
				await until('it has partitions again', async () => (await zombie.health()).partitions.length > 0)
				const more = runIds('more', 100)
				const later = await drive(place, { blueprint: diamond, runs: more })
				for (const [runId, { status }] of later) assert.equal(status, 'completed', runId)
				assert.ok(
					journal.read().some(({ pid, run }) => pid === zombie.pid && run.startsWith('more')),
					'it works again',
				)

				assert.deepEqual(await stored(place, runs), before, 'no row has changed')
				const { lost, strange } = effects({ entries: journal.read(), runs: [...runs, ...more], nodes: NODES })
				assert.deepEqual({ lost, strange }, { lost: [], strange: [] })
				t.diagnostic(`${frozen.length} node bodies were in flight in the zombie`)
				await place.allCommitted()
				await first.stop()
				await zombie.stop()
			},
		)
	})
})

describe('services that go away under load', () => {
	/** Redis is away for longer than a lease lives: nobody may write for a while. */
	const AWAY_MS = { redis: 5_000, cassandra: 0, kafka: 0 }

	for (const name of /** @type {const} */ (['redis', 'kafka', 'cassandra'])) {
		test(`G10: a restart of ${name} pauses the work and resumes it; nothing is lost, and only what lost its partition runs twice`, async (t) => {
			await scene(
				cluster,
				`restart_${name}`,
				{ parameters: { nodeMs: 50 }, adapter: { leaseTtlMs: 3_000 } },
				async ({ place, journal, worker }) => {
					const first = await worker('first')
					const second = await worker('second')
					await until('both have partitions', async () => (await second.health()).partitions.length > 0)
					const runs = runIds('run', RUNS)
					let downMs = 0
					const rows = await drive(place, {
						blueprint: diamond,
						runs,
						patient: true,
						timeoutMs: 180_000,
						at: {
							100: async () => {
								const from = performance.now()
								await services[name]?.stop()
								await sleep(AWAY_MS[name])
								await services[name]?.start()
								downMs = Math.round(performance.now() - from)
							},
						},
					})
					assertCompleted(rows, outputs)
					const { doubled, lost, strange } = effects({ entries: journal.read(), runs, nodes: NODES })
					assert.deepEqual({ lost, strange }, { lost: [], strange: [] })
					// A member that the coordinator does not know any more drops what it has in flight (G1: at least once).
					const logs = `${first.output}${second.output}`
					const isExplained = name === 'kafka' && /partitions \[.*\] were lost/.test(logs)
					assert.ok(doubled.length === 0 || isExplained, `${doubled.join(', ')} ran twice:\n${logs}`)
					t.diagnostic(`${name} was away for ${downMs} ms; ${doubled.length} nodes ran twice`)
					// A member that the coordinator has forgotten commits when it has joined again.
					await place
						.allCommitted({ timeoutMs: 120_000 })
						.catch((error) => assert.fail(`${error.message}\n${first.output}${second.output}`))
					for (const one of [first, second]) {
						await until('health is green again', async () => (await one.health()).healthy, {
							describe: () => one.health(),
						})
						await one.stop()
					}
				},
			)
		})
	}

	test('D3: Redis FLUSHALL again and again changes nothing', async (t) => {
		await scene(cluster, 'flushall', { parameters: { nodeMs: 50 } }, async ({ place, journal, worker }) => {
			const first = await worker('first')
			const second = await worker('second')
			await until('both have partitions', async () => (await second.health()).partitions.length > 0)
			const runs = runIds('run', RUNS)
			let flushes = 0
			const timer = setInterval(() => void cluster.redis.flushall().then(() => flushes++), 50)
			try {
				const rows = await drive(place, { blueprint: diamond, runs })
				assertCompleted(rows, outputs)
			} finally {
				clearInterval(timer)
			}
			assert.deepEqual(effects({ entries: journal.read(), runs, nodes: NODES }), NOTHING)
			assert.ok(flushes >= 5, `${flushes} times`)
			t.diagnostic(`FLUSHALL ${flushes} times`)
			await place.allCommitted()
			await first.stop()
			await second.stop()
		})
	})
})

describe('other clients of the topic', () => {
	test('D3: a foreign partitioner: jobs on the wrong partition are sent home, and each node runs once', async () => {
		await scene(cluster, 'foreign', { parameters: { nodeMs: 20 } }, async ({ place, journal, worker }) => {
			const first = await worker('first')
			const second = await worker('second')
			await until('both have partitions', async () => (await second.health()).partitions.length > 0)
			const home = homePartition(place)
			const runs = runIds('run', RUNS)
			const rows = await drive(place, {
				blueprint: diamond,
				runs,
				send: async (jobs) => {
					const messages = jobs.map((job) => ({
						key: job.runId,
						value: JSON.stringify(job),
						partition: (home(job.runId) + 3) % place.partitions,
					}))
					await cluster.producer.send({ topic: place.topic, messages })
				},
			})
			assertCompleted(rows, outputs)
			assert.deepEqual(effects({ entries: journal.read(), runs, nodes: NODES }), NOTHING)
			await place.allCommitted()
			// Counters are those of the worker's last tick.
			await until('each start message went home, and nothing else', async () => {
				const counters = await Promise.all([first, second].map(async (one) => (await one.health()).counters))
				return counters[0].rehomed + counters[1].rehomed === RUNS
			})
			await first.stop()
			await second.stop()
		})
	})

	test('G1: every message of the topic is delivered twice: each node runs once', async (t) => {
		await scene(cluster, 'twice', { parameters: { nodeMs: 20 } }, async ({ place, journal, worker }) => {
			const first = await worker('first')
			const second = await worker('second')
			await until('both have partitions', async () => (await second.health()).partitions.length > 0)
			const echo = cluster.kafka.consumer({ groupId: unique('echo') })
			let echoed = 0
			await echo.connect()
			await echo.subscribe({ topic: place.topic, fromBeginning: true })
			await echo.run({
				eachBatch: async ({ batch: { messages, partition } }) => {
					const originals = messages.filter(({ headers }) => headers?.['x-copy'] === undefined)
					const copies = originals.map(({ key, value }) => ({ key, value, partition, headers: { 'x-copy': '1' } }))
					if (copies.length > 0) await cluster.producer.send({ topic: place.topic, messages: copies })
					echoed += copies.length
				},
			})
			try {
				const runs = runIds('run', RUNS)
				const rows = await drive(place, { blueprint: diamond, runs })
				assertCompleted(rows, outputs)
				await until('everything was delivered twice', () => echoed >= RUNS * NODES.length)
				await place.allCommitted()
				assert.deepEqual(effects({ entries: journal.read(), runs, nodes: NODES }), NOTHING)
				assert.equal(executions(journal.read()).size, RUNS * NODES.length)
				assert.deepEqual(await place.outcomes(runs), rows, 'late copies have changed no row')
				t.diagnostic(`${echoed} messages were sent a second time`)
			} finally {
				await echo.disconnect()
			}
			await first.stop()
			await second.stop()
		})
	})
})
