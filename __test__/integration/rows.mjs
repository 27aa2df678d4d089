/**
 * Blueprints for rows of the feature matrix (flowcraft-spec.md §5): one case per row.
 *
 * Cases with `schedule: 'wave'` are those that the spec binds to the in-memory wave order; the others run on the default
 * schedule. Nodes whose ends race in memory wait for turns of the event loop (`turns`), so that their order is the same
 * in every process.
 */
import { BaseNode, FlowcraftError, UnsafeEvaluator } from 'flowcraft'

/**
 * @typedef {object} Case
 * @property {string} row
 * @property {string} name
 * @property {any} blueprint
 * @property {Record<string, any>} [blueprints] more that are registered
 * @property {Record<string, any>} [initial]
 * @property {'eager' | 'wave'} [schedule]
 * @property {any} [evaluator]
 * @property {any[]} [middleware]
 * @property {boolean} [strict]
 * @property {string} status
 * @property {string[]} [ran] node bodies that run, in any order; checked against memory anyway
 * @property {(context: any, data: any) => void} [also]
 */

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** @param {string[]} trace gets the id of each node body that runs */
export function bodies(trace) {
	/** @type {Map<string, number>} */
	const attempts = new Map()
	const traced = (/** @type {(call: any) => any} */ body) => async (/** @type {any} */ call) => {
		trace.push(call.params.id)
		for (let i = call.params.turns ?? 0; i > 0; i--) await turn()
		return body(call)
	}
	const functions = Object.fromEntries(
		Object.entries({
			value: ({ params }) => ({ output: params.output }),
			echo: ({ input }) => ({ output: { got: input === undefined ? 'nothing' : input } }),
			act: ({ params }) => ({ output: params.output, action: params.action }),
			nothing: () => undefined,
			fail: ({ params }) => {
				throw new Error(params.message ?? 'it failed')
			},
			fatal: () => {
				throw new FlowcraftError('it failed for good', { isFatal: true })
			},
			flaky: ({ params }) => {
				const attempt = (attempts.get(params.id) ?? 0) + 1
				attempts.set(params.id, attempt)
				if (attempt < params.succeedsAt) throw new Error(`attempt ${attempt} failed`)
				return { output: `attempt ${attempt}` }
			},
			get: async ({ context, params }) => ({ output: { got: (await context.get(params.key)) ?? 'nothing' } }),
			set: async ({ context, params }) => {
				await context.set(params.key, params.output)
				return { output: params.output }
			},
			count: async ({ context, params }) => {
				const value = (await context.get(params.key)) ?? 0
				await turn()
				await context.set(params.key, value + 1)
				return { output: value }
			},
			presence: async ({ context }) => {
				await context.set('unset', undefined)
				return { output: { has: await context.has('unset'), other: await context.has('other') } }
			},
			keys: async ({ context }) => ({ output: Object.keys(await context.toJSON()).sort() }),
			mutate: ({ input }) => {
				input.mutated = true
				return { output: 'done' }
			},
			has: async ({ context, params }) => ({ output: await context.has(params.key) }),
			stamp: async ({ context, params }) => {
				await context.set('order', [...((await context.get('order')) ?? []), params.id])
				return { output: params.id }
			},
			live: () => ({ output: [new Date(0), new Map([[1, 2]]), new Set([3]), new Amount(4)] }),
			kinds: ({ input }) => ({ output: input.map((/** @type {any} */ value) => value.constructor.name) }),
			emit: ({ params }) => ({
				output: 'emitted',
				dynamicNodes: params.nodes.map((/** @type {string} */ id) => node(id, 'value', { output: `${id} ran` })),
			}),
			double: ({ input }) => ({ output: input * 2 }),
			refuseTwo: ({ input }) => {
				if (input === 2) throw new Error('no two')
				return { output: input }
			},
		}).map(([name, body]) => [name, traced(body)]),
	)
	return { ...functions, phases: Phases }
}

/** A class of the user's. */
class Amount {
	/** @param {number} cents */
	constructor(cents) {
		this.cents = cents
	}
}

/** @param {string} id @param {string} uses @param {Record<string, any>} [params] @param {Record<string, any>} [more] */
const node = (id, uses, params = {}, more = {}) => ({ id, uses, params: { id, ...params }, ...more })

