/** start, stop, enqueue and the overridden hooks of `KafkaAdapter`, on a fake engine. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { KafkaAdapter } from '../../src/js/index.js'
import { setNative } from '../../src/js/native.js'
import { FakeCassandra, FakeWorker, fakeNative, resetFakes } from '../contract/fake-native.mjs'

const job = { runId: 'run', blueprintId: 'bp', nodeId: 'a' }

const recordingLogger = () => {
	const lines = []
	const log = (level) => (text, meta) => lines.push({ level, text, meta })
	return { lines, debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
}

const plainOptions = (more = {}) => ({
	kafka: ['127.0.0.1:9092'],
	cassandraClient: { contactPoints: ['127.0.0.1'], localDataCenter: 'dc1' },
	coordinationStore: 'redis://127.0.0.1:6379',
	keyspace: 'ks',
	contextTableName: 'contexts',
	statusTableName: 'statuses',
	runtimeOptions: { logger: recordingLogger() },
	...more,
})

const mockKafka = () => {
	const calls = []
	const record = (name) => async (argument) => void calls.push(argument === undefined ? [name] : [name, argument])
	const kafka = {
		calls,
		producer: () => ({
			connect: record('producer.connect'),
			send: record('producer.send'),
			disconnect: record('producer.disconnect'),
		}),
		consumer: () => ({
			connect: record('consumer.connect'),
			subscribe: record('consumer.subscribe'),
			disconnect: record('consumer.disconnect'),
			run: async (config) => {
				kafka.deliver = (value, partition = 0, headers = {}) => {
					const message = { value: Buffer.from(value), key: null, headers }
					return config.eachMessage({ topic: 'flowcraft-jobs', partition, message })
				}
				calls.push(['consumer.run'])
			},
		}),
	}
	return kafka
}

const levels = (adapter, level) => adapter.logger.lines.filter((line) => line.level === level).map(({ text }) => text)

beforeEach(() => {
	resetFakes()
	setNative(fakeNative)
})
afterEach(() => setNative(undefined))

describe('start', () => {
	it('gives the engine every setting, and runs it natively', async () => {
		const adapter = new KafkaAdapter(plainOptions())
		await adapter.start()
		const { config } = FakeWorker.made[0]
		assert.equal(config.topic, 'flowcraft-jobs')
		assert.equal(config.groupId, 'flowcraft-workers')
		assert.equal(config.deadLetterTopic, 'flowcraft-jobs.dead-letters')
		assert.deepEqual(config.kafka, {
			kind: 'native',
			settings: { brokers: ['127.0.0.1:9092'], startPosition: 'earliest' },
			consume: true,
		})
		assert.equal(config.context.kind, 'native')
		assert.deepEqual(config.context.settings.contactPoints, ['127.0.0.1:9042'])
		assert.deepEqual([config.context.keyspace, config.context.table], ['ks', 'contexts'])
		assert.deepEqual([config.status.keyspace, config.status.table], ['ks', 'statuses'])
		assert.deepEqual(config.coordination, {
			kind: 'native',
			settings: { host: '127.0.0.1', port: 6379, db: 0 },
		})
		assert.deepEqual([config.enqueue, config.handle, config.dispatch], ['native', 'native', 'topic'])
		assert.equal(config.startTimeoutMs, 10_000)
		assert.ok(adapter.isRunning)
		assert.deepEqual(levels(adapter, 'info'), [
			'[Adapter] BaseDistributedAdapter initialized.',
			'[Adapter] Starting worker...',
			'[KafkaAdapter] Worker (Group: flowcraft-workers) listening on topic: "flowcraft-jobs"',
		])
		await adapter.stop()
		assert.ok(!adapter.isRunning)
	})

	it('waits for ever where it is told to', async () => {
		const adapter = new KafkaAdapter(plainOptions({ startTimeoutMs: Infinity }))
		await adapter.start()
		assert.equal(FakeWorker.made[0].config.startTimeoutMs, null)
		await adapter.stop()
	})

	it('is one start however often it is called', async () => {
		const adapter = new KafkaAdapter(plainOptions())
		await Promise.all([adapter.start(), adapter.start()])
		assert.equal(FakeWorker.made.length, 1)
		await adapter.start()
		assert.equal(FakeWorker.made.length, 1)
		assert.deepEqual(levels(adapter, 'warn'), ['[KafkaAdapter] Consumer is already running.'])
		await adapter.stop()
	})

	it('rejects with the reason, says it once in the log, and may be called again', async () => {
		const failure = {
			__error: { code: 'ERR_KAFKA_UNREACHABLE', message: 'Kafka cannot be reached at x:1', retryable: true },
		}
		FakeWorker.startOutcome = async () => failure
		const adapter = new KafkaAdapter(plainOptions())
		const unhandled = []
		const note = (reason) => unhandled.push(reason)
		process.on('unhandledRejection', note)
		const start = adapter.start()
		await new Promise((resolve) => setTimeout(resolve, 20))
		process.off('unhandledRejection', note)
		assert.deepEqual(unhandled, [], 'nobody awaited it, and nothing crashes')
		await assert.rejects(start, { name: 'KafkaAdapterError', code: 'ERR_KAFKA_UNREACHABLE', retryable: true })
		assert.deepEqual(levels(adapter, 'error'), ['[KafkaAdapter] Failed to start Kafka producer/consumer:'])
		assert.ok(!adapter.isRunning)
		FakeWorker.startOutcome = async () => undefined
		await adapter.start()
		assert.equal(FakeWorker.made.length, 2)
		await adapter.stop()
	})

	it('gives up on a brokers function that never answers', async () => {
		const { Kafka, logLevel } = await import('kafkajs')
		const kafka = new Kafka({ brokers: () => new Promise(() => {}), logLevel: logLevel.NOTHING })
		const adapter = new KafkaAdapter(plainOptions({ kafka, startTimeoutMs: 30 }))
		await assert.rejects(adapter.start(), { code: 'ERR_START_TIMEOUT' })
		assert.ok(!adapter.isRunning)
	})

	it('holds the process only while the worker is up', async () => {
		const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
		const before = timers()
		const adapter = new KafkaAdapter(plainOptions())
		await adapter.start()
		assert.equal(timers(), before + 1)
		await adapter.stop()
		assert.equal(timers(), before)
	})
})

describe('stop', () => {
	it('passes the deadline on, whose default is 25 s, and is idempotent', async () => {
		const adapter = new KafkaAdapter(plainOptions())
		await adapter.start()
		await Promise.all([adapter.stop({ deadlineMs: 7 }), adapter.stop()])
		await adapter.stop()
		assert.deepEqual(FakeWorker.made[0].calls, [['start'], ['stop', 7]])
		assert.deepEqual(adapter.health(), { state: 'idle' })
	})

	it('says how much was left at the deadline', async () => {
		const adapter = new KafkaAdapter(plainOptions())
		await adapter.start()
		FakeWorker.made[0].stop = async () => '{"drained":false,"abandonedRuns":3}'
		await adapter.stop({ deadlineMs: 50 })
		const text = '[KafkaAdapter] 3 runs had nodes that did not end within 50 ms; they go on elsewhere'
		assert.deepEqual(levels(adapter, 'warn'), [text])
	})

	it('ends a start that is under way', async () => {
		let joined
		FakeWorker.startOutcome = () => new Promise((resolve) => (joined = resolve))
		const adapter = new KafkaAdapter(plainOptions())
		const start = adapter.start()
		await new Promise((resolve) => setImmediate(resolve))
		const stop = adapter.stop()
		joined()
		await assert.rejects(start, { code: 'ERR_NOT_RUNNING' })
		await stop
		assert.equal(adapter.isRunning, false)
	})

	it('refuses a deadline that is none', async () => {
		await assert.rejects(new KafkaAdapter(plainOptions()).stop({ deadlineMs: -1 }), { code: 'ERR_OPTION' })
	})

	it('disconnects kafkajs objects, consumer first', async () => {
		const kafka = mockKafka()
		const adapter = new KafkaAdapter(plainOptions({ kafka }))
		await adapter.stop()
		assert.deepEqual(kafka.calls, [['consumer.disconnect'], ['producer.disconnect']])
	})
})

describe('a kafkajs-like object that is not genuine', () => {
	it('is driven as the JavaScript package drives it, and feeds the engine', async () => {
		const kafka = mockKafka()
		const adapter = new KafkaAdapter(plainOptions({ kafka }))
		await adapter.start()
		const [worker] = FakeWorker.made
		assert.deepEqual(worker.config.kafka, { kind: 'js' })
		assert.deepEqual(kafka.calls, [
			['producer.connect'],
			['consumer.connect'],
			['consumer.subscribe', { topic: 'flowcraft-jobs', fromBeginning: false }],
			['consumer.run'],
		])
		await kafka.deliver(JSON.stringify(job), 3)
		assert.deepEqual(worker.calls.at(-1), ['submit', 'run', 'bp', 'a'])
		assert.ok(levels(adapter, 'info').includes('[KafkaAdapter] ==> [P3] Picked up job for Node: a, Run: run'))
		await worker.request('sink.send', { run: 'run', blueprint: 'bp', node: 'b' })
		const message = { key: 'run', value: '{"runId":"run","blueprintId":"bp","nodeId":"b"}' }
		assert.deepEqual(kafka.calls.at(-1), ['producer.send', { topic: 'flowcraft-jobs', messages: [message] }])
		await adapter.stop()
		assert.deepEqual(kafka.calls.slice(-2), [['consumer.disconnect'], ['producer.disconnect']])
	})

	it('survives what is no job: it goes to the dead letters, and the next job runs', async () => {
		const kafka = mockKafka()
		const adapter = new KafkaAdapter(plainOptions({ kafka }))
		await adapter.start()
		const cases = [
			['', 'ERR_JOB_NOT_JSON'],
			['{', 'ERR_JOB_NOT_JSON'],
			['null', 'ERR_JOB_NOT_OBJECT'],
			['[1]', 'ERR_JOB_NOT_OBJECT'],
			['{}', 'ERR_JOB_FIELD'],
			[JSON.stringify({ ...job, nodeId: '' }), 'ERR_JOB_FIELD'],
			[JSON.stringify({ ...job, runId: 7 }), 'ERR_JOB_FIELD'],
			[JSON.stringify({ ...job, runId: 'x'.repeat(5000) }), 'ERR_JOB_TOO_LARGE'],
			['x'.repeat(1_000_000), 'ERR_JOB_TOO_LARGE'],
		]
		for (const [value, code] of cases) {
			await kafka.deliver(value, 0, { trace: Buffer.from('abc'), 'flowcraft-run': Buffer.from('an earlier one') })
			const [name, { topic, messages }] = kafka.calls.at(-1)
			assert.deepEqual([name, topic], ['producer.send', 'flowcraft-jobs.dead-letters'])
			assert.deepEqual([String(messages[0].headers.trace), messages[0].headers['flowcraft-run']], ['abc', undefined])
			assert.equal(String(messages[0].value), value)
			assert.equal(messages[0].headers['flowcraft-code'], code)
		}
		await kafka.deliver(JSON.stringify(job))
		assert.deepEqual(FakeWorker.made[0].calls.at(-1), ['submit', 'run', 'bp', 'a'])
		await adapter.stop()
	})

	it('takes the dead letters of the engine', async () => {
		const kafka = mockKafka()
		const adapter = new KafkaAdapter(plainOptions({ kafka }))
		await adapter.start()
		const [value, key] = ['{"x":"ü"}', 'run'].map((text) => Buffer.from(text).toString('hex'))
		const headers = [
			['trace', Buffer.from('abc').toString('hex')],
			['empty', null],
		]
		const coordinates = { partition: 2, offset: 9, run: 'run' }
		const letter = { value, key, headers, ...coordinates, code: 'ERR_NODE_UNKNOWN', reason: 'no such node' }
		await FakeWorker.made[0].request('sink.deadLetter', letter)
		const [, { topic, messages }] = kafka.calls.at(-1)
		assert.equal(topic, 'flowcraft-jobs.dead-letters')
		assert.deepEqual([String(messages[0].value), String(messages[0].key)], ['{"x":"ü"}', 'run'])
		assert.deepEqual(messages[0].headers, {
			trace: Buffer.from('abc'),
			empty: null,
			'flowcraft-code': 'ERR_NODE_UNKNOWN',
			'flowcraft-reason': 'no such node',
			'flowcraft-topic': 'flowcraft-jobs',
			'flowcraft-partition': '2',
			'flowcraft-offset': '9',
			'flowcraft-run': 'run',
		})
		await adapter.stop()
	})

	it('never sees an error that kafkajs takes for a reason to stop for good', async () => {
		const kafka = mockKafka()
		class Failing extends KafkaAdapter {
			async handleJob() {
				throw new TypeError('a bug of the user')
			}
		}
		const adapter = new Failing(plainOptions({ kafka }))
		await adapter.start()
		await assert.rejects(kafka.deliver(JSON.stringify(job)), {
			name: 'KafkaAdapterError',
			message: 'a bug of the user',
		})
		await adapter.stop()
	})
})

describe('enqueueJob', () => {
	it('needs a started adapter', async () => {
		await assert.rejects(new KafkaAdapter(plainOptions()).enqueueJob(job), {
			message: 'Kafka producer is not connected. Adapter must be started.',
		})
	})

	it('goes through the engine when it runs', async () => {
		const adapter = new KafkaAdapter(plainOptions())
		await adapter.start()
		await adapter.enqueueJob(job)
		assert.deepEqual(FakeWorker.made[0].calls.at(-1), ['enqueue', 'run', 'bp', 'a'])
		await adapter.stop()
	})

	it('sends a job with more than the three fields as it is', async () => {
		const kafka = mockKafka()
		const adapter = new KafkaAdapter(plainOptions({ kafka }))
		adapter.isRunning = true
		await adapter.enqueueJob({ ...job, attempt: 2 })
		const [, { messages }] = kafka.calls.at(-1)
		assert.deepEqual(JSON.parse(messages[0].value), { ...job, attempt: 2 })
	})
})

describe('overridden members', () => {
	/** Starts an adapter of a subclass with these members; answers it and its engine. */
	const startWith = async (members, options = {}) => {
		class Custom extends KafkaAdapter {}
		for (const [name, member] of Object.entries(members)) Custom.prototype[name] = member
		const adapter = new Custom(plainOptions(options))
		await adapter.start()
		return { adapter, worker: FakeWorker.made.at(-1) }
	}

	it('createContext: the state goes through it, bookkeeping included', async () => {
		const documents = { run: { a: 1, b: 2 } }
		const { adapter, worker } = await startWith({
			createContext: (runId) => ({
				type: 'async',
				toJSON: async () => ({ ...documents[runId] }),
				set: async (key, value) => void (documents[runId][key] = value),
				delete: async (key) => delete documents[runId][key],
			}),
		})
		assert.deepEqual(worker.config.context, { kind: 'js' })
		assert.equal(worker.config.status.kind, 'native')
		assert.deepEqual(await worker.request('context.load', { run: 'run' }), {
			error: null,
			result: { text: '{"a":1,"b":2}' },
		})
		const changes = [
			['a', null],
			['c', '{"x":[1]}'],
		]
		await worker.request('context.write', { run: 'run', changes, checkpoint: '{"v":1}' })
		assert.deepEqual(documents.run, { b: 2, c: { x: [1] }, _flowcraft: { v: 1 } })
		await adapter.stop()
	})

	it('createContext that wraps ours: the engine still finds its bookkeeping, others do not', async () => {
		const { adapter, worker } = await startWith({
			createContext(runId) {
				const inner = KafkaAdapter.prototype.createContext.call(this, runId)
				return { type: 'async', toJSON: () => inner.toJSON(), patch: (operations) => inner.patch(operations) }
			},
		})
		await worker.request('context.write', { run: 'run', changes: [['a', '1']], checkpoint: '{"v":1}' })
		assert.equal(FakeCassandra.rows.get('ks.contexts/run'), '{"a":1,"_flowcraft":{"v":1}}')
		assert.deepEqual(await adapter.createContext('run').toJSON(), { a: 1 })
		const { result } = await worker.request('context.load', { run: 'run' })
		assert.deepEqual(JSON.parse(result.text), { a: 1, _flowcraft: { v: 1 } })
		await adapter.stop()
	})

	it('publishFinalResult: gets the result instead of the status table', async () => {
		const published = []
		const { adapter, worker } = await startWith({ publishFinalResult: async (...args) => void published.push(args) })
		assert.deepEqual(worker.config.status, { kind: 'js' })
		await worker.request('status.publish', { run: 'run', status: 'failed', data: '{"status":"failed","reason":"x"}' })
		assert.deepEqual(published, [['run', { status: 'failed', reason: 'x' }]])
		await adapter.stop()
	})

	it('enqueueJob: is called for every successor, and super sends', async () => {
		const jobs = []
		const { adapter, worker } = await startWith({
			async enqueueJob(sent) {
				jobs.push(sent)
				await KafkaAdapter.prototype.enqueueJob.call(this, sent)
			},
		})
		assert.equal(worker.config.enqueue, 'js')
		await worker.request('sink.send', { run: 'run', blueprint: 'bp', node: 'b' })
		assert.deepEqual(jobs, [{ ...job, nodeId: 'b' }])
		assert.deepEqual(worker.calls.at(-1), ['enqueue', 'run', 'bp', 'b'])
		await adapter.stop()
	})

	it('handleJob: gets each consumed message, and super is the engine', async () => {
		const { adapter, worker } = await startWith({
			async handleJob(taken) {
				await KafkaAdapter.prototype.handleJob.call(this, { ...taken, nodeId: 'z' })
			},
		})
		assert.equal(worker.config.handle, 'js')
		assert.equal(worker.config.kafka.kind, 'native')
		assert.deepEqual(await worker.request('handle', job), { error: null, result: undefined })
		assert.deepEqual(worker.calls.at(-1), ['submit', 'run', 'bp', 'z'])
		await adapter.stop()
	})

	it('processJobs: there is no consumer of ours, and its handler is the engine', async () => {
		let handler
		const { adapter, worker } = await startWith({ processJobs: (given) => void (handler = given) })
		assert.deepEqual([worker.config.kafka.kind, worker.config.kafka.consume], ['native', false])
		assert.ok(adapter.isRunning)
		await handler(job)
		assert.deepEqual(worker.calls, [['start'], ['submit', 'run', 'bp', 'a']])
		await adapter.stop()
	})

	it('processJobs that wraps the handler and calls super: consumed natively, through the wrapper', async () => {
		const seen = []
		const { adapter, worker } = await startWith({
			async processJobs(handler) {
				await new Promise((resolve) => setImmediate(resolve))
				await KafkaAdapter.prototype.processJobs.call(this, async (taken) => {
					seen.push(taken.nodeId)
					await handler(taken)
				})
			},
		})
		assert.equal(worker.config.kafka.kind, 'native')
		assert.equal(worker.config.handle, 'js')
		await worker.request('handle', job)
		assert.deepEqual(seen, ['a'])
		assert.deepEqual(worker.calls.at(-1), ['submit', 'run', 'bp', 'a'])
		await adapter.stop()
	})

	it('a failing hook is an answer, not a crash', async () => {
		const { adapter, worker } = await startWith({
			publishFinalResult: () => {
				throw new Error('no room')
			},
		})
		assert.deepEqual(await worker.request('status.publish', { run: 'r', status: 'completed', data: '{}' }), {
			error: 'no room',
			result: undefined,
		})
		assert.deepEqual(await worker.request('no.such.thing'), {
			error: 'the engine asked for "no.such.thing", which nobody answers',
			result: undefined,
		})
		await adapter.stop()
	})
})
