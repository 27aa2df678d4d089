/**
 * `@flowcraft/kafka-adapter`: runs Flowcraft workflows over Apache Kafka, Apache Cassandra and Redis.
 *
 * Client objects are described by what is needed of them, so that instances of kafkajs 2, cassandra-driver 4 and
 * ioredis 5 and 6 fit, mocks fit, and none of the three has to be installed.
 */
import type {
	AdapterOptions,
	IAsyncContext,
	ICoordinationStore,
	ILogger,
	JobPayload,
	NodeDefinition,
	PatchOperation,
	WorkflowResult,
} from 'flowcraft'
import { BaseDistributedAdapter } from 'flowcraft'

/** PEM text, or a buffer or list of it, as Node's `tls` takes it. */
export type Pem = string | Uint8Array | readonly (string | Uint8Array)[]

/** TLS towards a service. Trust defaults to Node's own roots and `NODE_EXTRA_CA_CERTS`. */
export interface TlsOptions {
	/** Certificate authorities, instead of the default ones. */
	ca?: Pem
	/** Client certificate. */
	cert?: Pem
	/** Private key of the client certificate. */
	key?: Pem
	/** Passphrase of `key`. */
	passphrase?: string
	/**
	 * Whether a certificate that does not verify ends the connection. Default `true`; `false` for `cassandraClient`,
	 * as in cassandra-driver.
	 */
	rejectUnauthorized?: boolean
	/** Name the certificate has to carry, default the host. Not available for Kafka, where it is always the host. */
	servername?: string
}

/** The part of a kafkajs `Kafka` that is used. A genuine one is only read: its settings go to the native client. */
export interface KafkaClient {
	producer(): unknown
	consumer(options: { groupId: string }): unknown
}

/** Kafka settings written down, in the words of kafkajs. */
export interface KafkaSettings {
	/** `host:port`, at least one. */
	brokers: string | readonly string[]
	/** Name shown to the brokers. Default `flowcraft`. */
	clientId?: string
	/** `true`, or TLS options. Default off. */
	ssl?: boolean | TlsOptions
	/** Default none. */
	sasl?:
		| { mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; username: string; password: string }
		| { mechanism: 'oauthbearer'; oauthBearerProvider: () => Promise<{ value: string }> }
	/** Milliseconds without a sign of life after which the group takes a worker's partitions away, at most an hour. Default 10000. */
	sessionTimeoutMs?: number
	/** Milliseconds between signs of life, fewer than `sessionTimeoutMs`. Default 3000. */
	heartbeatIntervalMs?: number
	/** Milliseconds that a message waits for others to be sent with. Default 0.5. */
	lingerMs?: number
	/**
	 * Name of this worker, and of no other: a restart within `sessionTimeoutMs` then moves no partitions. Nobody works on them
	 * meanwhile, also when it has stopped for good: `stop()` does not leave the group then. Default none.
	 */
	groupInstanceId?: string
	/** Properties of librdkafka, passed on as they are; they go before everything else. */
	properties?: Record<string, string>
}

/** The part of a cassandra-driver `Client` that is used. A genuine one is only read: its settings go to the native client. */
export interface CassandraClient {
	execute(query: string, params: unknown[], options: { prepare: true }): Promise<unknown>
}

/** Cassandra settings written down, in the words of cassandra-driver. */
export interface CassandraSettings {
	/** `host` or `host:port`, at least one. */
	contactPoints: string | readonly string[]
	/** Port of contact points that name none. Default 9042. */
	port?: number
	/** Nodes of other data centres are not used. Default: the data centre of the first node that answers. */
	localDataCenter?: string
	/** Keyspace of the tables, where the option `keyspace` is left out. A CQL identifier. */
	keyspace?: string
	credentials?: { username: string; password: string }
	sslOptions?: TlsOptions
	socketOptions?: {
		/** Milliseconds until a connection attempt is given up. Default 5000. */
		connectTimeout?: number
		/** Milliseconds until a request is given up. Default 10000. */
		readTimeout?: number
	}
}

/** The part of an ioredis `Redis` or `Cluster` that is used. A genuine one is only read: its settings go to the native client. */
export interface RedisClient {
	pipeline(): {
		incr(key: string): unknown
		expire(key: string, seconds: number): unknown
		exec(): Promise<[error: Error | null, result: unknown][] | null>
	}
	set(key: string, value: string, ex: 'EX', seconds: number, nx: 'NX'): Promise<unknown>
	del(key: string): Promise<unknown>
	expire(key: string, seconds: number): Promise<unknown>
	get(key: string): Promise<string | null>
}

/** Redis settings written down, in the words of ioredis. */
export interface RedisSettings {
	/** `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS; what else is given goes before it. */
	url?: string
	/** Default `127.0.0.1`. */
	host?: string
	/** Default 6379. */
	port?: number
	username?: string
	password?: string
	/** Default 0. */
	db?: number
	tls?: boolean | TlsOptions
	/** Put before every key. Default none. */
	keyPrefix?: string
	/** Milliseconds until a connection attempt is given up. Default 5000. */
	connectTimeout?: number
	/** Milliseconds until a command is given up, waiting for a lost connection included. Default 5000. */
	commandTimeout?: number
	/** Nodes of a cluster, instead of `host` and `port`. */
	cluster?: readonly (string | { host: string; port?: number })[]
	/** Sentinels to ask for the server called `name`. */
	sentinels?: readonly { host: string; port?: number }[]
	name?: string
	sentinelUsername?: string
	sentinelPassword?: string
}

