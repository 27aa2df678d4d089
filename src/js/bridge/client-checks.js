/**
 * What can be said of a client, settings or a URL without asking them anything. Mocks and wrappers are taken as they are, as long
 * as they have what is called of them.
 */
import { isGenuineCassandra, parseCassandra } from '../clients/cassandra-driver.js'
import { kindOf } from '../clients/fields.js'
import { isPlain } from '../clients/genuine.js'
import { parseRedis } from '../clients/ioredis.js'
import { isGenuineKafka, parseKafka } from '../clients/kafkajs.js'
import { optionError } from '../errors.js'
import { isCassandraSettings, isEmbedded, isRedisSettings } from './native-connections.js'

const TABLES_FIX = 'Give a cassandra-driver Client, contact points or settings'
const KAFKA_FIX = 'Give a kafkajs Kafka, brokers, settings, or backend: "embedded"'
const STORE_FIX = 'Give a RedisCoordinationStore, settings or a Redis URL'
const REDIS_FIX = 'Give an ioredis client, settings or a Redis URL'
export const STORE_METHODS = /** @type {const} */ (['increment', 'setIfNotExist', 'extendTTL', 'delete', 'get'])
const REDIS_METHODS = ['pipeline', 'set', 'get', 'del', 'expire']

/**
 * @param {unknown} value
 * @param {string} name
 */
const hasMethod = (value, name) => typeof Reflect.get(Object(value), name) === 'function'

/**
 * Written-down settings have no object behind them that could do what the native client cannot.
 *
 * @param {string} path
 * @param {string | undefined} unsupported
 */
export const refuseSetting = (path, unsupported) => {
	if (unsupported) throw optionError(`${path}.${unsupported}`, 'not supported', 'Leave it out, or pass a client object')
}

/**
 * @param {unknown} value
 * @returns {value is string | unknown[] | Record<string, unknown>}
 */
export const isKafkaSettings = (value) =>
	typeof value === 'string' || Array.isArray(value) || (isPlain(value) && typeof value.producer !== 'function')

/**
 * @param {unknown} kafka
 * @param {string} path
 */
export const checkKafka = (kafka, path) => {
	if (isEmbedded(kafka) || isGenuineKafka(kafka)) return
	if (isKafkaSettings(kafka)) return refuseSetting(path, parseKafka(kafka, path).unsupported)
	if (typeof kafka !== 'object' || kafka === null) throw optionError(path, `${kindOf(kafka)} is no client`, KAFKA_FIX)
	const missing = ['producer', 'consumer'].find((name) => !hasMethod(kafka, name))
	if (missing) throw optionError(path, `"${missing}" is no method of it`, KAFKA_FIX)
}

/** Settings that were found good: contexts are made again and again with the same ones. @type {WeakSet<object>} */
const good = new WeakSet()

/**
 * @param {string | unknown[] | Record<string, unknown>} settings
 * @param {string} path
 */
const checkCassandraSettings = (settings, path) => {
	if (typeof settings === 'object' && good.has(settings)) return
	refuseSetting(path, parseCassandra(settings, path).unsupported)
	if (typeof settings === 'object') good.add(settings)
}

/**
 * @param {unknown} client that is needed
 * @param {string} path
 * @param {string} [fix]
 */
export const checkCassandra = (client, path, fix = TABLES_FIX) => {
	if (isEmbedded(client) || isGenuineCassandra(client)) return
	if (isCassandraSettings(client)) return checkCassandraSettings(client, path)
	if (client === undefined || client === null) throw optionError(path, 'missing', fix)
	if (typeof client !== 'object' && typeof client !== 'function')
		throw optionError(path, `${kindOf(client)} is no client`, fix)
	if (!hasMethod(client, 'execute')) throw optionError(path, 'neither settings nor an object with "execute"', fix)
}

/**
 * @param {unknown} redis
 * @param {string} path
 */
export const checkRedis = (redis, path) => {
	if (isEmbedded(redis)) return
	if (isRedisSettings(redis)) return refuseSetting(path, parseRedis(redis, path).unsupported)
	if (!REDIS_METHODS.some((name) => hasMethod(redis, name)))
		throw optionError(path, `${kindOf(redis)} is no client`, REDIS_FIX)
}

/**
 * Anything was accepted as a store, and an object without methods changes nothing; what can only have been meant as settings does.
 *
 * @param {unknown} store
 * @param {string} path
 */
export const checkStore = (store, path) => {
	if (store === undefined || store === null || isEmbedded(store)) return
	if (isRedisSettings(store)) return refuseSetting(path, parseRedis(store, path).unsupported)
	const isCallable = typeof store === 'function' || (typeof store === 'object' && !Array.isArray(store))
	if (!isCallable) throw optionError(path, `${kindOf(store)} is no store`, STORE_FIX)
	const isEmpty = Object.keys(store).length === 0
	if (!isPlain(store) || isEmpty || Object.values(store).some((value) => typeof value === 'function')) return
	throw optionError(path, 'neither settings nor an object with the methods of a store', STORE_FIX)
}
