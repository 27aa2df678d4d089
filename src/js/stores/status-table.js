/**
 * The status table, for one adapter: natively, or through the user's client with the statements of the JavaScript package.
 */
import { unwrap } from '../errors.js'
import { nativeCassandra } from '../bridge/native-connections.js'
import { beginStatus, publishStatus, readStatus, touchStatus } from './statements.js'

/**
 * @typedef {import('../bridge/js-ports.js').FinalResult} FinalResult
 * @typedef {{ status: string, result: FinalResult | undefined }} StatusRow
 * @typedef {{ wasApplied(): boolean, first(): { get(column: string): unknown } | null | undefined }} Result
 *
 * The part of cassandra-driver's `Client` that is needed.
 * @typedef {object} StatusClient
 * @property {(query: string, params: unknown[], options: { prepare: true }) => Promise<Result>} execute
 */

/**
 * @param {unknown} text `status_data`
 * @returns {FinalResult | undefined}
 */
const parseResult = (text) => (typeof text === 'string' ? JSON.parse(text) : undefined)

export class StatusTable {
	#client
	#name

	/**
	 * @param {unknown} client
	 * @param {string} name with its keyspace
	 */
	constructor(client, name) {
		this.#client = client
		this.#name = name
	}

	/**
	 * @param {string} query
	 * @param {unknown[]} params
	 */
	#execute(query, params) {
		return /** @type {StatusClient} */ (this.#client).execute(query, params, { prepare: true })
	}

	/** @param {string} runId that is being worked on */
	async touch(runId) {
		const connection = nativeCassandra(this.#client)
		if (connection) return void (await unwrap((await connection).touchStatus(this.#name, runId)))
		const result = await this.#execute(beginStatus(this.#name), [runId])
		if (!result.wasApplied()) await this.#execute(touchStatus(this.#name), [runId])
	}

	/** All start messages of a run that was touched are on their way. @param {string} runId */
	async sent(runId) {
		const connection = nativeCassandra(this.#client)
		if (connection) await unwrap((await connection).sent(this.#name, runId))
	}

	/**
	 * @param {string} runId
	 * @param {FinalResult} result
	 */
	async publish(runId, result) {
		const data = JSON.stringify(result)
		const connection = nativeCassandra(this.#client)
		if (connection) {
			return void (await unwrap((await connection).publishStatus(this.#name, runId, result.status, data)))
		}
		await this.#execute(publishStatus(this.#name), [runId, result.status, data])
	}

	/**
	 * @param {string} runId
	 * @returns {Promise<StatusRow | undefined>} `undefined` where there is no row
	 */
	async read(runId) {
		const connection = nativeCassandra(this.#client)
		if (connection) {
			const text = await unwrap((await connection).readStatus(this.#name, runId))
			if (text === null) return undefined
			const { status, statusData } = JSON.parse(text)
			const result = parseResult(statusData)
			// Without a column of its own the status stands in the result, and a row without one is a run's first touch.
			return { status: status ?? result?.status ?? 'running', result }
		}
		const row = (await this.#execute(readStatus(this.#name), [runId])).first()
		return row ? { status: String(row.get('status')), result: parseResult(row.get('status_data')) } : undefined
	}
}
