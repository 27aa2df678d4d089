/** Resuming, cancelling and sleeping, from any process (D5, D12; rows 48 to 53 and 55). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'
import { withWorker } from './one-worker.mjs'

const node = (/** @type {string} */ id, uses = 'input', /** @type {any} */ more = {}) => ({ id, uses, ...more })
const edge = (/** @type {string} */ path, /** @type {any} */ more = {}) => ({
	source: path.split('>')[0],
	target: path.split('>')[1],
	...more,
})

const approval = {
	id: 'approval',
	nodes: [node('a'), node('w', 'wait'), node('yes'), node('no'), node('side'), node('after')],
	edges: [
		edge('a>w'),
		edge('w>yes', { action: 'approve' }),
		edge('w>no', { action: 'reject' }),
		edge('a>side'),
		edge('side>after'),
	],
}
const two = {
	id: 'two',
	nodes: [node('p', 'wait'), node('q', 'wait'), node('j')],
	edges: [edge('p>j'), edge('q>j')],
}
const late = {
	id: 'late',
	nodes: [node('slow', 'gate'), node('w', 'wait'), node('z')],
	edges: [edge('slow>w'), edge('w>z')],
}
const napping = (/** @type {number | string} */ duration) => ({
	id: 'napping',
	nodes: [node('a'), node('nap', 'sleep', { params: { duration } }), node('z')],
	edges: [edge('a>nap'), edge('nap>z')],
})
const parent = {
	id: 'parent',
	nodes: [node('sub', 'subflow', { params: { blueprintId: 'child', outputs: { answer: 'w' } } }), node('z')],
	edges: [edge('sub>z')],
}
const child = { id: 'child', nodes: [node('b'), node('w', 'wait')], edges: [edge('b>w')] }
const sleepingParent = {
	id: 'sleeping-parent',
	nodes: [node('sub', 'subflow', { params: { blueprintId: 'sleeping-child' } }), node('z')],
	edges: [edge('sub>z')],
}
const sleepingChild = {
	id: 'sleeping-child',
	nodes: [node('b'), node('nap', 'sleep', { params: { duration: 100 } })],
	edges: [edge('b>nap')],
}
/** Two subflows deep, with actions, a timer and several waits; nodes say which execution they are in. */
const outer = {
	id: 'outer',
	nodes: [node('sub', 'subflow', { params: { blueprintId: 'middle', outputs: { told: 'told' } } }), node('z')],
	edges: [edge('sub>z')],
}
const middle = {
	id: 'middle',
	nodes: [
		node('first', 'told'),
		node('v', 'wait'),
		node('inner', 'subflow', { params: { blueprintId: 'innermost' } }),
		node('j', 'input', { inputs: { v: 'v', inner: 'inner' } }),
		node('told', 'told'),
	],
	edges: [edge('first>v'), edge('first>inner'), edge('v>j'), edge('inner>j'), edge('j>told')],
}
const innermost = {
	id: 'innermost',
	nodes: [node('w', 'wait'), node('yes', 'told'), node('no'), node('nap', 'sleep', { params: { duration: 50 } })],
	edges: [edge('w>yes', { action: 'approve' }), edge('w>no', { action: 'reject' }), edge('yes>nap')],
}

/** @type {Record<string, any>} */
const blueprints = Object.fromEntries(
	[approval, two, late, napping(200), parent, child, sleepingParent, sleepingChild, outer, middle, innermost].map(
		(one) => [one.id, one],
	),
)

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home
before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'commands' })
})
after(() => cluster.close())

/**
 * The bounds of time that are promised. A busy machine may stand still for a moment, so one of ten may be late.
 */
const WITHIN_MS = 1_000
const SAMPLES = 10
const MAY_BE_LATE = 1

/** @param {number[]} times in milliseconds */
function assertInTime(times) {
	const late = times.filter((ms) => ms >= WITHIN_MS)
	assert.ok(late.length <= MAY_BE_LATE, `not within ${WITHIN_MS} ms: ${times.map(Math.round)}`)
}

