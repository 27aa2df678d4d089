/**
 * Rows of the feature matrix (docs/matrix.md) that are about more than one blueprint's result: processes, messages, rows of
 * tables, events. On real services.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FlowRuntime, NullLogger, createDefaultContainer, ServiceTokens } from 'flowcraft'
import { KafkaAdapter, createKafkaReconciler } from '../../src/js/index.js'
import { openCluster, unique, until } from '../support/cluster.mjs'
import { comparable, published, runInMemory } from '../oracle/comparator.mjs'
import { withWorker } from './one-worker.mjs'

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'matrix', partitions: 0 })
})

after(() => cluster.close())

const turn = () => new Promise((resolve) => setImmediate(resolve))
const node = (/** @type {string} */ id, uses = id, more = {}) => ({ id, uses, ...more })
const edge = (/** @type {string} */ path, more = {}) => ({
	source: path.split('>')[0],
	target: path.split('>')[1],
	...more,
})

/** A batch of six whose worker is registered under this key. @param {string} workerUsesKey */
const batchOf = (workerUsesKey) => ({
	id: 'batch',
	nodes: [
		node('list'),
		node('s', 'batch-scatter', {
			inputs: 'list',
			params: { workerUsesKey, gatherNodeId: 'g', outputKey: 'doubled' },
		}),
		node('g', 'batch-gather', { params: { gatherNodeId: 'g', outputKey: 'doubled' } }),
	],
	edges: [edge('list>s'), edge('s>g')],
})

test('row 40: a batch goes on in a worker that knows its function under another key', async () => {
	const place = await home.sibling({ partitions: 1 })
	let running = 0
	const worker = (/** @type {string} */ key, /** @type {(input: number) => any} */ double) => {
		const registry = { list: async () => ({ output: [1, 2, 3, 4, 5, 6] }), [key]: async ({ input }) => double(input) }
		const blueprints = { batch: batchOf(key) }
		const runtimeOptions = { registry, blueprints, logger: new NullLogger() }
		return new KafkaAdapter(place.options({ runtimeOptions, leaseTtlMs: 2_000 }))
	}
	const first = worker('fn_one', async (input) => {
		running++
		// The odd ones never end here.
		if (input % 2) await new Promise(() => {})
		return { output: input * 2 }
	})
	await first.start()
	const runId = await place.startRun(batchOf('fn_one'))
	await until('half of the batch is recorded', async () => {
		const { document = {} } = (await place.context(runId)) ?? {}
		const recorded = Object.keys(document ?? {}).filter((key) => key.startsWith('_outputs.fn_one_'))
		return running === 6 && recorded.length === 3
	})
	await first.stop({ deadlineMs: 100 })
	const second = worker('fn_two', async (input) => ({ output: input * 2 }))
	await second.start()
	try {
		const { status, data } = await place.outcome(runId)
		assert.equal(status, 'completed')
		assert.deepEqual(data.payload.context.doubled, [2, 4, 6, 8, 10, 12])
	} finally {
		await second.stop()
	}
})

test('row 43: a loop without end is ended after 10,000 waves, as in memory', { timeout: 120_000 }, async () => {
	const any = { config: { joinStrategy: 'any' } }
	const blueprint = {
		id: 'endless',
		nodes: [node('go'), node('a', 'go', any), node('b', 'go', any)],
		edges: [edge('go>a'), edge('a>b'), edge('b>a')],
	}
	const registry = { go: async () => ({ output: 1 }) }
	const expected = await runInMemory(blueprint, { registry })
	await withWorker(home, { registry, blueprints: { endless: blueprint } }, { dispatch: 'local' }, async (place) => {
		const { data } = await place.outcome(await place.startRun(blueprint), { timeoutMs: 100_000 })
		assert.deepEqual(published(data, blueprint), expected)
		assert.equal(data.reason, 'Traversal exceeded maximum iterations, possible infinite loop')
	})
})

test('row 60: context.patch works in nodes, where memory throws', async () => {
	const blueprint = { id: 'patch', nodes: [node('a')], edges: [] }
	const registry = {
		a: async ({ context }) => {
			await context.patch([
				{ op: 'set', key: 'x', value: 1 },
				{ op: 'delete', key: 'y' },
			])
			return { output: [await context.get('x'), await context.has('y')] }
		},
	}
	await withWorker(home, { registry, blueprints: { patch: blueprint } }, {}, async (place) => {
		const { data } = await place.outcome(await place.startRun(blueprint, { y: 2 }))
		assert.deepEqual(data.payload.context.a, [1, false])
		assert.equal(data.payload.context.x, 1)
		assert.equal('y' in data.payload.context, false)
	})
})

