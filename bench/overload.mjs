/**
 * A worker that finds more work than it can take: start messages of many runs lie on the topic before it comes.
 *
 *   node bench/overload.mjs [--runs 100000] [--counted 10000] [--write]
 *
 * First the counts of a backlog of chains of ten nodes, then memory, fairness and a late run behind a long backlog of chains of
 * three. A store that is away or slow meanwhile: `__test__/e2e/memory.test.mjs`.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Partitioners } from 'kafkajs'
import { openCluster, until } from '../__test__/support/cluster.mjs'
import { Journal, startWorkerProcess } from '../__test__/support/worker-process.mjs'
import { startServices } from '../__test__/services/services.mjs'
import { FLOWS, starts } from './flows.mjs'
import { writeSection } from './limits-page.mjs'
import { serverCounts } from './place.mjs'
import { quantile } from './report.mjs'

const PARTITIONS = 4
const CHUNK = 1_000
const COUNTED_NODES = 10
const NODES = 3
const LIMIT_MS = 1_800_000
const STEPS = 10

const { values } = parseArgs({
	options: {
		runs: { type: 'string', default: '100000' },
		counted: { type: 'string', default: '10000' },
		write: { type: 'boolean', default: false },
	},
})

const started = await startServices({})
Object.assign(process.env, started.env)
const cluster = await openCluster()
try {
	const counts = await counted(Number(values.counted))
	const backlog = await overloaded(Number(values.runs))
	const figures = { ...backlog, counts }
	console.log(JSON.stringify(figures, null, 2))
	if (values.write) writeSection('overload', figures)
} finally {
	await cluster.close()
	await started.stop()
}

/** @param {number} pid @param {'VmRSS' | 'VmHWM'} field MiB */
function memoryMb(pid, field) {
	const status = readFileSync(`/proc/${pid}/status`, 'utf8')
	return Math.round(Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024)
}

/** @param {string} prefix @param {number} runs */
function idsOf(prefix, runs) {
	return Array.from({ length: runs }, (_, at) => `${prefix}-${at}`)
}

/**
 * A place whose topic holds the starts of these runs, and the worker that comes to it.
 *
 * @param {string[]} ids
 * @param {import('./flows.mjs').Parameters} parameters
 * @param {(parts: { place: import('../__test__/support/cluster.mjs').Place, journal: Journal,
 *   worker: () => Promise<import('../__test__/support/worker-process.mjs').WorkerProcess> }) => Promise<any>} play
 */
async function behind(ids, parameters, play) {
	const place = await cluster.place({ name: 'overload', partitions: PARTITIONS })
	const journal = new Journal()
	/** @type {import('../__test__/support/worker-process.mjs').WorkerProcess | undefined} */
	let worker
	try {
		for (let at = 0; at < ids.length; at += CHUNK) await place.send(starts(ids.slice(at, at + CHUNK)))
		return await play({
			place,
			journal,
			worker: async () => (worker = await startWorkerProcess(place, { flows: FLOWS, journal, parameters })),
		})
	} finally {
		await worker?.dispose()
		journal.remove()
	}
}

/** @param {import('../__test__/support/worker-process.mjs').WorkerProcess} worker @param {number} runs */
function ended(worker, runs) {
	return until(`${runs} runs end`, async () => (await worker.health()).counters.outcomes >= runs, {
		timeoutMs: LIMIT_MS,
		everyMs: 50,
		describe: () => worker.health(),
	})
}

/** F5 with a backlog. @param {number} runs */
function counted(runs) {
	const ids = idsOf('counted', runs)
	return behind(ids, { nodes: COUNTED_NODES, journal: 'none' }, async ({ place, worker }) => {
		const of = { topic: place.topic, applicationName: 'flowcraft' }
		const before = await serverCounts(/** @type {any} */ ({ ...cluster, client: cluster.cassandra }), of)
		const one = await worker()
		const began = performance.now()
		await ended(one, runs)
		const seconds = (performance.now() - began) / 1000
		const after = await serverCounts(/** @type {any} */ ({ ...cluster, client: cluster.cassandra }), of)
		for (const row of await place.statusRows(ids)) check(row, COUNTED_NODES)
		await one.stop()
		const perJob = (/** @type {'cql' | 'coordination' | 'messages'} */ key) =>
			(after[key] - before[key]) / (runs * COUNTED_NODES)
		return {
			runs,
			jobsPerSecond: (runs * COUNTED_NODES) / seconds,
			cqlPerJob: perJob('cql'),
			coordinationPerJob: perJob('coordination'),
			producesPerJob: perJob('messages'),
		}
	})
}

