/** Everything that type-checks with the types of 1.4.4 does with ours: compiled, never run. */
import * as ours from '@flowcraft/kafka-adapter'
import { Client } from 'cassandra-driver'
import type { IAsyncContext, ICoordinationStore, JobPayload, WorkflowResult } from 'flowcraft'
import { BaseDistributedAdapter } from 'flowcraft'
import { Cluster, Redis } from 'ioredis'
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5'
import { Kafka } from 'kafkajs'
import type * as theirs from 'kafka-adapter-js'

/** The public members of a class: private ones make every class its own type. */
type Public<T> = { [K in keyof T]: T[K] }

declare const kafka: Kafka
declare const cassandraClient: Client
declare const store: ICoordinationStore
const tables = { keyspace: 'ks', contextTableName: 'contexts', statusTableName: 'statuses' }
const common = { ...tables, runtimeOptions: {} }

// The exports.
type Missing = Exclude<keyof typeof theirs, keyof typeof ours>
export const noneIsMissing: Missing[] = [] satisfies never[]

// Options and arguments of 1.4.4 are options and arguments here.
declare const theirOptions: theirs.KafkaAdapterOptions
declare const theirContextOptions: theirs.CassandraContextOptions
declare const theirReconcilerOptions: theirs.KafkaReconcilerOptions
export const ourOptions: ours.KafkaAdapterOptions = theirOptions
export const adapter = new ours.KafkaAdapter(theirOptions)
export const context = new ours.CassandraContext('run', theirContextOptions)
export const reconciler = ours.createKafkaReconciler(theirReconcilerOptions)
export const ofOurs = ours.createKafkaReconciler({ ...theirReconcilerOptions, adapter })

// Results and instances are used as those of 1.4.4.
export const base: BaseDistributedAdapter = adapter
export const asTheirContext: Public<theirs.CassandraContext> = context
export const asContext: IAsyncContext<Record<string, any>> = context
export const stats: Promise<theirs.ReconciliationStats> = reconciler.run()
export const asTheirAdapter: Public<theirs.KafkaAdapter> = adapter
export const stopped: Promise<void> = adapter.stop()

// Clients of every supported version.
export const stores: ICoordinationStore[] = [
	new ours.RedisCoordinationStore(new Redis('redis://127.0.0.1')),
	new ours.RedisCoordinationStore(new Redis5('redis://127.0.0.1')),
	new ours.RedisCoordinationStore(new Cluster([])),
	new ours.RedisCoordinationStore(new Cluster5([])),
	new ours.RedisCoordinationStore('redis://127.0.0.1'),
	new ours.RedisCoordinationStore({ host: '127.0.0.1', db: 1 }),
]
export const asTheirStore: Public<theirs.RedisCoordinationStore> = new ours.RedisCoordinationStore('redis://h')

export const adapters = [
	new ours.KafkaAdapter({ ...common, kafka, cassandraClient, coordinationStore: store }),
	new ours.KafkaAdapter({ ...common, kafka: ['a:9092'], cassandraClient: 'a,b', coordinationStore: 'redis://h' }),
	new ours.KafkaAdapter({ ...common, brokers: 'a:9092', cassandraClient: ['a'] }),
	new ours.KafkaAdapter({
		...common,
		kafka: {
			brokers: ['a:9092'],
			ssl: { ca: Buffer.from('') },
			sasl: { mechanism: 'plain', username: 'u', password: 'p' },
		},
		cassandraClient: { contactPoints: 'a', localDataCenter: 'dc1', credentials: { username: 'u', password: 'p' } },
		coordinationStore: { url: 'rediss://h' },
		startTimeoutMs: Infinity,
		schedule: 'wave',
		dispatch: 'local',
		native: 'required',
		consistency: 'LOCAL_QUORUM',
		maxConcurrentJobs: 1,
	}),
	new ours.KafkaAdapter({ runtimeOptions: {}, backend: 'embedded' }),
	new ours.KafkaAdapter({ runtimeOptions: {}, backend: { embedded: 'mine' } }),
]

// Mocks as in the tests of 1.4.4.
export const mocked = new ours.KafkaAdapter({
	...common,
	kafka: { producer: () => ({}), consumer: () => ({}) },
	cassandraClient: { execute: async () => ({ wasApplied: () => true }) },
	coordinationStore: store,
})

/** A subclass as it was written against 1.4.4. */
export class Subclass extends ours.KafkaAdapter {
	protected override createContext(runId: string) {
		return super.createContext(runId)
	}

	protected override async onJobStart(runId: string, blueprintId: string, nodeId: string): Promise<void> {
		await super.onJobStart(runId, blueprintId, nodeId)
	}

	protected override async publishFinalResult(
		runId: string,
		result: { status: string; payload?: WorkflowResult; reason?: string },
	): Promise<void> {
		await super.publishFinalResult(runId, result)
	}

	override async registerWebhookEndpoint(runId: string, nodeId: string): Promise<{ url: string; event: string }> {
		return { url: `https://example.org/${runId}/${nodeId}`, event: 'done' }
	}

	protected override async enqueueJob(job: JobPayload): Promise<void> {
		this.logger.debug(
			`${this.runtime.options.blueprints === undefined} ${this.store} ${this.serializer} ${this.eventBus}`,
		)
		await super.enqueueJob(job)
	}

	protected override async processJobs(handler: (job: JobPayload) => Promise<void>): Promise<void> {
		await super.processJobs(async (job) => handler(job))
	}

	protected override async handleJob(job: JobPayload): Promise<void> {
		await super.handleJob(job)
	}

	override async stop(): Promise<void> {
		await super.stop()
	}
}

/** A context of the user's own: the type is open. */
export class OwnContext extends ours.KafkaAdapter {
	protected override createContext(runId: string): ours.CassandraContext {
		return {
			type: 'async',
			get: async () => runId,
			set: async () => {},
			has: async () => true,
			delete: async () => true,
			toJSON: async () => ({}),
			patch: async () => {},
		}
	}
}

// What is wrong is still refused.
// @ts-expect-error runtimeOptions is required
export const withoutRuntime = new ours.KafkaAdapter({ backend: 'embedded' })
// @ts-expect-error no such schedule
export const withTypo = new ours.KafkaAdapter({ ...common, backend: 'embedded', schedule: 'waves' })
// @ts-expect-error not a client, not settings
export const withNonsense = new ours.KafkaAdapter({ ...common, kafka: 7 })
// @ts-expect-error protected, as in 1.4.4
export const notPublic = adapter.enqueueJob

export async function beyond() {
	const run = await adapter.startRun('order', { id: 7 }, { runId: 'r' })
	const state: string | undefined = await run.status()
	const result: ours.RunResult = await run.result({ timeoutMs: 1000 })
	const resumed: Set<string> = await adapter.resumeWithAction(run.runId, 'approve', { by: 'me' })
	const started: Promise<void> = adapter.start()
	await adapter.stop({ deadlineMs: 5000 })
	try {
		await started
	} catch (error) {
		if (error instanceof ours.KafkaAdapterError && error.retryable) return error.code
	}
	return [state, result.payload?.context, resumed.size, adapter.health().state]
}
