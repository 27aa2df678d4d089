/**
 * From layout `document` to layout `entries`: nothing is lost whenever it is killed, and workers go on meanwhile and afterwards.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { CassandraContext, KafkaAdapter, migrateContexts } from '../../src/js/index.js'
import { openCluster, SCHEMAS, until } from '../support/cluster.mjs'
import { seed } from '../support/seed.mjs'

const KILLER = fileURLToPath(new URL('../support/migrate-main.mjs', import.meta.url))
const COMMAND = fileURLToPath(new URL('../../src/js/migrate/command.js', import.meta.url))
const KILLS = 20
const RUNS = 300
const MOST_COPIES_PER_LIFE = 12
const contactPoints = String(process.env.CASSANDRA_CONTACT_POINTS).split(',')

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

/** The same numbers for the same seed, from 0 to 1. @param {number} state */
const randoms = (state) => () => {
	state = (Math.imul(state, 1664525) + 1013904223) >>> 0
	return state / 2 ** 32
}

/** A source and an empty target beside it. @param {'full' | 'column'} schema @param {string} name */
async function tablesOf(schema, name) {
	const place = await cluster.place({ schema, name, partitions: 3 })
	const { keyspace } = place
	await cluster.cassandra.execute(`CREATE TABLE ${keyspace}.target (${SCHEMAS.entries.contexts})`)
	const options = {
		cassandraClient: cluster.cassandra,
		keyspace,
		from: place.contexts,
		to: 'target',
		runsPerSecond: Infinity,
	}
	const contextIn = (/** @type {string} */ table, /** @type {string} */ runId) =>
		new CassandraContext(runId, { client: cluster.cassandra, keyspace, tableName: table })
	/** What the target has of a run, with the reserved key. @param {string} runId */
	const rows = async (runId) => {
		const query = `SELECT key, value FROM ${keyspace}.target WHERE run_id = ?`
		const found = (await cluster.cassandra.execute(query, [runId], { prepare: true })).rows
		return Object.fromEntries(found.map(({ key, value }) => [key, JSON.parse(value)]))
	}
	return { place, options, contextIn, rows }
}

/** @param {number} at @param {() => number} random */
const documentOf = (at, random) => ({
	blueprintId: 'some',
	...(at % 3 ? { _flowcraft: { v: 1, blueprint: 'some', version: null, last: at, due: [[at, 'a', 1]] } } : {}),
	...Object.fromEntries(
		Array.from({ length: 1 + Math.floor(random() * 40) }, (_, key) => [
			`key ${key}`,
			{ at, text: 'x'.repeat(random() * 500) },
		]),
	),
	'': null,
})

test(`killed at ${KILLS} random points while the source changes, and started again, it equals the source (SEED=${seed})`, async (t) => {
	const { place, options, rows } = await tablesOf('full', 'migrate_kills')
	const random = randoms(seed)
	const ids = Array.from({ length: RUNS }, (_, at) => `run ${at}`)
	/** @type {Map<string, any>} */
	const documents = new Map()
	const write = async (/** @type {number} */ at) => {
		const document = documentOf(at, random)
		documents.set(ids[at], document)
		await place.writeContext(ids[at], JSON.stringify(document))
	}
	for (const at of ids.keys()) await write(at)
	let copies = 0
	for (let kill = 0; kill < KILLS; kill++) {
		const { keyspace, from, to } = options
		const life = { contactPoints, keyspace, from, to, copies: 1 + Math.floor(random() * MOST_COPIES_PER_LIFE) }
		const child = spawn(process.execPath, [KILLER, JSON.stringify(life)], { stdio: ['ignore', 'ignore', 'inherit'] })
		const [code, signal] = await once(child, 'exit')
		assert.deepEqual([code, signal], [null, 'SIGKILL'], 'it was killed before its end')
		copies += life.copies
		// Some that were copied and some that were not.
		for (let changes = 0; changes < 5; changes++) await write(Math.floor(random() * RUNS))
	}
	const report = await migrateContexts({ ...options, mode: 'copy' })
	assert.deepEqual(
		{ ...report, same: 0, copied: 0 },
		{ runs: RUNS, same: 0, copied: 0, stale: 0, gone: 0, failed: 0, failures: [], finished: true },
	)
	assert.ok(report.same > 0 && report.copied > 0, JSON.stringify(report))
	t.diagnostic(`${copies} copies in ${KILLS} lives, then ${report.copied}, and ${report.same} were there`)
	for (const id of ids) assert.deepEqual(await rows(id), documents.get(id), id)
	const again = await migrateContexts({ ...options, mode: 'copy' })
	assert.deepEqual([again.same, again.copied], [RUNS, 0])
})

