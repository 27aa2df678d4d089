/**
 * What the benchmark of the state says, as a page with plots: all of it made from the raw figures.
 */
import { KIB, SUBJECTS } from './contexts.mjs'
import { plotLines } from './plot.mjs'
import { median, spread, table } from './report.mjs'
import { SEARCHES } from './stalled.mjs'
import { OURS, THEIRS } from './workloads.mjs'

export const FIGURES = 'benchmarks-state.json'
const GOAL = 0.9
/** Above this somebody else was at work. */
const SHARED_LOAD = 0.5
const [ENTRIES, DOCUMENT, NPM] = SUBJECTS.map(({ name }) => name)

/**
 * @template T
 * @typedef {{ machine: string, versions: Record<string, string>, at: string, rounds: number, loadBefore: number, rows: T[] }} Part
 *
 * @typedef {object} Figures
 * @property {Part<import('./contexts.mjs').ContextRow>} contexts
 * @property {Part<import('./contexts.mjs').LengthRow>} lengths
 * @property {Part<import('./costs.mjs').CostRow>} costs
 * @property {Part<import('./stalled.mjs').StalledRow>} stalled
 */

/** @param {Figures} figures @returns {Record<string, string>} by the names of the files */
export const pages = (figures) => ({
	'benchmarks-state.md': page(figures),
	'benchmarks-state-speed.svg': plotLines({
		title: 'Chain of 10 empty nodes',
		y: 'jobs per second',
		x: "size of the run's context",
		nameX: nameSize,
		series: bySubject(figures, ({ speeds }) => withRange(of(speeds, 'jobsPerSecond'))),
	}),
	'benchmarks-state-bytes.svg': plotLines({
		title: 'Chain of 10 empty nodes',
		y: 'bytes sent to Cassandra per step',
		x: "size of the run's context",
		nameX: nameSize,
		nameY: nameBytes,
		series: bySubject(figures, ({ bytes }) => ({ y: bytes.sentPerStep })),
	}),
	'benchmarks-state-stalled.svg': plotLines({
		title: 'Finding 100 stalled runs',
		y: 'milliseconds',
		x: 'runs that have ended',
		nameX: number,
		nameY: number,
		series: Object.values(SEARCHES).map((name) => ({
			name,
			points: figures.stalled.rows.map(({ finished, searches }) => ({ x: finished, ...withRange(searches[name].ms) })),
		})),
	}),
})

/**
 * @param {Figures} figures
 * @param {(row: import('./contexts.mjs').ContextRow) => { y: number }} value
 */
const bySubject = ({ contexts }, value) =>
	SUBJECTS.map(({ name }) => ({
		name,
		points: contexts.rows.filter(({ subject }) => subject === name).map((row) => ({ x: row.size, ...value(row) })),
	}))

/** @param {number[]} values */
const withRange = (values) => ({ y: median(values), least: Math.min(...values), most: Math.max(...values) })

const number = (/** @type {number} */ value) => value.toLocaleString('en')
const nameSize = (/** @type {number} */ bytes) => (bytes < KIB * KIB ? `${bytes / KIB} KiB` : `${bytes / KIB ** 2} MiB`)
const nameBytes = (/** @type {number} */ bytes) =>
	bytes < 1e3 ? `${bytes} B` : bytes < 1e6 ? `${bytes / 1e3} kB` : `${bytes / 1e6} MB`
const percent = (/** @type {number} */ part) => `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`

/** @param {import('./contexts.mjs').Speed[]} speeds @param {keyof import('./contexts.mjs').Speed} key */
const of = (speeds, key) => speeds.map((speed) => Number(speed[key]))

/** Of rounds that were measured, or nothing. @param {(number | null)[]} values */
const measured = (values) => (values.includes(null) ? '' : spread(values.map(Number)))

/** Of searches so short that one takes few ticks of the processor's clock. @param {(number | null)[]} values */
const mean = (values) =>
	values.includes(null) ? '' : (values.map(Number).reduce((sum, value) => sum + value, 0) / values.length).toFixed(0)

