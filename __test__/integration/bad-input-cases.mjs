/**
 * Bad input: what comes in, what is said about it, and that the worker goes on. `docs/bad-input.md` is made of this table
 * (`node __test__/integration/bad-input-doc.mjs`), and `bad-input.test.mjs` runs each row on real services.
 *
 * In `message`, `<...>` stands for what differs from case to case.
 */
import { closedPort } from '../support/faults.mjs'
import { SETTINGS } from './bad-option-cases.mjs'

const ID_LIMIT = 1024
const MESSAGE_LIMIT = 64 * 1024

/**
 * @typedef {object} OptionCase
 * @property {string} input as a user writes it
 * @property {Record<string, unknown>} options put over good ones
 * @property {string} code
 * @property {string} message
 */

const WHOLE = [
	['maxConcurrentJobs', 256],
	['maxConcurrentJobsPerRun', 32],
	['maxLoadedRuns', 256],
	['maxLoadedBytes', 268435456],
	['maxWaitingMessages', 10000],
	['maxValueBytes', 8388608],
	['warnValueBytes', 1048576],
	['maxHistoryVisits', 100],
	['leaseTtlMs', 8000],
	['revokeGraceMs', 5000],
	['maxStallMs', 60000],
	['retentionSeconds', 'to keep runs for ever'],
]

/** @param {string} input @param {Record<string, unknown>} options @param {string} message @returns {OptionCase} */
const option = (input, options, message) => ({ input, options, code: 'ERR_OPTION', message })

const NAME = 'Use letters, digits and "_", beginning with a letter'
const UNQUOTED = 'Use a table with a name of lower-case letters, digits and "_"'
const LONG_NAME = 'has 49 characters. Cassandra takes 48 at most: use a shorter name'
const TOPIC = 'Use up to 249 letters, digits, ".", "_" and "-"'

const GOOD_HOOKS = { baseUrl: 'https://example.com/hooks', secret: 's'.repeat(32) }
const BASE_URL =
	'options.webhooks.baseUrl: not an http or https URL without query, fragment and login. ' +
	'Give the public address under which requests reach handleWebhook, for example "https://example.com/hooks"'
const SECRET = 'Give at least 32 random bytes, the same to all workers'

/** @param {string} input @param {unknown} webhooks @param {string} message */
const hooks = (input, webhooks, message) => option(`\`webhooks: ${input}\``, { webhooks }, message)

const WEBHOOKS = [
	hooks('true', true, 'options.webhooks: not an object. Give { baseUrl, secret }, or leave it out'),
	hooks('{ secret }', { secret: GOOD_HOOKS.secret }, BASE_URL),
	...['/hooks', 'ftp://example.com', 'https://me:word@example.com', 'https://example.com/?a=1'].map((baseUrl) =>
		hooks(`{ baseUrl: '${baseUrl}', secret }`, { ...GOOD_HOOKS, baseUrl }, BASE_URL),
	),
	hooks(
		'{ baseUrl }',
		{ baseUrl: GOOD_HOOKS.baseUrl },
		`options.webhooks.secret: not a string or Uint8Array. ${SECRET}`,
	),
	hooks(
		"{ baseUrl, secret: 'short' }",
		{ ...GOOD_HOOKS, secret: 'short' },
		`options.webhooks.secret: 5 bytes are too few. ${SECRET}`,
	),
	hooks(
		'{ baseUrl, secret: [] }',
		{ ...GOOD_HOOKS, secret: [] },
		'options.webhooks.secret: an empty list. Give at least one secret',
	),
	hooks(
		'{ baseUrl, secret: [secret, 7] }',
		{ ...GOOD_HOOKS, secret: [GOOD_HOOKS.secret, 7] },
		`options.webhooks.secret[1]: not a string or Uint8Array. ${SECRET}`,
	),
	hooks(
		'{ baseUrl, tokens: new Map() }',
		{ ...GOOD_HOOKS, tokens: new Map() },
		'options.webhooks.tokens: "issue" is no method of it. Give an object with issue, find, claim, confirm, release, or a secret instead',
	),
	hooks(
		'{ baseUrl, secret, ttlMs: 0 }',
		{ ...GOOD_HOOKS, ttlMs: 0 },
		'options.webhooks.ttlMs: 0 is not a whole number from 1 to 315360000000. The default is 604800000',
	),
	hooks(
		"{ baseUrl, secret, maxBodyBytes: '1 MB' }",
		{ ...GOOD_HOOKS, maxBodyBytes: '1 MB' },
		'options.webhooks.maxBodyBytes: "1 MB" is not a whole number from 1 to 786432. The default is 262144',
	),
]

