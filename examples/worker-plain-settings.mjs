/**
 * The same worker without kafkajs, cassandra-driver and ioredis: addresses are enough.
 *
 *   npm install flowcraft @flowcraft/kafka-adapter
 *   node worker-plain-settings.mjs
 */
import { KafkaAdapter } from '@flowcraft/kafka-adapter'
import { agentNodeRegistry, blueprints, names } from './shared.mjs'

const adapter = new KafkaAdapter({
	brokers: process.env.KAFKA_BROKERS, // "host:port,host:port", or `kafka: { brokers, ssl, sasl, ... }`
	cassandraClient: {
		contactPoints: process.env.CASSANDRA_CONTACT_POINTS,
		localDataCenter: process.env.CASSANDRA_DATACENTER,
	},
	coordinationStore: process.env.REDIS_URL,
	...names,
	runtimeOptions: { registry: agentNodeRegistry, blueprints },
})

await adapter.start()
console.log('Worker is running. Waiting for jobs...')

for (const signal of ['SIGINT', 'SIGTERM']) {
	process.once(signal, async () => {
		await adapter.stop()
		console.log('Worker has stopped.')
	})
}
