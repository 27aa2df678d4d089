/**
 * What of the public surface shows on real services only, as scenarios like those of `surface.contract.mjs`: the two of the
 * JavaScript package's own tests that need servers (specification 6.1), the stores, and a worker with genuine clients.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import cassandra from 'cassandra-driver'
import { Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import * as theirs from 'kafka-adapter-js'
import { Kafka, logLevel } from 'kafkajs'
import { until } from '../support/cluster.mjs'
import { memoryLogger } from './mocks.mjs'

/**
 * @typedef {object} Environment
 * @property {Kafka} kafka
 * @property {cassandra.Client} client
 * @property {Redis} redis
 * @property {string} keyspace
 * @property {number} patienceMs how long something that should come is waited for
 *
 * @typedef {object} Scenario
 * @property {string} id unique; `differences.mjs` refers to it
 * @property {(module: any, environment: Environment) => unknown} observe
 * @property {unknown} [expect] absent where the packages differ
 */

const { KAFKA_BROKERS, CASSANDRA_CONTACT_POINTS, CASSANDRA_DATACENTER = 'datacenter1', REDIS_URL } = process.env
const PATIENCE_MS = 60_000
const SOLE_REPLICA = "{ 'class': 'SimpleStrategy', 'replication_factor': 1 }"
/** More than there are nodes: what asks for more than one of them fails. */
const TWO_REPLICAS = "{ 'class': 'SimpleStrategy', 'replication_factor': 2 }"
const STATUSES = 'run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp'
const CONTEXTS = 'run_id text PRIMARY KEY, context_data text'

/** @returns {Promise<Environment & { close: () => Promise<void> }>} */
export async function openEnvironment() {
	assert.ok(
		KAFKA_BROKERS && CASSANDRA_CONTACT_POINTS && REDIS_URL,
		'run this through npm test, which starts the services',
	)
	const client = new cassandra.Client({
		contactPoints: CASSANDRA_CONTACT_POINTS.split(','),
		localDataCenter: CASSANDRA_DATACENTER,
	})
	const kafka = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING })
	const redis = new Redis(REDIS_URL)
	const keyspace = `contract_${randomUUID().replaceAll('-', '').slice(0, 12)}`
	for (const [name, replication] of [
		[keyspace, SOLE_REPLICA],
		[`${keyspace}_two`, TWO_REPLICAS],
	]) {
		await client.execute(`CREATE KEYSPACE ${name} WITH replication = ${replication}`)
		await client.execute(`CREATE TABLE ${name}.contexts (${CONTEXTS})`)
	}
	await client.execute(`CREATE TABLE ${keyspace}.statuses (${STATUSES})`)
	const close = async () => {
		for (const name of [keyspace, `${keyspace}_two`])
			await client.execute(`DROP KEYSPACE ${name}`, [], { readTimeout: PATIENCE_MS })
		await client.shutdown()
		redis.disconnect()
	}
	return { kafka, client, redis, keyspace, patienceMs: PATIENCE_MS, close }
}

const adapterOf = (module, { kafka, client, redis, keyspace }, more = {}, KafkaAdapter = module.KafkaAdapter) =>
	new KafkaAdapter({
		kafka,
		cassandraClient: client,
		coordinationStore: new module.RedisCoordinationStore(redis),
		topicName: 'unused',
		groupId: `group-${randomUUID()}`,
		keyspace,
		contextTableName: 'contexts',
		statusTableName: 'statuses',
		runtimeOptions: { logger: memoryLogger() },
		...more,
	})

async function createTopic({ kafka }, topic) {
	const admin = kafka.admin()
	await admin.connect()
	await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
	await admin.disconnect()
}

/** The first message of a topic, read by kafkajs from the beginning. */
async function firstMessage({ kafka, patienceMs }, topic) {
	const consumer = kafka.consumer({ groupId: `reader-${randomUUID()}` })
	await consumer.connect()
	await consumer.subscribe({ topic, fromBeginning: true })
	let found
	await consumer.run({ eachMessage: async ({ message }) => (found ??= message) })
	return until(`a message of ${topic}`, () => found, { timeoutMs: patienceMs }).finally(() => consumer.disconnect())
}

