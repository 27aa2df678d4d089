/** What a run tells of what it has done, through the public door. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { memoryLogger } from '../contract/mocks.mjs'

/** @param {string} id @param {any[]} nodes @param {any[]} edges */
const flow = (id, nodes, edges) => ({ id, nodes, edges, metadata: { version: '7' } })
const edge = (/** @type {string} */ source, /** @type {string} */ target, more = {}) => ({ source, target, ...more })

/**
 * @param {any} blueprint
 * @param {Record<string, (call: any) => Promise<any>>} registry
 * @param {any} more
 */
const adapterOf = (blueprint, registry, more = {}) =>
	new KafkaAdapter({
		backend: { embedded: randomUUID() },
		workerId: 'first',
		...more,
		runtimeOptions: { logger: memoryLogger(), blueprints: { [blueprint.id]: blueprint }, registry },
	})

/**
 * @param {KafkaAdapter} adapter
 * @param {(adapter: KafkaAdapter) => Promise<void>} work
 */
async function during(adapter, work) {
	await adapter.start()
	try {
		await work(adapter)
	} finally {
		await adapter.stop()
	}
}

/** Without the times. @param {any} history */
const told = ({ visits }) =>
	visits.map(({ nodeId, outcome, attempts }) => [nodeId, outcome, attempts].join(' ').replace(/ completed 1$/, ''))

/** @param {any} run @param {string} status */
async function reaches(run, status) {
	while ((await run.status()) !== status) await new Promise((resolve) => setTimeout(resolve, 5))
}

const passing = async () => ({ output: 1 })