/** Replication a write waits for, and a read asks. */
export type Consistency = 'ONE' | 'TWO' | 'THREE' | 'QUORUM' | 'ALL' | 'LOCAL_QUORUM' | 'EACH_QUORUM' | 'LOCAL_ONE'

/**
 * Bounds of one worker. At a bound it stops fetching and goes on when there is room; nothing is lost.
 * A value below 1, or no whole number, is refused with `ERR_OPTION`.
 */
export interface WorkerLimits {
	/**
	 * Node bodies that run at once. Default 256. With 1, jobs run one at a time, in the order of the topic; `cancel` and other
	 * commands do not wait for their turn.
	 */
	maxConcurrentJobs?: number
	/** Node bodies of one run that run at once. Default 32. */
	maxConcurrentJobsPerRun?: number
	/** Runs whose state is kept in memory. Default 256. */
	maxLoadedRuns?: number
	/**
	 * Bytes of state at which no further run is loaded; state that is being read counts as much as the largest of the last
	 * reads. Default 268435456 (256 MiB).
	 */
	maxLoadedBytes?: number
	/** Fetched messages that wait for their turn. Default 10000. */
	maxWaitingMessages?: number
	/**
	 * Bytes of one key's value, as JSON in UTF-8. Default 8388608 (8 MiB). A run whose node has written more fails, with key
	 * and size in its reason; a context that is written from outside rejects with `ERR_TOO_LARGE`. An output is stored up to
	 * three times in a step (`_outputs.<node>`, `<node>`, `_inputs.<successor>`), and Cassandra refuses steps above its
	 * `max_mutation_size` (16 MiB unless set).
	 */
	maxValueBytes?: number
	/** Bytes of one key's value above which one warning per run and key tells its size. Default 1048576 (1 MiB). */
	warnValueBytes?: number
	/** Visits that {@link KafkaAdapter.history} tells of a run. They are written with each step, some 40 bytes each. Default 100. */
	maxHistoryVisits?: number
}

