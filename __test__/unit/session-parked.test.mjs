/** Runs of another version of their blueprint are parked, and taken up again (row 68). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bareSessions } from '../support/worker.mjs'

const nodes = [
	{ id: 'a', uses: 'value' },
	{ id: 'w', uses: 'wait' },
	{ id: 'z', uses: 'value' },
]
const edges = [
	{ source: 'a', target: 'w' },
	{ source: 'w', target: 'z' },
]
const version = (/** @type {string} */ number) => ({ id: 'bp', nodes, edges, metadata: { version: number } })
const registry = { value: async (/** @type {any} */ { input }) => ({ output: input ?? 'v' }) }

/** A worker at version 2; `at` makes it one of another version. @param {any} [options] */
function worker(options) {
	const blueprints = { bp: version('2') }
	const sessions = bareSessions({ registry, blueprints }, options)
	return Object.assign(sessions, { at: (/** @type {string} */ number) => (blueprints.bp = version(number)) })
}

/** The timer of a parking, as its wake-up has it. @param {any} step */
const wakeOf = ({ extras }) => {
	const [nodeId, at] = extras.parking
	return { id: `wake:${nodeId}:0:${at}`, kind: 'wake', nodeId, visit: 0, at, bucket: -2, shard: 0 }
}

/** A run of version 1 that waits at `w`. */
async function waitingAtOne() {
	const made = worker()
	made.at('1')
	made.open(['a'])
	await made.settle()
	for (const { seq } of made.steps) made.tell(2, 1, seq)
	await made.settle()
	made.tell(2, 1, /** @type {any} */ (made.steps.at(-1)).seq)
	await made.settle()
	const { outcome, text } = /** @type {any} */ (made.steps.at(-1))
	assert.equal(outcome.status, 'awaiting')
	made.at('2')
	return { made, text }
}

test('row 68: a run that nobody has begun keeps who asked, and begins where its version is', async () => {
	const made = worker()
	made.open(['a'], { entries: { blueprintVersion: '1' } })
	const [parked] = made.steps
	assert.deepEqual(made.calls[0], ['opened', 1, '[]'])
	assert.equal(parked.outcome.status, 'parked')
	assert.match(parked.outcome.reason, /stored version '1', current version '2'/)
	assert.equal(parked.outcome.payload.version, '1')
	assert.deepEqual(parked.checkpoint.parked.nodes, ['a'])
	assert.equal(parked.extras.parking[0], '["bp","1"]')
	assert.deepEqual(made.told, [['["bp","2"]']], 'the engine knows what is missing here before it knows of the parking')
	made.at('1')
	made.open([], { handle: 2, entries: { blueprintVersion: '1' }, checkpoint: parked.text, commands: [wakeOf(parked)] })
	assert.deepEqual(made.calls.at(2), ['opened', 2, '[[1,"a"]]'])
	await made.settle()
	const [, first] = made.steps
	assert.deepEqual(first.extras.applied, [1], 'the wake-up goes with the step that records what it led to')
	assert.deepEqual(first.extras.unparking, parked.extras.parking)
	assert.equal(first.checkpoint.parked, undefined)
})

test('row 68: a nudge changes nothing of a parked run; a wake-up that came too early parks it anew', () => {
	const made = worker()
	made.open(['a'], { entries: { blueprintVersion: '1' } })
	const [parked] = made.steps
	made.open(['a'], { handle: 2, checkpoint: parked.text, entries: { blueprintVersion: '1' } })
	assert.equal(made.steps[1].text, parked.text)
	assert.deepEqual([made.steps[1].extras, made.steps[1].outcome], [{ applied: [] }, parked.outcome])
	made.open([], { handle: 3, checkpoint: parked.text, entries: { blueprintVersion: '1' }, commands: [wakeOf(parked)] })
	const again = made.steps[2]
	assert.ok(again.extras.parking[1] > parked.extras.parking[1])
	assert.deepEqual(again.extras.unparking, parked.extras.parking)
	assert.equal(again.checkpoint.parked.since, parked.checkpoint.parked.since)
})

test('row 68: what comes for a parked run is kept, and applied when it goes on', async () => {
	const { made, text } = await waitingAtOne()
	const answer = { id: 'x', kind: 'resume', nodeId: 'w', output: 'yes' }
	made.open([], { handle: 2, checkpoint: text, entries: { '_outputs.a': 'v' }, commands: [answer] })
	const parked = /** @type {any} */ (made.steps.at(-1))
	assert.deepEqual([parked.outcome.status, parked.extras.applied], ['parked', [1]])
	made.at('1')
	made.open([], { handle: 3, checkpoint: parked.text, entries: { '_outputs.a': 'v' }, commands: [wakeOf(parked)] })
	await made.settle()
	const next = /** @type {any} */ (made.steps.at(-1))
	assert.deepEqual([next.changes['_outputs.w'], next.due], ['"yes"', [[3, 'z']]])
})

