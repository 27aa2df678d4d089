/**
 * `startTimeoutMs` is one limit for all services together, and `Infinity` none.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'
import { closedPort, forward } from '../support/faults.mjs'

const LIMIT_MS = 4_000
/** How long after `start()` the first service comes up, of which the second gets the rest. */
const LATE_MS = 2_000

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let place

before(async () => {
	cluster = await openCluster()
	place = await cluster.place({ name: 'limit' })
})

after(() => cluster.close())

/** @param {Record<string, any>} more */
function build(more) {
	const { brokers, contactPoints, localDataCenter, redisUrl } = cluster.where
	const logger = recorder()
	const adapter = new KafkaAdapter({
		...place.options(),
		kafka: { brokers },
		cassandraClient: { contactPoints, localDataCenter },
		coordinationStore: redisUrl,
		...more,
		runtimeOptions: { blueprints: {}, registry: {}, logger },
	})
	return { adapter, logger }
}

test('a service that comes late leaves the next one only the rest of the limit', async () => {
	const port = await closedPort()
	const { adapter } = build({
		cassandraClient: { contactPoints: [`127.0.0.1:${port}`], localDataCenter: cluster.where.localDataCenter },
		kafka: { brokers: [`127.0.0.1:${await closedPort()}`] },
		startTimeoutMs: LIMIT_MS,
	})
	/** @type {{ close(): Promise<void> } | undefined} */
	let forwarder
	const timer = setTimeout(async () => (forwarder = await forward(port, cluster.where.contactPoints[0])), LATE_MS)
	const from = performance.now()
	try {
		// Kafka's own answer comes first, unless the rest is too short for one.
		await assert.rejects(adapter.start(), { code: /^ERR_(KAFKA_UNREACHABLE|START_TIMEOUT)$/, message: /Kafka/ })
		const tookMs = performance.now() - from
		assert.ok(tookMs > LATE_MS, `it took ${tookMs} ms: Cassandra was not waited for`)
		assert.ok(tookMs < LIMIT_MS + 500, `it took ${tookMs} ms`)
	} finally {
		clearTimeout(timer)
		await forwarder?.close()
	}
})

test('Infinity waits for ever, says for what, and starts when the service is there', async () => {
	const port = await closedPort()
	const { adapter, logger } = build({ coordinationStore: `redis://127.0.0.1:${port}`, startTimeoutMs: Infinity })
	const starting = adapter.start()
	await until('a warning names the service', () =>
		logger.texts('warn').find((text) => text.includes('reaching the coordination store') && text.includes(`${port}`)),
	)
	const forwarder = await forward(port, new URL(cluster.where.redisUrl).host)
	try {
		await starting
		assert.equal(adapter.health().state, 'running')
	} finally {
		await adapter.stop()
		await forwarder.close()
	}
})
