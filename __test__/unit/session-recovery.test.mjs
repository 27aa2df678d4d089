/** Runs that go on in another process, that come twice, and that others have begun (G1-G4, G12; rows 40, 68-71). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FlowRuntime, FlowcraftError } from 'flowcraft'
import { openings } from '../support/openings.mjs'
import { bareSessions, startRun, startWorker } from '../support/worker.mjs'

const node = (/** @type {string} */ id, /** @type {any} */ more = {}) => ({ id, uses: 'value', ...more })
const edge = (/** @type {string} */ path, /** @type {any} */ more = {}) => ({
	source: path.split('>')[0],
	target: path.split('>')[1],
	...more,
})
const registry = {
	value: async (/** @type {any} */ { input, params }) => ({ output: params.output ?? input ?? 'none' }),
	fail: async () => {
		throw new Error('no', { cause: new Error('deep') })
	},
	undefined: async () => ({ output: undefined }),
}

test('row 69: every job delivered twice runs each node once', async () => {
	/** @type {string[]} */
	const ran = []
	const blueprint = {
		id: 'bp',
		nodes: ['a', 'b', 'c', 'd'].map((id) => node(id, { uses: 'traced', params: { id } })),
		edges: [edge('a>b'), edge('a>c'), edge('b>d'), edge('c>d')],
	}
	const traced = async (/** @type {any} */ { params }) => (ran.push(params.id), { output: 1 })
	for (const ackDelay of ['none', 'random']) {
		ran.length = 0
		const engine = startWorker(
			{ registry: { traced }, blueprints: { bp: blueprint } },
			{ engine: { duplicate: true, ackDelay } },
		)
		await engine.result(startRun(engine, blueprint))
		await engine.quiet()
		assert.deepEqual(ran.sort(), ['a', 'b', 'c', 'd'])
	}
})

test('G4: a message for a run that has ended repeats its outcome, byte for byte', async () => {
	const nodes = [node('a'), node('x', { uses: 'fail' })]
	/** @type {[string, any][]} */
	const table = [
		['completed', { nodes: [node('a'), node('u', { uses: 'undefined' })], edges: [edge('a>u')] }],
		['failed', { nodes, edges: [] }],
		['awaiting', { nodes: [node('w', { uses: 'wait' }), node('b')], edges: [edge('w>b')] }],
		['rejected', { nodes: [node('a'), { id: 'l', uses: 'loop-controller', params: {} }], edges: [edge('a>l')] }],
	]
	for (const [name, parts] of table) {
		const blueprint = { id: 'bp', ...parts }
		const engine = startWorker({ registry, blueprints: { bp: blueprint } })
		const runId = startRun(engine, blueprint)
		await engine.result(runId)
		await engine.quiet()
		const stored = engine.documents.get(runId)?.checkpoint
		for (const nodeId of ['a', 'w', 'b']) engine.send(runId, 'bp', nodeId)
		await engine.quiet()
		assert.ok(engine.published.length >= 2, name)
		assert.equal(new Set(engine.published.map(({ data }) => data)).size, 1, name)
		assert.equal(engine.documents.get(runId)?.checkpoint, stored, name)
	}
})

test('G4: the same with a serializer of the user', async () => {
	const serializer = { serialize: (/** @type {any} */ data) => JSON.stringify(data), deserialize: JSON.parse }
	const blueprint = {
		id: 'bp',
		nodes: [node('a', { params: { output: { d: new Date(0).toISOString() } } }), node('x', { uses: 'fail' })],
		edges: [],
	}
	const engine = startWorker({ registry, blueprints: { bp: blueprint }, serializer })
	const runId = startRun(engine, blueprint)
	await engine.result(runId)
	await engine.quiet()
	engine.send(runId, 'bp', 'a')
	await engine.quiet()
	assert.equal(engine.published.length, 2)
	assert.equal(engine.published[0].data, engine.published[1].data)
})

