/** Runs that ended long ago are deleted, by themselves alone, and messages that are older start nothing. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import kafkajs from 'kafkajs'
import { ensureSchema, KafkaAdapter, sweepRuns } from '../../src/js/index.js'
import { openCluster, recorder, SCHEMAS, unique, until } from '../support/cluster.mjs'

const KILLER = fileURLToPath(new URL('../support/sweep-main.mjs', import.meta.url))
const HOUR = 3_600
const OLD_MS = 2 * HOUR * 1_000
const MANY = 1_200
const KILLED_AFTER = [1, 150, 300]
const TOPIC_HOUR = '3600000'

const chain = {
	id: 'chain',
	nodes: ['a', 'b'].map((id) => ({ id, uses: 'count' })),
	edges: [{ source: 'a', target: 'b' }],
}
const naps = { id: 'naps', nodes: [{ id: 'nap', uses: 'sleep', params: { duration: 3_000 } }], edges: [] }

/** @typedef {import('../support/cluster.mjs').Place} Place */

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'retention' })
})

after(() => cluster.close())

/** @param {string} query @param {unknown[]} values */
const cql = (query, values = []) => cluster.cassandra.execute(query, values, { prepare: true })

/** @param {Place} place @param {Record<string, unknown>} [more] */
const optionsOf = ({ keyspace, contexts, statuses }, more = {}) => ({
	cassandraClient: cluster.cassandra,
	keyspace,
	contextTableName: contexts,
	statusTableName: statuses,
	retentionSeconds: HOUR,
	runsPerSecond: Infinity,
	...more,
})

/** One present for all rows, so that which of two is older does not depend on how long a test takes. */
const NOW = Date.now()
const microsAgo = (/** @type {number} */ ms) => (NOW - ms) * 1_000

/** @param {Place} place @param {string} runId @param {number} ms how old */
async function putContext({ schema, keyspace, contexts }, runId, ms) {
	const table = `${keyspace}.${contexts}`
	const micros = microsAgo(ms)
	if (schema !== 'entries') {
		const checkpoint = schema === 'column' ? `, checkpoint) VALUES (?, ?, '{}')` : ') VALUES (?, ?)'
		await cql(`INSERT INTO ${table} (run_id, context_data${checkpoint} USING TIMESTAMP ${micros}`, [runId, '{"a":1}'])
		return
	}
	for (const key of ['a', '_flowcraft'])
		await cql(`INSERT INTO ${table} (run_id, key, value) VALUES (?, ?, '1') USING TIMESTAMP ${micros}`, [runId, key])
}

/** @param {Place} place @param {string} runId @param {string} status @param {number} ms how old */
async function putStatus({ columns, keyspace, statuses }, runId, status, ms) {
	/** @type {Record<string, unknown>} */
	const row = {
		run_id: runId,
		status,
		status_data: JSON.stringify({ status }),
		updated_at: new Date(NOW - ms),
	}
	const names = columns.filter((name) => name in row)
	const marks = names.map(() => '?').join(', ')
	const insert = `INSERT INTO ${keyspace}.${statuses} (${names.join(', ')}) VALUES (${marks})`
	const values = names.map((name) => row[name])
	await cql(`${insert} USING TIMESTAMP ${microsAgo(ms)}`, values)
}

/** A run that came to its status so long ago. @param {Place} place @param {string} runId @param {string} status @param {number} ms */
async function putRun(place, runId, status, ms) {
	await putContext(place, runId, ms)
	await putStatus(place, runId, status, ms)
}

/** Which of the two tables have something of a run. @param {Place} place @param {string} runId */
async function rowsOf({ keyspace, contexts, statuses }, runId) {
	const [context, status] = await Promise.all(
		[contexts, statuses].map((table) => cql(`SELECT * FROM ${keyspace}.${table} WHERE run_id = ?`, [runId])),
	)
	return [...(context.rowLength > 0 ? ['context'] : []), ...(status.rowLength > 0 ? ['status'] : [])]
}