/** Nodes that say what they got, and one that waits for a gate or its abort signal. */
const bodies = () => {
	/** @type {() => void} */
	let open = () => {}
	const opened = new Promise((resolve) => (open = () => resolve(undefined)))
	/** @type {string[]} */
	const aborted = []
	/** When signals came, by run. @type {Map<string, number>} */
	const abortedAt = new Map()
	/** @type {string[]} */
	const ran = []
	const input = async (/** @type {any} */ { input, params }) => ({ output: { got: input ?? null, ...params } })
	const gate = async (/** @type {any} */ { signal, dependencies }) => {
		ran.push('gate')
		const abort = once(signal, 'abort').then(() => {
			abortedAt.set(dependencies.runtime.executionId, performance.now())
			aborted.push(String(signal.reason?.message))
		})
		await Promise.race([opened, abort])
		return { output: 'through' }
	}
	const told = async (/** @type {any} */ { dependencies }) => ({ output: dependencies.runtime.executionId })
	return { registry: { input, gate, told }, open, aborted, abortedAt, ran }
}

/**
 * @param {(tools: { place: import('../support/cluster.mjs').Place, adapter: KafkaAdapter, client: KafkaAdapter,
 *   bodies: ReturnType<typeof bodies> }) => Promise<void>} work
 * @param {Record<string, any>} [options]
 */
async function scene(work, options = {}) {
	const made = bodies()
	await withWorker(home, { blueprints, registry: made.registry }, options, async (place, adapter) => {
		// Another process would do as well: it is no member of the group, and was never started.
		const client = new KafkaAdapter(place.options({ runtimeOptions: { logger: recorder(), blueprints, registry: {} } }))
		try {
			await work({ place, adapter, client, bodies: made })
		} finally {
			await client.stop()
		}
	})
}

/** @param {import('../../index.js').RunHandle} run @param {string} status */
const reaches = (run, status) => until(`run is ${status}`, async () => (await run.status()) === status)

