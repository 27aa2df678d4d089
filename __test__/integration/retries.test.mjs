/** `retryMode: 'queue'` on real services: attempts that wait for durable timers (rows 25, 28 and 55). */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'
import { flows } from '../support/retry-flows.mjs'
import { Journal, startWorkerProcess } from '../support/worker-process.mjs'
import { withWorker } from './one-worker.mjs'

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home
before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'retries' })
})
after(() => cluster.close())

const FLOWS = new URL('../support/retry-flows.mjs', import.meta.url).href
/** Half of it is left to chance; what is to happen before the next attempt has to fit into the rest, also on a busy machine. */
const DELAY_MS = 5_000
/** @param {any} config */
const blueprint = (config) => ({
	id: 'flaky',
	nodes: [
		{ id: 'a', uses: 'flaky', config },
		{ id: 'f', uses: 'instead' },
		{ id: 'z', uses: 'instead' },
	],
	edges: [{ source: 'a', target: 'z' }],
})

/** A node that fails until its attempt `succeedsAt`. @param {number} succeedsAt */
const bodies = (succeedsAt) => {
	/** @type {{ at: number, isLastAttempt: boolean | undefined }[]} */
	const attempts = []
	const flaky = async (/** @type {any} */ { dependencies }) => {
		attempts.push({ at: Date.now(), isLastAttempt: dependencies.workflowState.isLastAttempt })
		if (attempts.length < succeedsAt) throw new Error(`attempt ${attempts.length} failed`)
		return { output: `attempt ${attempts.length}` }
	}
	return { attempts, registry: { flaky, instead: async () => ({ output: 'ran' }) } }
}

/**
 * When the timers of a run are due, milliseconds since the epoch.
 * @param {import('../support/cluster.mjs').Place} place
 * @param {string} runId
 */
const timersOf = async ({ keyspace, statuses }, runId) => {
	const { rows } = await cluster.cassandra.execute(`SELECT * FROM ${keyspace}.${statuses}_due`)
	return rows.filter((row) => row.run_id === runId).map((row) => Number(row.due_at))
}

/** @param {import('../support/cluster.mjs').Place} place @param {string} runId @param {number} [after] of the timer before */
const nextTimer = (place, runId, after = 0) =>
	until('a timer is written', async () => (await timersOf(place, runId)).find((due) => due > after))

test('row 25: retryMode queue: each attempt is made by whichever worker is there, and the last one ends the run', async () => {
	const place = await home.sibling({ partitions: 3 })
	const { attempts, registry } = bodies(3)
	const blueprints = { flaky: blueprint({ maxRetries: 3, retryDelay: DELAY_MS }) }
	const options = () =>
		place.options({ retryMode: 'queue', runtimeOptions: { logger: recorder(), blueprints, registry } })
	const first = new KafkaAdapter(options())
	await first.start()
	const run = await first.startRun('flaky')
	const due = await nextTimer(place, run.runId)
	await place.allCommitted()
	assert.equal(await run.status(), 'running')
	// It waits; nobody has to look after it.
	assert.deepEqual(await first.reconcile(run.runId), new Set())
	await first.stop()
	assert.equal(attempts.length, 1)
	const waits = due - attempts[0].at
	assert.ok(waits >= DELAY_MS / 2, `due ${waits} ms after the first attempt`)
	const second = new KafkaAdapter(options())
	await second.start()
	try {
		await until('the second attempt', () => attempts.length === 2)
		assert.ok(attempts[1].at >= due, 'not before its time')
		const next = await nextTimer(place, run.runId, due)
		assert.ok(next - attempts[1].at >= DELAY_MS, 'later than the time before')
		const { status, payload } = await second.getRun(run.runId).result({ timeoutMs: 30_000 })
		assert.deepEqual([status, payload.context.a, payload.context.z], ['completed', 'attempt 3', 'ran'])
		assert.deepEqual(
			attempts.map(({ isLastAttempt }) => isLastAttempt),
			[false, false, true],
		)
		assert.equal(payload.errors, undefined)
		await place.allCommitted()
		await until('the timers are gone', async () => (await timersOf(place, run.runId)).length === 0)
	} finally {
		await second.stop()
	}
})

test('row 25: retryMode queue: kill -9 between two attempts: the next worker makes the one that is due, and no other', async () => {
	const place = await home.sibling({ partitions: 3 })
	const journal = new Journal()
	const parameters = { maxRetries: 3, retryDelay: DELAY_MS }
	const worker = (/** @type {string} */ name) =>
		startWorkerProcess(place, { name, flows: FLOWS, journal, parameters, adapter: { retryMode: 'queue' } })
	const first = await worker('first')
	const { blueprints } = flows(() => {}, parameters)
	const client = new KafkaAdapter(place.options({ runtimeOptions: { logger: recorder(), blueprints, registry: {} } }))
	try {
		const run = await client.startRun('flaky')
		const due = await nextTimer(place, run.runId)
		// The timer is there before the step that it belongs to.
		await place.allCommitted()
		await first.kill()
		const second = await worker('second')
		try {
			const { status } = await run.result({ timeoutMs: 60_000 })
			assert.equal(status, 'completed')
			const begun = journal.read()
			assert.deepEqual(
				begun.map(({ pid }) => pid),
				[first.pid, second.pid, second.pid],
			)
			assert.ok(begun[1].at >= due, 'not before its time')
			await place.allCommitted()
		} finally {
			await second.stop()
		}
	} finally {
		await client.stop()
		journal.remove()
	}
})