test('errors keep their time and cause over a restore', async () => {
	const blueprint = { id: 'bp', nodes: [node('x', { uses: 'fail' }), node('a'), node('b')], edges: [edge('a>b')] }
	const first = startWorker(
		{ registry, blueprints: { bp: blueprint } },
		{ engine: { killAt: [3], killAfterEffect: true } },
	)
	const { data } = await first.result(startRun(first, blueprint))
	const [error] = data.payload.errors
	assert.deepEqual(
		{ ...error, timestamp: '' },
		{
			nodeId: 'x',
			message: "Node 'x' execution failed",
			name: 'FlowcraftError',
			isFatal: false,
			cause: { name: 'Error', message: 'deep' },
			timestamp: '',
			originalError: { name: 'FlowcraftError', message: "Node 'x' execution failed", isFatal: false },
		},
	)
	assert.equal(new Date(error.timestamp).toISOString(), error.timestamp)
})

test('an error that is not wrapped keeps its code, over a restore as well', async () => {
	const coded = async () => {
		throw Object.assign(new FlowcraftError('mine'), { code: 'E_MINE' })
	}
	const blueprint = { id: 'bp', nodes: [node('x', { uses: 'coded' }), node('a'), node('b')], edges: [edge('a>b')] }
	for (const killAt of [[], [2]]) {
		const options = { registry: { ...registry, coded }, blueprints: { bp: blueprint } }
		const engine = startWorker(options, { engine: { killAt, killAfterEffect: true } })
		const { data } = await engine.result(startRun(engine, blueprint))
		const [{ originalError }] = data.payload.errors
		assert.deepEqual([originalError.message, originalError.code], ['mine', 'E_MINE'], `killed at ${killAt}`)
	}
})

test('row 40: a batch goes on in a process that knows its worker under another key', async () => {
	const items = [1, 2, 3]
	/** @param {string} key */
	const worker = (key) => {
		const blueprint = {
			id: 'bp',
			nodes: [
				node('list', { params: { output: items } }),
				{
					id: 's',
					uses: 'batch-scatter',
					inputs: 'list',
					params: { workerUsesKey: key, gatherNodeId: 'g', outputKey: 'out' },
				},
				{ id: 'g', uses: 'batch-gather', params: { gatherNodeId: 'g', outputKey: 'out' } },
			],
			edges: [edge('list>s'), edge('s>g')],
		}
		return new FlowRuntime({
			registry: { ...registry, [key]: async (/** @type {any} */ { input }) => ({ output: input * 2 }) },
			blueprints: { bp: blueprint },
		})
	}
	for (const killAt of [2, 3, 4]) {
		let process = 0
		const engine = startWorker(undefined, {
			runtime: () => worker(`fn_${process++}`),
			engine: { killAt: [killAt], killAfterEffect: true },
		})
		engine.seed('r', {})
		engine.send('r', 'bp', 'list')
		assert.deepEqual((await engine.result('r')).data.payload.context.out, [2, 4, 6], `killed at ${killAt}`)
		assert.equal(process, 2)
	}
})

test('row 19: rewritten inputs, undefined values and hidden keys come along', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [
			node('a', { params: { output: { x: 1 } } }),
			node('u', { uses: 'undefined' }),
			node('b', { inputs: 'other' }),
			node('c', { uses: 'sees' }),
		],
		edges: [edge('a>u'), edge('u>b'), edge('a>b', { transform: 'input.x' }), edge('b>c')],
	}
	const sees = async (/** @type {any} */ { context, input }) => ({
		output: [
			input,
			await context.has('u'),
			await context.get('u'),
			await context.has('blueprintId'),
			Object.keys(await context.toJSON()).length,
		],
	})
	/** @type {Set<string>} */
	const results = new Set()
	for (let killAt = 1; killAt <= 7; killAt++) {
		const engine = startWorker(
			{ registry: { ...registry, sees }, blueprints: { bp: blueprint } },
			{ engine: { killAt: [killAt], killAfterEffect: true } },
		)
		const { data } = await engine.result(startRun(engine, blueprint))
		results.add(JSON.stringify(data.payload.context.c))
	}
	assert.equal(results.size, 1)
	const [, hasU, u, seesOurs] = JSON.parse([...results][0])
	assert.deepEqual([hasU, u, seesOurs], [true, null, false])
})

