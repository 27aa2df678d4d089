/**
 * The feature matrix (spec §5), row by row, against `FlowRuntime.run`: every row that the sessions decide. Where schedule
 * `eager` differs by design, the row stands under `wave` only.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { BaseNode, FlowcraftError, UnsafeEvaluator, createFlow } from 'flowcraft'
import { bothWays, startRun, startWorker } from '../support/worker.mjs'
import { published, runInMemory } from '../support/oracle.mjs'

const turn = () => new Promise((resolve) => setImmediate(resolve))

const registry = {
	value: async ({ params, input }) => ({ output: params.output ?? input ?? 'none' }),
	input: async ({ input }) => ({ output: { got: input } }),
	undefined: async () => ({ output: undefined }),
	nothing: async () => {},
	act: async ({ params }) => ({ output: 'acted', action: params.action }),
	fail: async ({ params }) => {
		throw new Error(params.message ?? 'no')
	},
	fatal: async () => {
		throw new FlowcraftError('fatal', { isFatal: true })
	},
	slow: async ({ params }) => {
		for (let i = 0; i < (params.turns ?? 3); i++) await turn()
		return { output: params.output ?? 'slow' }
	},
	sets: async ({ context, params }) => {
		await context.set(params.key, params.value)
		return { output: 'set' }
	},
}

/** @param {string} id @param {string} uses @param {any} [more] */
const n = (id, uses = 'value', more = {}) => ({ id, uses, ...more })
/** @param {string} path `a>b` @param {any} [more] */
const e = (path, more = {}) => ({ source: path.split('>')[0], target: path.split('>')[1], ...more })

/**
 * @param {string} name
 * @param {any} scene
 * @param {(parts: any) => any} [more] further checks
 */
function row(
	name,
	{ nodes, edges = [], metadata, initial, schedules = ['eager', 'wave'], options = {}, ...rest },
	more,
) {
	for (const schedule of schedules) {
		test(`row ${name} (${schedule})`, async () => {
			const blueprint = rest.blueprint ?? { id: 'bp', nodes, edges, ...(metadata ? { metadata } : {}) }
			const runtimeOptions = { registry: { ...registry, ...rest.registry }, ...options }
			const result = await bothWays(blueprint, runtimeOptions, { initial, sessions: { schedule }, ...rest.worker })
			assert.deepEqual(result.actual, result.expected)
			await more?.(result)
		})
	}
}

row('1: linear chain, outputs under their own ids', {
	nodes: [n('a', 'value', { params: { output: { x: 1 } } }), n('b', 'input'), n('c', 'input')],
	edges: [e('a>b'), e('b>c')],
})

row('2: conditions and context.get by node id', {
	nodes: [n('a', 'value', { params: { output: { ok: true } } }), n('b', 'reads'), n('c')],
	edges: [e('a>b', { condition: 'a.ok' }), e('b>c', { condition: 'b.ok' })],
	registry: { reads: async ({ context }) => ({ output: await context.get('a') }) },
})

row('3: undefined output and no output', {
	nodes: [n('a', 'undefined'), n('b', 'empty'), n('c', 'has')],
	edges: [e('a>b'), e('b>c')],
	registry: {
		empty: async () => ({}),
		has: async ({ context }) => ({
			output: [await context.has('a'), await context.has('_outputs.b'), await context.has('nobody')],
		}),
	},
})

row('3: a join behind a node without an output', {
	nodes: [n('a', 'undefined'), n('b'), n('j')],
	edges: [e('a>j'), e('b>j')],
})

row('4: a node that returns nothing', {
	nodes: [n('a', 'nothing'), n('b', 'nothing'), n('c')],
	edges: [e('a>b'), e('b>c')],
})

row('5: fan-out and all join', {
	nodes: [n('a'), n('b'), n('c', 'slow'), n('d', 'value', { inputs: { b: 'b', c: 'c' } })],
	edges: [e('a>b'), e('a>c'), e('b>d'), e('c>d')],
})

row('6: implicit join input is the last to finish', {
	nodes: [
		n('a', 'slow', { params: { turns: 6, output: 'A' } }),
		n('b', 'slow', { params: { turns: 2, output: 'B' } }),
		n('c', 'input'),
	],
	edges: [e('a>c'), e('b>c')],
})

row('6: across waves it is the last in memory, whoever is slow', {
	nodes: [
		n('a', 'slow', { params: { turns: 30, output: 'A' } }),
		n('b'),
		n('b2', 'value', { params: { output: 'B' } }),
		n('c', 'input'),
	],
	edges: [e('a>c'), e('b>b2'), e('b2>c')],
})

row('7: conditions see what siblings of the wave have written', {
	nodes: [n('a'), n('b', 'setsLate'), n('c')],
	edges: [e('a>c', { condition: 'key' })],
	schedules: ['wave'],
	registry: {
		setsLate: async ({ context }) => {
			await turn()
			await context.set('key', true)
			return { output: 1 }
		},
	},
})

row('8: concurrent read-modify-write in one wave', {
	nodes: ['a', 'b', 'c', 'd'].map((id) => n(id, 'count')),
	initial: { counter: 0 },
	schedules: ['wave'],
	registry: {
		count: async ({ context }) => {
			const counter = await context.get('counter')
			await turn()
			await context.set('counter', counter + 1)
			return { output: counter }
		},
	},
})