/** `a > b` is an edge; more of it may follow. @param {string} text @param {Record<string, any>} [more] */
const edge = (text, more = {}) => {
	const [source, target] = text.split(' > ')
	return { source, target, ...more }
}

const value = (/** @type {string} */ id, /** @type {any} */ output = id.toUpperCase(), more = {}) =>
	node(id, 'value', { output }, more)

const any = { config: { joinStrategy: 'any' } }

/** @type {Case[]} */
const LINES = [
	{
		row: '1',
		name: 'a linear chain stores outputs under both names',
		blueprint: {
			nodes: [value('a', 1), node('b', 'double'), node('c', 'double')],
			edges: [edge('a > b'), edge('b > c')],
		},
		status: 'completed',
		ran: ['a', 'b', 'c'],
	},
	{
		row: '2',
		name: 'node ids are context keys in bodies, conditions and transforms',
		blueprint: {
			nodes: [value('a', { x: 7 }), node('b', 'get', { key: 'a' }), node('c', 'echo'), node('d', 'echo')],
			edges: [
				edge('a > b'),
				edge('b > c', { condition: 'a.x', transform: 'context.a.x' }),
				edge('b > d', { condition: 'a.y' }),
			],
		},
		status: 'completed',
		ran: ['a', 'b', 'c'],
	},
	{
		row: '3',
		name: 'an undefined output completes a node, a terminal one too',
		blueprint: {
			nodes: [value('a', undefined), node('b', 'has', { key: '_outputs.a' }), node('c', 'nothing')],
			edges: [edge('a > b'), edge('b > c')],
		},
		status: 'completed',
		ran: ['a', 'b', 'c'],
		also: (context) => context['_outputs.b'] === true,
	},
	{
		row: '4',
		name: 'a node that returns nothing completes',
		blueprint: { nodes: [node('a', 'nothing'), node('b', 'echo')], edges: [edge('a > b')] },
		status: 'completed',
		ran: ['a', 'b'],
	},
	{
		row: '5',
		name: 'fan-out and an all join',
		blueprint: {
			nodes: [
				value('a'),
				...['b', 'c', 'd', 'e'].map((id) => node(id, 'echo')),
				node('z', 'echo', {}, { inputs: { b: 'b', e: 'e' } }),
			],
			edges: ['b', 'c', 'd', 'e'].flatMap((id) => [edge(`a > ${id}`), edge(`${id} > z`)]),
		},
		status: 'completed',
		ran: ['a', 'b', 'c', 'd', 'e', 'z'],
	},
	{
		row: '5 (barrier)',
		name: 'what follows a fast branch waits for the slow one of the same wave',
		schedule: 'wave',
		blueprint: {
			nodes: [
				value('a'),
				node('b', 'stamp', { turns: 6 }),
				node('c', 'stamp', { turns: 1 }),
				node('d', 'stamp', { turns: 4 }),
				node('e', 'stamp', { turns: 1 }),
			],
			edges: [edge('a > b'), edge('a > c'), edge('b > d'), edge('c > e')],
		},
		status: 'completed',
		also: (context) => JSON.stringify(context.order) === '["c","b","e","d"]',
	},
	{
		row: '6',
		name: 'the implicit input of a join is the output of the last to finish',
		schedule: 'wave',
		blueprint: {
			nodes: [
				value('a'),
				node('b', 'value', { output: 'slow', turns: 6 }),
				node('c', 'value', { output: 'fast', turns: 1 }),
				node('z', 'echo'),
			],
			edges: [edge('a > b'), edge('a > c'), edge('b > z'), edge('c > z')],
		},
		status: 'completed',
		also: (context) => context['_outputs.z'].got === 'slow',
	},
	{
		row: '7',
		name: 'a condition sees what a slower node of the same wave has set',
		schedule: 'wave',
		blueprint: {
			nodes: [value('a'), node('b', 'set', { key: 'flag', output: true, turns: 6 }), value('c'), node('d', 'echo')],
			edges: [edge('a > b'), edge('a > c'), edge('c > d', { condition: 'flag' })],
		},
		status: 'completed',
		ran: ['a', 'b', 'c', 'd'],
	},
	{
		row: '8',
		name: 'get-then-set of one wave loses updates as in memory',
		schedule: 'wave',
		blueprint: {
			nodes: [value('a'), ...['b', 'c', 'd', 'e'].map((id) => node(id, 'count', { key: 'counter' }))],
			edges: ['b', 'c', 'd', 'e'].map((id) => edge(`a > ${id}`)),
		},
		initial: { counter: 0 },
		status: 'completed',
		also: (context) => context.counter === 1,
	},
	{
		row: '9',
		name: 'an any join that is fed by three in one wave runs once',
		schedule: 'wave',
		blueprint: {
			nodes: [value('a'), value('b'), value('c'), value('d'), node('z', 'value', { output: 1 }, any)],
			edges: ['b', 'c', 'd'].flatMap((id) => [edge(`a > ${id}`), edge(`${id} > z`)]),
		},
		status: 'completed',
		ran: ['a', 'b', 'c', 'd', 'z'],
	},
	{
		row: '10',
		name: 'an any join that is fed in two waves runs twice',
		schedule: 'wave',
		blueprint: {
			nodes: [value('a'), value('b'), node('z', 'count', { key: 'visits' }, any)],
			edges: [edge('a > z'), edge('a > b'), edge('b > z')],
		},
		status: 'completed',
		ran: ['a', 'b', 'z', 'z'],
	},
	{
		row: '11',
		name: 'two edges between the same nodes are one predecessor',
		blueprint: {
			nodes: [node('a', 'act', { output: 1, action: 'left' }), node('z', 'echo')],
			edges: [edge('a > z', { action: 'left' }), edge('a > z', { action: 'right' })],
		},
		status: 'completed',
		ran: ['a', 'z'],
	},
	{
		row: '12',
		name: 'of edges that differ in their transform only the last counts',
		blueprint: {
			nodes: [value('a', { x: 1, y: 2 }), node('z', 'echo')],
			edges: [edge('a > z', { transform: 'input.x' }), edge('a > z', { transform: 'input.y' })],
		},
		status: 'completed',
		also: (context) => context['_outputs.z'].got === 2,
	},
	{
		row: '13',
		name: 'conditional edges to terminals that exclude each other',
		blueprint: {
			nodes: [value('a', { ok: true, bad: false }), value('yes'), value('no')],
			edges: [edge('a > yes', { condition: 'result.output.ok' }), edge('a > no', { condition: 'result.output.bad' })],
		},
		status: 'completed',
		ran: ['a', 'yes'],
	},
	{
		row: '14',
		name: 'actions route, and the default edge is taken when no action matches',
		blueprint: {
			nodes: [
				node('a', 'act', { output: 1, action: 'go' }),
				node('b', 'act', { output: 2, action: 'unheard of' }),
				value('gone'),
				value('stayed'),
				value('byDefault'),
			],
			edges: [
				edge('a > b', { action: 'go' }),
				edge('a > stayed', { action: 'stay' }),
				edge('b > gone', { action: 'go' }),
				edge('b > byDefault'),
			],
		},
		status: 'completed',
		ran: ['a', 'b', 'byDefault'],
	},
	{
		row: '15',
		name: 'with no edge matched, successors without condition run all the same',
		blueprint: {
			nodes: [node('a', 'act', { output: 1, action: 'nowhere' }), node('b', 'echo'), node('c', 'echo')],
			edges: [edge('a > b', { action: 'left' }), edge('a > c', { condition: 'missing' })],
		},
		status: 'completed',
		ran: ['a', 'b'],
	},
	{
		row: '16',
		name: 'a join behind a branch that was not taken is skipped',
		blueprint: {
			nodes: [value('a', { ok: true }), value('yes'), value('no'), value('join')],
			edges: [
				edge('a > yes', { condition: 'result.output.ok' }),
				edge('a > no', { condition: 'result.output.no' }),
				edge('yes > join'),
				edge('no > join'),
			],
		},
		status: 'completed',
		ran: ['a', 'yes'],
	},
	{
		row: '17',
		name: 'an edge to a node that is not there',
		blueprint: { nodes: [value('a'), value('b')], edges: [edge('a > nobody'), edge('a > b')] },
		status: 'completed',
		ran: ['a', 'b'],
	},
	{
		row: '18',
		name: 'an edge transform',
		blueprint: {
			nodes: [value('a', { x: [1, 2] }), node('b', 'echo')],
			edges: [edge('a > b', { transform: 'input.x' })],
		},
		status: 'completed',
		ran: ['a', 'b'],
	},
	{
		row: '19',
		name: 'a transform goes before explicit inputs',
		blueprint: {
			nodes: [value('a', { x: 'transformed' }), node('b', 'echo', {}, { inputs: 'given' })],
			edges: [edge('a > b', { transform: 'input.x' })],
		},
		initial: { given: { x: 'from the reference' } },
		status: 'completed',
	},
	{
		row: '20',
		name: 'two transforms into one node',
		schedule: 'wave',
		blueprint: {
			nodes: [value('a', { x: { x: 1 } }), value('b', { x: { x: 2 } }), node('z', 'echo')],
			edges: [edge('a > z', { transform: 'input.x' }), edge('b > z', { transform: 'input.x' })],
		},
		status: 'completed',
		ran: ['a', 'b', 'z'],
	},
	{
		row: '21',
		name: 'inputs as a string and as a map',
		blueprint: {
			nodes: [
				value('a', { x: 1 }),
				node('b', 'echo', {}, { inputs: 'seed' }),
				node('c', 'echo', {}, { inputs: { one: 'a', two: 'seed', three: 'missing' } }),
			],
			edges: [edge('a > b'), edge('b > c')],
		},
		initial: { seed: 'seeded' },
		status: 'completed',
		ran: ['a', 'b', 'c'],
	},
]