test('G2: a node that a crash lets run again gets what it was given, though a later wave has written since', async () => {
	/** @type {any[]} */
	const given = []
	const slow = async (/** @type {any} */ { input }) => {
		given.push(structuredClone(input))
		if (given.length === 1) await new Promise(() => {})
		return { output: 'ran' }
	}
	// The fallback of `f` stands for `p`, too, so that its output goes to what `p` leads to.
	const nodes = [
		node('a'),
		node('p', { params: { output: { of: 'p' } }, config: { fallback: 'instead' } }),
		node('x', { uses: 'slow' }),
		node('f', { uses: 'fail', config: { fallback: 'instead' } }),
		node('instead', { params: { output: { of: 'instead' } } }),
	]
	const run = openings(nodes, { ...registry, slow }, { edges: [edge('a>x'), edge('p>x'), edge('a>f')] })
	const { outcome, entries } = await run.open()
	assert.deepEqual([outcome, entries['_inputs.x']], [undefined, { of: 'instead' }])
	const { outcome: last } = await run.open()
	assert.equal(last.status, 'completed')
	assert.deepEqual(given, [{ of: 'p' }, { of: 'p' }])
})

test('G2: a join that only waits for the fallback of a predecessor runs after a crash', async () => {
	/** @type {string[]} */
	const ran = []
	let isFirst = true
	const stops = async () => {
		ran.push('fb')
		if (isFirst) await new Promise(() => {})
		return { output: 'B' }
	}
	const joins = async (/** @type {any} */ { context }) => ({ output: { saw: await context.get('fb') } })
	const nodes = [
		node('a', { uses: 'fail', config: { fallback: 'fa' } }),
		node('b', { uses: 'fail', config: { fallback: 'fb' } }),
		node('fa'),
		node('fb', { uses: 'stops' }),
		node('j', { uses: 'joins' }),
	]
	const run = openings(nodes, { ...registry, stops, joins }, { edges: [edge('a>j'), edge('b>j')] })
	await run.open()
	assert.deepEqual([run.checkpoint.asks[0][0], run.checkpoint.asks[0][1][0][2]], ['j', 2])
	isFirst = false
	const { outcome, entries } = await run.open()
	assert.equal(outcome.status, 'completed')
	assert.deepEqual(entries['_outputs.j'], { saw: 'B' })
	assert.deepEqual(ran, ['fb', 'fb'])
})

test('row 68: an absent version is stamped, and a run keeps the one it began with', async () => {
	const blueprint = { id: 'bp', nodes: [node('a'), node('b')], edges: [edge('a>b')], metadata: { version: '1' } }
	const blueprints = { bp: blueprint }
	const { open, settle, ...worker } = bareSessions({ registry, blueprints })
	open(['a'])
	await settle()
	const [, , , changes, checkpoint] = worker.calls[1]
	assert.deepEqual(changes.slice(0, 4), ['blueprintId', '"bp"', 'blueprintVersion', '"1"'])
	blueprints.bp = { ...blueprint, metadata: { version: '2' } }
	open(['b'], { handle: 2, checkpoint })
	assert.equal(JSON.parse(worker.calls.at(-1)?.[7]).status, 'parked')
	blueprints.bp = blueprint
	open(['b'], { handle: 3, checkpoint })
	assert.deepEqual(worker.calls.at(-1), ['opened', 3, '[[2,"b"]]'])
})

test('D2: the first of several start messages starts the whole start set, once', async () => {
	const blueprint = { id: 'bp', nodes: [node('a'), node('b'), node('c'), node('f')], edges: [] }
	blueprint.nodes[0].config = { fallback: 'f' }
	const { open, calls, tell, settle } = bareSessions({ registry, blueprints: { bp: blueprint } })
	open(['f'])
	assert.deepEqual(calls[0], ['opened', 1, '[[1,"a"],[2,"b"],[3,"c"]]'])
	for (const nodeId of ['a', 'b', 'f', 'c']) tell(4, 1, nodeId)
	await settle()
	assert.equal(calls.filter(([name]) => name === 'step').flatMap((call) => call[5]).length, 3)
})

