/** Adopted runs that are opened again, and attempts that all wait (G12, row 25): what only a message says must not be lost. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bareSessions } from '../support/worker.mjs'

const edge = (/** @type {string} */ path) => ({ source: path.split('>')[0], target: path.split('>')[1] })
/** `a` is retried by a timer. */
const blueprint = {
	id: 'bp',
	nodes: [
		{ id: 's', uses: 'pass' },
		{ id: 'a', uses: 'flaky', config: { maxRetries: 2, retryDelay: 60_000 } },
		{ id: 'b', uses: 'pass' },
		{ id: 'j', uses: 'pass' },
	],
	edges: [edge('s>a'), edge('s>b'), edge('a>j'), edge('b>j')],
}
/** What workers of 1.4.4 have left: both branches are due, by their messages. */
const left = { blueprintId: 'bp', blueprintVersion: null, '_outputs.s': 1, '_inputs.a': 1, '_inputs.b': 1 }
const retries = { shouldRetryInProcess: () => false, getQueueRetryOptions: () => undefined }
const resting = { status: 'running', payload: null }

/** The checkpoint of a run in which `s` is done. @param {any} more */
const stored = (more) =>
	JSON.stringify({ v: 1, blueprint: 'bp', version: null, done: ['s', 0, 0], results: 0, highest: 0, ...more })

/** A worker, and what it opens the run with. @param {boolean} fails whether `a` does @param {string[]} nodeIds @param {any} [more] */
async function opened(fails, nodeIds, { entries = left, ...more } = /** @type {any} */ ({})) {
	const flaky = async () => {
		if (fails) throw new Error('not yet')
		return { output: 1 }
	}
	const worker = bareSessions(
		{ registry: { pass: async () => ({ output: 1 }), flaky }, blueprints: { bp: blueprint } },
		{ retries },
	)
	worker.open(nodeIds, { entries, ...more })
	const go = async () => {
		for (let seen = -1; seen !== worker.steps.length;) {
			seen = worker.steps.length
			await worker.settle()
			for (const { seq } of worker.steps) worker.tell(2, 1, seq)
			await worker.settle()
		}
		return /** @type {any} */ (worker.steps.at(-1))
	}
	/** The row as it stands. */
	const row = () => {
		const changed = worker.steps.flatMap(({ changes }) => Object.entries(changes))
		return { ...entries, ...Object.fromEntries(changed.map(([key, raw]) => [key, JSON.parse(raw)])) }
	}
	return { worker, go, row }
}

test('G12: a message that opens an adopted run again says what is due, while an attempt waits', async () => {
	const first = await opened(true, ['a'])
	const rested = await first.go()
	assert.deepEqual(rested.outcome, resting)
	const [[nodeId, visit, at]] = rested.extras.timers
	const second = await opened(false, ['b'], { entries: first.row(), checkpoint: rested.text })
	assert.deepEqual((await second.go()).outcome, resting)
	assert.equal(second.row()['_outputs.b'], 1)
	const wake = { id: 'wake', kind: 'wake', nodeId, visit, at, bucket: 1 }
	const third = await opened(false, [], {
		entries: second.row(),
		checkpoint: second.worker.steps.at(-1)?.text,
		commands: [wake],
	})
	assert.equal((await third.go()).outcome.status, 'completed')
	assert.equal(third.row()['_outputs.j'], 1)
})

test('G12: after a crash, the messages that came back say what is due in an adopted run', async () => {
	const checkpoint = stored({ last: 1, due: [[1, 'a', 1]], adopted: 1 })
	const { worker, go, row } = await opened(false, ['a', 'b'], { checkpoint })
	assert.equal((await go()).outcome.status, 'completed')
	assert.deepEqual([row()['_outputs.b'], row()['_outputs.j']], [1, 1])
	assert.deepEqual(worker.calls[0], ['opened', 1, '[[1,"a"],[2,"b"]]'])
})

test('G12: an old message of a node that has run does not make it due again', async () => {
	const checkpoint = stored({ last: 1, due: [[1, 'a', 1]], adopted: 1 })
	const { worker } = await opened(false, ['b'], { entries: { ...left, '_outputs.b': 'before' }, checkpoint })
	assert.deepEqual(worker.calls[0], ['opened', 1, '[[1,"a"]]'])
})

test('row 25: a run rests once the partition was read, when all that is left waits', async () => {
	const { worker, go } = await opened(true, ['a'], { moreMayCome: true })
	assert.equal((await go()).outcome, null)
	worker.tell(12, 1)
	assert.deepEqual((await go()).outcome, resting)
})

test('row 25: a run that died before it rested does so when it is opened again', async () => {
	const attempts = [[3, 2, Date.now() + 60_000]]
	const checkpoint = stored({ last: 3, due: [[3, 'a', 1]], attempts })
	const { go } = await opened(true, ['a'], { checkpoint })
	assert.deepEqual((await go()).outcome, resting)
})

test('row 71: an overdue attempt starts by a nudge, also where nodes wait for their messages', async () => {
	const checkpoint = stored({ last: 3, due: [[3, 'a', 1]], attempts: [[3, 2, 1]], outcome: resting })
	for (const [sessions, starts] of /** @type {[any, boolean][]} */ ([
		[{ localStarts: false }, true],
		[{ localStarts: false, maxConcurrentJobs: 1 }, false],
	])) {
		const worker = bareSessions({ registry: {}, blueprints: { bp: blueprint } }, { retries, sessions })
		worker.open(['a'], { entries: left, checkpoint })
		await worker.settle()
		const due = worker.steps.flatMap(({ due }) => due)
		assert.deepEqual(due.length > 0, starts)
	}
})
