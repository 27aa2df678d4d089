import { KafkaAdapter, RedisCoordinationStore } from '@flowcraft/kafka-adapter'
import { Client } from 'cassandra-driver'
import { Redis } from 'ioredis'
import { Kafka } from 'kafkajs'
import { runtimeOptions, setting, work } from './runs.js'

const cassandraClient = new Client({
	contactPoints: setting('CASSANDRA_CONTACT_POINTS').split(','),
	localDataCenter: setting('CASSANDRA_DATACENTER'),
})
const redis = new Redis(setting('REDIS_URL'))

await work(
	new KafkaAdapter({
		kafka: new Kafka({ clientId: 'packaging', brokers: setting('KAFKA_BROKERS').split(',') }),
		cassandraClient,
		coordinationStore: new RedisCoordinationStore(redis),
		// The settings are read from the instances, and the packaged module connects.
		native: 'required',
		topicName: setting('TOPIC'),
		groupId: setting('GROUP'),
		keyspace: setting('KEYSPACE'),
		contextTableName: 'contexts',
		statusTableName: 'statuses',
		runtimeOptions,
	}),
)
redis.disconnect()
await cassandraClient.shutdown()