export interface KafkaAdapterOptions extends Omit<AdapterOptions, 'coordinationStore'>, WorkerLimits {
	/**
	 * A kafkajs `Kafka`, settings, or brokers as `"host:port,host:port"` or a list. Anything else with `producer` and
	 * `consumer` (a mock, a wrapper) is driven through its own methods. Errors: `ERR_OPTION`, and from `start()`
	 * `ERR_KAFKA_UNREACHABLE`, `ERR_TOPIC_MISSING`. Members of 1.x in the group are waited for; `ERR_GROUP_PROTOCOL` is then in
	 * the log and in `health()`.
	 */
	kafka?: KafkaClient | KafkaSettings | string | readonly string[]
	/** The brokers, where nothing else has to be said about Kafka; `kafka` goes before it. */
	brokers?: string | readonly string[]
	/**
	 * A cassandra-driver `Client`, settings, or contact points as `"host:port,host:port"` or a list. Anything else with
	 * `execute` is driven through it. The client is never closed. Errors: `ERR_OPTION`, and from `start()`
	 * `ERR_CASSANDRA_UNREACHABLE`, `ERR_SCHEMA_MISSING`, `ERR_SCHEMA_UNKNOWN`.
	 */
	cassandraClient?: CassandraClient | CassandraSettings | string | readonly string[]
	/**
	 * A `RedisCoordinationStore`, any object with the five methods of `ICoordinationStore`, Redis settings or a Redis
	 * URL. May be left out: locks are then only those of Kafka and Cassandra. The store is never closed.
	 * Errors: `ERR_OPTION`, and from `start()` `ERR_COORDINATION_UNREACHABLE`.
	 */
	coordinationStore?: ICoordinationStore | RedisSettings | string
	/**
	 * What stands in for the services that are not given. `"embedded"` keeps everything in this process, which needs no
	 * server and loses everything with the process; a name separates several of them.
	 *
	 * `crashAfterCalls`, for tests: the worker dies with that call of its stores and log, as by `kill -9`. That call still
	 * takes effect, nothing is answered any more, and others of the group get its partitions. One warning tells of it;
	 * `stop()` ends what is left. Node bodies that run then go on, and nothing of them is recorded.
	 */
	backend?: 'embedded' | { embedded: string; crashAfterCalls?: number }
	/** Default `flowcraft-jobs`. At most 249 of `A-Z a-z 0-9 . _ -`. */
	topicName?: string
	/** Consumer group. Default `flowcraft-workers`. */
	groupId?: string
	/** Where messages go that nobody can process: not to `topicName`. Default `<topicName>.dead-letters`. */
	deadLetterTopic?: string
	/** Keyspace of both tables. A CQL identifier, else `ERR_OPTION`. Default: that of `cassandraClient`. */
	keyspace?: string
	/** Table with the state of the runs. A CQL identifier, else `ERR_OPTION`. */
	contextTableName?: string
	/** Table with the status of the runs. A CQL identifier, else `ERR_OPTION`. */
	statusTableName?: string
	/**
	 * Default: what the driver's client is set to, or `LOCAL_QUORUM` where that is less than two replicas would survive
	 * (`ANY`, `ONE`, `LOCAL_ONE`; said in the log).
	 */
	consistency?: Consistency
	/**
	 * `eager` (default): a branch goes on as soon as its own predecessors are recorded. `wave`: the order of
	 * `FlowRuntime.run`, step by step, where every node of a wave waits for the slowest.
	 */
	schedule?: 'eager' | 'wave'
	/**
	 * As the option of `FlowRuntime.run`: the run of a blueprint with a cycle, loops included, fails at once. Default
	 * `false`.
	 */
	strict?: boolean
	/**
	 * `config.timeout` of a node, milliseconds, is the limit of each of its attempts: one that takes longer fails with
	 * `ERR_NODE_TIMEOUT`, and its abort signal fires. Retries and fallbacks are those of any failure. Default false: as
	 * in memory, where nothing reads `config.timeout`.
	 */
	enforceTimeouts?: boolean
	/**
	 * What comes between the attempts of a node (`config.maxRetries` of them). `in-process` (default): nothing, as in memory. `queue`:
	 * a durable timer, exponential from `config.retryDelay` milliseconds (default 1000) up to an hour, of which chance takes off up to
	 * half. The run leaves memory meanwhile, if nothing else of it is due, and any worker makes the next attempt. Needs the table
	 * `<statusTableName>_due`; without it attempts follow each other in the process, with one warning.
	 */
	retryMode?: 'in-process' | 'queue'
	/**
	 * `topic` (default): each due node is also a message on the topic. `local`: the message that brought the run here
	 * stands for all of them, which saves messages; other consumers of the topic do not see the steps.
	 */
	dispatch?: 'topic' | 'local'
	/**
	 * `prefer` (default): clients whose settings cannot be read or honoured natively are driven through their own
	 * methods, with one warning. `required`: such a client is refused with `ERR_OPTION`.
	 */
	native?: 'prefer' | 'required'
	/** Where a consumer group begins that has no position yet. Default `earliest`: no job is missed. */
	startPosition?: 'earliest' | 'latest'
	/** Partitions of the job topic, if this worker has to create it. Default: what the brokers are set to. */
	topicPartitions?: number
	/** Name of this worker in leases and health. Default: host, process id and a random part. */
	workerId?: string
	/**
	 * Milliseconds that `start()` takes to reach all services together before it rejects with the reason, or with
	 * `ERR_START_TIMEOUT` and what it waited for last. Default 10000. `Infinity` waits for ever, with a warning every
	 * 10 s. Waiting for the group is not counted.
	 */
	startTimeoutMs?: number
	/** Milliseconds for which a partition is leased; a worker that was paused longer records nothing more. Default 8000. */
	leaseTtlMs?: number
	/** Milliseconds that running nodes get to finish and record before their partition moves. Default 5000. */
	revokeGraceMs?: number
	/**
	 * Milliseconds of a blocked JavaScript thread after which the worker leaves the group; it comes back when the thread
	 * answers again. Default 60000.
	 */
	maxStallMs?: number
	/**
	 * Times a run may take its worker down without progress before it fails and goes to the dead letters. Needs a
	 * coordination store. Default 5.
	 */
	poisonOpenings?: number
	/**
	 * Seconds between two looks for runs that are `running` and unchanged for five minutes, which are then nudged as by
	 * `createKafkaReconciler`, by one worker of the group: the one that has the first partition. Default: none does. A worker
	 * that gets its jobs through a kafkajs object of the user does not look. Errors: `ERR_OPTION`; a look that fails is logged.
	 */
	reconcileEverySeconds?: number
	/**
	 * Seconds for which the rows of a run are kept after it has ended (`completed`, `failed`, `cancelled`); then one worker of the group, the one
	 * that has the first partition, deletes them as {@link sweepRuns} does, 200 in a second at most. Runs that wait, rest or are parked are never deleted.
	 * Default: nothing is ever deleted.
	 *
	 * Job messages that are older, of a run of which nothing is stored (or what a deletion left that was cut off), go to the dead letters
	 * with `ERR_RUN_EXPIRED` instead of starting it anew. Keep it longer than the topic keeps its messages: `start()` asks, and warns.
	 * Give it to all workers of a group. A worker that gets its jobs through a kafkajs object of the user does neither.
	 *
	 * Errors: `ERR_OPTION`, also from `start()` where status rows expire (`ttlSeconds`) before a sweep finds them; `ERR_SCHEMA_MISSING` from
	 * `start()` where the status table lacks `status` or `updated_at`. A sweep that fails is logged.
	 */
	retentionSeconds?: number
	/** Seconds between two such sweeps, the first one as long after the start. Default 3600. */
	sweepEverySeconds?: number
	/**
	 * Makes `registerWebhookEndpoint` and `handleWebhook` work. Without it the former rejects, as in the JavaScript package.
	 */
	webhooks?: WebhookOptions
}