const visits = { count: 0 }
const counted = async () => ({ output: ++visits.count })

row(
	'9: any join asked for twice in one wave runs once',
	{
		nodes: [n('a'), n('b'), n('c'), n('j', 'counted', { config: { joinStrategy: 'any' } })],
		edges: [e('a>j'), e('b>j'), e('c>j')],
		registry: { counted: async () => ({ output: 'joined' }) },
	},
	({ engine }) =>
		// Visits, not steps: those of one step would start it as often.
		assert.equal(
			engine.calls.flatMap(([name, , , , , , due]) => (name === 'step' ? (due.match(/"j"/g) ?? []) : [])).length,
			1,
		),
)

test('row 10: an any join asked for in two waves runs twice', async () => {
	for (const schedule of ['eager', 'wave']) {
		visits.count = 0
		const blueprint = {
			id: 'bp',
			nodes: [n('a'), n('b'), n('b2'), n('j', 'counted', { config: { joinStrategy: 'any' } })],
			edges: [e('a>j'), e('b>b2'), e('b2>j')],
		}
		const engine = startWorker(
			{ registry: { ...registry, counted }, blueprints: { bp: blueprint } },
			{ sessions: { schedule } },
		)
		const { data } = await engine.result(startRun(engine, blueprint))
		assert.equal(visits.count, 2)
		assert.equal(data.payload.context.j, 2)
	}
})

/** Somebody waits, somebody opens. */
function latch() {
	/** @type {() => void} */
	let open = () => {}
	const opened = new Promise((/** @type {(value?: void) => void} */ resolve) => (open = resolve))
	return { open, opened }
}

for (const moment of ['runs', 'has failed']) {
	test(`row 10: what an any join leads to runs again for its slow, earlier wave while it ${moment}`, async () => {
		visits.count = 0
		const [begun, failed, twice] = [latch(), latch(), latch()]
		const slow = async () => {
			await (moment === 'runs' ? begun : failed).opened
			return { output: 'slow' }
		}
		const failing = async () => {
			begun.open()
			if (moment === 'runs') await twice.opened
			throw new Error('fails')
		}
		const join = async (/** @type {any} */ call) => {
			const result = await counted(call)
			if (visits.count === 2) setTimeout(twice.open, 0)
			return result
		}
		const blueprint = {
			id: 'bp',
			nodes: [
				n('slow', 'slow'),
				n('a'),
				n('b'),
				n('j', 'join', { config: { joinStrategy: 'any' } }),
				n('k', 'failing'),
			],
			edges: [e('slow>j'), e('a>b'), e('b>j'), e('j>k')],
		}
		const engine = startWorker({
			registry: { ...registry, counted, slow, failing, join },
			blueprints: { bp: blueprint },
			eventBus: { emit: ({ type }) => void (type === 'node:error' && failed.open()) },
		})
		const { data } = await engine.result(startRun(engine, blueprint))
		assert.equal(visits.count, 2)
		assert.deepEqual(
			data.payload.errors.map((/** @type {any} */ error) => error.nodeId),
			['k', 'k'],
		)
	})
}

test('row 10: a node that a late wave has found ready is asked for by an earlier one, too', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [
			n('early', 'early'),
			n('a'),
			n('b'),
			n('late'),
			n('j', 'join', { config: { joinStrategy: 'any' } }),
			n('k', 'missing'),
		],
		edges: [e('early>j'), e('early>k'), e('a>b'), e('b>late'), e('late>j'), e('late>k'), e('j>k')],
	}
	const early = async (/** @type {any} */ { context }) => {
		while (!(await context.has('_outputs.j'))) await nextTurn()
		return { output: 'early' }
	}
	const join = async () => ({ output: 'joined' })
	const failures = (/** @type {any[]} */ errors) => errors.map(({ nodeId }) => nodeId)
	const memory = await runInMemory(blueprint, { registry: { ...registry, early: join, join } }, {})
	const engine = startWorker({ registry: { ...registry, early, join }, blueprints: { bp: blueprint } })
	const { data } = await engine.result(startRun(engine, blueprint))
	assert.deepEqual(failures(data.payload.errors), ['k', 'k'])
	assert.equal(memory.errors.length, 2)
})

row('11: two actions to one target are one predecessor', {
	nodes: [n('a', 'act', { params: { action: 'x' } }), n('b')],
	edges: [e('a>b', { action: 'x' }), e('a>b', { action: 'y' })],
})

row('12: edges that differ in transform only: the last wins', {
	nodes: [n('a', 'value', { params: { output: { x: 1, y: 2 } } }), n('b', 'input')],
	edges: [e('a>b', { transform: 'input.x' }), e('a>b', { transform: 'input.y' })],
})

row('13: conditional edges to exclusive terminals', {
	nodes: [n('a'), n('b'), n('c')],
	edges: [e('a>b', { condition: 'flag' }), e('a>c', { condition: 'off' })],
	initial: { flag: true, off: false },
})

