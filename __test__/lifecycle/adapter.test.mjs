/**
 * D11, G7: starting and stopping, over and over, several at once, twice; what is left behind is counted.
 */
import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'

const CYCLES = 200
/** So many cycles before them may set up what stays for good: pools of threads, shared connections. */
const WARM_UP = 10

const blueprint = { id: 'one', nodes: [{ id: 'a', uses: 'a' }], edges: [] }

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home

before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'lifecycle', partitions: 0 })
})

after(() => cluster.close())

/** @param {string} [says] what the node returns */
const runtimeOptions = (says = 'done', logger = recorder()) => ({
	blueprints: { one: blueprint },
	registry: { a: async () => ({ output: says }) },
	logger,
})

/** What the process holds now. */
function holdings() {
	const files = readdirSync('/proc/self/fd').flatMap((fd) => {
		try {
			return [readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, '')]
		} catch {
			// The one that reads the folder.
			return []
		}
	})
	return {
		threads: readdirSync('/proc/self/task').length,
		sockets: files.filter((file) => file.startsWith('socket')).length,
		files: files.length,
		resources: resources(),
	}
}

/** What libuv keeps open for this process, by kind. @returns {Record<string, number>} */
function resources() {
	/** @type {Record<string, number>} */
	const counts = {}
	for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
	return counts
}

/**
 * Kinds of which there are more than before.
 *
 * @param {Record<string, number>} before
 * @param {Record<string, number>} now
 */
const grown = (before, now) => Object.keys(now).filter((kind) => now[kind] > (before[kind] ?? 0))

/** @param {() => Promise<void>} cycle @param {import('node:test').TestContext} t */
async function leaksNothing(cycle, t) {
	for (let i = 0; i < WARM_UP; i++) await cycle()
	const before = holdings()
	const from = performance.now()
	for (let i = 0; i < CYCLES; i++) await cycle()
	const seconds = (performance.now() - from) / 1_000
	// Idle connections of the test's own clients may have gone: fewer is fine.
	await until(
		'nothing is left behind',
		() => {
			const now = holdings()
			const isLess = now.threads <= before.threads && now.sockets <= before.sockets && now.files <= before.files
			return isLess && grown(before.resources, now.resources).length === 0
		},
		{ timeoutMs: 10_000, describe: () => ({ before, now: holdings() }) },
	)
	t.diagnostic(
		`${CYCLES} cycles, ${((seconds / CYCLES) * 1_000).toFixed(0)} ms each: ${JSON.stringify(before)} -> ${JSON.stringify(holdings())}`,
	)
}

describe('start and stop', () => {
	test(`${CYCLES} times on Kafka, Cassandra and Redis leave no thread, socket or handle behind`, async (t) => {
		const place = await home.sibling({ partitions: 1 })
		await leaksNothing(async () => {
			const adapter = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions() }))
			await adapter.start()
			await adapter.stop()
		}, t)
	})

	test(`${CYCLES} times on the embedded backend, with a run each, leave nothing behind`, async (t) => {
		await leaksNothing(async () => {
			const adapter = new KafkaAdapter({ backend: { embedded: 'lifecycle' }, runtimeOptions: runtimeOptions() })
			await adapter.start()
			const run = await adapter.startRun('one')
			assert.equal((await run.result({ timeoutMs: 10_000 })).status, 'completed')
			await adapter.stop()
		}, t)
	})

	test('the same adapter 20 times: it can be started again after each stop', async () => {
		const place = await home.sibling({ partitions: 1 })
		const adapter = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions() }))
		for (let i = 0; i < 20; i++) {
			await adapter.start()
			const run = await adapter.startRun('one')
			assert.equal((await run.result({ timeoutMs: 20_000 })).status, 'completed')
			await adapter.stop()
		}
		await place.allCommitted()
	})

	test('start() twice is one start; stop() twice, at once and one after the other, is one stop', async () => {
		const place = await home.sibling({ partitions: 1 })
		const adapter = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions() }))
		await adapter.stop()
		await Promise.all([adapter.start(), adapter.start()])
		assert.equal((await cluster.members(place.group, 1)).members.length, 1)
		await Promise.all([adapter.stop(), adapter.stop()])
		await adapter.stop()
		await cluster.members(place.group, 0)
	})

	test('stop() returns at its deadline though a node does not, and says who is left', async () => {
		const place = await home.sibling({ partitions: 1 })
		const logger = recorder()
		let began = false
		let release = () => {}
		const held = new Promise((resolve) => (release = () => resolve(undefined)))
		const registry = {
			a: async () => {
				began = true
				await held
				return { output: 'late' }
			},
		}
		const adapter = new KafkaAdapter(place.options({ runtimeOptions: { ...runtimeOptions('', logger), registry } }))
		await adapter.start()
		const runId = await place.startRun(blueprint)
		await until('the node runs', () => began)
		const from = performance.now()
		await adapter.stop({ deadlineMs: 1_000 })
		const took = performance.now() - from
		assert.ok(took >= 900 && took < 6_000, `${took} ms`)
		release()
		// Nothing was recorded, so the next worker runs it again.
		const next = new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions('again') }))
		await next.start()
		const { data } = await place.outcome(runId)
		assert.equal(data.payload.context['_outputs.a'], 'again')
		await next.stop()
	})
})

