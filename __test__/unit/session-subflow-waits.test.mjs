/** Subflows whose child awaits, and how it goes on (rows 46-48, 50, 52, 53, 58). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { awaitingRun, edge, node, registry, resumed } from '../support/waits.mjs'
import { bareSessions, startRun, startWorker } from '../support/worker.mjs'

const turn = () => new Promise((resolve) => setImmediate(resolve))
const sub = (/** @type {string} */ id, blueprintId = 'child', /** @type {any} */ more = {}) =>
	node(id, 'subflow', { params: { blueprintId, ...more.params }, config: more.config })
const parent = { id: 'bp', nodes: [sub('s'), node('after')], edges: [edge('s>after')] }
/** A parent that gets all of what its child has. */
const open = { ...parent, nodes: [sub('s', 'child', { params: { outputs: {} } }), node('after')] }
const outputsOf = (/** @type {any} */ context) =>
	Object.fromEntries(
		Object.entries(context).flatMap(([key, value]) =>
			key.startsWith('_outputs.') ? [[key.slice('_outputs.'.length), value]] : [],
		),
	)
const checkpointOf = (/** @type {any} */ engine, /** @type {string} */ runId) =>
	JSON.parse(engine.documents.get(runId).checkpoint)

/** What the child has put out in the end. @param {any} child @param {any[]} answers one after the other @param {any} [options] */
async function childAfter(child, answers, options = {}) {
	const { engine, runId } = await awaitingRun(options.parent ?? open, { blueprints: { child }, ...options })
	let row
	for (const answer of answers) row = await resumed(engine, runId, [answer])
	await engine.quiet()
	return { ...row, engine, runId, outputs: outputsOf(row.data.payload.context['_outputs.s'] ?? {}) }
}

/** @param {any} blueprints */
async function awaitingBare(blueprints) {
	const worker = bareSessions({ registry, blueprints: { bp: open, ...blueprints } })
	worker.open(['s'])
	await worker.settle()
	worker.tell(2, 1, worker.steps.at(-1)?.seq ?? 0)
	await worker.settle()
	return worker
}

/** Another session goes on from the last step of this one. @param {any} worker @param {any[]} commands */
async function goesOn(worker, commands) {
	const entries = Object.fromEntries(
		worker.steps.flatMap(({ changes }) => Object.entries(changes)).map(([key, raw]) => [key, raw && JSON.parse(raw)]),
	)
	const kept = Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== ''))
	worker.tell(6, 1, 'over')
	worker.open([], { entries: kept, checkpoint: worker.steps.at(-1).text, commands })
	for (let i = 0; i < 3; i++) {
		await worker.settle()
		worker.tell(2, 1, worker.steps.at(-1).seq)
	}
	await worker.settle()
}

test('row 53: a subflow for which a later wave asks while its child awaits goes on with the answer, and does not begin again beside it', async () => {
	const child = { id: 'child', nodes: [node('w', 'wait')], edges: [] }
	const blueprint = {
		id: 'bp',
		nodes: [
			node('a'),
			node('x'),
			node('y'),
			node('z', 'slow'),
			node('any', 'input', { config: { joinStrategy: 'any' } }),
			sub('s', 'child', { params: { outputs: { answered: 'w' } } }),
		],
		edges: [edge('a>s'), edge('x>any'), edge('y>z'), edge('z>any'), edge('any>s')],
	}
	const { engine, runId } = await awaitingRun(blueprint, { blueprints: { child }, schedule: 'eager' })
	assert.equal(checkpointOf(engine, runId).asks?.[0][0], 's')
	const { status, data } = await resumed(engine, runId, [{ nodeId: 's/w', output: 'yes' }])
	assert.equal(status, 'completed')
	assert.equal(data.payload.context.answered, 'yes')
	assert.equal('_subflowState.s' in data.payload.context, false)
})

