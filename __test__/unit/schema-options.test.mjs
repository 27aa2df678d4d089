/** What `ensureSchema` and `schemaStatements` refuse before they ask anybody, and what they do for several workers. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { ensureSchema, KafkaAdapter, schemaStatements } from '../../src/js/index.js'
import { setNative } from '../../src/js/native.js'
import { inTurns } from '../../src/js/schema.js'
import { FakeCassandra, fakeNative, resetFakes } from '../contract/fake-native.mjs'

const tables = { keyspace: 'ks', contextTableName: 'contexts', statusTableName: 'statuses' }

before(() => {
	resetFakes()
	setNative(fakeNative)
})

after(() => setNative(undefined))

describe('options of the schema', () => {
	const refused = [
		['keyspace', undefined, 'missing'],
		['contextTableName', 'a;b', '"a;b" is not a CQL identifier'],
		['statusTableName', 7, '7 is not a CQL identifier'],
		['layout', 'rows', '"rows" is not known. Use one of document, entries'],
		['replication', 0, 'not a replication'],
		['replication', {}, 'not a replication'],
		['replication', { dc1: null }, 'not a replication'],
		['replication', 'SimpleStrategy', 'not a replication'],
		['ttlSeconds', -1, '-1 is not a whole number of seconds up to 630720000'],
		['ttlSeconds', 630_720_001, '630720001 is not a whole number'],
		['ttlSeconds', '60', '"60" is not a whole number'],
	]
	for (const [option, value, problem] of refused) {
		it(`refuses ${option}: ${JSON.stringify(value)}`, async () => {
			const options = /** @type {any} */ ({ ...tables, cassandraClient: 'h1', [option]: value })
			const error = (/** @type {any} */ { code, message }) =>
				code === 'ERR_OPTION' && message.startsWith(`options.${option}: ${problem}`)
			assert.throws(() => schemaStatements(options), error)
			await assert.rejects(ensureSchema(options), error)
		})
	}

	it('reach the engine as they are, with the names of the adapter', async () => {
		const adapter = new KafkaAdapter({
			...tables,
			kafka: 'b1:9092',
			cassandraClient: 'h1',
			runtimeOptions: { registry: {}, blueprints: {} },
		})
		const report = await adapter.ensureSchema({ layout: 'entries', replication: { dc1: 3 }, ttlSeconds: 0 })
		assert.deepEqual(report, { layout: 'entries', statements: [] })
		const plan = { keyspace: 'ks', contextTable: 'contexts', statusTable: 'statuses', layout: 'entries' }
		assert.deepEqual(FakeCassandra.calls, [['ensureSchema', { ...plan, replication: { dc1: 3 }, ttlSeconds: 0 }]])
	})
})

describe('workers that share a store', () => {
	it('take turns', async () => {
		/** @type {Set<string>} */
		const keys = new Set()
		const store = {
			setIfNotExist: async (/** @type {string} */ key) => !keys.has(key) && Boolean(keys.add(key)),
			delete: async (/** @type {string} */ key) => void keys.delete(key),
		}
		let working = 0
		const work = async () => {
			assert.equal(++working, 1)
			await new Promise((resolve) => setImmediate(resolve))
			working--
		}
		await Promise.all([inTurns(store, 'ks', work), inTurns(store, 'ks', work)])
		assert.equal(keys.size, 0)
	})

	it('do the work all the same when the store fails, or is none', async () => {
		const fails = async () => {
			throw new Error('away')
		}
		for (const store of [undefined, {}, { setIfNotExist: fails, delete: fails }]) {
			assert.equal(await inTurns(store, 'ks', async () => 7), 7)
		}
	})
})