/**
 * What `handleWebhook` answers to requests that it does not take. `token` is a good one unless said otherwise.
 *
 * @type {{ input: string, status: number, error: string, path?: (token: string) => string, init?: RequestInit & { duplex?: 'half' } }[]}
 */
export const REQUESTS = [
	{ input: '`GET`', status: 405, error: 'use POST', init: { method: 'GET' } },
	{ input: 'no token', status: 404, error: 'there is nothing that waits here', path: () => '/' },
	{
		input: 'a token that was never made',
		status: 404,
		error: 'there is nothing that waits here',
		path: () => '/nothing',
	},
	{
		input: 'a token with a letter changed',
		status: 404,
		error: 'there is nothing that waits here',
		path: (token) => `/${token.slice(0, 20)}${token[20] === 'A' ? 'B' : 'A'}${token.slice(21)}`,
	},
	{
		input: 'a token with something behind it',
		status: 404,
		error: 'there is nothing that waits here',
		path: (token) => `/${token}=`,
	},
	{ input: 'a path that is no text', status: 404, error: 'there is nothing that waits here', path: () => '/%ff' },
	{
		input: 'a body that is not the JSON it says it is',
		status: 400,
		error: 'the body is not what its content-type says, or not UTF-8',
		init: { body: '{"a":', headers: { 'content-type': 'application/json' } },
	},
	{
		input: 'a body that is not UTF-8',
		status: 400,
		error: 'the body is not what its content-type says, or not UTF-8',
		init: { body: new Uint8Array([0xff, 0xfe]) },
	},
	{
		input: 'a body of more than `maxBodyBytes`',
		status: 413,
		error: 'a body has at most 262144 bytes',
		init: { body: 'x'.repeat(262145) },
	},
]