/** @param {import('../__test__/support/cluster.mjs').StatusRow} row @param {number} nodes */
function check({ runId, status, data }, nodes) {
	if (status === 'completed' && data.payload.context[`_outputs.n${nodes - 1}`] === nodes) return
	throw new Error(`run ${runId} has a wrong result: ${JSON.stringify(data)}`)
}

/** @param {number} runs */
function overloaded(runs) {
	const ids = idsOf('run', runs)
	return behind(ids, { nodes: NODES, journal: 'ends' }, async ({ place, journal, worker }) => {
		const one = await worker()
		const began = Date.now()
		const memory = [{ part: 0, mb: memoryMb(one.pid, 'VmRSS') }]
		let late
		for (let step = 1; step <= STEPS; step++) {
			await ended(one, Math.floor((runs * step) / STEPS))
			memory.push({ part: step / STEPS, mb: memoryMb(one.pid, 'VmRSS') })
			if (step === STEPS / 2) {
				late = { sent: Date.now(), behind: runs - (await one.health()).counters.outcomes }
				await place.send(starts(['late']))
			}
		}
		await ended(one, runs + 1)
		const seconds = (Date.now() - began) / 1000
		const peakMb = memoryMb(one.pid, 'VmHWM')
		// With nothing before it: the same worker, idle.
		const alone = { sent: Date.now() }
		await place.send(starts(['alone']))
		await ended(one, runs + 2)
		for (let at = 0; at < runs; at += CHUNK * STEPS)
			for (const row of await place.statusRows([ids[at]])) check(row, NODES)
		await one.stop()
		const times = timesOf(journal)
		const waited = (/** @type {string} */ id, /** @type {number} */ sent) => ({
			toFirstNodeMs: times.get(id).first - sent,
			toEndMs: times.get(id).last - sent,
		})
		return {
			runs,
			partitions: PARTITIONS,
			nodes: NODES,
			jobsPerSecond: (runs * NODES) / seconds,
			seconds,
			memory,
			peakMb,
			fairness: fairness(ids, times),
			late: { behind: late.behind, ...waited('late', late.sent) },
			alone: waited('alone', alone.sent),
		}
	})
}

/** When the first node of each run began and its last one ended. @param {Journal} journal @returns {Map<string, any>} */
function timesOf(journal) {
	const times = new Map()
	for (const { what, run, at } of journal.read()) {
		if (what === 'begin') times.set(run, { first: at, ...times.get(run) })
		else times.get(run).last = at
	}
	return times
}

/**
 * How far the order in which runs begin and end is from that of their messages on their partition.
 *
 * @param {string[]} ids @param {Map<string, { first: number, last: number }>} times
 */
function fairness(ids, times) {
	const partitionOf = Partitioners.DefaultPartitioner()
	const partitionMetadata = Array.from({ length: PARTITIONS }, (_, partitionId) => ({ partitionId, leader: 0 }))
	/** @type {Map<number, string[]>} */
	const lines = new Map()
	for (const id of ids) {
		const partition = partitionOf(/** @type {any} */ ({ topic: '', partitionMetadata, message: { key: id } }))
		if (!lines.get(partition)?.push(id)) lines.set(partition, [id])
	}
	const displaced = { first: 0, last: 0 }
	for (const line of lines.values()) {
		for (const key of /** @type {const} */ (['first', 'last'])) {
			const order = line.map((id, at) => ({ at, time: times.get(id)[key] })).toSorted((a, b) => a.time - b.time)
			displaced[key] = order.reduce((most, { at }, rank) => Math.max(most, Math.abs(at - rank)), displaced[key])
		}
	}
	const spans = ids.map((id) => times.get(id).last - times.get(id).first)
	return {
		displacedFirst: displaced.first,
		displacedLast: displaced.last,
		spanMs: { p50: quantile(spans, 0.5), p99: quantile(spans, 0.99), most: quantile(spans, 1) },
	}
}
