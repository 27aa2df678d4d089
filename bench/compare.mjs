/**
 * Side by side with npm's 1.4.4: same services, alternating rounds, separate worker processes, a fresh topic and keyspace for
 * each round. A round counts only when every run of it has the right result, and so do the runs that a worker has before that, which are timed
 * apart: V8 compiles while they run. Where there is Rust, a loop that does only the
 * same writes (limit.rs) runs in each round as well.
 *
 *   node bench/compare.mjs [--rounds 5] [--workloads chain,fan,fan-50ms,steps] [--quick] [--json FILE] [--write]
 *
 * `--quick` takes one short round of each, without first runs and the limit, and fails where a count or a ratio is out of its wide bounds;
 * `--write` writes docs/benchmarks.md, and the raw figures beside it.
 */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startServices } from '../__test__/services/services.mjs'
import {
	finishedOnes,
	insertContext,
	insertContexts,
	makePlace,
	openServices,
	sendStarts,
	serverCounts,
	startReady,
	startWorker,
	verify,
	warmUp,
} from './place.mjs'
import { cpuSince } from './cpu.mjs'
import { goalTable } from './goals.mjs'
import { beyondBounds, document, machine, summary } from './report.mjs'
import { LIMIT, OURS, THEIRS, WORKLOADS } from './workloads.mjs'

const DOCUMENT = new URL('../docs/benchmarks.md', import.meta.url)
const FIGURES = new URL('../docs/benchmarks.json', import.meta.url)

/** Runs of the limit's loop at once: as many as a worker has open. */
const LIMIT_IN_FLIGHT = 256
/** What is run before anything is timed. */
const WARM_UP = 'chain'
const WARM_UP_ROUNDS = 8
/** A quick round has so many times fewer runs. */
const QUICK = 4

const { values } = parseArgs({
	options: {
		rounds: { type: 'string', default: '5' },
		workloads: { type: 'string', default: Object.keys(WORKLOADS).join(',') },
		quick: { type: 'boolean', default: false },
		json: { type: 'string' },
		write: { type: 'boolean', default: false },
	},
})
const rounds = values.quick ? 1 : Number(values.rounds)

const limit = values.quick ? undefined : buildLimit()
const started = await startServices({})
Object.assign(process.env, started.env)
const services = await openServices()

try {
	/** @type {import('./report.mjs').Results} */
	const results = {}
	// Servers on a virtual machine that has compiled nothing yet take three times as long: for both packages, and no user has such.
	for (let round = 0; !values.quick && round < WARM_UP_ROUNDS; round++) await timeRound(OURS, WARM_UP)
	for (const workload of values.workloads.split(',')) {
		results[workload] = await compare(workload)
		console.log(summary(workload, results[workload]))
	}
	const problems = values.quick
		? Object.entries(results).flatMap(([workload, rows]) => beyondBounds(workload, rows))
		: []
	for (const problem of problems) console.error(problem)
	if (problems.length > 0) process.exitCode = 1
	const figures = { machine: machine(), at: new Date().toISOString().slice(0, 10), rounds, results }
	const json = `${JSON.stringify(figures, null, 2)}\n`
	if (values.json) await writeFile(values.json, json)
	if (values.write)
		await Promise.all([writeFile(DOCUMENT, document(figures, goalTable(results))), writeFile(FIGURES, json)])
} finally {
	await services.close()
	await started.stop()
}

/** @returns {string | undefined} the program, where this machine can build it */
function buildLimit() {
	const root = fileURLToPath(new URL('..', import.meta.url))
	const { status } = spawnSync('cargo', ['build', '--release', '--example', 'limit'], { cwd: root, stdio: 'inherit' })
	if (status === 0) return fileURLToPath(new URL('../target/release/examples/limit', import.meta.url))
	console.error('[bench] limit.rs was not built: what the services allow is not measured')
	return undefined
}

/** @param {string} workload */
async function compare(workload) {
	const withLimit = limit && WORKLOADS[workload].limitSteps
	const rows = { [OURS]: [], [THEIRS]: [], ...(withLimit ? { [LIMIT]: [] } : undefined) }
	for (let round = 0; round < rounds; round++) {
		// Alternating, and not always the same one first: the machine's speed drifts.
		const order = round % 2 === 0 ? [THEIRS, OURS] : [OURS, THEIRS]
		if (withLimit) rows[LIMIT].push(await timeLimit(workload))
		for (const packageName of order) rows[packageName].push(await timeRound(packageName, workload))
	}
	return rows
}

