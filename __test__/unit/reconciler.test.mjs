/** How many runs one call of a reconciler looks after, how many at once, and how it is stopped. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createKafkaReconciler } from '../../src/js/index.js'

const PAGES = [['a', 'b', 'c'], ['d'], [], ['e', 'f']]
const ALL = PAGES.flat()

/** A status table of several pages, and how often it was asked for one. */
function table() {
	let asked = 0
	const client = {
		/** @param {string} _query @param {unknown[]} _params @param {{ pageState?: string }} options */
		async execute(_query, _params, { pageState = '0' }) {
			asked++
			const page = Number(pageState)
			const rows = PAGES[page].map((run) => ({ get: () => run }))
			return { rows, pageState: page + 1 < PAGES.length ? String(page + 1) : null }
		},
	}
	return { client: /** @type {any} */ (client), asked: () => asked }
}

/** @param {(run: string) => unknown} [reconcile] */
function scene(reconcile = () => {}) {
	const { client, asked } = table()
	/** @type {string[]} */
	const seen = []
	const adapter = {
		async reconcile(/** @type {string} */ run) {
			seen.push(run)
			await reconcile(run)
			return new Set(['node'])
		},
	}
	const options = { adapter, cassandraClient: client, keyspace: 'k', statusTableName: 's', stalledThresholdSeconds: 60 }
	return { reconciler: createKafkaReconciler(options), seen, asked }
}

test('all runs, one after the other, unless told otherwise', async () => {
	let running = 0
	const { reconciler, seen } = scene(async () => {
		assert.equal(++running, 1)
		await new Promise(setImmediate)
		running--
	})
	assert.deepEqual(await reconciler.run(), { stalledRuns: 6, reconciledRuns: 6, failedRuns: 0 })
	assert.deepEqual(seen, ALL)
})

test('limit: so many, and no page more than that takes', async () => {
	const { reconciler, seen, asked } = scene()
	assert.deepEqual(await reconciler.run({ limit: 3 }), { stalledRuns: 3, reconciledRuns: 3, failedRuns: 0 })
	assert.deepEqual(seen, ['a', 'b', 'c'])
	assert.equal(asked(), 1)
})

test('concurrency: so many at once, each once', async () => {
	/** @type {Array<() => void>} */
	const waiting = []
	let most = 0
	const { reconciler, seen } = scene(
		() =>
			new Promise((/** @type {(value?: void) => void} */ resolve) => {
				waiting.push(resolve)
				most = Math.max(most, waiting.length)
				// The last ones never become four.
				if (waiting.length === 4 || seen.length === ALL.length) for (const go of waiting.splice(0)) go()
			}),
	)
	const stats = await reconciler.run({ concurrency: 4 })
	assert.deepEqual(stats, { stalledRuns: 6, reconciledRuns: 6, failedRuns: 0 })
	assert.deepEqual(seen.toSorted(), ALL)
	assert.equal(most, 4)
})

test('signal: what is under way ends, nothing more begins, and what was done is told', async () => {
	const stop = new AbortController()
	const { reconciler, seen } = scene((run) => run === 'b' && stop.abort())
	const stats = await reconciler.run({ signal: stop.signal })
	assert.deepEqual(stats, { stalledRuns: 2, reconciledRuns: 2, failedRuns: 0 })
	assert.deepEqual(seen, ['a', 'b'])
})

test('a limit or concurrency that is no whole number is refused before anything is asked', async () => {
	const { reconciler, asked } = scene()
	for (const options of [{ limit: 0 }, { concurrency: 1.5 }, { concurrency: Infinity }])
		await assert.rejects(reconciler.run(options), { code: 'ERR_OPTION' })
	assert.equal(asked(), 0)
})
