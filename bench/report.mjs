/**
 * What a comparison says, in words and as a page.
 */
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { LIMIT, OURS, THEIRS, WORKLOADS } from './workloads.mjs'

/**
 * One round of one package.
 *
 * @typedef {object} Row
 * @property {number} jobsPerSecond
 * @property {number} cpuMsPerJob of the worker, user and system
 * @property {number} serversCpuMsPerJob of Kafka, Cassandra and Redis; 0 where they were there before
 * @property {Record<string, number>} threadUsPerJob processor time of the worker by kind of thread, microseconds
 * @property {number} cqlPerJob requests of the worker's connections, as Cassandra counts them
 * @property {number} coordinationPerJob commands that Redis counts
 * @property {number} producesPerJob messages on the topic, start messages left out
 * @property {{ jobsPerSecond: number, cpuMsPerJob: number }} first of as many runs before those, the first ones of the worker
 * @property {number} idleMb resident memory before the first job
 * @property {number} [plainIdleMb] the same from plain settings, without the packages of the three clients
 * @property {number} rssMb resident memory at the end
 * @property {number} toFirstJobMs from before the clients are made to the end of the first node body
 * @property {number[]} [gaps] ms from the end of a node body to the beginning of the next one; runs one at a time
 *
 * @typedef {Record<string, Record<string, Row[]>>} Results by workload and package
 * @typedef {{ machine: string, at: string, rounds: number, results: Results }} Figures
 */

const versionOf = (/** @type {string} */ path) =>
	JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version
export const VERSIONS = {
	[OURS]: versionOf('../package.json'),
	[THEIRS]: versionOf('../node_modules/kafka-adapter-js/package.json'),
}

export const machine = () =>
	`${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, ${process.platform} ${process.arch}`

const sorted = (/** @type {number[]} */ numbers) => [...numbers].sort((a, b) => a - b)
/** @param {number[]} numbers @param {number} part from 0 to 1 */
export const quantile = (numbers, part) =>
	sorted(numbers)[Math.min(numbers.length - 1, Math.floor(numbers.length * part))]
export const median = (/** @type {number[]} */ numbers) => quantile(numbers, 0.5)

/** @param {number[]} numbers */
export function spread(numbers) {
	const digits = Math.max(...numbers) < 10 ? 2 : 0
	const [least, most] = [Math.min(...numbers), Math.max(...numbers)].map((number) => number.toFixed(digits))
	return numbers.length === 1 ? least : `${median(numbers).toFixed(digits)} (${least}-${most})`
}

/** @param {Row[]} rows @param {Exclude<keyof Row, 'gaps' | 'threadUsPerJob' | 'first'>} key */
const of = (rows, key) => spread(rows.map((row) => row[key]))

/** Round by round, since the machine's speed drifts. @param {Record<string, Row[]>} rows @param {'jobsPerSecond' | 'cpuMsPerJob'} key */
export function ratios(rows, key) {
	const pairs = rows[OURS].map((row, at) => [row[key], rows[THEIRS][at][key]])
	return pairs.map(([ours, theirs]) => (key === 'jobsPerSecond' ? ours / theirs : theirs / ours))
}

/** The first runs of each worker. @param {Record<string, Row[]>} rows */
const firstOf = (rows) =>
	Object.fromEntries(packages(rows).map(([name, list]) => [name, list.map((row) => ({ ...row, ...row.first }))]))

/** The rows of the packages. @param {Record<string, Row[]>} rows */
const packages = (rows) => Object.entries(rows).filter(([name]) => name !== LIMIT)

/** Our share of what the services allow, round by round; nothing where that was not measured. @param {Record<string, Row[]>} rows */
export const shares = (rows) =>
	(rows[LIMIT] ?? []).map((limit, at) => rows[OURS][at].jobsPerSecond / limit.jobsPerSecond)

/**
 * What a quick round finds wrong. Counts are exact whatever the machine does; a ratio is of one short round.
 *
 * @param {string} workload
 * @param {Record<string, Row[]>} rows
 * @returns {string[]}
 */
export function beyondBounds(workload, rows) {
	const { ratio, cqlPerJob } = WORKLOADS[workload].bounds
	const row = rows[OURS][0]
	const most = { cqlPerJob, coordinationPerJob: 0.5, producesPerJob: 1.1 }
	const counts = Object.entries(most)
		.filter(([key, bound]) => row[key] > bound)
		.map(([key, bound]) => `${workload}: ${key} is ${row[key].toFixed(2)}, expected at most ${bound}`)
	const [found] = ratios(rows, 'jobsPerSecond')
	return found < ratio
		? [...counts, `${workload}: ${found.toFixed(1)} times the jobs/s of 1.4.4, expected ${ratio}`]
		: counts
}

