/**
 * The real services of a test: clients for them, and places (keyspace, topic, group) of its own for each test.
 *
 * Addresses come from the environment (`KAFKA_BROKERS`, `CASSANDRA_CONTACT_POINTS`, `CASSANDRA_DATACENTER`, `REDIS_URL`)
 * or, in tests that break services, from `startServices()`.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import cassandraDriver from 'cassandra-driver'
import { GraphTraverser, analyzeBlueprint, sanitizeBlueprint } from 'flowcraft'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { RedisCoordinationStore } from '../../src/js/index.js'

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'

/** The tables that users have (shared/contract/schemas.cql); `schemas.test.mjs` holds them against that file. */
export const DOCUMENTED = {
	readme: {
		contexts: 'run_id text PRIMARY KEY, context_data text',
		statuses: 'run_id text PRIMARY KEY, status_data text, updated_at timestamp',
	},
	guide: {
		contexts: 'run_id text PRIMARY KEY, context_data text',
		statuses: 'run_id text PRIMARY KEY, status text, updated_at timestamp',
	},
	full: {
		contexts: 'run_id text PRIMARY KEY, context_data text',
		statuses: 'run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp',
	},
}

/** And those of `ensureSchema`; `ensure-schema.test.mjs` holds them against what it makes. */
export const SCHEMAS = {
	...DOCUMENTED,
	column: {
		contexts: 'run_id text PRIMARY KEY, context_data text, checkpoint text',
		statuses: DOCUMENTED.full.statuses,
	},
	entries: {
		contexts: 'run_id text, key text, value text, PRIMARY KEY (run_id, key)',
		statuses: DOCUMENTED.full.statuses,
	},
}

/** What a test that asks for no schema gets. */
const DEFAULT_SCHEMA = /** @type {keyof typeof SCHEMAS} */ (process.env.TEST_SCHEMA ?? 'full')

/** The table of timers that belongs to a status table. */
const TIMERS =
	'topic text, shard int, bucket bigint, due_at timestamp, run_id text, node_id text, visit int, ' +
	'PRIMARY KEY ((topic, shard, bucket), due_at, run_id, node_id)'

/** And the table of leases. */
const LEASES =
	'topic text, partition int, epoch bigint, holder text, valid_until timestamp, PRIMARY KEY ((topic, partition))'

const FINAL = new Set(['completed', 'failed', 'cancelled', 'awaiting'])
const POLL_MS = 25
/** As many rows as one status query asks for. */
const ROWS_PER_QUERY = 50

/** @param {string} prefix an identifier in Kafka and, in lower case with underscores, in Cassandra */
export const unique = (prefix) => `${prefix}_${Date.now().toString(36)}${randomBytes(3).toString('hex')}`

/**
 * Waits for a condition; the error says what was seen last.
 *
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} look something truthy ends the wait
 * @param {{ timeoutMs?: number, everyMs?: number, describe?: () => unknown }} [options]
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, look, { timeoutMs = 30_000, everyMs = POLL_MS, describe } = {}) {
	const deadline = Date.now() + timeoutMs
	for (;;) {
		const seen = await look()
		if (seen) return /** @type {NonNullable<T>} */ (seen)
		if (Date.now() > deadline) {
			const more = describe ? `; ${JSON.stringify(await describe())}` : ''
			throw new Error(`not within ${timeoutMs} ms: ${what}${more}`)
		}
		await sleep(everyMs)
	}
}

/** A logger that keeps its lines. */
export function recorder() {
	/** @type {{ level: string, text: string, meta: any }[]} */
	const lines = []
	const log = (/** @type {string} */ level) => (/** @type {string} */ text, /** @type {any} */ meta) =>
		void lines.push({ level, text: String(text), meta })
	return {
		lines,
		debug: log('debug'),
		info: log('info'),
		warn: log('warn'),
		error: log('error'),
		/** @param {string} level */
		texts: (level) => lines.filter((line) => line.level === level).map(({ text }) => text),
	}
}

/**
 * @param {Record<string, string | undefined>} [env]
 * @returns {{ brokers: string[], contactPoints: string[], localDataCenter: string, redisUrl: string }}
 */
