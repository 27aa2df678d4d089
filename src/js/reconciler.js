/**
 * `createKafkaReconciler`: finds runs whose status row stands at `running` without progress, and nudges them.
 */
import { unwrap } from './errors.js'
import { nativeCassandra } from './bridge/native-connections.js'
import { checkSignal, MOST_AT_ONCE, positive, requiredKeyspace, requiredName, someOptions } from './adapter/options.js'
import { checkCassandra } from './bridge/client-checks.js'
import { between, checkFields, withMethods } from './clients/fields.js'
import { pagesOf } from './stores/pages.js'
import { findStalled } from './stores/statements.js'

const FULL_SEARCH_EVERY_SECONDS = 3600
/** Ten years: dates do not go back for ever. */
const LONGEST_THRESHOLD_SECONDS = 10 * 365 * 24 * 60 * 60

/** @type {import('./clients/fields.js').Fields} */
const FIELDS = {
	adapter: [withMethods('reconcile'), 'Give a KafkaAdapter'],
	stalledThresholdSeconds: [
		between(0, LONGEST_THRESHOLD_SECONDS),
		'Give the seconds after which a run without a change counts as stalled',
	],
	logger: [withMethods('info', 'error'), "Leave it out for the adapter's"],
}

/**
 * @typedef {{ stalledRuns: number, reconciledRuns: number, failedRuns: number }} ReconciliationStats
 *
 * @typedef {object} Page
 * @property {{ get(column: string): unknown }[]} rows
 * @property {string | null} [pageState] where the next page begins; absent on the last
 *
 * @typedef {object} QueryClient
 * @property {(query: string, params: unknown[], options: { prepare: true, pageState?: string }) => Promise<Page>} execute
 *
 * @typedef {object} ReconcilerOptions
 * @property {{ reconcile(runId: string): Promise<Set<string>>, logger?: import('flowcraft').ILogger }} adapter
 * @property {unknown} cassandraClient
 * @property {string} [keyspace] default that of the client
 * @property {string} statusTableName
 * @property {number} stalledThresholdSeconds
 * @property {number} [fullSearchEverySeconds]
 * @property {import('flowcraft').ILogger} [logger]
 *
 * @typedef {object} RunOptions
 * @property {number} [limit] stalled runs that one call looks after, at most
 * @property {number} [concurrency] how many of them at once
 * @property {AbortSignal} [signal] no further run is looked after once it is aborted
 */

/**
 * @param {import('./native.js').NativeCassandra | Promise<import('./native.js').NativeCassandra>} connection
 * @param {string} table
 * @param {string} status
 * @param {number} beforeMs
 * @returns {AsyncGenerator<string[]>}
 */
async function* nativePages(connection, table, status, beforeMs) {
	const cassandra = await connection
	yield* pagesOf((page) => unwrap(cassandra.stalledPage(table, status, beforeMs, page)))
}

/**
 * @param {QueryClient} client
 * @param {string} table
 * @param {string} status
 * @param {number} beforeMs
 * @returns {AsyncGenerator<unknown[]>}
 */
async function* driverPages(client, table, status, beforeMs) {
	const query = findStalled(table)
	const params = [status, new Date(beforeMs)]
	let { rows, pageState } = await client.execute(query, params, { prepare: true })
	yield rows.map((row) => row.get('run_id'))
	while (pageState) {
		;({ rows, pageState } = await client.execute(query, params, { prepare: true, pageState }))
		yield rows.map((row) => row.get('run_id'))
	}
}

/**
 * @param {unknown} client
 * @param {string} table
 * @param {string} status
 * @param {number} beforeMs whose row was written before this time
 * @returns {AsyncGenerator<unknown[]>} run ids, page by page
 */
export const runPages = (client, table, status, beforeMs) => {
	const connection = nativeCassandra(client)
	return connection
		? nativePages(connection, table, status, beforeMs)
		: driverPages(/** @type {QueryClient} */ (client), table, status, beforeMs)
}

/**
 * By the index of running runs, and from time to time all the same by the whole status table: the index does not know of
 * runs that are older than it, that JavaScript workers have marked, or whose message was lost after it had been sent.
 *
 * @param {import('./native.js').NativeCassandra} cassandra
 * @param {string} table
 * @param {number} beforeMs
 * @param {number} everyMs between two searches of the whole table
 * @returns {AsyncGenerator<string[]>}
 */
