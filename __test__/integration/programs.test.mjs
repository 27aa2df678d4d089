/**
 * The worker programs of the public guide and of the README of 1.4.4, as they stand there, as processes of their own: with
 * each ioredis, on each of the tables that users have, with runs that the documented client program starts.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { addresses, openCluster, until } from '../support/cluster.mjs'
import { runInMemory } from '../support/oracle.mjs'
import { blueprint, initialContext, registry } from './guide-client/shared.mjs'
import { openProject, withoutStatusStatement } from './guide-project.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const documents = join(here, '../types/programs')
const contract = join(here, '../../../shared/contract')
const client = readFileSync(join(here, 'guide-client/client.mjs'), 'utf8')

/** What the warning has to add to the status table, and where a run's end can be seen. */
const SCHEMAS = {
	readme: { missing: ['status text'], isOver: (/** @type {any} */ row) => row.status_data !== null },
	guide: { missing: ['status_data text'], isOver: (/** @type {any} */ row) => row.status === 'completed' },
	full: { missing: [], isOver: (/** @type {any} */ row) => row.status === 'completed' },
}

/**
 * What a user changes of each program: addresses, and where the workflows come from. All else is as it stands there.
 *
 * @type {{ document: string, replacements: (place: any, where: ReturnType<typeof addresses>) => Record<string, string> }[]}
 */
const PROGRAMS = [
	{
		document: 'docs-page.md',
		// The services' addresses are read from the environment.
		replacements: (place) => ({
			"from './shared'": "from './shared.mjs'",
			"topicName: 'flowcraft-jobs'": `topicName: '${place.topic}'`,
			"groupId: 'flowcraft-worker-group'": `groupId: '${place.group}'`,
			"keyspace: 'flowcraft_ks'": `keyspace: '${place.keyspace}'`,
		}),
	},
	{
		document: 'package-readme.md',
		replacements: (place, { brokers, contactPoints, localDataCenter, redisUrl }) => ({
			'const blueprints = { /* your workflow blueprints */ }': "import { blueprints } from './shared.mjs'",
			'const registry = { /* your node implementations */ }': "import { registry } from './shared.mjs'",
			"brokers: ['kafka-broker:9092']": `brokers: ${JSON.stringify(brokers)}`,
			"contactPoints: ['cassandra-node:9042']": `contactPoints: ${JSON.stringify(contactPoints)}`,
			"localDataCenter: 'datacenter1'": `localDataCenter: '${localDataCenter}'`,
			"'YOUR_REDIS_CONNECTION_STRING'": `'${redisUrl}'`,
			"topicName: 'flowcraft-jobs'": `topicName: '${place.topic}'`,
			"groupId: 'flowcraft-workers'": `groupId: '${place.group}'`,
			"keyspace: 'your_keyspace'": `keyspace: '${place.keyspace}'`,
			"contextTableName: 'flowcraft_contexts'": `contextTableName: '${place.contexts}'`,
			"statusTableName: 'flowcraft_statuses'": `statusTableName: '${place.statuses}'`,
		}),
	},
]

/** The first block of a document is its worker. @param {string} document @param {Record<string, string>} replacements */
function workerProgram(document, replacements) {
	const text = readFileSync(join(documents, document), 'utf8')
	let [, program] = /** @type {RegExpMatchArray} */ (text.match(/```typescript\n(.*?)```/s))
	for (const [from, to] of Object.entries(replacements)) {
		assert.equal(program.split(from).length, 2, `${from} once in ${document}`)
		program = program.replace(from, () => to)
	}
	const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
	return ts.transpileModule(program, { compilerOptions }).outputText
}

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

/** @param {any} place @param {string} runId @param {(row: any) => boolean} isOver @param {() => unknown} describe */
async function ended(place, runId, isOver, describe) {
	const query = `SELECT * FROM ${place.keyspace}.${place.statuses} WHERE run_id = ?`
	const look = async () => {
		const row = (await cluster.cassandra.execute(query, [runId], { prepare: true })).first()
		return row && isOver(row) ? row : undefined
	}
	return until(`${runId} has ended`, look, { timeoutMs: 60_000, describe })
}

describe('the worker programs of the guide and the README run, and the documented client starts runs on them', () => {
	for (const [schema, { missing, isOver }] of Object.entries(SCHEMAS)) {
		describe(`schema ${schema}`, () => {
			/** @type {import('../support/cluster.mjs').Place} */
			let home
			before(async () => {
				home = await cluster.place({ schema: /** @type {any} */ (schema), name: `programs_${schema}`, partitions: 0 })
			})

			for (const { document, replacements } of PROGRAMS) {
				for (const ioredis of /** @type {const} */ (['ioredis5', 'ioredis'])) {
					test(`${document}, ${ioredis === 'ioredis' ? 'ioredis 6' : 'ioredis 5'}`, async (t) => {
						const place = await home.sibling({ partitions: 2, name: 'program' })
						const project = openProject({ ioredis })
						t.after(project.remove)
						project.write('worker.mjs', workerProgram(document, replacements(place, addresses())))
						const { localDataCenter } = addresses()
						const worker = project.start('worker.mjs', { CASSANDRA_DATACENTER: localDataCenter })
						t.after(worker.stop)
						const describe = () => worker.seen.output.slice(-3_000)

						const program = schema === 'readme' ? withoutStatusStatement(client) : client
						const runId = await project.runClient(program, [place.keyspace, place.topic])
						await ended(place, runId, isOver, describe)
						const { document: context } = /** @type {any} */ (await place.context(runId))
						const expected = /** @type {any} */ (await runInMemory(blueprint, { registry }, initialContext))
						assert.equal(context['_outputs.summarise'], expected.context['_outputs.summarise'])

						assert.equal(worker.isRunning, true, describe())
						const lines = worker.seen.output.split('\n')
						const alter = lines.filter((line) => line.includes('ALTER TABLE'))
						assert.equal(alter.length, missing.length, `one warning per missing column: ${describe()}`)
						for (const [at, column] of missing.entries())
							assert.ok(alter[at].includes(`ALTER TABLE ${place.keyspace}.statuses ADD ${column}`), alter[at])
						assert.doesNotMatch(worker.seen.output, /\[ERROR\]/)
						assert.match(worker.seen.output, /Worker \(Group: \S+\) listening on topic/)
					})
				}
			}
		})
	}
})

// Decision 54: once the driver, or the client, does better, `prepared.mjs` can go.
test('without a prepared statement, the driver takes the id of a run for a uuid, and Cassandra refuses it', async (t) => {
	const place = await cluster.place({ schema: 'full', name: 'programs_unprepared' })
	const project = openProject()
	t.after(project.remove)
	await assert.rejects(project.runClient(client, [place.keyspace, place.topic], { isPrepared: false }), (error) => {
		assert.match(String(/** @type {any} */ (error).stderr), /ResponseError: String didn't validate\./)
		return true
	})
})

// The copies here are what the tests run; the requirements do not lie beside every clone.
if (existsSync(contract)) {
	test('the programs of these tests are those of the contract', () => {
		assert.equal(client, readFileSync(join(contract, 'client.mjs'), 'utf8'))
		for (const { document } of PROGRAMS)
			assert.equal(
				readFileSync(join(documents, document), 'utf8'),
				readFileSync(join(contract, document), 'utf8'),
				document,
			)
	})
}
