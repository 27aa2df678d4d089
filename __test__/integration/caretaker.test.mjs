/** Stalled runs that the workers themselves look after (`reconcileEverySeconds`). */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { memoryLogger } from '../contract/mocks.mjs'
import { openCluster, until } from '../support/cluster.mjs'

const chain = {
	id: 'chain',
	nodes: [
		{ id: 'a', uses: 'pass' },
		{ id: 'b', uses: 'pass' },
	],
	edges: [{ source: 'a', target: 'b' }],
}
const HOUR_MS = 3_600_000
const RUNS = 10

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

/** A run whose only message was lost an hour ago. @param {any} place @param {KafkaAdapter} adapter */
async function stalledRun({ keyspace, statuses }, adapter) {
	const runId = randomUUID()
	await adapter.createContext(runId).patch([
		{ op: 'set', key: 'blueprintId', value: 'chain' },
		{ op: 'set', key: 'mine', value: 1 },
	])
	const insert = `INSERT INTO ${keyspace}.${statuses} (run_id, status, updated_at) VALUES (?, 'running', ?)`
	await cluster.cassandra.execute(insert, [runId, new Date(Date.now() - HOUR_MS)], { prepare: true })
	return runId
}

test('one worker of the group finds stalled runs and nudges each once; another does when it is gone', async () => {
	const place = await cluster.place({ name: 'caretaker', partitions: 4 })
	const registry = { pass: async () => ({ output: 1 }) }
	const workers = Array.from({ length: 2 }, () => {
		const runtimeOptions = { logger: memoryLogger(), blueprints: { chain }, registry }
		return new KafkaAdapter(place.options({ runtimeOptions, reconcileEverySeconds: 1 }))
	})
	/** @param {KafkaAdapter} worker */
	const resumed = (worker) =>
		/** @type {any} */ (worker).logger.lines.filter((/** @type {any} */ [, text]) => text.includes('Resumed run'))
			.length
	try {
		for (const worker of workers) await worker.start()
		await until('both have partitions', () => workers.every((worker) => (worker.health().partitions ?? []).length > 0))
		const first = await Promise.all(Array.from({ length: RUNS }, () => stalledRun(place, workers[0])))
		for (const { status } of (await place.outcomes(first)).values()) assert.equal(status, 'completed')
		const [elected, other] = workers.toSorted((a, b) => resumed(b) - resumed(a))
		assert.deepEqual([resumed(elected), resumed(other)], [RUNS, 0])

		await elected.stop()
		const second = await Promise.all(Array.from({ length: RUNS }, () => stalledRun(place, other)))
		for (const { status } of (await place.outcomes(second)).values()) assert.equal(status, 'completed')
		assert.equal(resumed(other), RUNS)
	} finally {
		for (const worker of workers) await worker.stop()
	}
})
