/**
 * `ensureSchema` makes the tables that a worker needs, of nothing or of the documented ones, and changes nothing after that.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ensureSchema, KafkaAdapter, schemaStatements } from '../../src/js/index.js'
import { openCluster, recorder, SCHEMAS, unique } from '../support/cluster.mjs'

const WORKERS = 10
const replication = { class: 'SimpleStrategy', replication_factor: 1 }
const blueprint = { id: 'one', nodes: [{ id: 'a', uses: 'a' }], edges: [] }
const registry = { a: async () => ({ output: 1 }) }

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

const newTables = () => ({ keyspace: unique('schema'), contextTableName: 'contexts', statusTableName: 'statuses' })

/** Columns of a table as they stand in a `CREATE TABLE`. @param {string} keyspace @param {string} table */
async function columnsOf(keyspace, table) {
	const query = 'SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?'
	const { rows } = await cluster.cassandra.execute(query, [keyspace, table])
	return rows.map(({ column_name: name, kind, type }) => `${name} ${type} ${kind}`).toSorted()
}

describe('ensureSchema', () => {
	for (const [layout, schema] of /** @type {const} */ ([
		['document', 'column'],
		['entries', 'entries'],
	])) {
		test(`${WORKERS} workers that call it at once make one ${layout} schema, and run on it without a warning`, async () => {
			const place = await cluster.place({ schema: 'none', name: `ensure_${layout}` })
			const logger = recorder()
			const runtimeOptions = { registry, blueprints: { one: blueprint }, logger }
			const adapters = Array.from({ length: WORKERS }, () => new KafkaAdapter(place.options({ runtimeOptions })))
			const reports = await Promise.all(adapters.map((adapter) => adapter.ensureSchema({ layout, replication })))
			assert.deepEqual(new Set(reports.map((report) => report.layout)), new Set([layout]))
			assert.equal(reports.flatMap(({ statements }) => statements).length, 6, 'nothing was made twice')
			assert.deepEqual(await adapters[0].ensureSchema(), { layout, statements: [] })
			const model = await cluster.place({ schema, name: 'model', partitions: 0 })
			for (const table of ['contexts', 'statuses']) {
				assert.deepEqual(await columnsOf(place.keyspace, table), await columnsOf(model.keyspace, table))
			}
			const [adapter] = adapters
			await adapter.start()
			try {
				const run = await adapter.startRun('one')
				assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
				assert.deepEqual(logger.texts('warn'), [])
			} finally {
				await adapter.stop()
			}
		})
	}

	test('leaves nothing to do where the statements of schemaStatements were run', async () => {
		const tables = newTables()
		for (const layout of /** @type {const} */ (['document', 'entries'])) {
			const own = { ...tables, contextTableName: `by_${layout}`, layout, ttlSeconds: 3_600 }
			for (const statement of schemaStatements({ ...own, replication })) await cluster.cassandra.execute(statement)
			const report = await ensureSchema({ ...own, cassandraClient: cluster.cassandra })
			assert.deepEqual(report, { layout, statements: [] })
		}
		const query = 'SELECT comment FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?'
		const { comment } = (await cluster.cassandra.execute(query, [tables.keyspace, 'statuses'])).first()
		assert.equal(comment, 'flowcraft.ttlSeconds=3600')
	})

	test('adds to documented tables what they lack', async () => {
		const { keyspace } = await cluster.place({ schema: 'guide', name: 'ensure_guide', partitions: 0 })
		const { statements } = await ensureSchema({ ...newTables(), keyspace, cassandraClient: cluster.cassandra })
		assert.deepEqual(statements.slice(0, 2), [
			`ALTER TABLE ${keyspace}.contexts ADD checkpoint text`,
			`ALTER TABLE ${keyspace}.statuses ADD status_data text`,
		])
		assert.equal(statements.length, 5)
		const full = SCHEMAS.full.statuses.split(', ').length
		assert.equal((await columnsOf(keyspace, 'statuses')).length, full)
	})

	test('refuses what it cannot do, and says what to do instead', async () => {
		const { keyspace } = await cluster.place({ schema: 'full', name: 'ensure_refused', partitions: 0 })
		const options = { ...newTables(), keyspace, cassandraClient: cluster.cassandra }
		await assert.rejects(ensureSchema({ ...options, layout: 'entries' }), {
			code: 'ERR_OPTION',
			message: /^options\.layout: table ".*" has another layout, which cannot be changed\. Leave the option out/,
		})
		const wrapped = { execute: async () => ({ rows: [] }) }
		await assert.rejects(ensureSchema({ ...options, cassandraClient: wrapped }), {
			code: 'ERR_UNSUPPORTED',
			message: /schemaStatements\(\)/,
		})
	})
})
