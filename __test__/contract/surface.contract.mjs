/**
 * The public surface of `@flowcraft/kafka-adapter`, as scenarios that run against any implementation of it: npm's
 * 1.4.4, ours, and stubs. A scenario observes; what it has to see stands beside it, unless `differences.mjs` says that
 * the two packages differ there, and why.
 *
 * Scenarios marked [6.1] are those of the JavaScript package's own tests (docs of the specification, section 6.1).
 */
import { BaseDistributedAdapter } from 'flowcraft'
import {
	consoleErrors,
	memoryCassandra,
	memoryKafka,
	memoryLogger,
	memoryStore,
	outcome,
	scriptedRedis,
} from './mocks.mjs'

/**
 * @typedef {object} Scenario
 * @property {string} id unique; `differences.mjs` refers to it
 * @property {(module: any) => unknown} observe
 * @property {unknown} [expect] absent where the packages differ
 */

const job = { runId: 'run', blueprintId: 'bp', nodeId: 'a' }
const TABLES = { keyspace: 'ks', contextTableName: 'contexts', statusTableName: 'statuses' }
const silent = () => ({ logger: memoryLogger() })

const optionsOf = (more = {}) => ({
	kafka: memoryKafka(),
	cassandraClient: memoryCassandra(),
	coordinationStore: {},
	topicName: 'jobs',
	groupId: 'group',
	...TABLES,
	runtimeOptions: silent(),
	...more,
})

const adapterOf = (module, more) => new module.KafkaAdapter(optionsOf(more))
const contextOf = (module, text, runId = 'run') => {
	const client = memoryCassandra({ rows: text === undefined ? {} : { run: text } })
	return { client, context: new module.CassandraContext(runId, { client, keyspace: 'ks', tableName: 'contexts' }) }
}
const linesOf = (adapter) => adapter.logger.lines.map(([level, text]) => `${level} ${text}`)
const SELECT = ['SELECT context_data FROM ks.contexts WHERE run_id = ?', ['run'], { prepare: true }]
const insert = (document) => [
	'INSERT INTO ks.contexts (run_id, context_data) VALUES (?, ?)',
	['run', JSON.stringify(document)],
	{ prepare: true },
]

/** @type {Scenario[]} */
const exports = [
	{
		id: 'exports: four names of the right kind',
		observe: (module) =>
			['CassandraContext', 'KafkaAdapter', 'RedisCoordinationStore', 'createKafkaReconciler'].map(
				(name) => typeof module[name],
			),
		expect: ['function', 'function', 'function', 'function'],
	},
	{
		id: 'exports: classes are called what they are exported as',
		observe: ({ CassandraContext, KafkaAdapter, RedisCoordinationStore }) =>
			[CassandraContext, KafkaAdapter, RedisCoordinationStore].map(({ name }) => name),
		expect: ['CassandraContext', 'KafkaAdapter', 'RedisCoordinationStore'],
	},
	{
		id: 'exports: an adapter is a BaseDistributedAdapter of the Flowcraft that is installed',
		observe: (module) => adapterOf(module) instanceof BaseDistributedAdapter,
		expect: true,
	},
	{
		id: 'exports: members of the adapter',
		observe: ({ KafkaAdapter }) =>
			[
				'createContext',
				'onJobStart',
				'publishFinalResult',
				'registerWebhookEndpoint',
				'enqueueJob',
				'processJobs',
				'stop',
				'start',
				'handleJob',
				'reconcile',
				'isReadyForFanIn',
				'shouldRetryInProcess',
				'getQueueRetryOptions',
			].filter((name) => typeof KafkaAdapter.prototype[name] !== 'function'),
		expect: [],
	},
	{
		id: 'exports: resumeWithAction',
		observe: ({ KafkaAdapter }) => typeof KafkaAdapter.prototype.resumeWithAction,
	},
]

