/** Retention without servers: what a sweep refuses, what it deletes, and what becomes of old messages. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it } from 'node:test'
import { KafkaAdapter, sweepRuns } from '../../src/js/index.js'
import { memoryCassandra, memoryLogger } from '../contract/mocks.mjs'
import { until } from '../support/cluster.mjs'

const chain = { id: 'chain', nodes: [{ id: 'a', uses: 'a' }], edges: [] }
const asks = { id: 'asks', nodes: [{ id: 'ask', uses: 'wait' }], edges: [] }
const RETENTION_MS = 1_000

/** @param {{ embedded: string }} backend @param {Record<string, unknown>} [more] */
const adapterOf = (backend, more = {}) => {
	const logger = memoryLogger()
	const registry = { a: async () => ({ output: 'done' }) }
	const runtimeOptions = { logger, registry, blueprints: { chain, asks } }
	return new KafkaAdapter({ backend, runtimeOptions, ...more })
}

/** @param {any} adapter @param {string} words @returns {string[]} */
const lines = ({ logger }, words) =>
	logger.lines.map((/** @type {any} */ [, text]) => text).filter((/** @type {string} */ text) => text.includes(words))

const passed = (/** @type {number} */ since) =>
	until('the retention is over', () => Date.now() > since + RETENTION_MS + 1)

describe('a sweep', () => {
	const good = {
		cassandraClient: 'h1',
		keyspace: 'ks',
		contextTableName: 'c',
		statusTableName: 's',
		retentionSeconds: 1,
	}

	it('needs a client whose settings can be read', async () => {
		const cassandraClient = /** @type {any} */ (memoryCassandra())
		await assert.rejects(sweepRuns({ ...good, cassandraClient }), { code: 'ERR_UNSUPPORTED' })
	})

	it('deletes what has ended, and leaves what waits', async () => {
		const backend = { embedded: randomUUID() }
		const adapter = adapterOf(backend)
		await adapter.start()
		try {
			const ended = await adapter.startRun('chain', { mine: 1 })
			await ended.result({ timeoutMs: 20_000 })
			const waiting = await adapter.startRun('asks', { mine: 2 })
			await until('it awaits', async () => (await waiting.status()) === 'awaiting')
			const tables = { keyspace: 'flowcraft', contextTableName: 'contexts', statusTableName: 'statuses' }
			const place = { ...tables, cassandraClient: /** @type {any} */ (backend), runsPerSecond: Infinity }
			const early = await sweepRuns({ ...place, retentionSeconds: 3600 })
			assert.deepEqual([early.rows, early.deleted, early.finished], [2, 0, true])
			await passed(Date.now())
			const report = await sweepRuns({ ...place, retentionSeconds: 1 })
			const expected = { rows: 2, deleted: 1, kept: 0, gone: 0, failed: 0, failures: [], finished: true }
			assert.deepEqual(report, expected)
			assert.deepEqual(await adapter.createContext(ended.runId).toJSON(), {})
			assert.equal(await ended.status(), undefined)
			assert.equal((await adapter.createContext(waiting.runId).toJSON()).mine, 2)
			assert.equal(await waiting.status(), 'awaiting')
		} finally {
			await adapter.stop()
		}
	})
})

describe('a message that is older than the rows of its run become', () => {
	/** Sends a job while nobody works, with or without a row for its run. @param {boolean} hasRow */
	const oldJob = async (hasRow) => {
		const backend = { embedded: randomUUID() }
		class Client extends KafkaAdapter {
			async processJobs() {}
		}
		const client = new Client({
			backend,
			runtimeOptions: { logger: memoryLogger(), registry: {}, blueprints: { chain } },
		})
		const runId = randomUUID()
		if (hasRow) await client.createContext(runId).set('mine', 1)
		await client.start()
		await /** @type {any} */ (client).enqueueJob({ runId, blueprintId: 'chain', nodeId: 'a' })
		await client.stop()
		await passed(Date.now())
		return { backend, runId }
	}

	/** @param {{ backend: { embedded: string }, runId: string }} job @param {Record<string, unknown>} more */
	const completes = async ({ backend, runId }, more) => {
		const adapter = adapterOf(backend, more)
		await adapter.start()
		try {
			assert.equal((await adapter.getRun(runId).result({ timeoutMs: 20_000 })).status, 'completed')
			assert.deepEqual(lines(adapter, 'dead letters'), [])
		} finally {
			await adapter.stop()
		}
	}

	it('goes to the dead letters where nothing is stored of the run', async () => {
		const { backend, runId } = await oldJob(false)
		const adapter = adapterOf(backend, { retentionSeconds: 1 })
		await adapter.start()
		try {
			const [line] = await until('it is buried', () => {
				const found = lines(adapter, 'goes to dead letters')
				return found.length > 0 ? found : undefined
			})
			assert.match(line, /ERR_RUN_EXPIRED Its message is older than the rows of ended runs are kept/)
			assert.deepEqual(await adapter.createContext(runId).toJSON(), {})
			assert.equal(await adapter.getRun(runId).status(), undefined)
			const [warning, ...others] = lines(adapter, 'how long topic')
			assert.match(warning, /the embedded one keeps them as long as its process lives/)
			assert.deepEqual(others, [])
		} finally {
			await adapter.stop()
		}
	})

	it('runs where the run has a row', async () => completes(await oldJob(true), { retentionSeconds: 1 }))

	it('runs where the retention is longer', async () => completes(await oldJob(false), { retentionSeconds: 3600 }))

	it('runs where no retention is set', async () => completes(await oldJob(false), {}))
})
