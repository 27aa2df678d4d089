/** What goes over the bridge, and when (docs/bridge.md, design D5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bareSessions, startRun, startWorker } from '../support/worker.mjs'

/** A node that ends when the test says so. */
function gate() {
	/** @type {Map<string, { resolve: (value?: any) => void, reject: (error: any) => void, signal: AbortSignal }[]>} */
	const waiting = new Map()
	const body = (/** @type {any} */ { params, signal, input }) =>
		new Promise((resolve, reject) => {
			const entry = { resolve: (value = { output: input ?? params.name }) => resolve(value), reject, signal }
			waiting.set(params.name, [...(waiting.get(params.name) ?? []), entry])
		})
	return { body, waiting, of: (/** @type {string} */ name) => /** @type {any} */ (waiting.get(name)?.shift()) }
}

const node = (/** @type {string} */ id, /** @type {any} */ more = {}) => ({
	id,
	uses: 'gate',
	params: { name: id },
	...more,
})
const edge = (/** @type {string} */ path) => ({ source: path.split('>')[0], target: path.split('>')[1] })

/** @param {any} blueprint @param {any} [options] */
function scene(blueprint, options) {
	const gates = gate()
	const worker = bareSessions(
		{ registry: { gate: gates.body, ...options?.registry }, blueprints: { bp: blueprint }, ...options?.runtime },
		options,
	)
	return {
		...worker,
		worker,
		gates,
		get steps() {
			return worker.steps
		},
	}
}

const line = { id: 'bp', nodes: [node('a'), node('b')], edges: [edge('a>b')] }
const fan = { id: 'bp', nodes: [node('a'), node('b'), node('c')], edges: [edge('a>c')] }

test('a successor starts when the step that made it due is durable, not before', async () => {
	const { open, settle, tell, gates, worker } = scene(line)
	open(['a'])
	await settle()
	assert.deepEqual(worker.calls[0], ['opened', 1, '[[1,"a"]]'])
	gates.of('a').resolve()
	await settle()
	assert.equal(worker.steps.length, 1)
	assert.deepEqual(worker.steps[0].done, [1])
	assert.deepEqual(worker.steps[0].due, [[2, 'b']])
	assert.equal(worker.steps[0].changes['_outputs.a'], '"a"')
	assert.equal(gates.waiting.get('b'), undefined)
	tell(2, 1, 1)
	await settle()
	assert.equal(gates.waiting.get('b')?.length, 1)
})

test('bookkeeping stands in the first step, and the outcome hides it', async () => {
	const { open, settle, tell, gates, worker } = scene({ ...line, metadata: { version: '7' } })
	open(['a'])
	await settle()
	gates.of('a').resolve()
	await settle()
	assert.deepEqual([worker.steps[0].changes.blueprintId, worker.steps[0].changes.blueprintVersion], ['"bp"', '"7"'])
	tell(2, 1, 1)
	await settle()
	gates.of('b').resolve()
	await settle()
	assert.deepEqual(worker.steps[1].outcome, { status: 'completed', hidden: ['blueprintId', 'blueprintVersion'] })
	assert.deepEqual(Object.keys(worker.steps[1].checkpoint).sort(), [
		'blueprint',
		'hidden',
		'last',
		'outcome',
		'v',
		'version',
	])
})

test('results that wait together become one step', async () => {
	const nodes = Array.from({ length: 8 }, (_, i) => node(`n${i}`))
	const { open, settle, gates, worker } = scene({ id: 'bp', nodes, edges: [] })
	open(['n0'])
	await settle()
	for (const { id } of nodes) gates.of(id).resolve()
	await settle()
	assert.ok(worker.steps.length <= 2, `${worker.steps.length} steps`)
	assert.equal(worker.steps.flatMap(({ done }) => done).length, 8)
})

test('what a running node has written is not stored before the node is recorded', async () => {
	const writes = async (/** @type {any} */ { context, params }) => {
		await context.set('k', (await context.get('k')) + 1)
		await new Promise((resolve) => (params.go = resolve))
		return { output: 'done' }
	}
	/** @type {any} */
	const params = {}
	const { open, settle, gates, worker } = scene(
		{ id: 'bp', nodes: [node('a'), { id: 'w', uses: 'writes' }], edges: [] },
		{ registry: { writes: (/** @type {any} */ c) => writes({ ...c, params }) } },
	)
	open(['a'], { entries: { k: 1 } })
	await settle()
	gates.of('a').resolve()
	await settle()
	assert.equal('k' in worker.steps[0].changes, false)
	params.go()
	await settle()
	assert.equal(worker.steps[1].changes.k, '2')
})

