/** What workers of 1.4.4 have done too early or not at all, and what becomes of it (G12, docs/checkpoint.md). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bareSessions } from '../support/worker.mjs'

const node = (/** @type {string} */ id, uses = 'pass', /** @type {any} */ more = {}) => ({ id, uses, ...more })
const edges = (/** @type {string[]} */ ...paths) =>
	paths.map((path) => ({ source: path.split('>')[0], target: path.split('>')[1] }))
const begun = { blueprintId: 'bp', blueprintVersion: null, '_outputs.s': 's' }

/**
 * A worker that opens the run for these messages, and what it does with it.
 * @param {any} blueprint @param {string[]} nodeIds @param {any} entries what 1.4.4 has left @param {any} [more]
 */
async function takeOver(
	blueprint,
	nodeIds,
	entries,
	{ status, checkpoint, commands, timersMissing, strays = [], moreMayCome = false } = {},
) {
	/** @type {string[]} */
	const ran = []
	const body =
		(/** @type {(input: any) => any} */ work) =>
		async (/** @type {any} */ { input, dependencies, params }) => {
			ran.push(params?.id ?? input)
			return { output: await work(input, dependencies) }
		}
	const registry = {
		pass: body((input) => `${input ?? ''}.`),
		work: body((input) => `${input}!`),
		fail: body(() => {
			throw new Error('broken')
		}),
	}
	const nodes = blueprint.nodes.map((/** @type {any} */ one) => ({ ...one, params: { ...one.params, id: one.id } }))
	const options = { timersMissing, readStatus: status && (async () => status()) }
	const worker = bareSessions({ registry, blueprints: { bp: { id: 'bp', ...blueprint, nodes } } }, options)
	worker.open(nodeIds, { entries, checkpoint, commands, moreMayCome })
	for (let seen = -1; seen !== worker.calls.length;) {
		seen = worker.calls.length
		await worker.settle()
		for (const { seq } of worker.steps) worker.tell(2, 1, seq)
		await worker.settle()
		for (const nodeId of strays.splice(0)) worker.tell(4, 1, nodeId)
		if (moreMayCome) worker.tell(12, 1)
	}
	const row = { ...entries }
	for (const [key, raw] of worker.steps.flatMap(({ changes }) => Object.entries(changes))) {
		if (raw === '') delete row[key]
		else row[key] = JSON.parse(raw)
	}
	const last = /** @type {any} */ (worker.steps.at(-1))
	return {
		worker,
		ran,
		row,
		outcome: last?.outcome,
		timers: worker.steps.flatMap(({ extras }) => extras?.timers ?? []),
	}
}

const batch = {
	nodes: [
		node('s'),
		node('scatter', 'batch-scatter', { inputs: 'items', params: { workerUsesKey: 'work', gatherNodeId: 'gather' } }),
		node('gather', 'batch-gather', { params: { gatherNodeId: 'gather', outputKey: 'results' } }),
		node('z'),
	],
	edges: edges('s>scatter', 'scatter>gather', 'gather>z'),
}
const scattered = {
	...begun,
	items: [1, 2],
	'_batch.scatter_old_item_0': 1,
	'_batch.scatter_old_item_1': 2,
	scatter_currentIndex: 2,
	gather_hasMore: false,
	gather_allWorkerIds: ['work_old_0', 'work_old_1'],
	'_outputs.scatter': { gatherNodeId: 'gather', hasMore: false },
	'_inputs.gather': { gatherNodeId: 'gather', hasMore: false },
}
const gathered = { ...scattered, '_outputs.gather': [], results: [], '_inputs.z': [] }

for (const [left, messages, entries] of /** @type {[string, string[], any][]} */ ([
	['noted how far it came', ['scatter'], { ...begun, items: [1, 2], scatter_currentIndex: 2 }],
	['sent the gather', ['gather'], scattered],
	['gathered nothing', ['z'], gathered],
	['gone on from nothing', ['z'], { ...gathered, '_outputs.z': 'wrong' }],
])) {
	test(`G12: a batch runs whose scatter has ${left} under 1.4.4`, async () => {
		const { ran, row, outcome } = await takeOver(batch, messages, entries)
		assert.equal(outcome.status, 'completed')
		assert.deepEqual(row.results, ['1!', '2!'])
		assert.deepEqual(ran, [1, 2, 'z'])
		assert.equal(row['_outputs.z'], '1!,2!.')
		assert.equal(row['_batch.scatter_old_item_0'], undefined)
	})
}

