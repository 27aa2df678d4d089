/** Sessions speak to the engine by turns of the event loop (docs/bridge.md). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { byTurns } from '../../src/js/bridge/turns.js'

const NONE = 0x7fff_ffff

/** @returns {{ said: any[][], native: any }} */
function listener() {
	/** @type {any[][]} */
	const said = []
	const names = ['turn', 'refuse', 'commandDone', 'refuseCommand', 'refresh', 'versions', 'drained']
	const native = Object.fromEntries(
		names.map((name) => [
			name,
			(/** @type {any[]} */ ...args) =>
				void said.push([name, ...args.map((value) => (value instanceof Uint32Array ? [...value] : value))]),
		]),
	)
	return { said, native: { ...native, timersMissing: () => 'no table' } }
}

/** @param {import('../../src/js/session/run-session.js').NativeSteps} turns @param {number} seq */
const emptyStep = (turns, seq) => turns.step(1, seq, [], '{}', [], '[]', null)

test('what sessions say in one turn, microtasks included, goes with one call: its texts, and their lengths', async () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	turns.opened(1, '[]')
	await Promise.resolve()
	turns.step(1, 1, [], '{}', [], '[]', null)
	turns.step(2, 4, ['ü', '"\u{1f600}"'], '{"v":1}', [3, 5], '[[6,"n"]]', '{"status":"failed"}', '{"applied":[7]}')
	assert.deepEqual(said, [])
	await nextTurn()
	const text = '[]{}[]ü"\u{1f600}"{"v":1}[[6,"n"]]{"status":"failed"}{"applied":[7]}'
	const opened = [0, 1, 2]
	const first = [1, 1, 1, 0, 2, 0, 2, NONE, NONE]
	const second = [1, 2, 4, 2, 1, 4, 7, 2, 3, 5, 9, 19, 15]
	assert.deepEqual(said, [['turn', text, [...opened, ...first, ...second]]])
})

test('halves of a surrogate pair in two keys stay two characters', async () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	turns.step(1, 1, ['a\ud83d', '', '\ude00b', ''], '{}', [], '[]', null)
	await nextTurn()
	assert.deepEqual(said, [['turn', 'a\ufffd\ufffdb{}[]', [1, 1, 1, 4, 2, 0, 2, 0, 2, 0, 2, NONE, NONE]]])
})

test('each turn in which something was said has its call, and others have none', async () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	for (const seq of [1, 2]) {
		emptyStep(turns, seq)
		await nextTurn()
		await nextTurn()
	}
	assert.deepEqual(
		said.map(([name, , layout]) => [name, layout[2]]),
		[
			['turn', 1],
			['turn', 2],
		],
	)
})

test('a part of a long turn goes ahead', async () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	for (let seq = 1; seq <= 258; seq++) emptyStep(turns, seq)
	assert.equal(said.length, 2)
	await nextTurn()
	const seqs = said.flatMap(([, , layout]) => layout.filter((/** @type {number} */ _, at) => at % 9 === 2))
	assert.deepEqual(
		seqs,
		Array.from({ length: 258 }, (_, at) => at + 1),
	)
})

test('everything else is said at once, with what it says, and what waits before it', async () => {
	const { said, native } = listener()
	const turns = byTurns(native)
	emptyStep(turns, 1)
	turns.refuse(1, 'ERR_BLUEPRINT_UNKNOWN', 'why', null)
	turns.commandDone(1, 2)
	turns.refuseCommand(1, 2, 'ERR_COMMAND_UNKNOWN', 'why')
	emptyStep(turns, 2)
	turns.refresh(1)
	turns.versions(['a'])
	turns.drained(1)
	await nextTurn()
	assert.deepEqual(
		said.map(([name, ...rest]) => (name === 'turn' ? [name, rest[1][2]] : [name, ...rest])),
		[
			['turn', 1],
			['refuse', 1, 'ERR_BLUEPRINT_UNKNOWN', 'why', null],
			['commandDone', 1, 2],
			['refuseCommand', 1, 2, 'ERR_COMMAND_UNKNOWN', 'why'],
			['turn', 2],
			['refresh', 1],
			['versions', ['a']],
			['drained', 1],
		],
	)
	assert.equal(turns.timersMissing(), 'no table')
})