test('of two writers of a key the recorded one is stored, the running one later', async () => {
	/** @type {Record<string, any>} */
	const go = {}
	const writes = async (/** @type {any} */ { context, params }) => {
		await context.set('k', params.name)
		await new Promise((resolve) => (go[params.name] = resolve))
		if (params.drops) await context.delete('k')
		return { output: await context.get('k') }
	}
	const blueprint = {
		id: 'bp',
		nodes: [node('x', { uses: 'writes' }), node('y', { uses: 'writes', params: { name: 'y', drops: true } })],
		edges: [],
	}
	const { open, settle, worker } = scene(blueprint, { registry: { writes } })
	open(['x'], { entries: { k: 'old' } })
	await settle()
	go.x()
	await settle()
	assert.equal(worker.steps[0].changes.k, '"x"', 'y has written since, but is not recorded')
	assert.equal(worker.steps[0].changes['_outputs.x'], '"y"', 'what nodes see is live')
	go.y()
	await settle()
	assert.equal(worker.steps[1].changes.k, '')
})

test('foreign changes are merged by key; own uncommitted ones win', async () => {
	const reads = async (/** @type {any} */ { context }) => ({ output: await context.toJSON() })
	const { open, settle, tell, gates, worker } = scene(
		{ id: 'bp', nodes: [node('a'), { id: 'r', uses: 'reads' }], edges: [edge('a>r')] },
		{ registry: { reads } },
	)
	open(['a'], { entries: { mine: 0, theirs: 0, gone: 0 } })
	await settle()
	gates.of('a').resolve({ output: 'own' })
	await settle()
	tell(3, 1, ['theirs', '{"n": 1}', 'gone', '', 'new', '2', 'a', '"foreign"', '_outputs.a', '"foreign"'])
	tell(2, 1, 1)
	await settle()
	const seen = JSON.parse(worker.steps[1].changes['_outputs.r'])
	assert.deepEqual(seen, { mine: 0, theirs: { n: 1 }, new: 2, a: 'own', '_outputs.a': 'own', '_inputs.r': 'own' })
	assert.equal('theirs' in worker.steps[1].changes, false, 'what was only read is not written back')
})

test('a foreign change after the own one is durable counts', async () => {
	const reads = async (/** @type {any} */ { context }) => ({ output: [await context.get('a'), await context.has('b')] })
	const { open, settle, tell, gates, worker } = scene(
		{ id: 'bp', nodes: [node('a'), node('b'), { id: 'r', uses: 'reads' }], edges: [edge('a>b'), edge('b>r')] },
		{ registry: { reads } },
	)
	open(['a'])
	await settle()
	gates.of('a').resolve({ output: 'own' })
	await settle()
	tell(2, 1, 1)
	tell(3, 1, ['a', '"foreign"'])
	await settle()
	gates.of('b').resolve({ output: undefined })
	await settle()
	tell(3, 1, ['b', ''])
	tell(2, 1, 2)
	await settle()
	assert.deepEqual(JSON.parse(worker.steps[2].changes['_outputs.r']), ['foreign', true])
})

test('reading an object that a client wrote with spaces does not rewrite it', async () => {
	const reads = async (/** @type {any} */ { context }) => ({ output: Object.keys(await context.get('settings')) })
	const worker = bareSessions({
		registry: { reads },
		blueprints: { bp: { id: 'bp', nodes: [{ id: 'r', uses: 'reads' }], edges: [] } },
	})
	worker.sessions.onBatch([[1, 1, 'r', 'bp', ['r'], ['settings', '{ "a" : 1.0 }'], null, true, false]])
	await worker.settle()
	assert.equal('settings' in worker.steps[0].changes, false)
})

test('unknown blueprint, unknown node and broken checkpoint are refused', () => {
	/** @type {[string[], any, any[]][]} */
	const table = [
		[
			['a'],
			{ blueprintId: 'nope' },
			['ERR_BLUEPRINT_UNKNOWN', "Blueprint with ID 'nope' not found in the worker's runtime registry.", 'failed'],
		],
		[
			['a'],
			{ blueprintId: 'toString' },
			['ERR_BLUEPRINT_UNKNOWN', "Blueprint with ID 'toString' not found in the worker's runtime registry.", 'failed'],
		],
		[['zz'], {}, ['ERR_NODE_UNKNOWN', "Node 'zz' not found in blueprint 'bp'.", 'failed']],
		[
			['a'],
			{ checkpoint: '{"v":2,"blueprint":"bp","last":0}' },
			[
				'ERR_STATE_CORRUPT',
				"The run's checkpoint cannot be used: The checkpoint has version 2; this worker knows version 1.",
				null,
			],
		],
		[
			['a'],
			{ checkpoint: '[]' },
			[
				'ERR_STATE_CORRUPT',
				"The run's checkpoint cannot be used: The checkpoint is not an object with a version.",
				null,
			],
		],
	]
	for (const [nodeIds, run, expected] of table) {
		const { open, calls } = scene(line)
		open(nodeIds, run)
		assert.deepEqual(calls, [['refuse', 1, ...expected]])
	}
})