test('G12: an empty batch of 1.4.4 is over', async () => {
	const empty = { ...scattered, items: [], scatter_currentIndex: 0, gather_allWorkerIds: [] }
	const left = { ...empty, '_outputs.gather': [], '_inputs.z': [], results: [] }
	const { worker, ran, row } = await takeOver(batch, ['z'], left)
	assert.deepEqual(worker.calls[0], ['opened', 1, '[[1,"z"]]'])
	assert.deepEqual([ran, row.results], [['z'], []])
})

test('G12: a batch at the start of a run begins anew', async () => {
	const { 's>': _, ...blueprint } = /** @type {any} */ ({
		...batch,
		nodes: batch.nodes.slice(1),
		edges: batch.edges.slice(1),
	})
	const { '_outputs.s': _s, '_outputs.scatter': _o, ...entries } = /** @type {any} */ (scattered)
	const { ran, row } = await takeOver(blueprint, ['scatter'], entries)
	assert.deepEqual(
		[ran, row.results],
		[
			[1, 2, 'z'],
			['1!', '2!'],
		],
	)
})

test('G12: what follows a batch is not run by its old message, also after a crash', async () => {
	const first = await takeOver(batch, ['gather'], scattered)
	const [{ text }] = first.worker.steps.filter(({ checkpoint }) =>
		checkpoint.due?.some((/** @type {any} */ [, id]) => Array.isArray(id)),
	)
	const row = Object.fromEntries(Object.entries(first.row).filter(([key]) => !/work|results|gather$|z$/.test(key)))
	const second = await takeOver(batch, ['gather', 'z'], row, { checkpoint: text, strays: ['z', 'gather'] })
	assert.deepEqual(second.ran.slice(-1), ['z'])
	assert.equal(second.ran.filter((id) => id === 'z').length, 1)
})

const branches = { nodes: [node('s'), node('b', 'fail'), node('c')], edges: edges('s>b', 's>c') }
const both = { ...begun, '_inputs.b': 's', '_inputs.c': 's' }

test('G12: a run that 1.4.4 has published as failed ends so, with what else was due', async () => {
	const reason = "Node 'b' execution failed"
	const status = () => ({ status: 'failed', result: { status: 'failed', reason } })
	const { ran, outcome } = await takeOver(branches, ['c'], both, { status })
	assert.deepEqual([ran, outcome.status, outcome.reason], [['c'], 'failed', reason])
	assert.deepEqual(
		outcome.errors.map(({ nodeId, message }) => [nodeId, message]),
		[['b', reason]],
	)
})

test('G12: a node that fails again has failed once', async () => {
	const status = () => ({ status: 'failed', result: { status: 'failed', reason: "Node 'b' execution failed" } })
	const { outcome } = await takeOver(branches, ['b', 'c'], both, { status })
	assert.deepEqual(
		outcome.errors.map(({ nodeId }) => nodeId),
		['b'],
	)
})

for (const status of ['completed', 'cancelled']) {
	test(`G12: a run that is ${status} by its status row stays as it is, whatever messages come`, async () => {
		const payload = { context: { kept: 1 }, serializedContext: '{"kept":1}', status }
		const read = () => ({ status, result: { status, payload } })
		const { worker, ran } = await takeOver(branches, ['c'], both, { status: read, strays: ['b'] })
		assert.deepEqual(ran, [])
		assert.deepEqual(worker.calls[0], ['opened', 1, '[]'])
		assert.equal(worker.steps.length, 1)
		assert.deepEqual([worker.steps[0].outcome, worker.steps[0].changes], [{ status, payload }, {}])
	})
}

test('G12: a status that cannot be read is asked for again', async () => {
	let asked = 0
	const status = () => {
		if (++asked < 3) throw Object.assign(new Error('away'), { retryable: true })
		return { status: 'completed', result: { status: 'completed' } }
	}
	const { worker, ran } = await takeOver(branches, ['c'], both, { status })
	for (let turns = 0; worker.calls.length === 0 && turns < 500; turns++)
		await new Promise((resolve) => setTimeout(resolve, 10))
	assert.deepEqual([ran, worker.steps[0].outcome], [[], { status: 'completed' }])
})