row('13: a join behind conditions of which none holds', {
	nodes: [n('a'), n('b'), n('j')],
	edges: [e('a>j', { condition: 'off' }), e('b>j', { condition: 'off' })],
	initial: { off: false },
})

row('14: action routing to exclusive terminals', {
	nodes: [n('a', 'act', { params: { action: 'left' } }), n('b'), n('c')],
	edges: [e('a>b', { action: 'left' }), e('a>c', { action: 'right' })],
})

row('15: nothing matches, and the target still runs', {
	nodes: [n('a', 'act', { params: { action: 'other' } }), n('b', 'input')],
	edges: [e('a>b', { action: 'never' })],
})

row('16: a join behind a branch not taken is skipped', {
	nodes: [n('a'), n('b'), n('c'), n('j')],
	edges: [e('a>b', { condition: 'flag' }), e('a>c', { condition: 'off' }), e('b>j'), e('c>j')],
	initial: { flag: true, off: false },
})

row('17: an edge to a missing node', { nodes: [n('a')], edges: [e('a>nowhere')] })
row('18: edge transform', {
	nodes: [n('a', 'value', { params: { output: { deep: { x: 5 } } } }), n('b', 'input')],
	edges: [e('a>b', { transform: 'input.deep.x' })],
})

row(
	'19: a transform beats explicit inputs, in this run only',
	{
		nodes: [
			n('a', 'value', { params: { output: { x: 1 } } }),
			n('z', 'value', { params: { output: 'Z' } }),
			n('b', 'input', { inputs: 'nothing' }),
		],
		edges: [e('a>b', { transform: 'input.x' })],
	},
	async ({ engine }) => {
		const blueprint = { id: 'bp' }
		const runId = 'again'
		engine.seed(runId, {})
		engine.send(runId, blueprint.id, 'a')
		const { data } = await engine.result(runId)
		assert.deepEqual(data.payload.context.b, { got: 1 })
	},
)

row('20: of two transforms into one node the second sees the first', {
	nodes: [
		n('a', 'value', { params: { output: { x: 1 } } }),
		n('b', 'value', { params: { output: { x: { x: 2 } } } }),
		n('c', 'input'),
	],
	edges: [e('a>c', { transform: 'input.x' }), e('b>c', { transform: 'input.x' })],
	schedules: ['wave'],
})

row('21: inputs as a string and as a map', {
	nodes: [
		n('a', 'value', { params: { output: 7 } }),
		n('b', 'input', { inputs: 'a' }),
		n('c', 'input', { inputs: { x: 'a', y: 'key', z: '_outputs.a' } }),
	],
	edges: [e('a>b'), e('b>c')],
	initial: { key: 'K' },
})

row('21: a broken inputs map fails its node', { nodes: [n('a', 'input', { inputs: { x: 5 } }), n('b')] })

row(
	'22: a failure: everything reachable runs, one outcome with errors and context',
	{
		nodes: [n('a', 'fail'), n('b'), n('c', 'slow'), n('after')],
		edges: [e('a>after'), e('b>c')],
	},
	({ data, engine }) => {
		assert.equal(data.reason, "Node 'a' execution failed")
		assert.equal(engine.published.length, 1)
	},
)

row('23: all join with a failed predecessor; the healthy one goes on', {
	nodes: [n('a', 'fail'), n('b'), n('j'), n('c')],
	edges: [e('a>j'), e('b>j'), e('b>c')],
})

row('24: any join with a failed predecessor runs', {
	nodes: [n('a', 'fail'), n('b'), n('j', 'value', { config: { joinStrategy: 'any' } })],
	edges: [e('a>j'), e('b>j')],
})

const flaky = () => {
	let attempts = 0
	return async () => {
		if (++attempts % 3 !== 0) throw new Error('not yet')
		return { output: attempts % 3 }
	}
}
row('25: retries in process', {
	nodes: [n('a', 'flaky', { config: { maxRetries: 3 } }), n('b', 'input')],
	edges: [e('a>b')],
	registry: { flaky: flaky() },
})
row('26: maxRetries 0 never runs the body', { nodes: [n('a', 'value', { config: { maxRetries: 0 } })] })
row('27: timeout and retryDelay are ignored', {
	nodes: [n('a', 'slow', { config: { timeout: 1, retryDelay: 60_000, maxRetries: 2 } })],
})

row('28: fallback', {
	nodes: [n('a', 'fail', { config: { fallback: 'f' } }), n('f', 'value', { params: { output: 'F' } }), n('b', 'input')],
	edges: [e('a>b')],
})

row('29: fallback with its own edges and a shared successor', {
	nodes: [
		n('a', 'fail', { config: { fallback: 'f' } }),
		n('f', 'value', { params: { output: 'F' } }),
		n('b', 'input'),
		n('own', 'input'),
	],
	edges: [e('a>b'), e('f>own'), e('f>b')],
})

row(
	'30: an unused fallback never runs, though the client sends its job',
	{
		nodes: [
			n('a', 'value', { config: { fallback: 'f' } }),
			n('f', 'value', { params: { output: 'F' } }),
			n('b', 'input'),
		],
		edges: [e('a>b'), e('f>b')],
	},
	({ data }) => assert.equal(data.payload.context.f, undefined),
)

