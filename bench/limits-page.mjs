/**
 * docs/benchmarks-limits.md: what micro.mjs, overload.mjs and scale.mjs have measured, each in a section of its own.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { machine, table } from './report.mjs'

const PAGE = new URL('../docs/benchmarks-limits.md', import.meta.url)
const FIGURES = new URL('../docs/benchmarks-limits.json', import.meta.url)

/** Keeps the figures of one program, and writes the page of all. @param {'micro' | 'overload' | 'scale'} section @param {any} figures */
export function writeSection(section, figures) {
	const kept = existsSync(FIGURES) ? JSON.parse(readFileSync(FIGURES, 'utf8')) : {}
	kept[section] = { machine: machine(), at: new Date().toISOString().slice(0, 10), ...figures }
	writeFileSync(FIGURES, `${JSON.stringify(kept, null, 2)}\n`)
	writeFileSync(PAGE, page(kept))
}

/** @param {any} of a section that was measured */
const where = ({ machine: name, at }) => `${name}; ${at}.`
const met = (/** @type {boolean} */ yes) => (yes ? 'met' : '**not met**')
const ms = (/** @type {number} */ time) => (time < 10_000 ? `${time.toFixed(0)} ms` : `${(time / 1000).toFixed(1)} s`)

/** @param {Record<string, any>} sections */
export const page = ({ micro, overload, scale }) =>
	[
		`# Limits

Written by \`npm run bench:micro\`, \`node bench/overload.mjs\` and \`node bench/scale.mjs\`, each with \`--write\`; the raw figures are in
[benchmarks-limits.json](benchmarks-limits.json).`,
		micro && microText(micro),
		overload && overloadText(overload),
		scale && scaleText(scale),
	]
		.filter(Boolean)
		.join('\n\n')
		.concat('\n')

/** @param {number} ns */
const span = (ns) =>
	ns < 1000 ? `${ns.toFixed(0)} ns` : ns < 1e6 ? `${(ns / 1000).toFixed(1)} us` : `${(ns / 1e6).toFixed(1)} ms`

/** @param {any} micro */
function microText(micro) {
	const { kernel, times, allocations } = micro
	const sum = (/** @type {Record<string, number>} */ threads) =>
		Object.values(threads).reduce((all, one) => all + one, 0)
	const row = (/** @type {string} */ name, /** @type {'whole' | 'bridge'} */ key) => [
		name,
		...[times[key].js, times[key].engine, times[key].v8, sum(times[key])].map((us) => us.toFixed(1)),
		allocations[key].bytes.toFixed(0),
	]
	const { callsOfJavaScript, eventsInThem, callsOfRust } = times.crossings
	return `## A job without services

${where(micro)} Chains of ten empty nodes on the embedded backend, ${times.runs} runs. Processor time by thread, microseconds per job:

${table(
	['', 'JavaScript thread', 'threads of the engine', "V8's own", 'together', 'bytes allocated in V8'],
	[row('the whole worker', 'whole'), row('the same crossings, without sessions and Flowcraft', 'bridge')],
)}

The second row is a worker whose events are answered at once with what a session answered in a recording: ${times.payloadBytes.toFixed(0)} bytes per job. So it has
the bridge, the engine and the in-process stores, and nothing of the graph. Per job there are ${callsOfRust.toFixed(2)} calls of Rust, and
${eventsInThem.toFixed(2)} events in ${callsOfJavaScript.toFixed(2)} calls of JavaScript. Allocations are the growth of the heap in a young generation that is too large to be collected.

F9, bridge per job without stores: at most 5 us. On the JavaScript thread it costs ${times.bridge.js.toFixed(1)} us: ${met(times.bridge.js <= 5)}${
		times.bridge.js <= 5
			? ''
			: '. What bounds it is the wake-up of the JavaScript thread, once in each call of JavaScript'
	}.

## The kernel

Processor time of one thread, medians (\`bench/kernel.rs\`).

${table(
	['', 'per element'],
	kernel.map((/** @type {{ name: string, ns: number }} */ { name, ns }) => [name, span(ns)]),
)}`
}