const contextOf = ({ CassandraContext }, { client, keyspace }, runId, given = client) =>
	new CassandraContext(runId, { client: given, keyspace, tableName: 'contexts' })

async function statusOf({ client, keyspace }, runId) {
	const query = `SELECT status, status_data, updated_at FROM ${keyspace}.statuses WHERE run_id = ?`
	return (await client.execute(query, [runId], { prepare: true })).first()
}

const chain = () => ({
	id: 'chain',
	metadata: { version: '1' },
	nodes: ['a', 'b'].map((id) => ({ id, uses: id })),
	edges: [{ source: 'a', target: 'b' }],
})

/** Starts a run as clients of 1.4.4 have to: its workers drop a run without a version. */
async function startRun({ kafka, client, keyspace }, topic, runId) {
	const context = JSON.stringify({ blueprintId: 'chain', blueprintVersion: '1' })
	await client.execute(`INSERT INTO ${keyspace}.contexts (run_id, context_data) VALUES (?, ?)`, [runId, context], {
		prepare: true,
	})
	const producer = kafka.producer()
	await producer.connect()
	const value = JSON.stringify({ runId, blueprintId: 'chain', nodeId: 'a' })
	await producer.send({ topic, messages: [{ key: runId, value }] })
	await producer.disconnect()
}

/** A member of the group that has the partition. */
async function joined({ kafka, patienceMs }, groupId) {
	const admin = kafka.admin()
	await admin.connect()
	const isStable = async () => {
		const [{ state, members }] = (await admin.describeGroups([groupId])).groups
		return state === 'Stable' && members.length === 1
	}
	await until(`${groupId} has a member`, isStable, { timeoutMs: patienceMs, everyMs: 100 }).finally(() =>
		admin.disconnect(),
	)
}

/** Runs that came before the worker, and after it; what was seen of them is what the scenarios are about. */
async function work(module, environment) {
	const { patienceMs } = environment
	const topicName = `contract-${randomUUID()}`
	const groupId = `group-${randomUUID()}`
	await createTopic(environment, topicName)
	const early = `early-${randomUUID()}`
	await startRun(environment, topicName, early)

	const handled = []
	class Handling extends module.KafkaAdapter {
		async handleJob(job) {
			handled.push(job)
			return super.handleJob(job)
		}
	}
	const seen = new Map()
	const blueprint = chain()
	const logger = memoryLogger()
	let current
	const a = async () => {
		if (current) seen.set(current, (await statusOf(environment, current))?.status ?? 'no row')
		return { output: 'begun' }
	}
	const registry = { a, b: async () => ({ output: 'done' }) }
	const runtimeOptions = { logger, registry, blueprints: { chain: blueprint } }
	const adapterFor = (KafkaAdapter) =>
		adapterOf(module, environment, { topicName, groupId, runtimeOptions }, KafkaAdapter)
	/** A worker does one run after the other, until one has ended that was started while it was there. */
	const runOn = async (adapter) => {
		const runs = []
		const over = async () => {
			// What is sent before 1.4.4 has asked for its position is lost to it.
			const runId = `late-${randomUUID()}`
			runs.push(runId)
			current = runId
			await startRun(environment, topicName, runId)
			const ended = async () => (await statusOf(environment, runId))?.status === 'completed'
			return until(`${runId} has ended`, ended, { timeoutMs: Math.min(patienceMs, 5_000) }).catch(() => false)
		}
		try {
			await adapter.start()
			await joined(environment, groupId)
			await until('a run has ended', over, { timeoutMs: patienceMs })
			return runs.at(-1)
		} finally {
			await adapter.stop()
		}
	}
	const plain = await runOn(adapterFor(module.KafkaAdapter))
	const lines = logger.lines.map(([, text]) => String(text)).filter((text) => text.endsWith(`Run: ${plain}`))
	const earlyEnded = (await statusOf(environment, early))?.status === 'completed'
	const overridden = await runOn(adapterFor(Handling))
	return {
		lines: lines.map((text) => text.match(/==> \[P0\] Picked up job for Node: (\w)/)?.[1]),
		short: seen.get(plain),
		begins: earlyEnded ? 'the oldest job' : 'the next job',
		blueprint: JSON.stringify(blueprint) === JSON.stringify(chain()) ? 'as it was' : 'rewritten',
		handled: handled.filter(({ runId }) => runId === overridden).map(({ runId: _runId, ...job }) => job),
		ended: JSON.parse((await statusOf(environment, overridden)).status_data).payload.context['_outputs.b'],
	}
}

