/**
 * G6, D4, G4: what must not take a worker, or the others, with it: a blocked thread, a run that kills its owners, a topic
 * and a table that refuse what is written.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { openCluster, until } from '../support/cluster.mjs'
import { homePartition } from '../support/cluster-drive.mjs'
import { chain } from './hardship-flows.mjs'
import { runIds, scene } from './scene.mjs'

const flows = new URL('hardship-flows.mjs', import.meta.url).href
/** A worker that is gone is noticed after three seconds. */
const QUICK = { kafka: { sessionTimeoutMs: 3_000, heartbeatIntervalMs: 500 }, adapter: { leaseTtlMs: 3_000 } }

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster?.close())

/** @param {import('../support/worker-process.mjs').WorkerProcess} worker @param {string} place @param {string} code */
const showsTrouble = (worker, place, code) =>
	until(`${worker.name} shows ${code} of ${place}`, async () => {
		const { healthy, troubles } = await worker.health()
		return !healthy && troubles.some((/** @type {any} */ trouble) => trouble.place === place && trouble.code === code)
	})

describe('G6: a JavaScript thread that does not answer', () => {
	const STALL_MS = 25_000

	test('loses its partitions within maxStallMs, is red meanwhile, and works again afterwards', async () => {
		await scene(cluster, 'stall', { flows, adapter: { maxStallMs: 2_000 } }, async ({ place, journal, worker }) => {
			const blocked = await worker('blocked', { parameters: { stallMs: STALL_MS } })
			const other = await worker('other')
			const ofBlocked = await until('both have partitions', async () => {
				const [one, two] = [await blocked.health(), await other.health()]
				return one.partitions.length === 4 && two.partitions.length === 4 && one.partitions
			})
			const home = homePartition(place)
			const run = /** @type {string} */ (runIds('stall', 100).find((id) => ofBlocked.includes(home(id))))
			await place.startRun(chain, {}, run)
			await until('the thread is blocked', () =>
				journal.read().some(({ what, node }) => what === 'begin' && node === 'b'),
			)
			// Also on partitions of the blocked one.
			const behind = runIds('behind', 40)
			for (const runId of behind) await place.startRun(chain, {}, runId)

			const rows = await place.outcomes([run, ...behind], { timeoutMs: STALL_MS - 5_000 })
			for (const [runId, { status }] of rows) assert.equal(status, 'completed', runId)
			const looks = () => journal.read().filter(({ what, pid }) => pid === blocked.pid && /red|green/.test(what))
			assert.deepEqual(looks(), [], 'the first worker is still blocked')
			const result = (await place.context(run))?.document
			assert.equal(result['_outputs.b'], other.pid)

			const [look] = await until('the thread goes on', () => looks().length > 0 && looks())
			assert.deepEqual([look.what, look.node], ['red', 'ERR_STALLED'])
			await until('it is back', async () => {
				const { healthy, partitions, state } = await blocked.health()
				return healthy && partitions.length > 0 && state === 'running'
			})
			assert.equal((await place.context(run))?.document['_outputs.b'], other.pid, 'its late result changes nothing')
			const later = runIds('later', 40)
			for (const runId of later) await place.startRun(chain, {}, runId)
			await place.outcomes(later)
			assert.ok(journal.read().some(({ run: id, pid }) => id.startsWith('later') && pid === blocked.pid))
			await Promise.all([blocked.stop(), other.stop()])
		})
	})
})