test('a message for an unknown node beside a start message changes nothing', async () => {
	const { open, settle, calls } = scene(line)
	open(['zz', 'a'])
	await settle()
	assert.deepEqual(calls, [['opened', 1, '[[1,"a"]]']])
})

test('abort: signals fire, successes count, failures stay due, nothing new starts', async () => {
	const { open, settle, tell, gates, worker } = scene(fan)
	open(['a', 'b'])
	await settle()
	const [a, b] = [gates.of('a'), gates.of('b')]
	tell(5, 1, 'going down')
	assert.equal(a.signal.aborted, true)
	assert.equal(a.signal.reason.name, 'AbortError')
	assert.equal(a.signal.reason.message, 'going down')
	b.reject(a.signal.reason)
	a.resolve()
	await settle()
	assert.equal(worker.steps.length, 1)
	assert.deepEqual(worker.steps[0].done, [1])
	assert.deepEqual(worker.steps[0].checkpoint.due, [
		[2, 'b', 1],
		[3, 'c', 2],
	])
	assert.equal(worker.steps[0].outcome, null)
	tell(2, 1, 1)
	await settle()
	assert.equal(gates.waiting.get('c'), undefined)
})

test('close: nothing is sent any more', async () => {
	const { open, settle, tell, gates, worker } = scene(fan)
	open(['a', 'b'])
	await settle()
	const a = gates.of('a')
	tell(6, 1, 'lost')
	assert.equal(a.signal.aborted, true)
	a.resolve()
	gates.of('b').reject(new Error('late'))
	await settle()
	assert.equal(worker.steps.length, 0)
	tell(2, 1, 1)
	tell(3, 1, ['x', '1'])
	tell(4, 1, 'a')
	tell(99, 1)
	assert.deepEqual(worker.sessions.stats(), { sessions: 0, running: 0, waiting: 0 })
})

test('drain: what runs is recorded, nothing starts, and the answer comes once', async () => {
	const { open, settle, tell, gates, worker } = scene(fan)
	open(['a', 'b'])
	await settle()
	tell(11, 1)
	gates.of('a').resolve()
	await settle()
	assert.equal(
		worker.calls.some(([name]) => name === 'drained'),
		false,
	)
	gates.of('b').resolve()
	await settle()
	tell(2, 1, 2)
	tell(11, 1)
	await settle()
	assert.deepEqual(
		worker.calls.filter(([name]) => name === 'drained'),
		[['drained', 1]],
	)
	assert.equal(gates.waiting.get('c'), undefined)
	assert.deepEqual(worker.steps.at(-1)?.checkpoint.due, [[3, 'c', 2]])
})

test('localStarts false: a visit starts when its message is there', async () => {
	const { open, settle, tell, gates, worker } = scene(line, { sessions: { localStarts: false } })
	open(['a'])
	await settle()
	assert.equal(gates.waiting.size, 0)
	tell(10, 1, [1])
	tell(10, 1, [1])
	await settle()
	assert.equal(gates.waiting.get('a')?.length, 1)
	gates.of('a').resolve()
	await settle()
	tell(2, 1, 1)
	await settle()
	assert.equal(gates.waiting.get('b'), undefined)
	tell(10, 1, [2])
	await settle()
	gates.of('b').resolve()
	await settle()
	assert.equal(worker.steps[1].outcome.status, 'completed')
})

test('permits: so many at once, so many per run, first come first served', async () => {
	const wide = { id: 'bp', nodes: Array.from({ length: 6 }, (_, i) => node(`n${i}`)), edges: [] }
	const { open, settle, gates, worker } = scene(wide, {
		sessions: { maxConcurrentJobs: 3, maxConcurrentJobsPerRun: 2 },
	})
	open(['n0'], { handle: 1 })
	open(['n0'], { handle: 2 })
	await settle()
	assert.deepEqual(worker.sessions.stats(), { sessions: 2, running: 3, waiting: 1 })
	assert.deepEqual(
		[...gates.waiting].map(([name, list]) => [name, list.length]),
		[
			['n0', 2],
			['n1', 1],
		],
	)
	gates.of('n0').resolve()
	await settle()
	assert.deepEqual(
		[...gates.waiting].map(([name, list]) => [name, list.length]),
		[
			['n0', 1],
			['n1', 2],
		],
	)
})