row('30: the fallback comes first among the start jobs', {
	nodes: [
		n('f', 'value', { params: { output: 'F' } }),
		n('a', 'value', { config: { fallback: 'f' } }),
		n('b', 'input'),
	],
	edges: [e('a>b')],
})

row('29: an all join starts when everything of its wave has come that stands for a predecessor', {
	nodes: [
		n('a', 'fail', { config: { fallback: 'fa' } }),
		n('b', 'fail', { config: { fallback: 'fb' } }),
		n('fa', 'value', { params: { output: 'A' } }),
		n('fb', 'slow', { params: { turns: 30, output: 'B' } }),
		n('j', 'value', { inputs: { b: 'fb' } }),
		n('k', 'input'),
	],
	edges: [e('a>j'), e('b>j'), e('a>k'), e('b>k')],
})

row('32: an all join starts, though what stands for a predecessor has failed', {
	nodes: [
		n('a', 'fail', { config: { fallback: 'fa' } }),
		n('b', 'fail', { config: { fallback: 'fb' } }),
		n('fa', 'value', { params: { output: 'A' } }),
		n('fb', 'failsLate'),
		n('j', 'input'),
	],
	edges: [e('a>j'), e('b>j')],
	registry: {
		failsLate: async () => {
			for (let i = 0; i < 30; i++) await turn()
			throw new Error('no')
		},
	},
})

row('31: an all join does not wait for a fallback of a later wave', {
	nodes: [
		n('a', 'fail', { config: { fallback: 'fa' } }),
		n('b', 'fail', { config: { fallback: 'fb' } }),
		n('fa', 'value', { params: { output: 'A' } }),
		n('fb', 'fail', { config: { fallback: 'fc' } }),
		n('fc', 'slow', { params: { turns: 30 } }),
		n('j', 'input'),
	],
	edges: [e('a>j'), e('b>j'), e('fb>j')],
})

row('10: an all join behind an any join of two waves runs once, whichever wave comes first', {
	nodes: [
		n('a'),
		n('late', 'slow', { params: { turns: 20, output: 'none' } }),
		n('s'),
		n('t'),
		n('u'),
		n('any', 'slow', { params: { turns: 30, output: 'any' }, config: { joinStrategy: 'any' } }),
		n('j', 'counts'),
	],
	edges: [e('late>any'), e('s>t'), e('t>u'), e('u>any'), e('a>j'), e('any>j')],
	registry: {
		counts: async ({ context }) => {
			const runs = ((await context.get('runs')) ?? 0) + 1
			await context.set('runs', runs)
			return { output: runs }
		},
	},
})

row('30a: a fallback that is also downstream of its primary', {
	nodes: [n('a', 'value', { config: { fallback: 'f' } }), n('f', 'slow'), n('b', 'input')],
	edges: [e('a>f'), e('f>b')],
})

row('31: fallback chain', {
	nodes: [
		n('a', 'fail', { config: { fallback: 'f' } }),
		n('f', 'fail', { config: { fallback: 'g' } }),
		n('g'),
		n('b', 'input'),
	],
	edges: [e('a>b')],
})

row('32: a failing fallback, and a fallback that masks other errors', {
	nodes: [n('a', 'fail', { config: { fallback: 'f' } }), n('f', 'fail'), n('x', 'fail')],
})

row('32: a missing fallback', { nodes: [n('a', 'fail', { config: { fallback: 'nowhere' } }), n('b')] })
row('34: a fatal error skips the fallback and does not halt', {
	nodes: [n('a', 'fatal', { config: { fallback: 'f' } }), n('f'), n('b'), n('c')],
	edges: [e('b>c')],
})
row('35: a missing implementation fails its node only', {
	nodes: [n('a', 'nowhere'), n('b'), n('c')],
	edges: [e('b>c')],
})

row('36: dynamic nodes', {
	nodes: [n('a', 'emits'), n('b', 'input')],
	edges: [e('a>b')],
	registry: {
		emits: async () => ({
			output: 'emitted',
			dynamicNodes: [
				{ id: 'd1', uses: 'input', inputs: 'a' },
				{ id: 'd2', uses: 'fail' },
			],
		}),
	},
})

const items = [{ i: 0 }, { i: 1 }, { i: 2 }]
const batch = (/** @type {string} */ uses, /** @type {any} */ more = {}) => ({
	nodes: [
		n('list', 'value', { params: { output: more.items ?? items } }),
		n('s', 'batch-scatter', {
			inputs: 'list',
			params: { workerUsesKey: uses, gatherNodeId: 'g', outputKey: 'out', ...more.params },
		}),
		n('g', 'batch-gather', { params: { gatherNodeId: 'g', outputKey: 'out' }, config: { joinStrategy: 'all' } }),
		n('end', 'input'),
	],
	edges: [e('list>s'), e('s>g'), e('g>end')],
	registry: {
		worker: async (/** @type {any} */ { input }) => {
			for (let i = input.i; i < 3; i++) await turn()
			return { output: input.i * 10 }
		},
		badWorker: async (/** @type {any} */ { input }) => {
			if (input.i === 1) throw new Error('bad item')
			return { output: input.i }
		},
	},
})