/** @type {Scenario[]} */
const construction = [
	{
		id: 'construction: own properties [6.1]',
		observe: (module) => {
			const names = [
				'runtime',
				'store',
				'serializer',
				'logger',
				'eventBus',
				'cassandra',
				'keyspace',
				'contextTableName',
				'statusTableName',
				'topicName',
				'groupId',
				'producer',
				'consumer',
				'isRunning',
			]
			const own = Object.keys(adapterOf(module, { eventBus: { emit() {} } }))
			return {
				missing: names.filter((name) => !own.includes(name)),
				others: own.filter((name) => !names.includes(name)),
			}
		},
		expect: { missing: [], others: [] },
	},
	{
		id: 'construction: what is passed in is what is kept [6.1]',
		observe: (module) => {
			const options = optionsOf({ eventBus: { emit() {} } })
			const adapter = new module.KafkaAdapter(options)
			return [
				adapter.cassandra === options.cassandraClient,
				adapter.store === options.coordinationStore,
				adapter.logger === options.runtimeOptions.logger,
				adapter.eventBus === options.eventBus,
				adapter.keyspace,
				adapter.contextTableName,
				adapter.statusTableName,
				adapter.topicName,
				adapter.groupId,
				adapter.isRunning,
			]
		},
		expect: [true, true, true, true, 'ks', 'contexts', 'statuses', 'jobs', 'group', false],
	},
	{
		id: 'construction: default topic and group, also for what says nothing [6.1]',
		observe: (module) =>
			[undefined, '', null].map((nothing) => {
				const { topicName, groupId } = adapterOf(module, { topicName: nothing, groupId: nothing })
				return [topicName, groupId]
			}),
		expect: Array(3).fill(['flowcraft-jobs', 'flowcraft-workers']),
	},
	{
		id: 'construction: one producer, one consumer, no connection',
		observe: (module) => {
			const kafka = memoryKafka()
			const cassandraClient = memoryCassandra()
			adapterOf(module, { kafka, cassandraClient })
			return [kafka.calls, cassandraClient.calls]
		},
		expect: [[['producer'], ['consumer', { groupId: 'group' }]], []],
	},
	{
		id: 'construction: the smallest mocks there are [6.1]',
		observe: (module) => {
			const kafka = { producer: () => ({}), consumer: () => ({}) }
			const adapter = adapterOf(module, { kafka, cassandraClient: { execute() {} }, coordinationStore: {} })
			return [adapter.constructor.name, adapter.producer, adapter.consumer]
		},
		expect: ['KafkaAdapter', {}, {}],
	},
	{
		id: 'construction: nothing but runtimeOptions = {}: the log goes to the console',
		observe: (module) => {
			const original = console.info
			const lines = []
			console.info = (text) => lines.push(text)
			try {
				const adapter = adapterOf(module, { runtimeOptions: {} })
				return [adapter.logger.constructor.name, lines]
			} finally {
				console.info = original
			}
		},
		expect: ['ConsoleLogger', ['[INFO] [Adapter] BaseDistributedAdapter initialized.']],
	},
	{
		id: 'construction: the adapter is a dependency of its nodes',
		observe: (module) => {
			const adapter = adapterOf(module, { runtimeOptions: { ...silent(), dependencies: { mine: 1 } } })
			return [adapter.runtime.dependencies.adapter === adapter, adapter.runtime.dependencies.mine, linesOf(adapter)]
		},
		expect: [true, 1, ['info [Adapter] BaseDistributedAdapter initialized.']],
	},
	{
		id: 'construction: without runtimeOptions',
		observe: (module) => outcome(() => adapterOf(module, { runtimeOptions: undefined })),
	},
	{
		id: 'construction: a logger without methods',
		observe: (module) => outcome(() => adapterOf(module, { runtimeOptions: { logger: {} } }).logger),
	},
	{
		id: 'construction: what is falsy says nothing',
		observe: (module) => {
			const adapter = adapterOf(module, {
				groupId: 0,
				topicName: 0,
				eventBus: null,
				runtimeOptions: { ...silent(), registry: 0 },
			})
			return [adapter.groupId, adapter.topicName, adapter.eventBus]
		},
		expect: ['flowcraft-workers', 'flowcraft-jobs', null],
	},
	{
		id: 'construction: a table name that is more than a name',
		observe: (module) => outcome(() => adapterOf(module, { contextTableName: 'a; DROP TABLE b' }).contextTableName),
	},
]