const chain = {
	id: 'bp',
	nodes: ['a', 'b', 'c', 'd'].map((id) => node(id)),
	edges: [edge('a>b'), edge('a>c'), edge('b>d'), edge('c>d')],
}
const workersRow = { blueprintId: 'bp', blueprintVersion: null, '_outputs.a': 'A', '_inputs.b': 'A', '_inputs.c': 'A' }

test('G12: a run begun by JavaScript workers is adopted: due is what messages say, joins by outputs', async () => {
	const engine = startWorker({ registry, blueprints: { bp: chain } })
	engine.seed('r', { ...workersRow, '_outputs.b': 'B', '_inputs.d': 'B' })
	engine.send('r', 'bp', 'c')
	const { status, data } = await engine.result('r')
	assert.equal(status, 'completed')
	const { a, b, c, d } = data.payload.context
	assert.deepEqual({ a, b, c, d }, { a: 'A', b: 'B', c: 'A', d: 'A' })
	assert.equal(data.payload.context.blueprintId, 'bp')
})

test('G12: a message for a recorded node finds its successors without running it', async () => {
	/** @type {string[]} */
	const ran = []
	const value = async (/** @type {any} */ { input, dependencies }) => (
		ran.push(dependencies.runtime.executionId),
		{ output: input ?? 'ran' }
	)
	const engine = startWorker({ registry: { value }, blueprints: { bp: chain } })
	engine.seed('r', { blueprintId: 'bp', blueprintVersion: null, '_outputs.a': 'A' })
	engine.send('r', 'bp', 'a')
	const { data } = await engine.result('r')
	assert.equal(data.payload.context.a, 'A')
	assert.equal(data.payload.context.d, 'A')
	assert.equal(ran.length, 3)
})

/** @param {string[]} ran gets the nodes that run */
function routes(ran) {
	const named = (/** @type {string} */ id, action = undefined) => ({ id, uses: 'note', params: { id, action } })
	const blueprint = {
		id: 'bp',
		nodes: [named('a', 'right'), named('b'), named('left'), named('right'), named('z'), named('apart')],
		edges: [
			{ ...edge('a>left'), action: 'left' },
			{ ...edge('a>right'), action: 'right' },
			edge('left>z'),
			edge('b>left'),
		],
	}
	const note = async (/** @type {any} */ { params }) => (
		ran.push(params.id),
		{ output: params.id, action: params.action }
	)
	return { registry: { note }, blueprints: { bp: blueprint } }
}
const routedRow = { blueprintId: 'bp', blueprintVersion: null, '_outputs.a': 'a' }

/** @param {Record<string, any>} row what workers of 1.4.4 have left @param {string[]} nodeIds of the messages */
async function routed(row, ...nodeIds) {
	/** @type {string[]} */
	const ran = []
	const engine = startWorker(routes(ran), { sessions: { maxConcurrentJobs: 1 } })
	engine.seed('r', { ...routedRow, ...row })
	for (const nodeId of nodeIds) engine.send('r', 'bp', nodeId)
	assert.equal((await engine.result('r')).status, 'completed')
	return ran
}

test('G12: the action of a recorded node is told by the successors that it had chosen', async () => {
	assert.deepEqual(await routed({ '_inputs.left': 'a', '_outputs.left': 'left' }, 'a'), [])
	assert.deepEqual(await routed({ '_inputs.right': 'a' }, 'a'), ['right'])
})

test('G12: a recorded node whose action nothing tells runs again', async () => {
	assert.deepEqual(await routed({}, 'a'), ['a', 'right'])
	// Somebody else may have written that one.
	assert.deepEqual(await routed({ '_inputs.left': 'b', '_outputs.b': 'b' }, 'a'), ['a', 'right'])
})

