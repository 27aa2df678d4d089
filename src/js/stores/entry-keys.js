/**
 * The keys of a run whose table has a row per key: each call reads and writes the keys that it is about, and no others.
 */
import { unwrap } from '../errors.js'

/**
 * @typedef {import('../native.js').NativeCassandra} NativeCassandra
 * @typedef {Record<string, unknown>} Document
 */

/** Layouts by connection and table; a table does not change its layout. @type {WeakMap<NativeCassandra, Map<string, boolean>>} */
const layouts = new WeakMap()

/**
 * @param {NativeCassandra} connection
 * @param {string} table
 */
const hasEntries = async (connection, table) => {
	const known = layouts.get(connection) ?? new Map()
	layouts.set(connection, known)
	if (!known.has(table)) known.set(table, await unwrap(connection.hasEntries(table)))
	return known.get(table)
}

/**
 * @param {Promise<NativeCassandra> | undefined} connecting
 * @param {string} table
 * @param {string} runId
 * @param {(key: string) => boolean} isHidden keys that are not to be seen
 * @returns {Promise<EntryKeys | undefined>} `undefined` where the table keeps a document per run
 */
export const entryKeys = async (connecting, table, runId, isHidden) => {
	const connection = connecting && (await connecting)
	if (!connection || !(await hasEntries(connection, table))) return undefined
	return new EntryKeys(connection, table, runId, isHidden)
}

/** @param {unknown} value @returns {string} raw JSON; what JSON leaves out of an object is deleted */
const rawOf = (value) => JSON.stringify(value) ?? ''

class EntryKeys {
	#connection
	#table
	#runId
	#isHidden

	/**
	 * @param {NativeCassandra} connection
	 * @param {string} table
	 * @param {string} runId
	 * @param {(key: string) => boolean} isHidden
	 */
	constructor(connection, table, runId, isHidden) {
		this.#connection = connection
		this.#table = table
		this.#runId = runId
		this.#isHidden = isHidden
	}

	/**
	 * @param {string[] | null} keys `null`: all
	 * @returns {Promise<Map<string, string>>} raw values of the keys that are there
	 */
	async #read(keys) {
		const flat = await unwrap(this.#connection.readKeys(this.#table, this.#runId, keys))
		/** @type {Map<string, string>} */
		const found = new Map()
		for (let at = 0; at < flat.length; at += 2) if (!this.#isHidden(flat[at])) found.set(flat[at], flat[at + 1])
		return found
	}

	/** @param {Map<string, string>} changes raw values; an empty one deletes */
	async #write(changes) {
		if (changes.size === 0) return
		await unwrap(this.#connection.writeKeys(this.#table, this.#runId, [...changes].flat()))
	}

	/** @param {string} key @returns {Promise<any>} */
	async get(key) {
		const raw = (await this.#read([key])).get(key)
		return raw === undefined ? undefined : JSON.parse(raw)
	}

	/** @param {string} key */
	async has(key) {
		return (await this.#read([key])).has(key)
	}

	/** @param {string} key @returns {Promise<boolean>} whether it was there */
	async delete(key) {
		const isThere = await this.has(key)
		if (isThere) await this.#write(new Map([[key, '']]))
		return isThere
	}

	/** @returns {Promise<Document>} */
	async document() {
		return Object.fromEntries([...(await this.#read(null))].map(([key, raw]) => [key, JSON.parse(raw)]))
	}

	/** Each key as the last operation leaves it. @param {import('flowcraft').PatchOperation[]} operations */
	async patch(operations) {
		/** @type {Map<string, string>} */
		const changes = new Map()
		for (const operation of operations) {
			if (operation.op === 'set') changes.set(operation.key, rawOf(operation.value))
			else if (operation.op === 'delete') changes.set(operation.key, '')
		}
		await this.#write(changes)
	}

	/** @param {Document} document */
	async replace(document) {
		const changes = new Map(Object.entries(document).map(([key, value]) => [key, rawOf(value)]))
		for (const key of (await this.#read(null)).keys()) if (!changes.has(key)) changes.set(key, '')
		await this.#write(changes)
	}
}