describe('a sweep', () => {
	for (const schema of /** @type {const} */ (['guide', 'full', 'column', 'entries'])) {
		test(`schema ${schema}: deletes the runs that ended before, whole, and no others`, async () => {
			const place = await cluster.place({ schema, name: `sweep_${schema}`, partitions: 0 })
			const gone = ['completed', 'failed', 'cancelled']
			for (const status of gone) await putRun(place, `old ${status}`, status, OLD_MS)
			// A deletion that was cut off in between.
			await putStatus(place, 'old half', 'completed', OLD_MS)
			for (const status of ['running', 'awaiting', 'parked', 'of a user']) await putRun(place, status, status, OLD_MS)
			await putRun(place, 'young', 'completed', 60_000)
			// Begun again, or only written to; of the second the status says so as well.
			await putRun(place, 'again', 'completed', OLD_MS)
			await place.writeContext('again', '{"b":2}')
			await putRun(place, 'touched', 'completed', OLD_MS)
			await putStatus(place, 'touched', 'running', 0)
			await putContext(place, 'no status', OLD_MS)
			await cql(`INSERT INTO ${place.keyspace}.${place.statuses} (run_id, status) VALUES ('no time', 'completed')`)

			const report = await sweepRuns(optionsOf(place))
			const { rows, deleted, kept, failures, finished } = report
			assert.deepEqual(
				{ rows, deleted, kept, failures, finished },
				{
					rows: 12,
					deleted: 4,
					kept: 1,
					failures: [],
					finished: true,
				},
			)
			for (const runId of [...gone.map((status) => `old ${status}`), 'old half'])
				assert.deepEqual(await rowsOf(place, runId), [], runId)
			for (const runId of ['running', 'awaiting', 'parked', 'of a user', 'young', 'again', 'touched'])
				assert.deepEqual(await rowsOf(place, runId), ['context', 'status'], runId)
			assert.deepEqual(await rowsOf(place, 'no status'), ['context'])
			assert.deepEqual(await rowsOf(place, 'no time'), ['status'])
			const again = await place.context('again')
			assert.deepEqual(Object.keys(again?.document), schema === 'entries' ? ['_flowcraft', 'a', 'b'] : ['b'])

			const second = await sweepRuns(optionsOf(place))
			assert.deepEqual([second.rows, second.deleted, second.kept], [8, 0, 1])
			// What was on its way when the run was deleted is newer than that, however late it comes.
			await putContext(place, 'old completed', OLD_MS - 1_000)
			assert.deepEqual(await rowsOf(place, 'old completed'), ['context'])
			await putContext(place, 'old failed', OLD_MS + 1_000)
			assert.deepEqual(await rowsOf(place, 'old failed'), [])
		})
	}

	test(`killed after ${KILLED_AFTER.join(', ')} deletions, stopped, and called again, it deletes all`, async () => {
		const place = await cluster.place({ schema: 'entries', name: 'sweep_kills', partitions: 0 })
		const ids = Array.from({ length: MANY }, (_, at) => `run ${at}`)
		for (let at = 0; at < MANY; at += 100)
			await Promise.all(ids.slice(at, at + 100).map((runId) => putRun(place, runId, 'completed', OLD_MS)))
		await putRun(place, 'young', 'completed', 0)
		const contactPoints = cluster.where.contactPoints
		for (const deletions of KILLED_AFTER) {
			const life = JSON.stringify({ ...optionsOf(place, { cassandraClient: undefined }), contactPoints, deletions })
			const child = spawn(process.execPath, [KILLER, life], { stdio: ['ignore', 'ignore', 'inherit'] })
			assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL'], 'it was killed before its end')
		}
		const end = new AbortController()
		const stopped = await sweepRuns(
			optionsOf(place, {
				signal: end.signal,
				onProgress: (/** @type {any} */ { deleted }) => void (deleted === 100 && end.abort()),
			}),
		)
		assert.ok(!stopped.finished && stopped.deleted < 110, JSON.stringify(stopped))
		const last = await sweepRuns(optionsOf(place))
		assert.ok(last.finished && last.deleted > 0 && last.failed === 0, JSON.stringify(last))
		const left = await cql(`SELECT run_id FROM ${place.keyspace}.${place.contexts}`)
		assert.deepEqual(new Set(left.rows.map((row) => row.run_id)), new Set(['young']))
		assert.deepEqual((await sweepRuns(optionsOf(place))).rows, 1)
	})

	test('two at once delete each run once', async () => {
		const place = await cluster.place({ schema: 'full', name: 'sweep_two', partitions: 0 })
		const ids = Array.from({ length: 200 }, (_, at) => `run ${at}`)
		await Promise.all(ids.map((runId) => putRun(place, runId, 'failed', OLD_MS)))
		const reports = await Promise.all([sweepRuns(optionsOf(place)), sweepRuns(optionsOf(place))])
		for (const { failed, kept, finished } of reports) assert.deepEqual([failed, kept, finished], [0, 0, true])
		assert.ok(reports[0].deleted + reports[1].deleted >= ids.length)
		assert.equal((await cql(`SELECT run_id FROM ${place.keyspace}.${place.statuses}`)).rowLength, 0)
		assert.equal((await cql(`SELECT run_id FROM ${place.keyspace}.${place.contexts}`)).rowLength, 0)
	})

	test('a run that was cancelled in its sleep leaves no timer and no dead letter', async () => {
		const place = await home.sibling()
		const runtimeOptions = { blueprints: { naps }, registry: {}, logger: recorder() }
		const worker = new KafkaAdapter(place.options({ runtimeOptions }))
		await worker.start()
		try {
			const run = await worker.startRun('naps')
			await until('it sleeps', async () => (await run.status()) === 'awaiting')
			const timers = async () => {
				const { rows } = await cql(`SELECT run_id FROM ${place.keyspace}.${place.statuses}_due`)
				return rows.filter((row) => row.run_id === run.runId).length
			}
			assert.equal(await timers(), 1)
			await run.cancel('enough')
			await until('it is cancelled', async () => (await run.status()) === 'cancelled')
			await until('it is deleted', async () => {
				await sweepRuns(optionsOf(place, { retentionSeconds: 1 }))
				return (await rowsOf(place, run.runId)).length === 0
			})
			await until('its timer is gone', async () => (await timers()) === 0)
			await place.allCommitted()
			const letters = await place.readDeadLetters()
			assert.deepEqual(await letters.caughtUp(), [])
			assert.deepEqual(await rowsOf(place, run.runId), [])
		} finally {
			await worker.stop()
		}
	})

	describe('refuses', () => {
		test('a status table without the columns that it needs, with the statement that adds them', async () => {
			const place = await cluster.place({ schema: 'readme', name: 'sweep_readme', partitions: 0 })
			const table = `${place.keyspace}.${place.statuses}`
			await assert.rejects(sweepRuns(optionsOf(place)), {
				code: 'ERR_SCHEMA_MISSING',
				message: new RegExp(
					`^column "status" of table "${table}".* Create it with: ALTER TABLE ${table} ADD status text$`,
				),
			})
			await cql(`ALTER TABLE ${table} ADD status text`)
			assert.ok((await sweepRuns(optionsOf(place))).finished)
			await cql(`ALTER TABLE ${table} DROP updated_at`)
			await assert.rejects(sweepRuns(optionsOf(place)), { message: /ADD updated_at timestamp$/ })
		})

		test('status rows that expire before their runs are found', async () => {
			const place = await cluster.place({ schema: 'full', name: 'sweep_brief', partitions: 0 })
			const tables = optionsOf(place)
			await ensureSchema({ ...tables, ttlSeconds: HOUR })
			const refusal = { code: 'ERR_OPTION', message: /^options\.retentionSeconds: status rows expire after 3600 s/ }
			await assert.rejects(sweepRuns(tables), refusal)
			await ensureSchema({ ...tables, ttlSeconds: HOUR + 1 })
			assert.ok((await sweepRuns(tables)).finished)
			await ensureSchema({ ...tables, ttlSeconds: 0 })
			await cql(`ALTER TABLE ${place.keyspace}.${place.statuses} WITH default_time_to_live = ${HOUR}`)
			await assert.rejects(sweepRuns(tables), {
				...refusal,
				message: /Set its default_time_to_live to 0, or to more than/,
			})
		})

		test('a context table that is none, or is missing', async () => {
			await assert.rejects(sweepRuns(optionsOf(home, { contextTableName: home.statuses })), {
				code: 'ERR_SCHEMA_UNKNOWN',
			})
			await assert.rejects(sweepRuns(optionsOf(home, { contextTableName: 'nowhere' })), { code: 'ERR_SCHEMA_MISSING' })
		})
	})
})

