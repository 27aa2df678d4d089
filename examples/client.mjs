/**
 * Starts runs and waits for their results. The workers run them: start worker.mjs beside it.
 *
 *   node client.mjs [name...]
 */
import { KafkaAdapter } from '@flowcraft/kafka-adapter'
import { Kafka } from 'kafkajs'
import { blueprint, blueprints, initialContext, names } from './shared.mjs'

/** Sends jobs, through kafkajs, and takes none: it needs no functions behind the nodes. */
class Client extends KafkaAdapter {
	async processJobs() {}
}

const client = new Client({
	kafka: new Kafka({ clientId: 'flowcraft-client-app', brokers: process.env.KAFKA_BROKERS.split(',') }),
	cassandraClient: process.env.CASSANDRA_CONTACT_POINTS,
	...names,
	runtimeOptions: { blueprints },
})

await client.start()
try {
	const people = process.argv.length > 2 ? process.argv.slice(2) : [initialContext.name]
	const runs = await Promise.all(people.map((name) => client.startRun(blueprint.id, { ...initialContext, name })))
	for (const run of runs) {
		// A run id is all that has to be remembered: `client.getRun(runId).result()` works later and elsewhere, too.
		const { status, payload, reason } = await run.result({ timeoutMs: 60_000 })
		console.log(run.runId, status, status === 'completed' ? payload.context.join : reason)
	}
} finally {
	await client.stop()
}