/** Refused by the constructor, before anything is asked. */
export const OPTIONS = [
	option(
		'`kafka: undefined`',
		{ kafka: undefined },
		'options.kafka: undefined is no client. Give a kafkajs Kafka, brokers, settings, or backend: "embedded"',
	),
	option(
		'`kafka: 7`',
		{ kafka: 7 },
		'options.kafka: a number is no client. Give a kafkajs Kafka, brokers, settings, or backend: "embedded"',
	),
	option(
		'`kafka: {}`',
		{ kafka: {} },
		'options.kafka.brokers: no list of brokers. Write ["host:port", ...] or "host:port,host:port"',
	),
	option(
		'`kafka: { brokers: [] }`',
		{ kafka: { brokers: [] } },
		'options.kafka.brokers: no broker is given. Give at least one "host:port"',
	),
	option(
		"`kafka: { brokers: ['localhost'] }`",
		{ kafka: { brokers: ['localhost'] } },
		'options.kafka.brokers[0]: "localhost" is not an address. Write "host:port", for example "127.0.0.1:9092"',
	),
	option(
		"`kafka: 'localhost:0'`",
		{ kafka: 'localhost:0' },
		'options.kafka[0]: "localhost:0" is not an address. Write "host:port", for example "127.0.0.1:9092"',
	),
	option(
		"`kafka: { brokers: ['a:1'], sasl: { mechanism: 'plain' } }`",
		{ kafka: { brokers: ['a:1'], sasl: { mechanism: 'plain' } } },
		'options.kafka.sasl.username: missing. Mechanism "plain" needs it as a string',
	),
	option(
		"`kafka: { brokers: ['a:1'], sasl: { mechanism: 'scram-sha-256', username: 'me', password: 7 } }`",
		{ kafka: { brokers: ['a:1'], sasl: { mechanism: 'scram-sha-256', username: 'me', password: 7 } } },
		'options.kafka.sasl.password: a number, not a string. Mechanism "scram-sha-256" needs it as a string',
	),
	option(
		"`kafka: { brokers: ['a:1'], sasl: { mechanism: 'oauthbearer' } }`",
		{ kafka: { brokers: ['a:1'], sasl: { mechanism: 'oauthbearer' } } },
		'options.kafka.sasl.oauthBearerProvider: missing. Mechanism "oauthbearer" needs it as a function',
	),
	option(
		"`kafka: { brokers: ['a:1'], sasl: { mechanism: 'gssapi' } }`",
		{ kafka: { brokers: ['a:1'], sasl: { mechanism: 'gssapi' } } },
		'options.kafka.sasl.mechanism: "gssapi" is not known. Use one of plain, scram-sha-256, scram-sha-512, oauthbearer, or pass a kafkajs client',
	),
	option(
		"`brokers: 'localhost'`",
		{ kafka: undefined, brokers: 'localhost' },
		'options.brokers[0]: "localhost" is not an address. Write "host:port", for example "127.0.0.1:9092"',
	),
	option(
		'`cassandraClient: []`',
		{ cassandraClient: [] },
		'options.cassandraClient: no contact point is given. Give at least one "host:port"',
	),
	option(
		'`cassandraClient: 7`',
		{ cassandraClient: 7 },
		'options.cassandraClient: a number is no client. Give a cassandra-driver Client, contact points, settings, or backend: "embedded"',
	),
	option(
		'`cassandraClient: { contactPoints: [1] }`',
		{ cassandraClient: { contactPoints: [1] } },
		'options.cassandraClient.contactPoints[0]: a number is not an address. Write "host" or "host:port"',
	),
	option(
		"`coordinationStore: 'localhost'`",
		{ coordinationStore: 'localhost' },
		'options.coordinationStore: not a Redis URL. Write "redis://[user:password@]host:port[/db]" or "rediss://..."',
	),
	option(
		'`coordinationStore: 7`',
		{ coordinationStore: 7 },
		'options.coordinationStore: a number is no store. Give a RedisCoordinationStore, settings or a Redis URL',
	),
	option(
		"`coordinationStore: { cluster: ['a:1'], tls: true }`",
		{ coordinationStore: { cluster: ['a:1'], tls: true } },
		'options.coordinationStore.tls (of a cluster): not supported. Leave it out, or pass a client object',
	),
	option(
		"`coordinationStore: { host: 'a', tls: { servername: 'b' } }`",
		{ coordinationStore: { host: 'a', tls: { servername: 'b' } } },
		'options.coordinationStore.tls.servername: not supported. Leave it out, or pass a client object',
	),
	option(
		"`backend: 'memory'`",
		{ backend: 'memory' },
		'options.backend: not a backend. Use "embedded" or { embedded: "a name" }, or leave it out',
	),
	option(
		"`backend: { embedded: 'a', crashAfterCalls: 0 }`",
		{ backend: { embedded: 'a', crashAfterCalls: 0 } },
		'options.backend.crashAfterCalls: 0 is not a whole number of at least 1. Leave it out, but in tests',
	),
	option(
		"`topicName: 'my topic'`",
		{ topicName: 'my topic' },
		`options.topicName: "my topic" is not a topic name. ${TOPIC}`,
	),
	option('`topicName: 7`', { topicName: 7 }, `options.topicName: 7 is not a topic name. ${TOPIC}`),
	option("`topicName: '..'`", { topicName: '..' }, `options.topicName: ".." is not a topic name. ${TOPIC}`),
	option(
		'`topicName` of 250 characters',
		{ topicName: 'x'.repeat(250) },
		`options.topicName: "<topic>" is not a topic name. ${TOPIC}`,
	),
	option(
		"`deadLetterTopic: 'a/b'`",
		{ deadLetterTopic: 'a/b' },
		`options.deadLetterTopic: "a/b" is not a topic name. ${TOPIC}`,
	),
	option(
		'`groupId: 7`',
		{ groupId: 7 },
		'options.groupId: a number is not a string. The default is "flowcraft-workers"',
	),
	option(
		'`workerId: {}`',
		{ workerId: {} },
		'options.workerId: an object is not a string. The default is "<host, process id, random part>"',
	),
	option(
		'`keyspace: undefined`',
		{ keyspace: undefined },
		'options.keyspace: missing. Give the keyspace that holds your tables',
	),
	option(
		"`keyspace: 'ks; DROP TABLE x'`",
		{ keyspace: 'ks; DROP TABLE x' },
		`options.keyspace: "ks; DROP TABLE x" is not a CQL identifier. ${NAME}`,
	),
	option("`keyspace: ''`", { keyspace: '' }, `options.keyspace: "" is not a CQL identifier. ${NAME}`),
	option(
		`\`keyspace: '"Mixed"'\``,
		{ keyspace: '"Mixed"' },
		`options.keyspace: "Mixed" is quoted, which the native client does not take. ${UNQUOTED}`,
	),
	option(
		`\`statusTableName: '"Mixed"'\``,
		{ statusTableName: '"Mixed"' },
		`options.statusTableName: "Mixed" is quoted, which the native client does not take. ${UNQUOTED}`,
	),
	option('`keyspace` of 49 characters', { keyspace: 'x'.repeat(49) }, `options.keyspace: "<name>" ${LONG_NAME}`),
	option(
		'`contextTableName` of 49 characters',
		{ contextTableName: 'x'.repeat(49) },
		`options.contextTableName: "<name>" ${LONG_NAME}`,
	),
	option(
		'`statusTableName` of 49 characters',
		{ statusTableName: 'x'.repeat(49) },
		`options.statusTableName: "<name>" ${LONG_NAME}`,
	),
	option('`keyspace: 7`', { keyspace: 7 }, `options.keyspace: 7 is not a CQL identifier. ${NAME}`),
	option(
		'`retentionSeconds`, and a `cassandraClient` that is driven through its own methods',
		{ cassandraClient: { execute: async () => ({ rows: [] }) }, retentionSeconds: 60 },
		'options.retentionSeconds: ended runs cannot be deleted through JavaScript. Give a client whose settings can be read, or plain settings, or leave it out',
	),
	option(
		'`contextTableName: undefined`',
		{ contextTableName: undefined },
		'options.contextTableName: missing. Give the name of the table',
	),
	option(
		"`contextTableName: 'a.b'`",
		{ contextTableName: 'a.b' },
		`options.contextTableName: "a.b" is not a CQL identifier. ${NAME}`,
	),
	option(
		'`statusTableName: undefined`',
		{ statusTableName: undefined },
		'options.statusTableName: missing. Give the name of the table',
	),
	option(
		"`statusTableName: '1st'`",
		{ statusTableName: '1st' },
		`options.statusTableName: "1st" is not a CQL identifier. ${NAME}`,
	),
	option(
		"`consistency: 'ANY'`",
		{ consistency: 'ANY' },
		'options.consistency: "ANY" is not known. Use one of ONE, TWO, THREE, QUORUM, ALL, LOCAL_QUORUM, EACH_QUORUM, LOCAL_ONE',
	),
	option(
		"`schedule: 'waves'`",
		{ schedule: 'waves' },
		'options.schedule: "waves" is not known. Use one of eager, wave',
	),
	option(
		"`retryMode: 'queued'`",
		{ retryMode: 'queued' },
		'options.retryMode: "queued" is not known. Use one of in-process, queue',
	),
	option(
		"`enforceTimeouts: 'yes'`",
		{ enforceTimeouts: 'yes' },
		'options.enforceTimeouts: "yes" is not true or false. The default is false',
	),
	option('`dispatch: 1`', { dispatch: 1 }, 'options.dispatch: 1 is not known. Use one of topic, local'),
	option(
		"`native: 'always'`",
		{ native: 'always' },
		'options.native: "always" is not known. Use one of prefer, required',
	),
	option(
		"`startPosition: 'middle'`",
		{ startPosition: 'middle' },
		'options.startPosition: "middle" is not known. Use one of earliest, latest',
	),
	option(
		'`topicPartitions: 0`',
		{ topicPartitions: 0 },
		'options.topicPartitions: 0 is not a whole number from 1 to 2147483647. The default is what the brokers are set to',
	),
	option(
		"`startTimeoutMs: 'long'`",
		{ startTimeoutMs: 'long' },
		'options.startTimeoutMs: "long" is not a whole number from 1 to 2147483647, or Infinity. The default is 10000',
	),
	...WEBHOOKS,
	...SETTINGS,
	option(
		'`runtimeOptions: undefined`',
		{ runtimeOptions: undefined },
		'options.runtimeOptions: missing. Give the options of your FlowRuntime, for example runtime.options',
	),
	...WHOLE.flatMap(([name, standard]) =>
		[0, '5'].map((value) =>
			option(
				`\`${name}: ${typeof value === 'string' ? `'${value}'` : value}\``,
				{ [name]: value },
				`options.${name}: ${JSON.stringify(value)} is not a whole number of at least 1. The default is ${standard}`,
			),
		),
	),
]

