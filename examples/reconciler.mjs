/**
 * Finds runs that stand still although they are not over, and sends the jobs that they wait for. A worker that dies needs
 * none of this: its jobs go to others. It is for what was lost elsewhere, such as a topic that was deleted.
 *
 *   node reconciler.mjs [seconds without progress, default 300]
 */
import { createKafkaReconciler, KafkaAdapter } from '@flowcraft/kafka-adapter'
import { Kafka } from 'kafkajs'
import { blueprints, names } from './shared.mjs'

/** Sends jobs, through kafkajs, and takes none: the workers are elsewhere. */
class Nudger extends KafkaAdapter {
	async processJobs() {}
}

const cassandraClient = process.env.CASSANDRA_CONTACT_POINTS
const adapter = new Nudger({
	kafka: new Kafka({ clientId: 'flowcraft-reconciler-app', brokers: process.env.KAFKA_BROKERS.split(',') }),
	cassandraClient,
	// Keeps two reconcilers from nudging the same node at once.
	coordinationStore: process.env.REDIS_URL,
	...names,
	runtimeOptions: { blueprints },
})

await adapter.start()
try {
	const reconciler = createKafkaReconciler({
		adapter,
		cassandraClient,
		keyspace: names.keyspace,
		statusTableName: names.statusTableName,
		stalledThresholdSeconds: Number(process.argv[2] ?? 300),
	})
	// Once; run it from time to time, from a timer or from cron.
	const stats = await reconciler.run()
	console.log(`Found ${stats.stalledRuns} stalled runs, reconciled ${stats.reconciledRuns}, failed ${stats.failedRuns}`)
} finally {
	await adapter.stop()
}
