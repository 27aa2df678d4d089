/** What the engine promises where things fail or end, on the embedded backend: no server. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { memoryLogger } from '../contract/mocks.mjs'
import { until } from '../support/cluster.mjs'

/** As many runs that every partition has some. */
const RUNS = 24
/** Where nothing may happen there is no condition to wait for. */
const CALM_MS = 1_000
const base = KafkaAdapter.prototype
const chain = {
	id: 'chain',
	nodes: [
		{ id: 'a', uses: 'work' },
		{ id: 'b', uses: 'work' },
	],
	edges: [{ source: 'a', target: 'b' }],
}
const single = { id: 'single', nodes: [{ id: 'a', uses: 'work' }], edges: [] }

/**
 * Workers of one group. They stop with the test, also where it fails.
 *
 * @param {import('node:test').TestContext} t
 * @param {(node: any) => Promise<any>} work
 * @param {Record<string, any>} [members] of the adapter's class
 */
function workers(t, work, members = {}) {
	const backend = { embedded: randomUUID() }
	class Custom extends KafkaAdapter {}
	Object.assign(Custom.prototype, members)
	return (/** @type {Record<string, any>} */ options = {}) => {
		const runtimeOptions = { logger: memoryLogger(), blueprints: { chain, single }, registry: { work } }
		const adapter = new Custom({ backend, ...options, runtimeOptions })
		t.after(() => adapter.stop())
		return adapter
	}
}

/**
 * A node that waits until it is let go, and counts how often it ran for each run.
 *
 * @param {import('node:test').TestContext} t
 */
function gate(t) {
	/** @type {Map<string, number>} */
	const ran = new Map()
	let open = () => {}
	const opened = new Promise((resolve) => (open = () => resolve(undefined)))
	t.after(open)
	const work = async (/** @type {any} */ { context }) => {
		const run = await context.get('run')
		ran.set(run, (ran.get(run) ?? 0) + 1)
		await opened
		return { output: 'done' }
	}
	return { ran, open, work }
}

/** @param {KafkaAdapter} adapter @param {string} runId */
async function completes(adapter, runId) {
	const { status } = await adapter.getRun(runId).result({ timeoutMs: 10_000 })
	assert.equal(status, 'completed', runId)
}

const partitionsOf = (/** @type {KafkaAdapter} */ adapter) => /** @type {any} */ (adapter.health()).partitions ?? []

test('G7: stop() waits for a node that runs, and what it returns is recorded', async (t) => {
	const { ran, open, work } = gate(t)
	const worker = workers(t, work)
	const [first, next] = [worker(), worker()]
	await first.start()
	const { runId } = await first.startRun('single', { run: 'one' })
	await until('the node runs', () => ran.size === 1)
	const stopping = first.stop()
	open()
	await stopping
	await next.start()
	await completes(next, runId)
	assert.deepEqual([...ran], [['one', 1]])
})

test('G8: a partition moves when the nodes that run on it have ended and are recorded, not before', async (t) => {
	const { ran, open, work } = gate(t)
	const worker = workers(t, work)
	const [first, second] = [worker({ revokeGraceMs: 60_000 }), worker()]
	await first.start()
	const ids = Array.from({ length: RUNS }, () => randomUUID())
	for (const runId of ids) await first.startRun('single', { run: runId }, { runId })
	await until('all nodes run', () => ran.size === RUNS)
	await second.start()
	const calm = Date.now() + CALM_MS
	await until('time passes, or a partition moves', () => Date.now() > calm || partitionsOf(second).length > 0)
	open()
	for (const runId of ids) await completes(second, runId)
	await until('the second has its half', () => partitionsOf(second).length === 2)
	assert.deepEqual(
		[...ran].filter(([, times]) => times !== 1),
		[],
	)
})

test('G10: a job that could not be sent is sent again', async (t) => {
	let refused = 0
	const worker = workers(t, async () => ({ output: 1 }), {
		async enqueueJob(/** @type {any} */ job) {
			if (job.nodeId === 'b' && refused++ === 0) throw new Error('the topic is away')
			await base.enqueueJob.call(this, job)
		},
		// With this a node starts when its message comes, and not before.
		async handleJob(/** @type {any} */ job) {
			await base.handleJob.call(this, job)
		},
	})
	const adapter = worker()
	await adapter.start()
	const { runId } = await adapter.startRun('chain')
	await completes(adapter, runId)
	assert.ok(refused > 1)
})

test('G10: a step that could not be written is written again', async (t) => {
	let refused = 0
	const worker = workers(t, async () => ({ output: 1 }), {
		createContext(/** @type {string} */ runId) {
			const context = base.createContext.call(this, runId)
			return {
				type: 'async',
				toJSON: () => context.toJSON(),
				get: (/** @type {any} */ key) => context.get(key),
				has: (/** @type {any} */ key) => context.has(key),
				delete: (/** @type {any} */ key) => context.delete(key),
				async set(/** @type {any} */ key, /** @type {any} */ value) {
					if (key === '_outputs.a' && refused++ === 0) throw new Error('the store is away')
					await context.set(key, value)
				},
			}
		},
	})
	const adapter = worker()
	await adapter.start()
	const { runId } = await adapter.startRun('chain')
	await completes(adapter, runId)
	assert.ok(refused > 1)
})

test('G4: an outcome whose row could not be written is written again', async (t) => {
	let refused = 0
	const worker = workers(t, async () => ({ output: 1 }), {
		async publishFinalResult(/** @type {string} */ runId, /** @type {any} */ result) {
			if (refused++ === 0) throw new Error('the table is away')
			await base.publishFinalResult.call(this, runId, result)
		},
	})
	const adapter = worker()
	await adapter.start()
	const { runId } = await adapter.startRun('single')
	await completes(adapter, runId)
	assert.ok(refused > 1)
})

test('row 55: with one job at a time, a cancel reaches the run that is at work and one behind it', async (t) => {
	/** @type {string[]} */
	const ran = []
	/** @type {string[]} */
	const aborted = []
	const worker = workers(t, async ({ signal, dependencies }) => {
		const run = dependencies.runtime.executionId
		ran.push(run)
		await once(signal, 'abort')
		aborted.push(run)
		return { output: 1 }
	})
	const [serial, client] = [worker({ maxConcurrentJobs: 1 }), worker()]
	await serial.start()
	const busy = await client.startRun('single')
	await until('its node runs', () => ran.length === 1)
	const behind = await client.startRun('single')
	for (const run of [behind, busy]) {
		await run.cancel('enough')
		const { status, reason } = await run.result({ timeoutMs: 10_000 })
		assert.deepEqual([status, reason], ['cancelled', 'enough'])
	}
	await until('the node heard of it', () => aborted.length === 1)
	assert.deepEqual([ran, aborted], [[busy.runId], [busy.runId]])
	const next = await client.startRun('single')
	await until('the worker goes on', () => ran.includes(next.runId))
	await next.cancel()
})
