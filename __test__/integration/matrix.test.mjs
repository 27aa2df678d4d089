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

/** A class of the user's, and a serializer that knows it. */
class Amount {
	/** @param {number} cents */
	constructor(cents) {
		this.cents = cents
	}
}
/** @type {Record<string, [is: (value: any) => boolean, to: (value: any) => any, from: (plain: any) => any]>} */
const KINDS = {
	date: [(value) => value instanceof Date, Number, (plain) => new Date(plain)],
	map: [(value) => value instanceof Map, (value) => [...value], (plain) => new Map(plain)],
	set: [(value) => value instanceof Set, (value) => [...value], (plain) => new Set(plain)],
	bigint: [(value) => typeof value === 'bigint', String, BigInt],
	amount: [(value) => value instanceof Amount, ({ cents }) => cents, (plain) => new Amount(plain)],
}
const serializer = {
	serialize: (/** @type {any} */ data) =>
		JSON.stringify(data, function (key, value) {
			// What `toJSON` gave is too late.
			const own = /** @type {any} */ (this)[key]
			const kind = Object.entries(KINDS).find(([, [is]]) => is(own))
			return kind ? { kind: kind[0], plain: kind[1][1](own) } : value
		}),
	deserialize: (/** @type {string} */ text) =>
		JSON.parse(text, (_, value) => (value && value.kind in KINDS ? KINDS[value.kind][2](value.plain) : value)),
}

/**
 * A run that begins in one worker and ends in the next: its node `held` ends in the second one only.
 *
 * @param {any} blueprint
 * @param {Record<string, any>} registry
 * @param {{ runtimeOptions?: Record<string, any>, initial?: Record<string, any>,
 *   between?: (place: import('../support/cluster.mjs').Place, second: KafkaAdapter, runId: string) => Promise<void> }} [more] `between`:
 *   while no worker is there; starts the second one
 */
async function handedOver(blueprint, registry, { runtimeOptions = {}, initial, between } = {}) {
	const place = await home.sibling({ partitions: 1 })
	let holding = 0
	const worker = (/** @type {boolean} */ isFirst) => {
		const held = async (/** @type {any} */ call) => {
			holding++
			if (isFirst) await new Promise(() => {})
			return registry.held(call)
		}
		const options = { logger: new NullLogger(), ...runtimeOptions }
		return new KafkaAdapter(
			place.options({
				leaseTtlMs: 2_000,
				runtimeOptions: { ...options, registry: { ...registry, held }, blueprints: { [blueprint.id]: blueprint } },
			}),
		)
	}
	const first = worker(true)
	await first.start()
	const runId = await place.startRun(blueprint, initial)
	await until('a node is held', () => holding === 1)
	await first.stop({ deadlineMs: 100 })
	const second = worker(false)
	try {
		await (between ? between(place, second, runId) : second.start())
		return await place.outcome(runId)
	} finally {
		await second.stop()
	}
}

/** @param {Record<string, any>} inputs of the node that two edges with transforms lead to @param {Record<string, any>} initial */
async function handOverTransforms(inputs, initial) {
	const blueprint = {
		id: 'transformed',
		nodes: [node('a'), node('b'), node('held', 'held', inputs)],
		edges: [edge('a>held', { transform: 'input.x' }), edge('a>b'), edge('b>held', { transform: 'input.x' })],
	}
	const registry = {
		a: async () => ({ output: { x: { x: 'from a' } } }),
		b: async () => ({ output: { x: { x: 'from b' } } }),
		held: async ({ input }) => ({ output: { got: input } }),
	}
	const expected = await runInMemory(blueprint, { registry }, initial)
	const { data } = await handedOver(blueprint, registry, { initial })
	assert.deepEqual(comparable(published(data, blueprint, initial)), comparable(expected))
	return data.payload.context.held.got
}

test('row 19: the worker that takes a run over knows the transform that goes before explicit inputs', async () => {
	assert.notEqual(await handOverTransforms({ inputs: 'given' }, { given: 'by reference' }), 'by reference')
})

test('row 20: the worker that takes a run over knows what two transforms have made of an input', async () => {
	assert.ok(await handOverTransforms({}, {}))
})

test('row 36: the worker that takes a run over knows its dynamic nodes', async () => {
	const blueprint = { id: 'dynamic', nodes: [node('a'), node('b')], edges: [edge('a>b')] }
	const registry = {
		a: async () => ({ output: 1, dynamicNodes: [node('x', 'held', { params: { says: 'x' } }), node('y', 'b')] }),
		b: async () => ({ output: 'ran' }),
		held: async ({ params }) => ({ output: params.says }),
	}
	const expected = await runInMemory(blueprint, { registry })
	const { data } = await handedOver(blueprint, registry)
	assert.deepEqual(comparable(published(data, blueprint)), comparable(expected))
	assert.deepEqual([data.payload.context.x, data.payload.context.y], ['x', 'ran'])
})

