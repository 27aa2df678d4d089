/**
 * `CassandraContext`: the state of one run, a JSON object in one row, or a row per key (entry-keys.js), as the table has it.
 * docs/checkpoint.md says what else lies there.
 */
import { AsyncScope } from './async-scope.js'
import { Code, KafkaAdapterError, unwrap } from './errors.js'
import { isObject } from './clients/genuine.js'
import { liveRun } from './stores/live-runs.js'
import { entryKeys } from './stores/entry-keys.js'
import { nativeCassandra } from './bridge/native-connections.js'
import { positive, requiredKeyspace, requiredName, someOptions } from './adapter/options.js'
import { checkCassandra } from './bridge/client-checks.js'
import { readDocument, writeDocument } from './stores/statements.js'
import { VALUE_SIZES, refusedSize } from './stores/value-limits.js'

/** The engine's own key in a run's document. */
export const RESERVED_KEY = '_flowcraft'

/** @typedef {Record<string, unknown>} Document */

/**
 * The part of cassandra-driver's `Client` that a context needs.
 *
 * @typedef {object} CassandraLike
 * @property {(query: string, params: unknown[], options: { prepare: true }) =>
 *   Promise<{ first(): { get(column: string): unknown } | null | undefined }>} execute
 */

/** @type {AsyncScope<true>} */
const engineAccess = new AsyncScope()

/**
 * Runs `work` as the engine: contexts show and accept the reserved key in it, also behind wrappers of the user.
 *
 * @template T
 * @param {() => T} work
 * @returns {Promise<Awaited<T>>}
 */
export const asEngine = (work) => engineAccess.run(true, work)

const isEngine = () => engineAccess.value === true

/**
 * What was found under the reserved key when a context was last read; a write puts it back.
 *
 * @type {WeakMap<CassandraContext, { value: unknown } | undefined>}
 */
const held = new WeakMap()

/** @param {string} key */
const refuseReserved = (key) => {
	if (key !== RESERVED_KEY || isEngine()) return
	throw new KafkaAdapterError(Code.ReservedKey, `context key "${key}" is the adapter's own. Use another key`)
}

/**
 * A distributed context that persists the state of a run in an Apache Cassandra table, by run id.
 *
 * While the run is open in this process, its session is asked instead (live-run.js): nodes see changes at once, and none is
 * lost to a step that is being written.
 */
export class CassandraContext {
	#maxValueBytes

	/**
	 * @param {string} runId
	 * @param {{ client: unknown, keyspace?: string, tableName: string, maxValueBytes?: number }} options
	 */
	constructor(runId, options) {
		const given = someOptions(options, 'Give { client, keyspace, tableName }')
		checkCassandra(given.client, 'options.client')
		/** @readonly */
		this.type = /** @type {const} */ ('async')
		this.runId = runId
		this.client = options.client
		this.tableName = `${requiredKeyspace(given, 'client')}.${requiredName(given, 'tableName')}`
		this.#maxValueBytes = positive(given, 'maxValueBytes', VALUE_SIZES.maxValueBytes)
	}