/**
 * @typedef {object} StartCase
 * @property {string} input
 * @property {string} code
 * @property {string} message
 * @property {string} cure what makes the second `start()` succeed
 * @property {(place: import('../support/cluster.mjs').Place) => Promise<{ options: Record<string, unknown>,
 *   cure: (message: string) => Promise<void | (() => Promise<void>)> }>} prepare
 */

/** Long enough for the answer that names the broker, which comes a tenth of this before the end. */
const START_TIMEOUT_MS = 5_000

/** @param {'brokers' | 'contactPoints' | 'redis'} kind @param {(address: string, where: any) => Record<string, unknown>} options */
const unreachable = (kind, options) => async (/** @type {any} */ place) => {
	const { where } = place.cluster
	const port = await closedPort()
	const target = kind === 'redis' ? new URL(where.redisUrl).host : where[kind][0]
	return {
		options: { ...options(`127.0.0.1:${port}`, where), startTimeoutMs: START_TIMEOUT_MS },
		cure: async () => {
			const { forward } = await import('../support/faults.mjs')
			const forwarder = await forward(port, target)
			return () => forwarder.close()
		},
	}
}

/** Runs the CQL statement that the message ends with. @param {any} place */
const statementOf = (place) => async (/** @type {string} */ message) => {
	const [, statement] = /** @type {RegExpMatchArray} */ (message.match(/(CREATE .*?)(?:, or .*)?$/))
	// Three replicas are right for production and too many for one node.
	await place.cluster.cassandra.execute(statement.replace("'replication_factor': 3", "'replication_factor': 1"))
}

