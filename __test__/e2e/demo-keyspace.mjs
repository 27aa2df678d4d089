/** Keyspaces for the tests of demo and examples. */
import { randomBytes } from 'node:crypto'
import cassandra from 'cassandra-driver'

/** @param {string} kind */
export const uniqueName = (kind) => `${kind}_${Date.now().toString(36)}${randomBytes(3).toString('hex')}`

/**
 * @template T
 * @param {(client: cassandra.Client) => Promise<T>} work
 */
export async function withCassandra(work) {
	const client = new cassandra.Client({
		contactPoints: process.env.CASSANDRA_CONTACT_POINTS.split(','),
		localDataCenter: process.env.CASSANDRA_DATACENTER ?? 'datacenter1',
	})
	return work(client).finally(() => client.shutdown())
}

/** @param {string} keyspace */
export const dropKeyspace = (keyspace) =>
	withCassandra((client) => client.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`))