describe('D12: resume', () => {
	for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
		test(`rows 51, 52: from a process that consumes nothing, by output and action (${schedule})`, () =>
			scene(
				async ({ client }) => {
					const run = await client.startRun('approval', { mine: 1 })
					await reaches(run, 'awaiting')
					const before = Object.keys(await client.createContext(run.runId).toJSON())
					assert.ok(before.includes('side'))
					assert.equal(before.includes('after'), schedule === 'eager', 'in memory the wave of a wait is the last one')
					assert.deepEqual(await client.resumeWithAction(run.runId, 'approve', { by: 'me' }), new Set(['w']))
					const { status, payload } = await run.result({ timeoutMs: 20_000 })
					assert.equal(status, 'completed')
					assert.deepEqual(payload.context.yes, { got: { by: 'me' } })
					assert.ok(!('no' in payload.context))
					assert.ok('after' in payload.context, 'the other branch goes on')
					assert.equal(payload.context.mine, 1)
					// Over is over.
					assert.deepEqual(await client.resumeWithAction(run.runId, 'reject'), new Set())
				},
				{ schedule },
			))
	}

	test('row 53: several waits, one by one; a second answer changes nothing', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('two')
			await reaches(run, 'awaiting')
			await run.resume(undefined, 'first', { nodeId: 'q' })
			await run.resume(undefined, 'second', { nodeId: 'q' })
			await until('q is answered', async () => (await client.createContext(run.runId).get('q')) === 'first')
			await reaches(run, 'awaiting')
			assert.deepEqual(await run.resume(undefined, 'third'), new Set(['p']))
			const { payload } = await run.result({ timeoutMs: 20_000 })
			assert.deepEqual([payload.context.p, payload.context.q], ['third', 'first'])
			assert.ok(payload.context.j)
		}))

	test('one that comes before its wait is kept', () =>
		scene(async ({ client, bodies }) => {
			const run = await client.startRun('late')
			await until('the run is on its way', () => bodies.ran.length === 1)
			assert.deepEqual(await run.resume(undefined, 'early', { nodeId: 'w' }), new Set(['w']))
			bodies.open()
			const { status, payload } = await run.result({ timeoutMs: 20_000 })
			assert.deepEqual([status, payload.context.w, payload.context.z], ['completed', 'early', { got: 'early' }])
		}))

	test('the same message twice is one answer', () =>
		scene(async ({ place, client }) => {
			const run = await client.startRun('two')
			await reaches(run, 'awaiting')
			const command = { id: 'once', kind: 'resume', nodeId: 'p', output: 1 }
			const messages = [1, 2, 3].map(() => ({ key: run.runId, value: JSON.stringify({ runId: run.runId, command }) }))
			await cluster.producer.send({ topic: place.topic, messages })
			await run.resume(undefined, 2, { nodeId: 'q' })
			const { status } = await run.result({ timeoutMs: 20_000 })
			assert.equal(status, 'completed')
			await place.allCommitted()
		}))

	test('row 48: a subflow that awaits', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('parent')
			await reaches(run, 'awaiting')
			await run.resume(undefined, 'yes')
			const { status, payload } = await run.result({ timeoutMs: 20_000 })
			assert.deepEqual([status, payload.context.answer], ['completed', 'yes'])
			assert.ok(payload.context.z)
		}))

	for (const schedule of /** @type {const} */ (['eager', 'wave'])) {
		test(`row 48: waits two subflows deep, by path and action, one after the other (${schedule})`, () =>
			scene(
				async ({ place, client }) => {
					const run = await client.startRun('outer')
					await reaches(run, 'awaiting')
					assert.deepEqual(await run.resume('approve', 'deep', { nodeId: 'sub/inner/w' }), new Set(['sub/inner/w']))
					assert.deepEqual(await run.resume('reject', 'late', { nodeId: 'sub/inner/w' }), new Set(['sub/inner/w']))
					const isOpen = async () =>
						/** @type {string} */ (await client.createContext(run.runId).get('_subflowState.sub'))
					await until('the inner subflow is over', async () => !(await isOpen()).includes('_subflowState.inner'))
					// By its path: a wave is recorded before it is gone on from, and nothing is known to wait in between.
					assert.deepEqual(await run.resume(undefined, 'shallow', { nodeId: 'sub/v' }), new Set(['sub/v']))
					const { status, payload } = await run.result({ timeoutMs: 20_000 })
					assert.equal(status, 'completed')
					const { sub, told } = payload.context
					// What `no` returns is undefined, which JSON leaves out.
					assert.deepEqual(sub['_outputs.j'], { got: { v: 'shallow', inner: { nap: run.runId } } })
					// Row 58, before the waits and after them.
					assert.deepEqual([sub['_outputs.first'], told], [run.runId, run.runId])
					assert.ok(payload.context.z)
					await place.allCommitted()
				},
				{ schedule },
			))
	}

	test('what is no command, and what has no run, goes to the dead letters; the rest goes on', () =>
		scene(async ({ place, client }) => {
			const run = await client.startRun('two')
			await reaches(run, 'awaiting')
			const send = (/** @type {string} */ runId, /** @type {any} */ command) =>
				cluster.producer.send({
					topic: place.topic,
					messages: [{ key: runId, value: JSON.stringify({ runId, command }) }],
				})
			await send(run.runId, { id: '1', kind: 'dance' })
			await send('nobody', { id: '2', kind: 'cancel' })
			await run.resume(undefined, 1, { nodeId: 'p' })
			await run.resume(undefined, 2, { nodeId: 'q' })
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			const letters = await place.readDeadLetters()
			await until('two dead letters', () => letters.messages.length === 2)
			const codes = letters.messages.map(({ headers }) => String(headers['flowcraft-code'])).toSorted()
			assert.deepEqual(codes, ['ERR_COMMAND_UNKNOWN', 'ERR_RUN_UNKNOWN'])
			await place.allCommitted()
		}))

	test('bad arguments are refused before anything is sent', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('two')
			const refused = (/** @type {Promise<any>} */ call, /** @type {string} */ code) =>
				assert.rejects(call, (/** @type {any} */ error) => error.code === code)
			await refused(client.resumeWithAction('nobody'), 'ERR_RUN_UNKNOWN')
			await refused(client.cancel('nobody'), 'ERR_RUN_UNKNOWN')
			await refused(client.resumeWithAction(''), 'ERR_OPTION')
			await refused(client.resumeWithAction(run.runId, /** @type {any} */ (7)), 'ERR_OPTION')
			await refused(run.resume('x', undefined, { nodeId: '' }), 'ERR_OPTION')
			await refused(run.resume('x', 'y'.repeat(1_000_001)), 'ERR_JOB_TOO_LARGE')
			await refused(client.cancel(run.runId, /** @type {any} */ ({})), 'ERR_OPTION')
		}))
})