for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
	test(`row 28: retryMode queue: a fallback comes after the last attempt, and the hooks of a subclass decide (${schedule})`, async () => {
		const place = await home.sibling({ partitions: 3 })
		const { attempts, registry } = bodies(9)
		/** @type {string[]} */
		const asked = []
		/** @type {string[]} */
		const published = []
		class Deciding extends KafkaAdapter {
			shouldRetryInProcess(/** @type {any} */ { id }) {
				return id !== 'a'
			}
			getQueueRetryOptions(/** @type {any} */ { id }) {
				asked.push(id)
				return { attempts: 2, backoff: { type: /** @type {const} */ ('fixed'), delay: 300, jitter: 0 } }
			}
			async publishFinalResult(/** @type {string} */ runId, /** @type {any} */ result) {
				published.push(result.status)
				await super.publishFinalResult(runId, result)
			}
		}
		const runtimeOptions = { logger: recorder(), blueprints: { flaky: blueprint({ fallback: 'f' }) }, registry }
		const adapter = new Deciding(place.options({ schedule, runtimeOptions }))
		await adapter.start()
		try {
			const run = await adapter.startRun('flaky')
			const { status, payload } = await run.result({ timeoutMs: 30_000 })
			assert.deepEqual([status, payload.context.f, payload.context['_outputs.a']], ['completed', 'ran', null])
			assert.deepEqual(
				attempts.map(({ isLastAttempt }) => isLastAttempt),
				[false, true],
			)
			assert.ok(attempts[1].at - attempts[0].at >= 300)
			assert.deepEqual(asked, ['a', 'a'])
			assert.deepEqual(published, ['completed'], 'a run that waits for its attempt has no result')
		} finally {
			await adapter.stop()
		}
	})
}

test('row 25 (exhausted): retryMode queue: the run fails with the error of the last attempt', () => {
	const { attempts, registry } = bodies(9)
	const blueprints = { flaky: blueprint({ maxRetries: 2, retryDelay: 10 }) }
	return withWorker(
		home,
		{ blueprints, registry },
		{ retryMode: 'queue', maxConcurrentJobs: 1 },
		async (place, adapter) => {
			const run = await adapter.startRun('flaky')
			const { status, payload } = await run.result({ timeoutMs: 30_000 })
			assert.equal(status, 'failed')
			assert.deepEqual(
				payload.errors.map((/** @type {any} */ { nodeId, cause }) => [nodeId, cause.message]),
				[['a', 'attempt 2 failed']],
			)
			assert.equal(attempts.length, 2)
			await place.allCommitted()
		},
	)
})

test('row 55: retryMode queue: a run that waits for its attempt can be cancelled', () => {
	const { attempts, registry } = bodies(2)
	const blueprints = { flaky: blueprint({ maxRetries: 2, retryDelay: 3_000 }) }
	return withWorker(home, { blueprints, registry }, { retryMode: 'queue' }, async (place, adapter) => {
		const run = await adapter.startRun('flaky')
		await nextTimer(place, run.runId)
		await run.cancel('enough')
		assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'cancelled')
		await until('its timer is gone', async () => (await timersOf(place, run.runId)).length === 0)
		assert.equal(attempts.length, 1)
		await place.allCommitted()
	})
})

test('row 25: retryMode queue without the table of timers: attempts follow each other in the process', async () => {
	const documented = await cluster.place({ name: 'untimed_retries', schema: 'readme' })
	const { attempts, registry } = bodies(2)
	const logger = recorder()
	const blueprints = { flaky: blueprint({ maxRetries: 2 }) }
	await withWorker(documented, { logger, blueprints, registry }, { retryMode: 'queue' }, async (_place, adapter) => {
		const atStart = logger.texts('warn').filter((text) => /_due" is missing.*CREATE TABLE/.test(text))
		assert.equal(atStart.length, 1)
		for (let run = 0; run < 2; run++) {
			const { status } = await (await adapter.startRun('flaky')).result({ timeoutMs: 20_000 })
			assert.equal(status, 'completed')
		}
		assert.equal(attempts.length, 3)
		assert.equal(logger.texts('warn').filter((text) => /retried in the process.*_due/.test(text)).length, 1)
	})
})
