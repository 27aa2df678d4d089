/**
 * More workers: how much faster 1, 2 and 4 processes are, and for how long a run stands still while one joins or leaves.
 *
 *   node bench/scale.mjs [--seconds 15] [--moves 3] [--kafka JSON] [--parts scale,moves] [--write]
 *
 * Each worker runs so few nodes at once that the machine is not full with one of them. `--kafka` gives more Kafka settings.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openCluster, until } from '../__test__/support/cluster.mjs'
import { Journal, startWorkerProcess } from '../__test__/support/worker-process.mjs'
import { startServices } from '../__test__/services/services.mjs'
import { FLOWS, starts } from './flows.mjs'
import { writeSection } from './limits-page.mjs'
import { quantile } from './report.mjs'

const PARTITIONS = 16
const WORKERS = [1, 2, 4]
const NODE_MS = 50
const NODES = 10
const NODES_AT_ONCE = 16
const CHUNK = 1_000
/** Rounds that are not counted: servers whose virtual machine has compiled nothing yet take the processors that workers need. */
const WARM_UP_ROUNDS = 3
/** Before a measurement begins. */
const SETTLE_MS = 3_000
/** Runs that begin per second while workers come and go: each is in work for half a second. */
const RUNS_PER_SECOND = 20
const TURN_MS = 100
const CALM_MS = 5_000

const { values } = parseArgs({
	options: {
		seconds: { type: 'string', default: '15' },
		moves: { type: 'string', default: '3' },
		kafka: { type: 'string', default: '{}' },
		parts: { type: 'string', default: 'scale,moves' },
		write: { type: 'boolean', default: false },
	},
})

const services = await startServices({})
Object.assign(process.env, services.env)
const cluster = await openCluster()
const kafka = JSON.parse(values.kafka)
try {
	const figures = { nodeMs: NODE_MS, nodesAtOnce: NODES_AT_ONCE, partitions: PARTITIONS, scale: [], moves: undefined }
	const parts = values.parts.split(',')
	if (parts.includes('scale')) {
		for (let round = 0; round < WARM_UP_ROUNDS; round++) await throughput(Math.max(...WORKERS))
		for (const workers of WORKERS) figures.scale.push(await throughput(workers))
	}
	if (parts.includes('moves')) figures.moves = await moves()
	console.log(JSON.stringify(figures, null, 2))
	if (values.write) writeSection('scale', figures)
} finally {
	await cluster.close()
	await services.stop()
}

/**
 * @param {import('./flows.mjs').Parameters} parameters
 * @param {Record<string, any>} adapter
 * @param {(parts: { place: import('../__test__/support/cluster.mjs').Place, journal: Journal,
 *   join: () => Promise<import('../__test__/support/worker-process.mjs').WorkerProcess> }) => Promise<any>} play
 */
async function group(parameters, adapter, play) {
	const place = await cluster.place({ name: 'scale', partitions: PARTITIONS })
	const journal = new Journal()
	/** @type {import('../__test__/support/worker-process.mjs').WorkerProcess[]} */
	const workers = []
	const join = async () => {
		const worker = await startWorkerProcess(place, { flows: FLOWS, journal, parameters, adapter, kafka })
		workers.push(worker)
		return worker
	}
	try {
		return await play({ place, journal, join })
	} finally {
		await Promise.all(workers.map((worker) => worker.dispose()))
		journal.remove()
	}
}

/** Seconds of all processors that were busy, and all seconds. */
function processorSeconds() {
	const ticks = readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).slice(1, 9).map(Number)
	const all = ticks.reduce((sum, some) => sum + some, 0)
	return { all, busy: all - ticks[3] - ticks[4] }
}