/** @type {Case[]} */
const FAILURES = [
	{
		row: '22',
		name: 'a failure leaves other branches running; one outcome with context and errors',
		blueprint: {
			nodes: [value('a'), node('b', 'fail', { message: 'b broke' }), value('c'), value('d'), value('never')],
			edges: [edge('a > b'), edge('a > c'), edge('c > d'), edge('b > never')],
		},
		status: 'failed',
		ran: ['a', 'b', 'c', 'd'],
	},
	{
		row: '23',
		name: 'an all join with a failed predecessor never runs; its healthy sibling goes on',
		blueprint: {
			nodes: [value('a'), node('b', 'fail'), value('c'), value('join'), value('after')],
			edges: [edge('a > b'), edge('a > c'), edge('b > join'), edge('c > join'), edge('c > after')],
		},
		status: 'failed',
		ran: ['a', 'b', 'c', 'after'],
	},
	{
		row: '24',
		name: 'an any join with a failed predecessor runs',
		blueprint: {
			nodes: [value('a'), node('b', 'fail'), value('c'), node('z', 'value', { output: 1 }, any)],
			edges: [edge('a > b'), edge('a > c'), edge('b > z'), edge('c > z')],
		},
		status: 'failed',
		ran: ['a', 'b', 'c', 'z'],
	},
	{
		row: '25',
		name: 'retries',
		blueprint: {
			nodes: [node('a', 'flaky', { succeedsAt: 3 }, { config: { maxRetries: 3 } }), node('b', 'echo')],
			edges: [edge('a > b')],
		},
		status: 'completed',
		ran: ['a', 'a', 'a', 'b'],
	},
	{
		row: '25 (exhausted)',
		name: 'retries that are used up fail the node',
		blueprint: { nodes: [node('a', 'flaky', { succeedsAt: 3 }, { config: { maxRetries: 2 } })], edges: [] },
		status: 'failed',
		ran: ['a', 'a'],
	},
	{
		row: '26',
		name: 'maxRetries 0 fails the node without running it',
		blueprint: { nodes: [value('a', 1, { config: { maxRetries: 0 } })], edges: [] },
		status: 'failed',
		ran: [],
	},
	{
		row: '27',
		name: 'timeout and retryDelay change nothing',
		blueprint: {
			nodes: [
				node('a', 'value', { output: 1, turns: 20 }, { config: { timeout: 1, retryDelay: 60_000, maxRetries: 2 } }),
			],
			edges: [],
		},
		status: 'completed',
		ran: ['a'],
	},
	{
		row: '28',
		name: 'a fallback is scheduled as a node of its own',
		blueprint: {
			nodes: [node('a', 'fail', {}, { config: { fallback: 'f' } }), value('f', 'instead'), node('b', 'echo')],
			edges: [edge('a > b')],
		},
		status: 'completed',
		ran: ['a', 'f', 'b'],
	},
	{
		row: '28a',
		name: 'the alias of a node whose fallback ends the run may be there or not',
		blueprint: { nodes: [node('a', 'fail', {}, { config: { fallback: 'f' } }), value('f', 'instead')], edges: [] },
		status: 'completed',
		ran: ['a', 'f'],
		also: (context) => context['_outputs.a'] === null && context['_outputs.f'] === 'instead',
	},
	{
		row: '29',
		name: 'a fallback follows its own edges and those of the node it stands in for',
		blueprint: {
			nodes: [
				node('a', 'fail', {}, { config: { fallback: 'f' } }),
				value('f', 'instead'),
				node('b', 'echo'),
				node('own', 'echo'),
			],
			edges: [edge('a > b'), edge('f > own'), edge('own > b')],
		},
		status: 'completed',
	},
	{
		row: '30',
		name: 'a fallback that is not needed never runs, though clients start it',
		blueprint: {
			nodes: [value('a', 1, { config: { fallback: 'f' } }), value('f', 'instead'), node('b', 'echo')],
			edges: [edge('a > b'), edge('f > b')],
		},
		status: 'completed',
	},
	{
		row: '30a',
		name: 'a fallback that is also downstream of its node ends',
		blueprint: {
			nodes: [value('a', 1, { config: { fallback: 'f' } }), value('f', 'instead'), node('b', 'echo')],
			edges: [edge('a > f'), edge('f > b')],
		},
		status: 'completed',
		ran: ['a', 'f', 'b'],
	},
	{
		row: '31',
		name: 'a chain of fallbacks',
		blueprint: {
			nodes: [
				node('a', 'fail', {}, { config: { fallback: 'f' } }),
				node('f', 'fail', {}, { config: { fallback: 'g' } }),
				value('g', 'at last'),
				node('b', 'echo'),
			],
			edges: [edge('a > b')],
		},
		status: 'completed',
	},
	{
		row: '32',
		name: 'a fallback hides errors elsewhere',
		blueprint: {
			nodes: [
				node('a', 'fail', {}, { config: { fallback: 'f' } }),
				value('f'),
				node('c', 'fail', { message: 'c broke' }),
			],
			edges: [],
		},
		status: 'completed',
	},
	{
		row: '33',
		name: 'nothing that others write beside a fallback is lost',
		blueprint: {
			nodes: [
				node('a', 'fail', {}, { config: { fallback: 'f' } }),
				...['b', 'c', 'd'].map((id) => node(id, 'set', { key: `key-${id}`, output: id })),
				node('f', 'set', { key: 'key-f', output: 'instead' }),
				node('z', 'echo'),
			],
			edges: [edge('a > z')],
		},
		status: 'completed',
		ran: ['a', 'b', 'c', 'd', 'f', 'z'],
		also: (context) => ['b', 'c', 'd', 'f'].every((id) => context[`key-${id}`] !== undefined),
	},
	{
		row: '34',
		name: 'a fatal error skips the fallback and halts nothing else',
		blueprint: {
			nodes: [node('a', 'fatal', {}, { config: { fallback: 'f', maxRetries: 3 } }), value('f'), value('c'), value('d')],
			edges: [edge('c > d')],
		},
		status: 'failed',
		ran: ['a', 'c', 'd'],
	},
	{
		row: '35',
		name: 'a node without implementation fails, the run goes on',
		blueprint: { nodes: [node('a', 'nowhere'), value('c'), value('d')], edges: [edge('c > d')] },
		status: 'failed',
		ran: ['c', 'd'],
	},
]

