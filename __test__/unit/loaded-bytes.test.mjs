/** G10: the bound on what is loaded, by bytes, on the embedded backend. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
import { until } from '../support/cluster.mjs'

const RUNS = 20
const FITTING = 3
const BLOB = 'x'.repeat(100_000)

test('G10: maxLoadedBytes: no more runs are loaded at once than it holds, and all of them complete', async () => {
	/** @type {(() => void)[]} */
	const held = []
	let most = 0
	const hold = async () => {
		await new Promise((resolve) => {
			held.push(() => resolve(undefined))
			most = Math.max(most, held.length)
		})
		return { output: 'done' }
	}
	const adapter = new KafkaAdapter({
		backend: { embedded: 'loaded-bytes' },
		maxLoadedBytes: FITTING * BLOB.length,
		runtimeOptions: {
			blueprints: { one: { id: 'one', nodes: [{ id: 'a', uses: 'hold' }], edges: [] } },
			registry: { hold },
			logger: new NullLogger(),
		},
	})
	await adapter.start()
	try {
		const runs = await Promise.all(Array.from({ length: RUNS }, () => adapter.startRun('one', { blob: BLOB })))
		for (let ended = 0; ended < RUNS; ended++) {
			const fitting = Math.min(FITTING, RUNS - ended)
			await until(`${fitting} run at once`, () => held.length >= fitting)
			held.shift()?.()
		}
		for (const run of runs) assert.equal((await run.result({ timeoutMs: 10_000 })).status, 'completed')
		assert.equal(most, FITTING)
	} finally {
		for (const release of held) release()
		await adapter.stop()
	}
})
