/**
 * The two scenarios of the JavaScript package's own tests that need servers (specification 6.1), against 1.4.4 and this
 * package; and the stores of one read by the other.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import cassandra from 'cassandra-driver'
import { Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import * as theirs from 'kafka-adapter-js'
import { Kafka, logLevel } from 'kafkajs'
import * as ours from '../../src/js/index.js'
import { memoryLogger } from './mocks.mjs'

const { KAFKA_BROKERS, CASSANDRA_CONTACT_POINTS, CASSANDRA_DATACENTER = 'datacenter1', REDIS_URL } = process.env
const sides = { "npm's 1.4.4": theirs, 'this package': ours }
const keyspace = `contract_${randomUUID().replaceAll('-', '').slice(0, 12)}`

/** @type {{ kafka: Kafka, client: cassandra.Client, redis: Redis }} */
let clients

before(async () => {
	assert.ok(
		KAFKA_BROKERS && CASSANDRA_CONTACT_POINTS && REDIS_URL,
		'run this through npm test, which starts the services',
	)
	const client = new cassandra.Client({
		contactPoints: CASSANDRA_CONTACT_POINTS.split(','),
		localDataCenter: CASSANDRA_DATACENTER,
	})
	const kafka = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING })
	clients = { kafka, client, redis: new Redis(REDIS_URL) }
	const replication = "{ 'class': 'SimpleStrategy', 'replication_factor': 1 }"
	await client.execute(`CREATE KEYSPACE ${keyspace} WITH replication = ${replication}`)
	await client.execute(`CREATE TABLE ${keyspace}.contexts (run_id text PRIMARY KEY, context_data text)`)
	await client.execute(
		`CREATE TABLE ${keyspace}.statuses (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)`,
	)
})

after(async () => {
	await clients?.client.execute(`DROP KEYSPACE ${keyspace}`)
	await clients?.client.shutdown()
	clients?.redis.disconnect()
})

const adapterOf = ({ KafkaAdapter, RedisCoordinationStore }, topicName) =>
	new KafkaAdapter({
		kafka: clients.kafka,
		cassandraClient: clients.client,
		coordinationStore: new RedisCoordinationStore(clients.redis),
		topicName,
		groupId: `group-${randomUUID()}`,
		keyspace,
		contextTableName: 'contexts',
		statusTableName: 'statuses',
		runtimeOptions: { logger: memoryLogger() },
	})

const createTopic = async (topic) => {
	const admin = clients.kafka.admin()
	await admin.connect()
	await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
	await admin.disconnect()
}

/** The first message of a topic, read by kafkajs from the beginning. */
const firstMessage = async (topic) => {
	const consumer = clients.kafka.consumer({ groupId: `reader-${randomUUID()}` })
	await consumer.connect()
	await consumer.subscribe({ topic, fromBeginning: true })
	const message = await new Promise((resolve, reject) => {
		consumer.run({ eachMessage: async ({ message }) => resolve(message) }).catch(reject)
	})
	await consumer.disconnect()
	return message
}

const contextOf = ({ CassandraContext }, runId, client = clients.client) =>
	new CassandraContext(runId, { client, keyspace, tableName: 'contexts' })