/** Jobs per second of the second ones by those of the first, round by round: the machine's speed drifts. @param {import('./contexts.mjs').Speed[]} some @param {import('./contexts.mjs').Speed[]} others */
const ratios = (some, others) => others.map(({ jobsPerSecond }, at) => jobsPerSecond / some[at].jobsPerSecond)

/** @param {Part<unknown>} part */
const where = ({ machine, at, rounds, loadBefore }) =>
	`${machine}; ${at}; ${rounds} ${rounds === 1 ? 'round' : 'rounds'}. ${
		loadBefore > SHARED_LOAD ? 'The machine was shared with other work' : 'The machine was quiet'
	}: load average ${loadBefore.toFixed(1)} before the services were started.`

/** @param {Figures} figures */
function contextRows({ contexts }) {
	return contexts.rows.map(({ size, subject, runs, speeds, bytes }) => {
		const theirs = contexts.rows.find((row) => row.size === size && row.subject === NPM)
		return [
			nameSize(size),
			subject,
			number(runs),
			spread(of(speeds, 'jobsPerSecond')),
			subject === NPM || !theirs ? '' : spread(ratios(theirs.speeds, speeds)),
			spread(of(speeds, 'cpuMsPerJob')),
			measured(speeds.map(({ cassandraCpuMsPerJob: ms }) => ms)),
			...[bytes.sentPerStep, bytes.readPerStep, bytes.outcome].map((count) => number(Math.round(count))),
		]
	})
}

/** @param {import('./contexts.mjs').LengthRow} row */
const lengthRows = ({ length, small, large }) =>
	[
		{ size: KIB, speeds: small, share: '' },
		{ size: KIB * KIB, speeds: large, share: spread(ratios(small, large)) },
	].map(({ size, speeds, share }) => [
		`${length} nodes`,
		nameSize(size),
		spread(of(speeds, 'jobsPerSecond')),
		share,
		spread(of(speeds, 'cpuMsPerJob').map((ms) => ms * length)),
		measured(speeds.map(({ cassandraCpuMsPerJob: ms }) => ms && ms * length)),
	])

/** @param {Figures} figures @param {string} name the share that is left with 1 MiB */
function shareOf({ contexts }, name) {
	const [small, large] = [KIB, KIB * KIB].map((size) =>
		contexts.rows.find((row) => row.size === size && row.subject === name),
	)
	return small && large ? percent(median(ratios(small.speeds, large.speeds))) : 'not measured'
}

/** @param {Figures} figures */
function verdict({ lengths: { rows } }) {
	const shares = rows.map(({ length, small, large }) => ({ length, share: median(ratios(small, large)) }))
	const words = shares.map(({ length, share }) => `${percent(share)} with chains of ${length} nodes`).join(', ')
	const isReached = shares.every(({ share }) => share >= GOAL)
	return `The goal (F6) is ${percent(GOAL)} of the jobs per second with 1 KiB. It is ${isReached ? 'reached' : 'missed'}: ${words}.`
}