/** Refused by `start()`, which may be called again. @type {StartCase[]} */
export const STARTS = [
	{
		input: 'no broker answers',
		code: 'ERR_KAFKA_UNREACHABLE',
		message:
			'Kafka cannot be reached at <host:port>: <cause>. Check that it runs and that the address and port are right',
		cure: 'the broker comes up',
		prepare: unreachable('brokers', (address) => ({ kafka: { brokers: [address] } })),
	},
	{
		input: 'no Cassandra node answers',
		code: 'ERR_CASSANDRA_UNREACHABLE',
		message:
			'Cassandra cannot be reached at <host:port>: <cause>. Check that it runs and that the address and port are right',
		cure: 'the node comes up',
		prepare: unreachable('contactPoints', (address, { localDataCenter }) => ({
			cassandraClient: { contactPoints: [address], localDataCenter },
		})),
	},
	{
		input: 'Redis does not answer',
		code: 'ERR_COORDINATION_UNREACHABLE',
		message:
			'the coordination store cannot be reached at <host:port>: <cause>. Check that it runs and that the address and port are right',
		cure: 'Redis comes up',
		prepare: unreachable('redis', (address) => ({ coordinationStore: `redis://${address}` })),
	},
	{
		input: 'the keyspace is missing',
		code: 'ERR_SCHEMA_MISSING',
		message:
			"keyspace \"<ks>\" is missing. Create it with: CREATE KEYSPACE <ks> WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 3}",
		cure: 'the statement of the message is run, and that of the next message',
		prepare: async (place) => ({ options: { keyspace: `${place.keyspace}_gone` }, cure: statementOf(place) }),
	},
	{
		input: 'the context table is missing',
		code: 'ERR_SCHEMA_MISSING',
		message:
			'table "<ks.table>" is missing. Create it with: CREATE TABLE <ks.table> (run_id text PRIMARY KEY, context_data text)',
		cure: 'the statement of the message is run',
		prepare: async (place) => ({
			options: { contextTableName: `ctx_${place.topic.replaceAll('-', '_')}` },
			cure: statementOf(place),
		}),
	},
	{
		input: 'the status table is missing',
		code: 'ERR_SCHEMA_MISSING',
		message:
			'table "<ks.table>" is missing. Create it with: CREATE TABLE <ks.table> (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)',
		cure: 'the statement of the message is run',
		prepare: async (place) => ({
			options: { statusTableName: `st_${place.topic.replaceAll('-', '_')}` },
			cure: statementOf(place),
		}),
	},
	{
		input: 'the context table has another layout',
		code: 'ERR_SCHEMA_UNKNOWN',
		message:
			'table "<ks.table>" has a layout this package does not know. A table that works: CREATE TABLE <ks.table> (run_id text PRIMARY KEY, context_data text), or CREATE TABLE <ks.table> (run_id text, key text, value text, PRIMARY KEY (run_id, key))',
		cure: 'the table is dropped, and one of the statements of the message is run',
		prepare: async (place) => {
			const table = `odd_${place.topic.replaceAll('-', '_')}`
			const { cassandra } = place.cluster
			await cassandra.execute(`CREATE TABLE ${place.keyspace}.${table} (id int PRIMARY KEY, context_data text)`)
			const create = statementOf(place)
			return {
				options: { contextTableName: table },
				cure: async (message) => {
					await cassandra.execute(`DROP TABLE ${place.keyspace}.${table}`)
					await create(message)
				},
			}
		},
	},
	{
		input: '`retentionSeconds`, and the status table has no column `status`',
		code: 'ERR_SCHEMA_MISSING',
		message:
			'column "status" of table "<ks.table>", without which ended runs cannot be found (retentionSeconds), is missing. Create it with: ALTER TABLE <ks.table> ADD status text',
		cure: 'the statement of the message is run',
		prepare: async (place) => {
			const statusTableName = `nostatus_${place.topic.replaceAll('-', '_')}`
			const { cassandra } = place.cluster
			const columns = 'run_id text PRIMARY KEY, status_data text, updated_at timestamp'
			await cassandra.execute(`CREATE TABLE ${place.keyspace}.${statusTableName} (${columns})`)
			const cure = async (/** @type {string} */ message) => {
				const [statement] = /** @type {RegExpMatchArray} */ (message.match(/ALTER TABLE .*$/))
				await cassandra.execute(statement)
			}
			return { options: { statusTableName, retentionSeconds: 60 }, cure }
		},
	},
	{
		input: '`retentionSeconds: 3600`, and status rows expire after as long',
		code: 'ERR_OPTION',
		message:
			'options.retentionSeconds: status rows expire after 3600 s in table "<ks.table>", before their runs are looked for, whose contexts would then stay for ever. Call ensureSchema with ttlSeconds 0, or more than 7200',
		cure: '`ensureSchema({ ttlSeconds: 0 })`',
		prepare: async (place) => {
			const statusTableName = `brief_${place.topic.replaceAll('-', '_')}`
			const { where } = place.cluster
			const { keyspace, contexts: contextTableName } = place
			const { contactPoints, localDataCenter } = where
			const tables = {
				cassandraClient: { contactPoints, localDataCenter },
				keyspace,
				contextTableName,
				statusTableName,
			}
			const { ensureSchema } = await import('../../src/js/index.js')
			await ensureSchema({ ...tables, ttlSeconds: 3600 })
			return {
				options: { statusTableName, retentionSeconds: 3600 },
				cure: async () => void (await ensureSchema({ ...tables, ttlSeconds: 0 })),
			}
		},
	},
	{
		input: 'the topic is missing, and the broker refuses to create it',
		code: 'ERR_TOPIC_MISSING',
		message:
			'topic "<topic>" does not exist and could not be created (<cause>). Create it with: kafka-topics.sh --create --bootstrap-server <host:port> --topic <topic> --partitions <number>',
		cure: 'the topic is created',
		prepare: async (place) => {
			const topic = `${place.topic}-new`
			return {
				// More partitions than a broker creates at once.
				options: { topicName: topic, topicPartitions: 100_000 },
				cure: async () => void (await place.cluster.admin.createTopics({ topics: [{ topic, numPartitions: 1 }] })),
			}
		},
	},
]

