/**
 * What the size of a run's context costs: jobs per second, and bytes that a worker sends to Cassandra for a job, in both layouts
 * and with npm's 1.4.4.
 */
import { randomUUID } from 'node:crypto'
import { finished, makePlace, sendStarts, startWorker, verify } from './place.mjs'
import { startRelay } from './relay.mjs'
import { OURS, THEIRS, WORKLOADS } from './workloads.mjs'

const KIB = 1024
/** Of values that the run begins with and no node touches. */
export const SIZES = [1, 16, 64, 256, 1024, 4096].map((kib) => kib * KIB)
const WORKLOAD = 'chain'
const { blueprint, jobs, check } = WORKLOADS[WORKLOAD]

/** @typedef {{ name: string, packageName: string, layout: 'document' | 'entries' }} Subject */
/** @type {Subject[]} */
export const SUBJECTS = [
	{ name: 'entries', packageName: OURS, layout: 'entries' },
	{ name: 'document', packageName: OURS, layout: 'document' },
	{ name: "npm's 1.4.4", packageName: THEIRS, layout: 'document' },
]

/** So many that a round takes seconds. @param {Subject} subject @param {number} size */
const runsOf = ({ packageName }, size) => {
	const most = packageName === OURS ? 400 : 30
	return Math.max(3, Math.min(most, Math.floor((packageName === OURS ? 96 : 12) * ((256 * KIB) / size))))
}

/** Values of 1 KiB: an `entries` table has a row for each. @param {number} size */
const contextOf = (size) =>
	Object.fromEntries(Array.from({ length: size / KIB }, (_, at) => [`value${at}`, 'x'.repeat(KIB - 16)]))

/** @param {import('./place.mjs').Services} services @param {string} keyspace @param {Subject} subject @param {string} runId @param {number} size */
async function insertRun({ client }, keyspace, { layout }, runId, size) {
	const context = { blueprintId: blueprint.id, blueprintVersion: null, ...contextOf(size) }
	const prepare = { prepare: true }
	if (layout === 'document') {
		const query = `INSERT INTO ${keyspace}.contexts (run_id, context_data) VALUES (?, ?)`
		return void (await client.execute(query, [runId, JSON.stringify(context)], prepare))
	}
	const query = `INSERT INTO ${keyspace}.contexts (run_id, key, value) VALUES (?, ?, ?)`
	const rows = Object.entries(context).map(([key, value]) => [runId, key, JSON.stringify(value)])
	for (let at = 0; at < rows.length; at += 64)
		await Promise.all(rows.slice(at, at + 64).map((row) => client.execute(query, row, prepare)))
}

/**
 * @param {import('./place.mjs').Services} services
 * @param {Subject} subject
 * @param {number} size bytes
 * @param {number} runs
 * @param {Record<string, string>} [env] of the worker
 * @returns {Promise<number>} jobs per second
 */
async function timeRuns(services, subject, size, runs, env) {
	const name = `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`
	const { packageName, layout } = subject
	await makePlace(services, name, layout)
	const worker = await startWorker({ packageName, workload: WORKLOAD, keyspace: name, topic: name }, env)
	const [first, ...ids] = Array.from({ length: runs + 1 }, () => randomUUID())
	for (const id of [first, ...ids]) await insertRun(services, name, subject, id, size)
	// The first job of a worker prepares statements and the like: it is no part of the round.
	await sendStarts(services, name, [first], blueprint)
	await finished(services, name, 1)
	const began = performance.now()
	await sendStarts(services, name, ids, blueprint)
	await finished(services, name, 1 + runs)
	const seconds = (performance.now() - began) / 1000
	await worker.end()
	await verify(services, name, ids, (context) => check(context) && context.value0.length === KIB - 16)
	await services.client.execute(`DROP KEYSPACE ${name}`)
	return (runs * jobs) / seconds
}

/** @param {import('./place.mjs').Services} services @param {Subject} subject @param {number} size */
async function countBytes(services, subject, size) {
	const RUNS = 3
	const relay = await startRelay(String(process.env.CASSANDRA_CONTACT_POINTS).split(',')[0])
	try {
		const before = relay.sentBytes
		await timeRuns(services, subject, size, RUNS, { CASSANDRA_CONTACT_POINTS: relay.address })
		// The one that warms up is counted, too.
		return (relay.sentBytes - before) / ((RUNS + 1) * jobs)
	} finally {
		await relay.close()
	}
}

/**
 * @typedef {{ subject: string, size: number, runs: number, jobsPerSecond: number[], bytesPerJob: number }} ContextRow
 *
 * @param {import('./place.mjs').Services} services
 * @param {number} rounds
 * @returns {Promise<ContextRow[]>}
 */
export async function measureContexts(services, rounds) {
	/** @type {ContextRow[]} */
	const rows = []
	for (const size of SIZES) {
		const own = SUBJECTS.map((subject) => ({
			subject,
			runs: runsOf(subject, size),
			speeds: /** @type {number[]} */ ([]),
		}))
		// In turn, since the machine's speed drifts.
		for (let round = 0; round < rounds; round++)
			for (const { subject, runs, speeds } of round % 2 ? own.toReversed() : own)
				speeds.push(await timeRuns(services, subject, size, runs))
		for (const { subject, runs, speeds } of own) {
			const bytesPerJob = await countBytes(services, subject, size)
			rows.push({ subject: subject.name, size, runs, jobsPerSecond: speeds, bytesPerJob })
			console.log(
				`${size / KIB} KiB, ${subject.name}: ${speeds.map(Math.round).join(', ')} jobs/s, ${Math.round(bytesPerJob)} bytes per job`,
			)
		}
	}
	return rows
}
