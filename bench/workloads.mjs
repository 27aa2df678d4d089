/**
 * What is timed. Both packages run the same blueprints with the same node bodies.
 */

/** @typedef {{ blueprint: import('flowcraft').WorkflowBlueprint, jobs: number, check: (context: Record<string, unknown>) => boolean }} Workload */

const chain = (length) => ({
	id: 'chain',
	nodes: Array.from({ length }, (_, at) => ({ id: `n${at}`, uses: 'increment' })),
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

/** @type {Record<string, Workload>} */
export const WORKLOADS = {
	chain: { blueprint: chain(10), jobs: 10, check: (context) => context['_outputs.n9'] === 10 },
	fan: { blueprint: fan('increment'), jobs: 10, check: (context) => context['_outputs.z'] === 3 },
	'fan-50ms': { blueprint: fan('wait'), jobs: 10, check: (context) => context['_outputs.z'] === 3 },
}

const next = (input) => ({ output: (Number(input) || 0) + 1 })

export const registry = {
	increment: async ({ input }) => next(input),
	wait: async ({ input }) => {
		await new Promise((resolve) => setTimeout(resolve, 50))
		return next(input)
	},
}