export function addresses(env = process.env) {
	const { KAFKA_BROKERS, CASSANDRA_CONTACT_POINTS, CASSANDRA_DATACENTER = 'datacenter1', REDIS_URL } = env
	if (!KAFKA_BROKERS || !CASSANDRA_CONTACT_POINTS || !REDIS_URL)
		throw new Error('No services: run `node scripts/test.mjs <suite>`, or set their addresses (see services.mjs)')
	return {
		brokers: KAFKA_BROKERS.split(','),
		contactPoints: CASSANDRA_CONTACT_POINTS.split(','),
		localDataCenter: CASSANDRA_DATACENTER,
		redisUrl: REDIS_URL,
	}
}

/**
 * cassandra-driver 4.10 takes a restarted node off its list and puts it on again, sometimes only after `shutdown()`. The host
 * taken off, and one put on that late, are never shut down: they go on reconnecting and keep the test's process alive.
 *
 * @param {any} client
 */
function endLostHosts(client) {
	const end = (/** @type {any} */ host) => setImmediate(() => host.shutdown(false))
	client.on('hostRemove', end)
	client.on('hostAdd', (/** @type {any} */ host) => client.isShuttingDown && end(host))
}

/** @typedef {Awaited<ReturnType<typeof openCluster>>} Cluster */

/** @param {ReturnType<typeof addresses>} [where] */
export async function openCluster(where = addresses()) {
	const { brokers, contactPoints, localDataCenter, redisUrl } = where
	const kafka = new Kafka({ brokers, clientId: 'test-client', logLevel: logLevel.NOTHING, retry: { retries: 12 } })
	const cassandra = new cassandraDriver.Client({
		contactPoints,
		localDataCenter,
		queryOptions: { consistency: cassandraDriver.types.consistencies.localQuorum },
		// Tests restart the only node.
		policies: { reconnection: new cassandraDriver.policies.reconnection.ConstantReconnectionPolicy(250) },
	})
	endLostHosts(cassandra)
	const redis = new Redis(redisUrl)
	// A restart of the server is part of some tests; ioredis reconnects by itself.
	redis.on('error', () => {})
	const admin = kafka.admin()
	const producer = kafka.producer({ allowAutoTopicCreation: false })
	await Promise.all([cassandra.connect(), admin.connect(), producer.connect()])
	/** @type {(() => Promise<unknown>)[]} */
	const open = []

	/** @param {string} topic */
	async function letters(topic) {
		const reader = await readTopic({ kafka, admin, topic })
		open.push(reader.close)
		return reader
	}

	return {
		...where,
		where,
		kafka,
		cassandra,
		redis,
		admin,
		producer,
		/** Every message of a topic, from its beginning. */
		readTopic: letters,
		/** @param {PlaceOptions} [options] */
		place: (options) => makePlace({ where, kafka, cassandra, redis, admin, producer, readTopic: letters }, options),
		/** @param {string} group @param {number} members @param {{ timeoutMs?: number }} [options] */
		members: (group, members, options) => awaitMembers(admin, group, members, options),
		async close() {
			await Promise.all(open.map((close) => close()))
			await Promise.all([admin.disconnect(), producer.disconnect()])
			await cassandra.shutdown()
			redis.disconnect()
		},
	}
}

/**
 * Waits until a group is stable with so many members, each with its share of the partitions.
 *
 * @param {import('kafkajs').Admin} admin
 * @param {string} group
 * @param {number} members
 * @param {{ timeoutMs?: number }} [options]
 */
async function awaitMembers(admin, group, members, { timeoutMs = 60_000 } = {}) {
	let last
	return until(
		`group ${group} has ${members} members`,
		async () => {
			const { groups } = await admin.describeGroups([group])
			last = { state: groups[0].state, members: groups[0].members.length }
			return last.state === (members > 0 ? 'Stable' : 'Empty') && last.members === members ? groups[0] : undefined
		},
		{ timeoutMs, everyMs: 100, describe: () => last },
	)
}

