/** What the options refuse, how they say it, and what they never refuse. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CassandraContext, createKafkaReconciler, KafkaAdapter, RedisCoordinationStore } from '../../src/js/index.js'
import { readOptions } from '../../src/js/adapter/options.js'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const mocks = {
	runtimeOptions: { logger: silent },
	coordinationStore: {},
	kafka: { producer: () => ({}), consumer: () => ({}) },
	cassandraClient: { execute: async () => ({}) },
	keyspace: 'ks',
	contextTableName: 'contexts',
	statusTableName: 'statuses',
}
const settings = { ...mocks, kafka: 'a:9092', cassandraClient: 'a', coordinationStore: 'redis://a' }

/** option, value, what the message says: path, problem and fix */
const refused = [
	['runtimeOptions', undefined, /^options\.runtimeOptions: missing\. Give the options of your FlowRuntime/],
	['kafka', undefined, /^options\.kafka: undefined is no client\. Give a kafkajs Kafka/],
	['kafka', { producer() {} }, /^options\.kafka: "consumer" is no method of it/],
	[
		'cassandraClient',
		{ contactPoint: 'a' },
		/^options\.cassandraClient: neither settings nor an object with "execute"/,
	],
	['kafka', 7, /^options\.kafka: a number is no client/],
	['kafka', {}, /^options\.kafka\.brokers: no list of brokers/],
	['kafka', { brokers: ['a'] }, /^options\.kafka\.brokers\[0\]: "a" is not an address/],
	['kafka', { brokers: ['a:1'], ssl: { pfx: 'x' } }, /^options\.kafka\.ssl\.pfx: not supported/],
	['cassandraClient', [], /^options\.cassandraClient: no contact point is given/],
	['cassandraClient', { contactPoints: [1] }, /^options\.cassandraClient\.contactPoints\[0\]: a number is not/],
	['coordinationStore', 'localhost', /^options\.coordinationStore: not a Redis URL/],
	['coordinationStore', { host: 'a', path: '/x' }, /^options\.coordinationStore\.path \(unix socket\): not supported/],
	['keyspace', 'ks; DROP TABLE x', /^options\.keyspace: "ks; DROP TABLE x" is not a CQL identifier\. Use letters/],
	['keyspace', '', /^options\.keyspace: "" is not/],
	['keyspace', '"Mixed"', /^options\.keyspace: "Mixed" is quoted, which the native client does not take\. Use a table/],
	['contextTableName', '"Mixed"', /^options\.contextTableName: "Mixed" is quoted/],
	['statusTableName', '"Mixed"', /^options\.statusTableName: "Mixed" is quoted/],
	['keyspace', 'x'.repeat(49), /^options\.keyspace: "x+" has 49 characters\. Cassandra takes 48 at most/],
	['statusTableName', 'x'.repeat(49), /^options\.statusTableName: "x+" has 49 characters/],
	[
		'kafka',
		{ brokers: ['a:1'], sasl: { mechanism: 'plain', username: 'u' } },
		/^options\.kafka\.sasl\.password: missing/,
	],
	['kafka', { brokers: ['a:1'], sasl: {} }, /^options\.kafka\.sasl\.mechanism: missing\. Use one of/],
	[
		'coordinationStore',
		{ cluster: ['a:1'], tls: true },
		/^options\.coordinationStore\.tls \(of a cluster\): not supported/,
	],
	['keyspace', 7, /^options\.keyspace: 7 is not/],
	['keyspace', undefined, /^options\.keyspace: missing\. Give the keyspace/],
	['contextTableName', 'a.b', /^options\.contextTableName: "a\.b" is not/],
	['contextTableName', undefined, /^options\.contextTableName: missing/],
	['statusTableName', '1st', /^options\.statusTableName: "1st" is not/],
	['statusTableName', undefined, /^options\.statusTableName: missing/],
	['topicName', 'my topic', /^options\.topicName: "my topic" is not a topic name/],
	['topicName', '..', /^options\.topicName/],
	['topicName', 'x'.repeat(250), /^options\.topicName/],
	['deadLetterTopic', 'a/b', /^options\.deadLetterTopic/],
	['groupId', 7, /^options\.groupId: a number is not a string\. The default is "flowcraft-workers"/],
	['workerId', {}, /^options\.workerId: an object is not a string/],
	['backend', 'memory', /^options\.backend: not a backend\. Use "embedded"/],
	['backend', { embedded: '' }, /^options\.backend/],
	['backend', { embedded: 'x', crashAfterCalls: 0 }, /^options\.backend\.crashAfterCalls: 0 is not a whole number/],
	['backend', { embedded: 'x', crashAfterCalls: '7' }, /^options\.backend\.crashAfterCalls: "7" is not a whole number/],
	['strict', 'yes', /^options\.strict: "yes" is not true or false\. The default is false/],
	['enforceTimeouts', 1, /^options\.enforceTimeouts: 1 is not true or false\. The default is false/],
	['schedule', 'waves', /^options\.schedule: "waves" is not known\. Use one of eager, wave/],
	['retryMode', 'queued', /^options\.retryMode: "queued" is not known\. Use one of in-process, queue/],
	['dispatch', 1, /^options\.dispatch: 1 is not known\. Use one of topic, local/],
	['native', 'always', /^options\.native: "always" is not known\. Use one of prefer, required/],
	['consistency', 'local_one', /^options\.consistency: "local_one" is not known\. Use one of ONE, TWO/],
	['consistency', 'ANY', /^options\.consistency/],
	['startPosition', 'middle', /^options\.startPosition/],
	['topicPartitions', 0, /^options\.topicPartitions: 0 is not a whole number from 1 to 2147483647/],
	...[
		'maxConcurrentJobs',
		'maxConcurrentJobsPerRun',
		'maxLoadedRuns',
		'maxLoadedBytes',
		'maxWaitingMessages',
		'maxValueBytes',
		'warnValueBytes',
		'maxHistoryVisits',
		'reconcileEverySeconds',
		'retentionSeconds',
		'sweepEverySeconds',
		'leaseTtlMs',
		'revokeGraceMs',
		'maxStallMs',
		'poisonOpenings',
		'startTimeoutMs',
	].flatMap((name) =>
		[0, -1, 1.5, NaN, '5', {}].map((value) => [
			name,
			value,
			new RegExp(`^options\\.${name}: .* is not a whole number`),
		]),
	),
	['maxConcurrentJobs', Infinity, /^options\.maxConcurrentJobs: Infinity is not a whole number/],
]

