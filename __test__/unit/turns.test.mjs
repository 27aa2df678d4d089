/** Sessions speak to the engine by turns of the event loop (docs/bridge.md). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { byTurns } from '../../src/js/bridge/turns.js'

/** @returns {{ said: string[], native: any }} */
function listener() {
	/** @type {string[]} */
	const said = []
	const names = ['opened', 'step', 'flush', 'refuse', 'commandDone', 'refuseCommand', 'refresh', 'versions', 'drained']
	const native = Object.fromEntries(
		names.map((name) => [name, (/** @type {any[]} */ ...args) => void said.push([name, ...args].join(' '))]),
	)
	return { said, native: { ...native, timersMissing: () => 'no table' } }
}

test('what sessions say in one turn, microtasks included, goes with one flush', async () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	turns.opened(1, '[]')
	await Promise.resolve()
	turns.step(1, 1, [], '{}', [], '[]', null)
	turns.step(2, 4, ['k', '1'], '{}', [3], '[]', null, '{}')
	assert.deepEqual(said, ['opened 1 []', 'step 1 1  {}  [] ', 'step 2 4 k,1 {} 3 []  {}'])
	await nextTurn()
	assert.deepEqual(said.slice(3), ['flush'])
})

test('each turn in which something was said has its flush, and others have none', async () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	for (const seq of [1, 2]) {
		turns.step(1, seq, [], '{}', [], '[]', null)
		await nextTurn()
		await nextTurn()
	}
	assert.deepEqual(
		said.map((one) => one.split(' ')[0]),
		['step', 'flush', 'step', 'flush'],
	)
})

test('everything else is said at once, with what it says', () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	turns.refuse(1, 'ERR_BLUEPRINT_UNKNOWN', 'why', null)
	turns.commandDone(1, 2)
	turns.refuseCommand(1, 2, 'ERR_COMMAND_UNKNOWN', 'why')
	turns.refresh(1)
	turns.versions(['a'])
	turns.drained(1)
	assert.deepEqual(said, [
		'refuse 1 ERR_BLUEPRINT_UNKNOWN why ',
		'commandDone 1 2',
		'refuseCommand 1 2 ERR_COMMAND_UNKNOWN why',
		'refresh 1',
		'versions a',
		'drained 1',
	])
	assert.equal(turns.timersMissing(), 'no table')
})