/** @type {Case[]} */
const BUILT_IN = [
	{
		row: '36',
		name: 'dynamic nodes run',
		blueprint: { nodes: [node('a', 'emit', { nodes: ['x', 'y'] }), node('b', 'echo')], edges: [edge('a > b')] },
		status: 'completed',
		ran: ['a', 'b', 'x', 'y'],
	},
	{
		row: '37',
		name: 'a batch gathers in order',
		blueprint: batch('double'),
		status: 'completed',
		also: (context) => JSON.stringify(context.doubled) === '[2,4,6]',
	},
	{ row: '38', name: 'a failed batch worker blocks the gathering', blueprint: batch('refuseTwo'), status: 'failed' },
	{
		row: '39',
		name: 'a batch in chunks fails, as in memory',
		blueprint: batch('double', { chunkSize: 2 }),
		status: 'failed',
	},
	{
		row: '41',
		name: 'a loop iterates',
		evaluator: new UnsafeEvaluator(),
		blueprint: loop('count < 3'),
		initial: { count: 0 },
		status: 'completed',
		ran: ['a', 'body', 'body', 'body', 'z'],
	},
	{
		row: '42',
		name: 'a condition leads out of a loop before its end',
		evaluator: new UnsafeEvaluator(),
		blueprint: withExit(loop('count < 10'), 'count === 2'),
		initial: { count: 0 },
		status: 'completed',
		ran: ['a', 'body', 'body', 'out'],
	},
	{
		row: '44',
		name: 'a graph of cycles only begins at its entry point',
		blueprint: {
			nodes: [node('a', 'nothing'), node('b', 'act', { output: 1, action: 'stop' }), value('c')],
			edges: [edge('a > b'), edge('b > a', { action: 'again' }), edge('b > c', { action: 'stop' })],
			metadata: { cycleEntryPoints: ['b'] },
		},
		status: 'completed',
	},
	{
		row: '45',
		name: 'strict: a cycle fails the run before any node',
		strict: true,
		blueprint: { nodes: [value('a'), value('b')], edges: [edge('a > b'), edge('b > a')] },
		status: 'failed',
		ran: [],
	},
	{
		row: '46',
		name: 'a subflow',
		blueprint: {
			nodes: [
				value('a', 21),
				{ id: 's', uses: 'subflow', params: { blueprintId: 'child', inputs: { seed: 'a' } } },
				node('b', 'echo'),
			],
			edges: [edge('a > s'), edge('s > b')],
		},
		blueprints: { child: { id: 'child', nodes: [node('inner', 'double', {}, { inputs: 'seed' })], edges: [] } },
		status: 'completed',
		ran: ['a', 'inner', 'b'],
	},
	{
		row: '47',
		name: 'a subflow with a batch, a loop and a fallback inside',
		evaluator: new UnsafeEvaluator(),
		blueprint: {
			nodes: [
				{ id: 's', uses: 'subflow', params: { blueprintId: 'batched', outputs: { doubled: 'doubled' } } },
				{
					id: 't',
					uses: 'subflow',
					params: { blueprintId: 'looped', inputs: { count: 'count' }, outputs: { rounds: 'count' } },
				},
				{ id: 'u', uses: 'subflow', params: { blueprintId: 'fallen' } },
				node('join', 'echo', {}, { inputs: { doubled: 'doubled', t: 't', u: 'u' } }),
			],
			edges: ['s', 't', 'u'].map((id) => edge(`${id} > join`)),
		},
		blueprints: {
			batched: { id: 'batched', ...batch('double') },
			looped: { id: 'looped', ...loop('count < 2') },
			fallen: {
				id: 'fallen',
				nodes: [node('a', 'fail', {}, { config: { fallback: 'f' } }), value('f', 'instead'), node('b', 'echo')],
				edges: [edge('a > b')],
			},
		},
		initial: { count: 0 },
		status: 'completed',
		also: (context) => JSON.stringify([context.doubled, context.rounds]) === '[[2,4,6],2]',
	},
	{
		row: '49',
		name: 'a wait pauses the run',
		blueprint: { nodes: [value('a'), { id: 'w', uses: 'wait' }, value('b')], edges: [edge('a > w'), edge('w > b')] },
		status: 'awaiting',
		ran: ['a'],
	},
]