/** Where webhooks are reached, and what their tokens are made of. */
export interface WebhookOptions {
	/** Public address under which requests reach `handleWebhook`, `http` or `https`; a token is put behind it. */
	baseUrl: string
	/**
	 * What tokens are sealed with, at least 32 bytes, the same in all processes. Of a list the first one makes tokens, and all
	 * are accepted. Required, unless `tokens` is given.
	 */
	secret?: string | Uint8Array | readonly (string | Uint8Array)[]
	/** A store of tokens of your own, instead of sealed ones. */
	tokens?: WebhookTokenStore
	/** Milliseconds for which a token is good, at most ten years. Default 604800000, a week. */
	ttlMs?: number
	/** Bytes of a request's body at most, up to 786432. Default 262144; a larger one is answered with 413. */
	maxBodyBytes?: number
}

/** What a token of a webhook stands for. */
export interface WebhookWait {
	runId: string
	/** The node that goes on. */
	nodeId: string
	/** `webhook:<id of the node that asked for the address>`. */
	event: string
	/** Milliseconds since the epoch. */
	expiresAt: number
}

/**
 * A store of tokens. A rejection of `find`, `claim` or `confirm` is answered with 503; the token stays good. It is called from
 * several processes.
 */
export interface WebhookTokenStore {
	/** Makes a token that nobody can guess, and that survives a restart of everything. */
	issue(wait: WebhookWait): Promise<string>
	/** `undefined` for a token that was never made. */
	find(token: string): Promise<WebhookWait | undefined>
	/** Holds the token for one request. `taken`: another one has it, and is waited for. Let a claim end after half a minute. */
	claim(token: string): Promise<'claimed' | 'taken' | 'used'>
	/** The run's answer is acknowledged: the token is used. */
	confirm(token: string, wait: WebhookWait): Promise<void>
	/** Nothing was sent: another request may claim it. */
	release(token: string): Promise<void>
}

/** How a run ended, as in `status_data`. */
export interface RunResult {
	status: 'completed' | 'failed' | 'cancelled' | 'awaiting' | (string & {})
	payload?: WorkflowResult
	/** Why it failed. */
	reason?: string
}

/** A run that was started, here or elsewhere. */
export interface RunHandle {
	readonly runId: string
	/** What the status table says: `running`, `awaiting`, `parked`, `completed`, ...; `undefined` while it says nothing. */
	status(): Promise<string | undefined>
	/**
	 * Waits until the run has ended.
	 *
	 * @param options.timeoutMs default `Infinity`
	 * @throws `ERR_RESULT_TIMEOUT` when it has not ended by then
	 */
	result(options?: { timeoutMs?: number }): Promise<RunResult>
	/** See {@link KafkaAdapter.resumeWithAction}. */
	resume(action?: string, output?: unknown, options?: { nodeId?: string }): Promise<Set<string>>
	/** See {@link KafkaAdapter.cancel}. */
	cancel(reason?: string): Promise<void>
	/** See {@link KafkaAdapter.history}. */
	history(): Promise<RunHistory>
}

/** State of a worker: `idle`, `starting`, `joining`, `running`, `draining`, `closed` or `failed`, and the engine's figures. */
export interface WorkerHealth {
	state: string
	[detail: string]: unknown
}

/** Runs workflows whose jobs come through Kafka, whose state is in Cassandra, and whose locks are in Redis. */
export declare class KafkaAdapter extends BaseDistributedAdapter {
	private readonly cassandra
	private readonly keyspace
	private readonly contextTableName
	private readonly statusTableName
	private readonly topicName
	private readonly groupId
	private producer
	private consumer
	private isRunning

	/**
	 * Opens no connection. A kafkajs-like object is asked for one producer and one consumer.
	 *
	 * @throws `ERR_OPTION` with the path of the option, the problem and the fix
	 */
	constructor(options: KafkaAdapterOptions)

	/**
	 * Starts the worker. Fulfils once it is a member of its consumer group, even without a partition; several calls are
	 * one start. A failure is logged once, crashes nothing if nobody waits for it, and `start()` may be called again.
	 *
	 * @throws the reason, when the services are not reached within `startTimeoutMs`
	 */
	start(): Promise<void>

	/**
	 * Takes no new jobs, lets running nodes finish and record, commits and leaves the group. At the deadline nodes get
	 * their abort signal, and what is not recorded runs elsewhere. Clients that were passed in stay open.
	 *
	 * @param options.deadlineMs default 25000
	 */
	stop(options?: { deadlineMs?: number }): Promise<void>

	/** What the worker is doing. Costs nothing. */
	health(): WorkerHealth

	/**
	 * Writes a new run and sends its first jobs. Any worker of the topic may run it.
	 *
	 * @param options.runId default a random UUID
	 * @throws `ERR_BLUEPRINT_UNKNOWN`, `ERR_BLUEPRINT_EMPTY`, `ERR_RUN_EXISTS`, `ERR_OPTION` (runId)
	 */
	startRun(
		blueprintId: string,
		initialContext?: Record<string, unknown>,
		options?: { runId?: string },
	): Promise<RunHandle>

