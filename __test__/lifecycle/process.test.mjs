/**
 * D11: what an adapter does to the process it lives in. Each program is a process of its own.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openCluster } from '../support/cluster.mjs'
import { closedPort } from '../support/faults.mjs'

const PROGRAM = fileURLToPath(new URL('program.mjs', import.meta.url))
const EXIT_LIMIT_MS = 30_000

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'process', partitions: 0 })
})

after(() => cluster.close())

/** Options as JSON: plain settings, so that no client of JavaScript holds the process. */
async function settings(more = {}) {
	const place = await home.sibling({ partitions: 2 })
	const { brokers, contactPoints, localDataCenter, redisUrl } = cluster
	return {
		kafka: { brokers },
		cassandraClient: { contactPoints, localDataCenter },
		coordinationStore: redisUrl,
		topicName: place.topic,
		groupId: place.group,
		keyspace: place.keyspace,
		contextTableName: place.contexts,
		statusTableName: place.statuses,
		...more,
	}
}

/**
 * @param {string} scenario
 * @param {Record<string, unknown>} options
 * @param {(child: import('node:child_process').ChildProcess) => void} [onFact] called at the first fact
 */
function run(scenario, options, onFact) {
	return new Promise((resolve, reject) => {
		const child = spawn(process.execPath, [PROGRAM, scenario, JSON.stringify(options)], {
			stdio: ['ignore', 'pipe', 'pipe'],
		})
		let output = ''
		let problems = ''
		/** @type {any[]} */
		let facts = []
		let factAt = 0
		child.stdout.on('data', (chunk) => {
			output += chunk
			facts = output
				.split('\n')
				.slice(0, -1)
				.map((line) => JSON.parse(line))
			if (factAt === 0 && facts.length > 0) onFact?.(child)
			factAt = performance.now()
		})
		child.stderr.on('data', (chunk) => (problems += chunk))
		const timer = setTimeout(() => {
			child.kill('SIGKILL')
			reject(new Error(`"${scenario}" has not ended: ${output}${problems}`))
		}, EXIT_LIMIT_MS)
		child.once('close', (code, signal) => {
			clearTimeout(timer)
			resolve({ code, signal, facts, problems, lingeredMs: performance.now() - factAt })
		})
	})
}

describe('the process of an adapter', () => {
	test('ends by itself when the adapter was never started', async () => {
		const { code, facts, problems } = await run('never started', await settings())
		assert.deepEqual({ code, facts, problems }, { code: 0, facts: [{ built: true }], problems: '' })
	})

	test('ends by itself after stop(): nothing native keeps it', async () => {
		const { code, facts, problems, lingeredMs } = await run('one run', await settings())
		assert.deepEqual({ code, facts, problems }, { code: 0, facts: [{ status: 'completed' }], problems: '' })
		assert.ok(lingeredMs < 3_000, `it took ${lingeredMs} ms more`)
	})

	test('ends by itself after stop(), on the embedded backend', async () => {
		const { code, facts, problems } = await run('one run', { backend: 'embedded' })
		assert.deepEqual({ code, facts, problems }, { code: 0, facts: [{ status: 'completed' }], problems: '' })
	})

	test('goes on while the worker was not stopped, and ends at a signal', async () => {
		const { signal, facts } = await run('not stopped', await settings(), (child) => {
			setTimeout(() => child.kill('SIGTERM'), 1_500)
		})
		assert.deepEqual({ signal, facts }, { signal: 'SIGTERM', facts: [{ started: true }] })
	})

	test('survives a refused start() that nobody waits for: one error line, and it ends by itself', async () => {
		const options = await settings({ kafka: { brokers: [`127.0.0.1:${await closedPort()}`] }, startTimeoutMs: 2_000 })
		const { code, facts, problems } = await run('refused, nobody waits', options)
		assert.deepEqual({ code, facts, problems }, { code: 0, facts: [{ errors: 1 }], problems: '' })
	})

	test('ends by itself when stop() comes while start() is under way', async () => {
		const { code, facts, problems } = await run('stopped while it starts', await settings())
		assert.equal(code, 0, problems)
		assert.equal(facts.length, 1)
	})

	test('has adapters in worker threads, one after the other', async () => {
		const { code, facts, problems } = await run('one run in a thread, three times', await settings())
		const fact = { status: 'completed', code: 0 }
		assert.deepEqual({ code, facts, problems }, { code: 0, facts: [fact, fact, fact], problems: '' })
	})

	test('survives the end of a worker thread whose adapter runs', async () => {
		const { code, facts, problems } = await run('a thread is terminated', await settings({ leaseTtlMs: 2_000 }))
		assert.deepEqual({ code, facts, problems }, { code: 0, facts: [{ status: 'completed' }], problems: '' })
	})
})
