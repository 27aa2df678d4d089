/** A `CassandraContext` of a run that is open in this process: it sees what nodes see, and no step overwrites it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import cassandra from 'cassandra-driver'
import { asEngine, CassandraContext } from '../../src/js/cassandra-context.js'
import { livePlace } from '../../src/js/stores/live-runs.js'
import { memoryCassandra } from '../contract/mocks.mjs'
import { bareSessions } from '../support/worker.mjs'

const TABLE = { keyspace: 'ks', tableName: 'contexts' }

/** A node that writes a key and then waits for the test. */
const blueprint = { id: 'bp', nodes: [{ id: 'a', uses: 'wait' }], edges: [] }

/** A run with a running node, and contexts of it. @param {any} [more] */
const scene = async ({
	rows = {},
	client = memoryCassandra({ rows }),
	entries = {},
	runtime = {},
	...options
} = {}) => {
	/** @type {any} */
	const nodes = {}
	const wait = async (/** @type {any} */ { context, params }) => {
		await context.set('written', { by: 'the node' })
		const { name = 'a' } = params ?? {}
		const ended = new Promise((resolve) => (nodes[name] = { context, end: resolve }))
		return { output: await ended }
	}
	const worker = bareSessions(
		{ blueprints: { bp: options.blueprint ?? blueprint }, registry: { wait, done: async () => ({}) }, ...runtime },
		{ livePlace: livePlace(client, 'ks.contexts'), ...options },
	)
	const contextOf = (run = 'run-1', from = client) => new CassandraContext(run, { client: from, ...TABLE })
	worker.open(['a'], { entries })
	await worker.settle()
	return { client, worker, nodes, contextOf, durable: (seq) => worker.tell(2, 1, seq) }
}

/** Whether a promise is settled by now. @param {Promise<unknown>} promise */
const isSettled = async (promise) => {
	let settled = false
	const note = () => (settled = true)
	promise.then(note, note)
	await new Promise((resolve) => setImmediate(resolve))
	return settled
}