test('G12: a run whose partition goes while its status is read is not opened', async () => {
	/** @type {(row: any) => void} */
	let answer = () => {}
	const row = new Promise((resolve) => (answer = resolve))
	const { worker } = await takeOver(branches, ['c'], both, { status: () => row })
	worker.tell(6, 1, 'gone')
	answer({ status: 'running' })
	await worker.settle()
	assert.deepEqual(worker.calls, [])
})

const fallback = {
	nodes: [node('s'), node('a', 'fail', { config: { fallback: 'f' } }), node('f'), node('b'), node('own')],
	edges: edges('s>a', 'a>b', 'f>own'),
}
const asked = { ...begun, '_inputs.a': 's' }

for (const [name, messages, entries] of /** @type {[string, string[], any][]} */ ([
	['is due too', ['a', 'f'], asked],
	['has run', ['a'], { ...asked, '_outputs.f': 'early' }],
	// Or the node has failed, and the mark of it is lost.
	[
		'has the output of the node',
		['b'],
		{ ...asked, '_outputs.a': 'early', '_outputs.f': 'early', '_inputs.b': 'early' },
	],
	['has gone on', ['a', 'own', 'b'], { ...asked, '_outputs.f': 'early', '_inputs.b': 'early', '_inputs.own': 'early' }],
	['has been gone on from', ['a'], { ...asked, '_outputs.f': 'early', '_outputs.b': 'early', '_outputs.own': 'early' }],
])) {
	test(`G12: a fallback that a client has started ${name}, and runs in its place`, async () => {
		const { ran, row, outcome } = await takeOver(fallback, messages, entries)
		assert.deepEqual(
			[ran.slice(0, 2), ran.slice(2).sort()],
			[
				['a', 'f'],
				['b', 'own'],
			],
		)
		assert.deepEqual([outcome.status, row['_outputs.a'], row['_outputs.b']], ['completed', null, '..'])
	})
}

test('G12: a fallback that has run in the place of a node has, and its own edges are followed', async () => {
	const left = { ...asked, '_outputs.a': 'f', '_outputs.f': 'f', f: 'f', '_inputs.b': 'f' }
	const { ran, row, outcome } = await takeOver(fallback, ['b'], left)
	assert.deepEqual(
		[ran.sort(), outcome.status, row['_outputs.a'], row['_outputs.own']],
		[['b', 'own'], 'completed', null, 'f.'],
	)
})

test('G12: a fallback that a client has started for nothing leaves nothing', async () => {
	const works = { ...fallback, nodes: fallback.nodes.map((one) => (one.id === 'a' ? { ...one, uses: 'pass' } : one)) }
	const left = { ...asked, '_outputs.a': 'a', '_outputs.f': 'early', '_inputs.own': 'early', '_inputs.b': 'a' }
	const { ran, row } = await takeOver(works, ['own', 'b', 'f'], left)
	assert.deepEqual([ran, row['_outputs.f'], row['_outputs.own']], [['b'], undefined, undefined])
})

const waiting = {
	nodes: [node('s'), node('w', 'wait'), node('z'), node('y'), node('other')],
	edges: edges('s>w', 'w>z', 'z>y', 's>other'),
}
const awaits = {
	...begun,
	_awaitingNodeIds: ['w'],
	_awaitingDetails: { w: { reason: 'external_event' } },
	'_inputs.w': 's',
	'_inputs.other': 's',
}
const answer = { id: 'answer', kind: 'resume', nodeId: 'w', output: 'yes' }

for (const [name, messages, entries] of /** @type {[string, string[], any][]} */ ([
	['is due', ['other', 'z'], awaits],
	['has run', ['other', 'y'], { ...awaits, '_outputs.z': 'early', '_inputs.y': 'early', z: 'mine' }],
	['awaits itself', ['other', 'w'], awaits],
])) {
	test(`G12: a run waits though what follows its wait ${name}`, async () => {
		const first = await takeOver(waiting, messages, entries)
		assert.deepEqual([first.ran, first.outcome.status, first.row['_outputs.z']], [['other'], 'awaiting', undefined])
		assert.equal(first.row.z, entries.z)
		const checkpoint = first.worker.steps.at(-1)?.text
		const second = await takeOver(waiting, ['z'], first.row, { checkpoint, commands: [answer] })
		assert.deepEqual([second.ran, second.outcome.status], [['z', 'y'], 'completed'])
		assert.equal(second.row['_outputs.y'], 'yes..')
	})
}

