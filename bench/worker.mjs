/**
 * One worker of one of the two packages, in a process of its own. Options come as JSON in the first argument; it says
 * `ready` when it consumes, and answers each line on standard input with its CPU time and memory.
 */
import { createInterface } from 'node:readline'
import cassandra from 'cassandra-driver'
import Redis from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { registry, WORKLOADS } from './workloads.mjs'

const { packageName, workload, topic, keyspace } = JSON.parse(process.argv[2])
const { KafkaAdapter, RedisCoordinationStore } = await import(packageName)
const { blueprint } = WORKLOADS[workload]
const silent = { debug() {}, info() {}, warn() {}, error: console.error }

const kafka = new Kafka({ brokers: process.env.KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING })
const cassandraClient = new cassandra.Client({
	contactPoints: process.env.CASSANDRA_CONTACT_POINTS.split(','),
	localDataCenter: process.env.CASSANDRA_DATACENTER ?? 'datacenter1',
	keyspace,
})
await cassandraClient.connect()
const redis = new Redis(process.env.REDIS_URL)
const adapter = new KafkaAdapter({
	kafka,
	cassandraClient,
	coordinationStore: new RedisCoordinationStore(redis),
	topicName: topic,
	groupId: topic,
	keyspace,
	contextTableName: 'contexts',
	statusTableName: 'statuses',
	runtimeOptions: { blueprints: { [blueprint.id]: blueprint }, registry, logger: silent },
})
// The JavaScript package gives no sign that it consumes but its consumer's event.
const joined = new Promise((resolve) => adapter.consumer.on('consumer.group_join', resolve))
await adapter.start()
if (packageName !== '@flowcraft/kafka-adapter') await joined
console.log('ready')

for await (const _ of createInterface({ input: process.stdin })) {
	const { user, system } = process.cpuUsage()
	const counters = typeof adapter.health === 'function' ? adapter.health().counters : undefined
	console.log(JSON.stringify({ cpuMs: (user + system) / 1000, rssMb: process.memoryUsage().rss / 2 ** 20, counters }))
}
await adapter.stop()
await cassandraClient.shutdown()
await redis.quit()