/** @param {Figures} figures */
function page(figures) {
	const { contexts, lengths, costs, stalled } = figures
	return `# Benchmarks of the state

Written by \`npm run bench:state -- --write\`, plots included; the raw figures are in [${FIGURES}](${FIGURES}). This package
${contexts.versions[OURS]} against npm's ${contexts.versions[THEIRS]}, in turn: one worker in a process of its own, Kafka, Cassandra and Redis
on the same machine, a fresh topic and keyspace with the documented tables for each round. A round counts only when every run has the right result, all values of
its context included. Medians (least-most); ratios are taken round by round. Absolute figures are those of the machine; the ratios say more.

## Size of the context

${where(contexts)}

A run is a chain of 10 empty nodes over a context of values of 1 KiB each, which no node touches; all runs of a round wait on the topic when it begins.

![Jobs per second against the size of the context](benchmarks-state-speed.svg)

![Bytes sent to Cassandra per step against the size of the context](benchmarks-state-bytes.svg)

${table(
	[
		'context',
		'layout, or package',
		'runs',
		'jobs/s',
		"times 1.4.4's",
		'CPU ms per job',
		"Cassandra's CPU ms per job",
		'bytes sent per step',
		'bytes read per step',
		'bytes of the outcome, per run',
	],
	contextRows(figures),
)}

**Bytes** are those on the worker's connections to Cassandra, counted by a relay (\`__test__/support/fault-proxy.mjs\`) in rounds of their own, from
the first start message to the last outcome: keep-alives, reads and status rows are in it, preparing statements is not. The relay knows
nothing of the package behind it, and what it has counted is held against what is stored. *Outcome* is the text of the status row, once
per run; *per step* is all else that is sent, divided by the jobs.

**\`entries\`** sends what a step has changed and the checkpoint, whatever the size. **\`document\`** sends the whole context with each
step, as its table asks for. **1.4.4** does that twice per job, and reads the whole context for each value that it needs; it does one job at a time.

All three publish the outcome as 1.4.4 does, with the whole context in it twice (\`payload.context\` and \`payload.serializedContext\`): clients
read it there. So a run of any layout reads its context once and sends it twice more at its end, however few steps it has.

## 1 MiB against 1 KiB

${where(lengths)}

${table(
	['`entries`, chain of', 'context', 'jobs/s', 'share', 'CPU ms per run', "Cassandra's CPU ms per run"],
	lengths.rows.flatMap(lengthRows),
)}

${verdict(figures)} In the table above the share of a chain of 10 is ${shareOf(figures, ENTRIES)} in \`entries\`, ${shareOf(figures, DOCUMENT)} in \`document\`
and ${shareOf(figures, NPM)} with 1.4.4, whose jobs take so long anyway that the context adds less to them.

**What bounds it** is not the step, whose bytes do not depend on the context, but what each run does once: its context is read when it is
opened, and sent twice with the outcome. Cassandra's own cost of these, asked by the driver of npm with nothing else under way:

${table(
	['statement', 'context', 'ms', "Cassandra's CPU ms"],
	costs.rows.map(({ what, size, ms, cpuMs }) => [what, nameSize(size), spread(ms), measured(cpuMs)]),
)}

Writing 3 MiB per run (the context itself was written before the round) also means flushing and merging files, which falls into the time of a
round, too. The worker's part is copying: reading rows, checking that each is JSON, and putting the payload together. Its JavaScript thread,
in a profile of such a round, is idle for most of the time; what it does is to write checkpoints, which are as long with 1 KiB. Clients of
1.4.4 read the context from the outcome, so it stays there.

## Stalled runs

${where(stalled)}

![Milliseconds to find 100 stalled runs against the runs that have ended](benchmarks-state-stalled.svg)

${table(
	['runs that have ended', 'search', 'ms', "Cassandra's CPU ms"],
	stalled.rows.flatMap(({ finished, searches }) =>
		Object.entries(searches).map(([name, { ms, cassandraCpuMs }]) => [
			number(finished),
			name,
			spread(ms),
			mean(cassandraCpuMs),
		]),
	),
)}

100 runs of a worker that was killed, among rows of ended runs with results of 1 kB. \`run()\` of a reconciler is timed without the nudges, whose
cost does not depend on the runs that have ended. **Index**: the table \`<statusTable>_running\` of \`ensureSchema\`; the full search, which
comes once an hour beside it (\`fullSearchEverySeconds\`), costs what the query costs and is left out. It asks for 64 places in each ten minutes of the last hour that may have rows, and then for the status of each run that
it finds, one read each, so it grows with those (F11), and among few ended runs it takes longer than reading all of them at once.
**Query**: both packages send the documented one (\`ALLOW FILTERING\`), which reads the whole table on the servers.
`
}