/** @type {Scenario[]} */
const lifeCycle = [
	{
		id: 'life cycle: processJobs connects, subscribes, runs [6.1]',
		observe: async (module) => {
			const kafka = memoryKafka()
			const adapter = adapterOf(module, { kafka })
			await adapter.processJobs(async () => {})
			return [kafka.calls.slice(2), adapter.isRunning, linesOf(adapter).slice(1)]
		},
		expect: [
			[
				['producer.connect'],
				['consumer.connect'],
				['consumer.subscribe', { topic: 'jobs', fromBeginning: false }],
				['consumer.run'],
				['concurrency', 1],
			],
			true,
			['info [KafkaAdapter] Worker (Group: group) listening on topic: "jobs"'],
		],
	},
	{
		id: 'life cycle: processJobs while it runs touches nothing [6.1]',
		observe: async (module) => {
			const kafka = memoryKafka()
			const adapter = adapterOf(module, { kafka })
			adapter.isRunning = true
			const result = await outcome(() => adapter.processJobs(() => {}))
			return [result, kafka.calls.slice(2), linesOf(adapter).slice(1)]
		},
		expect: [{ value: undefined }, [], ['warn [KafkaAdapter] Consumer is already running.']],
	},
	{
		id: 'life cycle: start logs, then consumes',
		observe: async (module) => {
			const kafka = memoryKafka()
			const adapter = adapterOf(module, { kafka })
			await adapter.start()
			await new Promise((resolve) => setTimeout(resolve, 20))
			const seen = [linesOf(adapter).slice(1), kafka.calls.slice(2).map(([name]) => name), adapter.isRunning]
			await adapter.stop()
			return seen
		},
		expect: [
			['info [Adapter] Starting worker...', 'info [KafkaAdapter] Worker (Group: group) listening on topic: "jobs"'],
			['producer.connect', 'consumer.connect', 'consumer.subscribe', 'consumer.run', 'concurrency'],
			true,
		],
	},
	{
		id: 'life cycle: what start returns',
		observe: async (module) => {
			const adapter = adapterOf(module)
			const returned = adapter.start()
			await returned
			await new Promise((resolve) => setTimeout(resolve, 20))
			await adapter.stop()
			return returned instanceof Promise ? 'a promise' : returned
		},
	},
	{
		id: 'life cycle: two starts at once',
		observe: async (module) => {
			const kafka = memoryKafka()
			const adapter = adapterOf(module, { kafka })
			await Promise.all([adapter.start(), adapter.start()])
			await new Promise((resolve) => setTimeout(resolve, 20))
			const connects = kafka.calls.filter(([name]) => name === 'consumer.connect').length
			await adapter.stop()
			return connects
		},
	},
	{
		id: 'life cycle: a failed start is logged, and may be repeated',
		observe: async (module) => {
			const failing = { 'consumer.connect': new Error('no broker') }
			const adapter = adapterOf(module, { kafka: memoryKafka({ failing }) })
			await outcome(() => adapter.processJobs(async () => {}))
			const [level, text, { error }] = adapter.logger.lines.find(([level]) => level === 'error')
			const stopped = adapter.isRunning
			delete failing['consumer.connect']
			await adapter.processJobs(async () => {})
			return [level, text, error.message, stopped, adapter.isRunning]
		},
		expect: ['error', '[KafkaAdapter] Failed to start Kafka producer/consumer:', 'no broker', false, true],
	},
	{
		id: 'life cycle: a failed start is told',
		observe: async (module) => {
			const failing = { 'producer.connect': new Error('no broker') }
			const adapter = adapterOf(module, { kafka: memoryKafka({ failing }) })
			return outcome(() => adapter.start())
		},
	},
	{
		id: 'life cycle: stop disconnects, consumer first, and closes nothing else',
		observe: async (module) => {
			const kafka = memoryKafka()
			const cassandraClient = { ...memoryCassandra(), shutdown: () => Promise.reject(new Error('not yours')) }
			const adapter = adapterOf(module, { kafka, cassandraClient })
			await adapter.processJobs(async () => {})
			kafka.calls.length = 0
			await adapter.stop()
			return [kafka.calls, adapter.isRunning, linesOf(adapter).at(-1)]
		},
		expect: [
			[['consumer.disconnect'], ['producer.disconnect']],
			false,
			'info [KafkaAdapter] Stopping Kafka producer and consumer.',
		],
	},
	{
		id: 'life cycle: stop of the smallest mocks',
		observe: (module) => {
			const kafka = { producer: () => ({}), consumer: () => ({}) }
			return adapterOf(module, { kafka })
				.stop()
				.catch(({ name }) => name)
		},
		expect: 'TypeError',
	},
	{
		id: 'life cycle: hooks on the kafkajs objects stay reachable',
		observe: (module) => {
			const listeners = []
			const consumer = { on: (event) => listeners.push(event) }
			const adapter = adapterOf(module, { kafka: { producer: () => ({}), consumer: () => consumer } })
			adapter.consumer.on('consumer.crash')
			return [adapter.consumer === consumer, listeners]
		},
		expect: [true, ['consumer.crash']],
	},
]

const consuming = async (module, handler) => {
	const kafka = memoryKafka()
	const adapter = adapterOf(module, { kafka })
	await adapter.processJobs(handler)
	kafka.calls.length = 0
	adapter.logger.lines.length = 0
	return { adapter, kafka }
}

/** @type {Scenario[]} */
const messages = [
	{
		id: 'messages: a job reaches the handler as it is',
		observe: async (module) => {
			const jobs = []
			const { adapter, kafka } = await consuming(module, async (taken) => jobs.push(taken))
			await kafka.deliver(JSON.stringify({ ...job, attempt: 2 }), 7)
			return [jobs, linesOf(adapter)]
		},
		expect: [[{ ...job, attempt: 2 }], ['info [KafkaAdapter] ==> [P7] Picked up job for Node: a, Run: run']],
	},
	{
		id: 'messages: a tombstone is passed over in silence',
		observe: async (module) => {
			const jobs = []
			const { adapter, kafka } = await consuming(module, async (taken) => jobs.push(taken))
			const result = await outcome(() => kafka.deliver(null))
			return [result, jobs, linesOf(adapter)]
		},
		expect: [{ value: undefined }, [], []],
	},
	{
		id: 'messages: a failing handler is logged and told to kafkajs',
		observe: async (module) => {
			const { adapter, kafka } = await consuming(module, async () => {
				throw new Error('no room')
			})
			const result = await outcome(() => kafka.deliver(JSON.stringify(job)))
			const [level, text, { error }] = adapter.logger.lines.at(-1)
			return [result, level, text, error.message]
		},
		expect: [{ error: 'no room' }, 'error', '[KafkaAdapter] Error processing message on topic jobs:', 'no room'],
	},
	{
		id: 'messages: a handler with a bug does not end the consumer for good',
		observe: async (module) => {
			const { kafka } = await consuming(module, async () => {
				throw new TypeError('a bug')
			})
			return kafka.deliver(JSON.stringify(job)).then(
				() => 'completed',
				(error) => (error instanceof TypeError ? 'kafkajs stops for good' : 'kafkajs tries again'),
			)
		},
	},
	...['', '{', 'null', '{}'].map((text) => ({
		id: `messages: ${JSON.stringify(text)} is no job`,
		observe: async (module) => {
			const jobs = []
			const { kafka } = await consuming(module, async (taken) => jobs.push(taken))
			const result = await kafka.deliver(text).then(
				() => 'completed',
				(error) => `rejected: ${error.name}`,
			)
			const sent = kafka.calls.filter(([name]) => name === 'producer.send').map(([, { topic }]) => topic)
			return { result, handled: jobs.length, deadLetters: sent }
		},
	})),
]