test('row 68: an operator moves a parked run, to a version that is here or elsewhere', async () => {
	const { made, text } = await waitingAtOne()
	made.open(['w'], { handle: 2, checkpoint: text })
	const parked = /** @type {any} */ (made.steps.at(-1))
	made.open([], { handle: 3, checkpoint: parked.text, commands: [{ id: 'm', kind: 'move', version: '3' }] })
	const moved = /** @type {any} */ (made.steps.at(-1))
	assert.deepEqual([moved.outcome.status, moved.outcome.payload.version], ['parked', '3'])
	assert.deepEqual([moved.extras.parking[0], moved.extras.unparking], ['["bp","3"]', parked.extras.parking])
	const entries = { blueprintVersion: '1' }
	made.open([], { handle: 4, checkpoint: moved.text, entries, commands: [{ id: 'n', kind: 'move', version: '2' }] })
	await made.settle()
	const here = /** @type {any} */ (made.steps.at(-1))
	assert.deepEqual([here.outcome.status, here.checkpoint.version, here.checkpoint.parked], ['awaiting', '2', undefined])
	assert.equal(here.changes.blueprintVersion, '"2"')
	assert.deepEqual(here.extras.unparking, moved.extras.parking)
})

test('row 68: an operator fails or cancels a parked run; commands for parked runs change no other', async () => {
	const { made, text } = await waitingAtOne()
	const at = (/** @type {any} */ command, /** @type {number} */ handle) => {
		made.open([], { handle, checkpoint: text, entries: { mine: 1 }, commands: [command] })
		return /** @type {any} */ (made.steps.at(-1))
	}
	const failed = at({ id: 'f', kind: 'fail', reason: 'given up' }, 2)
	assert.deepEqual(failed.outcome, { status: 'failed', reason: 'given up', hidden: [] })
	assert.deepEqual([failed.checkpoint.outcome.status, failed.checkpoint.parked], ['failed', undefined])
	assert.equal(at({ id: 'c', kind: 'cancel' }, 3).outcome.status, 'cancelled')
	// A run that has ended is over, whatever its version was.
	made.open(['a'], { handle: 4, checkpoint: failed.text })
	assert.equal(made.steps.at(-1)?.outcome.status, 'failed')
	made.at('1')
	at({ id: 'g', kind: 'fail' }, 5)
	assert.deepEqual(
		made.calls.findLast(([name]) => name === 'commandDone'),
		['commandDone', 5, 1],
	)
	at({ id: 'h', kind: 'move', version: '9' }, 6)
	assert.deepEqual(
		made.calls.findLast(([name]) => name === 'commandDone'),
		['commandDone', 6, 1],
	)
})

test('row 68: a run of JavaScript workers is parked once no message of before can come', () => {
	const made = worker()
	const entries = { blueprintId: 'bp', blueprintVersion: '1', '_outputs.a': 'v' }
	made.open(['w'], { entries, moreMayCome: true })
	assert.equal(made.steps.length, 0)
	made.tell(4, 1, 'z')
	made.tell(12, 1)
	assert.deepEqual([made.steps[0].checkpoint.parked.nodes, made.steps[0].checkpoint.adopted], [['w', 'z'], 1])
	// A partition that is given up meanwhile leaves its messages to the next owner.
	made.open(['w'], { entries, handle: 2, moreMayCome: true })
	made.tell(11, 2)
	assert.deepEqual(made.calls.at(-1), ['drained', 2])
})

test('row 68: without a place for timers such runs go to the dead letters, with one warning', () => {
	/** @type {string[]} */
	const warnings = []
	const logger = { debug() {}, info() {}, warn: (/** @type {string} */ text) => void warnings.push(text), error() {} }
	const made = worker({ logger, timersMissing: 'no table' })
	for (const handle of [1, 2]) made.open(['a'], { handle, entries: { blueprintVersion: '1' } })
	const reason = "Blueprint version mismatch: stored version '1', current version '2'."
	assert.deepEqual(
		made.calls,
		[1, 2].map((handle) => ['refuse', handle, 'ERR_BLUEPRINT_VERSION', reason, null]),
	)
	assert.equal(warnings.length, 1)
	assert.match(warnings[0], /no table/)
})
