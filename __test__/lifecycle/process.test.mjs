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
 * @param {{ onFact?: (child: import('node:child_process').ChildProcess) => void, limitMs?: number }} [more] `onFact` is
 *   called at the first fact
 */
function run(scenario, options, { onFact, limitMs = EXIT_LIMIT_MS } = {}) {
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
		}, limitMs)
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
		const { signal, facts } = await run('not stopped', await settings(), {
			onFact: (child) => void setTimeout(() => child.kill('SIGTERM'), 1_500),
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

	test('takes no harm from a worker thread that is terminated at work: the next worker has everything', async () => {
		// A lease or a member left behind would hold its partitions for this long.
		const options = await settings({ leaseTtlMs: 60_000 })
		const scenario = 'a thread at work is terminated, five times'
		const { code, facts, problems } = await run(scenario, options, { limitMs: 120_000 })
		assert.deepEqual({ code, problems }, { code: 0, problems: '' })
		assert.deepEqual(
			facts.map(({ status }) => status),
			Array(5).fill('completed'),
		)
		for (const { tookMs } of facts) assert.ok(tookMs < 15_000, `the next worker waited ${tookMs} ms`)
	})

	for (const scenario of ['a thread at work is terminated', 'a thread is terminated while it starts'])
		test(`has neither threads nor connections left when ${scenario}`, async () => {
			const { code, facts, problems } = await run(scenario, await settings())
			assert.deepEqual({ code, facts, problems }, { code: 0, facts: [{ ended: true }], problems: '' })
		})

	test('exits in the middle of work without a crash', async () => {
		for (let i = 0; i < 3; i++) {
			const { code, signal } = await run('exits in the middle of work', await settings())
			assert.deepEqual({ code, signal }, { code: 7, signal: null })
		}
	})

	test('ends with an uncaught error as any process does', async () => {
		for (let i = 0; i < 3; i++) {
			const { code, signal, problems } = await run('throws in the middle of work', await settings())
			assert.deepEqual({ code, signal }, { code: 1, signal: null })
			assert.match(problems, /nobody catches this/)
		}
	})
})