describe('several adapters in one process', () => {
	test('each does the jobs of its own topic; when one stops, the others go on', async () => {
		const places = []
		for (let i = 0; i < 3; i++) places.push(await home.sibling({ partitions: 2 }))
		const adapters = places.map(
			(place, at) => new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions(`worker ${at}`) })),
		)
		await Promise.all(adapters.map((adapter) => adapter.start()))
		const outputsOf = async (/** @type {number[]} */ which) =>
			Promise.all(
				which.map(async (at) => {
					const { data } = await places[at].outcome(await places[at].startRun(blueprint))
					return data.payload.context['_outputs.a']
				}),
			)
		assert.deepEqual(await outputsOf([0, 1, 2]), ['worker 0', 'worker 1', 'worker 2'])
		await adapters[0].stop()
		assert.deepEqual(await outputsOf([1, 2]), ['worker 1', 'worker 2'])
		await Promise.all(adapters.map((adapter) => adapter.stop()))
	})

	test('start() is fulfilled for members without a partition, and they take over when there is one', async () => {
		const place = await home.sibling({ partitions: 1 })
		const adapters = ['first', 'second', 'third'].map(
			(name) => new KafkaAdapter(place.options({ runtimeOptions: runtimeOptions(name) })),
		)
		const partitions = () => adapters.map((adapter) => /** @type {any} */ (adapter.health()).partitions?.length ?? 0)
		try {
			for (const adapter of adapters) await adapter.start()
			assert.deepEqual(
				adapters.map(({ isRunning }) => isRunning),
				[true, true, true],
			)
			await cluster.members(place.group, 3)
			await until('one of them has the partition', () => partitions().toSorted().join() === '0,0,1')
			const owner = adapters[partitions().indexOf(1)]
			const { data } = await place.outcome(await place.startRun(blueprint))
			assert.equal(data.status, 'completed')
			await owner.stop()
			const next = await place.outcome(await place.startRun(blueprint))
			assert.notEqual(next.data.payload.context['_outputs.a'], data.payload.context['_outputs.a'])
		} finally {
			await Promise.all(adapters.map((adapter) => adapter.stop()))
		}
	})

	test('two members of one group in one process share its partitions and its jobs', async () => {
		const place = await home.sibling({ partitions: 4 })
		/** @type {Set<string>} */
		const seen = new Set()
		const adapters = ['left', 'right'].map((name) => {
			const registry = { a: async () => (seen.add(name), { output: name }) }
			return new KafkaAdapter(place.options({ runtimeOptions: { ...runtimeOptions(), registry } }))
		})
		await Promise.all(adapters.map((adapter) => adapter.start()))
		await cluster.members(place.group, 2)
		await until('both have partitions', () =>
			adapters.every((adapter) => /** @type {any} */ (adapter.health()).partitions?.length === 2),
		)
		const runs = await Promise.all(Array.from({ length: 40 }, () => place.startRun(blueprint)))
		await place.outcomes(runs)
		assert.deepEqual([...seen].toSorted(), ['left', 'right'])
		await Promise.all(adapters.map((adapter) => adapter.stop()))
	})
})

describe('garbage collection', () => {
	test('drops an adapter that was never started, and one that was stopped', async () => {
		const { gc } = globalThis
		assert.ok(gc, 'run with --expose-gc')
		/** @type {WeakRef<KafkaAdapter>[]} */
		const kept = []
		const fill = async () => {
			for (let i = 0; i < 5; i++)
				kept.push(new WeakRef(new KafkaAdapter(home.options({ runtimeOptions: runtimeOptions() }))))
			const adapter = new KafkaAdapter({ backend: { embedded: 'gc' }, runtimeOptions: runtimeOptions() })
			await adapter.start()
			await adapter.stop()
			kept.push(new WeakRef(adapter))
		}
		await fill()
		await until(
			'all are gone',
			() => {
				gc()
				return kept.every((reference) => reference.deref() === undefined)
			},
			{
				timeoutMs: 10_000,
				everyMs: 50,
				describe: () => kept.map((reference) => (reference.deref() ? 'alive' : 'gone')),
			},
		)
	})
})