/** @type {Case[]} */
const WAITS = [
	{
		row: '48',
		name: 'a run awaits while a subflow of it does, whose state is kept',
		blueprint: {
			nodes: [value('a'), { id: 's', uses: 'subflow', params: { blueprintId: 'pausing' } }, value('b')],
			edges: [edge('a > s'), edge('s > b')],
		},
		blueprints: {
			pausing: { id: 'pausing', nodes: [{ id: 'w', uses: 'wait' }, value('x')], edges: [edge('w > x')] },
		},
		status: 'awaiting',
		ran: ['a'],
		also: (context) => context['_subflowState.s'] !== undefined,
	},
	{
		row: '51',
		name: 'a wave in which a node awaits is the last one, for its siblings too',
		schedule: 'wave',
		blueprint: {
			nodes: [value('a'), { id: 'w', uses: 'wait' }, value('b'), value('c')],
			edges: [edge('a > w'), edge('a > b'), edge('b > c')],
		},
		status: 'awaiting',
		ran: ['a', 'b'],
	},
]

/** @type {Case[]} */
const NODES = [
	{
		row: '56',
		name: 'middleware: before, after also of what fails, around from the outside in, one answer instead of a node',
		middleware: [
			{
				beforeNode: (/** @type {any} */ context, /** @type {string} */ id) => context.set(`before.${id}`, true),
				afterNode: (
					/** @type {any} */ context,
					/** @type {string} */ id,
					/** @type {any} */ result,
					/** @type {any} */ error,
				) => context.set(`after.${id}`, error?.message ?? result?.output),
				aroundNode: async (
					/** @type {any} */ context,
					/** @type {string} */ id,
					/** @type {() => Promise<any>} */ next,
				) => {
					await context.set(`outer.${id}`, (await context.get('order')) ?? 0)
					await context.set('order', ((await context.get('order')) ?? 0) + 1)
					return next()
				},
			},
			{
				aroundNode: async (
					/** @type {any} */ context,
					/** @type {string} */ id,
					/** @type {() => Promise<any>} */ next,
				) => {
					await context.set(`inner.${id}`, (await context.get('order')) ?? 0)
					return id === 'b' ? { output: 'answered' } : next()
				},
			},
		],
		blueprint: {
			nodes: [value('a'), value('b'), node('c', 'fail', {}, { config: { fallback: 'f' } }), value('f')],
			edges: [edge('a > b'), edge('b > c')],
		},
		status: 'failed',
		ran: ['a', 'c'],
		also: (context) => context['_outputs.b'] === 'answered' && context['outer.a'] < context['inner.a'],
	},
	{
		row: '56 (after)',
		name: 'an afterNode that throws fails its node',
		middleware: [
			{
				afterNode: (/** @type {any} */ _context, /** @type {string} */ id) => {
					if (id === 'b') throw new Error('after broke')
				},
			},
		],
		blueprint: { nodes: [value('a'), value('b'), value('c')], edges: [edge('a > b'), edge('b > c')] },
		status: 'failed',
		ran: ['a', 'b'],
	},
	{
		row: '56 (around)',
		name: 'an aroundNode that swallows a failure changes nothing: the fallback runs',
		middleware: [
			{
				aroundNode: async (
					/** @type {any} */ _context,
					/** @type {string} */ _id,
					/** @type {() => Promise<any>} */ next,
				) => {
					try {
						return await next()
					} catch {
						return { output: 'swallowed' }
					}
				},
			},
		],
		blueprint: {
			nodes: [
				value('a'),
				node('b', 'fail', {}, { config: { fallback: 'f' } }),
				value('f', 'instead'),
				node('c', 'echo'),
			],
			edges: [edge('a > b'), edge('b > c')],
		},
		status: 'completed',
		ran: ['a', 'b', 'f', 'c'],
	},
	{
		row: '56 (instead)',
		name: 'an aroundNode that does not call next gives the result, action included, and no other hook is asked',
		middleware: [
			{
				aroundNode: async (
					/** @type {any} */ _context,
					/** @type {string} */ id,
					/** @type {() => Promise<any>} */ next,
				) => (id === 'a' ? { output: 'given', action: 'left' } : next()),
				beforeNode: (/** @type {any} */ context, /** @type {string} */ id) => context.set(`before.${id}`, true),
				afterNode: (/** @type {any} */ context, /** @type {string} */ id) => context.set(`after.${id}`, true),
			},
		],
		blueprint: {
			nodes: [value('a'), node('left', 'echo'), node('right', 'echo')],
			edges: [edge('a > left', { action: 'left' }), edge('a > right', { action: 'right' })],
		},
		status: 'completed',
		ran: ['left'],
	},
	{
		row: '57',
		name: 'class nodes: prep, exec, post, fallback and recover',
		blueprint: {
			nodes: [
				node('a', 'phases'),
				node('b', 'phases', { fail: 'once' }, { config: { maxRetries: 2 } }),
				node('c', 'phases', { fail: 'hard' }),
			],
			edges: [edge('a > b'), edge('b > c')],
		},
		status: 'failed',
		also: (context) => context['recovered.b'] === 'exec' && context['prepared.c'] === true,
	},
	{
		row: '75',
		name: 'an evaluator that throws ends the run with its message',
		evaluator: {
			evaluate() {
				throw new Error('the evaluator broke')
			},
		},
		blueprint: { nodes: [value('a'), value('b')], edges: [edge('a > b', { condition: 'x' })] },
		status: 'failed',
		ran: ['a'],
	},
]