describe('an option that cannot work', () => {
	for (const [name, value, message] of refused) {
		it(`${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value).slice(0, 30)}`, () => {
			const build = () => new KafkaAdapter({ ...settings, [name]: value })
			assert.throws(build, { name: 'KafkaAdapterError', code: 'ERR_OPTION', retryable: false, message })
		})
	}

	it('no options at all', () => {
		assert.throws(() => new KafkaAdapter(), { code: 'ERR_OPTION', message: /^options: missing/ })
	})

	it('native: "required" with a client that cannot be read', () => {
		const build = (more) => () => new KafkaAdapter({ ...settings, native: 'required', ...more })
		assert.doesNotThrow(build({}))
		const reason = /not a client whose settings can be read, and options\.native is "required"/
		assert.throws(build({ cassandraClient: mocks.cassandraClient }), { code: 'ERR_OPTION', message: reason })
	})

	it('a name that is no identifier, wherever it is used', () => {
		const bad = 'x"; --'
		const options = { client: mocks.cassandraClient, keyspace: 'ks', tableName: bad }
		assert.throws(() => new CassandraContext('run', options), { code: 'ERR_OPTION', message: /^options\.tableName/ })
		const adapter = { reconcile() {} }
		const reconciler = { ...mocks, adapter, statusTableName: bad, stalledThresholdSeconds: 1 }
		assert.throws(() => createKafkaReconciler(reconciler), { code: 'ERR_OPTION', message: /^options\.statusTableName/ })
	})

	it('never shows a password', () => {
		const secrets = [
			{ coordinationStore: 'redis://user:secret@' },
			{ kafka: { brokers: 'x', sasl: { mechanism: 'plain', username: 'u', password: 'secret' } } },
			{ cassandraClient: { contactPoints: [''], credentials: { username: 'u', password: 'secret' } } },
		]
		for (const option of secrets) {
			try {
				new KafkaAdapter({ ...settings, ...option })
			} catch (error) {
				assert.ok(!`${error.message}${error.stack}`.includes('secret'))
			}
		}
	})
})

