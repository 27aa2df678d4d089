/**
 * `RedisCoordinationStore`: Flowcraft's `ICoordinationStore` over Redis. TTLs are seconds.
 */
import { optionError, unwrap } from './errors.js'
import { checkRedis } from './bridge/client-checks.js'
import { nativeRedis } from './bridge/native-connections.js'

/**
 * The part of ioredis that the store needs.
 *
 * @typedef {object} Pipeline
 * @property {(key: string) => unknown} incr
 * @property {(key: string, seconds: number) => unknown} expire
 * @property {() => Promise<[error: Error | null, result: unknown][] | null>} exec
 *
 * @typedef {object} RedisLike
 * @property {() => Pipeline} pipeline
 * @property {(key: string, value: string, ex: 'EX', seconds: number, nx: 'NX') => Promise<unknown>} set
 * @property {(key: string) => Promise<unknown>} del
 * @property {(key: string, seconds: number) => Promise<unknown>} expire
 * @property {(key: string) => Promise<string | null>} get
 */

/** @param {number} ttlSeconds refused here as Redis refuses it */
const whole = (ttlSeconds) => {
	if (Number.isSafeInteger(ttlSeconds)) return ttlSeconds
	throw optionError('ttlSeconds', `${ttlSeconds} is not a whole number`, 'Give a time to live in seconds')
}

export class RedisCoordinationStore {
	/** @param {unknown} redis an ioredis client, settings, a URL, or an object with the methods of one */
	constructor(redis) {
		checkRedis(redis, 'redis')
		this.redis = redis
	}

	get #client() {
		return /** @type {RedisLike} */ (this.redis)
	}

	/**
	 * @param {string} key
	 * @param {number} ttlSeconds renewed by every call
	 * @returns {Promise<number>} the new count
	 */
	async increment(key, ttlSeconds) {
		const connection = nativeRedis(this.redis)
		if (connection) return unwrap((await connection).increment(key, whole(ttlSeconds)))
		const pipeline = this.#client.pipeline()
		pipeline.incr(key)
		pipeline.expire(key, ttlSeconds)
		const results = await pipeline.exec()
		return results ? /** @type {number} */ (results[0]?.[1]) : 0
	}

	/**
	 * @param {string} key
	 * @param {string} value
	 * @param {number} ttlSeconds
	 * @returns {Promise<boolean>} whether this call wrote it
	 */
	async setIfNotExist(key, value, ttlSeconds) {
		const connection = nativeRedis(this.redis)
		if (connection) return unwrap((await connection).setIfNotExist(key, value, whole(ttlSeconds)))
		return (await this.#client.set(key, value, 'EX', ttlSeconds, 'NX')) === 'OK'
	}

	/** @param {string} key */
	async delete(key) {
		const connection = nativeRedis(this.redis)
		if (connection) await unwrap((await connection).delete(key))
		else await this.#client.del(key)
	}

	/**
	 * @param {string} key
	 * @param {number} ttlSeconds
	 * @returns {Promise<boolean>} `false` when the key is gone
	 */
	async extendTTL(key, ttlSeconds) {
		const connection = nativeRedis(this.redis)
		if (connection) return unwrap((await connection).extendTtl(key, whole(ttlSeconds)))
		return (await this.#client.expire(key, ttlSeconds)) === 1
	}

	/**
	 * @param {string} key
	 * @returns {Promise<string | undefined>}
	 */
	async get(key) {
		const connection = nativeRedis(this.redis)
		const value = connection ? await unwrap((await connection).get(key)) : await this.#client.get(key)
		return value ?? undefined
	}
}
