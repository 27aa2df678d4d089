/** Runs that workers of 1.4.4 begin and these end (G12). Each body says what it did to `ran`, a function. */
import { isDeepStrictEqual } from 'node:util'
import { analyzeBlueprint } from 'flowcraft'
import { comparable, published, runInMemory } from '../oracle/comparator.mjs'

const ROUNDS = 3
export const ANSWER = 'answered'
const node = (/** @type {string} */ id, uses = 'pass', /** @type {any} */ more = {}) => ({ id, uses, ...more })
const edge = (/** @type {string} */ path, /** @type {any} */ more = {}) => ({
	source: path.split('>')[0],
	target: path.split('>')[1],
	...more,
})
const edges = (/** @type {string[]} */ ...paths) => paths.map((path) => edge(path))
const any = { config: { joinStrategy: 'any' } }

/**
 * @typedef {object} Flow
 * @property {string} id
 * @property {any[]} nodes
 * @property {any[]} edges
 * @property {string[][]} [ends] outputs that it may end with, where it does not end as in memory to the letter: what ran before the
 *   take-over was in another order, or decided by another body
 * @property {string} [decides] the key of the row that leaves the first of them only
 * @property {RegExp} [error] of another error that it may end with
 * @property {string} [asks] the node that is answered after the take-over
 * @property {boolean} [isPart] runs as a subflow only
 */

/** @type {Flow[]} */
const FLOWS = [
	{ id: 'chain', nodes: [node('a'), node('b'), node('c')], edges: edges('a>b', 'b>c') },
	{
		id: 'diamond',
		nodes: [node('a'), node('b'), node('c'), node('d')],
		edges: edges('a>b', 'a>c', 'b>d', 'c>d'),
	},
	{
		id: 'branch',
		nodes: [node('a'), node('r', 'route'), node('left'), node('left2'), node('right'), node('right2')],
		edges: [
			edge('a>r'),
			edge('r>left', { action: 'left' }),
			edge('r>right', { action: 'right' }),
			...edges('left>left2', 'right>right2'),
		],
		ends: [
			['a', 'left', 'left2', 'r'],
			['a', 'r', 'right', 'right2'],
		],
		decides: '_inputs.left',
	},
	{
		id: 'any',
		nodes: [node('a'), node('b'), node('c'), node('j', 'pass', any), node('z')],
		edges: edges('a>b', 'a>c', 'b>j', 'c>j', 'j>z'),
		ends: [['a', 'b', 'c', 'j', 'z']],
	},
	{
		id: 'loop',
		nodes: [
			node('a'),
			node('ctl', 'loop-controller', { ...any, params: { condition: 'again' } }),
			node('body', 'body'),
			node('more'),
			node('z'),
		],
		edges: [
			edge('a>ctl'),
			edge('ctl>body', { action: 'continue' }),
			...edges('body>more', 'more>ctl'),
			edge('ctl>z', { action: 'break' }),
		],
		ends: [['a', 'body', 'ctl', 'more', 'z']],
	},
	{
		id: 'failure',
		nodes: [node('a'), node('b', 'fail'), node('c'), node('d'), node('e'), node('j')],
		edges: edges('a>b', 'a>c', 'b>d', 'b>j', 'c>e', 'c>j'),
		// 1.4.4 puts this in the place of what had failed.
		error: /^: Node 'j' failed due to poisoned predecessor in run /,
	},
	{
		// Clients start `f`, too: no edge leads to it.
		id: 'fallback',
		nodes: [node('a'), node('b', 'fail', { config: { fallback: 'f' } }), node('f', 'other'), node('c'), node('own')],
		edges: edges('a>b', 'b>c', 'f>own'),
	},
	{
		id: 'unused',
		nodes: [node('f', 'other'), node('a', 'pass', { config: { fallback: 'f' } }), node('b'), node('own')],
		edges: edges('a>b', 'f>own'),
	},
	{
		id: 'batch',
		nodes: [
			node('s', 'batch-scatter', { inputs: 'items', params: { workerUsesKey: 'work', gatherNodeId: 'g' } }),
			node('g', 'batch-gather', { params: { gatherNodeId: 'g', outputKey: 'results' } }),
			node('z'),
		],
		edges: edges('s>g', 'g>z'),
	},
	{
		id: 'wait',
		nodes: [node('a'), node('w', 'wait'), node('y'), node('z'), node('other')],
		edges: edges('a>w', 'a>other', 'w>y', 'y>z'),
		asks: 'w',
	},
	{
		id: 'sleep',
		nodes: [node('a'), node('nap', 'sleep', { params: { duration: 200 } }), node('z')],
		edges: edges('a>nap', 'nap>z'),
	},
	{
		id: 'condition',
		nodes: [node('a'), node('r'), node('yes'), node('no'), node('z')],
		edges: [
			edge('a>r'),
			edge('r>yes', { condition: 'result.output' }),
			edge('r>no', { condition: 'nothing' }),
			edge('yes>z'),
		],
	},
	{ id: 'child', nodes: [node('one'), node('two')], edges: edges('one>two'), isPart: true },
	{
		id: 'subflow',
		nodes: [node('a'), node('sub', 'subflow', { params: { blueprintId: 'child' } }), node('z')],
		edges: edges('a>sub', 'sub>z'),
	},
]

