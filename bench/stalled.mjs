/**
 * What a reconciler costs among finished runs: 100 runs that nobody has sent, beside more and more rows of runs that have ended.
 */
import { randomUUID } from 'node:crypto'
import { createKafkaReconciler, KafkaAdapter } from '@flowcraft/kafka-adapter'
import { insertContext, makePlace } from './place.mjs'
import { registryOf, WORKLOADS } from './workloads.mjs'

export const FINISHED = [1_000, 10_000, 100_000]
const STALLED = 100
const IN_FLIGHT = 256
const AN_HOUR_MS = 3_600_000
const { blueprint } = WORKLOADS.chain
const silent = { debug() {}, info() {}, warn() {}, error: console.error }

/**
 * @typedef {{ finished: number, ms: number[], reconciled: number }} StalledRow
 *
 * @param {import('./place.mjs').Services} services
 * @param {number} rounds
 * @returns {Promise<StalledRow[]>}
 */
export async function measureReconciler(services, rounds) {
	const name = `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`
	await makePlace(services, name)
	const stalled = Array.from({ length: STALLED }, () => randomUUID())
	for (const id of stalled) {
		await insertContext(services, name, id, blueprint)
		await insertStatus(services, name, id, 'running')
	}
	const adapter = new KafkaAdapter({
		kafka: process.env.KAFKA_BROKERS,
		cassandraClient: {
			contactPoints: String(process.env.CASSANDRA_CONTACT_POINTS).split(','),
			localDataCenter: process.env.CASSANDRA_DATACENTER,
		},
		coordinationStore: process.env.REDIS_URL,
		topicName: name,
		keyspace: name,
		contextTableName: 'contexts',
		statusTableName: 'statuses',
		runtimeOptions: {
			blueprints: { [blueprint.id]: blueprint },
			registry: registryOf({ begin() {}, end() {} }),
			logger: silent,
		},
	})
	// Only finding them is timed: what a nudge costs is the same however many runs have ended.
	let nudged = 0
	const counting = { logger: silent, reconcile: async () => new Set([String(nudged++)]) }
	const options = { adapter: counting, cassandraClient: adapter.cassandra, keyspace: name, statusTableName: 'statuses' }
	const reconciler = createKafkaReconciler(/** @type {any} */ ({ ...options, stalledThresholdSeconds: 60 }))
	/** @type {StalledRow[]} */
	const rows = []
	let there = 0
	for (const finished of FINISHED) {
		there = await addFinished(services, name, there, finished)
		await reconciler.run()
		const ms = []
		for (let round = 0; round < rounds; round++) {
			nudged = 0
			const began = performance.now()
			await reconciler.run()
			ms.push(performance.now() - began)
			if (nudged !== STALLED) throw new Error(`${nudged} of ${STALLED} stalled runs were found`)
		}
		rows.push({ finished, ms, reconciled: nudged })
		console.log(`${finished} finished runs: ${ms.map(Math.round).join(', ')} ms`)
	}
	await adapter.stop()
	await services.client.execute(`DROP KEYSPACE ${name}`)
	return rows
}

/** @param {import('./place.mjs').Services} services @param {string} keyspace @param {number} from @param {number} to */
async function addFinished(services, keyspace, from, to) {
	let next = from
	const lane = async () => {
		while (next++ < to) await insertStatus(services, keyspace, randomUUID(), 'completed')
	}
	await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
	return to
}

/** @param {import('./place.mjs').Services} services @param {string} keyspace @param {string} runId @param {string} status */
const insertStatus = ({ client }, keyspace, runId, status) =>
	client.execute(
		`INSERT INTO ${keyspace}.statuses (run_id, status, updated_at) VALUES (?, ?, ?)`,
		[runId, status, new Date(Date.now() - AN_HOUR_MS)],
		{ prepare: true },
	)
