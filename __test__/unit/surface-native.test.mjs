/** Genuine clients and settings on a fake native module: what goes native, what is shared, and what takes the detour. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import cassandra from 'cassandra-driver'
import { Cluster, Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import {
	CassandraContext,
	createKafkaReconciler,
	ensureSchema,
	KafkaAdapter,
	RedisCoordinationStore,
} from '../../src/js/index.js'
import { setNative } from '../../src/js/native.js'
import { FakeCassandra, FakeRedis, FakeWorker, fakeNative, resetFakes } from '../contract/fake-native.mjs'
import { memoryLogger } from '../contract/mocks.mjs'

const cassandraClient = (options) => new cassandra.Client({ contactPoints: ['h1'], localDataCenter: 'dc1', ...options })
const redisClient = (options) => {
	const redis = new Redis({ lazyConnect: true, ...options })
	redis.on('error', () => {})
	return redis
}
const kafkaClient = (options) => new Kafka({ brokers: ['b1:9092'], logLevel: logLevel.NOTHING, ...options })

const chain = {
	id: 'chain',
	metadata: { version: '7' },
	nodes: [
		{ id: 'a', uses: 'f' },
		{ id: 'b', uses: 'f' },
		{ id: 'spare', uses: 'f' },
		{ id: 'other', uses: 'f', config: { fallback: 'spare' } },
	],
	edges: [{ source: 'a', target: 'b' }],
}

const adapterOf = (more = {}) =>
	new KafkaAdapter({
		kafka: kafkaClient(),
		cassandraClient: cassandraClient(),
		coordinationStore: new RedisCoordinationStore(redisClient()),
		keyspace: 'ks',
		contextTableName: 'contexts',
		statusTableName: 'statuses',
		runtimeOptions: { logger: memoryLogger(), blueprints: { chain }, registry: { f: async () => ({}) } },
		...more,
	})

const started = async (more) => {
	const adapter = adapterOf(more)
	await adapter.start()
	return {
		adapter,
		worker: FakeWorker.made.at(-1),
		warnings: adapter.logger.lines.filter(([level]) => level === 'warn'),
	}
}

beforeEach(() => {
	resetFakes()
	setNative(fakeNative)
})
afterEach(() => setNative(undefined))

describe('an adapter with genuine clients', () => {
	it('gives their settings to the engine', async () => {
		const { adapter, worker, warnings } = await started()
		const { kafka, context, coordination } = worker.config
		assert.deepEqual(kafka, {
			kind: 'native',
			settings: { brokers: ['b1:9092'], startPosition: 'earliest' },
			consume: true,
		})
		assert.deepEqual([context.kind, context.settings.contactPoints], ['native', ['h1:9042']])
		assert.deepEqual([coordination.kind, coordination.settings.host], ['native', 'localhost'])
		assert.deepEqual(warnings, [])
		await adapter.stop()
	})

	it('raises a level that loses steps, says so once, and obeys our own option', async () => {
		const weak = cassandraClient({ queryOptions: { consistency: cassandra.types.consistencies.localOne } })
		const raised = await started({ cassandraClient: weak })
		assert.equal(raised.worker.config.context.settings.consistency, 'LOCAL_QUORUM')
		assert.equal(raised.warnings.length, 1)
		assert.match(raised.warnings[0][1], /consistency LOCAL_ONE is raised to LOCAL_QUORUM/)
		await raised.adapter.stop()
		const told = await started({ cassandraClient: weak, consistency: 'LOCAL_ONE' })
		assert.equal(told.worker.config.status.settings.consistency, 'LOCAL_ONE')
		assert.deepEqual(told.warnings, [])
		await told.adapter.stop()
	})

	const detours = [
		['kafka', () => ({ kafka: kafkaClient({ socketFactory: () => null }) }), 'socketFactory'],
		['context', () => ({ cassandraClient: cassandraClient({ sslOptions: { pfx: 'x' } }) }), 'sslOptions.pfx'],
		['coordination', () => ({ coordinationStore: new RedisCoordinationStore(redisClient({ path: '/s' })) }), 'path'],
	]
	const overTls = new Cluster([{ host: 'r' }], { lazyConnect: true, redisOptions: { tls: {} } })
	detours.push([
		'coordination',
		() => ({ coordinationStore: new RedisCoordinationStore(overTls) }),
		'tls \\(of a cluster\\)',
	])
	for (const [part, options, setting] of detours) {
		it(`drives ${part} through JavaScript for ${setting}, with one warning that names the cost`, async () => {
			const adapter = adapterOf(options())
			// The kafkajs objects would connect: only what is said about them matters here.
			for (const end of [adapter.producer, adapter.consumer]) {
				for (const method of ['connect', 'subscribe', 'run', 'disconnect']) end[method] = async () => {}
			}
			await adapter.start()
			assert.deepEqual(FakeWorker.made.at(-1).config[part], { kind: 'js' })
			const warnings = adapter.logger.lines.filter(([level]) => level === 'warn').map(([, text]) => text)
			assert.equal(warnings.length, 1)
			assert.match(warnings[0], new RegExp(`"${setting}.*cannot be honoured.*each operation costs`))
			await adapter.stop()
			await adapter.start()
			assert.equal(adapter.logger.lines.filter(([level]) => level === 'warn').length, 1)
			await adapter.stop()
		})
	}

	it('refuses the detour where native is required', async () => {
		const refused = { code: 'ERR_OPTION', message: /"socketFactory" cannot be honoured natively.*native is "required"/ }
		const adapter = adapterOf({ kafka: kafkaClient({ socketFactory: () => null }), native: 'required' })
		await assert.rejects(adapter.start(), refused)
		const build = () =>
			adapterOf({ cassandraClient: cassandraClient({ sslOptions: { pfx: 'x' } }), native: 'required' })
		assert.throws(build, { code: 'ERR_OPTION', message: /^options\.cassandraClient: "sslOptions\.pfx" cannot be/ })
	})

	it('answers for the token of an oauthbearer client', async () => {
		const payload = Buffer.from(JSON.stringify({ exp: 2_000_000_000, sub: 'me' })).toString('base64url')
		const tokens = [`x.${payload}.y`, 'opaque']
		const sasl = { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: tokens.shift() }) }
		const { adapter, worker } = await started({ kafka: kafkaClient({ sasl }) })
		assert.deepEqual((await worker.request('kafka.token')).result, {
			token: `x.${payload}.y`,
			lifetimeMs: 2_000_000_000_000,
			principal: 'me',
		})
		const { result } = await worker.request('kafka.token')
		assert.deepEqual([result.token, result.principal], ['opaque', ''])
		assert.ok(result.lifetimeMs > Date.now() + 60_000)
		await adapter.stop()
	})
})

describe('stores on their own', () => {
	it('share one connection per client object', async () => {
		const client = cassandraClient()
		const contexts = ['r1', 'r2'].map((run) => new CassandraContext(run, { client, keyspace: 'ks', tableName: 't' }))
		await Promise.all(contexts.map((context) => context.set('k', 1)))
		await contexts[0].get('k')
		assert.equal(FakeCassandra.connections.length, 1)
		await new CassandraContext('r3', { client: cassandraClient(), keyspace: 'ks', tableName: 't' }).toJSON()
		assert.equal(FakeCassandra.connections.length, 2)

		const redis = redisClient()
		const stores = [new RedisCoordinationStore(redis), new RedisCoordinationStore(redis)]
		await Promise.all(stores.map((store) => store.increment('k', 60)))
		assert.equal(FakeRedis.connections.length, 1)
		await new RedisCoordinationStore('redis://h').get('k')
		await new RedisCoordinationStore('redis://h').get('k')
		assert.equal(FakeRedis.connections.length, 2)
	})

	it('refuse a time to live that Redis would refuse', async () => {
		const store = new RedisCoordinationStore('redis://h')
		for (const work of [() => store.increment('k', 1.5), () => store.extendTTL('k', NaN)]) {
			await assert.rejects(work(), { code: 'ERR_OPTION', message: /^ttlSeconds: .* is not a whole number/ })
		}
	})

	it('try again after a connection that failed', async () => {
		const connect = FakeCassandra.connect
		const context = new CassandraContext('run', { client: cassandraClient(), keyspace: 'ks', tableName: 't' })
		FakeCassandra.connect = async () => ({
			__error: { code: 'ERR_CASSANDRA_UNREACHABLE', message: 'nobody there', retryable: true },
		})
		await assert.rejects(context.toJSON(), {
			name: 'KafkaAdapterError',
			code: 'ERR_CASSANDRA_UNREACHABLE',
			retryable: true,
		})
		FakeCassandra.connect = connect
		assert.deepEqual(await context.toJSON(), {})
	})

	it('keep the bookkeeping of a run, and show none of it', async () => {
		FakeCassandra.rows.set('ks.t/run', '{"a":1,"_flowcraft":{"v":1}}')
		const context = new CassandraContext('run', { client: cassandraClient(), keyspace: 'ks', tableName: 't' })
		assert.deepEqual(await context.toJSON(), { a: 1 })
		assert.equal(await context.has('_flowcraft'), false)
		assert.equal(await context.delete('_flowcraft'), false)
		await context.patch([{ op: 'delete', key: 'a' }])
		assert.equal(FakeCassandra.rows.get('ks.t/run'), '{"_flowcraft":{"v":1}}')
		await context.writeContext({ b: 2 })
		assert.equal(FakeCassandra.rows.get('ks.t/run'), '{"b":2,"_flowcraft":{"v":1}}')
		await assert.rejects(context.patch([{ op: 'set', key: '_flowcraft', value: 0 }]), { code: 'ERR_RESERVED_KEY' })
	})

	it('go through a client that was touched by its user', async () => {
		const client = cassandraClient()
		const queries = []
		client.execute = async (query) => {
			queries.push(query)
			return { first: () => null }
		}
		await new CassandraContext('run', { client, keyspace: 'ks', tableName: 't' }).toJSON()
		assert.deepEqual([queries.length, FakeCassandra.connections.length], [1, 0])
	})
})

describe('a configuration that the engine refuses', () => {
	const refusing = (code) => {
		class NativeWorker {
			constructor() {
				throw Object.assign(new Error('no worker can be made of it'), { code })
			}
		}
		setNative({ ...fakeNative, NativeWorker })
		return adapterOf().start()
	}

	it('is refused with its code, or that of a bug', async () => {
		const message = 'no worker can be made of it'
		await assert.rejects(refusing('ERR_OPTION'), { name: 'KafkaAdapterError', code: 'ERR_OPTION', message })
		await assert.rejects(refusing('GenericFailure'), { name: 'KafkaAdapterError', code: 'ERR_INTERNAL', message })
	})
})

describe('the keyspace of a client', () => {
	const clients = {
		'a genuine client': () => cassandraClient({ keyspace: 'mine' }),
		settings: () => ({ contactPoints: 'h1', keyspace: 'mine' }),
	}
	for (const [name, make] of Object.entries(clients)) {
		it(`${name}: is that of the adapter, unless it is given one`, () => {
			assert.equal(adapterOf({ cassandraClient: make(), keyspace: undefined }).keyspace, 'mine')
			assert.equal(adapterOf({ cassandraClient: make(), keyspace: 'ks' }).keyspace, 'ks')
		})

		it(`${name}: is that of a context`, () => {
			assert.equal(new CassandraContext('run', { client: make(), tableName: 't' }).tableName, 'mine.t')
			assert.equal(new CassandraContext('run', { client: make(), keyspace: 'ks', tableName: 't' }).tableName, 'ks.t')
		})

		it(`${name}: is that of a reconciler and of ensureSchema`, async () => {
			const adapter = { reconcile: async () => new Set() }
			const place = { cassandraClient: make(), statusTableName: 'statuses' }
			await createKafkaReconciler({ ...place, adapter, stalledThresholdSeconds: 60 }).run()
			await ensureSchema({ ...place, contextTableName: 'contexts' })
			const [[, table], [, { keyspace }]] = FakeCassandra.calls
			assert.deepEqual([table, keyspace], ['mine.statuses', 'mine'])
		})
	}

	it('is not asked of a mock', () => {
		const client = { execute: async () => ({}), keyspace: 'mine' }
		assert.throws(() => new CassandraContext('run', { client: Object.assign(new Map(), client), tableName: 't' }), {
			code: 'ERR_OPTION',
			message: /^options\.keyspace: missing/,
		})
	})

	it('is taken letter by letter from a genuine client, as by its driver', () => {
		const client = cassandraClient({ keyspace: 'Mine' })
		assert.equal(new CassandraContext('run', { client, tableName: 't' }).tableName, '"Mine".t')
	})
})

describe('createKafkaReconciler with a genuine client', () => {
	it('reads page after page', async () => {
		FakeCassandra.pages = [
			{ runs: ['r1', 'r2'], next: '1' },
			{ runs: [], next: '2' },
			{ runs: ['r3'], next: null },
		]
		const reconciled = []
		const adapter = { logger: memoryLogger(), reconcile: async (run) => (reconciled.push(run), new Set(['a'])) }
		const options = { adapter, cassandraClient: cassandraClient(), keyspace: 'ks', statusTableName: 'statuses' }
		const before = Date.now()
		const stats = await createKafkaReconciler({ ...options, stalledThresholdSeconds: 60 }).run()
		assert.deepEqual(stats, { stalledRuns: 3, reconciledRuns: 3, failedRuns: 0 })
		assert.deepEqual(reconciled, ['r1', 'r2', 'r3'])
		const [, table, status, beforeMs, page] = FakeCassandra.calls[0]
		assert.deepEqual([table, status, page], ['ks.statuses', 'running', null])
		assert.ok(Math.abs(before - 60_000 - beforeMs) < 5_000)
	})
})

describe('reconcile', () => {
	const due = async (checkpoint, keys = {}) => {
		const { adapter, worker } = await started({ coordinationStore: undefined })
		FakeCassandra.rows.set('ks.contexts/run', JSON.stringify({ ...keys, _flowcraft: checkpoint }))
		const enqueued = await adapter.reconcile('run')
		await adapter.stop()
		const sent = worker.calls.filter(([name]) => name === 'enqueue').map(([, ...job]) => job)
		assert.deepEqual(
			sent,
			[...enqueued].map((node) => ['run', 'chain', node]),
		)
		return [...enqueued]
	}
	const base = { v: 1, blueprint: 'chain', version: '7', last: 3 }

	it('sends what the checkpoint says is due, each node once, and nothing else', async () => {
		const visits = [
			[2, 'b', 2],
			[3, 'dynamic_1', 2, 1],
			[4, 'b', 3],
		]
		assert.deepEqual(await due({ ...base, due: visits }, { '_outputs.a': 1 }), ['b', 'dynamic_1'])
	})

	it('sends nothing for a run that waits, or has its outcome', async () => {
		assert.deepEqual(await due({ ...base, waiting: [['b', 2]] }, { '_outputs.a': 1 }), [])
		assert.deepEqual(await due({ ...base, due: [[1, 'a', 1]], outcome: { status: 'failed' } }), [])
	})
})

describe('startRun', () => {
	it('writes the run, marks it as running, sends its start nodes, and follows it', async () => {
		const { adapter, worker } = await started()
		const run = await adapter.startRun('chain', { order: 7 })
		assert.deepEqual(JSON.parse(FakeCassandra.rows.get(`ks.contexts/${run.runId}`)), {
			order: 7,
			blueprintId: 'chain',
			blueprintVersion: '7',
		})
		assert.deepEqual(FakeCassandra.calls, [['touchStatus', 'ks.statuses', run.runId]])
		const sent = worker.calls.filter(([name]) => name === 'enqueue').map(([, , , node]) => node)
		assert.deepEqual(sent, ['a', 'other'], 'a node that is only a fallback does not start')
		assert.equal(await run.status(), undefined)
		const waiting = run.result()
		await adapter.publishFinalResult(run.runId, { status: 'failed', reason: 'because' })
		assert.deepEqual(await waiting, { status: 'failed', reason: 'because' })
		assert.equal(await adapter.getRun(run.runId).status(), 'failed')
		await adapter.stop()
	})

	it('gives up waiting when it is told to', async () => {
		const { adapter } = await started()
		const run = await adapter.startRun('chain', {}, { runId: 'mine' })
		await assert.rejects(run.result({ timeoutMs: 30 }), {
			code: 'ERR_RESULT_TIMEOUT',
			message: 'run "mine" has not ended after 30 ms (it has no status row yet). Wait longer, or look at its worker',
		})
		await adapter.stop()
	})

	it('may be repeated after an interruption, but not over a run that has begun', async () => {
		const { adapter } = await started()
		await adapter.startRun('chain', {}, { runId: 'again' })
		await adapter.startRun('chain', {}, { runId: 'again' })
		for (const sign of ['_flowcraft', '_outputs.a']) {
			FakeCassandra.rows.set('ks.contexts/again', JSON.stringify({ blueprintId: 'chain', [sign]: {} }))
			await assert.rejects(adapter.startRun('chain', {}, { runId: 'again' }), { code: 'ERR_RUN_EXISTS' })
		}
		FakeCassandra.rows.set('ks.contexts/again', '{"blueprintId":"another"}')
		await assert.rejects(adapter.startRun('chain', {}, { runId: 'again' }), { code: 'ERR_RUN_EXISTS' })
		await adapter.stop()
	})

	it('refuses what cannot be started', async () => {
		const { adapter } = await started()
		await assert.rejects(adapter.startRun('nobody'), {
			code: 'ERR_BLUEPRINT_UNKNOWN',
			message: 'blueprint "nobody" is not in runtimeOptions.blueprints (there: chain). Register it',
		})
		for (const runId of ['', 7, 'x'.repeat(1025), null]) {
			await assert.rejects(adapter.startRun('chain', {}, { runId }), { code: 'ERR_OPTION' })
		}
		assert.equal(FakeCassandra.rows.size, 0)
		await adapter.stop()
	})
})