for (const { nodes } of FLOWS) for (const one of nodes) one.params = { ...one.params, id: one.id }

/** @type {Record<string, any>} */
export const blueprints = Object.fromEntries(
	FLOWS.map(({ id, nodes, edges: list }) => [id, { id, nodes, edges: list }]),
)

/** Those that are begun. */
export const flows = FLOWS.filter(({ isPart }) => !isPart)

/** What clients store of each run. */
export const INITIAL = { mine: 1, again: true, items: ['x', 'y', 'z'] }

/** The nodes that clients send messages for. @param {string} blueprintId @returns {string[]} */
export const startsOf = (blueprintId) => [...analyzeBlueprint(blueprints[blueprintId]).startNodeIds]

/**
 * @param {'left' | 'right'} side where `route` goes
 * @param {(runId: string, nodeId: string) => void} [ran]
 */
export const registryOf = (side, ran = () => {}) => {
	const body = (/** @type {(context: any) => any} */ work) => async (/** @type {any} */ context) => {
		ran(context.dependencies.runtime.executionId, context.params?.id ?? 'work')
		return work(context)
	}
	return {
		pass: body(async ({ input, params }) => ({ output: `${input ?? ''}${params.id}` })),
		other: body(async ({ params }) => ({ output: params.id })),
		answer: async () => ({ output: ANSWER }),
		through: async (/** @type {any} */ { input }) => ({ output: input }),
		work: body(async ({ input }) => ({ output: `${input}!` })),
		fail: body(async () => {
			throw new Error('broken')
		}),
		route: body(async () => ({ output: 'routed', action: side })),
		body: body(async ({ context }) => {
			const rounds = ((await context.get('rounds')) ?? 0) + 1
			await context.set('rounds', rounds)
			await context.set('again', rounds < ROUNDS)
			return { output: rounds }
		}),
	}
}

/** @type {Record<string, string>} */
const STAND_INS = { wait: 'answer', sleep: 'through' }

/** What memory makes of a flow, all of its waits answered at once. @param {Flow} flow */
export async function inMemory({ id }) {
	const nodes = blueprints[id].nodes.map((/** @type {any} */ one) => ({
		...one,
		uses: STAND_INS[one.uses] ?? one.uses,
	}))
	const registry = registryOf('right')
	return comparable(await runInMemory({ ...blueprints[id], nodes }, { registry, blueprints }, INITIAL))
}

/**
 * @param {Flow} flow
 * @param {any} data of the status row
 * @param {any} memory what memory makes of it
 * @param {any} document as 1.4.4 has left it
 * @returns {string | undefined} what is wrong with an end
 */
export function wrongEnd({ id, ends, decides, error }, data, memory, document) {
	if (!data.payload) return `it has no payload: ${JSON.stringify(data)}`
	const end = comparable(published(data, blueprints[id], INITIAL))
	if (end.errors.length === 1 && error?.test(end.errors[0])) end.errors = memory.errors
	if (!ends) return isDeepStrictEqual(end, memory) ? undefined : differing(end, memory)
	const outputs = outputsOf(end.context)
	if (end.status !== 'completed') return `it is ${end.status}`
	const left = decides && decides in document ? ends.slice(0, 1) : ends
	if (!left.some((allowed) => allowed.join() === outputs.join())) return `outputs of ${outputs}`
	if (end.context.mine !== 1) return 'the initial context is gone'
	if (id === 'loop' && !(end.context.rounds >= ROUNDS)) return `${end.context.rounds} rounds`
	return undefined
}

/** @param {any} end @param {any} memory */
function differing(end, memory) {
	const flat = (/** @type {any} */ { context, ...rest }) => ({ ...context, ...rest })
	const [ours, theirs] = [flat(end), flat(memory)]
	const keys = [...new Set([...Object.keys(ours), ...Object.keys(theirs)])]
	const say = (/** @type {any} */ value) => JSON.stringify(value)
	return keys
		.filter((key) => say(ours[key]) !== say(theirs[key]))
		.map((key) => `${key} is ${say(ours[key])}, in memory ${say(theirs[key])}`)
		.join('; ')
}

/** @param {any} document */
const outputsOf = (document) =>
	Object.keys(document)
		.filter((key) => key.startsWith('_outputs.'))
		.map((key) => key.slice('_outputs.'.length))
		.sort()