for (const schedule of ['eager', 'wave']) {
	describe(`a child that awaits (${schedule})`, () => {
		test('row 52: its answer routes by action, also where the wait has edges with actions only', async () => {
			const child = {
				id: 'child',
				nodes: [node('w', 'wait'), node('yes'), node('no')],
				edges: [edge('w>yes', { action: 'approve' }), edge('w>no', { action: 'reject' })],
			}
			const { status, data, outputs } = await childAfter(child, [{ action: 'approve', output: 1 }], { schedule })
			assert.equal(status, 'completed')
			assert.deepEqual(outputs, { w: 1, yes: { got: 1 } })
			assert.equal('_subflowState.s' in data.payload.context, false)
			assert.ok('after' in data.payload.context)
		})

		test('rows 14, 30: branches that were not taken and fallbacks that were not needed do not run', async () => {
			const child = {
				id: 'child',
				nodes: [
					node('a', 'acts', { config: { fallback: 'instead' } }),
					node('taken', 'wait'),
					node('other'),
					node('instead'),
					node('end'),
				],
				edges: [edge('a>taken', { action: 'go' }), edge('a>other', { action: 'stay' }), edge('taken>end')],
			}
			const { outputs } = await childAfter(child, [{ output: 1 }], { schedule })
			assert.deepEqual(outputs, { a: 'acted', taken: 1, end: { got: 1 } })
		})

		test('row 53: a join of two waits runs once, with both answers, whichever comes first', async () => {
			const child = {
				id: 'child',
				nodes: [node('v', 'wait'), node('w', 'wait'), node('j', 'input', { inputs: { v: 'v', w: 'w' } })],
				edges: [edge('v>j'), edge('w>j')],
			}
			for (const order of [
				['v', 'w'],
				['w', 'v'],
			]) {
				const [first, second] = order.map((id) => ({ nodeId: `s/${id}`, output: `to ${id}` }))
				const { engine, runId } = await awaitingRun(open, { blueprints: { child }, schedule })
				const half = await resumed(engine, runId, [first])
				assert.equal(half.status, 'awaiting')
				const text = half.data.payload.context['_subflowState.s']
				assert.deepEqual(JSON.parse(text)._awaitingNodeIds, [order[1]])
				assert.equal('_outputs.j' in JSON.parse(text), false)
				const { status, data } = await resumed(engine, runId, [second])
				assert.equal(status, 'completed')
				assert.deepEqual(outputsOf(data.payload.context['_outputs.s']).j, { got: { v: 'to v', w: 'to w' } })
			}
		})

		test('row 48: two subflows deep, successors run on each level', async () => {
			const child = { id: 'child', nodes: [sub('inner', 'inner'), node('x')], edges: [edge('inner>x')] }
			const inner = { id: 'inner', nodes: [node('w', 'wait'), node('y')], edges: [edge('w>y')] }
			const answers = [{ output: 'deep' }, { nodeId: 's', output: 'deep' }, { nodeId: 's/inner/w', output: 'deep' }]
			for (const answer of answers) {
				const { engine, runId } = await awaitingRun(open, { blueprints: { child, inner }, schedule })
				const { status, data } = await resumed(engine, runId, [answer])
				assert.equal(status, 'completed')
				const context = data.payload.context['_outputs.s']
				assert.deepEqual(outputsOf(context), { inner: { got: 'deep' }, x: { got: { got: 'deep' } } })
				assert.deepEqual(
					Object.keys(context).filter((key) => key.startsWith('_subflowState')),
					[],
				)
			}
		})

		test('row 51: what was ready beside the wait runs when it has its answer, and not before', async () => {
			/** @type {string[]} */
			const ran = []
			const traced = async (/** @type {any} */ { params }) => ({ output: ran.push(params.id) })
			const step = (/** @type {string} */ id) => node(id, 'traced', { params: { id } })
			const child = {
				id: 'child',
				nodes: [node('w', 'wait'), step('a'), step('b'), step('c'), step('end')],
				edges: [edge('a>b'), edge('b>c'), edge('w>end')],
			}
			const own = { blueprints: { child }, registry: { ...registry, traced }, schedule }
			const { engine, runId } = await awaitingRun(open, own)
			assert.deepEqual(ran, ['a'])
			assert.equal((await resumed(engine, runId, [{}])).status, 'completed')
			assert.deepEqual(ran.toSorted(), ['a', 'b', 'c', 'end'])
		})

		test('a wait in a loop of the child awaits in each round', async () => {
			const child = {
				id: 'child',
				nodes: [node('begin'), node('w', 'wait', { config: { joinStrategy: 'any' } }), node('end')],
				edges: [edge('begin>w'), edge('w>w', { action: 'again' }), edge('w>end', { action: 'stop' })],
			}
			const again = { nodeId: 's/w', action: 'again', output: 1 }
			const { status, outputs } = await childAfter(child, [again, again, { action: 'stop', output: 'over' }], {
				schedule,
			})
			assert.equal(status, 'completed')
			assert.deepEqual(outputs.end, { got: 'over' })
		})
	})
}

