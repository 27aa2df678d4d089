/**
 * The tables that users have today: programs of the JavaScript package's clients start runs on our worker unchanged, and
 * one warning says what is missing and the statement that adds it.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KafkaAdapter } from '../../src/js/index.js'
import { DOCUMENTED, openCluster, recorder, until } from '../support/cluster.mjs'
import { published, runInMemory } from '../support/oracle.mjs'
import { blueprint, initialContext, registry } from './guide-client/shared.mjs'
import { openProject, withoutStatusStatement } from './guide-project.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const contract = join(here, '../../../shared/contract')
const client = readFileSync(join(here, 'guide-client/client.mjs'), 'utf8')

/** What the warning has to say for each schema, and what a client can still see. */
const EXPECTED = {
	readme: { missing: ['status text'], hasStatus: false, hasData: true },
	guide: { missing: ['status_data text'], hasStatus: true, hasData: false },
	full: { missing: [], hasStatus: true, hasData: true },
	// What `ensureSchema` makes of the full one.
	column: { missing: [], hasStatus: true, hasData: true },
}

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

/** @param {import('../support/cluster.mjs').Place} place @param {string} runId */
async function ended(place, runId) {
	const { hasData, hasStatus } = EXPECTED[/** @type {keyof typeof EXPECTED} */ (place.schema)]
	const { cassandra } = cluster
	return until(`${runId} has ended`, async () => {
		const [row] = (
			await cassandra.execute(`SELECT * FROM ${place.keyspace}.statuses WHERE run_id = ?`, [runId], { prepare: true })
		).rows
		return row && (hasStatus ? row.status === 'completed' : hasData && row.status_data !== null) ? row : undefined
	})
}

describe('clients of the JavaScript package start runs unchanged on every schema', () => {
	for (const [name, { missing, hasData }] of Object.entries(EXPECTED)) {
		test(`schema ${name}`, async () => {
			const place = await cluster.place({ schema: /** @type {any} */ (name), name: `schema_${name}` })
			const logger = recorder()
			const adapter = new KafkaAdapter(
				place.options({ runtimeOptions: { registry, blueprints: { [blueprint.id]: blueprint }, logger } }),
			)
			await adapter.start()
			const project = openProject()
			try {
				const program = name === 'readme' ? withoutStatusStatement(client) : client
				const runId = await project.runClient(program, [place.keyspace, place.topic])
				const row = await ended({ ...place, schema: name }, runId)
				const expected = await runInMemory(blueprint, { registry }, initialContext)
				if (hasData) {
					const data = JSON.parse(row.status_data)
					assert.deepEqual(published(data, blueprint, initialContext), expected)
				}
				const { document } = /** @type {any} */ (await place.context(runId))
				assert.equal(document['_outputs.summarise'], /** @type {any} */ (expected).context['_outputs.summarise'])
				const alter = logger.texts('warn').filter((text) => text.includes('ALTER TABLE'))
				assert.equal(alter.length, missing.length, `one warning per missing column: ${alter.join('\n')}`)
				missing.forEach((column, at) =>
					assert.ok(alter[at].includes(`ALTER TABLE ${place.keyspace}.statuses ADD ${column}`), alter[at]),
				)
			} finally {
				project.remove()
				await adapter.stop()
			}
		})
	}

	test('the statement of the warning is the cure: run it, start again, and nothing is missing', async () => {
		const place = await cluster.place({ schema: 'guide', name: 'schema_cure' })
		const start = async () => {
			const logger = recorder()
			const adapter = new KafkaAdapter(
				place.options({ runtimeOptions: { registry, blueprints: { [blueprint.id]: blueprint }, logger } }),
			)
			await adapter.start()
			return { adapter, alter: logger.texts('warn').filter((text) => text.includes('ALTER TABLE')) }
		}
		const first = await start()
		await first.adapter.stop()
		const [, statement] = /** @type {RegExpMatchArray} */ (first.alter[0].match(/(ALTER TABLE \S+ ADD \w+ \w+)/))
		await cluster.cassandra.execute(statement)
		const second = await start()
		try {
			assert.deepEqual(second.alter, [])
			const runId = await place.startRun(blueprint, initialContext)
			const row = await ended({ ...place, schema: 'full' }, runId)
			assert.equal(JSON.parse(row.status_data).payload.status, 'completed')
		} finally {
			await second.adapter.stop()
		}
	})
})

// The requirements do not lie beside every clone.
if (existsSync(contract)) {
	test('the schemas of these tests are those of the contract', () => {
		const text = readFileSync(join(contract, 'schemas.cql'), 'utf8')
		for (const [name, { contexts, statuses }] of Object.entries(DOCUMENTED)) {
			assert.ok(text.includes(`CREATE TABLE ${name}_ks.contexts (${contexts});`), name)
			assert.ok(text.includes(`CREATE TABLE ${name}_ks.statuses (${statuses});`), name)
		}
	})
}
