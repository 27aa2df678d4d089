/**
 * One worker of one of the two packages, in a process of its own. Options come as JSON in the first argument; it says
 * `ready` when it consumes, and answers each line on standard input with what it has used and seen since the line before.
 */
import { createInterface } from 'node:readline'
import { threadTimes } from './cpu.mjs'
import { OURS, registryOf } from './workloads.mjs'

const { packageName, blueprint, topic, keyspace, applicationName, plain = false } = JSON.parse(process.argv[2])
const { KafkaAdapter, RedisCoordinationStore } = await import(packageName)
const silent = { debug() {}, info() {}, warn() {}, error: console.error }

/** When the last node body ended, and the time until the next one began. */
let ended = NaN
let gaps = []
let firstEnd = NaN
const registry = registryOf({
	begin() {
		if (ended > 0) gaps.push(performance.now() - ended)
	},
	end() {
		ended = performance.now()
		firstEnd ||= ended
	},
})

const began = performance.now()
const brokers = process.env.KAFKA_BROKERS.split(',')
const cassandraSettings = {
	contactPoints: process.env.CASSANDRA_CONTACT_POINTS.split(','),
	localDataCenter: process.env.CASSANDRA_DATACENTER ?? 'datacenter1',
	keyspace,
	applicationName,
}
const { clients, close } = await (plain ? plainSettings() : openClients())
const adapter = new KafkaAdapter({
	...clients,
	topicName: topic,
	groupId: topic,
	keyspace,
	contextTableName: 'contexts',
	statusTableName: 'statuses',
	runtimeOptions: { blueprints: { [blueprint.id]: blueprint }, registry, logger: silent },
})
// The JavaScript package gives no sign that it consumes but its consumer's event.
const joined = packageName === OURS || new Promise((resolve) => adapter.consumer.on('consumer.group_join', resolve))
await adapter.start()
await joined
console.log('ready')

for await (const _ of createInterface({ input: process.stdin })) {
	const { user, system } = process.cpuUsage()
	const used = { cpuMs: (user + system) / 1000, rssMb: process.memoryUsage().rss / 2 ** 20 }
	console.log(JSON.stringify({ ...used, threads: threadTimes(), gaps, toFirstJobMs: firstEnd - began }))
	gaps = []
	ended = NaN
}
await adapter.stop()
await close()

/** As the documentation of 1.4.4 has it. */
async function openClients() {
	const [{ default: cassandra }, { default: Redis }, { Kafka, logLevel }] = await Promise.all([
		import('cassandra-driver'),
		import('ioredis'),
		import('kafkajs'),
	])
	const cassandraClient = new cassandra.Client(cassandraSettings)
	await cassandraClient.connect()
	const redis = new Redis(process.env.REDIS_URL)
	const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING })
	return {
		clients: { kafka, cassandraClient, coordinationStore: new RedisCoordinationStore(redis) },
		close: () => Promise.all([cassandraClient.shutdown(), redis.quit()]),
	}
}

/** Without the packages of those clients: what this package alone needs. */
function plainSettings() {
	const { contactPoints, localDataCenter } = cassandraSettings
	const clients = {
		brokers,
		cassandraClient: { contactPoints, localDataCenter },
		coordinationStore: process.env.REDIS_URL,
	}
	return { clients, close() {} }
}