test('rows 46, 58: nodes of the child are told the run id before its wait and after it', async () => {
	/** @type {string[]} */
	const told = []
	const tell = async (/** @type {any} */ { dependencies }) => ({ output: told.push(dependencies.runtime.executionId) })
	const child = {
		id: 'child',
		nodes: [node('a', 'tell'), node('w', 'wait'), node('b', 'tell'), sub('inner', 'inner')],
		edges: [edge('a>w'), edge('w>b'), edge('b>inner')],
	}
	const inner = { id: 'inner', nodes: [node('c', 'tell')], edges: [] }
	const { engine, runId } = await awaitingRun(open, {
		blueprints: { child, inner },
		registry: { ...registry, tell },
	})
	await resumed(engine, runId, [{ output: 1 }])
	assert.deepEqual(told, [runId, runId, runId])
})

test('rows 19, 36, 37, 61: what the child has made before its wait is there after it', async () => {
	const child = {
		id: 'child',
		nodes: [
			node('list', 'list'),
			node('scatter', 'batch-scatter', {
				inputs: 'list',
				params: { workerUsesKey: 'worker', gatherNodeId: 'gather', outputKey: 'out' },
			}),
			node('gather', 'batch-gather', { params: { gatherNodeId: 'gather', outputKey: 'out' } }),
			node('emitter', 'emits'),
			node('shaped', 'input', { inputs: 'list' }),
			node('end', 'input', { inputs: { out: 'out', made: 'made' } }),
			node('late', 'has'),
		],
		edges: [
			edge('list>scatter'),
			edge('scatter>gather'),
			edge('gather>end'),
			edge('list>shaped', { transform: 'input.length' }),
			edge('emitter>late'),
		],
	}
	const { outputs } = await childAfter(child, [{ nodeId: 's/made', output: 'now' }], {
		registry: {
			...registry,
			list: async () => ({ output: [1, 2, 3] }),
			worker: async (/** @type {any} */ { input }) => ({ output: input * 10 }),
			emits: async (/** @type {any} */ { context }) => {
				await context.set('nothing', undefined)
				return { output: 1, dynamicNodes: [node('made', 'wait')] }
			},
			has: async (/** @type {any} */ { context }) => ({ output: await context.has('nothing') }),
		},
	})
	assert.deepEqual(outputs.end, { got: { out: [10, 20, 30], made: 'now' } })
	assert.deepEqual(outputs.shaped, { got: 3 })
	assert.equal(outputs.late, true)
})

