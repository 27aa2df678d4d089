// A client as the public guide of the JavaScript package has it, with its three clients and without blueprintVersion.
// usage: node client.mjs <keyspace> <topic>
import { randomUUID } from 'node:crypto'
import cassandra from 'cassandra-driver'
import { analyzeBlueprint } from 'flowcraft'
import { Kafka } from 'kafkajs'
import { blueprint, initialContext } from './shared.mjs'

async function startWorkflow(keyspace, topic) {
	const runId = randomUUID()
	const cassandraClient = new cassandra.Client({
		contactPoints: process.env.CASSANDRA_CONTACT_POINTS.split(','),
		localDataCenter: process.env.CASSANDRA_DATACENTER ?? 'datacenter1',
		keyspace,
	})
	await cassandraClient.connect()
	const producer = new Kafka({ brokers: process.env.KAFKA_BROKERS.split(',') }).producer()
	await producer.connect()

	const contextRow = [runId, JSON.stringify(initialContext)]
	await cassandraClient.execute('INSERT INTO contexts (run_id, context_data) VALUES (?, ?)', contextRow)
	const statusRow = [runId, 'running', new Date()]
	await cassandraClient.execute('INSERT INTO statuses (run_id, status, updated_at) VALUES (?, ?, ?)', statusRow)

	const { startNodeIds } = analyzeBlueprint(blueprint)
	for (const nodeId of startNodeIds) {
		const job = { runId, blueprintId: blueprint.id, nodeId }
		await producer.send({ topic, messages: [{ key: runId, value: JSON.stringify(job) }] })
	}
	console.log(runId)
	await producer.disconnect()
	await cassandraClient.shutdown()
}

await startWorkflow(...process.argv.slice(2))
