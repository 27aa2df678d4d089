/**
 * The figures that this package is to reach beside 1.4.4, and what a comparison says of them.
 */
import { median, quantile, ratios, shares, table } from './report.mjs'
import { OURS, THEIRS } from './workloads.mjs'

/** What a node of the workload `steps` takes by itself, milliseconds. */
const STEP_MS = 10

/**
 * @typedef {object} Goal
 * @property {string} figure
 * @property {string} what
 * @property {string} [workload] whose rows tell; what workers take before they have work, all rows tell
 * @property {(rows: Record<string, import('./report.mjs').Row[]>) => number} found
 * @property {number} goal
 * @property {number} [floor] what has to be, where the goal is not reached
 * @property {'least' | 'most'} bound whether the goal is the least or the most that is right
 * @property {string} [unit]
 */

/** @param {keyof import('./report.mjs').Row} key @param {string} [name] @returns {Goal['found']} */
const medianOf =
	(key, name = OURS) =>
	(rows) =>
		median(rows[name].map((row) => Number(row[key])))
const gaps = (/** @type {Record<string, import('./report.mjs').Row[]>} */ rows) =>
	rows[OURS].flatMap((row) => row.gaps ?? [])

/** @type {Goal[]} */
const GOALS = [
	...[
		{ figure: 'F1', workload: 'chain', goal: 60, floor: 40 },
		{ figure: 'F2', workload: 'fan', goal: 60, floor: 40 },
		{ figure: 'F3', workload: 'fan-50ms', goal: 100, floor: 70 },
	].map((parts) => ({
		...parts,
		what: `jobs/s, ${parts.workload}, times those of 1.4.4`,
		bound: /** @type {const} */ ('least'),
		found: (/** @type {any} */ rows) => median(ratios(rows, 'jobsPerSecond')),
	})),
	{
		figure: 'F1',
		workload: 'chain',
		what: 'jobs/s, chain, share of a loop that does only the writes',
		goal: 0.7,
		bound: 'least',
		found: (rows) => median(shares(rows)),
	},
	...['chain', 'fan', 'fan-50ms'].map((workload) => ({
		figure: 'F4',
		workload,
		what: `worker's CPU per job, ${workload}, times less than 1.4.4`,
		goal: 25,
		floor: 15,
		bound: /** @type {const} */ ('least'),
		found: (/** @type {any} */ rows) => median(ratios(rows, 'cpuMsPerJob')),
	})),
	...['chain', 'fan'].flatMap((workload) =>
		[
			{ what: 'CQL', goal: 1.3, key: /** @type {const} */ ('cqlPerJob') },
			{ what: 'coordination commands', goal: 0.3, key: /** @type {const} */ ('coordinationPerJob') },
			{ what: 'produces', goal: 1, key: /** @type {const} */ ('producesPerJob') },
		].map(({ what, goal, key }) => ({
			figure: 'F5',
			workload,
			what: `${what} per job, ${workload}`,
			goal,
			bound: /** @type {const} */ ('most'),
			found: medianOf(key),
		})),
	),
	{
		figure: 'F7',
		workload: 'steps',
		what: "a node's end to its successor's start, p50",
		unit: 'ms',
		goal: 2,
		bound: 'most',
		found: (rows) => quantile(gaps(rows), 0.5),
	},
	{
		figure: 'F7',
		workload: 'steps',
		what: 'the same, p99',
		unit: 'ms',
		goal: 10,
		bound: 'most',
		found: (rows) => quantile(gaps(rows), 0.99),
	},
	{
		figure: 'F8',
		workload: 'steps',
		what: "overhead per step of a chain of 40, the run's start and end included",
		unit: 'ms',
		goal: 5,
		bound: 'most',
		found: (rows) => 1000 / medianOf('jobsPerSecond')(rows) - STEP_MS,
	},
	{
		figure: 'F10',
		what: 'memory of a worker from plain settings that waits, times that of 1.4.4',
		goal: 1,
		bound: 'most',
		found: (rows) => medianOf('plainIdleMb')(rows) / medianOf('idleMb', THEIRS)(rows),
	},
	{
		figure: 'F12',
		workload: 'chain',
		what: 'from making the clients to the end of the first node',
		unit: 'ms',
		goal: 1500,
		bound: 'most',
		found: medianOf('toFirstJobMs'),
	},
]

/** @param {Goal} goal @param {number} found */
function verdict({ goal, floor, bound }, found) {
	const reaches = (/** @type {number} */ wanted) => (bound === 'least' ? found >= wanted : found <= wanted)
	if (reaches(goal)) return 'met'
	const by = `${Math.round(100 * Math.abs(found / goal - 1))} %`
	if (floor === undefined) return `**missed** by ${by}`
	return reaches(floor) ? `above the floor, missed by ${by}` : '**below the floor**'
}

const digits = (/** @type {number} */ number) => number.toFixed(number < 10 ? 2 : 0)

/** As a table, of the workloads that were measured. @param {import('./report.mjs').Results} results */
export function goalTable(results) {
	const all = Object.fromEntries(
		[OURS, THEIRS].map((name) => [name, Object.values(results).flatMap((rows) => rows[name])]),
	)
	const rows = GOALS.filter(({ workload }) => !workload || results[workload]).flatMap((one) => {
		const { figure, what, workload, goal, floor, bound, unit = '', found } = one
		const value = found(workload ? results[workload] : all)
		const wanted = `${bound === 'least' ? 'at least' : 'at most'} ${goal} ${unit}`
		const least = floor === undefined ? '' : `, floor ${floor}`
		// Without the loop there is no share of it.
		if (!(value >= 0)) return []
		return [[figure, what, wanted.trim() + least, `${digits(value)} ${unit}`.trim(), verdict(one, value)]]
	})
	return table(['', 'figure, median', 'goal', 'found', ''], rows)
}