test('maxConcurrentJobs 1: one node at a time', async () => {
	let running = 0
	let most = 0
	const body = async () => {
		most = Math.max(most, ++running)
		await new Promise((resolve) => setImmediate(resolve))
		running--
		return { output: 1 }
	}
	const blueprint = { id: 'bp', nodes: Array.from({ length: 5 }, (_, i) => ({ id: `n${i}`, uses: 'body' })), edges: [] }
	const engine = startWorker(
		{ registry: { body }, blueprints: { bp: blueprint } },
		{ sessions: { maxConcurrentJobs: 1 } },
	)
	const runs = [1, 2, 3].map(() => startRun(engine, blueprint))
	for (const runId of runs) await engine.result(runId)
	assert.equal(most, 1)
})

test('a closed session gives its permits back, at once or after a grace', async (t) => {
	t.mock.timers.enable({ apis: ['setTimeout'] })
	const { open, tell, gates, worker } = scene(fan, { sessions: { maxConcurrentJobs: 2 } })
	open(['a', 'b'], { handle: 1 })
	open(['a', 'b'], { handle: 2 })
	await Promise.resolve()
	for (let i = 0; i < 50; i++) await Promise.resolve()
	assert.equal(worker.sessions.stats().running, 2)
	tell(6, 1, 'lost')
	for (let i = 0; i < 50; i++) await Promise.resolve()
	assert.equal(gates.waiting.get('a')?.length, 1, 'nodes that do not listen still have theirs')
	t.mock.timers.tick(5000)
	for (let i = 0; i < 50; i++) await Promise.resolve()
	assert.equal(gates.waiting.get('a')?.length, 2)
	gates.of('a').resolve()
	for (let i = 0; i < 50; i++) await Promise.resolve()
	assert.equal(worker.sessions.stats().running, 2, 'a permit is given back once')
})

test('onJobStart is awaited before each node; a throw fails the node', async () => {
	/** @type {any[]} */
	const started = []
	const hooks = {
		onJobStart: async (/** @type {any[]} */ ...args) => {
			started.push(args)
			if (args[2] === 'b') throw new Error('not today')
		},
	}
	const engine = startWorker({ registry: { gate: async () => ({ output: 1 }) }, blueprints: { bp: line } }, { hooks })
	const runId = startRun(engine, line)
	const { data } = await engine.result(runId)
	assert.deepEqual(started, [
		[runId, 'bp', 'a'],
		[runId, 'bp', 'b'],
	])
	assert.equal(data.reason, 'not today')
})

test('isReadyForFanIn: false drops a join until the next predecessor, a throw fails it', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [node('a'), node('b'), node('b2'), node('j', { config: { joinStrategy: 'any' } })],
		edges: [edge('a>j'), edge('b>b2'), edge('b2>j')],
	}
	for (const answers of [[false, true], [true, false], [new Error('no join')]]) {
		/** @type {any[]} */
		const asked = []
		const hooks = {
			isReadyForFanIn: async (/** @type {string} */ run, /** @type {any} */ bp, /** @type {string} */ nodeId) => {
				asked.push([bp.id, nodeId])
				const answer = answers[asked.length - 1]
				if (answer instanceof Error) throw answer
				return answer
			},
		}
		let joined = 0
		const gateBody = async (/** @type {any} */ { params }) => (params.name === 'j' && joined++, { output: 1 })
		const engine = startWorker({ registry: { gate: gateBody }, blueprints: { bp: blueprint } }, { hooks })
		const { status, data } = await engine.result(startRun(engine, blueprint))
		assert.deepEqual(asked.slice(0, 1), [['bp', 'j']])
		assert.equal(joined, 1)
		assert.equal(status, answers[0] instanceof Error ? 'failed' : 'completed')
		if (answers[0] instanceof Error) assert.equal(data.reason, 'no join')
	}
})