	/**
	 * The run's keys, where the table has a row for each.
	 *
	 * @returns {ReturnType<typeof entryKeys>}
	 */
	async #rows() {
		const isHidden = isEngine() ? () => false : (/** @type {string} */ key) => key === RESERVED_KEY
		return entryKeys(nativeCassandra(this.client), this.tableName, this.runId, isHidden)
	}

	/**
	 * The same for single keys: a subclass that reads or writes documents in its own way is asked for those.
	 *
	 * @returns {ReturnType<typeof entryKeys>}
	 */
	async #entries() {
		const { readContext, writeContext } = CassandraContext.prototype
		const isInherited = this.readContext === readContext && this.writeContext === writeContext
		return isInherited ? this.#rows() : undefined
	}

	/** @returns {Promise<{ text: unknown } | undefined>} `undefined` where there is no row */
	async #readRow() {
		const connection = nativeCassandra(this.client)
		if (connection) {
			const text = await unwrap((await connection).readContext(this.tableName, this.runId))
			return text === null ? undefined : { text }
		}
		const query = readDocument(this.tableName)
		const client = /** @type {CassandraLike} */ (this.client)
		const row = (await client.execute(query, [this.runId], { prepare: true })).first()
		return row ? { text: row.get('context_data') } : undefined
	}

	/** @param {string} text */
	async #writeText(text) {
		const connection = nativeCassandra(this.client)
		if (connection) {
			return void (await unwrap((await connection).writeContext(this.tableName, this.runId, text, !isEngine())))
		}
		const query = writeDocument(this.tableName)
		const client = /** @type {CassandraLike} */ (this.client)
		await client.execute(query, [this.runId, text], { prepare: true })
	}

	/** @returns {Promise<Document>} `{}` where there is no row; the reserved key is the engine's alone */
	async readContext() {
		const entries = await this.#rows()
		if (entries) return entries.document()
		const row = await this.#readRow()
		/** @type {Document} */
		const context = row ? JSON.parse(/** @type {string} */ (row.text)) : {}
		const reserved = isObject(context) && Object.hasOwn(context, RESERVED_KEY)
		held.set(this, reserved ? { value: context[RESERVED_KEY] } : undefined)
		if (reserved && !isEngine()) delete context[RESERVED_KEY]
		return context
	}

	/** @param {Document} context */
	async writeContext(context) {
		const entries = await this.#rows()
		if (entries) return entries.replace(context)
		if (isEngine()) return this.#writeText(JSON.stringify(context))
		if (!held.has(this)) await this.readContext()
		const reserved = held.get(this)
		await this.#writeText(JSON.stringify(reserved ? { ...context, [RESERVED_KEY]: reserved.value } : context))
	}

	/** The open run, unless the engine itself or a subclass that reads or writes rows in its own way is asking. */
	get #live() {
		const { readContext, writeContext } = CassandraContext.prototype
		if (isEngine() || this.readContext !== readContext || this.writeContext !== writeContext) return undefined
		return liveRun(this.client, this.tableName, this.runId)
	}

	/**
	 * @param {string} key
	 * @returns {Promise<any>}
	 */
	async get(key) {
		const live = this.#live
		if (live) return live.read(key)
		const entries = await this.#entries()
		if (entries) return entries.get(key)
		return (await this.readContext())[key]
	}

	/**
	 * @param {string} key
	 * @param {unknown} value
	 */
	async set(key, value) {
		refuseReserved(key)
		await this.#change([{ op: 'set', key, value }])
	}

	/** @param {string} key */
	async has(key) {
		const live = this.#live
		if (live) return live.has(key)
		const entries = await this.#entries()
		if (entries) return entries.has(key)
		return Object.hasOwn(await this.readContext(), key)
	}

	/** @param {string} key */
	async delete(key) {
		const live = this.#live
		if (live) {
			const isThere = live.has(key)
			if (!isThere || (await live.change([{ op: 'delete', key }]))) return isThere
		}
		const entries = await this.#entries()
		if (entries) return entries.delete(key)
		const context = await this.readContext()
		if (!Object.hasOwn(context, key)) return false
		delete context[key]
		await this.writeContext(context)
		return true
	}

	/** @returns {Promise<Record<string, any>>} */
	async toJSON() {
		return this.#live?.document() ?? (await this.readContext())
	}

	/** @param {import('flowcraft').PatchOperation[]} operations */
	async patch(operations) {
		if (operations.length === 0) return
		for (const { key } of operations) refuseReserved(key)
		await this.#change(operations)
	}

	/** @param {{ key: string, value: unknown }} operation */
	#weigh({ key, value }) {
		// The engine weighs its own steps, with the limit of its worker.
		const text = isEngine() ? undefined : JSON.stringify(value)
		const refusal = text && refusedSize(this.runId, key, text, this.#maxValueBytes)
		if (refusal) throw refusal
	}

	/** @param {import('flowcraft').PatchOperation[]} operations */
	async #change(operations) {
		for (const operation of operations) if (operation.op === 'set') this.#weigh(operation)
		if (await this.#live?.change(operations)) return
		const entries = await this.#entries()
		if (entries) return entries.patch(operations)
		const context = await this.readContext()
		for (const operation of operations) apply(context, operation)
		await this.writeContext(context)
	}
}

/**
 * @param {Document} context
 * @param {import('flowcraft').PatchOperation} operation
 */
const apply = (context, operation) => {
	if (operation.op === 'set') context[operation.key] = operation.value
	else if (operation.op === 'delete') delete context[operation.key]
}
