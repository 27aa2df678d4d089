/** `enforceTimeouts`: `config.timeout` is the limit of each attempt of a node (row 27). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BaseNode } from 'flowcraft'
import { startRun, startWorker } from '../support/worker.mjs'

const LIMIT_MS = 20
const node = (/** @type {string} */ id, uses = id, /** @type {any} */ config = {}) => ({ id, uses, config })
const edge = (/** @type {string} */ path) => ({ source: path.split('>')[0], target: path.split('>')[1] })
const never = () => new Promise(() => {})
const pass = async (/** @type {any} */ { input }) => ({ output: input ?? 'passed' })

/** @param {any[]} nodes @param {any} registry @param {any} [more] */
async function ended(nodes, registry, { edges = [], sessions = { enforceTimeouts: true }, blueprints = {} } = {}) {
	const blueprint = { id: 'bp', nodes, edges }
	const engine = startWorker(
		{ registry: { pass, ...registry }, blueprints: { bp: blueprint, ...blueprints } },
		{ sessions },
	)
	const runId = startRun(engine, blueprint)
	const { status, data } = await engine.result(runId)
	return { engine, runId, status, data, context: data.payload?.context, errors: data.payload?.errors }
}

/** @param {any} error @param {string} nodeId @param {string} runId @param {string} what */
function timedOut({ cause }, nodeId, runId, what) {
	assert.equal(cause.code, 'ERR_NODE_TIMEOUT')
	const limit = `longer than its config.timeout of ${LIMIT_MS} ms`
	assert.ok(cause.message.startsWith(`node "${nodeId}" of run "${runId}": ${what} took ${limit}.`), cause.message)
}