describe('history', () => {
	it('tells order, outcome, attempts, times and worker', async () => {
		let left = 2
		const registry = {
			passing,
			flaky: async () => {
				if (left-- > 0) throw new Error('not yet')
				return { output: 2 }
			},
			failing: async () => {
				throw new Error('never')
			},
		}
		const blueprint = flow(
			'told',
			[
				{ id: 'a', uses: 'passing' },
				{ id: 'b', uses: 'flaky', config: { maxRetries: 3 } },
				{ id: 'c', uses: 'failing', config: { maxRetries: 2, fallback: 'd' } },
				{ id: 'd', uses: 'passing' },
			],
			[edge('a', 'b'), edge('b', 'c')],
		)
		await during(adapterOf(blueprint, registry), async (adapter) => {
			const before = Date.now()
			const run = await adapter.startRun('told')
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			const history = await run.history()
			assert.deepEqual(told(history), ['a', 'b completed 3', 'c failed 2', 'd'])
			const { runId, blueprintId, version, omitted, visits } = history
			assert.deepEqual(
				{ runId, blueprintId, version, omitted },
				{
					runId: run.runId,
					blueprintId: 'told',
					version: '7',
					omitted: 0,
				},
			)
			assert.deepEqual(
				visits.map(({ visit, wave, workerId }) => [visit, wave, workerId]),
				[1, 2, 3, 4].map((number) => [number, number, 'first']),
			)
			let last = before
			for (const { startedAt, finishedAt } of visits) {
				assert.ok(startedAt && finishedAt && +startedAt >= last && finishedAt >= startedAt, `${+startedAt}, ${last}`)
				last = +startedAt
			}
		})
	})

	it('keeps the last visits of a loop, and says how many it does not', async () => {
		const blueprint = flow(
			'turns',
			[
				{ id: 'start', uses: 'passing' },
				{ id: 'turn', uses: 'turn' },
				{ id: 'end', uses: 'passing' },
				{ id: 'again', uses: 'loop-controller', params: { condition: 'more' }, config: { joinStrategy: 'any' } },
			],
			[
				edge('start', 'again'),
				edge('turn', 'again'),
				edge('again', 'turn', { action: 'continue' }),
				edge('again', 'end', { action: 'break' }),
			],
		)
		const registry = {
			passing,
			turn: async ({ context }) => {
				const turns = ((await context.get('turns')) ?? 0) + 1
				await context.set('turns', turns)
				await context.set('more', turns < 20)
				return { output: 1 }
			},
		}
		await during(adapterOf(blueprint, registry, { maxHistoryVisits: 5 }), async (adapter) => {
			const run = await adapter.startRun('turns', { more: true })
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			const history = await run.history()
			assert.deepEqual(told(history), ['turn', 'again', 'turn', 'again', 'end'])
			assert.equal(history.omitted + 5, 3 + 20 * 2, 'start and end, twenty turns of two visits, and the last question')
		})
	})

	it('goes on with the next worker, and tells waits, answers and who recorded them', async () => {
		const blueprint = flow(
			'waits',
			[
				{ id: 'a', uses: 'passing' },
				{ id: 'ask', uses: 'wait' },
				{ id: 'b', uses: 'passing' },
			],
			[edge('a', 'ask'), edge('ask', 'b')],
		)
		const backend = { embedded: randomUUID() }
		let runId = ''
		await during(adapterOf(blueprint, { passing }, { backend }), async (adapter) => {
			const run = await adapter.startRun('waits')
			await reaches(run, 'awaiting')
			assert.deepEqual(told(await run.history()), ['a', 'ask awaiting 1'])
			runId = run.runId
		})
		await during(adapterOf(blueprint, { passing }, { backend, workerId: 'second' }), async (adapter) => {
			await adapter.resumeWithAction(runId)
			const run = adapter.getRun(runId)
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			const { visits } = await adapter.history(runId)
			assert.deepEqual(told({ visits }), ['a', 'ask awaiting 1', 'ask answered 1', 'b'])
			assert.deepEqual(
				visits.map(({ workerId }) => workerId),
				['first', 'first', 'second', 'second'],
			)
		})
	})

	it('forgets the names of workers with their visits', async () => {
		const asks = ['w1', 'w2', 'w3']
		const blueprint = flow(
			'chain',
			asks.map((id) => ({ id, uses: 'wait' })),
			[edge('w1', 'w2'), edge('w2', 'w3')],
		)
		const backend = { embedded: randomUUID() }
		let runId = ''
		for (const workerId of ['first', 'second', 'third', 'fourth']) {
			const options = { backend, workerId, maxHistoryVisits: 2 }
			await during(adapterOf(blueprint, {}, options), async (adapter) => {
				const run = runId ? adapter.getRun(runId) : await adapter.startRun('chain')
				if (runId) await run.resume()
				runId = run.runId
				const last = asks.shift()
				if (last) while (!(await run.history().catch(() => undefined))?.visits.some((visit) => visit.nodeId === last));
				else await run.result({ timeoutMs: 20_000 })
			})
		}
		const reader = adapterOf(blueprint, {}, { backend })
		const { visits, omitted } = await reader.history(runId)
		assert.deepEqual(told({ visits }), ['w3 awaiting 1', 'w3 answered 1'])
		assert.deepEqual(
			visits.map(({ workerId }) => workerId),
			['third', 'fourth'],
		)
		assert.equal(omitted, 4)
		assert.deepEqual(
			Object.keys(await reader.createContext(runId).toJSON()).filter((key) => key.startsWith('_flowcraft')),
			[],
		)
		await reader.stop()
	})

	it('tells what ran when the run was cancelled', async () => {
		let running = () => {}
		const isRunning = new Promise((resolve) => (running = () => resolve(undefined)))
		const registry = {
			passing,
			long: async ({ signal }) => {
				running()
				await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
				signal.throwIfAborted()
			},
		}
		const nodes = [
			{ id: 'a', uses: 'passing' },
			{ id: 'b', uses: 'long' },
		]
		await during(adapterOf(flow('cut', nodes, [edge('a', 'b')]), registry), async (adapter) => {
			const run = await adapter.startRun('cut')
			await isRunning
			await run.cancel('enough')
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'cancelled')
			assert.deepEqual(told(await run.history()), ['a', 'b aborted 1'])
		})
	})

	it('tells what ran when the run failed as a whole', async () => {
		let running = () => {}
		const isRunning = new Promise((resolve) => (running = () => resolve(undefined)))
		const registry = {
			large: async () => {
				await isRunning
				return { output: 'x'.repeat(2_000) }
			},
			long: async ({ signal }) => {
				running()
				await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
			},
		}
		const nodes = [
			{ id: 'a', uses: 'large' },
			{ id: 'b', uses: 'long' },
		]
		await during(adapterOf(flow('large', nodes, []), registry, { maxValueBytes: 1_000 }), async (adapter) => {
			const run = await adapter.startRun('large')
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'failed')
			assert.deepEqual(told(await run.history()), ['a', 'b aborted 1'])
		})
	})

	it('tells each attempt that waited for a timer', async () => {
		let left = 1
		const registry = {
			flaky: async () => {
				if (left-- > 0) throw new Error('not yet')
				return { output: 2 }
			},
		}
		const nodes = [{ id: 'a', uses: 'flaky', config: { maxRetries: 2, retryDelay: 10 } }]
		await during(adapterOf(flow('late', nodes, []), registry, { retryMode: 'queue' }), async (adapter) => {
			const run = await adapter.startRun('late')
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			assert.deepEqual(told(await run.history()), ['a failed 1', 'a completed 2'])
		})
	})

	it('is empty for a run that nobody has worked on, and refuses one that is not there', async () => {
		const adapter = adapterOf(flow('new', [{ id: 'a', uses: 'passing' }], []), { passing })
		const { runId } = await adapter.startRun('new')
		assert.deepEqual(await adapter.history(runId), { runId, blueprintId: 'new', version: '7', visits: [], omitted: 0 })
		await assert.rejects(adapter.history('nowhere'), { code: 'ERR_RUN_UNKNOWN' })
		await assert.rejects(adapter.history(''), { code: 'ERR_OPTION' })
		await adapter.stop()
	})
})