/** @type {Scenario[]} */
const enqueue = [
	{
		id: 'enqueueJob: needs a started adapter [6.1]',
		observe: (module) => outcome(() => adapterOf(module).enqueueJob(job)),
		expect: { error: 'Kafka producer is not connected. Adapter must be started.' },
	},
	{
		id: 'enqueueJob: by hand, with a producer that the user has connected [6.1]',
		observe: async (module) => {
			const kafka = memoryKafka()
			const adapter = adapterOf(module, { kafka })
			await adapter.producer.connect()
			adapter.isRunning = true
			await adapter.enqueueJob(job)
			await adapter.enqueueJob({ ...job, isLastAttempt: false, attempt: 3 })
			await adapter.producer.disconnect()
			return kafka.calls.slice(2)
		},
		expect: [
			['producer.connect'],
			['producer.send', { topic: 'jobs', messages: [{ key: 'run', value: JSON.stringify(job) }] }],
			[
				'producer.send',
				{
					topic: 'jobs',
					messages: [{ key: 'run', value: JSON.stringify({ ...job, isLastAttempt: false, attempt: 3 }) }],
				},
			],
			['producer.disconnect'],
		],
	},
	{
		id: 'enqueueJob: a producer that fails is told',
		observe: (module) => {
			const adapter = adapterOf(module, { kafka: memoryKafka({ failing: { 'producer.send': new Error('full') } }) })
			adapter.isRunning = true
			return outcome(() => adapter.enqueueJob(job))
		},
		expect: { error: 'full' },
	},
]

const TOUCH =
	"INSERT INTO ks.statuses (run_id, status, updated_at) VALUES (?, 'running', toTimestamp(now())) IF NOT EXISTS"
const UPDATE = 'UPDATE ks.statuses SET updated_at = toTimestamp(now()) WHERE run_id = ?'
const PUBLISH = 'INSERT INTO ks.statuses (run_id, status, status_data, updated_at) VALUES (?, ?, ?, toTimestamp(now()))'

/** @type {Scenario[]} */
const statuses = [
	...[true, false].map((applied) => ({
		id: `onJobStart: ${applied ? 'a first job inserts' : 'a later one updates'} [6.1]`,
		observe: async (module) => {
			const cassandraClient = memoryCassandra({ applied })
			const result = await outcome(() => adapterOf(module, { cassandraClient }).onJobStart('run', 'bp', 'a'))
			return [result, cassandraClient.calls]
		},
		expect: [
			{ value: undefined },
			[TOUCH, ...(applied ? [] : [UPDATE])].map((query) => [query, ['run'], { prepare: true }]),
		],
	})),
	{
		id: 'onJobStart: a failure is said on the console, and goes no further [6.1]',
		observe: async (module) => {
			const adapter = adapterOf(module, { cassandraClient: memoryCassandra({ failing: new Error('down') }) })
			let result
			const lines = await consoleErrors(async () => {
				result = await outcome(() => adapter.onJobStart('run', 'bp', 'a'))
			})
			return [result, lines]
		},
		expect: [
			{ value: undefined },
			[['[KafkaAdapter] Failed to update updated_at timestamp for Run ID run', 'Error: down']],
		],
	},
	{
		id: 'publishFinalResult: one statement, one line',
		observe: async (module) => {
			const cassandraClient = memoryCassandra()
			const adapter = adapterOf(module, { cassandraClient })
			const result = {
				status: 'completed',
				payload: { context: { a: 1 }, serializedContext: '{}', status: 'completed' },
			}
			await adapter.publishFinalResult('run', result)
			return [cassandraClient.calls, linesOf(adapter).at(-1), result.status]
		},
		expect: [
			[
				[
					PUBLISH,
					[
						'run',
						'completed',
						'{"status":"completed","payload":{"context":{"a":1},"serializedContext":"{}","status":"completed"}}',
					],
					{ prepare: true },
				],
			],
			'info [KafkaAdapter] Published final result for Run ID run.',
			'completed',
		],
	},
	{
		id: 'publishFinalResult: a failure is told',
		observe: (module) => {
			const adapter = adapterOf(module, { cassandraClient: memoryCassandra({ failing: new Error('down') }) })
			return outcome(() => adapter.publishFinalResult('run', { status: 'failed', reason: 'x' }))
		},
		expect: { error: 'down' },
	},
	{
		id: 'registerWebhookEndpoint: is for subclasses [6.1]',
		observe: (module) => outcome(() => adapterOf(module).registerWebhookEndpoint('run', 'a')),
		expect: { error: 'registerWebhookEndpoint not implemented for KafkaAdapter' },
	},
]