test('rows 64, 76: options of a runtime with a container work, its orchestrator is not asked', async () => {
	const blueprint = { id: 'pair', nodes: [node('a'), node('b')], edges: [edge('a>b')] }
	const registry = { a: async () => ({ output: 1 }), b: async ({ input }) => ({ output: input + 1 }) }
	const options = { registry, blueprints: { pair: blueprint } }
	const container = createDefaultContainer(options)
	container.register(ServiceTokens.Orchestrator, {
		run: async () => {
			throw new Error('nobody asks this orchestrator')
		},
	})
	const runtime = new FlowRuntime(container, options)
	await withWorker(home, runtime.options, {}, async (place) => {
		const { status, data } = await place.outcome(await place.startRun(blueprint))
		assert.equal(status, 'completed')
		assert.equal(data.payload.context.b, 2)
	})
})

test('row 67: a blueprint without nodes has no job, and starting it is refused', async () => {
	const blueprint = { id: 'empty', nodes: [], edges: [] }
	assert.equal((await runInMemory(blueprint, {})).status, 'completed')
	await withWorker(home, { registry: {}, blueprints: { empty: blueprint } }, {}, async (place, adapter) => {
		await assert.rejects(adapter.startRun('empty'), { code: 'ERR_BLUEPRINT_EMPTY' })
		await place.allCommitted()
	})
})

test('row 71: reconcile nudges what is due, no branch that was not taken, nothing that waits or has ended', async () => {
	const branch = {
		id: 'branch',
		nodes: [node('a'), node('yes', 'a'), node('no', 'never')],
		edges: [edge('a>yes', { condition: 'result.output' }), edge('a>no', { condition: 'missing' })],
	}
	const waiting = { id: 'waiting', nodes: [node('w', 'wait'), node('b', 'never')], edges: [edge('w>b')] }
	let never = 0
	const registry = { a: async () => ({ output: 1 }), never: async () => ({ output: ++never }) }
	const blueprints = { branch, waiting }
	await withWorker(home, { registry, blueprints }, {}, async (place, adapter) => {
		const ended = await place.startRun(branch)
		const awaiting = await place.startRun(waiting)
		await place.outcomes([ended, awaiting])
		assert.deepEqual([...(await adapter.reconcile(ended))], [])
		assert.deepEqual([...(await adapter.reconcile(awaiting))], [])

		const lost = unique('lost')
		await place.writeContext(lost, JSON.stringify({ blueprintId: 'branch' }))
		const insert = `INSERT INTO ${place.keyspace}.${place.statuses} (run_id, status, updated_at) VALUES (?, ?, ?)`
		await cluster.cassandra.execute(insert, [lost, 'running', new Date(Date.now() - 60_000)], { prepare: true })
		const { cassandra: cassandraClient, keyspace, statusTableName } = adapter
		const reconciler = createKafkaReconciler({
			adapter,
			cassandraClient,
			keyspace,
			statusTableName,
			stalledThresholdSeconds: 30,
		})
		assert.equal((await reconciler.run()).failedRuns, 0)
		const { status, data } = await place.outcome(lost)
		assert.equal(status, 'completed')
		assert.deepEqual(Object.keys(data.payload.context).includes('no'), false)
		await place.allCommitted()
		assert.equal(never, 0)
	})
})

test('row 72: nodes that outlive the session timeout, also by blocking the thread, run once', async () => {
	const blueprint = { id: 'long', nodes: [node('a'), node('b')], edges: [edge('a>b')] }
	const ran = { a: 0, b: 0 }
	const registry = {
		a: async () => {
			await sleep(4_500)
			return { output: ++ran.a }
		},
		b: async () => {
			const end = Date.now() + 4_500
			while (Date.now() < end);
			return { output: ++ran.b }
		},
	}
	const { brokers } = cluster
	const options = { kafka: { brokers, sessionTimeoutMs: 3_000, heartbeatIntervalMs: 500 }, leaseTtlMs: 3_000 }
	await withWorker(home, { registry, blueprints: { long: blueprint } }, options, async (place) => {
		assert.equal((await place.outcome(await place.startRun(blueprint))).status, 'completed')
		await place.allCommitted()
		assert.deepEqual(ran, { a: 1, b: 1 })
	})
})

test('row 74: workflow and node events carry the run id', async () => {
	/** @type {any[]} */
	const events = []
	const eventBus = { emit: async (/** @type {any} */ event) => void events.push(event) }
	const blueprint = { id: 'pair', nodes: [node('a'), node('b', 'a')], edges: [edge('a>b')] }
	const registry = { a: async () => ({ output: 1 }) }
	await withWorker(home, { registry, eventBus, blueprints: { pair: blueprint } }, {}, async (place) => {
		const runId = await place.startRun(blueprint)
		await place.outcome(runId)
		const types = events.map(({ type }) => type).filter((type) => /^(workflow|node):/.test(type))
		assert.deepEqual(types, [
			'workflow:start',
			'workflow:resume',
			'node:start',
			'node:finish',
			'node:start',
			'node:finish',
			'workflow:finish',
		])
		assert.deepEqual([...new Set(events.map(({ payload }) => payload.executionId))], [runId])
	})
})

