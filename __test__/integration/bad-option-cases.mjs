/**
 * Bad settings, and bad options of what works without an adapter: the part of `bad-input-cases.mjs` that asks no service.
 */
import {
	CassandraContext,
	createKafkaReconciler,
	ensureSchema,
	migrateContexts,
	RedisCoordinationStore,
	sweepRuns,
} from '../../src/js/index.js'
import { planOf } from '../../src/js/session/queue-retries.js'

/** A value as a user writes it. @param {unknown} value @returns {string} */
const literal = (value) => {
	if (typeof value === 'string') return `'${value}'`
	if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
	if (typeof value !== 'object' || value === null) return String(value)
	const fields = Object.entries(value).map(
		([name, field]) => `${/\W/.test(name) ? `'${name}'` : name}: ${literal(field)}`,
	)
	return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`
}

/** @param {Record<string, unknown>} options of which the last one is bad @param {string} message */
const row = (options, message) => ({
	input: `\`${literal(options).slice(2, -2)}\``,
	options,
	code: 'ERR_OPTION',
	message,
})

const B = { brokers: ['a:1'] }
const C = { contactPoints: ['a'] }
const R = { host: 'a' }
/** @param {Record<string, unknown>} settings @param {string} message */
const kafka = (settings, message) => row({ kafka: { ...B, ...settings } }, `options.kafka.${message}`)
/** @param {Record<string, unknown>} settings @param {string} message */
const cassandra = (settings, message) =>
	row({ cassandraClient: { ...C, ...settings } }, `options.cassandraClient.${message}`)
/** @param {Record<string, unknown>} settings @param {string} message */
const redis = (settings, message) =>
	row({ coordinationStore: { ...R, ...settings } }, `options.coordinationStore.${message}`)
/** @param {Record<string, unknown>} settings @param {string} message */
const runtime = (settings, message) => row({ runtimeOptions: settings }, `options.runtimeOptions.${message}`)

const TLS = 'Give true, or { ca, cert, key, ... }'
const PEM = 'is not PEM text, a buffer or a list of them. Give the content of a PEM file'
const HOUR = 'is not a whole number from 1 to 3600000'
const TIMER = 'is not a whole number from 1 to 2147483647'
const PORT = 'is not a whole number from 1 to 65535'
const LOGIN = 'Give { username, password }'
const ADDRESS = 'is not an address. Write "host:port" or { host, port }; a login stands beside the list'
const NAME = 'Use letters, digits and "_", beginning with a letter'
const NAMES = 'Give the names of keyspace and tables'
const TABLES = 'Give a cassandra-driver Client, contact points or settings'
const KEYSPACE = 'Give the keyspace that holds your tables'