	/**
	 * Creates keyspace and tables, and adds the columns that they lack. Changes nothing where nothing is missing, and may be
	 * called by any number of workers at once. Call it before `start()`.
	 *
	 * @throws `ERR_OPTION`, `ERR_SCHEMA_UNKNOWN` (a table that cannot become one of ours), `ERR_CASSANDRA`,
	 *   `ERR_CASSANDRA_UNREACHABLE`, `ERR_UNSUPPORTED` (a client object that is driven through its own methods)
	 */
	ensureSchema(options?: SchemaOptions): Promise<SchemaReport>

	/** The statements with which `ensureSchema` creates everything, for people who run them themselves. Asks nobody. */
	schemaStatements(options?: SchemaOptions): string[]

	/** A handle on a run that was started before, here or elsewhere. Asks nobody. */
	getRun(runId: string): RunHandle

	/**
	 * Sends a job for each node of the run that is due. Changes nothing in the run's state; a node that runs already is
	 * not run twice.
	 *
	 * @returns ids of the nodes
	 */
	reconcile(runId: string): Promise<Set<string>>

	/**
	 * Lets a waiting node go on, on whichever worker has the run; this adapter need not be started. Fulfils when the
	 * command is acknowledged by the topic. The first answer to a wait counts, others change nothing; one that comes
	 * before its node waits is kept for it.
	 *
	 * @param action which edges of the waiting node to follow; default those without an action
	 * @param output of the waiting node, at most 1,000,000 bytes as JSON; without it the node keeps what it has left
	 * @param options.nodeId which node, where several wait; default the one that waits longest. A node in a subflow is named by its
	 *   path, the ids of the subflows and its own with slashes between them (`'order/approve'`); the id of a subflow alone, or a part of
	 *   a path, means the node in it that waits longest. Where the run itself has a node of that id, it is that node
	 * @returns the node that it is for, in a subflow its path; empty where the run has ended, or nothing waits yet and none was named
	 * @throws `ERR_RUN_UNKNOWN`, `ERR_JOB_TOO_LARGE`, `ERR_OPTION`
	 */
	resumeWithAction(
		runId: string,
		action?: string,
		output?: unknown,
		options?: { nodeId?: string },
	): Promise<Set<string>>

	/**
	 * Ends a run with the status `cancelled`, on whichever worker has it; this adapter need not be started. Running nodes
	 * get their abort signal. A run that ends by itself before that stays as it ended.
	 *
	 * @param reason for the status, and for the abort signal
	 * @throws `ERR_RUN_UNKNOWN`, `ERR_OPTION`
	 */
	cancel(runId: string, reason?: string): Promise<void>

	/**
	 * What a run has done so far, whatever its status, as its last durable step tells it; this adapter need not be started. Visits that
	 * run are not in it, nor what workers of 1.4.4 have done.
	 *
	 * @throws `ERR_RUN_UNKNOWN`, `ERR_OPTION`
	 */
	history(runId: string): Promise<RunHistory>

	/**
	 * The runs with the status `parked`: they began with a version of their blueprint that the worker of their partition
	 * does not have. This adapter need not be started. Searches the whole status table, as a reconciler does.
	 *
	 * @returns those that have been parked longest first
	 * @throws `ERR_CASSANDRA`, `ERR_CASSANDRA_UNREACHABLE`
	 */
	listParked(): Promise<ParkedRun[]>

	/**
	 * Lets a parked run go on with another version of its blueprint; this adapter need not be started. Whether the run's
	 * state fits that version is yours to know: what is due in it and not in that version fails the run. Where no worker
	 * has that version either, the run stays parked, for it.
	 *
	 * @param version `metadata.version` of the blueprint; `null` for one without
	 * @returns false where the run is not parked, which then changes nothing
	 * @throws `ERR_RUN_UNKNOWN`, `ERR_OPTION`
	 */
	moveParked(runId: string, version: string | null): Promise<boolean>

	/**
	 * Ends a parked run with the status `failed`, with its context and its errors so far; this adapter need not be started.
	 *
	 * @param reason for the status; default why it is parked
	 * @returns false where the run is not parked, which then changes nothing
	 * @throws `ERR_RUN_UNKNOWN`, `ERR_OPTION`
	 */
	failParked(runId: string, reason?: string): Promise<boolean>

	/**
	 * Makes an address that lets a node of a run go on, once. Nodes may call it (`dependencies.adapter`), as Flowcraft's
	 * `webhook` node does. The node that goes on is the `wait` node with `params.eventName` `webhook:<nodeId>`, or else the
	 * node itself. Rejects without the option `webhooks`; override it to register webhooks elsewhere.
	 *
	 * @throws `ERR_OPTION`
	 */
	registerWebhookEndpoint(runId: string, nodeId: string): Promise<{ url: string; event: string }>

	/**
	 * Takes a request to such an address: the waiting node goes on with the output `{ url, event, request: { method, headers,
	 * query, body } }`, on whichever worker has the run; this adapter need not be started. `body` is parsed where the
	 * content type is JSON, else text. Without `authorization`, `proxy-authorization` and `cookie`.
	 *
	 * Answers 200 when the command is acknowledged by the topic; 404 for a token that is wrong, used or expired, or whose
	 * node has its answer; 405 unless it is a `POST`; 400 for a body that is not what it says, 413 for one that is too large;
	 * 503 where a service is away, after which the token is as good as before. Of several requests at once one gets 200.
	 *
	 * @throws `ERR_OPTION` without the option `webhooks`, or where `request` is no `Request`
	 */
	handleWebhook(request: Request): Promise<Response>

