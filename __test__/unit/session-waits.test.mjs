/** Waits and sleeps, and how they go on (rows 49-53, D12). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { awaitingRun, edge, node, registry, resumed } from '../support/waits.mjs'
import { startRun, startWorker } from '../support/worker.mjs'

for (const schedule of ['eager', 'wave']) {
	test(`row 52: a resume routes by output and action (${schedule})`, async () => {
		const blueprint = {
			id: 'bp',
			nodes: [node('a'), node('w', 'wait'), node('yes'), node('no'), node('side')],
			edges: [edge('a>w'), edge('w>yes', { action: 'approve' }), edge('w>no', { action: 'reject' }), edge('a>side')],
		}
		const { engine, runId, first } = await awaitingRun(blueprint, { schedule })
		assert.deepEqual(first.data.payload.context._awaitingDetails, { w: { reason: 'external_event' } })
		const { status, data } = await resumed(engine, runId, [{ action: 'approve', output: { by: 'me' } }])
		assert.equal(status, 'completed')
		assert.deepEqual(data.payload.context.yes, { got: { by: 'me' } })
		assert.deepEqual(data.payload.context.w, { by: 'me' })
		assert.equal('no' in data.payload.context, false)
		assert.equal('_awaitingNodeIds' in data.payload.context, false)
		assert.deepEqual(data.payload.context.side, { got: {} })
	})

	test(`row 53: several waits, one after the other (${schedule})`, async () => {
		const blueprint = {
			id: 'bp',
			nodes: [node('v', 'wait'), node('w', 'wait'), node('j', 'input', { inputs: { v: 'v', w: 'w' } }), node('x')],
			edges: [edge('v>j'), edge('w>j'), edge('w>x')],
		}
		const { engine, runId } = await awaitingRun(blueprint, { schedule })
		const half = await resumed(engine, runId, [{ nodeId: 'w', output: 1 }])
		assert.equal(half.status, 'awaiting')
		assert.deepEqual(half.data.payload.context._awaitingNodeIds, ['v'])
		assert.deepEqual(half.data.payload.context.x, { got: 1 })
		const { status, data } = await resumed(engine, runId, [{ nodeId: 'v', output: 2 }])
		assert.equal(status, 'completed')
		assert.deepEqual(data.payload.context.j, { got: { v: 2, w: 1 } })
	})
}

test('row 50: a sleep goes on with what it has passed on', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [node('a'), node('s', 'sleep', { params: { duration: '1h' } }), node('b')],
		edges: [edge('a>s'), edge('s>b')],
	}
	const { engine, runId, first } = await awaitingRun(blueprint)
	assert.match(first.data.payload.context._awaitingDetails.s.wakeUpAt, /^\d{4}-/)
	const checkpoint = JSON.parse(engine.documents.get(runId).checkpoint)
	assert.equal(checkpoint.details.s.wakeUpAt, first.data.payload.context._awaitingDetails.s.wakeUpAt)
	const { data } = await resumed(engine, runId, [{ nodeId: 's' }])
	assert.deepEqual(data.payload.context.b, { got: {} })
})

test('a join behind a wait does not run before the wait is over', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [node('w', 'wait'), node('a'), node('j', 'input', { inputs: 'w' })],
		edges: [edge('w>j'), edge('a>j')],
	}
	const { engine, runId, first } = await awaitingRun(blueprint)
	assert.equal('j' in first.data.payload.context, false)
	const { data } = await resumed(engine, runId, [{ output: 'now' }])
	assert.deepEqual(data.payload.context.j, { got: 'now' })
})

for (const schedule of ['eager', 'wave']) {
	test(`row 48: an all join waits for a fallback that awaits (${schedule})`, async () => {
		const blueprint = {
			id: 'bp',
			nodes: [
				node('a', 'fails', { config: { fallback: 'fa' } }),
				node('b', 'fails', { config: { fallback: 'fb' } }),
				node('fa'),
				node('fb', 'wait'),
				node('j', 'input', { inputs: { fb: 'fb' } }),
			],
			edges: [edge('a>j'), edge('b>j')],
		}
		const fails = async () => {
			throw new Error('no')
		}
		const { engine, runId, first } = await awaitingRun(blueprint, { schedule, registry: { ...registry, fails } })
		assert.equal('j' in first.data.payload.context, false)
		const { status, data } = await resumed(engine, runId, [{ output: 'B' }])
		assert.equal(status, 'completed')
		assert.deepEqual(data.payload.context.j, { got: { fb: 'B' } })
	})
}

test('a resume comes after everything that has run: a join behind it gets its output', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [node('w', 'wait'), node('a'), node('a2'), node('a3'), node('j')],
		edges: [edge('w>j'), edge('a>a2'), edge('a2>a3'), edge('a3>j')],
	}
	const { engine, runId } = await awaitingRun(blueprint)
	const { data } = await resumed(engine, runId, [{ output: 'answer' }])
	assert.deepEqual(data.payload.context.j, { got: 'answer' })
})

test('the first resume of a wait counts; one too many is refused', async () => {
	const blueprint = { id: 'bp', nodes: [node('w', 'wait'), node('b')], edges: [edge('w>b')] }
	const { engine, runId } = await awaitingRun(blueprint)
	engine.keepOpen(runId)
	const session = await engine.reopen(runId)
	assert.equal(session.resume({ nodeId: 'nobody', output: 0 }), false)
	assert.equal(session.resume({ nodeId: 'w', output: 1 }), true)
	assert.equal(session.resume({ nodeId: 'w', output: 2 }), false)
	for (let i = 0; i < 50; i++) await turn()
	assert.deepEqual(engine.status(runId).data.payload.context.b, { got: 1 })
	assert.equal(session.resume({ nodeId: 'w', output: 3 }), false)
})

const turn = () => new Promise((resolve) => setImmediate(resolve))

for (const killAt of [undefined, 4]) {
	test(`a resume that comes before its wait is kept${killAt ? ', in the checkpoint, too' : ''}`, async () => {
		const blueprint = {
			id: 'bp',
			nodes: [node('a'), node('slow', 'slow'), node('w', 'wait'), node('b')],
			edges: [edge('a>slow'), edge('slow>w'), edge('w>b')],
		}
		const engine = startWorker(
			{ registry, blueprints: { bp: blueprint } },
			{ engine: killAt ? { killAt: [killAt] } : {} },
		)
		const runId = startRun(engine, blueprint)
		for (let i = 0; i < 5; i++) await turn()
		const session = engine.session(runId)
		assert.equal(session.resume({ nodeId: 'w', output: 'early' }), true)
		assert.equal(session.resume({ nodeId: 'w', output: 'second' }), false)
		const { status, data } = await engine.result(runId)
		assert.equal(status, 'completed')
		assert.deepEqual(data.payload.context.b, { got: 'early' })
	})
}

test('a wait in a loop awaits again in each round, and waves are counted anew after it', async () => {
	const blueprint = {
		id: 'bp',
		nodes: [node('begin'), node('w', 'wait', { config: { joinStrategy: 'any' } }), node('end')],
		edges: [edge('begin>w'), edge('w>w', { action: 'again' }), edge('w>end', { action: 'stop' })],
	}
	const { engine, runId } = await awaitingRun(blueprint)
	for (let round = 0; round < 3; round++)
		assert.equal((await resumed(engine, runId, [{ action: 'again', output: round }])).status, 'awaiting')
	assert.equal(JSON.parse(engine.documents.get(runId).checkpoint).base, 4)
	const { data } = await resumed(engine, runId, [{ action: 'stop', output: 'done' }])
	assert.deepEqual(data.payload.context.end, { got: 'done' })
})
