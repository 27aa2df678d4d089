/**
 * Contexts of a run that is open in this process, on real services: nodes see changes at once, none is lost to a step, and
 * the row has all of them when the run has ended.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { CassandraContext } from '../../src/js/index.js'
import { openCluster, until } from '../support/cluster.mjs'
import { withWorker } from './one-worker.mjs'

const WRITERS = 16
const CHANGES = 25

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'live', partitions: 0 })
})

after(() => cluster.close())

/** A node that waits for the test, between nodes that end at once. */
const blueprint = {
	id: 'long',
	nodes: [
		{ id: 'before', uses: 'note' },
		{ id: 'waits', uses: 'wait' },
		{ id: 'beside', uses: 'loop' },
		{ id: 'after', uses: 'note' },
	],
	edges: [
		{ source: 'before', target: 'waits' },
		{ source: 'before', target: 'beside' },
		{ source: 'waits', target: 'after' },
	],
}

/** @param {(run: { adapter: any, place: any, runId: string, context: any, release: () => void }) => Promise<void>} work */
async function whileWaiting(work) {
	const gate = new EventTarget()
	/** @type {any} */
	let context
	const registry = {
		note: async () => ({ output: 1 }),
		wait: async (/** @type {any} */ node) => {
			const released = once(gate, 'released')
			context = node.context
			gate.dispatchEvent(new Event('running'))
			await released
			return { output: await node.context.get('flag') }
		},
		loop: async (/** @type {any} */ node) => ({ output: await node.context.get('blueprintId') }),
	}
	await withWorker(home, { registry, blueprints: { long: blueprint } }, {}, async (place, adapter) => {
		const running = once(gate, 'running')
		const { runId } = await adapter.startRun('long', { given: true })
		await running
		await work({ adapter, place, runId, context, release: () => gate.dispatchEvent(new Event('released')) })
	})
}

test('a node that runs long sees a flag that is set from outside, and the row has it before the node ends', () =>
	whileWaiting(async ({ adapter, place, runId, context, release }) => {
		const outside = adapter.createContext(runId)
		const setting = outside.set('flag', 1)
		assert.equal(await context.get('flag'), 1)
		await setting
		assert.equal((await place.context(runId)).document.flag, 1)
		await context.set('draft', 'of a running node')
		const { flag, given, before: output, draft } = await outside.toJSON()
		assert.deepEqual([flag, given, output, draft], [1, true, 1, 'of a running node'])
		assert.equal('draft' in (await place.context(runId)).document, false)
		release()
		const { status, payload } = await adapter.getRun(runId).result({ timeoutMs: 20_000 })
		assert.deepEqual([status, payload.context.waits, payload.context.flag], ['completed', 1, 1])
		const { document } = await place.context(runId)
		assert.deepEqual([document.flag, document.draft, document.after], [1, 'of a running node', 1])
	}))

test(`${WRITERS} writers lose no change while the run goes on and ends`, () =>
	whileWaiting(async ({ adapter, place, runId, release }) => {
		const options = {
			client: { contactPoints: cluster.contactPoints, localDataCenter: cluster.localDataCenter },
			keyspace: place.keyspace,
			tableName: place.contexts,
		}
		const writer = async (/** @type {number} */ name) => {
			const context = name % 2 ? adapter.createContext(runId) : new CassandraContext(runId, options)
			for (let change = 0; change < CHANGES; change++) await context.set(`w${name}.${change}`, change)
			await context.delete(`w${name}.0`)
		}
		await Promise.all(Array.from({ length: WRITERS }, (_, name) => writer(name)))
		release()
		await adapter.getRun(runId).result({ timeoutMs: 20_000 })
		const { document } = await place.context(runId)
		const written = Object.keys(document).filter((key) => /^w\d+\./.test(key))
		assert.equal(written.length, WRITERS * (CHANGES - 1))
	}))

test('a change that meets the end of its run is in the row', () =>
	whileWaiting(async ({ adapter, place, runId, release }) => {
		const context = adapter.createContext(runId)
		let ended = false
		const result = adapter
			.getRun(runId)
			.result({ timeoutMs: 20_000 })
			.finally(() => (ended = true))
		let changes = 0
		release()
		while (!ended) await context.set(`c${changes++}`, true)
		await result
		const { document } = await place.context(runId)
		assert.equal(Object.keys(document).filter((key) => /^c\d+$/.test(key)).length, changes)
		assert.deepEqual([document.after, document.given], [1, true])
	}))

for (const schema of /** @type {const} */ (['full', 'entries'])) {
	test(`D8: a node that runs long reads what another process has written meanwhile (${schema})`, async () => {
		const elsewhere = await cluster.place({ name: `foreign_${schema}`, schema, partitions: 0 })
		/** @type {(value: unknown) => void} */
		let begun = () => {}
		const running = new Promise((resolve) => (begun = resolve))
		const registry = {
			poll: async (/** @type {any} */ { context }) => {
				await context.set('mine', 'kept')
				begun(undefined)
				const flag = await until('the flag is there', () => context.get('flag'))
				return { output: [flag, await context.has('gone'), await context.get('mine')] }
			},
		}
		const polling = { id: 'polling', nodes: [{ id: 'poll', uses: 'poll' }], edges: [] }
		await withWorker(elsewhere, { registry, blueprints: { polling } }, {}, async (place, adapter) => {
			const run = await adapter.startRun('polling', { given: 1 })
			await running
			const { document } = /** @type {any} */ (await place.context(run.runId))
			// As another process does it: the row alone.
			await place.writeContext(run.runId, JSON.stringify({ ...document, flag: 'up', mine: 'theirs' }))
			const { payload } = await run.result({ timeoutMs: 20_000 })
			assert.deepEqual(payload.context.poll, ['up', false, 'kept'])
			assert.deepEqual([payload.context.flag, payload.context.given], ['up', 1])
		})
	})
}