	/** Override it to keep the state of runs elsewhere; all of it then goes through the context that it answers. */
	protected createContext(runId: string): CassandraContext

	/** Override it to be told before each node runs; nothing of ours is then written to the status table at that time. */
	protected onJobStart(runId: string, blueprintId: string, nodeId: string): Promise<void>

	/** Override it to publish the outcome elsewhere than in the status table. Called once per outcome, again after a crash. */
	protected publishFinalResult(
		runId: string,
		result: { status: string; payload?: WorkflowResult; reason?: string },
	): Promise<void>

	/**
	 * Sends a job. Override it to be called for every successor.
	 *
	 * @throws `Kafka producer is not connected. Adapter must be started.`
	 */
	protected enqueueJob(job: JobPayload): Promise<void>

	/** Consumes the topic and calls `handler` per job. Override it to bring jobs from elsewhere: `handler` runs them. */
	protected processJobs(handler: (job: JobPayload) => Promise<void>): Promise<void>

	/**
	 * Whether the attempts of a node follow each other in the process; else each waits for a durable timer. Override it to decide by
	 * node. Default: whether `retryMode` is `in-process`.
	 */
	protected shouldRetryInProcess(node: NodeDefinition): boolean

	/**
	 * Attempts and delays of a node that `shouldRetryInProcess` denies, asked before each attempt. What is left out comes from the
	 * node's config. Default: `undefined` where `retryMode` is `in-process`, else
	 * `{ attempts: config.maxRetries, backoff: { type: 'exponential', delay: config.retryDelay } }` with 1 and 1000 for what is not set.
	 *
	 * @throws `ERR_OPTION` where it answers a `backoff` that is unknown: the node then fails, without its fallback
	 */
	protected getQueueRetryOptions(node: NodeDefinition): QueueRetryOptions | undefined

	/**
	 * Runs one job; fulfils when it is completed. Override it to be called for each message: nodes then start only when
	 * their message arrives, and `super.handleJob(job)` runs it.
	 */
	protected handleJob(job: JobPayload): Promise<void>
}

/** As BullMQ takes them. */
export interface QueueRetryOptions {
	/** All attempts, the first included. Default `config.maxRetries`, or 1. */
	attempts?: number
	/**
	 * A number: the same milliseconds each time. `exponential` doubles `delay` with each attempt, up to an hour or `delay`. `jitter` is
	 * the part of a delay that chance takes off at most, 0 to 1, default 0.5.
	 */
	backoff?: number | { type?: 'exponential' | 'fixed'; delay?: number; jitter?: number }
}

/** One execution of a node. */
export interface RunVisit {
	nodeId: string
	/** Number of the visit in its run; `undefined` for an answer. A loop visits its nodes again and again. */
	visit?: number
	/** How many steps from the start of the run, as `FlowRuntime.run` counts them. */
	wave: number
	/**
	 * `completed`; `failed`, after all of its attempts, or after one of several with `retryMode: 'queue'`; `awaiting`: it waits for an
	 * answer or a timer; `answered`: it got that; `aborted`: the run ended while it ran.
	 */
	outcome: 'completed' | 'failed' | 'awaiting' | 'answered' | 'aborted'
	/** Attempts of the node so far, this one included. */
	attempts: number
	/** By the clock of its worker; `undefined` where nothing ran: others had recorded the output. */
	startedAt?: Date
	finishedAt?: Date
	/** Who recorded it: the `workerId` of an adapter. */
	workerId: string
}

export interface RunHistory {
	runId: string
	blueprintId: string
	/** Of the blueprint; `null`: one without `metadata.version`. */
	version: string | null
	/** The last ones, at most `maxHistoryVisits`, in the order in which they were recorded. */
	visits: RunVisit[]
	/** Visits before those, which are not kept. */
	omitted: number
}

/** A run that waits for a worker with its version of the blueprint. */
export interface ParkedRun {
	runId: string
	blueprintId: string
	/** The version that it needs; `null`: one without `metadata.version`. */
	version: string | null
	reason: string
	/** When it was parked first. */
	since: Date
}

export interface SchemaOptions {
	/**
	 * Layout of the context table. `document`: one JSON text per run, which clients of 1.4.4 can read and write. `entries`: a
	 * row per key, so that a step writes what it changed, whatever the run holds. Default: that of the table, or `document`
	 * for a new one. A table keeps its layout; another one is refused with `ERR_OPTION`.
	 */
	layout?: 'document' | 'entries'
	/**
	 * Replication of a keyspace that has to be created: a number of replicas, replicas by data centre, or `class` and
	 * options as in CQL. Default: 3 replicas in the local data centre, or as many as it has nodes. An existing keyspace
	 * keeps its own.
	 */
	replication?: number | Record<string, string | number>
	/**
	 * Seconds for which the status rows of ended runs are kept; workers read it when they start. 0: for ever. Default: as it
	 * is. Rows of runs that go on or wait never expire, nor does the state of any run.
	 */
	ttlSeconds?: number
}

