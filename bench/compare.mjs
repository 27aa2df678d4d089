/**
 * The first side by side with npm's 1.4.4: same services, alternating rounds, separate worker processes, a fresh topic and
 * keyspace for each round. A round counts only when every run of it has the right result.
 *
 *   node bench/compare.mjs [--rounds 5] [--workloads chain,fan,fan-50ms] [--quick] [--json FILE]
 */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import cassandra from 'cassandra-driver'
import { Kafka, logLevel } from 'kafkajs'
import { startServices } from '../__test__/services/services.mjs'
import { WORKLOADS } from './workloads.mjs'

const OURS = '@flowcraft/kafka-adapter'
const THEIRS = 'kafka-adapter-js'
// So many that a round takes seconds, so few that the JavaScript package ends within a minute.
const RUNS = {
	chain: { [OURS]: 1000, [THEIRS]: 60 },
	fan: { [OURS]: 1000, [THEIRS]: 60 },
	'fan-50ms': { [OURS]: 400, [THEIRS]: 12 },
}

const { values } = parseArgs({
	options: {
		rounds: { type: 'string', default: '5' },
		workloads: { type: 'string', default: Object.keys(WORKLOADS).join(',') },
		quick: { type: 'boolean', default: false },
		json: { type: 'string' },
	},
})
const rounds = values.quick ? 1 : Number(values.rounds)

const services = await startServices({})
Object.assign(process.env, services.env)
const kafka = new Kafka({ brokers: process.env.KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING })
const client = new cassandra.Client({
	contactPoints: process.env.CASSANDRA_CONTACT_POINTS.split(','),
	localDataCenter: process.env.CASSANDRA_DATACENTER,
})
const producer = kafka.producer()
const admin = kafka.admin()

try {
	await Promise.all([client.connect(), producer.connect(), admin.connect()])
	const results = {}
	for (const workload of values.workloads.split(',')) results[workload] = await compare(workload)
	if (values.json) await writeFile(values.json, JSON.stringify({ machine: machine(), rounds, results }, null, '\t'))
} finally {
	await Promise.allSettled([client.shutdown(), producer.disconnect(), admin.disconnect()])
	await services.stop()
}

async function compare(workload) {
	const rows = { [OURS]: [], [THEIRS]: [] }
	for (let round = 0; round < rounds; round++) {
		// Alternating, and not always the same one first: the machine's speed drifts.
		const order = round % 2 === 0 ? [THEIRS, OURS] : [OURS, THEIRS]
		for (const packageName of order) rows[packageName].push(await timeRound(packageName, workload))
	}
	const ratios = rows[OURS].map((row, at) => row.jobsPerSecond / rows[THEIRS][at].jobsPerSecond)
	const cpu = rows[THEIRS].map((row, at) => row.cpuMsPerJob / rows[OURS][at].cpuMsPerJob)
	console.log(`\n${workload} (${rounds} rounds, ${machine()})`)
	for (const [name, list] of Object.entries(rows)) {
		console.log(
			`  ${name.padEnd(26)} ${spread(list, 'jobsPerSecond')} jobs/s, ${spread(list, 'cpuMsPerJob')} ms CPU per job`,
		)
	}
	console.log(`  ratio of jobs/s ${describe(ratios)}, of CPU ${describe(cpu)}`)
	const { cqlPerJob, sendsPerJob } = rows[OURS].at(-1)
	console.log(`  ours per job: ${cqlPerJob.toFixed(2)} CQL statements, ${sendsPerJob.toFixed(2)} produces`)
	return { rows, ratios, cpu }
}

