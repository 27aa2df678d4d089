import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bothWays } from '../support/worker.mjs'

const registry = {
	one: async () => ({ output: { n: 1 } }),
	pass: async ({ input }) => ({ output: input?.n ?? 'x', action: 'go' }),
	fail: async () => {
		throw new Error('no')
	},
}

const blueprint = {
	id: 'mixed',
	nodes: [
		{ id: 'a', uses: 'one' },
		{ id: 'b', uses: 'pass' },
		{ id: 'c', uses: 'pass' },
		{ id: 'd', uses: 'pass' },
		{ id: 'e', uses: 'fail', config: { fallback: 'f' } },
		{ id: 'f', uses: 'pass' },
	],
	edges: [
		{ source: 'a', target: 'b' },
		{ source: 'a', target: 'c' },
		{ source: 'b', target: 'd' },
		{ source: 'c', target: 'd' },
		{ source: 'c', target: 'e', condition: 'a' },
	],
}

for (const schedule of ['eager', 'wave']) {
	test(`${schedule}: fan-out, join, condition and fallback end as in memory`, async () => {
		const { expected, actual } = await bothWays(blueprint, { registry }, { sessions: { schedule } })
		assert.deepEqual(actual, expected)
		assert.equal(actual.status, 'completed')
	})
}