/** @param {any} overload */
function overloadText(overload) {
	const { runs, partitions, nodes, seconds, jobsPerSecond, memory, peakMb, fairness, late, alone, counts } = overload
	const { displacedFirst, displacedLast, spanMs } = fairness
	const isWithin = counts.cqlPerJob <= 1.3 && counts.coordinationPerJob <= 0.3 && counts.producesPerJob <= 1
	return `## Overload

${where(overload)} ${runs} start messages of chains of ${nodes} empty nodes lie on a topic of ${partitions} partitions before the only worker comes. It needed
${seconds.toFixed(0)} s (${jobsPerSecond.toFixed(0)} jobs/s).

**Memory** of the worker, by the part of the runs that have ended; ${peakMb} MB at most:

${table(
	memory.map((/** @type {{ part: number }} */ { part }) => `${Math.round(part * 100)} %`),
	[memory.map((/** @type {{ mb: number }} */ { mb }) => `${mb} MB`)],
)}

**Fair** is first come, first served, with 256 runs in work at once: against the order of its messages on their partition no run began more than
${displacedFirst} places off, and none ended more than ${displacedLast} places off. From a run's first node to the end of its last one: p50 ${ms(spanMs.p50)}, p99 ${ms(spanMs.p99)}, most ${ms(spanMs.most)}.

**A new run** comes after what lies before it on its partition: one that was sent with ${late.behind} runs before it began after ${ms(late.toFirstNodeMs)} and ended
after ${ms(late.toEndMs)}; with nothing before it, after ${ms(alone.toFirstNodeMs)} and ${ms(alone.toEndMs)}. More workers are what helps.

**Counts** with ${counts.runs} starts of chains of ten waiting, per job: ${counts.cqlPerJob.toFixed(2)} CQL (F5: 1.3), ${counts.coordinationPerJob.toFixed(2)} coordination (0.3), ${counts.producesPerJob.toFixed(2)} produces (1): ${met(isWithin)}.
Counted at the servers, from before the worker starts; ${counts.jobsPerSecond.toFixed(0)} jobs/s.

A store that is away while 20,000 runs come: intake pauses and memory stays, in \`__test__/e2e/memory.test.mjs\`.`
}

/** @param {any} scale */
function scaleText(section) {
	const { scale, moves, nodeMs, nodesAtOnce, partitions } = section
	const rows = scale.map((/** @type {any} */ row, /** @type {number} */ at) => [
		row.workers,
		row.jobsPerSecond.toFixed(0),
		at === 0 ? '' : (row.jobsPerSecond / scale[at - 1].jobsPerSecond).toFixed(2),
		`${((100 * row.jobsPerSecond) / row.possible).toFixed(0)} %`,
		`${(100 * row.machineBusy).toFixed(0)} %`,
	])
	const pauses = Object.entries(moves.pauses).map(([what, { betweenMs, toFirstMs }]) => [
		{ none: 'nothing', join: 'a worker joins', leave: 'a worker leaves in order' }[what],
		...[betweenMs.p50, betweenMs.p99, betweenMs.most, toFirstMs.most].map(ms),
	])
	const most = Math.max(...Object.values(moves.pauses).map(({ betweenMs }) => betweenMs.most))
	return `## More workers

${where(section)} Chains of nodes of ${nodeMs} ms, ${nodesAtOnce} nodes at once per worker (\`maxConcurrentJobs\`), ${partitions} partitions; services and workers share the machine.

${table(['workers', 'jobs/s', 'times as many as before', `of what nodes of ${nodeMs} ms allow`, 'machine busy'], rows)}

While ${moves.runsPerSecond} runs per second begin, a third worker joins and the first one leaves in order, ${moves.rounds} times. How long runs stood still, from one
event of a run to the next (a node takes ${nodeMs} ms), and from its message to its first node:

${table(['meanwhile', 'p50', 'p99', 'most', 'most, to the first node'], pauses)}

No run may stand still for 3 s: ${met(most < 3000)}. With \`groupInstanceId\` a restart within the session timeout moves no partition at all.`
}