/** Where the tables are, as for the adapter. */
export interface SchemaTables {
	cassandraClient: CassandraClient | CassandraSettings | string | readonly string[]
	/** Default: that of `cassandraClient`. */
	keyspace?: string
	contextTableName: string
	/** The tables of timers, leases and running runs are named after it: `<name>_due`, `<name>_leases`, `<name>_running`. At most 40 characters. */
	statusTableName: string
}

export interface SchemaReport {
	/** Of the context table. */
	layout: 'document' | 'entries'
	/** What was executed, in order; empty where nothing was missing. */
	statements: string[]
}

/** {@link KafkaAdapter.ensureSchema} without an adapter, for a deployment. */
export declare function ensureSchema(options: SchemaTables & SchemaOptions): Promise<SchemaReport>

/** {@link KafkaAdapter.schemaStatements} without an adapter. */
export declare function schemaStatements(
	options: Omit<SchemaTables, 'cassandraClient' | 'keyspace'> & { keyspace: string } & SchemaOptions,
): string[]

export interface CassandraContextOptions {
	/** As `cassandraClient` of the adapter. Errors: `ERR_OPTION`. */
	client: CassandraClient | CassandraSettings | string | readonly string[]
	/** A CQL identifier, else `ERR_OPTION`. Default: that of `client`. */
	keyspace?: string
	/** A CQL identifier, else `ERR_OPTION`. */
	tableName: string
	/** Bytes of one key's value as JSON. Default 8388608 (8 MiB); contexts of an adapter have the adapter's. */
	maxValueBytes?: number
}

/**
 * The state of one run, in the layout that the table has. `document`: a JSON object in one row; each call reads the row,
 * each change writes it back. `entries`: a row per key; each call touches its keys only, and writers of different keys lose
 * nothing of each other.
 *
 * While the run is open in this process (same contact points, keyspace and table), its worker is asked instead: reads show
 * what nodes see, nodes see changes at once, and a change is fulfilled when the step that holds it is stored. It rejects with
 * `ERR_RUN_CLOSED` (`retryable`) where the run leaves the process meanwhile and nobody can say whether it was.
 *
 * The key `_flowcraft` is the adapter's own: it is not shown, and setting it throws `ERR_RESERVED_KEY`. A value above
 * `maxValueBytes` throws `ERR_TOO_LARGE`, and nothing is written.
 */
export declare class CassandraContext implements IAsyncContext<Record<string, any>> {
	readonly type: 'async'
	constructor(runId: string, options: CassandraContextOptions)
	get<K extends string>(key: K): Promise<any>
	set<K extends string>(key: K, value: any): Promise<void>
	has<K extends string>(key: K): Promise<boolean>
	/** @returns whether the key was there */
	delete<K extends string>(key: K): Promise<boolean>
	/** A copy. `{}` where there is no row. */
	toJSON(): Promise<Record<string, any>>
	/** All operations in order, with one read and one write, or in one step of the open run. */
	patch(operations: PatchOperation[]): Promise<void>
}

/** Flowcraft's coordination store over Redis. Times to live are seconds. */
export declare class RedisCoordinationStore implements ICoordinationStore {
	/** A genuine client is only read, and never closed. Text is a Redis URL. */
	constructor(redis: RedisClient | RedisSettings | string)
	/** Adds one, and renews the time to live. @returns the new count */
	increment(key: string, ttlSeconds: number): Promise<number>
	/** @returns whether this call wrote the key; of several at once, one does */
	setIfNotExist(key: string, value: string, ttlSeconds: number): Promise<boolean>
	delete(key: string): Promise<void>
	/** @returns `false` when the key is gone */
	extendTTL(key: string, ttlSeconds: number): Promise<boolean>
	get(key: string): Promise<string | undefined>
}

export interface KafkaReconcilerOptions {
	/** The adapter whose `reconcile` is called for each stalled run; it has to be started. */
	adapter: { reconcile(runId: string): Promise<Set<string>> }
	/** Where the status table is, as for the adapter. */
	cassandraClient: CassandraClient | CassandraSettings | string | readonly string[]
	/** Default: that of `cassandraClient`. */
	keyspace?: string
	statusTableName: string
	/** Seconds without a change after which a run that is `running` counts as stalled: 0 to 315360000, else `ERR_OPTION`. */
	stalledThresholdSeconds: number
	/**
	 * Where there is an index of running runs (`ensureSchema`), stalled ones are found by it, and once in so many seconds, over
	 * all reconcilers of the table, by a search of the whole status table: the index does not know of runs that are older
	 * than it, that workers of 1.4.4 have marked, or whose message was lost after it had been sent. Default 3,600, an hour;
	 * `Infinity` for never. A value below 1: `ERR_OPTION`.
	 */
	fullSearchEverySeconds?: number
	/** Default the adapter's. */
	logger?: ILogger
}

export interface ReconciliationStats {
	/** Runs found `running` and unchanged for longer than the threshold. */
	stalledRuns: number
	/** Of these: runs for which a job was sent. */
	reconciledRuns: number
	/** Of these: runs whose `reconcile` rejected. */
	failedRuns: number
}