row('37: batch', batch('worker'), ({ data }) => assert.deepEqual(data.payload.context.out, [0, 10, 20]))
row('37: empty batch', batch('worker', { items: [] }))
row('37: a batch of something that is no array', batch('worker', { items: { no: 'array' } }))
row('38: batch with a failing worker', batch('badWorker'))
row('39: chunked batch', batch('worker', { params: { chunkSize: 2 } }))

/** @param {string} condition @param {any} more */
function loop(condition, more = {}) {
	return {
		nodes: [
			n('begin'),
			n('s', 'step'),
			n('e', 'input'),
			n('c', 'loop-controller', { params: { condition }, config: { joinStrategy: 'any' } }),
			...(more.noExit ? [] : [n('end', 'input')]),
		],
		edges: [
			e('begin>c'),
			e('c>s', { action: 'continue', transform: 'context["e"]' }),
			e('s>e'),
			e('e>c'),
			...(more.noExit ? [] : [e('c>end', { action: 'break', transform: 'context["e"]' })]),
		],
		options: { evaluator: new UnsafeEvaluator() },
		registry: { step: async (/** @type {any} */ { input }) => ({ output: (input?.got ?? 0) + 1 }) },
		...more,
	}
}

row('41: loop', loop('!context.s || context.s < 5'), ({ data }) => assert.equal(data.payload.context.s, 5))
row('42: conditional exit from the controller', {
	...loop('true'),
	edges: [...loop('true').edges.filter(({ target }) => target !== 'end'), e('c>end', { condition: 'context.s >= 3' })],
})

test('row 43: an endless loop ends at 10,000 waves', async () => {
	const any = { config: { joinStrategy: 'any' } }
	const scene = {
		id: 'bp',
		nodes: [n('go'), n('a', 'value', any), n('b', 'value', any)],
		edges: [e('go>a'), e('a>b'), e('b>a')],
	}
	for (const schedule of ['eager', 'wave']) {
		const { actual, expected, engine } = await bothWays(scene, { registry }, { sessions: { schedule } })
		assert.deepEqual(actual, expected)
		assert.deepEqual(actual, {
			status: 'failed',
			rejected: 'Traversal exceeded maximum iterations, possible infinite loop',
		})
		assert.ok(Math.max(...engine.calls.map((call) => call[4]?.length ?? 0)) < 2000, 'the checkpoint does not grow')
	}
})

row('44: a graph of cycles only starts at its entry point', {
	nodes: [n('a', 'nothing'), n('b', 'act', { params: { action: 'stop' } }), n('c')],
	edges: [e('a>b'), e('b>a', { action: 'again' }), e('b>c', { action: 'stop' })],
	metadata: { cycleEntryPoints: ['b'] },
})

row('41: an edge into a running loop that is slow resets nothing that comes after it in memory', {
	nodes: [
		n('go'),
		n('late', 'slow', { params: { turns: 60 } }),
		n('l', 'loop-controller', { params: { condition: 'go' }, config: { joinStrategy: 'any' } }),
		n('s', 'slow', { params: { turns: 6 } }),
		n('m', 'slow', { params: { turns: 1 } }),
		n('f', 'fail', { config: { joinStrategy: 'any' } }),
	],
	edges: [e('go>l'), e('go>late'), e('late>l'), e('l>s', { action: 'continue' }), e('s>m'), e('m>f'), e('f>l')],
	schedules: ['eager'],
})

row('41: a loop without a continue edge', {
	nodes: [n('a'), n('c', 'loop-controller', { params: { condition: 'x' } })],
	edges: [e('a>c')],
})

const child = {
	id: 'child',
	nodes: [n('first', 'value', { inputs: 'seed' }), n('second', 'input')],
	edges: [e('first>second')],
}
const broken = { id: 'broken', nodes: [n('x', 'fail')], edges: [] }
const twoEnds = { id: 'twoEnds', nodes: [n('x'), n('y')], edges: [] }
const waits = { id: 'waits', nodes: [n('w', 'wait'), n('x', 'input')], edges: [e('w>x')] }
const children = { child, broken, twoEnds, waits }

row('46: subflow with mapped inputs and outputs', {
	nodes: [
		n('a', 'value', { params: { output: 3 } }),
		n('s', 'subflow', { params: { blueprintId: 'child', inputs: { seed: 'a' }, outputs: { result: 'second' } } }),
		n('b'),
	],
	edges: [e('a>s'), e('s>b')],
	options: { blueprints: children },
})
for (const blueprintId of ['child', 'broken', 'twoEnds', 'nowhere']) {
	row(`46: subflow '${blueprintId}' with the plain input`, {
		nodes: [
			n('a', 'value', { params: { output: 3 } }),
			n('s', 'subflow', { params: { blueprintId } }),
			n('b', 'input'),
		],
		edges: [e('a>s'), e('s>b')],
		options: { blueprints: children },
	})
}

