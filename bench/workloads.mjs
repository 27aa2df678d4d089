/**
 * What is timed. Both packages run the same blueprints with the same node bodies.
 */

export const OURS = '@flowcraft/kafka-adapter'
export const THEIRS = 'kafka-adapter-js'
/** Not a package: limit.rs. */
export const LIMIT = 'limit'

/**
 * @typedef {object} Workload
 * @property {string} title
 * @property {import('flowcraft').WorkflowBlueprint} blueprint
 * @property {number} jobs of a run
 * @property {(context: Record<string, unknown>) => boolean} check whether a run's result is right
 * @property {Record<string, number>} runs by package: so many that a round takes seconds and, of empty nodes, 200 are in flight; so few that 1.4.4 ends within a minute
 * @property {number} [limitSteps] writes of a run that durability needs, one after the other, where they are known
 * @property {{ ratio: number, cqlPerJob: number }} bounds of a quick round: so wide that only a fault goes beyond them
 * @property {boolean} [oneByOne] each run begins when the one before has ended
 */

/** @param {string} id @param {number} length @param {keyof typeof NODE_MS} uses */
export const chain = (id, length, uses) => ({
	id,
	nodes: Array.from({ length }, (_, at) => ({ id: `n${at}`, uses })),
	edges: Array.from({ length: length - 1 }, (_, at) => ({ source: `n${at}`, target: `n${at + 1}` })),
})

const fan = (uses) => ({
	id: 'fan',
	nodes: ['a', ...Array.from({ length: 8 }, (_, at) => `b${at}`), 'z'].map((id) => ({ id, uses })),
	edges: Array.from({ length: 8 }, (_, at) => [
		{ source: 'a', target: `b${at}` },
		{ source: `b${at}`, target: 'z' },
	]).flat(),
})

const NODE_MS = { increment: 0, wait10: 10, wait50: 50, hang: 3_600_000 }

/** @type {Record<string, Workload>} */
export const WORKLOADS = {
	chain: {
		title: 'chain of 10 empty nodes',
		blueprint: chain('chain', 10, 'increment'),
		jobs: 10,
		check: (context) => context['_outputs.n9'] === 10,
		limitSteps: 10,
		bounds: { ratio: 10, cqlPerJob: 3 },
		runs: { [OURS]: 3000, [THEIRS]: 200 },
	},
	fan: {
		title: 'fan 1 -> 8 -> 1 of empty nodes',
		bounds: { ratio: 10, cqlPerJob: 3 },
		blueprint: fan('increment'),
		jobs: 10,
		check: (context) => context['_outputs.z'] === 3,
		runs: { [OURS]: 3000, [THEIRS]: 200 },
	},
	'fan-50ms': {
		title: 'fan 1 -> 8 -> 1 of nodes of 50 ms',
		bounds: { ratio: 30, cqlPerJob: 3 },
		blueprint: fan('wait50'),
		jobs: 10,
		check: (context) => context['_outputs.z'] === 3,
		runs: { [OURS]: 400, [THEIRS]: 12 },
	},
	steps: {
		title: 'chain of 40 nodes of 10 ms, one run at a time',
		bounds: { ratio: 1.2, cqlPerJob: 3 },
		blueprint: chain('steps', 40, 'wait10'),
		jobs: 40,
		check: (context) => context['_outputs.n39'] === 40,
		runs: { [OURS]: 10, [THEIRS]: 3 },
		oneByOne: true,
	},
}

const next = (input) => ({ output: (Number(input) || 0) + 1 })

/** @param {{ begin: () => void, end: () => void }} watch told of every node body */
export const registryOf = (watch) =>
	Object.fromEntries(
		Object.entries(NODE_MS).map(([name, ms]) => [
			name,
			async ({ input }) => {
				watch.begin()
				if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
				watch.end()
				return next(input)
			},
		]),
	)