test('row 77: runs on one worker do not see each other, and the registered blueprint stays as it is', async () => {
	const blueprint = {
		id: 'shared',
		nodes: [node('a'), node('b', 'b', { inputs: 'nothing', params: { seen: [] } })],
		edges: [edge('a>b', { transform: 'input' })],
	}
	const before = structuredClone(blueprint)
	const registry = {
		a: async ({ context }) => ({ output: await context.get('seed') }),
		b: async ({ input, params }) => {
			params.seen.push(input)
			return { output: params.seen }
		},
	}
	await withWorker(home, { registry, blueprints: { shared: blueprint } }, {}, async (place) => {
		const runs = await Promise.all([1, 2, 3, 4].map((seed) => place.startRun(blueprint, { seed })))
		const rows = await place.outcomes(runs)
		for (const [at, runId] of runs.entries()) assert.deepEqual(rows.get(runId)?.data.payload.context.b, [at + 1])
		assert.deepEqual(blueprint, before)
	})
})

test('row 78: an outcome is written once: later messages leave the row as it is, byte for byte', async () => {
	const blueprint = { id: 'pair', nodes: [node('a'), node('b', 'a')], edges: [edge('a>b')] }
	let ran = 0
	const registry = { a: async () => ({ output: ++ran }) }
	await withWorker(home, { registry, blueprints: { pair: blueprint } }, {}, async (place) => {
		const runId = await place.startRun(blueprint)
		const first = await place.outcome(runId)
		await place.send(['a', 'b', 'a'].map((nodeId) => ({ runId, blueprintId: 'pair', nodeId })))
		await place.allCommitted()
		const [again] = await place.statusRows([runId])
		assert.deepEqual([again.text, again.updatedAt], [first.text, first.updatedAt])
		assert.equal(ran, 2)
	})
})

for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
	test(`row 79: nodes of one run run at once, as many as the bound allows (${schedule})`, async () => {
		const ids = ['b', 'c', 'd', 'e', 'f']
		const blueprint = {
			id: 'wide',
			nodes: [node('a'), ...ids.map((id) => node(id, 'busy'))],
			edges: ids.map((id) => edge(`a>${id}`)),
		}
		let running = 0
		let most = 0
		const registry = {
			a: async () => ({ output: 1 }),
			busy: async () => {
				most = Math.max(most, ++running)
				for (let i = 0; i < 50; i++) await turn()
				running--
				return { output: 1 }
			},
		}
		const options = { schedule, maxConcurrentJobsPerRun: 3 }
		await withWorker(home, { registry, blueprints: { wide: blueprint } }, options, async (place) => {
			assert.equal((await place.outcome(await place.startRun(blueprint))).status, 'completed')
			assert.equal(most, 3)
		})
	})
}

test('row 80: the registry is an object; of a Map nothing is found, as in memory', async () => {
	const blueprint = { id: 'one', nodes: [node('a')], edges: [] }
	const registry = /** @type {any} */ (new Map([['a', async () => ({ output: 1 })]]))
	const expected = await runInMemory(blueprint, { registry })
	assert.deepEqual(expected.status, 'failed')
	await withWorker(home, { registry, blueprints: { one: blueprint } }, {}, async (place) => {
		const { data } = await place.outcome(await place.startRun(blueprint))
		assert.deepEqual(comparable(published(data, blueprint)), comparable(expected))
	})
})

test('row 81: __proto__ is a key like any other', async () => {
	const blueprint = { id: 'proto', nodes: [node('a'), node('b')], edges: [edge('a>b')] }
	const registry = {
		a: async ({ context }) => {
			await context.set('__proto__', { x: 1 })
			return { output: 1 }
		},
		b: async ({ context }) => ({
			output: [await context.get('__proto__'), Object.keys(await context.toJSON()).includes('__proto__')],
		}),
	}
	await withWorker(home, { registry, blueprints: { proto: blueprint } }, {}, async (place) => {
		const { data, text } = await place.outcome(await place.startRun(blueprint))
		assert.deepEqual(data.payload.context.b, [{ x: 1 }, true])
		assert.ok(text?.includes('"__proto__":{"x":1}'), 'it is stored')
	})
})

test('row 83: the root cause of a failure is in the payload, and reason keeps its text', async () => {
	const blueprint = { id: 'disk', nodes: [node('a')], edges: [] }
	const registry = {
		a: async () => {
			throw new Error('disk full')
		},
	}
	await withWorker(home, { registry, blueprints: { disk: blueprint } }, {}, async (place) => {
		const { data } = await place.outcome(await place.startRun(blueprint))
		assert.equal(data.reason, "Node 'a' execution failed")
		assert.deepEqual(data.payload.errors[0].cause, { name: 'Error', message: 'disk full' })
	})
})