/** @type {Scenario[]} */
const contexts = [
	{
		id: 'context: createContext gives a fresh one for the run [6.1]',
		observe: (module) => {
			const adapter = adapterOf(module)
			const context = adapter.createContext('x')
			return [
				context instanceof module.CassandraContext,
				context.runId,
				context.tableName,
				context.type,
				context.client === adapter.cassandra,
				context === adapter.createContext('x'),
			]
		},
		expect: [true, 'x', 'ks.contexts', 'async', true, false],
	},
	{
		id: 'context: own properties and methods',
		observe: (module) => {
			const { context } = contextOf(module)
			const methods = ['readContext', 'writeContext', 'get', 'set', 'has', 'delete', 'toJSON', 'patch']
			return [Object.keys(context).toSorted(), methods.filter((name) => typeof context[name] !== 'function')]
		},
		expect: [['client', 'runId', 'tableName', 'type'], []],
	},
	{
		id: 'context: without a keyspace',
		observe: (module) => {
			const options = { client: memoryCassandra(), tableName: 'contexts' }
			return outcome(() => new module.CassandraContext('run', options).tableName)
		},
	},
	{
		id: 'context: set and get objects, numbers and lists [6.1]',
		observe: async (module) => {
			const { context } = contextOf(module)
			await context.set('object', { a: [1, { b: null }] })
			await context.set('number', 42)
			await context.set('list', [1, 'two', true])
			return [
				await context.get('object'),
				await context.get('number'),
				await context.get('list'),
				await context.toJSON(),
			]
		},
		expect: [
			{ a: [1, { b: null }] },
			42,
			[1, 'two', true],
			{ object: { a: [1, { b: null }] }, number: 42, list: [1, 'two', true] },
		],
	},
	{
		id: 'context: patch sets and deletes in order, with one read and one write [6.1]',
		observe: async (module) => {
			const { client, context } = contextOf(module, '{"a":1,"b":2}')
			await context.patch([
				{ op: 'set', key: 'c', value: 3 },
				{ op: 'delete', key: 'a' },
				{ op: 'set', key: 'b', value: 4 },
				{ op: 'unknown', key: 'z', value: 9 },
			])
			return [client.calls, await context.get('a'), await context.toJSON()]
		},
		expect: [[SELECT, insert({ b: 4, c: 3 }), SELECT, SELECT], undefined, { b: 4, c: 3 }],
	},
	{
		id: 'context: an empty patch costs nothing',
		observe: async (module) => {
			const { client, context } = contextOf(module, '{}')
			return [await context.patch([]), client.calls, context.runId]
		},
		expect: [undefined, [], 'run'],
	},
	{
		id: 'context: statements of each method',
		observe: async (module) => {
			const { client, context } = contextOf(module, '{"a":1}')
			const counts = []
			for (const work of [
				() => context.get('a'),
				() => context.has('a'),
				() => context.toJSON(),
				() => context.set('b', 2),
				() => context.delete('absent'),
				() => context.delete('a'),
			]) {
				client.calls.length = 0
				const value = await work()
				counts.push([client.calls.map(([query]) => query.split(' ')[0]).join(' '), value])
			}
			return counts
		},
		expect: [
			['SELECT', 1],
			['SELECT', true],
			['SELECT', { a: 1 }],
			['SELECT INSERT', undefined],
			['SELECT', false],
			['SELECT INSERT', true],
		],
	},
	{
		id: 'context: without a row',
		observe: async (module) => {
			const { client, context } = contextOf(module)
			const seen = [await context.get('a'), await context.has('a'), await context.delete('a'), await context.toJSON()]
			return [seen, client.calls.length]
		},
		expect: [[undefined, false, false, {}], 4],
	},
	{
		id: 'context: get sees inherited properties, has does not',
		observe: async (module) => {
			const { context } = contextOf(module, '{}')
			return [typeof (await context.get('toString')), await context.has('toString')]
		},
		expect: ['function', false],
	},
	{
		id: 'context: what JSON makes of values',
		observe: async (module) => {
			const { context } = contextOf(module, '{}')
			for (const [key, value] of Object.entries({
				undefined: undefined,
				function: () => 1,
				nan: NaN,
				date: new Date(0),
				map: new Map([[1, 2]]),
			})) {
				await context.set(key, value)
			}
			const bigint = await outcome(() => context.set('bigint', 1n))
			return [await context.toJSON(), bigint.error]
		},
		expect: [{ nan: null, date: '1970-01-01T00:00:00.000Z', map: {} }, 'Do not know how to serialize a BigInt'],
	},
	{
		id: 'context: a cell that holds no object',
		observe: async (module) => {
			const seen = []
			for (const text of [null, 'null', '', '{']) {
				const { context } = contextOf(module, text)
				seen.push(
					await context.get('a').then(
						() => 'no error',
						({ name }) => name,
					),
				)
			}
			return seen
		},
		expect: ['TypeError', 'TypeError', 'SyntaxError', 'SyntaxError'],
	},
	{
		id: 'context: readContext and writeContext',
		observe: async (module) => {
			const { client, context } = contextOf(module, '{"a":1}')
			const read = await context.readContext()
			await context.writeContext({ ...read, b: 2 })
			return [read, client.rows.run]
		},
		expect: [{ a: 1 }, '{"a":1,"b":2}'],
	},
	{
		id: 'context: a client that fails is told',
		observe: (module) => {
			const client = memoryCassandra({ failing: new Error('down') })
			const context = new module.CassandraContext('run', { client, keyspace: 'ks', tableName: 'contexts' })
			return outcome(() => context.toJSON())
		},
		expect: { error: 'down' },
	},
	{
		id: 'context: the key _flowcraft',
		observe: async (module) => {
			const { client, context } = contextOf(module, '{"a":1,"_flowcraft":{"v":1}}')
			const seen = [await context.get('_flowcraft'), await context.has('_flowcraft'), await context.toJSON()]
			await context.set('b', 2)
			const set = await outcome(() => context.set('_flowcraft', 0))
			return { seen, set, kept: JSON.parse(client.rows.run) }
		},
	},
]