/**
 * @typedef {object} MessageCase
 * @property {string} input
 * @property {string | Buffer | null} value
 * @property {string | null} [key] default a run id
 * @property {string | null} code `null`: no dead letter
 * @property {string} message of the dead letter
 */

/** @param {Record<string, unknown>} fields */
const job = (fields) => JSON.stringify({ runId: 'r', blueprintId: 'good', nodeId: 'a', ...fields })
const long = 'x'.repeat(ID_LIMIT + 1)

/** Job messages. @type {MessageCase[]} */
export const MESSAGES = [
	{ input: 'no value (a tombstone)', value: null, code: null, message: '' },
	{ input: 'an empty value', value: '', code: 'ERR_JOB_NOT_JSON', message: 'not JSON (<where>)' },
	{ input: '`not JSON`', value: 'not JSON', code: 'ERR_JOB_NOT_JSON', message: 'not JSON (<where>)' },
	{ input: 'cut off: `{"runId":"r"`', value: '{"runId":"r"', code: 'ERR_JOB_NOT_JSON', message: 'not JSON (<where>)' },
	{
		input: 'bytes that are no UTF-8',
		value: Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]),
		code: 'ERR_JOB_NOT_JSON',
		message: 'not JSON (<where>)',
	},
	{
		input: 'JSON nested 60,000 deep',
		value: '['.repeat(60_000),
		code: 'ERR_JOB_NOT_JSON',
		message: 'not JSON (<where>)',
	},
	{ input: '`null`', value: 'null', code: 'ERR_JOB_NOT_OBJECT', message: 'JSON, but not an object' },
	{ input: '`7`', value: '7', code: 'ERR_JOB_NOT_OBJECT', message: 'JSON, but not an object' },
	{ input: '`"text"`', value: '"text"', code: 'ERR_JOB_NOT_OBJECT', message: 'JSON, but not an object' },
	{ input: 'an array', value: '[{"runId":"r"}]', code: 'ERR_JOB_NOT_OBJECT', message: 'JSON, but not an object' },
	...['runId', 'blueprintId', 'nodeId'].flatMap((field) => [
		{
			input: `no \`${field}\``,
			value: job({ [field]: undefined }),
			code: 'ERR_JOB_FIELD',
			message: `field "${field}" is missing`,
		},
		{
			input: `\`${field}: ""\``,
			value: job({ [field]: '' }),
			code: 'ERR_JOB_FIELD',
			message: `field "${field}" is empty`,
		},
		{
			input: `\`${field}: 7\``,
			value: job({ [field]: 7 }),
			code: 'ERR_JOB_FIELD',
			message: `field "${field}" is not a string`,
		},
		{
			input: `\`${field}: null\``,
			value: job({ [field]: null }),
			code: 'ERR_JOB_FIELD',
			message: `field "${field}" is not a string`,
		},
		{
			input: `\`${field}\` of ${ID_LIMIT + 1} bytes`,
			value: job({ [field]: long }),
			code: 'ERR_JOB_TOO_LARGE',
			message: `field "${field}" has ${ID_LIMIT + 1} bytes, above ${ID_LIMIT}`,
		},
	]),
	{
		input: 'a message above 64 KiB',
		value: job({ more: 'x'.repeat(MESSAGE_LIMIT) }),
		code: 'ERR_JOB_TOO_LARGE',
		message: '<size> bytes, above 65536',
	},
	{
		input: 'a bad message without key',
		value: '{}',
		key: null,
		code: 'ERR_JOB_FIELD',
		message: 'field "runId" is missing',
	},
]