class Phases extends BaseNode {
	/** @param {any} call @override */
	async prep({ input, context }) {
		await context.set(`prepared.${this.nodeId}`, true)
		return input
	}

	/** @param {any} input @override */
	async exec(input) {
		if (this.params?.fail) throw new Error('exec')
		return { output: { input } }
	}

	/** @param {any} result @override */
	async post(result) {
		return { ...result, action: 'posted' }
	}

	/** @param {Error} error @override */
	async fallback(error) {
		if (this.params?.fail === 'hard') throw error
		return { output: `instead of ${error.message}` }
	}

	/** @param {Error} error @param {any} call @override */
	async recover(error, { context }) {
		await context.set(`recovered.${this.nodeId}`, error.message)
	}
}

/** @type {Case[]} */
const VALUES = [
	{
		row: '61',
		name: 'a key that is set to undefined is there',
		blueprint: { nodes: [node('a', 'presence')], edges: [] },
		status: 'completed',
		also: (context) => context['_outputs.a'].has === true && context['_outputs.a'].other === false,
	},
	{
		row: '62',
		name: 'a Date, a Map, a Set and an instance of a class arrive as what they are',
		blueprint: { nodes: [node('a', 'live'), node('b', 'kinds')], edges: [edge('a > b')] },
		status: 'completed',
		also: (context) => context['_outputs.b'].join() === 'Date,Map,Set,Amount',
	},
	{
		row: '63',
		name: 'what a node changes in its input is seen in the context',
		blueprint: { nodes: [value('a', { x: 1 }), node('b', 'mutate')], edges: [edge('a > b')] },
		status: 'completed',
		also: (context) => context['_outputs.a'].mutated === true,
	},
	{
		row: '65',
		name: 'a blueprint with nodes and edges as objects',
		blueprint: { nodes: { a: value('a', 3), b: node('b', 'double') }, edges: { one: edge('a > b') } },
		status: 'completed',
		ran: ['a', 'b'],
	},
	{
		row: '66',
		name: 'an output that the client has put into the row does not count as run',
		blueprint: { nodes: [value('a', 'fresh'), node('b', 'echo')], edges: [edge('a > b')] },
		initial: { '_outputs.a': 'seeded' },
		status: 'completed',
		ran: ['a', 'b'],
	},
]

