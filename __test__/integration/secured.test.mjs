/**
 * Services that ask for TLS and an account, as those of production do: from plain settings and from genuine clients. On services of
 * its own, since those of the other tests are open.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import cassandraDriver from 'cassandra-driver'
import { NullLogger } from 'flowcraft'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { KafkaAdapter, RedisCoordinationStore, ensureSchema } from '../../src/js/index.js'
import { startServices } from '../services/services.mjs'
import { ACCOUNT } from '../services/tls.mjs'
import { recorder, unique } from '../support/cluster.mjs'

/** Cassandra's own first account. */
const CASSANDRA_ACCOUNT = { username: 'cassandra', password: 'cassandra' }
const WRONG = 'not-the-password-91c2'
const ONE_RUN = fileURLToPath(new URL('one-run-main.mjs', import.meta.url))
const keyspace = unique('secured')
const tables = { keyspace, contextTableName: 'contexts', statusTableName: 'statuses' }
const blueprint = {
	id: 'pair',
	nodes: [
		{ id: 'a', uses: 'value' },
		{ id: 'b', uses: 'value' },
	],
	edges: [{ source: 'a', target: 'b' }],
}
const registry = { value: async (/** @type {any} */ { input }) => ({ output: `${input ?? 'begun'}.` }) }

/** @type {import('../services/services.mjs').Services} */
let services
/** @type {string} PEM */
let ca
/** @type {string} PEM, of an authority that nobody here is certified by */
let strangerCa

before(async () => {
	services = await startOwn()
	const { tls } = services
	;[ca, strangerCa] = [tls?.ca, tls?.strangerCa].map((path) => readFileSync(/** @type {string} */ (path), 'utf8'))
	await ensureSchema({ cassandraClient: settings().cassandraClient, ...tables, replication: 1 })
})
after(() => services?.stop())

/** Addresses in the environment are those of open services. */
async function startOwn() {
	const names = ['KAFKA_BROKERS', 'CASSANDRA_CONTACT_POINTS', 'REDIS_URL']
	const kept = names.map((name) => process.env[name])
	for (const name of names) delete process.env[name]
	try {
		return await startServices({ secured: true, log: () => {} })
	} finally {
		for (const [at, name] of names.entries()) if (kept[at] !== undefined) process.env[name] = kept[at]
	}
}

const port = (/** @type {'kafka' | 'cassandra' | 'redis'} */ name) =>
	/** @type {import('../services/service.mjs').Service} */ (services[name]).securedPort

/** Written down. @param {any} [more] what is different, by service */
function settings({ kafka, cassandra, redis } = /** @type {any} */ ({})) {
	return {
		kafka: {
			brokers: [`127.0.0.1:${port('kafka')}`],
			ssl: { ca },
			sasl: { mechanism: 'scram-sha-512', ...ACCOUNT },
			...kafka,
		},
		cassandraClient: {
			contactPoints: [`127.0.0.1:${port('cassandra')}`],
			localDataCenter: 'datacenter1',
			credentials: CASSANDRA_ACCOUNT,
			sslOptions: { ca, rejectUnauthorized: true },
			...cassandra,
		},
		coordinationStore: { host: '127.0.0.1', port: port('redis'), ...ACCOUNT, tls: { ca }, ...redis },
	}
}

/** What a broker takes whose tokens nobody signs. */
function unsignedToken() {
	const now = Math.floor(Date.now() / 1_000)
	const part = (/** @type {any} */ value) => Buffer.from(JSON.stringify(value)).toString('base64url')
	return `${part({ alg: 'none' })}.${part({ sub: ACCOUNT.username, iat: now, exp: now + 600 })}.`
}

/** @param {any} clients @param {(adapter: KafkaAdapter, logger: ReturnType<typeof recorder>) => Promise<void>} work */
async function withAdapter(clients, work) {
	const logger = recorder()
	const topic = unique('secured').replaceAll('_', '-')
	const adapter = new KafkaAdapter({
		...clients,
		...tables,
		topicName: topic,
		groupId: `${topic}-workers`,
		runtimeOptions: { blueprints: { pair: blueprint }, registry, logger: new NullLogger() },
	})
	adapter.logger = logger
	try {
		await work(adapter, logger)
	} finally {
		await adapter.stop()
	}
}

/** @param {any} clients */
const completesRun = (clients) =>
	withAdapter(clients, async (adapter) => {
		await adapter.start()
		const { status, payload } = await (await adapter.startRun('pair', {})).result()
		assert.deepEqual([status, payload.context.b], ['completed', 'begun..'])
	})