/**
 * @typedef {object} RunCase
 * @property {string} input
 * @property {string | null | undefined} context `context_data` of the run's row; `undefined`: no row
 * @property {{ blueprintId?: string, nodeId?: string }} [job]
 * @property {string | null} code `null`: the run completes
 * @property {string} message of the dead letter, with `<run>` for the run's id
 * @property {string | null} status that is published, if any
 */

/** Jobs that are well-formed, of runs that cannot be run. @type {RunCase[]} */
export const RUNS = [
	{
		input: 'an unknown blueprint',
		context: '{}',
		job: { blueprintId: 'gone' },
		code: 'ERR_BLUEPRINT_UNKNOWN',
		message: "Blueprint with ID 'gone' not found in the worker's runtime registry.",
		status: 'failed',
	},
	{
		input: 'an unknown node',
		context: '{}',
		job: { nodeId: 'gone' },
		code: 'ERR_NODE_UNKNOWN',
		message: "Node 'gone' not found in blueprint 'good'.",
		status: 'failed',
	},
	{
		input: '`context_data` is NULL',
		context: null,
		code: 'ERR_STATE_CORRUPT',
		message:
			'stored context of run "<run>" is corrupt: the cell is NULL. Repair or delete the row, then replay the dead letter',
		status: 'failed',
	},
	{
		input: '`context_data` is empty',
		context: '',
		code: 'ERR_STATE_CORRUPT',
		message:
			'stored context of run "<run>" is corrupt: not JSON (<where>). Repair or delete the row, then replay the dead letter',
		status: 'failed',
	},
	{
		input: '`context_data` is not JSON',
		context: '{"a":',
		code: 'ERR_STATE_CORRUPT',
		message:
			'stored context of run "<run>" is corrupt: not JSON (<where>). Repair or delete the row, then replay the dead letter',
		status: 'failed',
	},
	{
		input: '`context_data` is `null`',
		context: 'null',
		code: 'ERR_STATE_CORRUPT',
		message:
			'stored context of run "<run>" is corrupt: JSON, but not an object. Repair or delete the row, then replay the dead letter',
		status: 'failed',
	},
	{
		input: '`context_data` is an array',
		context: '[1]',
		code: 'ERR_STATE_CORRUPT',
		message:
			'stored context of run "<run>" is corrupt: JSON, but not an object. Repair or delete the row, then replay the dead letter',
		status: 'failed',
	},
	{
		input: '`context_data` is a text',
		context: '"text"',
		code: 'ERR_STATE_CORRUPT',
		message:
			'stored context of run "<run>" is corrupt: JSON, but not an object. Repair or delete the row, then replay the dead letter',
		status: 'failed',
	},
	{
		input: 'the checkpoint in it is no object',
		context: '{"_flowcraft":7}',
		code: 'ERR_STATE_CORRUPT',
		message: "The run's checkpoint cannot be used: <cause>",
		status: null,
	},
	{
		input: 'the checkpoint in it has other fields',
		context: '{"_flowcraft":{"v":"?"}}',
		code: 'ERR_STATE_CORRUPT',
		message: "The run's checkpoint cannot be used: <cause>",
		status: null,
	},
	{ input: 'no row', context: undefined, code: null, message: '', status: 'completed' },
]

/** Kept apart: they need an arrangement of their own. */
export const OTHERS = {
	oldMember: {
		input: 'a worker of the JavaScript package (kafkajs) is still in the group',
		code: 'ERR_GROUP_PROTOCOL',
		message:
			'consumer group "<group>" has members with another partition assignment protocol, most likely workers of @flowcraft/kafka-adapter 1.x. Stop them first, or use a new groupId',
		cure: 'the old worker leaves',
	},
}