test('G12: a recorded node runs again when the row tells its action no more by the time it starts', async () => {
	/** @type {string[]} */
	const ran = []
	const worker = bareSessions(routes(ran), { sessions: { localStarts: false } })
	worker.open(['b', 'a'], { entries: { ...routedRow, '_inputs.left': 'a' } })
	for (const visit of [1, 2]) {
		worker.tell(10, 1, [visit])
		await worker.settle()
	}
	assert.deepEqual(ran, ['b', 'a'])
})

test('G12: a recorded node is gone on from before others may change what the row tells of it', async () => {
	assert.deepEqual(await routed({ '_inputs.left': 'a', '_outputs.left': 'left' }, 'b', 'apart', 'a'), ['b', 'apart'])
})

test('G12: the controller of a loop runs again, since the context alone decides', async () => {
	/** @type {string[]} */
	const ran = []
	const note = async (/** @type {any} */ { params }) => (ran.push(params.id), { output: params.id })
	const blueprint = {
		id: 'bp',
		nodes: [
			...['a', 'body', 'z'].map((id) => ({ id, uses: 'note', params: { id } })),
			{ id: 'ctl', uses: 'loop-controller', params: { condition: 'again' }, config: { joinStrategy: 'any' } },
		],
		edges: [
			edge('a>ctl'),
			{ ...edge('ctl>body'), action: 'continue' },
			edge('body>ctl'),
			{ ...edge('ctl>z'), action: 'break' },
		],
	}
	const row = { '_outputs.a': 'a', '_outputs.body': 'body', '_outputs.ctl': null, '_inputs.body': null }
	const engine = startWorker({ registry: { note }, blueprints: { bp: blueprint } })
	engine.seed('r', { blueprintId: 'bp', blueprintVersion: null, again: false, ...row })
	engine.send('r', 'bp', 'ctl')
	assert.equal((await engine.result('r')).status, 'completed')
	assert.deepEqual(ran, ['z'])
})

test('G12: an adopted run is not over before its partition was read to the end', async () => {
	const engine = startWorker({ registry, blueprints: { bp: chain } }, { engine: { moreMayCome: true } })
	engine.seed('r', workersRow)
	engine.send('r', 'bp', 'b')
	for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
	assert.equal(engine.published.length, 0)
	engine.send('r', 'bp', 'c')
	for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
	assert.equal(engine.published.length, 0)
	engine.tell('r', [12])
	const { data } = await engine.result('r')
	assert.equal(data.payload.context.d, 'A')
})

test('D2: a job for a node in the middle of a fresh row adopts the run', async () => {
	const engine = startWorker({ registry, blueprints: { bp: chain } })
	engine.seed('r', { '_outputs.a': 'A', '_outputs.b': 'B', '_inputs.c': 'by hand' })
	engine.send('r', 'bp', 'c')
	const { data } = await engine.result('r')
	assert.equal(data.payload.context.c, 'by hand')
	assert.equal(data.payload.context.d, 'by hand')
})

test('row 66: outputs that a client has put into a fresh row do not make it adopted', async () => {
	const engine = startWorker({ registry, blueprints: { bp: chain } })
	engine.seed('r', { '_outputs.a': 'seeded', blueprintId: 'bp' })
	engine.send('r', 'bp', 'a')
	assert.equal((await engine.result('r')).data.payload.context.a, 'none')
})

test('a checkpoint that names another blueprint than the message decides', async () => {
	const other = { id: 'other', nodes: [node('a'), node('z')], edges: [edge('a>z')] }
	const engine = startWorker({ registry, blueprints: { bp: chain, other } }, { engine: { killAt: [3] } })
	engine.seed('r', {})
	engine.send('r', 'other', 'a')
	engine.uncompleted[0].blueprintId = 'other'
	engine.send('r', 'bp', 'a')
	const { data } = await engine.result('r')
	assert.equal(data.payload.context.z, 'none')
})