/** @type {Scenario[]} */
const stores = [
	...Object.entries({
		'[[null,5]]': [[[null, 5]], 5],
		'[[null,5],[null,1]]': [
			[
				[null, 5],
				[null, 1],
			],
			5,
		],
		null: [null, 0],
		'an error per command': [[[new Error('WRONGTYPE'), undefined]], undefined],
	}).map(([name, [reply, expected]]) => ({
		id: `store: increment, exec answers ${name} [6.1]`,
		observe: async (module) => {
			const redis = scriptedRedis({ exec: reply })
			const count = await new module.RedisCoordinationStore(redis).increment('test-key', 60)
			return [count, redis.calls]
		},
		expect: [expected, [['incr', 'test-key'], ['pipeline expire', 'test-key', 60], ['exec']]],
	})),
	...Object.entries({ OK: true, null: false }).map(([reply, expected]) => ({
		id: `store: setIfNotExist, Redis answers ${reply} [6.1]`,
		observe: async (module) => {
			const redis = scriptedRedis({ set: reply === 'null' ? null : reply })
			const written = await new module.RedisCoordinationStore(redis).setIfNotExist('test-key', 'test-value', 60)
			return [written, redis.calls]
		},
		expect: [expected, [['set', 'test-key', 'test-value', 'EX', 60, 'NX']]],
	})),
	{
		id: 'store: delete [6.1]',
		observe: async (module) => {
			const redis = scriptedRedis({ del: 1 })
			return [await new module.RedisCoordinationStore(redis).delete('test-key'), redis.calls]
		},
		expect: [undefined, [['del', 'test-key']]],
	},
	...[1, 0].map((reply) => ({
		id: `store: extendTTL, Redis answers ${reply} [6.1]`,
		observe: async (module) => {
			const redis = scriptedRedis({ expire: reply })
			return [await new module.RedisCoordinationStore(redis).extendTTL('test-key', 120), redis.calls]
		},
		expect: [reply === 1, [['expire', 'test-key', 120]]],
	})),
	...Object.entries({ 'a value': 'a value', null: undefined, '': '' }).map(([reply, expected]) => ({
		id: `store: get, Redis answers ${JSON.stringify(reply)} [6.1]`,
		observe: async (module) => {
			const redis = scriptedRedis({ get: reply === 'null' ? null : reply })
			return [await new module.RedisCoordinationStore(redis).get('test-key'), redis.calls]
		},
		expect: [expected, [['get', 'test-key']]],
	})),
	{
		id: 'store: without a client',
		observe: (module) => outcome(() => new module.RedisCoordinationStore(undefined).redis),
	},
	{
		id: 'store: own property, and failures are told',
		observe: async (module) => {
			const redis = { get: () => Promise.reject(new Error('gone')) }
			const store = new module.RedisCoordinationStore(redis)
			return [Object.keys(store), store.redis === redis, await outcome(() => store.get('k'))]
		},
		expect: [['redis'], true, { error: 'gone' }],
	},
]

const STALLED = 'SELECT run_id FROM ks.statuses WHERE status = ? AND updated_at < ? ALLOW FILTERING'

const reconciling = async (module, { pages, reconcile, logger, adapterLogger = memoryLogger() }) => {
	const calls = []
	const row = (run) => ({ get: (column) => (column === 'run_id' ? run : undefined) })
	const execute = async (query, params, options) => {
		calls.push([query, params, options])
		const at = Number(options.pageState ?? 0)
		const pageState = at + 1 < pages.length ? { pageState: String(at + 1) } : {}
		return { rows: pages[at].map(row), ...pageState }
	}
	const reconciled = []
	const adapter = {
		logger: adapterLogger,
		reconcile: async (run) => {
			reconciled.push(run)
			return reconcile(run)
		},
	}
	const options = { adapter, cassandraClient: { execute }, ...TABLES, stalledThresholdSeconds: 300, logger }
	const before = Date.now()
	const stats = await module.createKafkaReconciler(options).run()
	const age = Math.round((before - calls[0]?.[1][1]) / 1000)
	const lines = (logger ?? adapterLogger).lines.map(([level, text]) => `${level} ${text}`)
	return { stats, reconciled, query: [calls[0]?.[0], calls[0]?.[1][0], age, calls[0]?.[2]], lines }
}