export const CASES = [...LINES, ...FAILURES, ...BUILT_IN, ...WAITS, ...NODES, ...VALUES].map((one) => ({
	...one,
	blueprint: { id: `row-${one.row.replace(/\W+/g, '-')}`, ...one.blueprint },
}))

/** @param {string} worker @param {Record<string, any>} [more] */
function batch(worker, more = {}) {
	return {
		nodes: [
			value('list', [1, 2, 3]),
			{
				id: 's',
				uses: 'batch-scatter',
				inputs: 'list',
				params: { workerUsesKey: worker, gatherNodeId: 'g', outputKey: 'doubled', ...more },
			},
			{
				id: 'g',
				uses: 'batch-gather',
				params: { outputKey: 'doubled', gatherNodeId: 'g' },
				config: { joinStrategy: 'all' },
			},
			node('z', 'echo'),
		],
		edges: [edge('list > s'), edge('s > g'), edge('g > z')],
	}
}

/** @param {any} blueprint with a loop @param {string} condition */
function withExit({ nodes, edges }, condition) {
	return { nodes: [...nodes, value('out')], edges: [...edges, edge('l > out', { condition })] }
}

/** @param {string} condition */
function loop(condition) {
	return {
		nodes: [
			value('a', 0),
			node('body', 'count', { key: 'count' }),
			value('z', 'done'),
			{ id: 'l', uses: 'loop-controller', params: { condition }, config: { joinStrategy: 'any' } },
		],
		edges: [
			edge('a > l'),
			edge('l > body', { action: 'continue' }),
			edge('body > l'),
			edge('l > z', { action: 'break' }),
		],
	}
}