describe('D12: cancel', () => {
	test('row 55: a running node gets its abort signal, and the run ends cancelled', () =>
		scene(async ({ place, client, bodies }) => {
			const run = await client.startRun('late')
			await until('the node runs', () => bodies.ran.length === 1)
			await run.cancel('too late')
			const { status, reason, payload } = await run.result({ timeoutMs: 20_000 })
			assert.deepEqual([status, reason], ['cancelled', 'too late'])
			assert.deepEqual(payload, { context: {}, serializedContext: '{}', status: 'cancelled' })
			await until('the node heard of it', () => bodies.aborted.includes('too late'))
			await place.allCommitted()
			await run.cancel()
			assert.equal(await run.status(), 'cancelled')
		}))

	test('row 55: within a second of the call the node has its signal, and the status says so', () =>
		scene(async ({ client, bodies }) => {
			const runs = await Promise.all(Array.from({ length: SAMPLES }, () => client.startRun('late')))
			await until('all nodes run', () => bodies.ran.length === SAMPLES)
			const signalled = []
			const ended = []
			for (const run of runs) {
				const calledAt = performance.now()
				await run.cancel('now')
				await reaches(run, 'cancelled')
				ended.push(performance.now() - calledAt)
				const at = await until('the node heard of it', () => bodies.abortedAt.get(run.runId))
				signalled.push(at - calledAt)
			}
			assertInTime(signalled)
			assertInTime(ended)
		}))

	test('row 55: the same where a worker does one job at a time, for the run that it is at and for those behind it', () =>
		scene(
			async ({ place, client, bodies }) => {
				const signalled = []
				const ended = []
				for (let sample = 0; sample < SAMPLES; sample++) {
					const run = await client.startRun('late')
					await until('the node runs', () => bodies.ran.length === sample + 1)
					const behind = await client.startRun('late')
					for (const one of [behind, run]) {
						const calledAt = performance.now()
						await one.cancel('now')
						await reaches(one, 'cancelled')
						ended.push(performance.now() - calledAt)
						if (one === behind) continue
						const at = await until('the node heard of it', () => bodies.abortedAt.get(run.runId))
						signalled.push(at - calledAt)
					}
				}
				assert.equal(bodies.ran.length, SAMPLES, 'a run that was cancelled before its turn never begins')
				assertInTime(signalled)
				assertInTime(ended.filter((_, at) => at % 2 === 0))
				assertInTime(ended.filter((_, at) => at % 2 === 1))
				await place.allCommitted()
			},
			{ maxConcurrentJobs: 1 },
		))

	test('a run that awaits', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('two')
			await reaches(run, 'awaiting')
			await run.cancel()
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'cancelled')
			assert.deepEqual(await run.resume(), new Set())
		}))
})