describe('services with TLS and accounts', () => {
	for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'])
		test(`plain settings: a run completes (${mechanism})`, () =>
			completesRun(settings({ kafka: { sasl: { mechanism, ...ACCOUNT } } })))

	test('plain settings: a run completes (oauthbearer)', async () => {
		let asked = 0
		const oauthBearerProvider = async () => (asked++, { value: unsignedToken() })
		await completesRun(settings({ kafka: { sasl: { mechanism: 'oauthbearer', oauthBearerProvider } } }))
		assert.ok(asked > 0)
	})

	test('genuine clients: a run completes', async () => {
		const cassandra = new cassandraDriver.Client({
			contactPoints: [`127.0.0.1:${port('cassandra')}`],
			localDataCenter: 'datacenter1',
			sslOptions: { ca, rejectUnauthorized: true },
			authProvider: new cassandraDriver.auth.PlainTextAuthProvider('cassandra', 'cassandra'),
		})
		const redis = new Redis({ host: '127.0.0.1', port: port('redis'), ...ACCOUNT, tls: { ca } })
		try {
			const kafka = new Kafka({
				brokers: [`127.0.0.1:${port('kafka')}`],
				ssl: { ca },
				sasl: { mechanism: 'scram-sha-256', ...ACCOUNT },
				logLevel: logLevel.NOTHING,
			})
			await completesRun({ kafka, cassandraClient: cassandra, coordinationStore: new RedisCoordinationStore(redis) })
		} finally {
			redis.disconnect()
			await cassandra.shutdown()
		}
	})

	/** A worker in a process of its own that names no authority. @param {Record<string, string>} env */
	const runElsewhere = async (env) => {
		const { kafka, cassandraClient, coordinationStore } = settings({
			kafka: { ssl: true },
			cassandra: { sslOptions: { rejectUnauthorized: true } },
			redis: { tls: {} },
		})
		const topicName = unique('secured').replaceAll('_', '-')
		const config = { kafka, cassandraClient, coordinationStore, ...tables, topicName, groupId: `${topicName}-workers` }
		const { stdout } = await promisify(execFile)(process.execPath, [ONE_RUN, JSON.stringify(config)], {
			env: { ...process.env, ...env },
			timeout: 60_000,
		})
		return stdout.trim()
	}

	test('NODE_EXTRA_CA_CERTS: its authorities are trusted by all three, and without it none is', async () => {
		const path = /** @type {string} */ (services.tls?.ca)
		assert.equal(await runElsewhere({ NODE_EXTRA_CA_CERTS: path }), 'completed')
		await assert.rejects(runElsewhere({ NODE_EXTRA_CA_CERTS: '' }), (error) => {
			assert.match(/** @type {any} */ (error).stderr, /ERR_\w+_UNREACHABLE|ERR_KAFKA|ERR_CASSANDRA|ERR_COORDINATION/)
			assert.match(/** @type {any} */ (error).stderr, /certificate/i)
			return true
		})
	})

	/** @type {[string, () => any, RegExp, RegExp][]} */
	const refused = [
		[
			'a wrong password of Kafka',
			() => ({ kafka: { sasl: { mechanism: 'scram-sha-512', ...ACCOUNT, password: WRONG } } }),
			/^ERR_KAFKA/,
			/Kafka.*authentication/is,
		],
		['an unknown authority of Kafka', () => ({ kafka: { ssl: { ca: strangerCa } } }), /^ERR_KAFKA/, /certificate/i],
		[
			'a wrong password of Cassandra',
			() => ({ cassandra: { credentials: { ...CASSANDRA_ACCOUNT, password: WRONG } } }),
			/^ERR_CASSANDRA/,
			/username|password|authentication/i,
		],
		[
			'an unknown authority of Cassandra',
			() => ({ cassandra: { sslOptions: { ca: strangerCa, rejectUnauthorized: true } } }),
			/^ERR_CASSANDRA/,
			/certificate/i,
		],
		[
			'a wrong password of Redis',
			() => ({ redis: { password: WRONG } }),
			/^ERR_COORDINATION/,
			/WRONGPASS|authentication|password/i,
		],
		[
			'an unknown authority of Redis',
			() => ({ redis: { tls: { ca: strangerCa } } }),
			/^ERR_COORDINATION/,
			/certificate/i,
		],
	]
	for (const [name, more, code, message] of refused)
		test(`${name}: start() says so, and no secret`, () =>
			withAdapter(settings(more()), async (adapter, logger) => {
				const error = /** @type {any} */ (
					await adapter.start().then(
						() => assert.fail('it has started'),
						(reason) => reason,
					)
				)
				assert.match(String(error.code), code)
				assert.match(error.message, message)
				assert.match(error.message, /127\.0\.0\.1/)
				const told = [error.message, error.stack, JSON.stringify(logger.lines)].join('\n')
				for (const secret of [WRONG, ACCOUNT.password]) assert.ok(!told.includes(secret), `${secret} was told`)
			}))
})
