/**
 * The demo's own look at Cassandra, through the npm driver: it creates the tables, which an adapter leaves to its
 * users, and reads the results without the help of what is shown.
 */
import cassandra from 'cassandra-driver'

const READS_AT_ONCE = 32

export const CONTEXTS = 'contexts'
export const STATUSES = 'statuses'

export class Store {
	#client
	#keyspace

	/** @param {{ contactPoints: string[], localDataCenter: string, keyspace: string }} options */
	constructor({ contactPoints, localDataCenter, keyspace }) {
		this.#keyspace = keyspace
		this.#client = new cassandra.Client({ contactPoints, localDataCenter })
	}

	async createTables() {
		const statements = [
			`CREATE KEYSPACE IF NOT EXISTS ${this.#keyspace}
				WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
			`CREATE TABLE IF NOT EXISTS ${this.#keyspace}.${CONTEXTS} (run_id text PRIMARY KEY, context_data text)`,
			`CREATE TABLE IF NOT EXISTS ${this.#keyspace}.${STATUSES}
				(run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)`,
		]
		for (const statement of statements) await this.#client.execute(statement)
	}

	/** @returns {Promise<Map<string, string>>} statuses of those runs that have one */
	async statuses(runIds) {
		const rows = await this.#read('run_id, status', runIds)
		return new Map(rows.map((row) => [row.get('run_id'), row.get('status')]))
	}

	/** @returns {Promise<Map<string, { status: string, summary: any, reason?: string }>>} */
	async results(runIds) {
		const rows = await this.#read('run_id, status, status_data', runIds)
		return new Map(
			rows.map((row) => {
				const { payload, reason } = JSON.parse(row.get('status_data') ?? '{}')
				return [row.get('run_id'), { status: row.get('status'), summary: payload?.context?.summary, reason }]
			}),
		)
	}

	async #read(columns, runIds) {
		const query = `SELECT ${columns} FROM ${this.#keyspace}.${STATUSES} WHERE run_id = ?`
		const left = runIds.values()
		const rows = []
		const reader = async () => {
			for (const runId of left) rows.push((await this.#client.execute(query, [runId], { prepare: true })).first())
		}
		await Promise.all(Array.from({ length: READS_AT_ONCE }, reader))
		return rows.filter(Boolean)
	}

	close() {
		return this.#client.shutdown()
	}
}
