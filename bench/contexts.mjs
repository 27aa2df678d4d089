/**
 * What the size of a run's context costs: jobs per second, and bytes that a worker sends to Cassandra, in both layouts and with npm's
 * 1.4.4. A run is a chain of empty nodes over a context that no node touches.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { startFaultProxy } from '../__test__/support/fault-proxy.mjs'
import { cpuSince } from './cpu.mjs'
import { finishedOnes, makePlace, sendStarts, startWorker, verify, warmUp } from './place.mjs'
import { inTurn } from './turns.mjs'
import { chain, OURS, THEIRS } from './workloads.mjs'

export const KIB = 1024
const SIZES = [1, 16, 64, 256, 1024, 4096].map((kib) => kib * KIB)
const QUICK_SIZES = [1, 256].map((kib) => kib * KIB)
const LENGTH = 10

/** @typedef {{ name: string, packageName: string, layout: 'document' | 'entries' }} Subject */
/** @type {Subject[]} */
export const SUBJECTS = [
	{ name: 'entries', packageName: OURS, layout: 'entries' },
	{ name: 'document', packageName: OURS, layout: 'document' },
	{ name: "npm's 1.4.4", packageName: THEIRS, layout: 'document' },
]
const [ENTRIES] = SUBJECTS

/** Runs of a round by size: so many that it takes seconds, so few that they are made in seconds, too. */
const RUNS = {
	[OURS]: [600, 600, 400, 150, 50, 12],
	[THEIRS]: [20, 20, 15, 8, 3, 2],
}
/** Goal F6 of the design, and longer runs beside it, which spread over more jobs what a run costs once. */
const [SMALL, LARGE] = [KIB, 1024 * KIB]
const LENGTHS = [
	{ length: 10, runs: { [SMALL]: 600, [LARGE]: 50 } },
	{ length: 100, runs: { [SMALL]: 100, [LARGE]: 50 } },
]
/** A quick round has so many times fewer runs. */
const QUICK = 10
const COUNTED_RUNS = 2

const VALUE_BYTES = KIB - 16
/** Base64, so that compressed files do not flatter large contexts. */
const values = Array.from({ length: SIZES[SIZES.length - 1] / KIB }, () =>
	randomBytes(VALUE_BYTES).toString('base64').slice(0, VALUE_BYTES),
)

/** Values of 1 KiB: an `entries` table has a row for each. @param {number} size */
export const contextOf = (size) =>
	Object.fromEntries(values.slice(0, size / KIB).map((value, at) => [`value${at}`, value]))

/** @param {import('./place.mjs').Services} services @param {string} keyspace @param {Subject} subject @param {string} runId @param {Record<string, unknown>} context */
export async function insertRun({ client }, keyspace, { layout }, runId, context) {
	if (layout === 'document') {
		const query = `INSERT INTO ${keyspace}.contexts (run_id, context_data) VALUES (?, ?)`
		return void (await client.execute(query, [runId, JSON.stringify(context)], { prepare: true }))
	}
	const query = `INSERT INTO ${keyspace}.contexts (run_id, key, value) VALUES (?, ?, ?)`
	const rows = Object.entries(context).map(([key, value]) => ({ query, params: [runId, key, JSON.stringify(value)] }))
	for (let at = 0; at < rows.length; at += 256)
		await client.batch(rows.slice(at, at + 256), { prepare: true, logged: false })
}

/**
 * A worker of its own does so many runs, which all wait on the topic when it is timed.
 *
 * @param {import('./place.mjs').Services} services
 * @param {{ subject: Subject, size: number, length: number, runs: number, cassandraPid?: number }} what
 * @param {import('../__test__/support/fault-proxy.mjs').FaultProxy} [relay] through which the worker reaches Cassandra
 */
async function timeRuns(services, { subject, size, length, runs, cassandraPid }, relay) {
	const name = `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`
	const blueprint = chain('chain', length, 'increment')
	const options = { packageName: subject.packageName, blueprint, keyspace: name, topic: name, applicationName: name }
	// 1.4.4 drops the jobs of a run without the version key.
	const small = { blueprintId: blueprint.id, blueprintVersion: null }
	const context = { ...small, ...contextOf(size) }
	const [first, ...ids] = Array.from({ length: runs + 1 }, () => randomUUID())
	await makePlace(services, name, subject.layout)
	await insertRun(services, name, subject, first, small)
	for (const id of ids) await insertRun(services, name, subject, id, context)

	const worker = await startWorker(options, relay && { CASSANDRA_CONTACT_POINTS: relay.address })
	try {
		await warmUp(services, name, first, blueprint)
		const [before, { cpuMs }, cassandraCpu] = [trafficOf(relay), await worker.ask(), cpuSince(cassandraPid)]
		const began = performance.now()
		await sendStarts(services, name, ids, blueprint)
		await finishedOnes(services, name, ids)
		const ms = performance.now() - began
		const [after, used, cassandraCpuMs] = [trafficOf(relay), await worker.ask(), cassandraCpu()]
		const outcomes = await verify(services, name, ids, checkOf(length, contextOf(size)))
		const jobs = runs * length
		const speed = {
			jobsPerSecond: (jobs * 1000) / ms,
			cpuMsPerJob: (used.cpuMs - cpuMs) / jobs,
			cassandraCpuMsPerJob: cassandraCpuMs === null ? null : cassandraCpuMs / jobs,
		}
		return { speed, sent: after.sent - before.sent, read: after.read - before.read, outcomes }
	} catch (error) {
		throw new Error(`${subject.name}, ${size / KIB} KiB, chain of ${length}: ${error.message}`)
	} finally {
		await worker.end()
		await services.client.execute(`DROP KEYSPACE ${name}`)
	}
}