test('row 62: with a serializer, values go to the next worker as what they are', async () => {
	const blueprint = {
		id: 'values',
		nodes: [node('a'), node('held'), node('z')],
		edges: [edge('a>held'), edge('held>z')],
	}
	const kinds = (/** @type {any[]} */ values) => values.map((value) => value.constructor.name)
	const registry = {
		a: async ({ context }) => {
			await context.set('price', new Amount(7))
			return { output: [new Date(0), new Map([[1, 2]]), new Set([3]), 4n, new Amount(5)] }
		},
		held: async ({ input, context }) => {
			const price = await context.get('price')
			const [date, map, set, big, amount] = input
			const inside = [Number(date), map.get(1), set.has(3), big === 4n, amount.cents, price.cents]
			return { output: { kinds: [...kinds(input), ...kinds([price])], inside, kept: map } }
		},
		z: async ({ input }) => ({ output: input.kept.get(1) }),
	}
	const { status, data } = await handedOver(blueprint, registry, { runtimeOptions: { serializer } })
	assert.equal(status, 'completed')
	const context = serializer.deserialize(data.payload.serializedContext)
	assert.deepEqual(context.held.kinds, ['Date', 'Map', 'Set', 'BigInt', 'Amount', 'Amount'])
	assert.deepEqual(context.held.inside, [0, 2, true, true, 5, 7])
	assert.equal(context.z, 2)
	assert.ok(context.price instanceof Amount)
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

/** What a user gives a runtime beside nodes. @param {string[]} heard */
const services = (heard) => ({
	dependencies: { greeting: 'hello' },
	serializer,
	evaluator: {
		evaluate: (/** @type {string} */ expression) => {
			heard.push(expression)
			return expression === 'yes'
		},
	},
})
const served = {
	id: 'served',
	nodes: [node('a'), node('b'), node('c', 'a')],
	edges: [edge('a>b', { condition: 'yes' }), edge('a>c', { condition: 'no' })],
}
const servedNodes = {
	a: async ({ dependencies }) => ({ output: new Set([dependencies.greeting]) }),
	b: async ({ input }) => ({ output: input.has('hello') }),
}

/** @param {any} data @param {string[]} heard */
function assertServed(data, heard) {
	assert.equal(data.status, 'completed', JSON.stringify(data))
	const context = serializer.deserialize(data.payload.serializedContext)
	assert.deepEqual([[...context.a], context.b, 'c' in context], [['hello'], true, false])
	assert.deepEqual(heard.toSorted(), ['no', 'yes'])
}

test('row 64: the dependencies, the evaluator and the serializer of the options are those of nodes and edges', async () => {
	/** @type {string[]} */
	const heard = []
	const options = { registry: servedNodes, blueprints: { served }, ...services(heard) }
	const container = createDefaultContainer(options)
	const runtime = new FlowRuntime(container, options)
	await withWorker(home, runtime.options, {}, async (place) => {
		assertServed((await place.outcome(await place.startRun(served))).data, heard)
	})
})

test('row 64: a subclass whose runtime comes from a container alone', async () => {
	/** @type {string[]} */
	const heard = []
	class Contained extends KafkaAdapter {
		/** @param {any} options */
		constructor(options) {
			super(options)
			const container = createDefaultContainer({ registry: servedNodes, blueprints: { served }, ...services(heard) })
			Reflect.set(this, 'runtime', new FlowRuntime(container))
		}
	}
	const place = await home.sibling({ partitions: 1 })
	const adapter = new Contained(
		place.options({ runtimeOptions: { logger: new NullLogger(), registry: {}, blueprints: {} } }),
	)
	await adapter.start()
	try {
		assertServed((await place.outcome(await place.startRun(served))).data, heard)
	} finally {
		await adapter.stop()
	}
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

test('row 71: of a run whose messages are lost, what its checkpoint has as due is sent, and no more', async () => {
	const blueprint = {
		id: 'interrupted',
		nodes: [node('a'), node('held'), node('no', 'never'), node('z', 'a'), node('join', 'never')],
		edges: [edge('a>held', { condition: 'result.output' }), edge('a>no', { condition: 'missing' }), edge('held>z')],
	}
	blueprint.edges.push(edge('no>join'), edge('z>join'))
	/** @type {string[]} */
	const ran = []
	const say = (/** @type {string} */ id) => async () => (ran.push(id), { output: 1 })
	const registry = { a: say('a'), held: say('held'), never: say('never') }
	const { status } = await handedOver(blueprint, registry, {
		between: async (place, second, runId) => {
			await cluster.members(place.group, 0)
			await place.commit((await place.positions()).map(({ end }) => end))
			await second.start()
			assert.deepEqual(await second.reconcile(runId), new Set(['held']))
		},
	})
	assert.equal(status, 'completed')
	assert.deepEqual(ran, ['a', 'held', 'a'])
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