const blueprint = {
	id: 'asks',
	nodes: ['a', 'ask', 'b'].map((id) => ({ id, uses: id === 'ask' ? 'wait' : 'count' })),
	edges: [
		{ source: 'a', target: 'ask' },
		{ source: 'ask', target: 'b' },
	],
}
let bodies = 0
const runtimeOptions = {
	registry: { count: async (/** @type {any} */ { input }) => ({ output: (++bodies, (input ?? 0) + 1) }) },
	blueprints: { asks: blueprint },
}

for (const schema of /** @type {const} */ (['full', 'column'])) {
	test(`schema ${schema}: runs that wait go on in the target, and no node runs twice`, async () => {
		const { place, options } = await tablesOf(schema, `migrate_${schema}`)
		bodies = 0
		const old = new KafkaAdapter(place.options({ runtimeOptions }))
		await old.start()
		const runs = await Promise.all(Array.from({ length: 20 }, () => old.startRun('asks')))
		for (const run of runs) await until(`${run.runId} awaits`, async () => (await run.status()) === 'awaiting')
		// While the worker works, a first pass; some go on meanwhile.
		assert.equal((await migrateContexts({ ...options, mode: 'copy' })).copied, runs.length)
		for (const run of runs.slice(0, 5)) {
			await run.resume(undefined, 7)
			assert.equal((await run.result({ timeoutMs: 20_000 })).payload?.context.b, 8)
		}
		await old.stop()
		const second = await migrateContexts({ ...options, mode: 'copy' })
		assert.deepEqual([second.same, second.copied], [15, 5])
		const next = new KafkaAdapter(place.options({ contextTableName: 'target', runtimeOptions }))
		await next.start()
		try {
			for (const { runId } of runs.slice(5)) {
				const run = next.getRun(runId)
				await run.resume(undefined, 9)
				const { status, payload } = await run.result({ timeoutMs: 20_000 })
				assert.deepEqual([status, payload?.context.a, payload?.context.b], ['completed', 1, 10])
			}
			assert.equal(bodies, runs.length * 2)
		} finally {
			await next.stop()
		}
		// What has gone on in the target stays as it is there.
		const last = await migrateContexts({ ...options, mode: 'copy' })
		assert.deepEqual([last.runs, last.failed], [runs.length, 0])
		const [{ runId }] = runs.slice(-1)
		assert.equal(await next.createContext(runId).get('b'), 10)
	})
}

test('what is newer stands, on either side', async () => {
	const { place, options, contextIn, rows } = await tablesOf('full', 'migrate_newer')
	await place.writeContext('one', JSON.stringify({ a: 1, b: 2, c: 3 }))
	await migrateContexts({ ...options, mode: 'copy' })
	const target = contextIn('target', 'one')
	await target.set('a', 'newer')
	await target.delete('b')
	await migrateContexts({ ...options, mode: 'copy' })
	assert.deepEqual(await rows('one'), { a: 'newer', c: 3 })
	const source = contextIn(place.contexts, 'one')
	await source.delete('c')
	await source.set('d', 4)
	await migrateContexts({ ...options, mode: 'copy' })
	assert.deepEqual(await rows('one'), { a: 1, b: 2, d: 4 })
	// A key that was only deleted, and a run that was purged, stay so.
	await target.delete('a')
	assert.equal((await migrateContexts({ ...options, mode: 'copy' })).same, 1)
	assert.deepEqual(await rows('one'), { b: 2, d: 4 })
	await cluster.cassandra.execute(`DELETE FROM ${place.keyspace}.target WHERE run_id = 'one'`)
	assert.equal((await migrateContexts({ ...options, mode: 'move' })).gone, 1)
	assert.deepEqual(await rows('one'), {})
	assert.ok(await place.context('one'), 'what is not in the target is not deleted')
	// A key of a run that was not copied yet does not keep it from being copied.
	await place.writeContext('two', JSON.stringify({ a: 1 }))
	await contextIn('target', 'two').set('z', 26)
	await migrateContexts({ ...options, mode: 'copy' })
	assert.deepEqual(await rows('two'), { a: 1, z: 26 })
})

test('rows that cannot be read are told and left, the others are copied; looking writes nothing, moving deletes', async () => {
	const { place, options, rows } = await tablesOf('full', 'migrate_bad')
	for (const id of ['a', 'b', 'c']) await place.writeContext(id, JSON.stringify({ id }))
	await place.writeContext('broken', '{"half":')
	await place.writeContext('list', '[]')
	const look = await migrateContexts(options)
	assert.deepEqual([look.runs, look.stale, look.failed], [5, 3, 2])
	assert.deepEqual(await rows('a'), {})
	const moved = await migrateContexts({ ...options, mode: 'move' })
	assert.deepEqual([moved.copied, moved.failed], [3, 2])
	assert.deepEqual(moved.failures.map(({ runId, code }) => `${runId} ${code}`).toSorted(), [
		'broken ERR_STATE_CORRUPT',
		'list ERR_STATE_CORRUPT',
	])
	assert.deepEqual(await rows('a'), { id: 'a' })
	assert.equal(await place.context('a'), undefined)
	assert.deepEqual((await migrateContexts(options)).runs, 2)
})