/** @param {string} workload @returns {Promise<{ jobsPerSecond: number, cpuMsPerJob: number }>} */
async function timeLimit(workload) {
	const { blueprint, jobs, runs, limitSteps } = WORKLOADS[workload]
	const name = `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`
	await makePlace(services, name)
	const ids = Array.from({ length: runs[OURS] }, () => randomUUID())
	await insertContexts(services, name, ids, blueprint)
	const { line } = await startReady(limit, [
		name,
		name,
		String(ids.length),
		String(limitSteps),
		String(LIMIT_IN_FLIGHT),
	])
	await sendStarts(services, name, ids, blueprint)
	const { seconds, cpuMs } = JSON.parse(await line())
	await finishedOnes(services, name, ids)
	await services.client.execute(`DROP KEYSPACE ${name}`)
	const total = ids.length * jobs
	return { jobsPerSecond: total / seconds, cpuMsPerJob: cpuMs / total }
}

/** @param {string} packageName @param {string} workload @returns {Promise<import('./report.mjs').Row>} */
async function timeRound(packageName, workload) {
	const { blueprint, check } = WORKLOADS[workload]
	const name = `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`
	await makePlace(services, name)
	const plainIdleMb = packageName === OURS && !values.quick ? await memoryFromPlainSettings(name, blueprint) : undefined
	const worker = await startWorker({ packageName, blueprint, keyspace: name, topic: name, applicationName: name })
	const first = randomUUID()
	await insertContext(services, name, first, blueprint)
	const { rssMb: idleMb } = await worker.ask()
	await warmUp(services, name, first, blueprint).catch((error) => {
		throw new Error(`${workload}, ${packageName}: ${error.message}`)
	})
	const { toFirstJobMs } = await worker.ask()
	const passes = []
	for (let pass = 0; pass < (values.quick ? 1 : 2); pass++) {
		const ids = idsOf(packageName, workload)
		passes.push(await timeRuns(worker, { name, workload, ids }))
		await verify(services, name, ids, check)
	}
	await worker.end()
	await services.client.execute(`DROP KEYSPACE ${name}`)
	const { jobsPerSecond, cpuMsPerJob } = passes[0]
	return { ...passes.at(-1), first: { jobsPerSecond, cpuMsPerJob }, idleMb, plainIdleMb, toFirstJobMs }
}

/** @param {string} packageName @param {string} workload */
function idsOf(packageName, workload) {
	const length = Math.ceil(WORKLOADS[workload].runs[packageName] / (values.quick ? QUICK : 1))
	return Array.from({ length }, () => randomUUID())
}

/** Of a worker that waits, megabytes. @param {string} name @param {any} blueprint */
async function memoryFromPlainSettings(name, blueprint) {
	const worker = await startWorker({ packageName: OURS, blueprint, keyspace: name, topic: name, plain: true })
	const { rssMb } = await worker.ask()
	await worker.end()
	return rssMb
}

/**
 * @param {Awaited<ReturnType<typeof startWorker>>} worker
 * @param {{ name: string, workload: string, ids: string[] }} round
 */
async function timeRuns(worker, { name, workload, ids }) {
	const { blueprint, jobs, oneByOne } = WORKLOADS[workload]
	const place = { topic: name, applicationName: name }
	await insertContexts(services, name, ids, blueprint)
	const before = await worker.ask()
	const usedByServers = ['cassandra', 'kafka', 'redis'].map((server) => cpuSince(started[server]?.pid))
	const counted = await serverCounts(services, place)

	const began = performance.now()
	for (const group of oneByOne ? ids.map((id) => [id]) : [ids]) {
		await sendStarts(services, name, group, blueprint)
		await finishedOnes(services, name, group)
	}
	const seconds = (performance.now() - began) / 1000

	const serversMs = usedByServers.reduce((sum, used) => sum + Number(used()), 0)
	const after = await worker.ask()
	const counts = await serverCounts(services, place)
	const total = ids.length * jobs
	return {
		jobsPerSecond: total / seconds,
		cpuMsPerJob: (after.cpuMs - before.cpuMs) / total,
		serversCpuMsPerJob: serversMs / total,
		threadUsPerJob: Object.fromEntries(
			Object.entries(after.threads).map(([kind, us]) => [kind, (us - before.threads[kind]) / total]),
		),
		cqlPerJob: (counts.cql - counted.cql) / total,
		coordinationPerJob: (counts.coordination - counted.coordination) / total,
		producesPerJob: (counts.messages - counted.messages - ids.length) / total,
		rssMb: after.rssMb,
		// Between two runs is the client's time: it looks for an end, and sends the next start.
		...(oneByOne ? { gaps: after.gaps.filter((/** @type {number} */ _, at) => (at + 1) % jobs !== 0) } : undefined),
	}
}