/** @param {string} workload @param {Record<string, Row[]>} rows */
export function summary(workload, rows) {
	const lines = packages(rows).map(
		([name, list]) =>
			`  ${name.padEnd(26)} ${of(list, 'jobsPerSecond')} jobs/s; per job ${of(list, 'cpuMsPerJob')} ms CPU, ` +
			`${of(list, 'cqlPerJob')} CQL, ${of(list, 'coordinationPerJob')} coordination, ${of(list, 'producesPerJob')} produces; ` +
			`${of(list, 'rssMb')} MB`,
	)
	const limit = rows[LIMIT]
		? [
				`  ${'only the writes'.padEnd(26)} ${of(rows[LIMIT], 'jobsPerSecond')} jobs/s; our share ${spread(shares(rows))}`,
			]
		: []
	const faster = `  ratio of jobs/s ${spread(ratios(rows, 'jobsPerSecond'))}, of CPU ${spread(ratios(rows, 'cpuMsPerJob'))}`
	return [`\n${workload}: ${WORKLOADS[workload].title}`, ...lines, ...limit, faster, ...gapLines(rows, '  ')].join('\n')
}

/** @param {Record<string, Row[]>} rows @param {string} indent */
function gapLines(rows, indent) {
	return Object.entries(rows).flatMap(([name, list]) => {
		const gaps = list.flatMap((row) => row.gaps ?? [])
		if (gaps.length === 0) return []
		const [p50, p99] = [0.5, 0.99].map((part) => quantile(gaps, part).toFixed(1))
		return [
			`${indent}${name}: from a node's end to its successor's start p50 ${p50} ms, p99 ${p99} ms (${gaps.length} steps)`,
		]
	})
}

