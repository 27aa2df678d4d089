/**
 * G2 on the services: a worker process is killed after each storage call of a run, in turn. The call has taken effect, and
 * nobody was told. The next process ends the run as memory does; each visit is recorded once.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { comparable, published, runInMemory } from '../oracle/comparator.mjs'
import { openCluster, recorder, unique } from '../support/cluster.mjs'
import { startCqlProxy } from '../support/cql-proxy.mjs'
import { Journal, startWorkerProcess } from '../support/worker-process.mjs'
import { blueprints, flows, initial } from './storage-flows.mjs'

const FLOWS = new URL('storage-flows.mjs', import.meta.url).href
/** So many chains of workers at once; each kills after every other call, every third, ... of its blueprint. */
const CHAINS = { diamond: 1, choice: 1, loop: 2 }
/** A worker that is gone is noticed after three seconds. */
const QUICK = {
	kafka: { sessionTimeoutMs: 3_000, heartbeatIntervalMs: 500 },
	adapter: { leaseTtlMs: 3_000, workerId: 'one' },
}
/** More calls than any of these runs makes. */
const MOST_CALLS = 60

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'storage', partitions: 0 })
})

after(() => cluster.close())

/** What a run reads and writes. @param {string} text */
const isOfRun = (text) => [home.contexts, home.statuses].some((table) => text.includes(`${home.keyspace}.${table} `))

/** What memory makes of a blueprint, and the bodies that it runs. @param {string} name */
async function inMemory(name) {
	/** @type {string[]} */
	const ran = []
	const { blueprints: _, ...options } = flows((what, _run, node) => void (what === 'begin' && ran.push(node)))
	const result = comparable(await runInMemory(blueprints[name], options, initial))
	assert.equal(result.status, 'completed')
	return { result, ran: ran.toSorted() }
}

/**
 * A chain of workers: each ends what the one before has left, then it is killed after a call of a run of its own.
 *
 * @param {string} name of the blueprint
 * @param {number} first call, and then every `step`th
 * @param {number} step
 * @returns {Promise<number>} how many were killed
 */
async function chain(name, first, step) {
	const memory = await inMemory(name)
	const place = await home.sibling({ partitions: 1 })
	const client = new KafkaAdapter(place.options({ runtimeOptions: { logger: recorder(), ...flows(() => {}) } }))
	const journal = new Journal()
	const { localDataCenter } = cluster.where
	/** @type {{ end: () => Promise<void> }[]} */
	const opened = []
	const begin = async () => {
		const proxy = await startCqlProxy(cluster.where.contactPoints[0])
		opened.push({ end: proxy.close })
		const adapter = { ...QUICK.adapter, cassandraClient: { contactPoints: [proxy.address], localDataCenter } }
		const worker = await startWorkerProcess(place, { flows: FLOWS, journal, kafka: QUICK.kafka, adapter })
		opened.push({ end: worker.dispose })
		return { proxy, worker }
	}
	/** @param {string} run @param {number} extra how many bodies may have been in flight at the kill */
	const assertEnded = async (run, extra) => {
		const { data } = await place.outcome(run, { timeoutMs: 60_000 })
		assert.deepEqual(comparable(published(data, blueprints[name], initial)), memory.result)
		const { visits } = await client.history(run)
		const recorded = visits.map(({ nodeId }) => nodeId).filter((node) => memory.ran.includes(node))
		assert.deepEqual(recorded.toSorted(), memory.ran, 'each visit is recorded once')
		const begun = journal.read().filter((entry) => entry.run === run && entry.what === 'begin')
		assert.ok(
			begun.length >= memory.ran.length && begun.length <= memory.ran.length + extra,
			`${begun.length} bodies ran`,
		)
		await place.allCommitted()
	}

	let killed = 0
	try {
		let { proxy, worker } = await begin()
		for (let call = first; call <= MOST_CALLS; call += step) {
			const run = unique(`${name}-${call}`)
			const stopped = proxy.stopAfter(call, isOfRun).then(() => true)
			await place.startRun(blueprints[name], initial, run)
			// A run whose last call is not answered keeps its message.
			const ended = place
				.outcome(run)
				.then(() => place.allCommitted())
				.then(() => false)
			ended.catch(() => {})
			if (!(await Promise.race([stopped, ended]))) {
				await assertEnded(run, 0)
				await worker.stop()
				return killed
			}
			await worker.kill()
			await proxy.close()
			killed++
			const next = await begin()
			await assertEnded(run, 2)
			proxy = next.proxy
			worker = next.worker
		}
		throw new Error(`${name}: more than ${MOST_CALLS} calls`)
	} finally {
		for (const { end } of opened) await end()
		await client.stop()
		journal.remove()
	}
}

test('G2: kill -9 after each storage call of a run, in turn: it ends as in memory, each visit recorded once', async (t) => {
	const chains = Object.entries(CHAINS).flatMap(([name, count]) =>
		Array.from({ length: count }, async (_, at) => ({ name, killed: await chain(name, at + 1, count) })),
	)
	/** @type {Record<string, number>} */
	const kills = {}
	for (const { name, killed } of await Promise.all(chains)) kills[name] = (kills[name] ?? 0) + killed
	t.diagnostic(`killed after ${JSON.stringify(kills)} calls`)
	// A read, a write for each wave, and the status.
	assert.ok(kills.diamond >= 6 && kills.choice >= 5 && kills.loop >= 10, JSON.stringify(kills))
})