/**
 * @typedef {object} PlaceOptions
 * @property {keyof typeof SCHEMAS | 'none'} [schema] default `TEST_SCHEMA` or `full`; `none` makes no keyspace
 * @property {number} [partitions] default 4; 0 makes no topic
 * @property {{ keyspace: string, contexts: string, statuses: string }} [tables] use these instead of new ones
 * @property {string} [name] what the names begin with
 *
 * @typedef {Awaited<ReturnType<typeof makePlace>>} Place
 * @typedef {{ runId: string, status: string, data: any, text: string | null, updatedAt: Date | null }} StatusRow
 */

/**
 * @param {Pick<Cluster, 'where' | 'kafka' | 'cassandra' | 'redis' | 'admin' | 'producer' | 'readTopic'>} cluster
 * @param {PlaceOptions} [options]
 */
async function makePlace(cluster, { schema = DEFAULT_SCHEMA, partitions = 4, tables, name = 'test' } = {}) {
	const { cassandra, admin, producer, kafka, redis } = cluster
	const id = unique(name)
	const names = tables ?? { keyspace: id, contexts: 'contexts', statuses: 'statuses' }
	const topic = id.replaceAll('_', '-')
	const group = `${topic}-workers`
	const deadLetterTopic = `${topic}.dead-letters`
	const made = tables ? undefined : await makeTables(cassandra, names, schema)
	if (partitions > 0) {
		const topics = [
			{ topic, numPartitions: partitions },
			{ topic: deadLetterTopic, numPartitions: 1 },
		]
		await makeTopics(admin, topics)
	}
	const columns = Object.keys(parseColumns(SCHEMAS[schema === 'none' ? 'full' : schema].statuses))
	const contexts = `${names.keyspace}.${names.contexts}`
	const statuses = `${names.keyspace}.${names.statuses}`

	/** @param {{ runId: string, blueprintId: string, nodeId: string }[]} jobs @param {{ partition?: number }} [options] */
	async function send(jobs, { partition } = {}) {
		const messages = jobs.map((job) => ({
			key: job.runId,
			value: JSON.stringify(job),
			...(partition === undefined ? {} : { partition }),
		}))
		return producer.send({ topic, messages })
	}

	/** @param {string[]} runIds @returns {Promise<StatusRow[]>} */
	async function statusRows(runIds) {
		/** @type {StatusRow[]} */
		const found = []
		for (let i = 0; i < runIds.length; i += ROWS_PER_QUERY) {
			const marks = runIds.slice(i, i + ROWS_PER_QUERY)
			const query = `SELECT ${columns.join(', ')} FROM ${statuses} WHERE run_id IN (${marks.map(() => '?').join(', ')})`
			const { rows } = await cassandra.execute(query, marks, { prepare: true })
			found.push(...rows.map(statusRow))
		}
		return found
	}

	/** @param {string[]} runIds @param {{ timeoutMs?: number, describe?: () => unknown }} [options] */
	async function outcomes(runIds, { timeoutMs = 30_000, describe } = {}) {
		/** @type {Map<string, StatusRow>} */
		const ended = new Map()
		const missing = () => runIds.filter((runId) => !ended.has(runId))
		await until(
			`${runIds.length} runs of ${topic} have ended`,
			async () => {
				for (const row of await statusRows(missing())) if (FINAL.has(row.status)) ended.set(row.runId, row)
				return missing().length === 0
			},
			{
				timeoutMs,
				describe: async () => ({
					missing: missing().length,
					first: missing().slice(0, 3),
					more: await describe?.(),
				}),
			},
		)
		return ended
	}

	return {
		...names,
		cluster,
		schema,
		topic,
		group,
		deadLetterTopic,
		partitions,
		tables: names,
		made,
		columns,
		send,
		statusRows,
		outcomes,
		/** @param {string} runId @param {{ timeoutMs?: number, describe?: () => unknown }} [options] */
		async outcome(runId, options) {
			return /** @type {StatusRow} */ ((await outcomes([runId], options)).get(runId))
		},
		/** @param {string} runId @returns {Promise<{ text: string | null, document: any } | undefined>} */
		async context(runId) {
			if (schema === 'entries') return readEntries(cassandra, contexts, runId)
			const query = `SELECT context_data FROM ${contexts} WHERE run_id = ?`
			const row = (await cassandra.execute(query, [runId], { prepare: true })).first()
			if (!row) return undefined
			const text = row.get('context_data')
			return { text, document: text === null ? null : JSON.parse(text) }
		},
		/** @param {string} runId @param {string | null} text */
		async writeContext(runId, text) {
			if (schema === 'entries') return writeEntries(cassandra, contexts, runId, JSON.parse(text ?? '{}'))
			const query = `INSERT INTO ${contexts} (run_id, context_data) VALUES (?, ?)`
			await cassandra.execute(query, [runId, text], { prepare: true })
		},
		/**
		 * Starts a run as the public guide's client does.
		 *
		 * @param {any} blueprint
		 * @param {Record<string, any>} [initial]
		 * @param {string} [runId]
		 */
		async startRun(blueprint, initial = {}, runId = unique('run')) {
			await this.writeContext(runId, JSON.stringify(initial))
			await send(startNodes(blueprint).map((nodeId) => ({ runId, blueprintId: blueprint.id, nodeId })))
			return runId
		},
		/** Options of an adapter that works here, with genuine clients. @param {Record<string, any>} [more] */
		options: (more = {}) => ({
			kafka,
			cassandraClient: cassandra,
			coordinationStore: new RedisCoordinationStore(redis),
			topicName: topic,
			groupId: group,
			keyspace: names.keyspace,
			contextTableName: names.contexts,
			statusTableName: names.statuses,
			...more,
		}),
		/** Committed offset and end of every partition. */
		async positions() {
			const [ends, [{ partitions: committed }]] = await Promise.all([
				admin.fetchTopicOffsets(topic),
				admin.fetchOffsets({ groupId: group, topics: [topic] }),
			])
			return ends.map(({ partition, offset }) => ({
				partition,
				end: Number(offset),
				committed: Number(committed.find((other) => other.partition === partition)?.offset ?? -1),
			}))
		},
		/** G5: everything that was sent is committed. @param {{ timeoutMs?: number }} [options] */
		async allCommitted(options) {
			let last
			return until(
				`everything on ${topic} is committed`,
				async () => {
					last = await this.positions()
					return last.every(({ end, committed }) => committed === end || (end === 0 && committed <= 0))
				},
				{ ...options, everyMs: 100, describe: () => last },
			)
		},
		/** What a group without members has committed. @param {number[]} offsets by partition */
		commit: (offsets) =>
			admin.setOffsets({
				groupId: group,
				topic,
				partitions: offsets.map((offset, partition) => ({ partition, offset: String(offset) })),
			}),
		/** Another topic and group over the same tables: schema changes take a second each. */
		sibling: (/** @type {PlaceOptions} */ more = {}) =>
			makePlace(cluster, { schema, partitions, name, tables: names, ...more }),
		readDeadLetters: () => cluster.readTopic(deadLetterTopic),
	}
}

