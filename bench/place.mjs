/**
 * Where a round takes place: a topic, a keyspace and a worker of its own, and what the servers count of them.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import cassandra from 'cassandra-driver'
import Redis from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'

const PARTITIONS = 4
const LIMIT_MS = 600_000
/** Of our own statements, such as dropping a keyspace of gigabytes on a machine that others use, too. */
const READ_TIMEOUT_MS = 120_000
const POLL_MS = 20
const SEND_AGAIN_MS = 5_000
const INSERTED_AT_ONCE = 500
/** Rows that one statement asks for. */
const PICKED_RUNS = 100

const CONTEXTS = {
	document: 'run_id text PRIMARY KEY, context_data text',
	entries: 'run_id text, key text, value text, PRIMARY KEY (run_id, key)',
}

export async function openServices() {
	const kafka = new Kafka({ brokers: process.env.KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING })
	const client = new cassandra.Client({
		contactPoints: process.env.CASSANDRA_CONTACT_POINTS.split(','),
		localDataCenter: process.env.CASSANDRA_DATACENTER,
		socketOptions: { readTimeout: READ_TIMEOUT_MS },
	})
	const redis = new Redis(process.env.REDIS_URL)
	const producer = kafka.producer()
	const admin = kafka.admin()
	await Promise.all([client.connect(), producer.connect(), admin.connect()])
	return {
		client,
		redis,
		producer,
		admin,
		close: () => Promise.allSettled([client.shutdown(), producer.disconnect(), admin.disconnect(), redis.quit()]),
	}
}

/** @typedef {Awaited<ReturnType<typeof openServices>>} Services */

/**
 * The documented tables, without those that this package would add.
 *
 * @param {Services} services
 * @param {string} name
 * @param {keyof typeof CONTEXTS} [layout]
 */
export async function makePlace({ admin, client }, name, layout = 'document') {
	await admin.createTopics({ topics: [{ topic: name, numPartitions: PARTITIONS }] })
	await client.execute(
		`CREATE KEYSPACE ${name} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} AND durable_writes = true`,
	)
	await client.execute(`CREATE TABLE ${name}.contexts (${CONTEXTS[layout]})`)
	await client.execute(
		`CREATE TABLE ${name}.statuses (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)`,
	)
}

/** With the version key, without which the JavaScript package drops every job. */
export const insertContext = ({ client }, keyspace, runId, { id }) =>
	client.execute(
		`INSERT INTO ${keyspace}.contexts (run_id, context_data) VALUES (?, ?)`,
		[runId, JSON.stringify({ blueprintId: id, blueprintVersion: null })],
		{ prepare: true },
	)

/** No more at once than the driver takes. @param {Services} services @param {string} keyspace @param {string[]} ids @param {any} blueprint */
export async function insertContexts(services, keyspace, ids, blueprint) {
	for (let at = 0; at < ids.length; at += INSERTED_AT_ONCE)
		await Promise.all(
			ids.slice(at, at + INSERTED_AT_ONCE).map((id) => insertContext(services, keyspace, id, blueprint)),
		)
}

/** @param {Services} services @param {string} topic @param {string[]} runIds @param {any} blueprint */
export const sendStarts = ({ producer }, topic, runIds, { id, nodes }) =>
	producer.send({
		topic,
		messages: runIds.map((runId) => ({
			key: runId,
			value: JSON.stringify({ runId, blueprintId: id, nodeId: nodes[0].id }),
		})),
	})

/**
 * What the servers have counted: statements of the worker's connections (preparing them included), commands, messages.
 *
 * @param {Services} services
 * @param {{ topic: string, applicationName: string }} of
 */
export async function serverCounts({ client, redis, admin }, { topic, applicationName }) {
	const { rows } = await client.execute('SELECT client_options, request_count FROM system_views.clients')
	// This package's own driver names itself, whatever the client object is called.
	const own = rows.filter(({ client_options: options }) =>
		[applicationName, 'flowcraft'].includes(options?.APPLICATION_NAME),
	)
	const commands = (await redis.info('commandstats')).matchAll(/cmdstat_([a-z|]+):calls=(\d+)/g)
	const offsets = await admin.fetchTopicOffsets(topic)
	return {
		cql: own.reduce((sum, { request_count: count }) => sum + Number(count), 0),
		coordination: [...commands].reduce((sum, [, name, calls]) => (name === 'info' ? sum : sum + Number(calls)), 0),
		messages: offsets.reduce((sum, { high }) => sum + Number(high), 0),
	}
}