row('47: subflow with a batch, a loop and a fallback', {
	nodes: [
		n('s', 'subflow', { params: { blueprintId: 'batched' } }),
		n('l', 'subflow', { params: { blueprintId: 'looped' } }),
		n('f', 'subflow', { params: { blueprintId: 'fallen' } }),
	],
	edges: [e('s>l'), e('l>f')],
	registry: { ...batch('worker').registry, ...loop('').registry },
	options: {
		evaluator: new UnsafeEvaluator(),
		blueprints: {
			batched: { id: 'batched', ...pick(batch('worker')) },
			looped: { id: 'looped', ...pick(loop('!context.s || context.s < 3')) },
			fallen: { id: 'fallen', nodes: [n('a', 'fail', { config: { fallback: 'f' } }), n('f')], edges: [] },
		},
	},
})

/** @param {any} scene */
function pick({ nodes, edges }) {
	return { nodes, edges }
}

row('48: a subflow that awaits', {
	nodes: [n('s', 'subflow', { params: { blueprintId: 'waits' } }), n('after')],
	edges: [e('s>after')],
	options: { blueprints: children },
})

row('49: wait', { nodes: [n('a'), n('w', 'wait'), n('b')], edges: [e('a>w'), e('w>b')] })
row('49: wait with a transform behind it', {
	nodes: [n('w', 'wait'), n('b', 'input')],
	edges: [e('w>b', { transform: 'context.key' })],
	initial: { key: 'K' },
})
row('50: sleep passes its input on and awaits', {
	nodes: [n('a', 'value', { params: { output: 'in' } }), n('s', 'sleep', { params: { duration: '5m' } }), n('b')],
	edges: [e('a>s'), e('s>b')],
})
row('51: a wave ends where a node awaits', {
	nodes: [n('w', 'wait'), n('a'), n('b')],
	edges: [e('a>b')],
	schedules: ['wave'],
})

test('row 51: eager, other branches run to quiescence', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [n('w', 'wait'), n('after'), n('a'), n('b'), n('j')],
		edges: [e('w>after'), e('a>b'), e('b>j'), e('w>j')],
	}
	const engine = startWorker({ registry, blueprints: { bp: blueprint } })
	const { status, data } = await engine.result(startRun(engine, blueprint))
	assert.equal(status, 'awaiting')
	assert.deepEqual(
		Object.keys(data.payload.context)
			.filter((key) => key.startsWith('_outputs.'))
			.sort(),
		['_outputs.a', '_outputs.b'],
	)
	assert.deepEqual(data.payload.context._awaitingNodeIds, ['w'])
})

row('54: webhook gets the run id', {
	nodes: [n('w', 'webhook')],
	options: {
		dependencies: {
			adapter: {
				registerWebhookEndpoint: async (/** @type {string} */ run, /** @type {string} */ node) => ({
					url: node,
					event: typeof run,
				}),
			},
		},
	},
})

row('56: middleware', {
	nodes: [n('a'), n('b', 'fail')],
	edges: [e('a>b')],
	options: {
		middleware: [
			{
				aroundNode: async (/** @type {any} */ context, /** @type {string} */ id, /** @type {any} */ next) => (
					await context.set(`around ${id}`, 1),
					next()
				),
			},
			{
				beforeNode: (/** @type {any} */ context, /** @type {string} */ id) => context.set(`before ${id}`, 1),
				afterNode: (
					/** @type {any} */ context,
					/** @type {string} */ id,
					/** @type {any} */ _result,
					/** @type {any} */ error,
				) => context.set(`after ${id}`, error?.message ?? 'fine'),
			},
		],
	},
})
row('56: an around hook that rethrows disables the fallback', {
	nodes: [n('a', 'fail', { config: { fallback: 'f' } }), n('f')],
	options: {
		middleware: [
			{ aroundNode: async (/** @type {any} */ _context, /** @type {string} */ _id, /** @type {any} */ next) => next() },
		],
	},
})
row('56: a hook that says cancelled cancels the run', {
	nodes: [n('a'), n('b')],
	edges: [e('a>b')],
	options: {
		middleware: [
			{
				aroundNode: async () => {
					throw new FlowcraftError('Workflow cancelled')
				},
			},
		],
	},
})

class Phases extends BaseNode {
	/** @param {any} context @override */
	async prep({ input, context }) {
		await context.set('prepared', true)
		return input
	}
	/** @param {any} input @override */
	async exec(input) {
		if (this.params?.fail) throw new Error('exec')
		return { output: { input, id: this.nodeId } }
	}
	/** @param {any} result @param {any} context @override */
	async post(result, { context }) {
		await context.set('posted', true)
		return result
	}
	/** @param {Error} error @override */
	async fallback(error) {
		if (this.params?.fail === 'hard') throw error
		return { output: `instead of ${error.message}` }
	}
	/** @param {Error} error @param {any} context @override */
	async recover(error, { context }) {
		await context.set('recovered', error.message)
	}
}
row('57: class nodes', {
	nodes: [
		n('a', 'Phases'),
		n('b', 'Phases', { params: { fail: true } }),
		n('c', 'Phases', { params: { fail: 'hard' } }),
	],
	edges: [e('a>b'), e('b>c')],
	registry: { Phases },
})

test('row 58: dependencies.runtime.executionId is the run id', async () => {
	const blueprint = { id: 'bp', nodes: [n('a', 'id')], edges: [] }
	const engine = startWorker({
		registry: { id: async (/** @type {any} */ { dependencies }) => ({ output: dependencies.runtime.executionId }) },
		blueprints: { bp: blueprint },
	})
	const runId = startRun(engine, blueprint)
	assert.equal((await engine.result(runId)).data.payload.context.a, runId)
})