describe('a live context', () => {
	it('reads what the session has, without the store', async () => {
		const { client, contextOf, nodes } = await scene({ entries: { given: 1 } })
		const context = contextOf()
		assert.deepEqual(await context.get('written'), { by: 'the node' })
		assert.equal(await context.has('given'), true)
		assert.equal(await context.has('missing'), false)
		assert.equal(await context.get('missing'), undefined)
		assert.deepEqual(await context.toJSON(), {
			blueprintId: 'bp',
			blueprintVersion: null,
			given: 1,
			written: { by: 'the node' },
		})
		assert.deepEqual(client.calls, [])
		const copy = await context.get('written')
		copy.by = 'nobody'
		assert.deepEqual(await nodes.a.context.get('written'), { by: 'the node' })
	})

	it('shows a change to nodes at once, and fulfils when its step is durable', async () => {
		const { client, worker, nodes, contextOf, durable } = await scene({ entries: { old: 1 } })
		const changing = [
			contextOf().set('flag', { on: 1 }),
			contextOf().patch([
				{ op: 'set', key: 'x', value: 1 },
				{ op: 'delete', key: 'old' },
			]),
		]
		assert.deepEqual(await nodes.a.context.get('flag'), { on: 1 })
		await worker.settle()
		assert.equal(worker.steps.length, 1, 'changes of one turn are one step')
		const { changes, done, outcome } = worker.steps[0]
		assert.deepEqual([changes.flag, changes.x, changes.old], ['{"on":1}', '1', ''])
		assert.deepEqual([done, outcome], [[], null])
		assert.equal('written' in changes, false, 'what a running node wrote waits for its end')
		assert.deepEqual(await Promise.all(changing.map(isSettled)), [false, false])
		durable(1)
		await Promise.all(changing)
		assert.deepEqual(client.calls, [])
	})

	it('deletes, and says whether the key was there', async () => {
		const { worker, contextOf, durable } = await scene({ entries: { old: 1 } })
		const deleting = contextOf().delete('old')
		assert.equal(await contextOf().has('old'), false)
		assert.equal(await contextOf().delete('old'), false)
		await worker.settle()
		durable(1)
		assert.equal(await deleting, true)
	})

	it('takes values as the store would', async () => {
		const { worker, contextOf, durable } = await scene({ entries: { old: 1 } })
		await assert.rejects(contextOf().set('big', 1n), TypeError)
		await assert.rejects(contextOf().set('_flowcraft', 1), { code: 'ERR_RESERVED_KEY' })
		const both = [contextOf().set('old', undefined), contextOf().set('date', new Date(0))]
		assert.equal(await contextOf().has('old'), false)
		assert.equal(await contextOf().get('date'), '1970-01-01T00:00:00.000Z')
		await worker.settle()
		durable(1)
		await Promise.all(both)
		assert.deepEqual(Object.keys(worker.steps[0].changes).toSorted(), [
			'blueprintId',
			'blueprintVersion',
			'date',
			'old',
		])
	})

	it('rejects, to be tried again, when the session closes over a step', async () => {
		const { client, worker, contextOf } = await scene()
		const changing = contextOf().set('flag', 1)
		await worker.settle()
		worker.tell(6, 1, 'the partition was lost')
		await assert.rejects(changing, (error) => {
			assert.deepEqual([error.code, error.retryable], ['ERR_RUN_CLOSED', true])
			assert.match(error.message, /run "run-1".*the partition was lost.*repeat the change/)
			return true
		})
		assert.deepEqual(client.calls, [])
	})

	it('goes to the store when the session closes before it took the change', async () => {
		const rows = {}
		const eventBus = { emit: ({ type }) => (type === 'workflow:start' ? new Promise(() => {}) : undefined) }
		const { client, worker, contextOf } = await scene({ rows, runtime: { eventBus } })
		const changing = contextOf().set('flag', 1)
		assert.equal(await isSettled(changing), false)
		assert.deepEqual([worker.steps.length, client.calls.length], [0, 0])
		worker.tell(6, 1, 'closed')
		await changing
		assert.deepEqual(rows, { 'run-1': '{"flag":1}' })
	})

	it('keeps a change that comes while the run is being opened for the first step', async () => {
		let begin = () => {}
		const emit = ({ type }) => (type === 'workflow:start' ? new Promise((resolve) => (begin = resolve)) : undefined)
		const { worker, nodes, contextOf, durable } = await scene({ runtime: { eventBus: { emit } } })
		const changing = contextOf().set('early', 1)
		begin()
		await worker.settle()
		assert.equal(await nodes.a.context.get('early'), 1)
		assert.equal(worker.steps[0].changes.early, '1')
		durable(1)
		await changing
	})

	it('waits for the last step, then goes to the store', async () => {
		const rows = {}
		const { client, worker, nodes, contextOf, durable } = await scene({ rows })
		nodes.a.end('done')
		await worker.settle()
		assert.equal(worker.steps[0].outcome.status, 'completed')
		const changing = contextOf().set('late', 1)
		assert.equal(await isSettled(changing), false)
		assert.equal(await contextOf().get('a'), 'done')
		assert.deepEqual(client.calls, [])
		durable(1)
		await changing
		assert.deepEqual(rows, { 'run-1': '{"late":1}' })
		assert.equal(await contextOf().get('late'), 1)
		assert.equal(await contextOf().get('a'), undefined, 'from the row')
	})

	it('takes nothing more when the partition has drained', async () => {
		const rows = {}
		const { worker, nodes, contextOf } = await scene({ rows, sessions: { localStarts: false }, entries: {} })
		worker.tell(11, 1)
		assert.deepEqual(nodes, {}, 'nothing was started')
		await contextOf().set('late', 1)
		assert.deepEqual([rows['run-1'], worker.steps.length], ['{"late":1}', 0])
	})

	it('is found by the place of its row only', async () => {
		const rows = { 'run-1': '{"stored":true}' }
		const client = (contactPoints) => new cassandra.Client({ contactPoints, localDataCenter: 'dc1' })
		const one = livePlace(client(['h1', 'h2:9042']), 'ks.contexts')
		const { contextOf } = await scene({ rows, livePlace: one })
		const isLive = (from, run = 'run-1', table = {}) =>
			new CassandraContext(run, { client: from, ...TABLE, ...table }).has('written')
		assert.equal(await isLive(client(['h2', 'h1'])), true)
		assert.equal(await isLive({ contactPoints: ['h1', 'h2'], localDataCenter: 'dc1' }), true)
		assert.equal(await isLive('h1,h2', 'run-1', { keyspace: 'KS' }), true)
		const elsewhere = memoryCassandra({ rows })
		assert.equal(await isLive(elsewhere), false)
		assert.deepEqual(await contextOf('run-1', elsewhere).toJSON(), { stored: true })
	})

	it('stays with the store for the engine, and for subclasses with rows of their own', async () => {
		const rows = { 'run-1': '{"stored":true}' }
		const { client, contextOf } = await scene({ rows })
		assert.deepEqual(await asEngine(() => contextOf().toJSON()), { stored: true })
		class Own extends CassandraContext {
			async readContext() {
				return { own: true }
			}
		}
		assert.deepEqual(await new Own('run-1', { client, ...TABLE }).toJSON(), { own: true })
	})
})

describe('code of the user that changes the context of its own run', () => {
	const join = {
		id: 'bp',
		nodes: ['a', 'b', 'j'].map((id) => ({ id, uses: 'done' })),
		edges: [
			{ source: 'a', target: 'j' },
			{ source: 'b', target: 'j' },
		],
	}

	/** Lets every step become durable as it comes. @param {any} worker */
	const run = async (worker) => {
		for (let seq = 0; !worker.steps.at(-1)?.outcome; await worker.settle()) {
			if (seq === worker.steps.length) throw new Error('the run hangs')
			while (seq < worker.steps.length) worker.tell(2, 1, ++seq)
		}
		return Object.assign({}, ...worker.steps.map(({ changes }) => changes))
	}

	const client = memoryCassandra()
	const context = new CassandraContext('run-1', { client, ...TABLE })

	it('in isReadyForFanIn, which the next step waits for', async () => {
		const isReadyForFanIn = async () => {
			await context.set('asked', true)
			return true
		}
		const { worker } = await scene({ blueprint: join, client, hooks: { isReadyForFanIn } })
		assert.equal((await run(worker)).asked, 'true')
	})

	it('in onJobStart, which waits for a step of its own', async () => {
		const onJobStart = (_run, _blueprint, nodeId) => context.set(`started.${nodeId}`, 1)
		const { worker } = await scene({ blueprint: join, client, hooks: { onJobStart } })
		const changes = await run(worker)
		assert.deepEqual([changes['started.a'], changes['started.b'], changes['started.j']], ['1', '1', '1'])
	})

	it('in an event bus', async () => {
		const eventBus = { emit: ({ type }) => context.set(`seen.${type}`, 1) }
		const { worker } = await scene({ blueprint: join, client, runtime: { eventBus } })
		const changes = await run(worker)
		assert.deepEqual([changes['seen.workflow:start'], changes['seen.node:finish']], ['1', '1'])
	})
})
