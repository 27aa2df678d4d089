/**
 * What a reconciler costs among finished runs: 100 runs whose worker was killed, beside more and more rows of runs that have ended.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createKafkaReconciler, ensureSchema } from '@flowcraft/kafka-adapter'
import { createKafkaReconciler as createTheirs } from 'kafka-adapter-js'
import { cpuSince } from './cpu.mjs'
import { insertContext, makePlace, sendStarts, startWorker } from './place.mjs'
import { spread } from './report.mjs'
import { inTurn } from './turns.mjs'
import { chain, OURS } from './workloads.mjs'

const FINISHED = [1_000, 10_000, 100_000]
const QUICK_FINISHED = [1_000, 5_000]
const STALLED = 100
const STALLED_SECONDS = 1
/** A search takes so little beside a round of runs that there may be more of them. */
const SEARCHES_PER_ROUND = 5
const LIMIT_MS = 60_000
const POLL_MS = 100
const IN_FLIGHT = 256
/** Of a small run. */
const RESULT = JSON.stringify({ status: 'completed', payload: randomBytes(700).toString('base64') })
const AN_HOUR_MS = 3_600_000
const HANGING = chain('hanging', 1, 'hang')
const silent = { debug() {}, info() {}, warn() {}, error: console.error }

export const SEARCHES = {
	index: 'index of running runs',
	query: 'documented query',
	theirs: "npm's 1.4.4",
}

/**
 * @typedef {{ ms: number[], cassandraCpuMs: (number | null)[] }} Searches
 * @typedef {{ finished: number, searches: Record<string, Searches> }} StalledRow by the names of `SEARCHES`
 *
 * @param {import('./place.mjs').Services} services
 * @param {{ rounds: number, quick: boolean, cassandraPid?: number }} options
 * @returns {Promise<StalledRow[]>}
 */
export async function measureReconciler(services, { rounds, quick, cassandraPid }) {
	const indexed = await makeIndexed(services)
	const documented = await makeDocumented(services)
	const searches = [
		search(SEARCHES.index, createKafkaReconciler, services, indexed),
		search(SEARCHES.query, createKafkaReconciler, services, documented),
		search(SEARCHES.theirs, createTheirs, services, documented),
	]
	// Killed a moment ago: they count from when their rows have stood still for long enough.
	for (const limit = Date.now() + LIMIT_MS; (await searches[0].run()).found < STALLED; await sleep(POLL_MS))
		if (Date.now() > limit) throw new Error('the runs of the killed worker are not all found')

	/** @type {StalledRow[]} */
	const rows = []
	let there = 0
	for (const finished of quick ? QUICK_FINISHED : FINISHED) {
		for (const keyspace of [indexed, documented]) await addFinished(services, keyspace, finished - there)
		there = finished
		/** @type {Record<string, Searches>} */
		const all = Object.fromEntries(searches.map(({ name }) => [name, { ms: [], cassandraCpuMs: [] }]))
		for (const { run } of searches) await run()
		await inTurn(searches, rounds * SEARCHES_PER_ROUND, async ({ name, run }) => {
			const cpu = cpuSince(cassandraPid)
			const { took, found } = await run()
			if (found !== STALLED) throw new Error(`${name}: ${found} of ${STALLED} stalled runs were found`)
			all[name].ms.push(took)
			all[name].cassandraCpuMs.push(cpu())
		})
		rows.push({ finished, searches: all })
		const said = Object.entries(all).map(
			([name, { ms, cassandraCpuMs: cpu }]) => `${name} ${spread(ms)} ms, CPU ${cpu}`,
		)
		console.log(`${finished} finished runs: ${said.join('; ')}`)
	}
	for (const keyspace of [indexed, documented]) await services.client.execute(`DROP KEYSPACE ${keyspace}`)
	return rows
}

/**
 * Only finding them is timed: what a nudge costs is the same however many runs have ended.
 *
 * @param {string} name
 * @param {typeof createKafkaReconciler} create
 * @param {import('./place.mjs').Services} services
 * @param {string} keyspace
 */
function search(name, create, { client }, keyspace) {
	/** @type {Set<string>} */
	const found = new Set()
	const adapter = {
		logger: silent,
		reconcile: async (/** @type {string} */ runId) => new Set([found.add(runId) && 'n0']),
	}
	const where = { keyspace, statusTableName: 'statuses', stalledThresholdSeconds: STALLED_SECONDS }
	const reconciler = create(/** @type {any} */ ({ adapter, cassandraClient: client, ...where }))
	return {
		name,
		async run() {
			found.clear()
			const began = performance.now()
			await reconciler.run()
			return { took: performance.now() - began, found: found.size }
		},
	}
}

const newName = () => `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`

/** All tables, and runs of a worker that was killed. @param {import('./place.mjs').Services} services */
async function makeIndexed(services) {
	const name = newName()
	const tables = { keyspace: name, contextTableName: 'contexts', statusTableName: 'statuses' }
	await ensureSchema({ cassandraClient: /** @type {any} */ (services.client), ...tables, replication: 1 })
	await services.admin.createTopics({ topics: [{ topic: name, numPartitions: 4 }] })
	const ids = Array.from({ length: STALLED }, () => randomUUID())
	for (const id of ids) await insertContext(services, name, id, HANGING)
	const worker = await startWorker({ packageName: OURS, blueprint: HANGING, keyspace: name, topic: name })
	await sendStarts(services, name, ids, HANGING)
	const limit = Date.now() + LIMIT_MS
	// The index has a run that is open for a second.
	const indexed = async () => {
		const { rows } = await services.client.execute(`SELECT run_id FROM ${name}.statuses_running`)
		return new Set(rows.map((row) => row.run_id))
	}
	for (let there = await indexed(); !ids.every((id) => there.has(id)); there = await indexed()) {
		if (Date.now() > limit) throw new Error('the runs that are to be left behind are not all in the index')
		await sleep(POLL_MS)
	}
	await worker.kill()
	return name
}

/** The two documented tables, and rows as a worker of 1.4.4 leaves them. @param {import('./place.mjs').Services} services */
async function makeDocumented(services) {
	const name = newName()
	await makePlace(services, name)
	for (let at = 0; at < STALLED; at++) await insertStatus(services, name, 'running', null)
	return name
}

/** @param {import('./place.mjs').Services} services @param {string} keyspace @param {number} count */
async function addFinished(services, keyspace, count) {
	let left = count
	const lane = async () => {
		while (left-- > 0) await insertStatus(services, keyspace, 'completed', RESULT)
	}
	await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
}

/** @param {import('./place.mjs').Services} services @param {string} keyspace @param {string} status @param {string | null} data */
const insertStatus = ({ client }, keyspace, status, data) =>
	client.execute(
		`INSERT INTO ${keyspace}.statuses (run_id, status, status_data, updated_at) VALUES (?, ?, ?, ?)`,
		[randomUUID(), status, data, new Date(Date.now() - AN_HOUR_MS)],
		{ prepare: true },
	)
