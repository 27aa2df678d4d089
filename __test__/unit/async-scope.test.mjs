import assert from 'node:assert/strict'
import childProcess from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { AsyncScope } from '../../src/js/async-scope.js'

const execFile = promisify(childProcess.execFile)
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('a scope is found by what it awaits, each by its own, and by nobody else', async () => {
	const scope = new AsyncScope()
	const inside = (/** @type {string} */ name) =>
		scope.run(name, async () => {
			await turn()
			const inner = await scope.run(`${name} within`, async () => scope.value)
			return [scope.value, inner]
		})
	const all = Promise.all([inside('a'), inside('b')])
	assert.equal(scope.value, undefined)
	assert.deepEqual(await all, [
		['a', 'a within'],
		['b', 'b within'],
	])
	await assert.rejects(
		scope.run('c', async () => {
			throw new Error('no')
		}),
		/no/,
	)
	assert.equal(await scope.run('d', () => scope.value), 'd')
	assert.equal(scope.value, undefined)
})

/** Where no test runner follows promises itself. @param {string} body @returns {Promise<string>} what it prints */
async function inOwnProcess(body) {
	const root = new URL('../../', import.meta.url)
	const script = `
		import { AsyncScope } from '${new URL('src/js/async-scope.js', root)}'
		import { startRun, startWorker } from '${new URL('__test__/support/worker.mjs', root)}'
		const isFollowed = () => Object.getOwnPropertySymbols(new Promise(() => {})).length > 0
		${body}`
	const { stdout } = await execFile(process.execPath, ['--input-type=module', '--eval', script])
	return stdout.trim()
}

test('nobody inside: Node.js follows no promises', async () => {
	const body = `
		const scope = new AsyncScope()
		const other = scope.run('other', () => new Promise(setImmediate))
		await scope.run('one', async () => { throw new Error('no') }).catch(() => {})
		await other
		console.log(isFollowed())`
	assert.equal(await inOwnProcess(body), 'false')
})

test('subflows do not make Node.js follow promises', async () => {
	const body = `
		const child = { id: 'child', nodes: [{ id: 'c', uses: 'sees' }], edges: [] }
		const parent = { id: 'bp', nodes: [{ id: 'sub', uses: 'subflow', params: { blueprintId: 'child' } }], edges: [] }
		const sees = async () => console.log(isFollowed())
		const engine = startWorker({ registry: { sees }, blueprints: { bp: parent, child } })
		await engine.result(startRun(engine, parent))`
	assert.equal(await inOwnProcess(body), 'false')
})