export interface ReconciliationOptions {
	/** Stalled runs that this call looks after, at most. Default all. A value below 1, or no whole number: `ERR_OPTION`. */
	limit?: number
	/** How many of them at once, at most 10000. Default 1. A value below 1, or no whole number: `ERR_OPTION`. */
	concurrency?: number
	/** Once it is aborted, no further run is looked after; those under way are, and `run()` answers what was done. */
	signal?: AbortSignal
}

/**
 * Finds stalled runs, and nudges them; run it from time to time. Where the table `<statusTableName>_running` exists, its cost grows
 * with the runs that are open, else with the status table, of which all pages are read.
 */
export declare function createKafkaReconciler(options: KafkaReconcilerOptions): {
	/** @throws when the status table cannot be read */
	run(options?: ReconciliationOptions): Promise<ReconciliationStats>
}

/** What this package throws and rejects with. The README lists the codes, `docs/bad-input.md` what is refused. */
export declare class KafkaAdapterError extends Error {
	constructor(code: string, message: string, details?: { retryable?: boolean; cause?: unknown })
	/** Stable, for example `ERR_OPTION`. */
	readonly code: string
	/** Whether the same request may succeed later. */
	readonly retryable: boolean
}

export interface MigrationOptions {
	cassandraClient: CassandraClient | CassandraSettings | string | readonly string[]
	/** Default: that of `cassandraClient`. */
	keyspace?: string
	/** Table in layout `document`. */
	from: string
	/** Table in layout `entries`, which {@link ensureSchema} makes. */
	to: string
	/**
	 * `look` (default) writes nothing and says what is to be copied. `copy` copies that and reads it back. `move` also deletes each document
	 * whose copy has been read back; for when no worker uses the source any more.
	 */
	mode?: 'look' | 'copy' | 'move'
	/** Runs looked at in a second, at most. Default 200; may be `Infinity`. */
	runsPerSecond?: number
	/** Runs at once, at most 10000. Default 8. */
	concurrency?: number
	/** No further run is begun once it is aborted. */
	signal?: AbortSignal
	/** Called after each run, with the report so far. */
	onProgress?: (report: MigrationReport) => void
}

export interface MigrationReport {
	/** Looked at; the sum of the five numbers below. */
	runs: number
	/** Whose copy was there already, or has gone on there. */
	same: number
	/** Copied now. */
	copied: number
	/** To be copied, with `look`. */
	stale: number
	/** Deleted meanwhile from the source, or since from the copy; these are neither copied nor deleted. */
	gone: number
	/** What failed for good; with `ERR_STATE_CORRUPT` a document that cannot be read. */
	failed: number
	/** The first hundred of them. */
	failures: { runId: string; code: string; message: string }[]
	/** Whether all runs were looked at. */
	finished: boolean
}

/**
 * Copies the runs of a table in layout `document` to one in layout `entries`, also while workers work. Copies have the write times of their
 * documents: what is newer stands on either side, so that it may be stopped, killed and called again, and only what is missing is copied.
 * The command `flowcraft-migrate` does the same.
 *
 * @throws `ERR_OPTION`, `ERR_UNSUPPORTED`, `ERR_SCHEMA_MISSING`, `ERR_CASSANDRA`, `ERR_CASSANDRA_UNREACHABLE`
 */
export declare function migrateContexts(options: MigrationOptions): Promise<MigrationReport>

export interface SweepOptions extends SchemaTables {
	/** Seconds for which runs are kept after they have ended. */
	retentionSeconds: number
	/** Runs deleted in a second, at most. Default 200; may be `Infinity`. Status rows are looked at 25 times as fast, at most. */
	runsPerSecond?: number
	/** Runs at once. Default 4. */
	concurrency?: number
	/** No further run is begun once it is aborted. */
	signal?: AbortSignal
	/** Called after each run that had ended long enough ago, with the report so far. */
	onProgress?: (report: SweepReport) => void
}

export interface SweepReport {
	/** Status rows looked at. */
	rows: number
	/** Runs deleted. */
	deleted: number
	/** Runs that ended long enough ago, and were written to since: they stay as they are. */
	kept: number
	/** Runs that somebody else has deleted meanwhile. */
	gone: number
	/** Runs that could not be deleted. */
	failed: number
	/** The first hundred of them. */
	failures: { runId: string; code: string; message: string }[]
	/** Whether all status rows were looked at. */
	finished: boolean
}

/**
 * Deletes the rows of runs that ended (`completed`, `failed`, `cancelled`) longer than `retentionSeconds` ago: the context, in either layout, and
 * then the status row. Everything is deleted with the write time of that status, and not at all where the context is newer: what was
 * written since stays, so that it may run beside workers, be killed and be called again. Reads all pages of the status table.
 *
 * @throws `ERR_OPTION` (also where status rows expire before that), `ERR_UNSUPPORTED`, `ERR_SCHEMA_MISSING` (also for a column that the status
 *   table needs), `ERR_SCHEMA_UNKNOWN`, `ERR_CASSANDRA`, `ERR_CASSANDRA_UNREACHABLE`
 */
export declare function sweepRuns(options: SweepOptions): Promise<SweepReport>