describe('row 27: enforceTimeouts', () => {
	test('row 27: an attempt that takes too long is a failed one; the next may succeed', async () => {
		/** @type {AbortSignal[]} */
		const signals = []
		const slow = async (/** @type {any} */ { signal }) => {
			signals.push(signal)
			return signals.length < 3 ? never() : { output: `attempt ${signals.length}` }
		}
		const { status, context } = await ended([node('slow', 'slow', { timeout: LIMIT_MS, maxRetries: 3 })], { slow })
		assert.deepEqual([status, context.slow], ['completed', 'attempt 3'])
		assert.deepEqual(
			signals.map(({ aborted }) => aborted),
			[true, true, false],
			'each attempt has a signal of its own',
		)
		assert.equal(signals[0].reason.code, 'ERR_NODE_TIMEOUT')
	})

	test('row 27: the last one fails the node, and the error names node, attempt and limit', async () => {
		const config = { timeout: LIMIT_MS, maxRetries: 2 }
		const { status, errors, runId } = await ended([node('slow', 'slow', config), node('pass')], { slow: never })
		assert.equal(status, 'failed')
		assert.equal(errors.length, 1)
		timedOut(errors[0], 'slow', runId, 'attempt 2 of 2')
	})

	test('row 27: a fallback takes its place', async () => {
		const config = { timeout: LIMIT_MS, fallback: 'pass' }
		const { status, context } = await ended(
			[node('slow', 'slow', config), node('pass'), node('z', 'pass')],
			{ slow: never },
			{
				edges: [edge('slow>z')],
			},
		)
		assert.deepEqual([status, context.pass, 'z' in context], ['completed', 'passed', true])
	})

	test('row 27: a body that answers its signal with an error of its own has timed out, too', async () => {
		const slow = ({ signal }) =>
			new Promise((_, reject) => signal.addEventListener('abort', () => reject(new DOMException('mine', 'AbortError'))))
		const { status, errors, runId } = await ended([node('slow', 'slow', { timeout: LIMIT_MS })], { slow })
		assert.equal(status, 'failed')
		timedOut(errors[0], 'slow', runId, 'attempt 1 of 1')
	})

	test('row 27: what a body does later changes nothing, and ends no process', async (t) => {
		/** @type {unknown[]} */
		const unhandled = []
		const note = (/** @type {unknown} */ error) => void unhandled.push(error)
		process.on('unhandledRejection', note)
		t.after(() => process.off('unhandledRejection', note))
		let late = () => {}
		/** @type {Promise<any>} */
		let refused
		const slow = async (/** @type {any} */ { context, signal, dependencies }) => {
			await context.set('before', 1)
			await new Promise((resolve) => (late = () => resolve(undefined)))
			assert.equal(await context.get('before'), 1)
			// Nobody looks at these two.
			context.delete('before')
			dependencies.workflowState.markAsAwaiting('slow')
			refused = context.set('after', 1)
			assert.ok(signal.aborted)
			return { output: 'late' }
		}
		const gate = async () => {
			late()
			await new Promise((resolve) => setImmediate(resolve))
			return { output: 'through' }
		}
		const nodes = [node('slow', 'slow', { timeout: LIMIT_MS, fallback: 'gate' }), node('gate')]
		const { status, context } = await ended(nodes, { slow, gate })
		assert.deepEqual([status, context.before, 'after' in context], ['completed', 1, false])
		assert.equal(context['_outputs.slow'], null)
		await assert.rejects(refused, { code: 'ERR_NODE_TIMEOUT' })
		await new Promise((resolve) => setImmediate(resolve))
		assert.deepEqual(unhandled, [])
	})

	for (const phase of /** @type {const} */ (['prep', 'exec', 'post'])) {
		test(`row 27: ${phase} of a class node`, async () => {
			class Slow extends BaseNode {
				async prep() {
					return phase === 'prep' ? never() : undefined
				}
				async exec() {
					return phase === 'exec' ? never() : { output: 'done' }
				}
				async post(/** @type {any} */ result) {
					return phase === 'post' ? never() : result
				}
			}
			const { status, errors, runId } = await ended([node('slow', 'slow', { timeout: LIMIT_MS })], { slow: Slow })
			assert.equal(status, 'failed')
			timedOut(errors[0], 'slow', runId, phase === 'exec' ? 'attempt 1 of 1' : phase)
		})
	}

	test('row 27: a node in a subflow, and a subflow as a whole', async () => {
		const child = { id: 'child', nodes: [node('slow', 'slow', { timeout: LIMIT_MS })], edges: [] }
		const idle = { id: 'idle', nodes: [node('slow')], edges: [] }
		const sub = (/** @type {string} */ blueprintId, config = {}) => [
			{ id: 'sub', uses: 'subflow', params: { blueprintId }, config },
		]
		const within = await ended(sub('child'), { slow: never }, { blueprints: { child } })
		assert.equal(within.status, 'failed')
		assert.equal(within.errors[0].nodeId, 'sub')
		const whole = await ended(sub('idle', { timeout: LIMIT_MS }), { slow: never }, { blueprints: { idle } })
		assert.equal(whole.status, 'failed')
		timedOut(whole.errors[0], 'sub', whole.runId, 'attempt 1 of 1')
	})

	test('row 27: what ends in time is as without a limit, nodes that wait included', async () => {
		const nodes = [node('pass', 'pass', { timeout: 60_000 }), node('w', 'wait', { timeout: 60_000 })]
		const { status, context } = await ended(nodes, {}, { edges: [edge('pass>w')] })
		assert.deepEqual([status, context.pass, context._awaitingNodeIds], ['awaiting', 'passed', ['w']])
	})

	test('row 27: without the option, and for a limit that is none, nothing is limited', async () => {
		const slow = async (/** @type {any} */ { signal }) => {
			const until = Date.now() + 3
			while (Date.now() < until) await new Promise((resolve) => setImmediate(resolve))
			return { output: String(signal.aborted) }
		}
		const off = await ended([node('slow', 'slow', { timeout: 1 })], { slow }, { sessions: {} })
		assert.deepEqual([off.status, off.context.slow], ['completed', 'false'])
		for (const timeout of [0, -1, NaN, '1', null, Infinity]) {
			const { status, context } = await ended([node('slow', 'slow', { timeout })], { slow })
			assert.deepEqual([status, context.slow], ['completed', 'false'], String(timeout))
		}
	})
})
