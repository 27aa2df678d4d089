/**
 * G11 on the real services: random blueprints end as `FlowRuntime.run` does, also while worker processes are killed. `SEED`
 * takes others.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { openCluster, until } from '../support/cluster.mjs'
import { seed } from '../support/seed.mjs'
import { Journal, startWorkerProcess } from '../support/worker-process.mjs'
import { withWorker } from '../integration/one-worker.mjs'
import { Answering, WEBHOOKS, resultOf } from './answering.mjs'
import { runtimeOptions } from './bodies.mjs'
import { comparable, difference, published } from './comparator.mjs'
import { blueprintsOf, registered } from './flows.mjs'
import { expected, expectedAnswered } from './memory.mjs'

const BLUEPRINTS = 120
const ANSWERED = 30
/** Compared with kills, of each schedule; and made, since not all can be compared. */
const KILLED = 20
const MADE = 30
/** As many as every test run has to compare, of both. */
const LEAST_KILLED = 30
const PATIENCE_MS = 60_000
const WINDOW = 20
/** A worker that is gone is noticed after three seconds. */
const QUICK = { kafka: { sessionTimeoutMs: 3_000, heartbeatIntervalMs: 500 } }

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'oracle', partitions: 0 })
})

after(() => cluster.close())

/** Those that can be compared, with what memory makes of them. @param {any} parameters @param {(built: import('./build.mjs').Built) => Promise<any>} expectedOf */
async function cases(parameters, expectedOf) {
	const all = blueprintsOf(parameters)
	const found = []
	for (const built of all) {
		const memory = await expectedOf(built)
		if (memory) found.push({ built, memory })
	}
	return { all, found }
}

/** @param {any} one @param {any} row @param {string} what */
function assertSame({ built: { blueprint, initial, ignore }, memory }, row, what) {
	const actual = comparable(published(row.data, blueprint, initial), ignore)
	const found = difference(actual, memory)
	if (found) assert.fail(`SEED=${seed}, ${what}, ${blueprint.id}: ${found}\n${JSON.stringify(blueprint)}`)
}