const keys = async (/** @type {any} */ { context }) => ({
	output: [
		Object.keys(await context.toJSON()).sort(),
		await context.get('blueprintId'),
		await context.has('blueprintVersion'),
		await context.delete('blueprintVersion'),
	],
})
row(
	'59: nodes do not see our bookkeeping',
	{ nodes: [n('a'), n('b', 'keys')], edges: [e('a>b')], registry: { keys } },
	({ engine, runId }) => {
		const { entries } = engine.documents.get(runId)
		assert.equal(entries.get('blueprintId'), '"bp"')
		assert.equal(entries.get('blueprintVersion'), 'null')
	},
)
row('59: but see what the client has put there', {
	nodes: [n('a'), n('b', 'keys')],
	edges: [e('a>b')],
	registry: { keys },
	initial: { blueprintId: 'bp', blueprintVersion: null },
})
row('59: a node named blueprintId', {
	nodes: [n('blueprintId'), n('b', 'keys')],
	edges: [e('blueprintId>b')],
	registry: { keys },
})

test('row 60: context.patch works in nodes', async () => {
	const blueprint = { id: 'bp', nodes: [n('a', 'patches')], edges: [] }
	const patches = async (/** @type {any} */ { context }) => {
		await context.patch([
			{ op: 'set', key: 'x', value: 1 },
			{ op: 'delete', key: 'y' },
			{ op: 'odd', key: 'z' },
		])
		return { output: [await context.get('x'), await context.has('y')] }
	}
	const engine = startWorker({ registry: { patches }, blueprints: { bp: blueprint } })
	const { data } = await engine.result(startRun(engine, blueprint, { y: 2 }))
	assert.deepEqual(data.payload.context.a, [1, false])
	assert.equal('y' in data.payload.context, false)
})

row('61: set undefined keeps has true', {
	nodes: [n('a', 'sets', { params: { key: 'k' } }), n('b', 'asks')],
	edges: [e('a>b')],
	registry: {
		asks: async ({ context }) => ({
			output: [await context.has('k'), Object.keys(await context.toJSON()).includes('k')],
		}),
	},
})

class Money {
	constructor(/** @type {number} */ cents) {
		this.cents = cents
	}
	euros() {
		return this.cents / 100
	}
}
row('62: live values between nodes', {
	nodes: [n('a', 'makes'), n('b', 'uses')],
	edges: [e('a>b')],
	registry: {
		makes: async () => ({
			output: {
				date: new Date(0),
				map: new Map([[1, 2]]),
				big: 5n.toString(),
				money: new Money(150),
				run: () => 'ran',
			},
		}),
		uses: async ({ input }) => ({ output: [input.date.getTime(), input.map.get(1), input.money.euros(), input.run()] }),
	},
})

test('row 62: a value that cannot be stored lives on in the process, with one warning', async () => {
	/** @type {string[]} */
	const warnings = []
	const cyclic = { name: 'self', self: /** @type {any} */ (null) }
	cyclic.self = cyclic
	const blueprint = { id: 'bp', nodes: [n('a', 'makes'), n('b', 'uses'), n('c', 'uses')], edges: [e('a>b'), e('b>c')] }
	const engine = startWorker(
		{
			registry: {
				makes: async (/** @type {any} */ { context }) => (await context.set('big', 10n), { output: cyclic }),
				uses: async (/** @type {any} */ { context }) => ({
					output: `${await context.get('big')} ${(await context.get('a')).self.name}`,
				}),
			},
			blueprints: { bp: blueprint },
		},
		{ logger: { debug() {}, info() {}, error() {}, warn: (/** @type {string} */ text) => warnings.push(text) } },
	)
	const runId = startRun(engine, blueprint)
	const { status, data } = await engine.result(runId)
	assert.equal(status, 'completed')
	assert.equal(data.payload.context.c, '10 self')
	assert.equal('big' in data.payload.context, false)
	assert.equal(warnings.filter((text) => text.includes("'big'") && text.includes(runId)).length, 1)
})

row('63: nodes may change what they were given', {
	nodes: [n('a', 'value', { params: { output: { list: [1] } } }), n('b', 'changes'), n('c', 'input')],
	edges: [e('a>b'), e('b>c')],
	initial: { other: { deep: { x: 1 } } },
	registry: {
		changes: async ({ input, context }) => {
			input.list.push(2)
			const other = await context.get('other')
			other.deep.x = 2
			return { output: { wrapped: input } }
		},
	},
})
row('63: a change shows in objects that contain the changed one', {
	nodes: [n('a', 'value', { params: { output: { x: 1 } } }), n('b', 'wraps'), n('c', 'changesA')],
	edges: [e('a>b'), e('b>c')],
	registry: {
		wraps: async ({ input }) => ({ output: { inner: input } }),
		changesA: async ({ context }) => {
			const a = await context.get('a')
			a.x = 2
			return { output: 'done' }
		},
	},
})