/** What clients start; of a graph that is all cycles, the entries that memory chooses (spec 4.2). @param {any} blueprint */
function startNodes(blueprint) {
	const clean = sanitizeBlueprint(blueprint)
	const { startNodeIds } = analyzeBlueprint(clean)
	if (startNodeIds.length > 0) return startNodeIds
	return new GraphTraverser(clean).getReadyNodes().map(({ nodeId }) => nodeId)
}

/**
 * @param {import('cassandra-driver').Client} cassandra
 * @param {string} table
 * @param {string} runId
 */
async function readEntries(cassandra, table, runId) {
	const { rows } = await cassandra.execute(`SELECT key, value FROM ${table} WHERE run_id = ?`, [runId], {
		prepare: true,
	})
	if (rows.length === 0) return undefined
	const document = Object.fromEntries(rows.map((row) => [row.key, JSON.parse(row.value)]))
	return { text: JSON.stringify(document), document }
}

/**
 * @param {import('cassandra-driver').Client} cassandra
 * @param {string} table
 * @param {string} runId
 * @param {Record<string, unknown>} document
 */
async function writeEntries(cassandra, table, runId, document) {
	const query = `INSERT INTO ${table} (run_id, key, value) VALUES (?, ?, ?)`
	const rows = Object.entries(document).map(([key, value]) => ({ query, params: [runId, key, JSON.stringify(value)] }))
	if (rows.length > 0) await cassandra.batch(rows, { prepare: true, logged: false })
}