for (const [name, module] of Object.entries(sides)) {
	describe(name, () => {
		it('enqueueJob: a kafkajs consumer reads exactly the job [6.1, test 1]', async () => {
			const topic = `contract-${randomUUID()}`
			await createTopic(topic)
			const adapter = adapterOf(module, topic)
			const job = { runId: randomUUID(), blueprintId: 'bp', nodeId: 'a' }
			await adapter.producer.connect()
			adapter.isRunning = true
			await adapter.enqueueJob(job)
			await adapter.producer.disconnect()
			const { key, value, headers } = await firstMessage(topic)
			assert.deepEqual(JSON.parse(value.toString()), job)
			assert.deepEqual([key.toString(), Object.keys(headers)], [job.runId, []])
		})

		it('CassandraContext: set, get, patch, delete, toJSON [6.1, test 2]', async () => {
			const context = contextOf(module, randomUUID())
			await context.set('object', { a: [1, 'ü', null] })
			await context.set('number', 7)
			await context.patch([
				{ op: 'set', key: 'list', value: [true] },
				{ op: 'delete', key: 'number' },
			])
			assert.deepEqual(await context.get('object'), { a: [1, 'ü', null] })
			assert.equal(await context.get('number'), undefined)
			assert.equal(await context.has('list'), true)
			assert.deepEqual(await context.toJSON(), { object: { a: [1, 'ü', null] }, list: [true] })
			assert.equal(await context.delete('list'), true)
			assert.equal(await context.delete('list'), false)
		})

		it('RedisCoordinationStore: counts, locks and times to live', async () => {
			for (const redis of [clients.redis, new Redis5(REDIS_URL, { keyPrefix: 'contract:' })]) {
				const store = new module.RedisCoordinationStore(redis)
				const key = `contract-${randomUUID()}`
				assert.equal(await store.increment(key, 60), 1)
				assert.equal(await store.increment(key, 90), 2)
				assert.equal(await redis.get(key), '2')
				assert.ok((await redis.ttl(key)) > 60)
				assert.equal(await store.setIfNotExist(`${key}-lock`, 'me', 60), true)
				assert.equal(await store.setIfNotExist(`${key}-lock`, 'you', 60), false)
				assert.equal(await store.get(`${key}-lock`), 'me')
				assert.equal(await store.extendTTL(`${key}-lock`, 120), true)
				assert.ok((await redis.ttl(`${key}-lock`)) > 60)
				assert.equal(await store.delete(`${key}-lock`), undefined)
				assert.equal(await store.get(`${key}-lock`), undefined)
				assert.equal(await store.extendTTL(`${key}-lock`, 120), false)
				if (redis !== clients.redis) redis.disconnect()
			}
		})

		it('statuses: a first job inserts, the outcome replaces it', async () => {
			const adapter = adapterOf(module, 'unused')
			const run = randomUUID()
			const query = `SELECT status, status_data, updated_at FROM ${keyspace}.statuses WHERE run_id = ?`
			const read = async () => (await clients.client.execute(query, [run], { prepare: true })).first()
			await adapter.onJobStart(run, 'bp', 'a')
			const begun = await read()
			assert.equal(begun.status, 'running')
			assert.ok(Math.abs(Date.now() - begun.updated_at) < 60_000)
			await adapter.publishFinalResult(run, { status: 'failed', reason: 'because' })
			const ended = await read()
			assert.equal(ended.status, 'failed')
			assert.deepEqual(JSON.parse(ended.status_data), { status: 'failed', reason: 'because' })
		})

		it('createKafkaReconciler: finds what stands at running for too long', async () => {
			const statusTableName = `stalled_${randomUUID().slice(0, 8)}`
			await clients.client.execute(
				`CREATE TABLE ${keyspace}.${statusTableName} (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)`,
			)
			const insert = `INSERT INTO ${keyspace}.${statusTableName} (run_id, status, updated_at) VALUES (?, ?, ?)`
			const old = new Date(Date.now() - 3_600_000)
			for (const [run, status, time] of [
				['stalled', 'running', old],
				['fresh', 'running', new Date()],
				['done', 'completed', old],
			]) {
				await clients.client.execute(insert, [run, status, time], { prepare: true })
			}
			const reconciled = []
			const adapter = {
				logger: memoryLogger(),
				reconcile: async (run) => {
					reconciled.push(run)
					return new Set(['a'])
				},
			}
			const options = {
				adapter,
				cassandraClient: clients.client,
				keyspace,
				statusTableName,
				stalledThresholdSeconds: 300,
			}
			const stats = await module.createKafkaReconciler(options).run()
			assert.deepEqual([stats, reconciled], [{ stalledRuns: 1, reconciledRuns: 1, failedRuns: 0 }, ['stalled']])
		})
	})
}

describe('both together', () => {
	it('read what the other wrote, and 1.4.4 keeps the bookkeeping that it does not know', async () => {
		const run = randomUUID()
		await contextOf(theirs, run).set('a', 1)
		await contextOf(theirs, run).set('_flowcraft', { v: 1 })
		assert.deepEqual(await contextOf(ours, run).toJSON(), { a: 1 })
		await contextOf(ours, run).set('b', [2])
		assert.deepEqual(await contextOf(theirs, run).toJSON(), { a: 1, b: [2], _flowcraft: { v: 1 } })
	})

	it('write the same from settings as through the client', async () => {
		const run = randomUUID()
		const settings = { contactPoints: CASSANDRA_CONTACT_POINTS, localDataCenter: CASSANDRA_DATACENTER }
		await contextOf(ours, run, settings).set('a', { deep: ['ü'] })
		assert.deepEqual(await contextOf(theirs, run).toJSON(), { a: { deep: ['ü'] } })
		const key = `contract-${run}`
		assert.equal(await new ours.RedisCoordinationStore(REDIS_URL).increment(key, 60), 1)
		assert.equal(await new theirs.RedisCoordinationStore(clients.redis).increment(key, 60), 2)
	})

	it('keep many operations in flight', async () => {
		const store = new ours.RedisCoordinationStore(clients.redis)
		const key = `contract-${randomUUID()}`
		const counts = await Promise.all(Array.from({ length: 500 }, () => store.increment(key, 60)))
		assert.deepEqual(
			counts.toSorted((a, b) => a - b),
			Array.from({ length: 500 }, (_, index) => index + 1),
		)
		const runs = Array.from({ length: 100 }, () => randomUUID())
		await Promise.all(runs.map((run, index) => contextOf(ours, run).set('index', index)))
		const found = await Promise.all(runs.map((run) => contextOf(ours, run).get('index')))
		assert.deepEqual(found, [...runs.keys()])
	})
})
