/** The programs in examples/, which are those of the README, run as they are. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { blueprint } from '../../examples/shared.mjs'
import { dropKeyspace, uniqueName, withCassandra } from './demo-keyspace.mjs'

const EXAMPLES = new URL('../../examples/', import.meta.url)
const COVERED = [
	'client.mjs',
	'embedded.mjs',
	'reconciler.mjs',
	'shared.mjs',
	'webhooks.mjs',
	'worker-plain-settings.mjs',
	'worker.mjs',
]
const keyspace = uniqueName('examples')

before(() =>
	withCassandra(async (client) => {
		const text = await readFile(new URL('tables.cql', EXAMPLES), 'utf8')
		const statements = text
			.replace(/^--.*$/gm, '')
			.replaceAll('flowcraft_ks', keyspace)
			.split(';')
		for (const statement of statements) if (statement.trim()) await client.execute(statement)
	}),
)

after(() => dropKeyspace(keyspace))

/** A topic and a group for each test; the programs of one test share them. */
function programs(t) {
	const topic = uniqueName('examples')
	const env = {
		...process.env,
		FLOWCRAFT_KEYSPACE: keyspace,
		FLOWCRAFT_TOPIC: topic,
		FLOWCRAFT_GROUP: topic,
		KAFKAJS_NO_PARTITIONER_WARNING: '1',
	}
	return (name, ...args) => {
		const program = start(name, args, env)
		t.after(() => program.kill('SIGKILL'))
		return program
	}
}

function start(name, args, env) {
	const child = spawn(process.execPath, [fileURLToPath(new URL(name, EXAMPLES)), ...args], {
		env,
		stdio: ['ignore', 'pipe', 'pipe'],
	})
	let output = ''
	let noticed = () => {}
	for (const stream of [child.stdout, child.stderr])
		stream.on('data', (chunk) => {
			output += chunk
			noticed()
		})
	const ended = once(child, 'close').then(([code, signal]) => {
		noticed()
		return { code, signal, output }
	})
	return {
		ended,
		kill: (signal) => child.kill(signal),
		async says(text) {
			while (!output.includes(text)) {
				assert.equal(child.exitCode, null, `${name} ended without "${text}":\n${output}`)
				await new Promise((resolve) => (noticed = resolve))
			}
		},
	}
}

async function succeeds(program) {
	const { code, output } = await program.ended
	assert.equal(code, 0, output)
	return output
}

test('every example has a test', async () => {
	const there = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.mjs')).sort()
	assert.deepEqual(there, COVERED)
})

for (const name of ['worker.mjs', 'worker-plain-settings.mjs']) {
	test(`${name} runs what client.mjs starts, and stops when asked`, async (t) => {
		const run = programs(t)
		const worker = run(name)
		await worker.says('Worker is running')
		const output = await succeeds(run('client.mjs', 'Ada', 'Grace'))
		assert.match(output, /completed HELLO, ADA! \(11 characters\)/)
		assert.match(output, /completed HELLO, GRACE! \(13 characters\)/)
		worker.kill('SIGTERM')
		assert.match(await succeeds(worker), /Worker has stopped\./)
	})
}

test('reconciler.mjs sends the job that a run has lost', async (t) => {
	const run = programs(t)
	const worker = run('worker.mjs')
	await worker.says('Worker is running')
	const runId = uniqueName('lost')
	await withCassandra(async (client) => {
		const context = JSON.stringify({ blueprintId: blueprint.id, name: 'Lost' })
		const insert = (table, columns, values) =>
			client.execute(`INSERT INTO ${keyspace}.${table} (${columns}) VALUES (${values.map(() => '?')})`, values, {
				prepare: true,
			})
		await insert('contexts', 'run_id, context_data', [runId, context])
		await insert('statuses', 'run_id, status, updated_at', [runId, 'running', new Date(Date.now() - 60_000)])
	})
	assert.match(await succeeds(run('reconciler.mjs', '30')), /Found 1 stalled runs, reconciled 1, failed 0/)
	await worker.says(`Published final result for Run ID ${runId}`)
	worker.kill('SIGTERM')
	await succeeds(worker)
})

/** @param {import('node:test').TestContext} t */
function withoutServices(t) {
	for (const name of ['KAFKA_BROKERS', 'CASSANDRA_CONTACT_POINTS', 'REDIS_URL']) {
		const value = process.env[name]
		delete process.env[name]
		t.after(() => (process.env[name] = value))
	}
}

test('embedded.mjs needs no service', { timeout: 30_000 }, async (t) => {
	withoutServices(t)
	assert.match(await succeeds(programs(t)('embedded.mjs')), /completed HELLO, WORLD! \(13 characters\)/)
})

test('webhooks.mjs takes the first call, and not the second', { timeout: 30_000 }, async (t) => {
	withoutServices(t)
	const output = await succeeds(programs(t)('webhooks.mjs'))
	// What the worker logs may come in between.
	const said = output.replace(/^\[\w+\] \[.*\n/gm, '')
	assert.match(said, /first call 200\nsecond call 404\n\S+ completed shipped, paid by Ada\n/)
})