describe('what 1.4.4 accepted', () => {
	const accepted = {
		mocks: {},
		'a topic and a group that say nothing': { topicName: '', groupId: undefined },
		'no Cassandra client': { cassandraClient: undefined },
		'no coordination store': { coordinationStore: undefined },
		'names that are missing, with a mock': {
			keyspace: undefined,
			contextTableName: undefined,
			statusTableName: undefined,
		},
		'a quoted name': { keyspace: '"MixedCase"' },
		'options it never heard of': { somethingElse: 1 },
		'a topic, a group and a bus that are falsy': { topicName: 0, groupId: 0, eventBus: false },
		'runtime options that are falsy': {
			runtimeOptions: { logger: silent, eventBus: '', registry: null, blueprints: 0 },
		},
		'null for what is left out': { topicPartitions: null, reconcileEverySeconds: null, brokers: null },
		'a store with some methods': { coordinationStore: { get() {} } },
	}
	for (const [name, more] of Object.entries(accepted)) {
		it(name, () => assert.doesNotThrow(() => new KafkaAdapter({ ...mocks, ...more })))
	}

	it('names of 48 characters', () => {
		const names = { keyspace: 'k'.repeat(48), contextTableName: 'c'.repeat(48), statusTableName: 's'.repeat(48) }
		assert.doesNotThrow(() => new KafkaAdapter({ ...settings, ...names }))
	})
})

describe('plain settings', () => {
	it('take null for what is left out', () => {
		const nothing = { clientId: null, ssl: null, sasl: null, properties: null, sessionTimeoutMs: null }
		assert.doesNotThrow(() => new KafkaAdapter({ ...settings, kafka: { brokers: ['a:1'], ...nothing } }))
	})

	it('are those of a server on this machine, where they have no address', () => {
		const { coordination } = readOptions({ ...settings, coordinationStore: { password: 'word' } })
		assert.deepEqual(coordination, { password: 'word' })
		const adapter = new KafkaAdapter({ ...settings, coordinationStore: { password: 'word' } })
		assert.ok(adapter.store instanceof RedisCoordinationStore)
	})
})

describe('defaults', () => {
	it('are those of the documentation', () => {
		const { workerId, ...found } = readOptions(settings)
		assert.match(workerId, /-[0-9]+-[0-9a-f]{8}$/)
		assert.deepEqual(found, {
			topic: 'flowcraft-jobs',
			groupId: 'flowcraft-workers',
			deadLetterTopic: 'flowcraft-jobs.dead-letters',
			kafka: 'a:9092',
			cassandra: { contactPoints: 'a' },
			coordination: 'redis://a',
			keyspace: 'ks',
			contextTable: 'contexts',
			statusTable: 'statuses',
			dispatch: 'topic',
			schedule: 'eager',
			strict: false,
			enforceTimeouts: false,
			retryMode: 'in-process',
			native: 'prefer',
			consistency: undefined,
			startPosition: 'earliest',
			topicPartitions: undefined,
			limits: {
				maxConcurrentJobs: 256,
				maxConcurrentJobsPerRun: 32,
				maxLoadedRuns: 256,
				maxLoadedBytes: 256 * 1024 * 1024,
				maxWaitingMessages: 10_000,
			},
			reconcileEverySeconds: undefined,
			retentionSeconds: undefined,
			sweepEverySeconds: 3600,
			valueSizes: { maxValueBytes: 8 * 1024 * 1024, warnValueBytes: 1024 * 1024 },
			maxHistoryVisits: 100,
			leaseTtlMs: 8_000,
			revokeGraceMs: 5_000,
			maxStallMs: 60_000,
			startTimeoutMs: 10_000,
			poisonOpenings: 5,
			webhooks: undefined,
		})
	})

	it('let one backend stand for all three services', () => {
		const { kafka, cassandra, coordination, keyspace } = readOptions({
			runtimeOptions: {},
			backend: { embedded: 'mine' },
		})
		assert.deepEqual([kafka, cassandra, coordination], Array(3).fill({ embedded: 'mine' }))
		assert.equal(keyspace, 'flowcraft')
		assert.doesNotThrow(() => new KafkaAdapter({ runtimeOptions: { logger: silent }, backend: 'embedded' }))
	})

	it('make several workers of one process tell apart', () => {
		assert.notEqual(readOptions(settings).workerId, readOptions(settings).workerId)
	})
})
