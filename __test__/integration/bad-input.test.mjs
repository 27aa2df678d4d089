/**
 * G6, G9: every bad input has a stable code and a message that says what is wrong and what to do; nothing is lost, and the
 * worker goes on. The table is in `bad-input-cases.mjs`.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { KafkaAdapter, KafkaAdapterError } from '../../src/js/index.js'
import { openCluster, recorder, unique, until } from '../support/cluster.mjs'
import { MESSAGES, OPTIONS, OTHERS, RUNS, STARTS } from './bad-input-cases.mjs'
import { FILE, render } from './bad-input-doc.mjs'
import { DOORS } from './bad-option-cases.mjs'

const blueprint = { id: 'good', nodes: [{ id: 'a', uses: 'a' }], edges: [] }

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	// The documented table, whatever the rest runs on: rows and statements are written by hand.
	home = await cluster.place({ name: 'bad_input', partitions: 0, schema: 'full' })
})

after(() => cluster.close())

/** The pattern of a message in which `<...>` stands for anything. @param {string} text */
const pattern = (text) =>
	new RegExp(`^${text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(/<[^<>]*>/g, '[^]+')}$`)

/** @param {any} [logger] */
const runtimeOptions = (logger = recorder()) => ({
	blueprints: { good: blueprint },
	registry: { a: async () => ({ output: 'done' }) },
	logger,
})

/** @param {import('../support/cluster.mjs').Place} place @param {string} runId */
async function completes(place, runId) {
	const { status, data } = await place.outcome(runId)
	assert.equal(status, 'completed')
	assert.equal(data.payload.context['_outputs.a'], 'done')
}

test('the documentation says what these tests run', () => {
	assert.equal(readFileSync(FILE, 'utf8'), render(), 'node __test__/integration/bad-input-doc.mjs --write')
})

describe('G9: options, refused by the constructor', () => {
	for (const { input, options, code, message } of OPTIONS) {
		test(`${input} -> ${code}`, () => {
			const build = () => new KafkaAdapter(home.options({ runtimeOptions: runtimeOptions(), ...options }))
			assert.throws(build, (error) => {
				assert.ok(error instanceof KafkaAdapterError)
				assert.equal(error.code, code)
				assert.match(error.message, pattern(message))
				return true
			})
		})
	}
})

/** Options of what works without an adapter. */
for (const { name, good, call, rows } of DOORS) {
	describe(`G9: ${name}`, () => {
		for (const { input, options, code, message } of rows) {
			test(`${input} -> ${code}`, () =>
				assert.rejects(
					async () => call({ ...good, ...options }),
					(error) => {
						assert.ok(error instanceof KafkaAdapterError)
						assert.equal(error.code, code)
						assert.match(error.message, pattern(message))
						return true
					},
				))
		}
	})
}

describe('G9: services, refused by start(), which may be called again', () => {
	for (const { input, code, message, cure: words, prepare } of STARTS) {
		test(`${input} -> ${code}; ${words}, and a good job completes`, async () => {
			const place = await home.sibling({ partitions: 1 })
			const { options, cure } = await prepare(place)
			const logger = recorder()
			const adapter = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions(logger), ...options }))
			/** @type {(() => Promise<void>)[]} */
			const undo = []
			try {
				const refusal = await adapter.start().then(
					() => assert.fail('start() was not refused'),
					(error) => error,
				)
				assert.ok(refusal instanceof KafkaAdapterError)
				assert.equal(refusal.code, code, refusal.message)
				assert.match(refusal.message, pattern(message))
				assert.equal(logger.texts('error').length, 1, 'one error line')
				undo.push((await cure(refusal.message)) ?? (async () => {}))
				await startWith(adapter, cure)

				const topic = String(options.topicName ?? place.topic)
				const keyspace = String(options.keyspace ?? place.keyspace)
				const contexts = String(options.contextTableName ?? place.contexts)
				const statuses = String(options.statusTableName ?? place.statuses)
				const cured = { ...place, topic, tables: { keyspace, contexts, statuses } }
				await goodJob(cured)
			} finally {
				await adapter.stop()
				for (const step of undo) await step()
			}
		})
	}

	/** A keyspace that was missing has no tables yet: each refusal names the next statement. */
	async function startWith(/** @type {KafkaAdapter} */ adapter, /** @type {(message: string) => Promise<any>} */ cure) {
		for (let missing = 2; ; missing--) {
			const refusal = await adapter.start().then(
				() => undefined,
				(error) => error,
			)
			if (!refusal) return
			if (refusal.code !== 'ERR_SCHEMA_MISSING' || missing === 0) throw refusal
			await cure(refusal.message)
		}
	}

	/** @param {any} place whose names may differ from those it was made with */
	async function goodJob({ topic, tables: { keyspace, contexts, statuses } }) {
		const runId = unique('good')
		const { cassandra, producer } = cluster
		await cassandra.execute(`INSERT INTO ${keyspace}.${contexts} (run_id, context_data) VALUES (?, ?)`, [runId, '{}'], {
			prepare: true,
		})
		await producer.send({
			topic,
			messages: [{ key: runId, value: JSON.stringify({ runId, blueprintId: 'good', nodeId: 'a' }) }],
		})
		await until(`${runId} completes`, async () => {
			const query = `SELECT status FROM ${keyspace}.${statuses} WHERE run_id = ?`
			return (await cassandra.execute(query, [runId], { prepare: true })).first()?.status === 'completed'
		})
	}

	test(`${OTHERS.oldMember.input} -> ${OTHERS.oldMember.code}; ${OTHERS.oldMember.cure}, and a good job completes`, async () => {
		const place = await home.sibling({ partitions: 1 })
		const old = cluster.kafka.consumer({ groupId: place.group })
		await old.connect()
		await old.subscribe({ topic: place.topic })
		await old.run({ eachMessage: async () => {} })
		await cluster.members(place.group, 1)
		const logger = recorder()
		const adapter = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions(logger) }))
		let isStarted = false
		const starting = adapter.start().then(() => (isStarted = true))
		// It is awaited below, unless something else fails before.
		starting.catch(() => undefined)
		try {
			const trouble = await until('the trouble is told', () =>
				/** @type {any} */ (adapter.health()).troubles?.find(
					(/** @type {any} */ { code }) => code === OTHERS.oldMember.code,
				),
			)
			assert.match(trouble.message, pattern(OTHERS.oldMember.message))
			await until('it is logged', () => logger.texts('warn').some((text) => text.includes(trouble.message)))
			assert.equal(isStarted, false, 'start() waits')
			await old.disconnect()
			await starting
			await completes(place, await place.startRun(blueprint))
			assert.deepEqual(/** @type {any} */ (adapter.health()).troubles, [])
		} finally {
			await old.disconnect()
			await adapter.stop()
		}
	})
})