describe('G6: a run that kills its owners', () => {
	const OPENINGS = 3

	test('is buried after poisonOpenings, and the others complete', async () => {
		const adapter = { ...QUICK.adapter, poisonOpenings: OPENINGS }
		await scene(
			cluster,
			'poison',
			{ flows, ...QUICK, adapter, parameters: { nodeMs: 200 } },
			async ({ place, journal, worker }) => {
				const poison = 'poison-1'
				const innocent = runIds('innocent', 12)
				for (const runId of [...innocent.slice(0, 6), poison, ...innocent.slice(6)])
					await place.startRun(chain, {}, runId)
				const isOver = async () => (await place.statusRows([poison])).some(({ status }) => status === 'failed')
				// A supervisor: whatever ends the process, there is a new one.
				for (let lives = 0; !(await isOver()); lives++) {
					assert.ok(lives <= OPENINGS + 1, `${lives} processes have died`)
					// One may die before it says that it has started.
					const process = await worker(`life ${lives}`).catch(() => undefined)
					await process?.exited(2_000).catch(() => undefined)
					if (process) await until('it dies or buries the run', async () => (await isOver()) || !isAlive(process.pid))
				}
				const begun = journal.read().filter(({ what, run, node }) => what === 'begin' && run === poison && node === 'b')
				assert.ok(begun.length >= OPENINGS && begun.length <= OPENINGS + 1, `${begun.length} openings`)
				const [{ data }] = await place.statusRows([poison])
				assert.match(data.reason, /poisonOpenings/)
				const rows = await place.outcomes(innocent)
				for (const [runId, { status }] of rows) assert.equal(status, 'completed', runId)
				const letters = await place.readDeadLetters()
				const letter = await letters.find(({ headers }) => headers['flowcraft-run'] === poison)
				assert.equal(letter.headers['flowcraft-code'], 'ERR_RUN_POISON')
				await place.allCommitted()
				const keys = () => cluster.redis.keys(`*flowcraft:openings:${place.topic}:*`)
				await until('nothing is left of the counts', async () => (await keys()).length === 0, { describe: keys })
			},
		)
	})
})

/** @param {number} pid */
function isAlive(pid) {
	try {
		process.kill(pid, 0)
		return true
	} catch {
		return false
	}
}

describe('D4: a topic that refuses every message', () => {
	/** @param {string} topic @param {string} bytes */
	const limitMessages = (topic, bytes) =>
		cluster.admin.alterConfigs({
			validateOnly: false,
			resources: [{ type: 2, name: topic, configEntries: [{ name: 'max.message.bytes', value: bytes }] }],
		})

	test('pauses the worker and makes it red; once it is mended, everything goes on', async () => {
		const parameters = { nodeMs: 1_500 }
		await scene(cluster, 'refusing', { flows, parameters }, async ({ place, journal, worker }) => {
			const one = await worker('one')
			const runs = runIds('run', 20)
			for (const runId of runs) await place.startRun(chain, {}, runId)
			const begun = () => new Set(journal.read().map(({ run }) => run)).size
			await until('every run is in work', () => begun() === runs.length)
			await limitMessages(place.topic, '1')
			await showsTrouble(one, 'job topic', 'ERR_KAFKA')
			await until('fetching is paused', async () => (await one.health()).paused)

			await limitMessages(place.topic, '1048588')
			await until('it is green', async () => {
				const { healthy, paused } = await one.health()
				return healthy && !paused
			})
			const later = runIds('later', 20)
			for (const runId of later) await place.startRun(chain, {}, runId)
			const rows = await place.outcomes([...runs, ...later])
			for (const [runId, { status }] of rows) assert.equal(status, 'completed', runId)
			await place.allCommitted()
			await one.stop()
		})
	})
})

describe('G4: a status table that refuses every row', () => {
	test('holds the outcomes, makes the worker red, and has them all once it is mended', async () => {
		await scene(cluster, 'rowless', { flows }, async ({ place, worker }) => {
			const one = await worker('one')
			const statuses = `${place.keyspace}.${place.statuses}`
			await cluster.cassandra.execute(`ALTER TABLE ${statuses} DROP status_data`)
			const runs = runIds('run', 20)
			for (const runId of runs) await place.startRun(chain, {}, runId)
			await showsTrouble(one, 'status store', 'ERR_CASSANDRA')
			await until('every run is recorded', async () => (await one.health()).counters.recorded === 60)
			const { counters, unpublished } = await one.health()
			assert.deepEqual({ outcomes: counters.outcomes, unpublished }, { outcomes: 0, unpublished: 0 })

			await cluster.cassandra.execute(`ALTER TABLE ${statuses} ADD status_data text`)
			const rows = await place.outcomes(runs)
			for (const [runId, { status }] of rows) assert.equal(status, 'completed', runId)
			await until('it is green', async () => (await one.health()).healthy)
			await place.allCommitted()
			await one.stop()
		})
	})
})
