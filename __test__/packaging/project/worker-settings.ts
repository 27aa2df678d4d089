import { KafkaAdapter } from '@flowcraft/kafka-adapter'
import { runtimeOptions, setting, work } from './runs.js'

await work(
	new KafkaAdapter({
		brokers: setting('KAFKA_BROKERS'),
		cassandraClient: setting('CASSANDRA_CONTACT_POINTS'),
		coordinationStore: setting('REDIS_URL'),
		topicName: setting('TOPIC'),
		groupId: setting('GROUP'),
		keyspace: setting('KEYSPACE'),
		contextTableName: 'contexts',
		statusTableName: 'statuses',
		runtimeOptions,
	}),
)