test('the adapter bus hears of jobs once their step is durable', async () => {
	/** @type {any[]} */
	const events = []
	const adapterBus = { emit: async (/** @type {any} */ event) => void events.push(event) }
	const { open, settle, tell, gates } = scene(line, { adapterBus })
	open(['a'])
	await settle()
	gates.of('a').resolve()
	await settle()
	assert.deepEqual(events, [])
	tell(2, 1, 1)
	await settle()
	assert.deepEqual(
		events.map(({ type }) => type),
		['job:processed', 'job:enqueued'],
	)
	const { duration, ...processed } = events[0].payload
	assert.deepEqual(processed, { runId: 'run-1', blueprintId: 'bp', nodeId: 'a', success: true })
	assert.equal(typeof duration, 'number')
	assert.deepEqual(events[1].payload, { runId: 'run-1', blueprintId: 'bp', nodeId: 'b' })
	gates.of('b').reject(new Error('no'))
	await settle()
	tell(2, 1, 2)
	await settle()
	assert.equal(events[2].type, 'job:failed')
	assert.equal(events[2].payload.error.message, "Node 'b' execution failed")
})

test('a bus that throws on jobs or at the end is logged and changes nothing', async () => {
	/** @type {string[]} */
	const warnings = []
	const emit = async (/** @type {any} */ { type }) => {
		if (type.startsWith('job:') || type === 'workflow:finish') throw new Error('bus down')
	}
	const engine = startWorker(
		{ registry: { gate: async () => ({ output: 1 }) }, blueprints: { bp: line }, eventBus: { emit } },
		{
			adapterBus: { emit },
			logger: { debug() {}, info() {}, error() {}, warn: (/** @type {string} */ text) => warnings.push(text) },
		},
	)
	const { status } = await engine.result(startRun(engine, line))
	await engine.quiet()
	assert.equal(status, 'completed')
	assert.equal(warnings.filter((text) => text.includes('bus down')).length, 4)
})

test('events that are not about sessions go to the fallback', () => {
	const { tell, worker } = scene(line)
	tell(8, 'info', 'hello')
	tell(7, 5, 'handle', '{}')
	assert.deepEqual(worker.others, [
		[8, 'info', 'hello'],
		[7, 5, 'handle', '{}'],
	])
})

test('a blueprint registered later is found; one replaced is analysed anew', async () => {
	const blueprints = /** @type {Record<string, any>} */ ({})
	const engine = startWorker({
		registry: { one: async () => ({ output: 1 }), two: async () => ({ output: 2 }) },
		blueprints,
	})
	const first = { id: 'bp', nodes: [{ id: 'a', uses: 'one' }], edges: [] }
	blueprints.bp = first
	assert.equal((await engine.result(startRun(engine, first))).data.payload.context.a, 1)
	blueprints.bp = { id: 'bp', nodes: [{ id: 'a', uses: 'two' }], edges: [] }
	assert.equal((await engine.result(startRun(engine, first))).data.payload.context.a, 2)
})

test('a custom serializer: plain values stay readable, others go through it, the payload is its own', async () => {
	const serializer = {
		serialize: (/** @type {any} */ data) =>
			JSON.stringify(data, (_key, value) => (value instanceof Map ? { map: [...value] } : value)),
		deserialize: (/** @type {string} */ text) =>
			JSON.parse(text, (_key, value) => (Array.isArray(value?.map) ? new Map(value.map) : value)),
	}
	const blueprint = {
		id: 'bp',
		nodes: [
			{ id: 'a', uses: 'makes' },
			{ id: 'b', uses: 'reads' },
		],
		edges: [edge('a>b')],
	}
	const registry = {
		makes: async () => ({ output: new Map([['x', 1]]) }),
		reads: async (/** @type {any} */ { input }) => ({ output: { is: input instanceof Map, x: input.get('x') } }),
	}
	for (const killAt of [[], [3]]) {
		const engine = startWorker({ registry, blueprints: { bp: blueprint }, serializer }, { engine: { killAt } })
		const runId = startRun(engine, blueprint, { plain: { y: [1] } })
		const { data } = await engine.result(runId)
		const { entries } = /** @type {any} */ (engine.documents.get(runId))
		assert.equal(entries.get('plain'), '{"y":[1]}')
		assert.equal(entries.get('a'), '{"_flowcraft:value":"{\\"v\\":{\\"map\\":[[\\"x\\",1]]}}"}')
		assert.equal(entries.get('b'), '{"is":true,"x":1}')
		assert.deepEqual(serializer.deserialize(data.payload.serializedContext).a, new Map([['x', 1]]))
		assert.deepEqual(data.payload.context.b, { is: true, x: 1 })
		assert.equal(data.payload.context._executionId, runId)
		assert.equal('blueprintId' in data.payload.context, false)
	}
})
