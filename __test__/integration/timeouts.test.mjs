/** `enforceTimeouts` on real services (row 27). */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openCluster } from '../support/cluster.mjs'
import { withWorker } from './one-worker.mjs'

const LIMIT_MS = 50

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home
before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'timeouts' })
})
after(() => cluster.close())

const blueprints = {
	limited: {
		id: 'limited',
		nodes: [
			{ id: 'slow', uses: 'slow', config: { timeout: LIMIT_MS, maxRetries: 2, fallback: 'instead' } },
			{ id: 'instead', uses: 'instead' },
			{ id: 'hopeless', uses: 'slow', config: { timeout: LIMIT_MS } },
		],
		edges: [{ source: 'instead', target: 'hopeless' }],
	},
}

test('row 27: enforceTimeouts: attempts end at their limit, then the fallback runs; without one the run fails', async () => {
	/** @type {string[]} */
	const ran = []
	/** @type {AbortSignal[]} */
	const signals = []
	const registry = {
		slow: (/** @type {any} */ { signal }) => {
			ran.push('slow')
			signals.push(signal)
			return new Promise(() => {})
		},
		instead: async () => {
			ran.push('instead')
			return { output: 'instead' }
		},
	}
	await withWorker(home, { blueprints, registry }, { enforceTimeouts: true }, async (place, adapter) => {
		const run = await adapter.startRun('limited')
		const { payload } = await run.result({ timeoutMs: 20_000 })
		assert.deepEqual(ran, ['slow', 'slow', 'instead', 'slow'])
		assert.equal(payload.context.instead, 'instead')
		assert.deepEqual(
			signals.map(({ aborted }) => aborted),
			[true, true, true],
		)
		const [{ nodeId, cause }] = payload.errors
		assert.deepEqual([nodeId, cause.code], ['hopeless', 'ERR_NODE_TIMEOUT'])
		assert.match(cause.message, new RegExp(`node "hopeless" of run "${run.runId}": attempt 1 of 1 .* ${LIMIT_MS} ms`))
		await place.allCommitted()
	})
})