describe('a child that fails after its wait', () => {
	const fails = { id: 'child', nodes: [node('w', 'wait'), node('x', 'nowhere')], edges: [edge('w>x')] }

	test('fails its node as in memory', async () => {
		const { status, data } = await childAfter(fails, [{ output: 1 }])
		assert.equal(status, 'failed')
		assert.match(data.reason, /^Sub-workflow 'child' did not complete successfully\. Status: failed\./)
		assert.equal('_subflowState.s' in data.payload.context, false)
	})

	test('lets the fallback of its node run', async () => {
		const replaced = {
			id: 'bp',
			nodes: [sub('s', 'child', { config: { fallback: 'instead' } }), node('instead'), node('after')],
			edges: [edge('s>after')],
		}
		const { status, data } = await childAfter(fails, [{ output: 1 }], { parent: replaced })
		assert.equal(status, 'completed')
		assert.ok('_outputs.instead' in data.payload.context && '_outputs.after' in data.payload.context)
	})

	test('keeps the errors of before its wait', async () => {
		const child = { ...fails, nodes: [node('w', 'wait'), node('x'), node('bad', 'nowhere')] }
		const { status, data } = await childAfter(child, [{ output: 1 }])
		assert.equal(status, 'failed')
		const [{ cause }] = data.payload.errors
		assert.match(cause.message, /nowhere/)
	})

	test('is tried again from its wait on', async () => {
		let [before, after] = [0, 0]
		const child = {
			id: 'child',
			nodes: [node('a', 'counts'), node('w', 'wait'), node('x', 'once')],
			edges: [edge('a>w'), edge('w>x')],
		}
		const { status, outputs } = await childAfter(child, [{ output: 1 }], {
			parent: {
				...open,
				nodes: [sub('s', 'child', { params: { outputs: {} }, config: { maxRetries: 2 } }), node('after')],
			},
			registry: {
				...registry,
				counts: async () => ({ output: ++before }),
				once: async (/** @type {any} */ { input }) => {
					if (++after === 1) throw new Error('not yet')
					return { output: input }
				},
			},
		})
		assert.deepEqual([status, before, after, outputs.x], ['completed', 1, 2, 1])
	})
})

describe('answers and their waits', () => {
	const two = {
		id: 'child',
		nodes: [node('v', 'wait'), node('w', 'wait'), node('x'), node('y')],
		edges: [edge('v>x'), edge('w>y')],
	}

	test('both at once; a second one changes nothing', async () => {
		const { engine, runId } = await awaitingRun(open, { blueprints: { child: two } })
		engine.keepOpen(runId)
		const session = await engine.reopen(runId)
		assert.equal(session.resume({ nodeId: 's/v', output: 1 }), true)
		assert.equal(session.resume({ nodeId: 's/w', output: 2 }), true)
		assert.equal(session.resume({ nodeId: 's/v', output: 3 }), false)
		for (let i = 0; engine.status(runId).status !== 'completed' && i < 200; i++) await turn()
		assert.deepEqual(outputsOf(engine.status(runId).data.payload.context['_outputs.s']), {
			v: 1,
			w: 2,
			x: { got: 1 },
			y: { got: 2 },
		})
		assert.equal(session.resume({ nodeId: 's/w', output: 4 }), false)
	})

	test('without an address the first one that waits gets it', async () => {
		const { outputs } = await childAfter(two, [{ output: 1 }, { output: 2 }])
		assert.deepEqual([outputs.v, outputs.w], [1, 2])
	})

	test('a command names the visit in which its wait has begun: one for a wait of before changes nothing', async () => {
		const loop = {
			id: 'child',
			nodes: [node('b'), node('w', 'wait', { config: { joinStrategy: 'any' } })],
			edges: [edge('b>w'), edge('w>w', { action: 'again' })],
		}
		const worker = await awaitingBare({ child: loop })
		const visitOf = () => worker.steps.at(-1).checkpoint.children[0][1].waiting[0][1]
		const command = (/** @type {number} */ visit, /** @type {any} */ more) => ({
			id: `for ${visit}`,
			kind: 'resume',
			nodeId: 's/w',
			visit,
			output: 'answer',
			...more,
		})
		const first = visitOf()
		await goesOn(worker, [command(first, { action: 'again' })])
		assert.notEqual(visitOf(), first)
		await goesOn(worker, [command(first, { id: 'late' })])
		assert.ok(worker.calls.some(([name]) => name === 'commandDone'))
		assert.equal(worker.steps.at(-1).outcome.status, 'awaiting')
		await goesOn(worker, [command(visitOf())])
		assert.equal(worker.steps.at(-1).outcome.status, 'completed')
	})

	for (const address of ['s/w', 's', 's/inner', 's/inner/u']) {
		test(`one that comes early is kept for ${address}`, async () => {
			const child = {
				id: 'child',
				nodes: [node('slow', 'slow'), address.includes('inner') ? sub('inner', 'inner') : node('w', 'wait')],
				edges: [edge(address.includes('inner') ? 'slow>inner' : 'slow>w')],
			}
			const inner = { id: 'inner', nodes: [node('u', 'wait')], edges: [] }
			const engine = startWorker({ registry, blueprints: { bp: parent, child, inner } })
			const runId = startRun(engine, parent)
			for (let i = 0; i < 5; i++) await turn()
			assert.equal(engine.session(runId).resume({ nodeId: address, output: 'early' }), true)
			assert.equal(engine.session(runId).resume({ nodeId: address, output: 'second' }), false)
			const { status, data } = await engine.result(runId)
			assert.equal(status, 'completed')
			assert.equal(data.payload.context.s, 'early')
		})
	}

	test('ids with slashes: a node of the run goes before one in a subflow', async () => {
		const odd = { id: 'bp', nodes: [sub('s'), node('s/w', 'wait')], edges: [] }
		const child = { id: 'child', nodes: [node('w', 'wait')], edges: [] }
		const { engine, runId } = await awaitingRun(odd, { blueprints: { child } })
		await resumed(engine, runId, [{ nodeId: 's/w', output: 'run' }])
		const { data } = await resumed(engine, runId, [{ nodeId: 's', output: 'child' }])
		assert.deepEqual([data.payload.context['s/w'], data.payload.context.s], ['run', 'child'])
	})
})

