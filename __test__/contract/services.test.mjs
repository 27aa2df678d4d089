/** Runs the contract on services against npm's 1.4.4, this package, and stubs. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import * as theirs from 'kafka-adapter-js'
import * as ours from '../../src/js/index.js'
import { openEnvironment, sections } from './services.contract.mjs'
import { assertFails, expectedOf, stubs } from './stubs.mjs'

/** What a stub does not do does not come later. */
const STUB_PATIENCE_MS = 500

const { CASSANDRA_CONTACT_POINTS, CASSANDRA_DATACENTER = 'datacenter1', REDIS_URL } = process.env

/** @type {Awaited<ReturnType<typeof openEnvironment>>} */
let clients

before(async () => {
	clients = await openEnvironment()
})
after(() => clients?.close())

for (const [name, side, module] of /** @type {const} */ ([
	["npm's 1.4.4", 'theirs', theirs],
	['this package', 'ours', ours],
])) {
	describe(name, () => {
		for (const [section, list] of Object.entries(sections)) {
			describe(section, () => {
				for (const scenario of list)
					it(scenario.id, async () =>
						assert.deepEqual(await scenario.observe(module, clients), expectedOf(scenario, side)),
					)
			})
		}
	})
}

describe('the contract on services', () => {
	for (const [name, stub] of stubs) {
		it(`is failed in every section by a stub that answers ${name}`, async () => {
			const environment = { ...clients, patienceMs: STUB_PATIENCE_MS }
			for (const [section, list] of Object.entries(sections))
				await assertFails(section, list, ({ observe }) => observe(stub, environment))
		})
	}
})

const contextOf = ({ CassandraContext }, runId, client = clients.client) =>
	new CassandraContext(runId, { client, keyspace: clients.keyspace, tableName: 'contexts' })

describe('both together, and what only this package takes', () => {
	it('read what the other wrote, and 1.4.4 keeps the bookkeeping that it does not know', async () => {
		const run = randomUUID()
		await contextOf(theirs, run).set('a', 1)
		await contextOf(theirs, run).set('_flowcraft', { v: 1 })
		assert.deepEqual(await contextOf(ours, run).toJSON(), { a: 1 })
		await contextOf(ours, run).set('b', [2])
		assert.deepEqual(await contextOf(theirs, run).toJSON(), { a: 1, b: [2], _flowcraft: { v: 1 } })
	})

	it('write the same from settings as through the client', async () => {
		const run = randomUUID()
		const settings = { contactPoints: CASSANDRA_CONTACT_POINTS, localDataCenter: CASSANDRA_DATACENTER }
		await contextOf(ours, run, settings).set('a', { deep: ['ü'] })
		assert.deepEqual(await contextOf(theirs, run).toJSON(), { a: { deep: ['ü'] } })
		const key = `contract-${run}`
		assert.equal(await new ours.RedisCoordinationStore(REDIS_URL).increment(key, 60), 1)
		assert.equal(await new theirs.RedisCoordinationStore(clients.redis).increment(key, 60), 2)
	})

	it('keep many operations in flight', async () => {
		const store = new ours.RedisCoordinationStore(clients.redis)
		const key = `contract-${randomUUID()}`
		const counts = await Promise.all(Array.from({ length: 500 }, () => store.increment(key, 60)))
		assert.deepEqual(
			counts.toSorted((a, b) => a - b),
			Array.from({ length: 500 }, (_, index) => index + 1),
		)
		const runs = Array.from({ length: 100 }, () => randomUUID())
		await Promise.all(runs.map((run, index) => contextOf(ours, run).set('index', index)))
		const found = await Promise.all(runs.map((run) => contextOf(ours, run).get('index')))
		assert.deepEqual(found, [...runs.keys()])
	})
})
