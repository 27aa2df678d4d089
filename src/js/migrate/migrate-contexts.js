/**
 * `migrateContexts`: the runs of a table in layout `document`, copied to one in layout `entries`, while workers work.
 *
 * A copy has the write time of its document, so that whatever is newer stands, on either side (src/backends/cassandra/migration.rs).
 * Hence there is nothing to be remembered between two calls: a run whose copy is complete is only compared.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { checkSignal, MOST_AT_ONCE, positive, requiredKeyspace, requiredName, someOptions } from '../adapter/options.js'
import { checkCassandra } from '../bridge/client-checks.js'
import { nativeCassandra } from '../bridge/native-connections.js'
import { checkFields, FUNCTION, shown } from '../clients/fields.js'
import { Code, KafkaAdapterError, optionError, unwrap } from '../errors.js'
import { pagesOf } from '../stores/pages.js'

/**
 * @typedef {import('../../../index.js').MigrationOptions} MigrationOptions
 * @typedef {import('../../../index.js').MigrationReport} MigrationReport
 * @typedef {import('../native.js').NativeCassandra} NativeCassandra
 */

export const MODES = /** @type {const} */ (['look', 'copy', 'move'])
export const RUNS_PER_SECOND = 200
export const CONCURRENCY = 8
/** Failures that are told; all are counted. */
const MOST_FAILURES = 100
/** Of what may pass: pauses of 0.2 to 6.4 s. */
const ATTEMPTS = 7
const FIRST_PAUSE_MS = 200

/** @param {MigrationOptions} options */
const readOptions = (options) => {
	const given = someOptions(options, 'Give { cassandraClient, keyspace, from, to }')
	const keyspace = requiredKeyspace(given, 'cassandraClient')
	const from = requiredName(given, 'from')
	const to = requiredName(given, 'to')
	checkCassandra(given.cassandraClient, 'options.cassandraClient')
	if (from.toLowerCase() === to.toLowerCase())
		throw optionError('options.to', `"${to}" is the source, too`, 'Give a table in layout entries')
	const { mode = MODES[0] } = options
	if (!MODES.includes(mode))
		throw optionError('options.mode', `${shown(mode)} is not known`, `Use one of ${MODES.join(', ')}`)
	checkSignal(given)
	checkFields(given, 'options', { onProgress: [FUNCTION, 'Leave it out where nobody looks'] })
	return {
		from: `${keyspace}.${from}`,
		to: `${keyspace}.${to}`,
		mode,
		runsPerSecond: positive(given, 'runsPerSecond', RUNS_PER_SECOND, { infinite: true }),
		concurrency: positive(given, 'concurrency', CONCURRENCY, { most: MOST_AT_ONCE }),
	}
}

/**
 * What may pass is tried again.
 *
 * @template T
 * @param {() => Promise<T | import('../errors.js').Failure>} work
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<T>}
 */
const patiently = async (work, signal) => {
	for (let attempt = 1, pause = FIRST_PAUSE_MS; ; attempt++, pause *= 2) {
		try {
			return await unwrap(work())
		} catch (error) {
			if (!(/** @type {any} */ (error).retryable) || attempt === ATTEMPTS || signal?.aborted) throw error
			await sleep(pause)
		}
	}
}

/** Lets one through after the other, so many in a second. @param {number} perSecond */
const pace = (perSecond) => {
	let next = 0
	return async () => {
		const now = performance.now()
		const at = Math.max(now, next)
		next = at + 1000 / perSecond
		if (at > now) await sleep(at - now)
	}
}

/**
 * @param {NativeCassandra} cassandra
 * @param {string} from
 * @param {string} to
 */
const checkLayouts = async (cassandra, from, to) => {
	if (await patiently(() => cassandra.hasEntries(from), undefined))
		throw optionError('options.from', `"${from}" has layout entries`, 'Give the table in layout document')
	if (await patiently(() => cassandra.hasEntries(to), undefined)) return
	throw optionError(
		'options.to',
		`"${to}" has layout document`,
		'Make the table with ensureSchema({ layout: "entries" })',
	)
}

/**
 * @param {NativeCassandra} cassandra
 * @param {string} table
 * @param {AbortSignal | undefined} signal
 */
async function* runsOf(cassandra, table, signal) {
	for await (const runs of pagesOf((page) => patiently(() => cassandra.contextPage(table, page), signal))) {
		for (const run of runs) {
			if (signal?.aborted) return
			yield run
		}
	}
}

/**
 * Copies what is not there yet, and reads back what it has copied.
 *
 * @param {MigrationOptions} options
 * @returns {Promise<MigrationReport>}
 */
export const migrateContexts = async (options) => {
	const { from, to, mode, runsPerSecond, concurrency } = readOptions(options)
	const { signal, onProgress } = options
	const connection = nativeCassandra(options.cassandraClient)
	if (!connection)
		throw new KafkaAdapterError(
			Code.Unsupported,
			'migrateContexts() needs a genuine cassandra-driver Client or settings',
		)
	const cassandra = await connection
	await checkLayouts(cassandra, from, to)
	/** @type {MigrationReport} */
	const report = { runs: 0, same: 0, copied: 0, stale: 0, gone: 0, failed: 0, failures: [], finished: false }
	const runs = runsOf(cassandra, from, signal)
	const turn = pace(runsPerSecond)
	let isBroken = false
	const lane = async () => {
		for (let next = await runs.next(); !next.done; next = await runs.next()) {
			const runId = next.value
			await turn()
			if (isBroken || signal?.aborted) return
			try {
				report[await patiently(() => cassandra.copyRun(from, to, runId, mode), signal)]++
			} catch (error) {
				report.failed++
				const { code = Code.Internal, message } = /** @type {any} */ (error)
				if (report.failures.length < MOST_FAILURES) report.failures.push({ runId, code, message })
			}
			report.runs++
			onProgress?.(report)
		}
	}
	// They share one generator, which hands out one run after the other, whoever asks. When one of them breaks, none begins another run.
	const breaking = (/** @type {unknown} */ error) => {
		isBroken = true
		throw error
	}
	const lanes = await Promise.allSettled(Array.from({ length: concurrency }, () => lane().catch(breaking)))
	for (const ended of lanes) if (ended.status === 'rejected') throw ended.reason
	report.finished = !signal?.aborted
	return report
}