/** @param {Services} services @param {string} keyspace @param {number} runs */
export async function finished({ client }, keyspace, runs) {
	const limit = Date.now() + LIMIT_MS
	for (;;) {
		const { rows } = await client.execute(
			`SELECT count(*) AS n FROM ${keyspace}.statuses WHERE status = 'completed' ALLOW FILTERING`,
		)
		if (Number(rows[0].n) >= runs) return
		if (Date.now() > limit) throw new Error(`${rows[0].n} of ${runs} runs ended`)
		await new Promise((resolve) => setTimeout(resolve, POLL_MS))
	}
}

/**
 * The same of these runs, by looks that cost next to nothing while they go on: only for the one that began last, and for the others
 * once that has ended.
 *
 * @param {Services} services
 * @param {string} keyspace
 * @param {string[]} ids in the order in which they began
 */
export async function finishedOnes({ client }, keyspace, ids) {
	const limit = Date.now() + LIMIT_MS
	const query = `SELECT run_id, status FROM ${keyspace}.statuses WHERE run_id IN ?`
	let pending = ids.toReversed()
	let asked = 1
	while (pending.length > 0) {
		const looked = pending.slice(0, asked)
		const { rows } = await client.execute(query, [looked], { prepare: true })
		const ended = new Set(rows.filter(({ status }) => status === 'completed').map(({ run_id: id }) => id))
		pending = pending.filter((id) => !ended.has(id))
		const haveAllEnded = ended.size === looked.length
		asked = haveAllEnded ? PICKED_RUNS : 1
		if (haveAllEnded) continue
		if (Date.now() > limit) throw new Error(`${pending.length} of ${ids.length} runs did not end`)
		await new Promise((resolve) => setTimeout(resolve, POLL_MS))
	}
}

/**
 * Sends a worker its first run, and waits for it: preparing statements and the like is no part of a round. 1.4.4 begins at the end
 * of the log as it is some time after it has joined its group; what was sent before is lost to it, so it is sent again.
 *
 * @param {Services} services
 * @param {string} place
 * @param {string} runId
 * @param {any} blueprint
 */
export async function warmUp(services, place, runId, blueprint) {
	const send = () => sendStarts(services, place, [runId], blueprint)
	await send()
	const again = setInterval(send, SEND_AGAIN_MS)
	try {
		await finished(services, place, 1)
	} finally {
		clearInterval(again)
	}
}

/**
 * @param {Services} services
 * @param {string} keyspace
 * @param {string[]} ids
 * @param {(context: any) => boolean} check
 * @returns {Promise<number>} bytes of their outcomes
 */
export async function verify({ client }, keyspace, ids, check) {
	let bytes = 0
	for (const id of ids) {
		const row = (
			await client.execute(`SELECT status_data FROM ${keyspace}.statuses WHERE run_id = ?`, [id], { prepare: true })
		).first()
		const { status, payload } = JSON.parse(row.status_data)
		if (status !== 'completed' || !check(payload.context))
			throw new Error(`run ${id} has a wrong result: ${row.status_data.slice(0, 1000)}`)
		bytes += Buffer.byteLength(row.status_data)
	}
	return bytes
}

/**
 * @param {Record<string, any>} options of worker.mjs
 * @param {Record<string, string>} [env] beside this process's own
 */
export async function startWorker(options, env) {
	const program = fileURLToPath(new URL('./worker.mjs', import.meta.url))
	const { child, line } = await startReady(process.execPath, [program, JSON.stringify(options)], env)
	return {
		async ask() {
			child.stdin.write('\n')
			return JSON.parse(await line())
		},
		async end() {
			child.stdin.end()
			await once(child, 'exit')
		},
		async kill() {
			child.kill('SIGKILL')
			await once(child, 'exit')
		},
	}
}

/**
 * A program that says `ready`, and then what it has measured.
 *
 * @param {string} program
 * @param {string[]} programArguments
 * @param {Record<string, string>} [env] beside this process's own
 */
export async function startReady(program, programArguments, env) {
	const child = spawn(program, programArguments, {
		stdio: ['pipe', 'pipe', 'inherit'],
		env: { ...process.env, ...env },
	})
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
	const line = async () => {
		const { value, done } = await lines.next()
		if (done) throw new Error(`${program} ended early`)
		return value
	}
	while ((await line()) !== 'ready');
	return { child, line }
}
