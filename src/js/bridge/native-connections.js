/**
 * One native connection per client object, shared by every context, store and reconciler that was given the object.
 * The client itself stays the user's: it is never connected, used or closed here. A connection goes with its client.
 */
import { isGenuineCassandra, parseCassandra, readCassandra } from '../clients/cassandra-driver.js'
import { isObject, isPlain } from '../clients/genuine.js'
import { isGenuineRedis, parseRedis, readRedis, REDIS_SETTINGS } from '../clients/ioredis.js'
import { unwrap } from '../errors.js'
import { getNative } from '../native.js'

/**
 * @typedef {import('../native.js').NativeCassandra} NativeCassandra
 * @typedef {import('../native.js').NativeRedis} NativeRedis
 */

/**
 * @param {unknown} value
 * @returns {value is { embedded: string, crashAfterCalls?: number }} the embedded backend's place in a client's stead
 */
export const isEmbedded = (value) => isPlain(value) && typeof value.embedded === 'string'

/**
 * @param {unknown} client
 * @returns {client is string | unknown[] | Record<string, unknown>}
 */
export const isCassandraSettings = (client) =>
	typeof client === 'string' || Array.isArray(client) || (isPlain(client) && 'contactPoints' in client)

const ADDRESSES = ['url', 'host', 'port', 'cluster', 'sentinels']

/**
 * Settings without an address are those of a server on this machine; objects with methods are clients and stores, whatever else
 * they have.
 *
 * @param {unknown} client
 * @returns {client is string | Record<string, unknown>}
 */
export const isRedisSettings = (client) => {
	if (typeof client === 'string') return true
	if (!isPlain(client)) return false
	if (ADDRESSES.some((key) => key in client && !isMethod(client[key]))) return true
	return REDIS_SETTINGS.some((key) => key in client) && !Object.values(client).some(isMethod)
}

/** @param {unknown} value */
const isMethod = (value) => typeof value === 'function'

/**
 * @param {unknown} client
 * @param {string} path
 * @returns {import('../clients/cassandra-driver.js').CassandraReading | undefined} `undefined`: not ours to read
 */
export const cassandraSettings = (client, path) => {
	if (isGenuineCassandra(client)) return readCassandra(client)
	return isCassandraSettings(client) ? parseCassandra(client, path) : undefined
}

/**
 * @param {unknown} client
 * @param {string} path
 * @returns {import('../clients/ioredis.js').RedisReading | undefined} `undefined`: not ours to read
 */
export const redisSettings = (client, path) => {
	if (isGenuineRedis(client)) return readRedis(client)
	return isRedisSettings(client) ? parseRedis(client, path) : undefined
}

/** @type {WeakSet<object>} */
const warned = new WeakSet()

/**
 * @param {unknown} client
 * @param {string} library
 * @param {string} setting
 * @param {(text: string) => void} warn
 */
export const warnOfDetour = (client, library, setting, warn) => {
	if (!isObject(client) || warned.has(client)) return
	warned.add(client)
	warn(
		`[KafkaAdapter] ${library}: "${setting}" cannot be honoured by the native client. The object is driven through ` +
			'its own methods instead: correct, but each operation costs a trip through JavaScript and none is batched',
	)
}

/** @param {string} text */
const emitWarning = (text) => process.emitWarning(text, { code: 'FLOWCRAFT_NATIVE_DETOUR' })

/**
 * Connections by client. Text has no identity of its own, so equal text shares one.
 *
 * @template T
 */
class Pool {
	/** @type {WeakMap<object, Promise<T> | undefined>} */
	#byObject = new WeakMap()
	/** @type {Map<unknown, Promise<T> | undefined>} */
	#byText = new Map()

	/**
	 * @param {unknown} client
	 * @param {() => Promise<T> | undefined} connect `undefined` when the client's settings rule it out
	 * @returns {Promise<T> | undefined}
	 */
	take(client, connect) {
		const shelf = isObject(client) ? this.#byObject : this.#byText
		const key = /** @type {object} */ (client)
		if (shelf.has(key)) return shelf.get(key)
		const connection = connect()
		shelf.set(key, connection)
		// A failed connection is forgotten, so that the next operation tries again.
		connection?.catch(() => shelf.delete(key))
		return connection
	}
}

/** @type {Pool<NativeCassandra>} */
const cassandras = new Pool()
/** @type {Pool<NativeRedis>} */
const redises = new Pool()

/**
 * @param {unknown} client
 * @returns {Promise<NativeCassandra> | undefined} `undefined`: drive the object through its own methods
 */
export const nativeCassandra = (client) => {
	if (!isEmbedded(client) && !isGenuineCassandra(client) && !isCassandraSettings(client)) return undefined
	return cassandras.take(client, () => {
		const settings = isEmbedded(client)
			? client
			: readable(client, cassandraSettings(client, 'client'), 'cassandra-driver')
		return settings && unwrap(getNative().NativeCassandra.connect(JSON.stringify(settings)))
	})
}

/**
 * @param {unknown} client
 * @returns {Promise<NativeRedis> | undefined} `undefined`: drive the object through its own methods
 */
export const nativeRedis = (client) => {
	if (!isEmbedded(client) && !isGenuineRedis(client) && !isRedisSettings(client)) return undefined
	return redises.take(client, () => {
		const settings = isEmbedded(client) ? client : readable(client, redisSettings(client, 'redis'), 'ioredis')
		return settings && unwrap(getNative().NativeRedis.connect(JSON.stringify(settings)))
	})
}

/**
 * @template T
 * @param {unknown} client
 * @param {{ settings?: T, unsupported?: string } | undefined} reading
 * @param {string} library
 * @returns {T | undefined}
 */
const readable = (client, reading, library) => {
	if (reading?.unsupported) warnOfDetour(client, library, reading.unsupported, emitWarning)
	return reading?.settings
}