describe('timers of children', () => {
	const nap = (/** @type {string} */ id, /** @type {number} */ duration) => node(id, 'sleep', { params: { duration } })
	const steps = (/** @type {any} */ worker) => worker.steps.flatMap(({ extras }) => extras?.timers ?? [])

	const waking = (/** @type {any[]} */ [nodeId, visit, at]) => ({
		id: `${at}`,
		kind: 'wake',
		nodeId,
		visit,
		at,
		bucket: 0,
	})

	test('rows 48, 50: a sleep two subflows deep has a durable timer, and goes on with it', async () => {
		const child = { id: 'child', nodes: [sub('inner', 'inner'), node('x')], edges: [edge('inner>x')] }
		const inner = { id: 'inner', nodes: [nap('nap', 60_000), node('y')], edges: [edge('nap>y')] }
		const worker = await awaitingBare({ child, inner })
		const [timer] = steps(worker)
		assert.equal(timer[0], 's')
		assert.ok(timer[2] > Date.now() + 50_000)
		await goesOn(worker, [waking(timer)])
		const { outcome, changes } = worker.steps.at(-1)
		assert.equal(outcome.status, 'completed')
		assert.ok('after' in changes)
		assert.deepEqual(Object.keys(outputsOf(JSON.parse(worker.steps.findLast((one) => one.changes.s).changes.s))), [
			'inner',
			'x',
		])
	})

	test('a timer wakes everybody in the child whose time has come, and the next one has a time of its own', async () => {
		const child = { id: 'child', nodes: [nap('a', 0), nap('b', 0), nap('c', 60_000)], edges: [] }
		const worker = await awaitingBare({ child })
		const [first] = steps(worker)
		await goesOn(worker, [{ ...waking(first), at: first[2] }])
		const { outcome, checkpoint } = worker.steps.at(-1)
		assert.equal(outcome.status, 'awaiting')
		assert.deepEqual(
			checkpoint.children[0][1].waiting.map(([nodeId]) => nodeId),
			['c'],
		)
		const [, second] = steps(worker)
		assert.notEqual(second[2], first[2])
		await goesOn(worker, [waking(second)])
		assert.equal(worker.steps.at(-1).outcome.status, 'completed')
	})

	test('a wait beside a sleep: the timer is none of its business, nor is its answer one of the sleep', async () => {
		const child = { id: 'child', nodes: [nap('nap', 60_000), node('w', 'wait')], edges: [] }
		const woken = await awaitingBare({ child })
		const [timer] = steps(woken)
		await goesOn(woken, [waking(timer)])
		assert.deepEqual(
			woken.steps.at(-1).checkpoint.children[0][1].waiting.map(([nodeId]) => nodeId),
			['w'],
		)
		const worker = await awaitingBare({ child })
		await goesOn(worker, [{ id: 'r', kind: 'resume', nodeId: 's/w', output: 1 }])
		assert.deepEqual(
			worker.steps.at(-1).checkpoint.children[0][1].waiting.map(([nodeId]) => nodeId),
			['nap'],
		)
	})
})

