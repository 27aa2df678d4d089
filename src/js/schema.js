/**
 * `ensureSchema` and `schemaStatements`: keyspace and tables, as the engine wants them.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { checkCassandra } from './bridge/client-checks.js'
import { shown } from './clients/fields.js'
import { isPlain } from './clients/genuine.js'
import { Code, KafkaAdapterError, optionError, unwrap, unwrapValue } from './errors.js'
import { nativeCassandra } from './bridge/native-connections.js'
import { getNative } from './native.js'
import { requiredKeyspace, requiredName, someOptions } from './adapter/options.js'

/**
 * @typedef {import('../../index.js').SchemaOptions} SchemaOptions
 * @typedef {import('../../index.js').SchemaTables} SchemaTables
 * @typedef {import('../../index.js').SchemaReport} SchemaReport
 * @typedef {Partial<import('flowcraft').ICoordinationStore>} Store
 */

const LAYOUTS = ['document', 'entries']
/** Cassandra's own limit: 20 years. */
const MAX_TTL_SECONDS = 630_720_000
/** How long one worker may take while the others wait for it. */
const LOCK_SECONDS = 60
const POLL_MS = 100

/** @param {unknown} value */
const isCount = (value) => Number.isSafeInteger(value) && /** @type {number} */ (value) >= 1

/** @param {unknown} replication */
const checkReplication = (replication) => {
	if (replication === undefined || isCount(replication)) return
	const isOption = (/** @type {unknown} */ value) => isCount(value) || (typeof value === 'string' && value !== '')
	if (isPlain(replication)) {
		const values = Object.values(replication)
		if (values.length > 0 && values.every(isOption)) return
	}
	const fix = 'Give a number of replicas, { "a data centre": 3 }, or { class: "...", ... } as in CQL'
	throw optionError('options.replication', 'not a replication', fix)
}

/** @param {unknown} seconds */
const checkTtl = (seconds) => {
	if (seconds === undefined || seconds === 0) return
	if (isCount(seconds) && /** @type {number} */ (seconds) <= MAX_TTL_SECONDS) return
	const problem = `${shown(seconds)} is not a whole number of seconds up to ${MAX_TTL_SECONDS}`
	throw optionError('options.ttlSeconds', problem, '0 keeps the rows for ever')
}

/**
 * @param {unknown} options
 * @returns {string} the plan of src/backends/schema_plan.rs
 */
const readPlan = (options) => {
	const given = someOptions(options, 'Give { cassandraClient, keyspace, contextTableName, statusTableName, ... }')
	const { layout, replication, ttlSeconds } = given
	const keyspace = requiredKeyspace(given, 'cassandraClient')
	const contextTableName = requiredName(given, 'contextTableName')
	const statusTableName = requiredName(given, 'statusTableName')
	if (layout !== undefined && !LAYOUTS.includes(String(layout))) {
		throw optionError('options.layout', `${shown(layout)} is not known`, `Use one of ${LAYOUTS.join(', ')}`)
	}
	checkReplication(replication)
	checkTtl(ttlSeconds)
	return JSON.stringify({
		keyspace,
		contextTable: contextTableName,
		statusTable: statusTableName,
		layout,
		replication,
		ttlSeconds,
	})
}

/**
 * The CQL for people who run it themselves. Asks nobody.
 *
 * @param {Omit<SchemaTables, 'cassandraClient'> & SchemaOptions} options
 * @returns {string[]}
 */
export const schemaStatements = (options) =>
	unwrapValue(getNative().NativeCassandra.schemaStatements(readPlan(options)))

/**
 * Creates and alters keyspace and tables until nothing is missing. May be called by several at once.
 *
 * @param {Omit<SchemaTables, 'cassandraClient'> & { cassandraClient: unknown } & SchemaOptions} options
 * @returns {Promise<SchemaReport>}
 */
export const ensureSchema = async (options) => {
	const plan = readPlan(options)
	checkCassandra(options.cassandraClient, 'options.cassandraClient')
	const connection = nativeCassandra(options.cassandraClient)
	if (!connection) {
		const text = 'ensureSchema() needs a genuine cassandra-driver Client or settings'
		throw new KafkaAdapterError(Code.Unsupported, `${text}. Run what schemaStatements() answers instead`)
	}
	return JSON.parse(await unwrap((await connection).ensureSchema(plan)))
}

/**
 * Clusters of several nodes may take two tables of one name that are created on two nodes at once for different ones, so
 * workers take turns where they share a store. A hint: without it, or when it fails, the work is done all the same.
 *
 * @template T
 * @param {Store | undefined} store
 * @param {string} keyspace
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export const inTurns = async (store, keyspace, work) => {
	const lock = `flowcraft:schema:${keyspace}`
	const isFree = async () => (await store?.setIfNotExist?.(lock, 'locked', LOCK_SECONDS).catch(() => true)) ?? true
	const deadline = performance.now() + LOCK_SECONDS * 1000
	while (!(await isFree()) && performance.now() < deadline) await sleep(POLL_MS)
	try {
		return await work()
	} finally {
		await store?.delete?.(lock).catch(() => undefined)
	}
}