describe('G11: random blueprints on the services', () => {
	for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
		test(`${BLUEPRINTS} blueprints, ${schedule} (SEED=${seed})`, async (t) => {
			const { all, found } = await cases({ profile: schedule, seed, count: BLUEPRINTS }, expected)
			const options = { ...runtimeOptions(), blueprints: registered(all) }
			await withWorker(home, options, { schedule }, async (place) => {
				for (let from = 0; from < found.length; from += WINDOW) {
					const some = found.slice(from, from + WINDOW)
					const starts = some.map(({ built }) => place.startRun(built.blueprint, built.initial))
					const runs = await Promise.all(starts)
					const rows = await place.outcomes(runs)
					for (const [at, one] of some.entries()) assertSame(one, rows.get(runs[at]), schedule)
				}
				await place.allCommitted()
			})
			t.diagnostic(`${found.length} compared`)
		})
	}

	for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
		test(`rows 48, 52, 53: ${ANSWERED} blueprints, ${schedule}, whose waits are answered (SEED=${seed})`, async (t) => {
			const parameters = {
				profile: 'eager',
				seed: seed + 2,
				count: ANSWERED,
				pauses: true,
				answered: true,
				webhooks: true,
			}
			const { all, found } = await cases(parameters, expectedAnswered)
			const options = { ...runtimeOptions(), blueprints: registered(all) }
			await withWorker(home, options, { schedule, webhooks: WEBHOOKS }, async (place, adapter) => {
				const ends = found.map(async ({ built, memory }) => {
					const runId = await place.startRun(built.blueprint, built.initial)
					const row = await answeredRow(place, adapter, built, runId, memory.status === 'cancelled')
					const different = difference(resultOf(built, row.data), memory)
					if (different) assert.fail(`SEED=${seed}, ${schedule}: ${different}\n${JSON.stringify(built.blueprint)}`)
				})
				await Promise.all(ends)
				await place.allCommitted()
			})
			t.diagnostic(`${found.length} compared`)
		})
	}

	for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
		test(`${KILLED} blueprints, ${schedule}, kill -9 of workers with runs in flight (SEED=${seed})`, async (t) => {
			const profile = schedule === 'eager' ? 'eager' : 'calm'
			const parameters = { profile, seed: seed + 1, count: MADE }
			const found = (await cases(parameters, (built) => expected(built, { raceFree: true }))).found.slice(0, KILLED)
			assert.ok(found.length >= LEAST_KILLED / 2, `${found.length} of ${MADE} blueprints can be compared`)
			const place = await home.sibling({ partitions: 4 })
			const journal = new Journal()
			const workers = []
			const worker = async (/** @type {string} */ name) => {
				const started = await startWorkerProcess(place, {
					flows: new URL('flows.mjs', import.meta.url).href,
					journal,
					name,
					parameters: { ...parameters, nodeMs: 100 },
					adapter: { schedule, leaseTtlMs: 3_000 },
					...QUICK,
				})
				workers.push(started)
				return started
			}
			try {
				const [first, second] = await Promise.all([worker('first'), worker('second')])
				for (const one of [first, second])
					await until(`${one.name} has partitions`, async () => (await one.health()).partitions.length > 0)
				const starts = found.map(({ built }) => place.startRun(built.blueprint, built.initial))
				const runs = await Promise.all(starts)
				const bodies = () => journal.read().filter(({ what }) => what === 'begin')
				const began = () => bodies().length
				await until('bodies run', () => began() > KILLED)
				const victim = await killInBody([first, second], journal)
				const atKill = (await place.statusRows(runs)).filter(({ status }) => status !== 'running').length
				assert.ok(atKill < runs.length, 'runs are in flight when the worker is killed')
				const before = began()
				await worker('third')
				await until('the others go on', async () => began() > before || (await allEnded(place, runs)))
				await (victim === first ? second : first).kill()
				const rows = await place.outcomes(runs, { timeoutMs: 60_000 })
				for (const [at, one] of found.entries()) assertSame(one, rows.get(runs[at]), `${schedule}, killed`)
				const entries = bodies().map(({ run, node, pid }) => ({ body: `${run} ${node}`, pid }))
				const again = entries.filter(({ body, pid }) => entries.some((one) => one.body === body && one.pid !== pid))
				t.diagnostic(
					`${found.length} compared, ${atKill} had ended at the first kill, ${again.length} bodies ran again`,
				)
				assert.ok(again.length > 0, 'a kill has interrupted bodies, which ran again elsewhere')
			} finally {
				await Promise.all(workers.map((one) => one.dispose()))
				journal.remove()
			}
		})
	}
})

/**
 * Answers whatever the run awaits until it has ended.
 *
 * @param {import('../support/cluster.mjs').Place} place
 * @param {import('../../src/js/index.js').KafkaAdapter} adapter
 * @param {import('./build.mjs').Built} built
 * @param {string} runId
 * @param {boolean} cancels
 */
async function answeredRow(place, adapter, built, runId, cancels) {
	const answering = new Answering(built, runId, cancels)
	const look = async () => {
		const [row] = await place.statusRows([runId])
		if (row?.status === 'awaiting') await answering.look(adapter, row.data)
		return row && !['running', 'awaiting'].includes(row.status) && row
	}
	return until(`the run of ${built.blueprint.id} has ended`, look, { timeoutMs: PATIENCE_MS })
}

/**
 * Kills the first worker that is found in the middle of a node body. It is frozen while somebody looks.
 *
 * @param {import('../support/worker-process.mjs').WorkerProcess[]} workers
 * @param {Journal} journal
 */
async function killInBody(workers, journal) {
	const inBody = (/** @type {number} */ pid) => {
		const count = (/** @type {string} */ which) =>
			journal.read().filter((entry) => entry.what === which && entry.pid === pid).length
		return count('begin') > count('end')
	}
	const victim = await until('a worker is in a node body', () => {
		for (const worker of workers) {
			worker.signal('SIGSTOP')
			if (inBody(worker.pid)) return worker
			worker.signal('SIGCONT')
		}
	})
	await victim.kill()
	return victim
}

/** @param {import('../support/cluster.mjs').Place} place @param {string[]} runs */
async function allEnded(place, runs) {
	const rows = await place.statusRows(runs)
	return rows.filter(({ status }) => status !== 'running').length === runs.length
}