/** @param {number} count */
function throughput(count) {
	return group(
		{ nodes: NODES, nodeMs: NODE_MS, journal: 'none' },
		{ maxConcurrentJobs: NODES_AT_ONCE },
		async ({ place, join }) => {
			const seconds = Number(values.seconds)
			const possible = (count * NODES_AT_ONCE * 1000) / NODE_MS
			// Twice what can be done meanwhile, so that no partition runs out of work.
			const runs = Math.ceil((possible * (seconds + SETTLE_MS / 1000) * 2) / NODES)
			const ids = Array.from({ length: runs }, (_, at) => `run-${count}-${at}`)
			const workers = await Promise.all(Array.from({ length: count }, join))
			await cluster.members(place.group, count)
			for (let at = 0; at < runs; at += CHUNK) await place.send(starts(ids.slice(at, at + CHUNK)))
			const healths = () => Promise.all(workers.map((worker) => worker.health()))
			await until('all work', async () => (await healths()).every(({ counters }) => counters.recorded > 0))
			await sleep(SETTLE_MS)
			const recorded = async () => (await healths()).reduce((sum, { counters }) => sum + counters.recorded, 0)
			const [before, began, used] = [await recorded(), performance.now(), processorSeconds()]
			await sleep(seconds * 1000)
			const [after, took, using] = [await recorded(), (performance.now() - began) / 1000, processorSeconds()]
			const idle = (await healths()).filter(({ waitingMessages }) => waitingMessages === 0).length
			if (idle > 0) throw new Error(`${idle} of ${count} workers ran out of work`)
			return {
				workers: count,
				jobsPerSecond: (after - before) / took,
				possible,
				machineBusy: (using.busy - used.busy) / (using.all - used.all),
			}
		},
	)
}

/** Runs begin all the time; workers join and leave in order. */
function moves() {
	return group({ nodes: NODES, nodeMs: NODE_MS, journal: 'all' }, {}, async ({ place, journal, join }) => {
		const workers = [await join(), await join()]
		await cluster.members(place.group, 2)
		/** @type {Map<string, number>} when it was sent */
		const sent = new Map()
		const ending = new AbortController()
		const feeding = feed(place, sent, ending.signal)
		await sleep(CALM_MS)
		/** @type {{ what: string, from: number, until: number }[]} */
		const spans = []
		const span = async (/** @type {string} */ what, /** @type {() => Promise<any>} */ move) => {
			const from = Date.now()
			await move()
			await sleep(CALM_MS)
			spans.push({ what, from, until: Date.now() })
		}
		await span('none', async () => undefined)
		for (let round = 0; round < Number(values.moves); round++) {
			await span('join', async () => {
				workers.push(await join())
				await cluster.members(place.group, 3)
			})
			await span('leave', async () => {
				await workers.shift()?.stop()
				await cluster.members(place.group, 2)
			})
		}
		ending.abort()
		await feeding
		await place.outcomes([...sent.keys()], { timeoutMs: 120_000 })
		return {
			runs: sent.size,
			runsPerSecond: RUNS_PER_SECOND,
			rounds: Number(values.moves),
			pauses: pauses(journal, sent, spans),
		}
	})
}

/** @param {import('../__test__/support/cluster.mjs').Place} place @param {Map<string, number>} sent @param {AbortSignal} signal */
async function feed(place, sent, signal) {
	const began = Date.now()
	while (!signal.aborted) {
		const due = Math.floor(((Date.now() - began) / 1000) * RUNS_PER_SECOND) - sent.size
		const ids = Array.from({ length: due }, (_, at) => `run-${sent.size + at}`)
		for (const id of ids) sent.set(id, Date.now())
		if (due > 0) await place.send(starts(ids))
		await sleep(TURN_MS)
	}
}

/**
 * How long runs stood still, by what went on: from one event of a run to the next, and from its message to its first node. A node
 * that was aborted and runs again elsewhere has begun twice; what counts is that something went on.
 *
 * @param {Journal} journal @param {Map<string, number>} sent @param {{ what: string, from: number, until: number }[]} spans
 */
function pauses(journal, sent, spans) {
	/** @type {Map<string, { at: number, pid?: number }>} the last event of each run */
	const last = new Map([...sent].map(([run, at]) => [run, { at }]))
	/** @type {Record<string, { between: number[], toFirst: number[], moved: number[] }>} */
	const found = {}
	for (const { run, at, pid } of journal.read()) {
		const before = /** @type {{ at: number, pid?: number }} */ (last.get(run))
		last.set(run, { at, pid })
		const during = spans.find(({ from, until: end }) => at >= from && before.at < end)
		if (!during) continue
		const { between, toFirst, moved } = (found[during.what] ??= { between: [], toFirst: [], moved: [] })
		const pause = at - before.at
		if (before.pid === undefined) toFirst.push(pause)
		else between.push(pause)
		if (before.pid !== undefined && before.pid !== pid) moved.push(pause)
	}
	const summary = (/** @type {number[]} */ some) => ({
		count: some.length,
		p50: quantile(some, 0.5),
		p99: quantile(some, 0.99),
		most: quantile(some, 1),
	})
	return Object.fromEntries(
		Object.entries(found).map(([what, { between, toFirst, moved }]) => [
			what,
			{ betweenMs: summary(between), movedMs: summary(moved), toFirstMs: summary(toFirst) },
		]),
	)
}