/** A worker that counts the bodies it ran. @param {Place} place @param {Record<string, unknown>} [more] @param {typeof KafkaAdapter} [Type] */
function workerOf(place, more = {}, Type = KafkaAdapter) {
	const logger = recorder()
	/** @type {Map<string, number>} */
	const ran = new Map()
	const count = async (/** @type {any} */ { input, dependencies }) => {
		const { executionId } = dependencies.runtime
		ran.set(executionId, (ran.get(executionId) ?? 0) + 1)
		return { output: (input ?? 0) + 1 }
	}
	const runtimeOptions = { blueprints: { chain }, registry: { count }, logger }
	return { logger, ran, adapter: new Type(place.options({ runtimeOptions, ...more })) }
}

describe('workers with retentionSeconds', () => {
	test('delete ended runs, one of the group at a time, and leave the others', async () => {
		const place = await home.sibling()
		const workers = [0, 1].map(() => workerOf(place, { retentionSeconds: 1, sweepEverySeconds: 1 }))
		const deletions = () => workers.map(({ logger }) => logger.texts('info').filter((text) => text.includes('Deleted')))
		try {
			for (const { adapter } of workers) await adapter.start()
			const ids = []
			for (let run = 0; run < 10; run++) ids.push((await workers[0].adapter.startRun('chain')).runId)
			await putRun(place, 'it awaits', 'awaiting', OLD_MS)
			for (const runId of ids)
				await until(`${runId} is gone`, async () => (await rowsOf(place, runId)).length === 0, {
					describe: () => workers.map(({ logger }) => logger.texts('error')),
				})
			assert.deepEqual(await rowsOf(place, 'it awaits'), ['context', 'status'])
			const byWorker = deletions()
			assert.equal(byWorker.filter((texts) => texts.length > 0).length, 1, JSON.stringify(byWorker))
			// The other one does it when the first is gone.
			const first = byWorker.findIndex((texts) => texts.length > 0)
			await workers[first].adapter.stop()
			const { adapter, logger } = workers[1 - first]
			const { runId } = await adapter.startRun('chain')
			await until('that is gone, too', () => logger.texts('info').some((text) => text.includes('Deleted 1 runs')))
			assert.deepEqual(await rowsOf(place, runId), [])
			for (const one of workers) assert.deepEqual(one.logger.texts('error'), [])
		} finally {
			for (const { adapter } of workers) await adapter.stop()
		}
	})

	test('are refused where rows expire between two sweeps, by start()', async () => {
		const place = await cluster.place({ schema: 'full', name: 'sweep_between', partitions: 1 })
		await ensureSchema({ ...optionsOf(place), ttlSeconds: 2 * HOUR })
		const { adapter } = workerOf(place, { retentionSeconds: HOUR })
		await assert.rejects(adapter.start(), {
			code: 'ERR_OPTION',
			message: /^options\.retentionSeconds: status rows expire/,
		})
		const { adapter: other } = workerOf(place, { retentionSeconds: HOUR, sweepEverySeconds: 60 })
		await other.start()
		await other.stop()
	})

	test('are told by start() when the topic keeps messages for longer', async () => {
		const place = await home.sibling({ partitions: 1 })
		const configure = (/** @type {Record<string, string>} */ entries) =>
			cluster.admin.alterConfigs({
				validateOnly: false,
				resources: [
					{
						type: kafkajs.ConfigResourceTypes.TOPIC,
						name: place.topic,
						configEntries: Object.entries(entries).map(([name, value]) => ({ name, value })),
					},
				],
			})
		const warnings = async (/** @type {number} */ retentionSeconds) => {
			const { adapter, logger } = workerOf(place, { retentionSeconds })
			await adapter.start()
			await adapter.stop()
			return logger.texts('warn').filter((text) => text.includes('topic "'))
		}
		await configure({ 'retention.ms': TOPIC_HOUR })
		assert.deepEqual(await warnings(HOUR + 1), [])
		const [equal, ...more] = await warnings(HOUR)
		assert.deepEqual(more, [])
		assert.match(equal, /keeps messages for 3600 s, rows of ended runs are kept for 3600 s.*ERR_RUN_EXPIRED/)
		assert.match(
			equal,
			/kafka-configs\.sh --bootstrap-server \S+:\d+ --alter --entity-type topics --entity-name \S+ --add-config/,
		)
		await configure({ 'retention.ms': '-1' })
		assert.match((await warnings(HOUR)).join(), /keeps messages for ever/)
		await configure({ 'retention.ms': TOPIC_HOUR, 'cleanup.policy': 'compact' })
		assert.match((await warnings(2 * HOUR)).join(), /keeps messages for ever/)
	})
})