/** Refused by the constructor of the adapter. */
export const SETTINGS = [
	{
		...row(
			{ kafka: { producer() {} } },
			'options.kafka: "consumer" is no method of it. Give a kafkajs Kafka, brokers, settings, or backend: "embedded"',
		),
		input: '`kafka: { producer() {} }`',
	},
	row(
		{ kafka: undefined, brokers: 7 },
		'options.brokers: no list of brokers. Write ["host:port", ...] or "host:port,host:port"',
	),
	kafka({ clientId: 7 }, 'clientId: a number is not a string. Leave it out for "flowcraft"'),
	kafka({ ssl: 'yes' }, `ssl: a string is not true, false or an object. ${TLS}`),
	kafka({ ssl: { ca: 7 } }, `ssl.ca: 7 ${PEM}`),
	kafka({ ssl: { cert: {} } }, `ssl.cert: an object ${PEM}`),
	kafka({ ssl: { key: 7 } }, 'ssl.key: 7 is not PEM text or a buffer. Give the content of a PEM file'),
	kafka({ ssl: { passphrase: 7 } }, 'ssl.passphrase: a number is not a string. Leave it out where the key has none'),
	kafka(
		{ ssl: { rejectUnauthorized: 'no' } },
		'ssl.rejectUnauthorized: a string is not true or false. Leave it out for the default',
	),
	kafka(
		{ ssl: { servername: 7 } },
		'ssl.servername: 7 is not a string with something in it. Leave it out for the host',
	),
	kafka({ sasl: 'plain' }, 'sasl: a string is not an object. Give { mechanism, username, password }'),
	kafka({ sessionTimeoutMs: -1 }, `sessionTimeoutMs: -1 ${HOUR}. The default is 10000`),
	kafka({ sessionTimeoutMs: '9 s' }, `sessionTimeoutMs: a string ${HOUR}. The default is 10000`),
	kafka({ heartbeatIntervalMs: 0.5 }, `heartbeatIntervalMs: 0.5 ${HOUR}. The default is 1000`),
	kafka(
		{ sessionTimeoutMs: 6000, heartbeatIntervalMs: 6000 },
		'heartbeatIntervalMs: heartbeats every 6000 ms are not within a session timeout of 6000 ms. Let heartbeatIntervalMs be about a third of sessionTimeoutMs',
	),
	kafka({ lingerMs: -1 }, 'lingerMs: -1 is not a number from 0 to 900000. The default is 0.5'),
	...[
		[7, '7'],
		['', 'an empty string'],
	].map(([groupInstanceId, shown]) =>
		kafka(
			{ groupInstanceId },
			`groupInstanceId: ${shown} is not a string with something in it. Give each worker a name of its own, or leave it out`,
		),
	),
	kafka({ properties: [] }, 'properties: an empty list is not an object. Give { "name of librdkafka": "value" }'),
	kafka(
		{ properties: { 'linger.ms': 5 } },
		'properties["linger.ms"]: a number is not a string. Put it in quotes: librdkafka takes text',
	),
	row(
		{ cassandraClient: {} },
		'options.cassandraClient: neither settings nor an object with "execute". Give a cassandra-driver Client, contact points, settings, or backend: "embedded"',
	),
	row(
		{ cassandraClient: ['a:99999'] },
		'options.cassandraClient[0]: "a:99999" is not an address. Write "host" or "host:port"',
	),
	cassandra({ port: 'x' }, `port: a string ${PORT}. The default is 9042`),
	cassandra(
		{ localDataCenter: 7 },
		'localDataCenter: 7 is not a string with something in it. Leave it out for the data centre of the first node that answers',
	),
	cassandra({ keyspace: 7 }, `keyspace: 7 is not a string with something in it. ${KEYSPACE}`),
	cassandra({ credentials: 'me' }, `credentials: a string is not an object. ${LOGIN}`),
	cassandra({ credentials: { username: 'me' } }, `credentials.password: missing. ${LOGIN}`),
	cassandra(
		{ credentials: { username: 'me', password: 7 } },
		`credentials.password: a number is not a string. ${LOGIN}`,
	),
	cassandra({ sslOptions: 'yes' }, `sslOptions: a string is not true, false or an object. ${TLS}`),
	cassandra({ sslOptions: { ca: 7 } }, `sslOptions.ca: 7 ${PEM}`),
	cassandra({ socketOptions: 5000 }, 'socketOptions: 5000 is not an object. Give { connectTimeout, readTimeout }'),
	cassandra(
		{ socketOptions: { connectTimeout: -5 } },
		`socketOptions.connectTimeout: -5 ${TIMER}. The default is 5000`,
	),
	cassandra(
		{ socketOptions: { readTimeout: '10 s' } },
		`socketOptions.readTimeout: a string ${TIMER}. The default is 10000`,
	),
	row(
		{ keyspace: undefined, cassandraClient: { ...C, keyspace: 'my keyspace' } },
		`options.cassandraClient.keyspace: "my keyspace" is not a CQL identifier. ${NAME}`,
	),
	row(
		{ coordinationStore: [] },
		'options.coordinationStore: an empty list is no store. Give a RedisCoordinationStore, settings or a Redis URL',
	),
	row(
		{ coordinationStore: { hots: 'a' } },
		'options.coordinationStore: neither settings nor an object with the methods of a store. Give a RedisCoordinationStore, settings or a Redis URL',
	),
	row(
		{ coordinationStore: 'redis://us%er@a' },
		'options.coordinationStore: its login is not percent-encoded. Write "%25" for "%", or give username and password',
	),
	row(
		{ coordinationStore: { url: 'a:6379' } },
		'options.coordinationStore.url: not a Redis URL. Write "redis://[user:password@]host:port[/db]" or "rediss://..."',
	),
	redis({ host: 7 }, 'host: 7 is not a string with something in it. The default is "127.0.0.1"'),
	redis({ port: 70000 }, `port: 70000 ${PORT}. The default is 6379`),
	redis({ username: 7 }, 'username: a number is not a string. Leave it out for the default user'),
	redis({ password: 7 }, 'password: a number is not a string. Put it in quotes'),
	redis({ db: -1 }, 'db: -1 is not a whole number of at least 0. The default is 0'),
	redis({ tls: 'yes' }, `tls: a string is not true, false or an object. ${TLS}`),
	redis({ tls: { ca: 7 } }, `tls.ca: 7 ${PEM}`),
	redis({ keyPrefix: 7 }, 'keyPrefix: a number is not a string. Leave it out for none'),
	redis({ connectTimeout: '5 s' }, `connectTimeout: a string ${TIMER}. The default is 5000`),
	redis({ commandTimeout: -5 }, `commandTimeout: -5 ${TIMER}. The default is 5000`),
	row(
		{ coordinationStore: { cluster: 'a:1' } },
		'options.coordinationStore.cluster: a string is not a list with something in it. Write ["host:port", ...]',
	),
	row({ coordinationStore: { cluster: ['a:99999'] } }, `options.coordinationStore.cluster[0]: a string ${ADDRESS}`),
	row(
		{ coordinationStore: { cluster: ['a:1'], db: 3 } },
		'options.coordinationStore.db: of no use to a cluster. Leave it out, or options.coordinationStore.cluster',
	),
	row(
		{ coordinationStore: { sentinels: [] } },
		'options.coordinationStore.sentinels: an empty list is not a list with something in it. Write [{ host, port }, ...]',
	),
	row(
		{ coordinationStore: { sentinels: [{ host: 'a', port: 0 }] } },
		`options.coordinationStore.sentinels[0]: an object ${ADDRESS}`,
	),
	...[
		['name', '7 is not a string with something in it. Give the name under which the sentinels know the server'],
		['sentinelUsername', 'a number is not a string. Leave it out for the default user'],
		['sentinelPassword', 'a number is not a string. Put it in quotes'],
	].map(([name, text]) =>
		row({ coordinationStore: { sentinels: [{ host: 'a' }], [name]: 7 } }, `options.coordinationStore.${name}: ${text}`),
	),
	row(
		{ topicName: 'jobs', deadLetterTopic: 'jobs' },
		'options.deadLetterTopic: "jobs" is the topic of the jobs. Use another one, for example "jobs.dead-letters"',
	),
	row({ strict: 'yes' }, 'options.strict: "yes" is not true or false. The default is false'),
	row(
		{ consistency: ['ONE'] },
		'options.consistency: a list is not known. Use one of ONE, TWO, THREE, QUORUM, ALL, LOCAL_QUORUM, EACH_QUORUM, LOCAL_ONE',
	),
	row(
		{ topicPartitions: 2 ** 40 },
		`options.topicPartitions: 1099511627776 ${TIMER}. The default is what the brokers are set to`,
	),
	...[0, '5', 2 ** 40].map((value) =>
		row(
			{ poisonOpenings: value },
			`options.poisonOpenings: ${JSON.stringify(value)} is not a whole number from 1 to 4294967295. The default is 5`,
		),
	),
	row({ startTimeoutMs: 2 ** 40 }, `options.startTimeoutMs: 1099511627776 ${TIMER}, or Infinity. The default is 10000`),
	...[0, '60', 3_000_000].map((value) =>
		row(
			{ reconcileEverySeconds: value },
			`options.reconcileEverySeconds: ${JSON.stringify(value)} is not a whole number from 1 to 2147483. The default is not to look`,
		),
	),
	...[0, '60', 3_000_000].map((value) =>
		row(
			{ sweepEverySeconds: value },
			`options.sweepEverySeconds: ${JSON.stringify(value)} is not a whole number from 1 to 2147483. The default is 3600`,
		),
	),
	row(
		{ eventBus: 7 },
		'options.eventBus: 7 is not an object with emit. Give a bus as FlowRuntime takes it, or leave it out',
	),
	row(
		{ runtimeOptions: 7 },
		'options.runtimeOptions: a number is not an object. Give the options of your FlowRuntime, for example runtime.options',
	),
	runtime({ blueprints: 7 }, 'blueprints: 7 is not an object. Give { "id of a blueprint": blueprint }'),
	runtime(
		{ registry: 'nodes' },
		'registry: a string is not an object. Give { "name of an implementation": a function or class }',
	),
	runtime({ logger: {} }, 'logger: "debug" is no method of it. Give a logger as FlowRuntime takes it, or leave it out'),
	runtime({ eventBus: {} }, 'eventBus: "emit" is no method of it. Give a bus as FlowRuntime takes it, or leave it out'),
]