test('G12: of two waits that 1.4.4 has passed the first one waits', async () => {
	const blueprint = { ...waiting, nodes: waiting.nodes.map((one) => (one.id === 'y' ? node('y', 'wait') : one)) }
	const details = { w: { reason: 'external_event' }, y: { reason: 'external_event' } }
	const { row, outcome } = await takeOver(blueprint, ['other'], {
		...awaits,
		_awaitingNodeIds: ['w', 'y'],
		_awaitingDetails: details,
		'_outputs.z': 'early',
	})
	assert.deepEqual([outcome.status, row._awaitingNodeIds], ['awaiting', ['w']])
})

test('G12: a join that another branch has reached is left alone where it takes any', async () => {
	const blueprint = {
		nodes: [...waiting.nodes, node('j', 'pass', { config: { joinStrategy: 'any' } })],
		edges: [...waiting.edges, ...edges('z>j', 'other>j')],
	}
	const { ran, outcome } = await takeOver(blueprint, ['j'], { ...awaits, '_outputs.other': 'o', '_inputs.j': 'o' })
	assert.deepEqual([ran, outcome.status], [['j'], 'awaiting'])
})

const sleeping = {
	nodes: [node('s'), node('nap', 'sleep', { params: { duration: 60_000 } }), node('z')],
	edges: edges('s>nap', 'nap>z'),
}
const at = Date.parse('2030-01-01T00:00:00.000Z')
const naps = {
	...begun,
	_awaitingNodeIds: ['nap'],
	_awaitingDetails: { nap: { reason: 'timer', wakeUpAt: new Date(at).toISOString() } },
	'_inputs.nap': 's',
	'_outputs.nap': 's',
}

test('G12: a sleep that 1.4.4 has begun gets its timer', async () => {
	const first = await takeOver(sleeping, ['z'], naps)
	assert.deepEqual([first.ran, first.outcome.status, first.timers], [[], 'awaiting', [['nap', 1, at]]])
	const wake = { id: 'wake', kind: 'wake', nodeId: 'nap', visit: 1, at, bucket: 1 }
	const checkpoint = first.worker.steps.at(-1)?.text
	const second = await takeOver(sleeping, [], first.row, { checkpoint, commands: [wake] })
	assert.deepEqual([second.ran, second.row['_outputs.z']], [['z'], 's.'])
})

test('G12: a sleep that 1.4.4 was stopped in begins anew', async () => {
	const { _awaitingDetails: _, '_outputs.nap': _o, ...left } = naps
	const { outcome, timers } = await takeOver(sleeping, ['nap'], left)
	assert.deepEqual([outcome.status, timers.length, timers[0][0]], ['awaiting', 1, 'nap'])
	assert.ok(timers[0][2] < at)
})

test('G12: a sleep that nothing can wake here fails', async () => {
	const { outcome } = await takeOver(sleeping, ['z'], naps, { timersMissing: 'there is no table' })
	assert.deepEqual([outcome.status, outcome.reason], ['failed', 'there is no table'])
})

test('G12: a node that is gone on from comes before the node that its message asks for', async () => {
	const late = { nodes: [node('s'), node('a'), node('b')], edges: edges('s>a', 'a>b') }
	const left = { ...begun, '_outputs.a': 'a', '_inputs.b': 'wrong' }
	for (const [messages, strays] of /** @type {[string[], string[]][]} */ ([
		[['a', 'b'], []],
		[['b', 'a'], []],
	])) {
		const { ran, row } = await takeOver(late, messages, left, { strays })
		assert.deepEqual([ran, row['_outputs.b']], [['b'], 'a.'])
	}
})

test('G12: a job that was not done is, though its message comes when the run is open', async () => {
	const two = { nodes: [node('s'), node('a'), node('b'), node('c')], edges: edges('s>a', 's>c', 'a>b') }
	const left = { ...begun, '_outputs.a': 'a', '_inputs.c': 's' }
	const { ran, outcome } = await takeOver(two, ['c'], left, { strays: ['a', 'a'], moreMayCome: true })
	assert.deepEqual([ran.sort(), outcome.status], [['b', 'c'], 'completed'])
})