/** @type {Map<any, Promise<any>>} one worker's work is enough for all scenarios about it */
const works = new Map()

const worked = (module, environment) => {
	if (!works.has(module)) works.set(module, work(module, environment))
	return works.get(module)
}

/** @type {Record<string, Scenario[]>} */
export const sections = {
	enqueueJob: [
		{
			id: 'genuine clients: enqueueJob, a kafkajs consumer reads exactly the job [6.1, test 1]',
			observe: async (module, environment) => {
				const topicName = `contract-${randomUUID()}`
				await createTopic(environment, topicName)
				const adapter = adapterOf(module, environment, { topicName })
				await adapter.producer.connect()
				adapter.isRunning = true
				await adapter.enqueueJob({ runId: 'run', blueprintId: 'bp', nodeId: 'a' })
				await adapter.producer.disconnect()
				const { key, value, headers } = await firstMessage(environment, topicName)
				return [String(key), JSON.parse(String(value)), Object.keys(headers)]
			},
			expect: ['run', { runId: 'run', blueprintId: 'bp', nodeId: 'a' }, []],
		},
	],
	CassandraContext: [
		{
			id: 'genuine clients: CassandraContext, set, get, patch, delete, toJSON [6.1, test 2]',
			observe: async (module, environment) => {
				const context = contextOf(module, environment, randomUUID())
				await context.set('object', { a: [1, 'ü', null] })
				await context.set('number', 7)
				await context.patch([
					{ op: 'set', key: 'list', value: [true] },
					{ op: 'delete', key: 'number' },
				])
				return [
					await context.get('object'),
					await context.get('number'),
					await context.has('list'),
					await context.toJSON(),
					await context.delete('list'),
					await context.delete('list'),
				]
			},
			expect: [{ a: [1, 'ü', null] }, undefined, true, { object: { a: [1, 'ü', null] }, list: [true] }, true, false],
		},
		{
			id: 'genuine clients: the consistency of what is written',
			observe: async (module, environment) => {
				const context = contextOf(module, { ...environment, keyspace: `${environment.keyspace}_two` }, randomUUID())
				return context.set('a', 1).then(
					() => 'LOCAL_ONE',
					({ message }) =>
						message.match(/LOCAL_QUORUM|LocalQuorum/)?.[0].replace('LocalQuorum', 'LOCAL_QUORUM') ?? message,
				)
			},
		},
	],
	RedisCoordinationStore: ['ioredis 6', 'ioredis 5, with a prefix'].map((name) => ({
		id: `genuine clients: RedisCoordinationStore counts, locks and lets expire (${name})`,
		observe: async (module, environment) => {
			const own = name === 'ioredis 6' ? undefined : new Redis5(REDIS_URL, { keyPrefix: 'contract:' })
			const redis = own ?? environment.redis
			const store = new module.RedisCoordinationStore(redis)
			const key = `contract-${randomUUID()}`
			const lock = `${key}-lock`
			try {
				return [
					[await store.increment(key, 60), await store.increment(key, 90), await redis.get(key)],
					(await redis.ttl(key)) > 60,
					[
						await store.setIfNotExist(lock, 'me', 60),
						await store.setIfNotExist(lock, 'you', 60),
						await store.get(lock),
					],
					[await store.extendTTL(lock, 120), (await redis.ttl(lock)) > 60],
					[await store.delete(lock), await store.get(lock), await store.extendTTL(lock, 120)],
				]
			} finally {
				own?.disconnect()
			}
		},
		expect: [[1, 2, '2'], true, [true, false, 'me'], [true, true], [undefined, undefined, false]],
	})),
	'status table': [
		{
			id: 'genuine clients: statuses, a first job inserts, the outcome replaces it',
			observe: async (module, environment) => {
				const adapter = adapterOf(module, environment)
				const run = randomUUID()
				await adapter.onJobStart(run, 'bp', 'a')
				const begun = await statusOf(environment, run)
				await adapter.publishFinalResult(run, { status: 'failed', reason: 'because' })
				const ended = await statusOf(environment, run)
				const isNow = Math.abs(Date.now() - begun.updated_at) < 60_000
				return [begun.status, isNow, ended.status, JSON.parse(ended.status_data)]
			},
			expect: ['running', true, 'failed', { status: 'failed', reason: 'because' }],
		},
	],
	createKafkaReconciler: [
		{
			id: 'genuine clients: createKafkaReconciler finds what stands at running for too long',
			observe: async (module, { client, keyspace }) => {
				const statusTableName = `stalled_${randomUUID().slice(0, 8)}`
				await client.execute(`CREATE TABLE ${keyspace}.${statusTableName} (${STATUSES})`)
				const insert = `INSERT INTO ${keyspace}.${statusTableName} (run_id, status, updated_at) VALUES (?, ?, ?)`
				const old = new Date(Date.now() - 3_600_000)
				for (const [run, status, time] of [
					['stalled', 'running', old],
					['fresh', 'running', new Date()],
					['done', 'completed', old],
				]) {
					await client.execute(insert, [run, status, time], { prepare: true })
				}
				const reconciled = []
				const adapter = {
					logger: memoryLogger(),
					reconcile: async (run) => {
						reconciled.push(run)
						return new Set(['a'])
					},
				}
				const options = { adapter, cassandraClient: client, keyspace, statusTableName, stalledThresholdSeconds: 300 }
				return [await module.createKafkaReconciler(options).run(), reconciled]
			},
			expect: [{ stalledRuns: 1, reconciledRuns: 1, failedRuns: 0 }, ['stalled']],
		},
	],
	'a worker': [
		{
			id: 'genuine clients: handleJob is called for each message, and super.handleJob does it',
			observe: async (...where) => {
				const { handled, ended } = await worked(...where)
				return [handled, ended]
			},
			expect: [['a', 'b'].map((nodeId) => ({ blueprintId: 'chain', nodeId })), 'done'],
		},
		{
			id: 'genuine clients: the line of each job that was picked up',
			observe: async (...where) => (await worked(...where)).lines,
		},
		{
			id: 'genuine clients: the status of a short run while it runs',
			observe: async (...where) => (await worked(...where)).short,
		},
		{
			id: 'genuine clients: where a new group begins',
			observe: async (...where) => (await worked(...where)).begins,
		},
		{
			id: 'genuine clients: the blueprint that a user has registered, after a run',
			observe: async (...where) => (await worked(...where)).blueprint,
		},
	],
	'with what 1.4.4 has written': [
		{
			id: 'genuine clients: contexts are read by both, and 1.4.4 keeps the bookkeeping that it does not know',
			observe: async (module, environment) => {
				const run = randomUUID()
				await contextOf(theirs, environment, run).set('a', 1)
				await contextOf(theirs, environment, run).set('b', [2])
				const read = await contextOf(module, environment, run).toJSON()
				await contextOf(module, environment, run).set('c', 3)
				return [read, await contextOf(theirs, environment, run).toJSON()]
			},
			expect: [
				{ a: 1, b: [2] },
				{ a: 1, b: [2], c: 3 },
			],
		},
		{
			id: 'genuine clients: counters go on where the other has counted',
			observe: async (module, { redis }) => {
				const key = `contract-${randomUUID()}`
				await new theirs.RedisCoordinationStore(redis).increment(key, 60)
				return [await new module.RedisCoordinationStore(redis).increment(key, 60), await redis.get(key)]
			},
			expect: [2, '2'],
		},
	],
}