/** @param {string} text */
const parseColumns = (text) => Object.fromEntries(text.split(', ').map((part) => part.split(/ (.*)/)))

/** @param {any} row @returns {StatusRow} */
function statusRow(row) {
	const at = (/** @type {string} */ column) => (column in row ? row[column] : null)
	const text = at('status_data')
	const data = text === null ? null : JSON.parse(text)
	return { runId: row.run_id, status: at('status') ?? data?.status, data, text, updatedAt: at('updated_at') }
}

/**
 * Creates topics. kafkajs' own `waitForLeaders` rejects where the broker it asks has not heard of them yet. A leader that does not know
 * yet that it is one refuses its part of a request, and kafkajs sends the other parts a second time: so each is asked for its offsets.
 *
 * @param {import('kafkajs').Admin} admin
 * @param {{ topic: string, numPartitions: number }[]} topics
 */
async function makeTopics(admin, topics) {
	await admin.createTopics({ topics, waitForLeaders: false })
	const names = topics.map(({ topic }) => topic)
	const haveLeaders = async () => {
		const { topics: found } = await admin.fetchTopicMetadata({ topics: names })
		if (!found.every(({ partitions }) => partitions.every(({ leader }) => leader >= 0))) return false
		const offsets = await Promise.all(names.map((name) => admin.fetchTopicOffsets(name)))
		return offsets.every((some, at) => some.length === topics[at].numPartitions)
	}
	await until(`${names} have leaders`, () => haveLeaders().catch(() => false), { timeoutMs: 90_000 })
}

/**
 * @param {import('cassandra-driver').Client} cassandra
 * @param {{ keyspace: string, contexts: string, statuses: string }} names
 * @param {keyof typeof SCHEMAS | 'none'} schema
 */
async function makeTables(cassandra, { keyspace, contexts, statuses }, schema) {
	if (schema === 'none') return
	await cassandra.execute(
		`CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
	)
	await cassandra.execute(`CREATE TABLE ${keyspace}.${contexts} (${SCHEMAS[schema].contexts})`)
	await cassandra.execute(`CREATE TABLE ${keyspace}.${statuses} (${SCHEMAS[schema].statuses})`)
	// Documented tables have none; nodes that sleep need it.
	if (!['readme', 'guide'].includes(schema))
		await cassandra.execute(`CREATE TABLE ${keyspace}.${statuses}_due (${TIMERS})`)
	// Documented tables have none: with them, leases are keys in the coordination store.
	if (!(schema in DOCUMENTED)) await cassandra.execute(`CREATE TABLE ${keyspace}.${statuses}_leases (${LEASES})`)
}

/**
 * Collects every message of a topic.
 *
 * @param {{ kafka: import('kafkajs').Kafka, admin: import('kafkajs').Admin, topic: string }} parts
 */
async function readTopic({ kafka, admin, topic }) {
	const consumer = kafka.consumer({ groupId: unique('reader'), allowAutoTopicCreation: false })
	/** @type {{ partition: number, offset: number, key: Buffer | null, value: Buffer | null, headers: Record<string, string> }[]} */
	const messages = []
	await consumer.connect()
	await consumer.subscribe({ topic, fromBeginning: true })
	await consumer.run({
		autoCommit: false,
		eachMessage: async ({ partition, message: { key, value, offset, headers = {} } }) => {
			const texts = Object.entries(headers).map(([name, bytes]) => [name, String(bytes)])
			messages.push({ partition, offset: Number(offset), key, value, headers: Object.fromEntries(texts) })
		},
	})
	return {
		messages,
		/** Waits until everything that lies there now was read. */
		async caughtUp() {
			const ends = await admin.fetchTopicOffsets(topic)
			const has = (/** @type {any} */ { partition, offset }) =>
				Number(offset) === 0 ||
				messages.some((message) => message.partition === partition && message.offset === Number(offset) - 1)
			await until(`${topic} is read`, () => ends.every(has))
			return messages
		},
		/** @param {(message: typeof messages[number]) => boolean} wanted @param {{ timeoutMs?: number }} [options] */
		find: (wanted, options) =>
			until(`a message of ${topic}`, () => messages.find(wanted), { ...options, describe: () => messages.slice(-3) }),
		close: () => consumer.disconnect(),
	}
}