row('65: object-form blueprint', {
	blueprint: { id: 'bp', nodes: { a: n('a'), b: n('b', 'input') }, edges: { one: e('a>b') }, position: { x: 1 } },
})
row('66: a seeded output does not stand for its node', {
	nodes: [n('x', 'value', { params: { output: 'ran' } }), n('b', 'input')],
	edges: [e('x>b')],
	initial: { '_outputs.x': 'seeded', '_outputs.b': 'seeded', x: 'seeded' },
})

test('row 74: workflow and node events carry the run id', async () => {
	/** @type {any[]} */
	const events = []
	const blueprint = { id: 'bp', nodes: [n('a')], edges: [] }
	const engine = startWorker({
		registry,
		blueprints: { bp: blueprint },
		eventBus: { emit: async (/** @type {any} */ event) => void events.push(event) },
	})
	const runId = startRun(engine, blueprint)
	await engine.result(runId)
	await engine.quiet()
	assert.deepEqual(
		events.map(({ type }) => type),
		[
			'workflow:start',
			'workflow:resume',
			'node:start',
			'node:finish',
			'context:change',
			'context:change',
			'workflow:finish',
		],
	)
	for (const { payload } of events) assert.equal(payload.executionId, runId)
})

row('75: a throwing evaluator rejects the run', {
	nodes: [n('a'), n('b')],
	edges: [e('a>b', { condition: 'boom' })],
	options: {
		evaluator: {
			evaluate() {
				throw new Error('evaluator broke')
			},
		},
	},
})
row('75: a throwing event bus rejects the run', {
	nodes: [n('a'), n('b')],
	edges: [e('a>b')],
	options: {
		eventBus: {
			async emit(/** @type {any} */ { type, payload }) {
				if (type === 'context:change' && payload.key === '_inputs.b') throw new Error('bus broke')
			},
		},
	},
})
row('75: an un-cloneable blueprint', { nodes: [n('a', 'value', { params: { f: () => 1 } })] })

test('row 77: two runs on one worker are isolated', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [n('a', 'seeded'), n('b', 'both', { inputs: 'nothing', params: { seen: [] } })],
		edges: [e('a>b', { transform: 'input' })],
	}
	const before = structuredClone(blueprint)
	const engine = startWorker({
		registry: {
			seeded: async (/** @type {any} */ { context }) => ({ output: await context.get('seed') }),
			both: async (/** @type {any} */ { input, params }) => (params.seen.push(input), { output: params.seen }),
		},
		blueprints: { bp: blueprint },
	})
	const runs = [1, 2, 3].map((seed) => startRun(engine, blueprint, { seed }))
	for (const [i, runId] of runs.entries())
		assert.deepEqual((await engine.result(runId)).data.payload.context.b, [i + 1])
	assert.deepEqual(blueprint, before)
})

test('row 81: __proto__ as a key is stored', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [n('a', 'sets', { params: { key: '__proto__', value: { x: 1 } } }), n('b', 'reads')],
		edges: [e('a>b')],
	}
	const reads = async (/** @type {any} */ { context }) => ({
		output: [
			await context.get('__proto__'),
			Object.keys(await context.toJSON()).includes('__proto__'),
			await context.get('toString'),
		],
	})
	const engine = startWorker({ registry: { ...registry, reads }, blueprints: { bp: blueprint } })
	const runId = startRun(engine, blueprint)
	const { data } = await engine.result(runId)
	assert.deepEqual(data.payload.context.b, [{ x: 1 }, true, null])
	assert.equal(engine.documents.get(runId)?.entries.get('__proto__'), '{"x":1}')
})

row(
	'83: the root cause of a failure is in the payload',
	{ nodes: [n('a', 'fail', { params: { message: 'disk full' } })] },
	({ data }) => {
		assert.equal(data.reason, "Node 'a' execution failed")
		assert.deepEqual(data.payload.errors[0].cause, { name: 'Error', message: 'disk full' })
	},
)

test('row 83: the root cause of a failed child is in the payload of its parent', async () => {
	const child = { id: 'child', nodes: [n('x', 'fail', { params: { message: 'disk full' } })], edges: [] }
	const parent = { id: 'bp', nodes: [n('a', 'subflow', { params: { blueprintId: 'child' } })], edges: [] }
	const engine = startWorker({ registry, blueprints: { bp: parent, child } })
	const { data } = await engine.result(startRun(engine, parent))
	assert.deepEqual(data.payload.errors[0].cause, { name: 'Error', message: 'disk full' })
})

test('builder flows: batch, loop and wait as createFlow makes them', async () => {
	const flow = createFlow('built')
	flow.node('list', async () => ({ output: [1, 2, 3] }))
	flow.batch('work', async ({ input }) => ({ output: Number(input) * 2 }), { inputKey: 'list', outputKey: 'doubled' })
	flow.node('sum', async ({ input }) => ({
		output: /** @type {any} */ (input).reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0),
	}))
	flow.edge('list', 'work').edge('work', 'sum')
	const blueprint = flow.toBlueprint()
	const { actual, expected, data } = await bothWays(blueprint, {
		registry: Object.fromEntries(flow.getFunctionRegistry()),
	})
	assert.deepEqual(actual, expected)
	assert.equal(data.payload.context.sum, 12)
	assert.deepEqual(published(data, blueprint).errors, [])
})
