/** Settings of Kafka that are handed on, and what they do. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'

const PARTITIONS = 4
const SESSION_MS = 6_000

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'settings', partitions: 0 })
})
after(() => cluster.close())

/** @param {import('../support/cluster.mjs').Place} place @param {Record<string, any>} kafka */
const adapterAt = (place, kafka) =>
	new KafkaAdapter(
		place.options({
			kafka: { brokers: cluster.where.brokers, ...kafka },
			runtimeOptions: { logger: new NullLogger() },
		}),
	)

/**
 * Two workers with names, each with its half of the partitions.
 *
 * @param {number} sessionTimeoutMs
 * @param {(group: { first: KafkaAdapter, other: KafkaAdapter, again: () => KafkaAdapter }) => Promise<void>} play
 */
async function namedMembers(sessionTimeoutMs, play) {
	const place = await home.sibling({ partitions: PARTITIONS })
	/** @type {KafkaAdapter[]} */
	const made = []
	const member = (/** @type {string} */ groupInstanceId) => {
		made.push(adapterAt(place, { groupInstanceId, sessionTimeoutMs, heartbeatIntervalMs: 500 }))
		return made[made.length - 1]
	}
	const [first, other] = [member('a'), member('b')]
	try {
		await Promise.all([first.start(), other.start()])
		await until('both have their half', () =>
			[first, other].every((one) => partitionsOf(one).length === PARTITIONS / 2),
		)
		await play({ first, other, again: () => member('a') })
	} finally {
		await Promise.all(made.map((one) => one.stop()))
	}
}

const partitionsOf = (/** @type {KafkaAdapter} */ adapter) =>
	/** @type {number[]} */ (adapter.health().partitions).toSorted()

test('groupInstanceId: a restart within the session timeout moves no partition', () =>
	namedMembers(30_000, async ({ first, other, again }) => {
		const [its, others] = [partitionsOf(first), partitionsOf(other)]
		const seen = new Set([String(others)])
		const watch = setInterval(() => seen.add(String(partitionsOf(other))), 5)
		try {
			await first.stop()
			const restarted = again()
			await restarted.start()
			await until('it has its partitions again', () => String(partitionsOf(restarted)) === String(its))
			assert.deepEqual([...seen], [String(others)])
		} finally {
			clearInterval(watch)
		}
	}))

test('groupInstanceId: partitions of a worker that does not come back move after the session timeout, not before', () =>
	namedMembers(SESSION_MS, async ({ first, other }) => {
		const began = performance.now()
		await first.stop()
		await until('the other one has all partitions', () => partitionsOf(other).length === PARTITIONS)
		// Its last sign of life may have been a heartbeat before it stopped.
		const took = performance.now() - began
		assert.ok(took > SESSION_MS - 1_000, `they moved after ${took} ms`)
	}))

test('D4: a partition without a committed position gets one before it is read', async () => {
	const place = await home.sibling({ partitions: PARTITIONS })
	const adapter = adapterAt(place, {})
	await adapter.start()
	try {
		await until('the partitions are its own', () => adapter.health().partitions?.length === PARTITIONS)
		const committed = (await place.positions()).map((position) => position.committed)
		// Nothing was sent, so nothing but the start itself can have been committed.
		assert.deepEqual(committed, Array(PARTITIONS).fill(0))
	} finally {
		await adapter.stop()
	}
})

test('properties: one that librdkafka does not know is refused by its name, without its value', async () => {
	const place = await home.sibling({ partitions: 1 })
	const adapter = adapterAt(place, { properties: { 'no.such.property': 'its-value-4e1d' } })
	await assert.rejects(adapter.start(), (/** @type {any} */ error) => {
		assert.match(String(error.code), /^ERR_(OPTION|KAFKA)/)
		assert.match(error.message, /no\.such\.property/)
		assert.ok(!`${error.message}${error.stack}`.includes('its-value-4e1d'))
		return true
	})
})

test('properties go before settings, and jobs run with them', async () => {
	const place = await home.sibling({ partitions: 1 })
	const adapter = new KafkaAdapter(
		place.options({
			kafka: { brokers: cluster.where.brokers, lingerMs: 3, properties: { 'client.id': 'named-by-a-property' } },
			runtimeOptions: {
				logger: new NullLogger(),
				blueprints: { one: { id: 'one', nodes: [{ id: 'a', uses: 'value' }], edges: [] } },
				registry: { value: async () => ({ output: 1 }) },
			},
		}),
	)
	await adapter.start()
	try {
		const { status } = await (await adapter.startRun('one', {})).result()
		assert.equal(status, 'completed')
		const { groups } = await cluster.admin.describeGroups([place.group])
		assert.deepEqual(
			groups[0].members.map(({ clientId }) => clientId),
			['named-by-a-property'],
		)
	} finally {
		await adapter.stop()
	}
})

const blueprint = { id: 'one', nodes: [{ id: 'a', uses: 'a' }], edges: [] }
const runtimeOptions = (/** @type {any} */ logger = new NullLogger()) => ({
	logger,
	blueprints: { one: blueprint },
	registry: { a: async () => ({ output: 'done' }) },
})

test('a dead-letter topic that cannot be created: the worker works, and one warning has the command', async () => {
	const place = await home.sibling({ partitions: 1 })
	const topic = `${place.topic}-letters`
	// Brokers refuse a topic whose name differs from that of another only in "." and "_".
	await cluster.admin.createTopics({ topics: [{ topic: topic.replaceAll('-', '_') }] })
	const deadLetterTopic = topic.replaceAll('-', '.')
	const logger = recorder()
	const adapter = new KafkaAdapter(
		place.options({
			kafka: { brokers: cluster.where.brokers },
			deadLetterTopic,
			runtimeOptions: runtimeOptions(logger),
		}),
	)
	await adapter.start()
	try {
		const command = `kafka-topics.sh --create --bootstrap-server ${cluster.where.brokers[0]} --topic ${deadLetterTopic}`
		const told = await until('the warning', () => {
			const lines = logger.lines.filter(({ text }) => text.includes('kafka-topics.sh'))
			return lines.length > 0 && lines
		})
		assert.deepEqual(
			told.map(({ level }) => level),
			['warn'],
		)
		assert.ok(told[0].text.includes(deadLetterTopic) && told[0].text.endsWith(command), told[0].text)
		const { data } = await place.outcome(await place.startRun(blueprint))
		assert.equal(data.status, 'completed')
	} finally {
		await adapter.stop()
	}
})

test('adapter.producer: a user who connects it sends with it, whatever the engine does', async () => {
	const place = await home.sibling({ partitions: 1 })
	const adapter = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions() }))
	await adapter.start()
	const producer = /** @type {import('kafkajs').Producer} */ (/** @type {any} */ (adapter).producer)
	try {
		const job = { runId: `${place.topic}-run`, blueprintId: 'one', nodeId: 'a' }
		const record = { topic: place.topic, messages: [{ key: job.runId, value: JSON.stringify(job) }] }
		await place.writeContext(job.runId, '{}')
		await assert.rejects(producer.send(record), /disconnected/)
		await producer.connect()
		await producer.send(record)
		assert.equal((await place.outcome(job.runId)).status, 'completed')
	} finally {
		await producer.disconnect()
		await adapter.stop()
	}
})