test('a child that waits goes on in whichever worker, killed at any call', async () => {
	const child = {
		id: 'child',
		nodes: [
			node('a'),
			node('v', 'wait'),
			sub('inner', 'inner'),
			node('j', 'input', { inputs: { v: 'v', i: 'inner' } }),
		],
		edges: [edge('a>v'), edge('v>j'), edge('inner>j')],
	}
	const inner = { id: 'inner', nodes: [node('w', 'wait'), node('y')], edges: [edge('w>y')] }
	const answers = [
		{ nodeId: 's/inner/w', output: 1 },
		{ nodeId: 's/v', output: 2 },
	]
	const { engine } = await childAfter(child, answers, { blueprints: { child, inner } })
	for (let killAt = 1; killAt <= engine.calls.length; killAt++) {
		for (const killAfterEffect of [false, true]) {
			const own = { blueprints: { child, inner }, engine: { killAt: [killAt], killAfterEffect } }
			const again = await awaitingRun(open, own)
			for (const answer of answers) await answeredAtLast(again, answer)
			const { status, data } = again.engine.status(again.runId)
			assert.equal(status, 'completed', `killed at call ${killAt}`)
			assert.deepEqual(outputsOf(data.payload.context.s).j, { got: { v: 2, i: { got: 1 } } })
		}
	}
})

/** A session that dies forgets an answer that no step holds; a command would come again. @param {any} run @param {any} answer */
async function answeredAtLast({ engine, runId }, answer) {
	const [nodeId] = answer.nodeId.split('/').slice(-1)
	const isOpen = () => JSON.stringify(checkpointOf(engine, runId).children ?? []).includes(`["${nodeId}",`)
	engine.keepOpen(runId)
	for (let tries = 0; tries < 5 && isOpen(); tries++) {
		if (!engine.session(runId)) engine.send(runId, 'bp', '(resume)')
		for (let i = 0; !engine.session(runId) && i < 20; i++) await turn()
		engine.session(runId)?.resume(answer)
		for (let i = 0; isOpen() && i < 60; i++) await turn()
	}
}

test('a child of which only the context is kept goes on from its outputs', async () => {
	const child = { id: 'child', nodes: [node('a'), node('w', 'wait'), node('x')], edges: [edge('a>w'), edge('w>x')] }
	const { engine, runId } = await awaitingRun(open, { blueprints: { child } })
	const stored = engine.documents.get(runId)
	stored.checkpoint = JSON.stringify({ ...checkpointOf(engine, runId), children: undefined })
	const { status, data } = await resumed(engine, runId, [{ nodeId: 's/w', output: 1 }])
	assert.equal(status, 'completed')
	assert.deepEqual(outputsOf(data.payload.context.s), { a: {}, w: 1, x: { got: 1 } })
})
