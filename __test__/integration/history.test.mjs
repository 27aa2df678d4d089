/** A run's history on real services, in each layout: read by a process that has no worker, and in nobody's context. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, until } from '../support/cluster.mjs'
import { withWorker } from './one-worker.mjs'

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

const blueprint = {
	id: 'asks',
	nodes: [
		{ id: 'a', uses: 'passing' },
		{ id: 'ask', uses: 'wait' },
		{ id: 'b', uses: 'passing' },
	],
	edges: [
		{ source: 'a', target: 'ask' },
		{ source: 'ask', target: 'b' },
	],
}
const runtimeOptions = { registry: { passing: async () => ({ output: 1 }) }, blueprints: { asks: blueprint } }

for (const schema of /** @type {const} */ (['full', 'column', 'entries'])) {
	test(`schema ${schema}: what was visited, while the run waits and after its end`, async () => {
		const home = await cluster.place({ schema, name: `history_${schema}`, partitions: 0 })
		await withWorker(home, runtimeOptions, { workerId: 'mine' }, async (place, adapter) => {
			const client = new KafkaAdapter(place.options({ runtimeOptions }))
			const nodes = async (/** @type {string} */ runId) => {
				const { visits } = await client.history(runId)
				return visits.map(({ nodeId, outcome, workerId }) => `${nodeId} ${outcome} by ${workerId}`)
			}
			const run = await adapter.startRun('asks')
			await until('the run awaits', async () => (await run.status()) === 'awaiting')
			const begun = ['a completed by mine', 'ask awaiting by mine']
			assert.deepEqual(await nodes(run.runId), begun)
			await run.resume()
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			assert.deepEqual(await nodes(run.runId), [...begun, 'ask answered by mine', 'b completed by mine'])
			assert.ok(!JSON.stringify(await client.createContext(run.runId).toJSON()).includes('mine'))
			await client.stop()
		})
	})
}