describe('G6: messages that nobody can process, and good ones behind them', () => {
	/** @type {KafkaAdapter} */
	let adapter
	/** @type {import('../support/cluster.mjs').Place} */
	let place
	/** @type {Awaited<ReturnType<typeof place.readDeadLetters>>} */
	let letters
	let expectedLetters = 0

	before(async () => {
		// One partition: what is sent behind a bad message lies behind it.
		place = await home.sibling({ partitions: 1 })
		letters = await place.readDeadLetters()
		adapter = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions() }))
		await adapter.start()
	})

	after(() => adapter.stop())

	/** Sends a message and a good job behind it. @param {{ key: string | null, value: any }} bad */
	async function sendWithGoodJobBehind(bad) {
		const good = unique('good')
		const job = { key: good, value: JSON.stringify({ runId: good, blueprintId: 'good', nodeId: 'a' }) }
		const headers = { trace: '\u00ff', 'flowcraft-code': 'of an earlier burial' }
		const messages = [{ ...bad, headers }, job]
		const [{ baseOffset }] = await cluster.producer.send({ topic: place.topic, messages })
		await completes(place, good)
		return Number(baseOffset)
	}

	/** @param {number} offset @param {{ key: string | null, value: any }} bad @param {string} code @param {string} message */
	async function isBuried(offset, bad, code, message) {
		expectedLetters++
		const { key, value, headers } = await letters.find(
			(letter) => letter.headers['flowcraft-offset'] === String(offset),
		)
		assert.equal(headers['flowcraft-code'], code)
		assert.match(headers['flowcraft-reason'], pattern(message))
		assert.equal(headers['flowcraft-topic'], place.topic)
		assert.equal(headers['flowcraft-partition'], '0')
		assert.ok(Math.abs(Number(headers['flowcraft-time']) - Date.now()) < 60_000)
		assert.equal(headers.trace, '\u00ff', 'the original headers')
		assert.deepEqual(value, Buffer.from(bad.value), 'the original bytes')
		assert.deepEqual(key, bad.key === null ? null : Buffer.from(bad.key), 'the original key')
		return headers
	}

	for (const { input, value, key = 'some-run', code, message } of MESSAGES) {
		test(`${input} -> ${code ?? 'no dead letter'}, and the good job behind it completes`, async () => {
			const bad = { key, value }
			const offset = await sendWithGoodJobBehind(bad)
			if (code) await isBuried(offset, bad, code, message)
		})
	}

	for (const { input, context, job, code, message, status } of RUNS) {
		test(`${input} -> ${code ?? 'no dead letter'}, and the good job behind it completes`, async () => {
			const runId = unique('run')
			if (context !== undefined) await place.writeContext(runId, context)
			const bad = { key: runId, value: JSON.stringify({ runId, blueprintId: 'good', nodeId: 'a', ...job }) }
			const offset = await sendWithGoodJobBehind(bad)
			if (code) {
				const headers = await isBuried(offset, bad, code, message)
				assert.equal(headers['flowcraft-run'], runId)
				if (context !== undefined) {
					const query = `SELECT context_data FROM ${place.keyspace}.${place.contexts} WHERE run_id = ?`
					const [row] = (await cluster.cassandra.execute(query, [runId], { prepare: true })).rows
					assert.equal(row.context_data, context, 'the row stays as it is')
				}
			}
			if (status) {
				const row = await place.outcome(runId)
				assert.equal(row.status, status)
				if (code) assert.match(row.data.reason, pattern(message))
			} else {
				assert.deepEqual(await place.statusRows([runId]), [])
			}
		})
	}

	test('nothing is lost: each refused message has one dead letter, and everything is committed', async () => {
		await place.allCommitted()
		const all = await letters.caughtUp()
		assert.equal(all.length, expectedLetters)
		assert.equal(new Set(all.map(({ headers }) => headers['flowcraft-offset'])).size, expectedLetters)
		const health = /** @type {any} */ (adapter.health())
		assert.equal(health.state, 'running')
		assert.equal(health.healthy, true)
	})
})