/** @param {number} length @param {Record<string, string>} context @returns {(found: any) => boolean} */
const checkOf = (length, context) => (found) =>
	found[`_outputs.n${length - 1}`] === length && Object.entries(context).every(([key, value]) => found[key] === value)

/** @param {import('../__test__/support/fault-proxy.mjs').FaultProxy} [relay] */
const trafficOf = (relay) => ({ sent: relay?.sentBytes ?? 0, read: relay?.answeredBytes ?? 0 })

/**
 * Whatever goes over the connections of the worker, whose package does not know of it: that is the same for both of them. The outcome
 * is as long as what is stored of it; the rest goes with the steps.
 *
 * @param {import('./place.mjs').Services} services
 * @param {Subject} subject
 * @param {number} size
 * @returns {Promise<Bytes>}
 */
async function countBytes(services, subject, size) {
	const relay = await startFaultProxy(String(process.env.CASSANDRA_CONTACT_POINTS).split(',')[0])
	const runs = COUNTED_RUNS
	try {
		const { sent, read, outcomes } = await timeRuns(services, { subject, size, length: LENGTH, runs }, relay)
		// A connection that goes past the relay would show here.
		if (sent < outcomes) throw new Error(`${subject.name}: ${sent} bytes sent, ${outcomes} stored as outcomes alone`)
		const jobs = runs * LENGTH
		return { sentPerStep: (sent - outcomes) / jobs, outcome: outcomes / runs, readPerStep: read / jobs }
	} finally {
		await relay.close()
	}
}

/**
 * @typedef {{ jobsPerSecond: number, cpuMsPerJob: number, cassandraCpuMsPerJob: number | null }} Speed of a round; CPU of the worker, and of
 *   Cassandra where it is ours and on Linux
 * @typedef {{ sentPerStep: number, outcome: number, readPerStep: number }} Bytes `outcome`: of a run's status row, once per run
 * @typedef {{ subject: string, size: number, runs: number, speeds: Speed[], bytes: Bytes }} ContextRow
 *
 * @param {import('./place.mjs').Services} services
 * @param {{ rounds: number, quick: boolean, cassandraPid?: number, sizes?: number[], keep: (rows: ContextRow[]) => Promise<void> }} options
 *   `keep` is called after each size: all of them take long
 * @returns {Promise<ContextRow[]>}
 */
export async function measureContexts(
	services,
	{ rounds, quick, cassandraPid, sizes = quick ? QUICK_SIZES : SIZES, keep },
) {
	/** @type {ContextRow[]} */
	const rows = []
	for (const size of sizes) {
		const own = SUBJECTS.map((subject) => ({
			subject,
			runs: fewer(RUNS[subject.packageName][SIZES.indexOf(size)], quick),
			speeds: /** @type {Speed[]} */ ([]),
		}))
		await inTurn(own, rounds, async ({ subject, runs, speeds }) => {
			speeds.push((await timeRuns(services, { subject, size, length: LENGTH, runs, cassandraPid })).speed)
		})
		for (const { subject, runs, speeds } of own) {
			const bytes = await countBytes(services, subject, size)
			rows.push({ subject: subject.name, size, runs, speeds, bytes })
			console.log(
				`${size / KIB} KiB, ${subject.name}: ${listed(speeds)} jobs/s; bytes sent ` +
					`${Math.round(bytes.sentPerStep)} per step, ${Math.round(bytes.outcome)} as outcome; read ${Math.round(bytes.readPerStep)} per step`,
			)
		}
		await keep(rows)
	}
	return rows
}

/**
 * @typedef {{ length: number, small: Speed[], large: Speed[] }} LengthRow of `entries` with 1 KiB and with 1 MiB
 *
 * @param {import('./place.mjs').Services} services
 * @param {{ rounds: number, quick: boolean, cassandraPid?: number }} options
 * @returns {Promise<LengthRow[]>}
 */
export async function measureLengths(services, { rounds, quick, cassandraPid }) {
	/** @type {LengthRow[]} */
	const rows = []
	for (const { length, runs } of LENGTHS) {
		/** @type {LengthRow} */
		const row = { length, small: [], large: [] }
		const sides = [
			{ size: SMALL, speeds: row.small },
			{ size: LARGE, speeds: row.large },
		]
		await inTurn(sides, rounds, async ({ size, speeds }) => {
			const what = { subject: ENTRIES, size, length, runs: fewer(runs[size], quick), cassandraPid }
			speeds.push((await timeRuns(services, what)).speed)
		})
		rows.push(row)
		console.log(`chain of ${length}, entries: 1 KiB ${listed(row.small)} jobs/s, 1 MiB ${listed(row.large)}`)
	}
	return rows
}

/** @param {Speed[]} speeds */
const listed = (speeds) => speeds.map(({ jobsPerSecond }) => jobsPerSecond.toFixed(1)).join(', ')

/** @param {number} runs @param {boolean} quick */
const fewer = (runs, quick) => (quick ? Math.max(2, Math.floor(runs / QUICK)) : runs)
