/**
 * What the state of runs costs: the size of a context in each layout, and the search for stalled runs.
 *
 *   node bench/state.mjs [--rounds 3] [--parts contexts,reconciler] [--write]
 *
 * `--write` writes docs/benchmarks-state.md with its plots; without it the figures are only printed.
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { startServices } from '../__test__/services/services.mjs'
import { measureContexts, SUBJECTS } from './contexts.mjs'
import { openServices } from './place.mjs'
import { plotLines } from './plot.mjs'
import { machine, median, spread, table } from './report.mjs'
import { measureReconciler } from './stalled.mjs'

const docs = (/** @type {string} */ name) => new URL(`../docs/${name}`, import.meta.url)
const KIB = 1024

const { values } = parseArgs({
	options: {
		rounds: { type: 'string', default: '3' },
		parts: { type: 'string', default: 'contexts,reconciler' },
		write: { type: 'boolean', default: false },
	},
})
const rounds = Number(values.rounds)
const parts = values.parts.split(',')

const started = await startServices({})
Object.assign(process.env, started.env)
const services = await openServices()
try {
	const contexts = parts.includes('contexts') ? await measureContexts(services, rounds) : []
	const stalled = parts.includes('reconciler') ? await measureReconciler(services, rounds) : []
	if (values.write) await write(contexts, stalled)
} finally {
	await services.close()
	await started.stop()
}

/**
 * @param {import('./contexts.mjs').ContextRow[]} contexts
 * @param {import('./stalled.mjs').StalledRow[]} stalled
 */
async function write(contexts, stalled) {
	const seriesOf = (/** @type {(row: import('./contexts.mjs').ContextRow) => number} */ value) =>
		SUBJECTS.map(({ name }) => ({
			name,
			points: contexts
				.filter((row) => row.subject === name)
				.map((row) => /** @type {[number, number]} */ ([row.size, value(row)])),
		}))
	const nameSize = (/** @type {number} */ bytes) =>
		bytes < KIB * KIB ? `${bytes / KIB} KiB` : `${bytes / KIB ** 2} MiB`
	const nameBytes = (/** @type {number} */ bytes) =>
		bytes < 1e3 ? `${bytes} B` : bytes < 1e6 ? `${bytes / 1e3} kB` : `${bytes / 1e6} MB`
	const across = { x: "size of the run's context", nameX: nameSize }
	const plots = {
		'benchmarks-context-speed.svg': plotLines({
			title: 'Chain of 10 empty nodes',
			y: 'jobs per second',
			series: seriesOf((row) => median(row.jobsPerSecond)),
			...across,
		}),
		'benchmarks-context-bytes.svg': plotLines({
			title: 'Chain of 10 empty nodes',
			y: 'bytes sent to Cassandra per job',
			series: seriesOf((row) => row.bytesPerJob),
			nameY: nameBytes,
			...across,
		}),
		'benchmarks-reconciler.svg': plotLines({
			title: 'Finding 100 stalled runs',
			y: 'milliseconds',
			x: 'runs that have ended',
			series: [{ name: 'this package', points: stalled.map(({ finished, ms }) => [finished, median(ms)]) }],
		}),
	}
	const contextTable = table(
		['context', 'layout or package', 'runs', 'jobs/s', 'bytes sent to Cassandra per job'],
		contexts.map(({ size, subject, runs, jobsPerSecond, bytesPerJob }) => [
			nameSize(size),
			subject,
			String(runs),
			spread(jobsPerSecond),
			Math.round(bytesPerJob).toLocaleString('en'),
		]),
	)
	const stalledTable = table(
		['runs that have ended', 'ms to find 100 stalled ones'],
		stalled.map(({ finished, ms }) => [finished.toLocaleString('en'), spread(ms)]),
	)
	const page = `# Benchmarks of the state

Written by \`node bench/state.mjs --write\`.

${machine()}; ${new Date().toISOString().slice(0, 10)}. One worker in a process of its own, Kafka, Cassandra and Redis on the same machine, a
fresh topic and keyspace for each round; a round counts only when every run has the right result. Medians of ${rounds} rounds (least-most).

## Size of the context

Chain of 10 empty nodes. The context holds values of 1 KiB that no node touches. All runs wait in the topic when a round begins.

![Jobs per second against the size of the context](benchmarks-context-speed.svg)

![Bytes sent to Cassandra per job against the size of the context](benchmarks-context-bytes.svg)

${contextTable}

\`document\` writes the whole context with each step, and so does 1.4.4, which reads it before as well. \`entries\` writes what the step has
changed. What remains of the size there is the outcome: the status row holds the whole context of a run that has ended, once per run, as 1.4.4's does
(\`payload.context\` and \`payload.serializedContext\`), a tenth of which is counted for each of the 10 jobs.

## Stalled runs

The documented query reads the whole status table (\`ALLOW FILTERING\`); only finding the runs is timed, not the nudges.

![Milliseconds to find 100 stalled runs against the runs that have ended](benchmarks-reconciler.svg)

${stalledTable}
`
	await Promise.all([
		writeFile(docs('benchmarks-state.md'), page),
		...Object.entries(plots).map(([name, svg]) => writeFile(docs(name), svg)),
	])
}