describe('a message that is older than retentionSeconds', () => {
	/** @param {Place} place @param {string} runId @param {{ ms?: number, partition?: number }} [options] */
	const send = ({ topic }, runId, { ms = OLD_MS, partition } = {}) =>
		cluster.producer.send({
			topic,
			messages: [
				{
					key: runId,
					value: JSON.stringify({ runId, blueprintId: 'chain', nodeId: 'a' }),
					timestamp: String(Date.now() - ms),
					...(partition === undefined ? {} : { partition }),
				},
			],
		})

	/** @param {Place} place @param {string} runId */
	const completes = async (place, runId) => {
		const { status, data } = await place.outcome(runId)
		assert.deepEqual([status, data.payload.context.b], ['completed', 2], runId)
	}

	test('goes to the dead letters where nothing is stored of its run, and runs where something is', async () => {
		const place = await home.sibling()
		const dead = ['gone', 'half deleted'].map((name) => unique(name.replace(' ', '_')))
		const alive = ['with_row', 'with_status', 'young'].map(unique)
		await putStatus(place, dead[1], 'completed', OLD_MS)
		await place.writeContext(alive[0], '{"mine":1}')
		await putStatus(place, alive[1], 'running', OLD_MS)
		for (const runId of [...dead, alive[0], alive[1]]) await send(place, runId)
		await send(place, alive[2], { ms: (HOUR * 1_000) / 2 })
		const { adapter, ran, logger } = workerOf(place, { retentionSeconds: HOUR })
		const letters = await place.readDeadLetters()
		await adapter.start()
		try {
			for (const runId of alive) await completes(place, runId)
			for (const runId of dead) {
				const { headers, value } = await letters.find(({ key }) => String(key) === runId)
				assert.equal(headers['flowcraft-code'], 'ERR_RUN_EXPIRED')
				assert.equal(headers['flowcraft-run'], runId)
				assert.match(headers['flowcraft-reason'], /older than the rows of ended runs are kept .*retentionSeconds/)
				assert.deepEqual(JSON.parse(String(value)), { runId, blueprintId: 'chain', nodeId: 'a' })
				assert.equal(ran.get(runId), undefined, 'no node of it ran')
			}
			await place.allCommitted()
			assert.deepEqual((await letters.caughtUp()).length, dead.length)
			assert.deepEqual(await rowsOf(place, dead[0]), [])
			assert.deepEqual(await rowsOf(place, dead[1]), ['status'])

			// A dead letter that is replayed is as old as its replay.
			const { key, value } = await letters.find((letter) => String(letter.key) === dead[0])
			await cluster.producer.send({ topic: place.topic, messages: [{ key, value }] })
			await completes(place, dead[0])
			assert.equal(logger.texts('error').length, dead.length, 'a line for each dead letter')
		} finally {
			await adapter.stop()
		}
	})

	test('runs where no retention is set', async () => {
		const place = await home.sibling()
		const runId = unique('kept')
		await send(place, runId)
		const { adapter } = workerOf(place)
		await adapter.start()
		try {
			await completes(place, runId)
		} finally {
			await adapter.stop()
		}
	})

	test('keeps its age when it moves to the partition of its run', async () => {
		const place = await home.sibling({ partitions: 2 })
		const runId = unique('astray')
		// One of the two is not its home.
		for (const partition of [0, 1]) await send(place, runId, { partition })
		const { adapter, ran } = workerOf(place, { retentionSeconds: HOUR })
		const letters = await place.readDeadLetters()
		await adapter.start()
		try {
			await until('both are buried', () => letters.messages.length === 2)
			for (const { headers } of letters.messages) {
				assert.equal(headers['flowcraft-code'], 'ERR_RUN_EXPIRED')
				assert.ok(Number(headers['flowcraft-time']) <= Date.now() - OLD_MS, headers['flowcraft-time'])
			}
			await place.allCommitted()
			assert.equal(ran.size, 0)
			assert.deepEqual(await rowsOf(place, runId), [])
		} finally {
			await adapter.stop()
		}
	})

	for (const [what, more] of /** @type {const} */ ([
		['one after the other', { maxConcurrentJobs: 1 }],
		['without successor messages', { dispatch: 'local' }],
	])) {
		test(`goes to the dead letters ${what}`, async () => {
			const place = await home.sibling({ partitions: 1 })
			const runId = unique('gone')
			const next = unique('next')
			await send(place, runId)
			await send(place, next, { ms: 0 })
			const { adapter, ran } = workerOf(place, { retentionSeconds: HOUR, ...more })
			const letters = await place.readDeadLetters()
			await adapter.start()
			try {
				await completes(place, next)
				const { headers } = await letters.find(({ key }) => String(key) === runId)
				assert.equal(headers['flowcraft-code'], 'ERR_RUN_EXPIRED')
				assert.deepEqual([...ran.keys()], [next])
				await place.allCommitted()
			} finally {
				await adapter.stop()
			}
		})
	}

	test('starts nothing through an overridden handleJob either', async () => {
		class Handling extends KafkaAdapter {
			/** @type {string[]} */
			codes = []
			/** @param {any} job */
			async handleJob(job) {
				await super.handleJob(job).catch((/** @type {any} */ error) => {
					this.codes.push(error.code)
					throw error
				})
			}
		}
		const place = await home.sibling({ partitions: 1 })
		const runId = unique('gone')
		const next = unique('next')
		await send(place, runId)
		await send(place, next, { ms: 0 })
		const { adapter, ran } = workerOf(place, { retentionSeconds: HOUR }, Handling)
		const letters = await place.readDeadLetters()
		await adapter.start()
		try {
			await completes(place, next)
			const { headers } = await letters.find(({ key }) => String(key) === runId)
			assert.equal(headers['flowcraft-code'], 'ERR_CALLBACK')
			assert.match(headers['flowcraft-reason'], /older than the rows of ended runs are kept/)
			assert.deepEqual(/** @type {Handling} */ (adapter).codes, ['ERR_RUN_EXPIRED'])
			assert.equal(ran.get(runId), undefined)
		} finally {
			await adapter.stop()
		}
	})
})

test('these are all schemas, but the one that a sweep refuses', () => {
	assert.deepEqual(Object.keys(SCHEMAS), ['readme', 'guide', 'full', 'column', 'entries'])
})