test('the checkpoint of a large batch stays small, and keeps who is done', async () => {
	const count = 500
	/** @type {Map<number, (value: any) => void>} */
	const running = new Map()
	const scatter = {
		id: 's',
		uses: 'batch-scatter',
		inputs: 'items',
		params: { workerUsesKey: 'work', gatherNodeId: 'g', outputKey: 'out' },
	}
	const blueprint = {
		id: 'bp',
		nodes: [scatter, { id: 'g', uses: 'batch-gather', params: { gatherNodeId: 'g', outputKey: 'out' } }],
		edges: [edge('s>g')],
	}
	const work = (/** @type {any} */ { input }) => new Promise((resolve) => running.set(input, resolve))
	const options = { registry: { work }, blueprints: { bp: blueprint } }
	const limits = { sessions: { maxConcurrentJobs: count, maxConcurrentJobsPerRun: count } }
	const { open, settle, tell, ...worker } = bareSessions(options, limits)
	open(['s'], { entries: { items: Array.from({ length: count }, (_, i) => i) } })
	await settle()
	tell(2, 1, 1)
	await settle()
	for (let i = 0; i < count; i += 3) running.get(i)?.({ output: i })
	await settle()
	const [, , , , checkpoint] = /** @type {any[]} */ (worker.calls.at(-1))
	assert.ok(checkpoint.length < 12_000, `${checkpoint.length} characters`)
	const { batches, due } = JSON.parse(checkpoint)
	assert.equal(batches.length, 1)
	const entries = { items: [] }
	for (const [name, , , changes] of worker.calls) {
		for (let i = 0; name === 'step' && i < changes.length; i += 2)
			Object.assign(entries, { [changes[i]]: JSON.parse(changes[i + 1]) })
	}
	const next = bareSessions(options, limits)
	running.clear()
	next.open([], { checkpoint, entries })
	await next.settle()
	assert.equal(running.size, count - Math.ceil(count / 3))
	assert.equal(JSON.parse(next.calls[0][2]).length, running.size)
	assert.ok(due.length < count / 2)
	for (const [input, resolve] of running) resolve({ output: input })
	await next.settle()
	const gathering = next.steps.at(-1)
	tellAll(next)
	await next.settle()
	assert.deepEqual(
		gathering?.due.map(([, nodeId]) => nodeId),
		['g'],
	)
	assert.deepEqual(
		JSON.parse(next.steps.at(-1)?.changes.out ?? ''),
		Array.from({ length: count }, (_, i) => i),
	)
})

/** @param {any} worker */
function tellAll(worker) {
	worker.tell(2, 1, worker.steps.at(-1).seq)
}

test('what JSON cannot say does not stop a run: params of dynamic nodes, thrown values', async () => {
	const params = { big: 1n, self: /** @type {any} */ (null), fine: 1 }
	params.self = params
	const thrown = [
		undefined,
		null,
		'text',
		{ message: 'object' },
		Object.create(null),
		Symbol('s'),
		Object.assign(new Error('x'), { message: { no: 'text' } }),
	]
	const circular = new Error('round')
	circular.cause = circular
	thrown.push(circular)
	const blueprint = {
		id: 'bp',
		nodes: [node('a', { uses: 'emits' }), ...thrown.map((_, i) => node(`t${i}`, { uses: `throws${i}` }))],
		edges: [],
	}
	const throwing = Object.fromEntries(
		thrown.map((value, i) => [
			`throws${i}`,
			async () => {
				throw value
			},
		]),
	)
	const emits = async () => ({ output: 1, dynamicNodes: [{ id: 'd', uses: 'fine', params }] })
	const fine = async (/** @type {any} */ { params: given }) => ({ output: given.fine })
	const engine = startWorker({ registry: { emits, fine, ...throwing }, blueprints: { bp: blueprint } })
	const { status, data } = await engine.result(startRun(engine, blueprint))
	assert.equal(status, 'failed')
	assert.equal(data.payload.context.d, 1)
	assert.equal(data.payload.errors.length, thrown.length)
})