const names = { keyspace: 'ks', contextTableName: 'contexts', statusTableName: 'statuses' }
const reconciler = {
	adapter: { reconcile: async () => new Set() },
	cassandraClient: 'a',
	keyspace: 'ks',
	statusTableName: 'statuses',
	stalledThresholdSeconds: 60,
}
/** A status table without rows. */
const empty = { execute: async () => ({ rows: [] }) }

const THRESHOLD =
	'is not a number from 0 to 315360000. Give the seconds after which a run without a change counts as stalled'
const SIGNAL = 'is not an AbortSignal. Give the signal of an AbortController'

/** @param {string} name of the client @returns what everything refuses that is given a client and a keyspace */
const place = (name) => [
	row({ [name]: undefined }, `options.${name}: missing. ${TABLES}`),
	row({ [name]: 7 }, `options.${name}: a number is no client. ${TABLES}`),
	row({ [name]: {} }, `options.${name}: neither settings nor an object with "execute". ${TABLES}`),
	row({ [name]: { ...C, port: 'x' } }, `options.${name}.port: a string ${PORT}. The default is 9042`),
	row({ keyspace: undefined }, `options.keyspace: missing. ${KEYSPACE}`),
	row({ keyspace: 'a.b' }, `options.keyspace: "a.b" is not a CQL identifier. ${NAME}`),
]