/** @type {Scenario[]} */
const reconcilers = [
	{
		id: 'reconciler: nothing stalled [6.1]',
		observe: (module) => reconciling(module, { pages: [[]], reconcile: () => new Set() }),
		expect: {
			stats: { stalledRuns: 0, reconciledRuns: 0, failedRuns: 0 },
			reconciled: [],
			query: [STALLED, 'running', 300, { prepare: true }],
			lines: [],
		},
	},
	{
		id: 'reconciler: two stalled runs [6.1]',
		observe: (module) => reconciling(module, { pages: [['r1', 'r2']], reconcile: () => new Set(['a', 'b']) }),
		expect: {
			stats: { stalledRuns: 2, reconciledRuns: 2, failedRuns: 0 },
			reconciled: ['r1', 'r2'],
			query: [STALLED, 'running', 300, { prepare: true }],
			lines: [
				'info [Reconciler] Resumed run r1, enqueued nodes: a, b',
				'info [Reconciler] Resumed run r2, enqueued nodes: a, b',
			],
		},
	},
	{
		id: 'reconciler: a run that cannot be reconciled does not stop the others [6.1]',
		observe: async (module) => {
			const reconcile = (run) => (run === 'r1' ? Promise.reject(new Error('no')) : new Set())
			const { stats, reconciled, lines } = await reconciling(module, { pages: [['r1', 'r2']], reconcile })
			return [stats, reconciled, lines]
		},
		expect: [
			{ stalledRuns: 2, reconciledRuns: 0, failedRuns: 1 },
			['r1', 'r2'],
			['error [Reconciler] Failed to reconcile run r1:'],
		],
	},
	{
		id: 'reconciler: a logger of its own [6.1]',
		observe: async (module) => {
			const adapterLogger = memoryLogger()
			const logger = memoryLogger()
			const { lines } = await reconciling(module, {
				pages: [['r']],
				reconcile: () => new Set(['a']),
				logger,
				adapterLogger,
			})
			return [lines, adapterLogger.lines]
		},
		expect: [['info [Reconciler] Resumed run r, enqueued nodes: a'], []],
	},
	{
		id: 'reconciler: rows without a run are not counted',
		observe: async (module) => {
			const pages = [[null, '', undefined, 'r']]
			const { stats, reconciled } = await reconciling(module, { pages, reconcile: () => new Set() })
			return [stats, reconciled]
		},
		expect: [{ stalledRuns: 1, reconciledRuns: 0, failedRuns: 0 }, ['r']],
	},
	{
		id: 'reconciler: a query that fails is told',
		observe: (module) => {
			const cassandraClient = memoryCassandra({ failing: new Error('down') })
			const options = { adapter: { reconcile() {} }, cassandraClient, ...TABLES, stalledThresholdSeconds: 1 }
			return outcome(() => module.createKafkaReconciler(options).run())
		},
		expect: { error: 'down' },
	},
	{
		id: 'reconciler: a threshold that is no number',
		observe: (module) => {
			const options = { adapter: { reconcile() {} }, cassandraClient: memoryCassandra(), ...TABLES }
			return outcome(() => typeof module.createKafkaReconciler({ ...options, stalledThresholdSeconds: 'five' }).run)
		},
	},
	{
		id: 'reconciler: without an adapter',
		observe: (module) => {
			const options = { cassandraClient: memoryCassandra(), ...TABLES, stalledThresholdSeconds: 1 }
			return outcome(() => typeof module.createKafkaReconciler(options).run)
		},
	},
	{
		id: 'reconciler: more than one page',
		observe: async (module) => {
			const pages = [['r1'], ['r2'], ['r3']]
			const { reconciled } = await reconciling(module, { pages, reconcile: () => new Set() })
			return reconciled
		},
	},
]

const edge = (source, target, more = {}) => ({ source, target, ...more })
const node = (id, config) => ({ id, uses: id, ...(config ? { config } : {}) })
const blueprintOf = (nodes, edges) => ({ id: 'bp', nodes, edges, metadata: { version: '1' } })
const CHAIN = blueprintOf([node('a'), node('b'), node('c')], [edge('a', 'b'), edge('b', 'c')])
const BRANCH = blueprintOf(
	[node('a'), node('yes'), node('no')],
	[edge('a', 'yes', { action: 'y' }), edge('a', 'no', { action: 'n' })],
)
const WAITING = blueprintOf([node('a'), node('wait'), node('c')], [edge('a', 'wait'), edge('wait', 'c')])
const FALLBACK = blueprintOf([node('a', { fallback: 'f' }), node('f'), node('b')], [edge('a', 'b')])
const JOIN = (joinStrategy) =>
	blueprintOf([node('a'), node('b'), node('j', { joinStrategy })], [edge('a', 'j'), edge('b', 'j')])