describe('durable timers', () => {
	/** @param {import('../support/cluster.mjs').Place} place */
	const timers = async ({ keyspace, statuses }) => {
		const { rows } = await cluster.cassandra.execute(`SELECT run_id, bucket FROM ${keyspace}.${statuses}_due`)
		return rows.filter((row) => Number(row.bucket) >= 0).map((row) => row.run_id)
	}

	test('row 50: a sleep goes on with what it has passed on, and leaves nothing behind', () =>
		scene(async ({ place, client }) => {
			const runs = await Promise.all(Array.from({ length: 20 }, () => client.startRun('napping')))
			for (const run of runs) {
				const { status, payload } = await run.result({ timeoutMs: 20_000 })
				assert.equal(status, 'completed')
				assert.deepEqual(payload.context.z, { got: { got: null } })
			}
			await place.allCommitted()
			await until('the timers are gone', async () => (await timers(place)).length === 0)
		}))

	test('row 82: the scheduler of FlowRuntime has no part in it, started or not', () =>
		scene(async ({ place, adapter, client }) => {
			const { runtime } = /** @type {any} */ (adapter)
			const once = async () => {
				const { status, payload } = await (await client.startRun('napping')).result({ timeoutMs: 20_000 })
				return { status, z: payload.context.z }
			}
			const without = await once()
			runtime.startScheduler(5)
			try {
				assert.deepEqual(await once(), without)
			} finally {
				runtime.stopScheduler()
			}
			assert.equal(without.status, 'completed')
			assert.deepEqual(runtime.scheduler?.getActiveWorkflows() ?? [], [])
			await place.allCommitted()
			await until('the timers are gone', async () => (await timers(place)).length === 0)
		}))

	test('a subflow that sleeps', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('sleeping-parent')
			const { status, payload } = await run.result({ timeoutMs: 20_000 })
			assert.equal(status, 'completed')
			assert.ok(payload.context.z)
		}))

	test('row 50: a sleep is over within a second of its time, once, though the worker that recorded it is gone', async () => {
		const place = await home.sibling({ partitions: 4 })
		/** When the node behind the sleep began, by run, in both workers. @type {Map<string, number[]>} */
		const begun = new Map()
		const behind = async (/** @type {any} */ { dependencies }) => {
			const run = dependencies.runtime.executionId
			begun.set(run, [...(begun.get(run) ?? []), Date.now()])
			return { output: 1 }
		}
		// Long enough for two workers to start and to share the partitions.
		const blueprint = napping(15_000)
		blueprint.nodes[2].uses = 'behind'
		const registry = { ...bodies().registry, behind }
		const made = () =>
			new KafkaAdapter(
				place.options({ runtimeOptions: { logger: recorder(), blueprints: { napping: blueprint }, registry } }),
			)
		const first = made()
		await first.start()
		const runs = await Promise.all(Array.from({ length: SAMPLES }, () => first.startRun('napping')))
		for (const run of runs) await reaches(run, 'awaiting')
		await first.stop()
		const two = [made(), made()]
		try {
			await Promise.all(two.map((one) => one.start()))
			await until('both have partitions', () =>
				two.every((one) => /** @type {any} */ (one.health()).partitions.length === place.partitions / 2),
			)
			const due = async (/** @type {string} */ runId) =>
				Date.parse((await two[0].createContext(runId).get('_awaitingDetails')).nap.wakeUpAt)
			const times = await Promise.all(runs.map(({ runId }) => due(runId)))
			assert.equal(begun.size, 0, 'nothing has woken up before both were there')
			for (const { runId } of runs)
				assert.equal((await two[0].getRun(runId).result({ timeoutMs: 30_000 })).status, 'completed')
			await place.allCommitted()
			await until('the timers are gone', async () => (await timers(place)).length === 0)
			assert.deepEqual(
				runs.map(({ runId }) => begun.get(runId)?.length),
				runs.map(() => 1),
			)
			const late = runs.map(({ runId }, at) => (begun.get(runId) ?? [])[0] - times[at])
			assert.ok(
				late.every((ms) => ms >= 0),
				`before its time: ${late}`,
			)
			assertInTime(late)
		} finally {
			await Promise.all(two.map((one) => one.stop()))
		}
	})

	test('without the table a node that sleeps fails, and says how to make it', async () => {
		const documented = await cluster.place({ name: 'untimed', schema: 'readme' })
		const logger = recorder()
		await withWorker(documented, { logger, blueprints, registry: bodies().registry }, {}, async (_place, adapter) => {
			const warned = () => logger.texts('warn').filter((text) => /_due.*CREATE TABLE/.test(text)).length
			assert.equal(warned(), 1)
			const run = await adapter.startRun('napping')
			const { status, payload } = await run.result({ timeoutMs: 20_000 })
			assert.equal(status, 'failed')
			const [{ nodeId, originalError }] = payload.errors
			assert.equal(nodeId, 'nap')
			assert.match(originalError.message, /_due" is missing.*CREATE TABLE/)
			assert.equal(originalError.code, 'ERR_SCHEMA_MISSING')
			assert.equal(warned(), 1, 'at start, and not again')
		})
	})
})
