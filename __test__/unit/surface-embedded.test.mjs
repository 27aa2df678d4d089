/** Overridden members on the real engine, without a server: every hook is called, and every run still ends as it should. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { memoryLogger } from '../contract/mocks.mjs'

const RUNS = 20
const diamond = {
	id: 'diamond',
	nodes: ['a', 'b', 'c', 'd'].map((id) => ({ id, uses: 'count' })),
	edges: [
		{ source: 'a', target: 'b' },
		{ source: 'a', target: 'c' },
		{ source: 'b', target: 'd' },
		{ source: 'c', target: 'd' },
	],
}
const registry = { count: async ({ input }) => ({ output: (input ?? 0) + 1 }) }
const base = KafkaAdapter.prototype

const adapterOf = (members) => {
	class Custom extends KafkaAdapter {}
	Object.assign(Custom.prototype, members)
	const runtimeOptions = { logger: memoryLogger(), blueprints: { diamond }, registry }
	return new Custom({ backend: { embedded: randomUUID() }, runtimeOptions })
}

/** Runs diamonds on an adapter with these members, and holds each against what memory would give. */
const runDiamonds = async (members) => {
	const adapter = adapterOf(members)
	await adapter.start()
	const runs = await Promise.all(Array.from({ length: RUNS }, () => adapter.startRun('diamond', { mine: 1 })))
	for (const run of runs) {
		const { status, payload } = await run.result({ timeoutMs: 20_000 })
		const { context } = payload
		assert.deepEqual([status, context.mine, context.a, context.b, context.c, context.d], ['completed', 1, 1, 2, 2, 3])
		assert.equal(await run.status(), 'completed')
	}
	await adapter.stop()
	assert.deepEqual(
		adapter.logger.lines.filter(([level]) => level === 'error' || level === 'warn'),
		[],
	)
	return runs.map(({ runId }) => runId)
}

describe('on the real engine', () => {
	it('nothing overridden', () => runDiamonds({}))

	it('onJobStart is called for each node', async () => {
		const starts = []
		const runs = await runDiamonds({ onJobStart: async (...args) => void starts.push(args.join()) })
		const expected = runs.flatMap((run) => ['a', 'b', 'c', 'd'].map((node) => `${run},diamond,${node}`))
		assert.deepEqual(starts.toSorted(), expected.toSorted())
	})

	it('publishFinalResult gets each outcome once', async () => {
		const published = []
		const runs = await runDiamonds({
			async publishFinalResult(run, result) {
				published.push(run)
				await base.publishFinalResult.call(this, run, result)
			},
		})
		assert.deepEqual(published.toSorted(), runs.toSorted())
	})

	it('createContext holds the state of every run', async () => {
		const documents = new Map()
		const createContext = (run) => ({
			type: 'async',
			toJSON: async () => structuredClone(documents.get(run) ?? {}),
			get: async (key) => documents.get(run)?.[key],
			has: async (key) => Object.hasOwn(documents.get(run) ?? {}, key),
			set: async (key, value) => void documents.set(run, { ...documents.get(run), [key]: value }),
			async delete(key) {
				const { [key]: gone, ...rest } = documents.get(run) ?? {}
				documents.set(run, rest)
				return gone !== undefined
			},
		})
		const runs = await runDiamonds({ createContext })
		assert.deepEqual([...documents.keys()].toSorted(), runs.toSorted())
		assert.equal(documents.get(runs[0])['_outputs.d'], 3)
	})

	it('handleJob is called for each message, and super runs it', async () => {
		const handled = []
		const runs = await runDiamonds({
			async handleJob(job) {
				handled.push(`${job.runId},${job.nodeId}`)
				await base.handleJob.call(this, job)
			},
		})
		const expected = runs.flatMap((run) => ['a', 'b', 'c', 'd'].map((node) => `${run},${node}`))
		assert.deepEqual(handled.toSorted(), expected.toSorted())
	})

	it('processJobs that wraps the handler sees each message', async () => {
		let seen = 0
		await runDiamonds({
			async processJobs(handler) {
				await base.processJobs.call(this, async (job) => {
					seen++
					await handler(job)
				})
			},
		})
		assert.equal(seen, RUNS * 4)
	})

	it('processJobs and enqueueJob of the user: the engine runs what they bring', async () => {
		const queue = []
		let handle
		const deliver = async () => {
			while (handle && queue.length > 0) await handle(queue.shift())
		}
		await runDiamonds({
			processJobs(handler) {
				handle = handler
				void deliver()
			},
			async enqueueJob(job) {
				queue.push(job)
				setImmediate(deliver)
			},
		})
		assert.equal(queue.length, 0)
	})

	it('starts and stops again and again', async () => {
		const adapter = adapterOf({})
		for (let round = 0; round < 10; round++) {
			await adapter.start()
			const run = await adapter.startRun('diamond')
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			await adapter.stop()
			assert.equal(adapter.isRunning, false)
		}
	})

	it('reconcile nudges a run that was never sent', async () => {
		const adapter = adapterOf({})
		await adapter.start()
		const run = adapter.getRun(randomUUID())
		const context = adapter.createContext(run.runId)
		await context.patch([
			{ op: 'set', key: 'blueprintId', value: 'diamond' },
			{ op: 'set', key: 'blueprintVersion', value: null },
		])
		assert.deepEqual([...(await adapter.reconcile(run.runId))], ['a'])
		assert.equal((await run.result({ timeoutMs: 20_000 })).payload.context.d, 3)
		assert.deepEqual([...(await adapter.reconcile(run.runId))], [])
		await adapter.stop()
	})
})
