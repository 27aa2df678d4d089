/** How large the value of a key may be: one byte below and above each limit, through the public door. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, it } from 'node:test'
import { CassandraContext, KafkaAdapter } from '../../src/js/index.js'
import { memoryLogger } from '../contract/mocks.mjs'

const LIMITS = { maxValueBytes: 2_000, warnValueBytes: 1_000 }
/** Of two bytes in UTF-8: a limit that counted characters would take twice as much. */
const letter = 'ä'
/** A text whose JSON has so many bytes. @param {number} bytes */
const textOf = (bytes) => letter.repeat(Math.floor((bytes - 2) / 2)) + ((bytes - 2) % 2 ? 'a' : '')

/** @param {string} key @param {number} bytes */
const refused = (key, bytes) => (/** @type {any} */ error) => {
	assert.equal(error.code, 'ERR_TOO_LARGE')
	assert.match(error.message, new RegExp(`^key "${key}" of run ".+" has ${bytes} bytes, and 2000 are allowed`))
	return true
}

/**
 * @param {Record<string, (call: any) => Promise<any>>} registry
 * @param {(adapter: KafkaAdapter) => Promise<void>} work
 */
async function withAdapter(registry, work) {
	const flow = {
		id: 'flow',
		nodes: [
			{ id: 'a', uses: 'a' },
			{ id: 'b', uses: 'b' },
		],
		edges: [{ source: 'a', target: 'b' }],
	}
	const adapter = new KafkaAdapter({
		backend: { embedded: randomUUID() },
		...LIMITS,
		runtimeOptions: { logger: memoryLogger(), blueprints: { flow }, registry },
	})
	await adapter.start()
	try {
		await work(adapter)
	} finally {
		await adapter.stop()
	}
}

/** @param {any} adapter @param {string} level */
const lines = (adapter, level) => adapter.logger.lines.filter(([own]) => own === level).map(([, line]) => line)
const passing = async () => ({ output: 1 })

describe('maxValueBytes', () => {
	for (const [what, write] of /** @type {const} */ ([
		['what a node sets', async ({ context }, value) => void (await context.set('big', value))],
		[
			'what a node patches',
			async ({ context }, value) => void (await context.patch([{ op: 'set', key: 'big', value }])),
		],
	])) {
		it(`${what} is stored at the limit`, () =>
			withAdapter({ a: async (call) => write(call, textOf(2_000)), b: passing }, async (adapter) => {
				const run = await adapter.startRun('flow', {})
				const { status, payload } = await run.result({ timeoutMs: 10_000 })
				assert.equal(status, 'completed')
				assert.equal(payload.context.big, textOf(2_000))
			}))

		it(`${what} fails the run above it, with key and size, and what was stored stays`, async () => {
			let ran = 0
			const b = async () => ({ output: ++ran })
			await withAdapter({ a: async (call) => write(call, textOf(2_001)), b }, async (adapter) => {
				const run = await adapter.startRun('flow', { big: 'before' })
				const { status, reason } = await run.result({ timeoutMs: 10_000 })
				assert.equal(status, 'failed')
				assert.match(
					reason,
					/^key "big" of run ".+" has 2001 bytes, and 2000 are allowed\. Store large values elsewhere/,
				)
				assert.equal(ran, 0)
				assert.equal(await adapter.createContext(run.runId).get('big'), 'before')
				assert.equal(lines(adapter, 'error').length, 1)
			})
		})
	}

	it('an output above it fails the run', () =>
		withAdapter({ a: async () => ({ output: textOf(2_001) }), b: passing }, async (adapter) => {
			const run = await adapter.startRun('flow', {})
			const { status, reason } = await run.result({ timeoutMs: 10_000 })
			assert.equal(status, 'failed')
			assert.match(reason, /^key "_outputs\.a" of run ".+" has 2001 bytes/)
		}))

	it('an object that has grown under its key is weighed as well', () =>
		withAdapter(
			{
				a: async ({ context }) => void (await context.set('list', { items: [] })),
				b: async ({ context }) => void (await context.get('list')).items.push(textOf(2_000)),
			},
			async (adapter) => {
				const run = await adapter.startRun('flow', {})
				const { status, reason } = await run.result({ timeoutMs: 10_000 })
				assert.equal(status, 'failed')
				assert.match(reason, /^key "list" of run ".+" has 2012 bytes/)
			},
		))

	it('a run is not started with more', () =>
		withAdapter({ a: passing, b: passing }, async (adapter) => {
			await assert.rejects(adapter.startRun('flow', { big: textOf(2_001) }), refused('big', 2_001))
			const run = await adapter.startRun('flow', { big: textOf(2_000) })
			assert.equal((await run.result({ timeoutMs: 10_000 })).status, 'completed')
		}))

	it('a context that is written from outside refuses it, and writes nothing', async () => {
		const client = { embedded: randomUUID() }
		const options = { client: /** @type {any} */ (client), keyspace: 'k', tableName: 't', maxValueBytes: 2_000 }
		const context = new CassandraContext('r', options)
		await context.set('big', textOf(2_000))
		await assert.rejects(context.set('big', textOf(2_001)), refused('big', 2_001))
		const patch = [
			{ op: 'set', key: 'small', value: 1 },
			{ op: 'set', key: 'other', value: textOf(2_001) },
		]
		await assert.rejects(context.patch(/** @type {any} */ (patch)), refused('other', 2_001))
		assert.deepEqual(await context.toJSON(), { big: textOf(2_000) })
	})
})

describe('warnValueBytes', () => {
	it('tells a large value once per run and key, not one at the limit', () =>
		withAdapter(
			{
				a: async ({ context }) => {
					await context.set('at', textOf(1_000))
					await context.set('above', textOf(1_001))
				},
				b: async ({ context }) => void (await context.set('above', textOf(1_002))),
			},
			async (adapter) => {
				const run = await adapter.startRun('flow', {})
				assert.equal((await run.result({ timeoutMs: 10_000 })).status, 'completed')
				assert.deepEqual(lines(adapter, 'warn'), [
					`[KafkaAdapter] Key 'above' of run '${run.runId}' has 1001 bytes: each step that changes it writes them all`,
				])
			},
		))
})