export const table = (/** @type {string[]} */ head, /** @type {string[][]} */ rows) =>
	[head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

/** What a job takes of the machine, by whom. @param {Row[]} rows */
function boundsOf(rows) {
	const us = (/** @type {string} */ kind) => median(rows.map(({ threadUsPerJob }) => threadUsPerJob[kind]))
	const servers = 1000 * median(rows.map((row) => row.serversCpuMsPerJob))
	const parts = [us('js'), us('v8'), us('engine'), us('kafka'), servers]
	const together = parts.reduce((sum, part) => sum + part, 0)
	const busy = (together * median(rows.map((row) => row.jobsPerSecond))) / 1e6
	return [
		...[...parts, together].map((part) => part.toFixed(0)),
		busy.toFixed(2),
		((cpus().length * 1e6) / together).toFixed(0),
	]
}

/** Of docs/benchmarks.md. @param {Figures} figures @param {string} goals a table */
export function document({ machine: where, at, rounds, results }, goals) {
	const names = { [OURS]: `this package ${VERSIONS[OURS]}`, [THEIRS]: `npm's ${VERSIONS[THEIRS]}` }
	const throughput = Object.entries(results).flatMap(([workload, rows]) =>
		packages(rows).map(([name, list]) => [
			WORKLOADS[workload].title,
			names[name],
			of(list, 'jobsPerSecond'),
			of(list, 'cpuMsPerJob'),
			of(list, 'serversCpuMsPerJob'),
			of(list, 'cqlPerJob'),
			of(list, 'coordinationPerJob'),
			of(list, 'producesPerJob'),
			of(list, 'rssMb'),
		]),
	)
	const ratioRows = Object.entries(results).map(([workload, rows]) => [
		WORKLOADS[workload].title,
		spread(ratios(rows, 'jobsPerSecond')),
		spread(ratios(rows, 'cpuMsPerJob')),
	])
	const firstRows = Object.entries(results).map(([workload, rows]) => {
		const first = firstOf(rows)
		return [
			WORKLOADS[workload].title,
			of(first[OURS], 'jobsPerSecond'),
			of(first[THEIRS], 'jobsPerSecond'),
			spread(ratios(first, 'jobsPerSecond')),
			of(first[OURS], 'cpuMsPerJob'),
			of(first[THEIRS], 'cpuMsPerJob'),
		]
	})
	const limits = Object.entries(results).flatMap(([workload, rows]) =>
		rows[LIMIT]
			? [
					[
						WORKLOADS[workload].title,
						of(rows[LIMIT], 'jobsPerSecond'),
						of(rows[LIMIT], 'cpuMsPerJob'),
						spread(shares(rows)),
					],
				]
			: [],
	)
	const bounds = Object.entries(results).flatMap(([workload, { [OURS]: rows }]) =>
		WORKLOADS[workload].oneByOne ? [] : [[WORKLOADS[workload].title, ...boundsOf(rows)]],
	)
	const all = Object.values(results)
	const single = [OURS, THEIRS].map((name) => {
		const rows = all.flatMap((some) => some[name])
		const plain = rows.filter((row) => row.plainIdleMb !== undefined)
		return [names[name], of(rows, 'toFirstJobMs'), of(rows, 'idleMb'), plain.length > 0 ? of(plain, 'plainIdleMb') : '']
	})
	const latency = all.flatMap((rows) => gapLines(rows, '- '))
	return `# Benchmarks

Written by \`npm run bench -- --write\`; the raw figures are in [benchmarks.json](benchmarks.json).

${where}; ${at}. One worker of each package in a process of its own, in turn, on the same Kafka, Cassandra and Redis on the same
machine, each round with a fresh topic of 4 partitions and a fresh keyspace with the documented tables. A round counts only when every
run has the right result. Of the workloads of empty nodes 200 runs of 1.4.4 and 3,000 of ours are sent at once. The servers have worked before, for this package; each worker has done
as many runs before those that are timed, and these first ones stand apart below. Medians of ${rounds} rounds (least-most). Absolute figures are those of this machine, with the three servers and the
client on it; the ratios say more.

## The goals

${goals}

The rest of them is measured apart: what the size of a context and the search for stalled runs cost (F6, F11) in
[benchmarks-state.md](benchmarks-state.md), the bridge without stores (F9) in [benchmarks-limits.md](benchmarks-limits.md), and the memory of runs (F10) in
\`__test__/e2e/memory.test.mjs\`.

## Throughput

${table(['workload', 'package', 'jobs/s', 'CPU ms per job', "servers' CPU ms per job", 'CQL per job', 'coordination per job', 'produces per job', 'MB at the end'], throughput)}

CPU is that of the worker process. CQL requests, coordination commands and messages are counted by the servers, start messages left out;
preparing statements is in it.

## Ratios, round by round

${table(['workload', 'jobs/s, times as many', 'CPU per job, times as little'], ratioRows)}

## A worker's first runs

${table(['workload', 'jobs/s, this package', 'jobs/s, 1.4.4', 'times as many', 'CPU ms per job, this package', 'CPU ms per job, 1.4.4'], firstRows)}

As many runs as above, right after the start: V8 compiles the hot code of a worker meanwhile.

## Share of the possible

${limits.length > 0 ? table(['workload', 'jobs/s of a loop that does only the writes', 'its CPU ms per job', 'our share'], limits) : 'Not measured.'}

The loop (\`bench/limit.rs\`) consumes the same start messages, reads each run's row, writes it once per step, one step after the
other, publishes the status and commits; no blueprint, no node, no JavaScript, and nothing that keeps order or finds a repeat.

## What bounds it

${table(['this package', 'JavaScript thread', "V8's helpers", 'engine', 'librdkafka', 'servers', 'together', 'processors that were busy', 'jobs/s that all of them would do'], bounds)}

Microseconds of processor per job, medians, of this machine's ${cpus().length} processors. *JavaScript thread*: Flowcraft's own logic, the session around it and the
nodes; *V8's helpers* collect garbage and compile; *engine*: the native side with its clients of Cassandra and Redis. 1.4.4 does one job at a time and
waits for one answer after the other, so that faster servers make its jobs faster; this package keeps the machine busy, and more jobs take more
processors, whatever the servers' delay. So the ratio of jobs per second (F1, F2) sets what the machine can do against the sum of 1.4.4's delays, and the share
of the loop (F1), which runs no JavaScript, is bounded by what Flowcraft and the session take.

Processors that are not busy wait in step: runs that were written together go on together, so that the JavaScript thread computes up to 256 steps while Cassandra waits for
them. Parts of a turn go ahead after 128 steps (decision 67); smaller ones fill the gap further, and each step costs as much more. Cassandra's processor time is mostly its threads' waiting
for work: steps of several runs share a request (decision 71), which took a sixth off it; the loop above, which leaves it no pause, takes 25 us per write of it, this package about 80, 1.4.4 with its
2,000 requests a second about 300. Also tried and left: another allocator for the engine (decision 67); one thread for the engine instead of two (fewer jobs/s); a linger of 5 ms (fewer
requests for Kafka, no more jobs/s once its code is compiled, too).

Workers hold the three client objects, ours its native clients beside them; one from plain settings (F10) has the latter only.

## Latency

${latency.join('\n') || 'Not measured.'}

## Start and memory

${table(['package', 'ms from making the clients to the end of the first node', 'MB of a worker that waits, with the three client objects', 'MB from plain settings'], single)}
`
}