async function timeRound(packageName, workload) {
	const { blueprint, jobs, check } = WORKLOADS[workload]
	const runs = RUNS[workload][packageName]
	const name = `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`
	await makePlace(name)
	const worker = await startWorker({ packageName, workload, topic: name, keyspace: name })
	const ids = Array.from({ length: runs }, () => randomUUID())
	await Promise.all(ids.map((id) => insertContext(name, id, blueprint)))
	const before = await worker.ask()
	const began = performance.now()
	await producer.send({ topic: name, messages: ids.map((runId) => message(runId, blueprint)) })
	await finished(name, runs)
	const seconds = (performance.now() - began) / 1000
	const after = await worker.ask()
	await worker.end()
	await verify(name, ids, check)
	await client.execute(`DROP KEYSPACE ${name}`)
	const total = runs * jobs
	const { loads = 0, writes = 0, outcomes = 0, sends = 0 } = after.counters ?? {}
	return {
		jobsPerSecond: total / seconds,
		cpuMsPerJob: (after.cpuMs - before.cpuMs) / total,
		rssMb: after.rssMb,
		cqlPerJob: (loads + writes + outcomes) / total,
		sendsPerJob: sends / total,
	}
}

async function makePlace(name) {
	await admin.createTopics({ topics: [{ topic: name, numPartitions: 4 }] })
	await client.execute(
		`CREATE KEYSPACE ${name} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} AND durable_writes = true`,
	)
	await client.execute(`CREATE TABLE ${name}.contexts (run_id text PRIMARY KEY, context_data text)`)
	await client.execute(
		`CREATE TABLE ${name}.statuses (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)`,
	)
}

// With the version key, without which the JavaScript package drops every job.
function insertContext(keyspace, runId, blueprint) {
	const context = JSON.stringify({ blueprintId: blueprint.id, blueprintVersion: null })
	return client.execute(`INSERT INTO ${keyspace}.contexts (run_id, context_data) VALUES (?, ?)`, [runId, context], {
		prepare: true,
	})
}

function message(runId, blueprint) {
	return { key: runId, value: JSON.stringify({ runId, blueprintId: blueprint.id, nodeId: blueprint.nodes[0].id }) }
}

async function startWorker(options) {
	const child = spawn(
		process.execPath,
		[fileURLToPath(new URL('./worker.mjs', import.meta.url)), JSON.stringify(options)],
		{ stdio: ['pipe', 'pipe', 'inherit'] },
	)
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
	const line = async () => {
		const { value, done } = await lines.next()
		if (done) throw new Error(`the worker of ${options.packageName} ended`)
		return value
	}
	while ((await line()) !== 'ready');
	return {
		async ask() {
			child.stdin.write('\n')
			return JSON.parse(await line())
		},
		async end() {
			child.stdin.end()
			await once(child, 'exit')
		},
	}
}

async function finished(keyspace, runs) {
	const limit = Date.now() + 180_000
	for (;;) {
		const { rows } = await client.execute(
			`SELECT count(*) AS n FROM ${keyspace}.statuses WHERE status = 'completed' ALLOW FILTERING`,
		)
		if (Number(rows[0].n) >= runs) return
		if (Date.now() > limit) throw new Error(`${rows[0].n} of ${runs} runs ended`)
		await new Promise((resolve) => setTimeout(resolve, 50))
	}
}

async function verify(keyspace, ids, check) {
	for (const id of ids) {
		const row = (
			await client.execute(`SELECT status_data FROM ${keyspace}.statuses WHERE run_id = ?`, [id], { prepare: true })
		).first()
		const { status, payload } = JSON.parse(row.status_data)
		if (status !== 'completed' || !check(payload.context))
			throw new Error(`run ${id} has a wrong result: ${row.status_data}`)
	}
}

function spread(rows, key) {
	return describe(rows.map((row) => row[key]))
}

function describe(numbers) {
	const sorted = [...numbers].sort((a, b) => a - b)
	const digits = sorted.at(-1) < 10 ? 2 : 0
	return `${sorted[Math.floor(sorted.length / 2)].toFixed(digits)} (${sorted[0].toFixed(digits)}-${sorted.at(-1).toFixed(digits)})`
}

function machine() {
	return `${cpus().length} cores, Node ${process.version}`
}