async function* indexedPages(cassandra, table, beforeMs, everyMs) {
	const beganMs = Date.now()
	const found = new Set()
	for await (const page of pagesOf((mark) => unwrap(cassandra.indexedPage(table, beforeMs, mark)))) {
		const fresh = page.filter((runId) => !found.has(runId) && found.add(runId))
		if (fresh.length > 0) yield fresh
	}
	if (everyMs === Infinity) return
	const lastMs = (await unwrap(cassandra.lastFullSearch(table))) ?? -Infinity
	if (beganMs - lastMs < everyMs) return
	for await (const page of nativePages(cassandra, table, 'running', beforeMs))
		yield page.filter((runId) => !found.has(runId))
	await unwrap(cassandra.noteFullSearch(table, beganMs))
}

/**
 * @param {unknown} client
 * @param {string} table
 * @param {number} beforeMs
 * @param {number} everyMs
 * @returns {AsyncGenerator<unknown[]>}
 */
async function* stalledPages(client, table, beforeMs, everyMs) {
	const cassandra = await nativeCassandra(client)
	const isIndexed = cassandra !== undefined && (await unwrap(cassandra.hasIndex(table)))
	yield* isIndexed ? indexedPages(cassandra, table, beforeMs, everyMs) : runPages(client, table, 'running', beforeMs)
}

/**
 * @param {string} runId
 * @param {ReconcilerOptions['adapter']} adapter
 * @param {import('flowcraft').ILogger | undefined} logger
 * @param {ReconciliationStats} stats
 */
const reconcileOne = async (runId, adapter, logger, stats) => {
	stats.stalledRuns++
	try {
		const enqueued = await adapter.reconcile(runId)
		if (enqueued.size === 0) return
		stats.reconciledRuns++
		logger?.info(`[Reconciler] Resumed run ${runId}, enqueued nodes: ${[...enqueued].join(', ')}`)
	} catch (error) {
		stats.failedRuns++
		logger?.error(`[Reconciler] Failed to reconcile run ${runId}:`, /** @type {Record<string, unknown>} */ (error))
	}
}

/**
 * The ids of one page after the other.
 *
 * @param {AsyncGenerator<unknown[]>} pages
 * @param {number} limit
 * @param {AbortSignal | undefined} signal
 */
async function* idsOf(pages, limit, signal) {
	let left = limit
	for await (const page of pages) {
		for (const runId of page) {
			if (signal?.aborted) return
			if (!runId) continue
			yield String(runId)
			if (--left === 0) return
		}
	}
}

/**
 * @param {ReconcilerOptions} options
 * @returns {ReconcilerOptions & { fullSearchEverySeconds: number, table: string }}
 */
const readOptions = (options) => {
	const given = someOptions(options, 'Give { adapter, cassandraClient, statusTableName, stalledThresholdSeconds, ... }')
	checkFields(given, 'options', FIELDS, ['adapter', 'stalledThresholdSeconds'])
	checkCassandra(given.cassandraClient, 'options.cassandraClient')
	const keyspace = requiredKeyspace(given, 'cassandraClient')
	const fullSearchEverySeconds = positive(given, 'fullSearchEverySeconds', FULL_SEARCH_EVERY_SECONDS, {
		infinite: true,
	})
	return { ...options, fullSearchEverySeconds, table: `${keyspace}.${requiredName(given, 'statusTableName')}` }
}

/** @param {RunOptions} options */
const readRunOptions = (options) => {
	const given = someOptions(options, 'Give { limit, concurrency, signal }, or nothing')
	checkSignal(given)
	return {
		limit: positive(given, 'limit', Infinity, { infinite: true, standard: 'all' }),
		concurrency: positive(given, 'concurrency', 1, { most: MOST_AT_ONCE }),
	}
}

/**
 * @param {ReconcilerOptions} options
 * @returns {{ run(options?: RunOptions): Promise<ReconciliationStats> }}
 */
export const createKafkaReconciler = (options) => {
	const { adapter, cassandraClient, stalledThresholdSeconds, fullSearchEverySeconds, table } = readOptions(options)
	const { logger = adapter.logger } = options
	const run = async (/** @type {RunOptions} */ runOptions = {}) => {
		const { limit, concurrency } = readRunOptions(runOptions)
		const stats = { stalledRuns: 0, reconciledRuns: 0, failedRuns: 0 }
		const beforeMs = Date.now() - stalledThresholdSeconds * 1000
		const pages = stalledPages(cassandraClient, table, beforeMs, fullSearchEverySeconds * 1000)
		const ids = idsOf(pages, limit, runOptions.signal)
		// They share one generator, which hands out one id after the other, whoever asks.
		const lane = async () => {
			for (let next = await ids.next(); !next.done; next = await ids.next())
				await reconcileOne(next.value, adapter, logger, stats)
		}
		await Promise.all(Array.from({ length: Math.min(concurrency, limit) }, lane))
		return stats
	}
	return { run }
}
