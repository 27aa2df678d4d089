/** Which Redis objects are read, what is read from them, and which are left to their own methods. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as ioredis6 from 'ioredis'
import * as ioredis5 from 'ioredis5'
import { isGenuineRedis, parseRedis, readRedis } from '../../src/js/clients/ioredis.js'
import { defaultRoots } from '../../src/js/clients/tls.js'

for (const [version, { Redis, Cluster }] of Object.entries({ 5: ioredis5, 6: ioredis6 })) {
	const make = (...args) => {
		const options = typeof args.at(-1) === 'object' ? args.pop() : {}
		const redis = new Redis(...args, { lazyConnect: true, ...options })
		redis.on('error', () => {})
		return redis
	}
	const cluster = (nodes, options) => new Cluster(nodes, { lazyConnect: true, ...options })
	const settings = (...args) => readRedis(make(...args)).settings

	describe(`a genuine client of ioredis ${version}`, () => {
		it('is told from what only looks like one', () => {
			class Named extends Redis {}
			class Prefixing extends Redis {
				set(...args) {
					return super.set(...args)
				}
			}
			const patched = make()
			patched.pipeline = () => ({})
			assert.ok(isGenuineRedis(make()))
			assert.ok(isGenuineRedis(cluster([{ host: 'a' }])))
			assert.ok(isGenuineRedis(new Named({ lazyConnect: true })))
			for (const other of [new Prefixing({ lazyConnect: true }), patched, new Proxy(make(), {}), { set() {} }, null]) {
				assert.ok(!isGenuineRedis(other))
			}
		})

		it('gives its address, credentials, database and prefix', () => {
			assert.deepEqual(settings(), { host: 'localhost', port: 6379, db: 0, connectTimeoutMs: 10_000 })
			const expected = { host: 'h', port: 7, db: 3, username: 'u', password: 'p', connectTimeoutMs: 10_000 }
			assert.deepEqual(settings('redis://u:p@h:7/3'), expected)
			assert.deepEqual(settings({ host: 'h', port: 7, db: 3, username: 'u', password: 'p' }), expected)
			const more = settings(7, 'h', { keyPrefix: 'app:', connectTimeout: 5, commandTimeout: 6 })
			assert.deepEqual(more, {
				host: 'h',
				port: 7,
				db: 0,
				keyPrefix: 'app:',
				connectTimeoutMs: 5,
				commandTimeoutMs: 6,
			})
		})

		it('has no limit of its own where it is set to 0', () => {
			const none = settings({ connectTimeout: 0, commandTimeout: 0 })
			assert.deepEqual([none.connectTimeoutMs, none.commandTimeoutMs], [undefined, undefined])
		})

		it('gives its TLS settings', () => {
			assert.deepEqual(settings('rediss://h').tls, { ca: defaultRoots(), rejectUnauthorized: true })
			assert.deepEqual(settings({ tls: { ca: 'CA' } }).tls, { ca: 'CA', rejectUnauthorized: true })
		})

		it('gives the nodes of a cluster', () => {
			const nodes = [{ host: 'a', port: 1 }, 'redis://b:2', 3, { host: 'c' }]
			const redis = cluster(nodes, { keyPrefix: 'k:', redisOptions: { password: 'p' } })
			const reading = readRedis(redis)
			assert.deepEqual(reading.settings.cluster, [
				{ host: 'a', port: 1 },
				{ host: 'b', port: 2 },
				{ host: '127.0.0.1', port: 3 },
				{ host: 'c', port: 6379 },
			])
			assert.equal(reading.settings.password, 'p')
			assert.equal(reading.settings.keyPrefix, 'k:')
			assert.equal(reading.settings.tls, undefined)
		})

		it('gives its sentinels', () => {
			const sentinels = [{ host: 's1', port: 1 }, { host: 's2' }]
			const found = settings({ sentinels, name: 'main', sentinelPassword: 'sp', password: 'p', db: 2 })
			assert.deepEqual(found.sentinel, {
				name: 'main',
				nodes: [
					{ host: 's1', port: 1 },
					{ host: 's2', port: 26379 },
				],
				password: 'sp',
			})
			assert.deepEqual([found.password, found.db, found.host], ['p', 2, undefined])
		})

		it('speaks TLS as the native client can', () => {
			const named = settings({ host: 'h', tls: { servername: 'h', ca: 'CA' } }).tls
			assert.deepEqual(named, { ca: 'CA', rejectUnauthorized: true })
			const own = settings({ tls: { ca: 'CA', cert: 'C', key: 'K' } }).tls
			assert.deepEqual(own, { ca: 'CA', cert: 'C', key: 'K', rejectUnauthorized: true })
			const trusting = cluster([{ host: 'a' }], { redisOptions: { tls: { rejectUnauthorized: false } } })
			assert.deepEqual(readRedis(trusting).settings.tls, { rejectUnauthorized: false })
		})

		it('speaks TLS to sentinels and servers alike, or to neither', () => {
			const base = { sentinels: [{ host: 's' }], name: 'm', tls: {} }
			assert.equal(settings(base).tls, undefined, 'ioredis does not use `tls` behind sentinels')
			assert.ok(settings({ ...base, sentinelTLS: {}, enableTLSForSentinelMode: true }).tls)
		})

		const unsupported = [
			['password (a number is not a string)', () => make({ password: 7 })],
			['keyPrefix (a number is not a string)', () => make({ keyPrefix: 7 })],
			['commandTimeout (-5 is not a whole number of at least 0)', () => make({ commandTimeout: -5 })],
			['startupNodes', () => cluster(['redis://:word@a:1'])],
			['sentinels', () => make({ sentinels: [{ host: 's', port: 0 }], name: 'm' })],
			['path (unix socket)', () => make({ path: '/tmp/redis.sock' })],
			['tls.servername', () => make({ host: 'a', tls: { servername: 'b' } })],
			[
				'tls.cert with rejectUnauthorized: false',
				() => make({ tls: { cert: 'C', key: 'K', rejectUnauthorized: false } }),
			],
			['tls (of a cluster)', () => cluster([{ host: 'a' }], { redisOptions: { tls: {} } })],
			['tls.checkServerIdentity', () => make({ tls: { checkServerIdentity: () => undefined } })],
			['role', () => make({ sentinels: [{ host: 's' }], name: 'm', role: 'slave' })],
			['sentinelTLS', () => make({ sentinels: [{ host: 's' }], name: 'm', sentinelTLS: {} })],
			[
				'enableTLSForSentinelMode',
				() => make({ sentinels: [{ host: 's' }], name: 'm', tls: {}, enableTLSForSentinelMode: true }),
			],
			['natMap', () => make({ sentinels: [{ host: 's' }], name: 'm', natMap: { 'a:1': { host: 'b', port: 1 } } })],
			['natMap', () => cluster([{ host: 'a' }], { natMap: { 'a:1': { host: 'b', port: 1 } } })],
			['useSRVRecords', () => cluster([{ host: 'a' }], { useSRVRecords: true })],
		]
		for (const [setting, build] of unsupported) {
			it(`names ${setting} as what cannot be honoured`, () => {
				assert.deepEqual(readRedis(build()), { unsupported: setting })
			})
		}
	})
}

describe('plain Redis settings', () => {
	it('are a URL or an object in the words of ioredis', () => {
		const parse = (value) => parseRedis(value, 'options.coordinationStore').settings
		const expected = { host: 'h', port: 7, db: 3, username: 'u', password: 'p@ss' }
		assert.deepEqual(parse('redis://u:p%40ss@h:7/3'), expected)
		assert.deepEqual(parse({ url: 'redis://u:p%40ss@h:7/3' }), expected)
		assert.deepEqual(parse({ host: 'h', port: 7, db: 3, username: 'u', password: 'p@ss' }), expected)
		assert.deepEqual(parse('redis://[::1]'), { host: '::1', port: 6379, db: 0 })
		assert.ok(parse('rediss://h').tls)
		assert.deepEqual(parse({ cluster: ['a:1', 'b:2'] }).cluster, [
			{ host: 'a', port: 1 },
			{ host: 'b', port: 2 },
		])
	})

	it('never shows what may hold a password', () => {
		assert.throws(
			() => parseRedis('http://user:secret@h', 'options.coordinationStore'),
			(error) => error.code === 'ERR_OPTION' && !error.message.includes('secret'),
		)
	})

	const refused = [
		['localhost:6379', /^options\.coordinationStore: not a Redis URL/],
		['redis://h/x', /^options\.coordinationStore: "x" is not a database number/],
		['redis://h:0', /^options\.coordinationStore: 0 is not a port/],
		['redis://h?db=3', /^options\.coordinationStore: more than a database stands behind the host/],
		['redis://us%er@h', /^options\.coordinationStore: its login is not percent-encoded/],
		[{ host: 'h', port: 'x' }, /^options\.coordinationStore\.port: a string is not a whole number/],
		[{ url: 'nonsense' }, /^options\.coordinationStore\.url: not a Redis URL/],
	]
	for (const [value, message] of refused) {
		it(`refuses ${JSON.stringify(value)}`, () => {
			assert.throws(() => parseRedis(value, 'options.coordinationStore'), { code: 'ERR_OPTION', message })
		})
	}
})
