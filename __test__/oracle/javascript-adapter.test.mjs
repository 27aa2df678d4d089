/**
 * The comparator can fail: over npm's 1.4.4 it finds more than half of the blueprints different, though its client does
 * more than the documented one (which never stores `blueprintVersion`, so that nothing runs).
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { NullLogger } from 'flowcraft'
import * as theirs from 'kafka-adapter-js'
import { openCluster } from '../support/cluster.mjs'
import { runtimeOptions } from './bodies.mjs'
import { comparable, difference, published } from './comparator.mjs'
import { blueprintsOf, registered } from './flows.mjs'
import { expected } from './memory.mjs'

const SEED = 14
const BLUEPRINTS = 30
const TIME_LIMIT_MS = 10_000

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster

before(async () => {
	cluster = await openCluster()
})

after(() => cluster.close())

/** A worker of 1.4.4 for one blueprint: one that never ends must not hold up others. @param {any} place @param {any} built */
async function startTheirs(place, built) {
	const adapter = new theirs.KafkaAdapter({
		...place.options(),
		coordinationStore: new theirs.RedisCoordinationStore(cluster.redis),
		runtimeOptions: { ...runtimeOptions(), blueprints: registered([built]), logger: new NullLogger() },
	})
	adapter.logger = new NullLogger()
	adapter.start()
	return adapter
}

test(
	`1.4.4 ends less than half of ${BLUEPRINTS} race-free blueprints as memory does`,
	{ timeout: 60_000 },
	async (t) => {
		const home = await cluster.place({ name: 'theirs', partitions: 0 })
		const cases = []
		for (const built of blueprintsOf({ profile: 'eager', seed: SEED, count: BLUEPRINTS + 10 })) {
			const memory = await expected(built)
			// The object form ends its consumer for good.
			if (memory && Array.isArray(built.blueprint.nodes)) cases.push({ built, memory })
		}
		cases.splice(BLUEPRINTS)
		assert.equal(cases.length, BLUEPRINTS)
		const places = await Promise.all(cases.map(() => home.sibling({ partitions: 1 })))
		const adapters = await Promise.all(cases.map(({ built }, at) => startTheirs(places[at], built)))
		try {
			await Promise.all(places.map(({ group }) => cluster.members(group, 1)))
			const starts = cases.map(({ built: { blueprint, initial } }, at) =>
				places[at].startRun(blueprint, { ...initial, blueprintVersion: blueprint.metadata?.version ?? null }),
			)
			const runs = await Promise.all(starts)
			// Some never end.
			await home.outcomes(runs, { timeoutMs: TIME_LIMIT_MS }).catch(() => undefined)
			const rows = new Map((await home.statusRows(runs)).map((row) => [row.runId, row]))
			const right = cases.filter(({ built: { blueprint, initial, ignore }, memory }, at) => {
				const data = rows.get(runs[at])?.data
				if (!data) return false
				return difference(comparable(published(data, blueprint, initial), ignore), memory) === undefined
			})
			t.diagnostic(`${right.length} of ${cases.length} as in memory, ${rows.size} with a status`)
			assert.ok(right.length < cases.length / 2, `${right.length} of ${cases.length} are right`)
		} finally {
			await Promise.all(adapters.map((adapter) => adapter.stop()))
		}
	},
)
