/** Overridden members on the real engine, without a server: every hook is called, and every run still ends as it should. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { getNative } from '../../src/js/native.js'
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

/** Something to wait for. */
const moment = () => {
	let resolve
	const promise = new Promise((settle) => (resolve = settle))
	return { promise, resolve }
}

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

describe('the door to the engine', () => {
	it('refuses a configuration that it cannot read with a code, and repeats nothing of it', () => {
		const { NativeWorker } = getNative()
		assert.throws(() => new NativeWorker('{"topic":"jobs","groupId":12345}', () => {}), {
			code: 'ERR_INTERNAL',
			message: /^internal error in worker configuration: Data error at line 1 column \d+\. Please report it$/,
		})
	})
})

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
		const twice = handled.filter((job, at) => handled.indexOf(job) !== at)
		const never = expected.filter((job) => !handled.includes(job))
		assert.deepEqual({ twice, never }, { twice: [], never: [] })
	})

	it('handleJob goes before its node: nothing starts without it', async () => {
		const handled = new Set()
		/** @type {string[]} */
		const early = []
		class Custom extends KafkaAdapter {
			async handleJob(job) {
				await new Promise((resolve) => setTimeout(resolve, 2))
				handled.add(`${job.runId},${job.nodeId}`)
				await base.handleJob.call(this, job)
			}
		}
		const count = async ({ input, context, params }) => {
			if (!handled.has(`${await context.get('run')},${params.at}`)) early.push(params.at)
			return { output: (input ?? 0) + 1 }
		}
		const nodes = diamond.nodes.map((node) => ({ ...node, params: { at: node.id } }))
		for (const dispatch of ['topic', 'local']) {
			const runtimeOptions = {
				logger: memoryLogger(),
				blueprints: { diamond: { ...diamond, nodes } },
				registry: { count },
			}
			const adapter = new Custom({ backend: { embedded: randomUUID() }, dispatch, runtimeOptions })
			await adapter.start()
			const ids = Array.from({ length: RUNS }, () => randomUUID())
			const runs = await Promise.all(ids.map((runId) => adapter.startRun('diamond', { run: runId }, { runId })))
			for (const run of runs) assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			await adapter.stop()
		}
		assert.deepEqual(early, [])
	})

	it('maxConcurrentJobs 1: one node at a time, in the order of the topic', async () => {
		let running = 0
		let most = 0
		/** @type {string[]} */
		const order = []
		const count = async ({ input, context, params }) => {
			most = Math.max(most, ++running)
			order.push(`${await context.get('run')}${params.at}`)
			await new Promise((resolve) => setTimeout(resolve, 1))
			running--
			return { output: (input ?? 0) + 1 }
		}
		const nodes = diamond.nodes.map((node) => ({ ...node, params: { at: node.id } }))
		const runtimeOptions = {
			logger: memoryLogger(),
			blueprints: { diamond: { ...diamond, nodes } },
			registry: { count },
		}
		const adapter = new KafkaAdapter({ backend: { embedded: randomUUID() }, maxConcurrentJobs: 1, runtimeOptions })
		// Their starts lie on the topic one after the other, in whichever partitions.
		const runs = [1, 2, 3].map((run) => ({ runId: randomUUID(), run }))
		await adapter.start()
		for (const { runId, run } of runs) await adapter.startRun('diamond', { run }, { runId })
		for (const { runId } of runs)
			assert.equal((await adapter.getRun(runId).result({ timeoutMs: 20_000 })).status, 'completed')
		await adapter.stop()
		assert.equal(most, 1)
		assert.equal(order.length, 12)
		for (const { run } of runs)
			assert.equal(
				order
					.filter((one) => one[0] === String(run))
					.map((one) => one[1])
					.join('')
					.replace('cb', 'bc'),
				'abcd',
			)
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

	it('a startRun that a stop overtakes is refused, and brings up no second engine', async () => {
		const entered = moment()
		const stopped = moment()
		const members = {
			createContext(runId) {
				const context = base.createContext.call(this, runId)
				const slow = Object.create(context)
				slow.toJSON = async () => {
					entered.resolve()
					await stopped.promise
					return {}
				}
				slow.patch = (operations) => context.patch(operations)
				return slow
			},
		}
		const adapter = adapterOf(members)
		await adapter.start()
		const overtaken = adapter.startRun('diamond')
		await entered.promise
		await adapter.stop()
		const state = adapter.health()
		stopped.resolve()
		await assert.rejects(overtaken, { code: 'ERR_NOT_RUNNING' })
		assert.deepEqual(adapter.health(), state, 'no engine came up')
		// As a client of other workers it may go on, until the next stop.
		await adapter.startRun('diamond')
		assert.equal(adapter.health().state, 'running')
		await adapter.stop()
	})

	it('a start that a stop overtakes is refused, where the user consumes in a way of their own', async () => {
		const adapter = adapterOf({ processJobs: () => new Promise(() => {}) })
		const start = adapter.start()
		await adapter.stop()
		await assert.rejects(start, { code: 'ERR_NOT_RUNNING' })
		assert.equal(adapter.isRunning, false)
		assert.equal(adapter.health().state, 'idle')
	})

	it('a node that a stop waits for may still start runs', async () => {
		const entered = moment()
		const stopping = moment()
		const adapter = adapterOf({})
		const started = []
		adapter.runtime.registry.set('count', async ({ input }) => {
			entered.resolve()
			await stopping.promise
			if (started.length > 0) return {}
			started.push(await adapter.startRun('diamond'))
			await started[0].cancel()
			return { output: (input ?? 0) + 1 }
		})
		await adapter.start()
		await adapter.startRun('diamond')
		await entered.promise
		const stop = adapter.stop()
		stopping.resolve()
		await stop
		assert.equal(started.length, 1)
		assert.deepEqual(
			adapter.logger.lines.filter(([level]) => level === 'error' || level === 'warn'),
			[],
		)
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
