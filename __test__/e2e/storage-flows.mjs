/**
 * Three small graphs whose nodes change the context, so that a node that is recorded twice shows: a diamond, a loop of three
 * rounds, and branches that are not taken, by action and by condition. The two middle nodes of the diamond return the same, so that it does not matter
 * which of them comes last; one is slow, so that each has a step of its own.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { UnsafeEvaluator } from 'flowcraft'

const node = (/** @type {string} */ id, more = {}) => ({ id, uses: 'body', params: { id }, ...more })
const edge = (/** @type {string} */ path, more = {}) => ({
	source: path.split('>')[0],
	target: path.split('>')[1],
	...more,
})

/** @type {Record<string, any>} */
export const blueprints = {
	diamond: {
		id: 'diamond',
		nodes: [
			node('a'),
			node('b'),
			node('c', { params: { id: 'c', takesMs: 50 } }),
			node('d', { inputs: { b: 'b', c: 'c' } }),
		],
		edges: [edge('a>b'), edge('a>c'), edge('b>d'), edge('c>d')],
	},
	loop: {
		id: 'loop',
		nodes: [
			node('a'),
			node('body'),
			node('z'),
			{
				id: 'l',
				uses: 'loop-controller',
				params: { condition: 'times_body < 3' },
				config: { joinStrategy: 'any' },
			},
		],
		edges: [edge('a>l'), edge('l>body', { action: 'continue' }), edge('body>l'), edge('l>z', { action: 'break' })],
	},
	choice: {
		id: 'choice',
		nodes: [node('a'), node('yes'), node('no'), node('z')],
		edges: [
			edge('a>yes', { action: 'go' }),
			edge('a>no', { action: 'stay' }),
			edge('yes>z', { condition: 'times_yes === 1' }),
			edge('yes>no', { condition: 'times_yes > 1' }),
		],
	},
}
/** What the loop counts. */
export const initial = { times_body: 0 }

/** @param {(what: string, run: string, node: string) => void} journal */
export function flows(journal) {
	/** @param {any} call */
	async function body({ context, params: { id, takesMs = 0 }, dependencies }) {
		const run = dependencies.runtime.executionId
		journal('begin', run, id)
		const times = ((await context.get(`times_${id}`)) ?? 0) + 1
		await context.set(`times_${id}`, times)
		if (takesMs > 0) await sleep(takesMs)
		journal('end', run, id)
		return { output: { times }, action: 'go' }
	}
	return { blueprints, registry: { body }, evaluator: new UnsafeEvaluator() }
}