describe('tables that cannot be', () => {
	/** @type {Awaited<ReturnType<typeof tablesOf>>} */
	let tables
	before(async () => {
		tables = await tablesOf('full', 'migrate_refused')
	})
	for (const [what, more, code, message] of /** @type {const} */ ([
		[
			'a source in layout entries',
			{ from: 'target', to: 'other' },
			'ERR_OPTION',
			/^options\.from: ".*\.target" has layout entries/,
		],
		[
			'a target in layout document',
			{ to: 'documents' },
			'ERR_OPTION',
			/^options\.to: ".*\.documents" has layout document/,
		],
		[
			'a target that is missing',
			{ to: 'nowhere' },
			'ERR_SCHEMA_MISSING',
			/nowhere" is missing\. Create it with: CREATE TABLE/,
		],
		['one table for both', { to: 'Contexts' }, 'ERR_OPTION', /^options\.to: "Contexts" is the source, too/],
		['a name that is none', { to: 'a b' }, 'ERR_OPTION', /^options\.to: "a b" is not a CQL identifier/],
		['no name', { to: undefined }, 'ERR_OPTION', /^options\.to: missing/],
		[
			'an unknown mode',
			{ mode: 'sync' },
			'ERR_OPTION',
			/^options\.mode: "sync" is not known\. Use one of look, copy, move/,
		],
		['no pace', { runsPerSecond: 0 }, 'ERR_OPTION', /^options\.runsPerSecond: 0 is not a whole number/],
	])) {
		test(what, async () => {
			const { options, place } = tables
			await cluster.cassandra.execute(
				`CREATE TABLE IF NOT EXISTS ${place.keyspace}.documents (${SCHEMAS.full.contexts})`,
			)
			await assert.rejects(migrateContexts(/** @type {any} */ ({ ...options, ...more })), { code, message })
		})
	}
})

describe('flowcraft-migrate', () => {
	/** @param {string[]} args */
	function run(...args) {
		const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
		const exit = once(child, 'exit')
		const ended = Promise.all([exit, text(child.stdout), text(child.stderr)])
		return { child, ended: ended.then(([[code], out, err]) => ({ code, out, err })) }
	}

	test('looks, copies when told to, stops at Ctrl-C and goes on', async () => {
		const { place, options, rows } = await tablesOf('full', 'migrate_command')
		const ids = Array.from({ length: 40 }, (_, at) => `run${at}`)
		for (const id of ids) await place.writeContext(id, JSON.stringify({ id }))
		const where = ['--keyspace', place.keyspace, '--from', options.from, '--to', options.to]
		const looked = await run(...where).ended
		assert.deepEqual([looked.code, looked.err], [0, ''])
		assert.match(looked.out, /^40 runs: 0 there already, 0 copied, 40 to be copied, 0 gone meanwhile, 0 failed\n$/)

		const slow = run(...where, '--copy', '--runs-per-second', '10', '--concurrency', '1')
		await until('some are copied', async () => (await copiedOf(ids, rows)) > 2)
		slow.child.kill('SIGINT')
		const stopped = await slow.ended
		assert.equal(stopped.code, 130, stopped.err)
		assert.match(stopped.out, /Stopped; start it again to go on\.\n$/)

		const ended = await run(...where, '--copy', '--runs-per-second', '1000').ended
		assert.equal(ended.code, 0, ended.err)
		const [, there, copied] = /** @type {RegExpMatchArray} */ (
			/40 runs: (\d+) there already, (\d+) copied/.exec(ended.out)
		)
		assert.ok(Number(there) > 0 && Number(copied) > 0 && Number(there) + Number(copied) === ids.length, ended.out)
		for (const id of ids) assert.deepEqual(await rows(id), { id })
		assert.equal((await run(...where, '--copy', '--delete-migrated', '--runs-per-second', '1000').ended).code, 0)
		assert.equal(await place.context('run0'), undefined)
	})

	test('refuses what it cannot do, in words', async () => {
		const deleting = await run('--keyspace', 'k', '--from', 'a', '--to', 'b', '--delete-migrated').ended
		assert.deepEqual([deleting.code, deleting.err], [2, '--delete-migrated goes with --copy\n'])
		const nameless = await run('--from', 'a', '--to', 'b').ended
		assert.deepEqual([nameless.code, nameless.err], [2, '--keyspace is missing\n'])
		const help = await run('--help').ended
		assert.equal(help.code, 0)
		assert.match(help.out, /^usage: flowcraft-migrate --keyspace NAME/)
	})
})

/** @param {string[]} ids @param {(id: string) => Promise<object>} rows */
async function copiedOf(ids, rows) {
	const found = await Promise.all(ids.map(rows))
	return found.filter((row) => Object.keys(row).length > 0).length
}
