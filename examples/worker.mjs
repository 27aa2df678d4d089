/**
 * A worker that is given client objects: it takes their addresses, credentials and TLS settings, and connects by itself.
 *
 *   npm install flowcraft @flowcraft/kafka-adapter kafkajs cassandra-driver ioredis
 *   node worker.mjs
 *
 * Keyspace and tables have to be there (tables.cql); the topic is created where the broker allows it.
 */
import { KafkaAdapter, RedisCoordinationStore } from '@flowcraft/kafka-adapter'
import { Client as CassandraClient } from 'cassandra-driver'
import IORedis from 'ioredis'
import { Kafka } from 'kafkajs'
import { agentNodeRegistry, blueprints, names } from './shared.mjs'

const kafka = new Kafka({
	clientId: 'flowcraft-worker-app',
	brokers: process.env.KAFKA_BROKERS.split(','), // for example kafka1:9092,kafka2:9092
})
const cassandraClient = new CassandraClient({
	contactPoints: process.env.CASSANDRA_CONTACT_POINTS.split(','),
	localDataCenter: process.env.CASSANDRA_DATACENTER ?? 'datacenter1',
})
const redis = new IORedis(process.env.REDIS_URL, { lazyConnect: true })

const adapter = new KafkaAdapter({
	kafka,
	cassandraClient,
	coordinationStore: new RedisCoordinationStore(redis),
	...names,
	runtimeOptions: { registry: agentNodeRegistry, blueprints },
})

await adapter.start()
console.log('Worker is running. Waiting for jobs...')

for (const signal of ['SIGINT', 'SIGTERM']) {
	process.once(signal, async () => {
		// Running nodes finish and are recorded. The clients stay yours: close what you have connected.
		await adapter.stop()
		redis.disconnect()
		console.log('Worker has stopped.')
	})
}