/** @param {string} name */
const table = (name) => [
	row({ [name]: undefined }, `options.${name}: missing. ${NAMES}`),
	row({ [name]: '1st' }, `options.${name}: "1st" is not a CQL identifier. ${NAME}`),
]

/**
 * What works without an adapter.
 *
 * @typedef {object} Door
 * @property {string} name as a user calls it
 * @property {string} root of the paths in its messages
 * @property {string} type of what it is given, in index.d.ts
 * @property {Record<string, unknown>} good options, over which the bad ones are put
 * @property {(options: any) => unknown} call throws or rejects
 * @property {ReturnType<typeof row>[]} rows
 */
/** @type {Door[]} */
export const DOORS = [
	{
		name: 'createKafkaReconciler(options)',
		root: 'options',
		type: 'KafkaReconcilerOptions',
		good: reconciler,
		call: (options) => createKafkaReconciler(options),
		rows: [
			row({ adapter: undefined }, 'options.adapter: missing. Give a KafkaAdapter'),
			row({ adapter: {} }, 'options.adapter: "reconcile" is no method of it. Give a KafkaAdapter'),
			...place('cassandraClient'),
			...table('statusTableName'),
			row(
				{ stalledThresholdSeconds: undefined },
				'options.stalledThresholdSeconds: missing. Give the seconds after which a run without a change counts as stalled',
			),
			row({ stalledThresholdSeconds: '5' }, `options.stalledThresholdSeconds: a string ${THRESHOLD}`),
			row({ stalledThresholdSeconds: NaN }, `options.stalledThresholdSeconds: NaN ${THRESHOLD}`),
			row({ stalledThresholdSeconds: -1 }, `options.stalledThresholdSeconds: -1 ${THRESHOLD}`),
			row(
				{ fullSearchEverySeconds: 0 },
				'options.fullSearchEverySeconds: 0 is not a whole number of at least 1, or Infinity. The default is 3600',
			),
			row({ logger: {} }, 'options.logger: "info" is no method of it. Leave it out for the adapter\'s'),
		],
	},
	{
		name: 'run(options) of a reconciler',
		root: 'options',
		type: 'ReconciliationOptions',
		good: {},
		call: (options) => createKafkaReconciler({ ...reconciler, cassandraClient: empty }).run(options),
		rows: [
			row({ limit: 0 }, 'options.limit: 0 is not a whole number of at least 1, or Infinity. The default is all'),
			row({ concurrency: 1.5 }, 'options.concurrency: 1.5 is not a whole number from 1 to 10000. The default is 1'),
			row({ signal: 7 }, `options.signal: 7 ${SIGNAL}`),
		],
	},
	{
		name: "new CassandraContext('a run', options)",
		root: 'options',
		type: 'CassandraContextOptions',
		good: { client: 'a', keyspace: 'ks', tableName: 'contexts' },
		call: (options) => new CassandraContext('a run', options),
		rows: [
			...place('client'),
			...table('tableName'),
			row({ maxValueBytes: 0 }, 'options.maxValueBytes: 0 is not a whole number of at least 1. The default is 8388608'),
		],
	},
	{
		name: 'new RedisCoordinationStore(redis)',
		root: 'redis',
		type: 'RedisSettings',
		good: {},
		call: ({ redis: client }) => new RedisCoordinationStore(client),
		rows: [
			row({ redis: undefined }, 'redis: undefined is no client. Give an ioredis client, settings or a Redis URL'),
			row({ redis: {} }, 'redis: an object is no client. Give an ioredis client, settings or a Redis URL'),
			row(
				{ redis: 'localhost' },
				'redis: not a Redis URL. Write "redis://[user:password@]host:port[/db]" or "rediss://..."',
			),
			row({ redis: { ...R, password: 7 } }, 'redis.password: a number is not a string. Put it in quotes'),
		],
	},
	{
		name: 'ensureSchema(options)',
		root: 'options',
		type: 'SchemaTables & SchemaOptions',
		good: { cassandraClient: 'a', ...names },
		call: (options) => ensureSchema(options),
		rows: [
			...place('cassandraClient'),
			...table('contextTableName'),
			...table('statusTableName'),
			row({ layout: 'rows' }, 'options.layout: "rows" is not known. Use one of document, entries'),
			row(
				{ replication: 0 },
				'options.replication: not a replication. Give a number of replicas, { "a data centre": 3 }, or { class: "...", ... } as in CQL',
			),
			row(
				{ ttlSeconds: '60' },
				'options.ttlSeconds: "60" is not a whole number of seconds up to 630720000. 0 keeps the rows for ever',
			),
		],
	},
	{
		name: 'migrateContexts(options)',
		root: 'options',
		type: 'MigrationOptions',
		good: { cassandraClient: 'a', keyspace: 'ks', from: 'contexts', to: 'entries' },
		call: (options) => migrateContexts(options),
		rows: [
			...place('cassandraClient'),
			...table('from'),
			...table('to'),
			row({ to: 'contexts' }, 'options.to: "contexts" is the source, too. Give a table in layout entries'),
			row({ mode: 'all' }, 'options.mode: "all" is not known. Use one of look, copy, move'),
			row(
				{ runsPerSecond: 0 },
				'options.runsPerSecond: 0 is not a whole number of at least 1, or Infinity. The default is 200',
			),
			row({ concurrency: '8' }, 'options.concurrency: "8" is not a whole number from 1 to 10000. The default is 8'),
			row({ signal: {} }, `options.signal: an object ${SIGNAL}`),
			row({ onProgress: true }, 'options.onProgress: a boolean is not a function. Leave it out where nobody looks'),
		],
	},
	{
		name: 'sweepRuns(options)',
		root: 'options',
		type: 'SweepOptions',
		good: { ...names, cassandraClient: 'a', retentionSeconds: 60 },
		call: (options) => sweepRuns(options),
		rows: [
			...place('cassandraClient'),
			...table('contextTableName'),
			...table('statusTableName'),
			row(
				{ retentionSeconds: undefined },
				'options.retentionSeconds: missing. Give the seconds for which a run is kept after its end',
			),
			row(
				{ retentionSeconds: 0 },
				'options.retentionSeconds: 0 is not a whole number of at least 1. The default is to keep runs for ever',
			),
			row(
				{ runsPerSecond: 0 },
				'options.runsPerSecond: 0 is not a whole number of at least 1, or Infinity. The default is 200',
			),
			row({ concurrency: '4' }, 'options.concurrency: "4" is not a whole number from 1 to 10000. The default is 4'),
			row({ signal: {} }, `options.signal: an object ${SIGNAL}`),
			row({ onProgress: true }, 'options.onProgress: a boolean is not a function. Leave it out where nobody looks'),
		],
	},
	{
		name: 'what getQueueRetryOptions answers (the node fails with it)',
		root: 'getQueueRetryOptions()',
		type: 'QueueRetryOptions',
		good: {},
		call: (options) => planOf(/** @type {any} */ ({}), options),
		rows: [
			row(
				{ backoff: 'linear' },
				'getQueueRetryOptions().backoff: "linear" is not known. Use milliseconds, or { type, delay, jitter }',
			),
			row(
				{ backoff: { type: 'linear' } },
				'getQueueRetryOptions().backoff.type: "linear" is not known. Use "exponential" or "fixed"',
			),
			row(
				{ backoff: { jitter: 2 } },
				'getQueueRetryOptions().backoff.jitter: 2 is not from 0 to 1. The default is 0.5',
			),
		],
	},
]