const reconcileRun = async (module, blueprint, document, { store = memoryStore(), blueprints } = {}) => {
	const kafka = memoryKafka()
	const cassandraClient = memoryCassandra({ rows: document ? { run: JSON.stringify(document) } : {} })
	const adapter = adapterOf(module, {
		kafka,
		cassandraClient,
		coordinationStore: store,
		runtimeOptions: { ...silent(), blueprints: blueprints ?? { bp: blueprint } },
	})
	adapter.isRunning = true
	const result = await outcome(async () => [...(await adapter.reconcile('run'))])
	const sent = kafka.calls
		.filter(([name]) => name === 'producer.send')
		.map(
			([
				,
				{
					messages: [message],
				},
			]) => JSON.parse(message.value).nodeId,
		)
	return { ...result, sent, adapter, cassandraClient, store }
}
const known = { blueprintId: 'bp', blueprintVersion: '1' }
const nudged = async (...args) => {
	const { value, error, sent } = await reconcileRun(...args)
	return error ? { error } : { value, sent }
}
const both = (...ids) => ({ value: ids, sent: ids })

/** @type {Scenario[]} */
const reconciles = [
	{
		id: 'reconcile: a run that has not begun',
		observe: (module) => nudged(module, CHAIN, known),
		expect: both('a'),
	},
	{
		id: 'reconcile: the successor of what is done',
		observe: (module) => nudged(module, CHAIN, { ...known, '_outputs.a': 1 }),
		expect: both('b'),
	},
	{
		id: 'reconcile: a run that is done',
		observe: (module) => nudged(module, CHAIN, { ...known, '_outputs.a': 1, '_outputs.b': 1, '_outputs.c': 1 }),
		expect: both(),
	},
	{
		id: 'reconcile: an output that is null is an output',
		observe: (module) => nudged(module, CHAIN, { ...known, '_outputs.a': null }),
		expect: both('b'),
	},
	...['all', 'any'].map((strategy) => ({
		id: `reconcile: ${strategy} of two predecessors, one done`,
		observe: (module) => nudged(module, JOIN(strategy), { ...known, '_outputs.a': 1 }),
		expect: strategy === 'all' ? both('b') : both('b', 'j'),
	})),
	{
		id: 'reconcile: a node that was nudged just now is left alone',
		observe: async (module) => {
			const store = memoryStore()
			const first = await nudged(module, CHAIN, known, { store })
			return [first, await nudged(module, CHAIN, known, { store }), store.calls.slice(-1)]
		},
		expect: [both('a'), both(), [['setIfNotExist', 'flowcraft:nodelock:run:a', 'locked', 120]]],
	},
	{
		id: 'reconcile: the blueprint is known to the coordination store only',
		observe: (module) => nudged(module, CHAIN, {}, { store: memoryStore({ 'flowcraft:blueprint:run': 'bp' }) }),
		expect: both('a'),
	},
	{
		id: 'reconcile: the blueprint is known to nobody',
		observe: (module) => nudged(module, CHAIN, {}),
		expect: { error: "Cannot reconcile runId 'run': blueprintId not found in context or coordination store." },
	},
	{
		id: 'reconcile: the blueprint is not registered',
		observe: (module) => nudged(module, CHAIN, known, { blueprints: {} }),
		expect: { error: "Cannot reconcile runId 'run': Blueprint with ID 'bp' not found." },
	},
	{
		id: 'reconcile: an adapter that is not started',
		observe: (module) => {
			const cassandraClient = memoryCassandra({ rows: { run: JSON.stringify(known) } })
			const runtimeOptions = { ...silent(), blueprints: { bp: CHAIN } }
			return outcome(() =>
				adapterOf(module, { cassandraClient, runtimeOptions, coordinationStore: memoryStore() }).reconcile('run'),
			)
		},
		expect: { error: 'Kafka producer is not connected. Adapter must be started.' },
	},
	{
		id: 'reconcile: a branch that was not taken',
		observe: (module) => nudged(module, BRANCH, { ...known, '_outputs.a': 1, '_inputs.yes': 1 }),
	},
	{
		id: 'reconcile: a run that waits',
		observe: (module) => nudged(module, WAITING, { ...known, '_outputs.a': 1, _awaitingNodeIds: ['wait'] }),
	},
	{
		id: 'reconcile: a fallback that is not needed',
		observe: (module) => nudged(module, FALLBACK, { ...known, '_outputs.a': 1 }),
	},
	{
		id: 'reconcile: writes nothing into the run',
		observe: async (module) => {
			const store = memoryStore({ 'flowcraft:blueprint:run': 'bp' })
			const { cassandraClient } = await reconcileRun(module, CHAIN, {}, { store })
			return cassandraClient.calls.filter(([query]) => query.startsWith('INSERT')).length
		},
	},
]

/** @type {Record<string, Scenario[]>} */
export const sections = {
	exports,
	construction,
	'life cycle': lifeCycle,
	messages,
	enqueueJob: enqueue,
	'status table': statuses,
	CassandraContext: contexts,
	RedisCoordinationStore: stores,
	createKafkaReconciler: reconcilers,
	reconcile: reconciles,
}
