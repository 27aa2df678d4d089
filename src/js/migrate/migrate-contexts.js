/**
 * `migrateContexts`: the runs of a table in layout `document`, copied to one in layout `entries`, while workers work.
 *
 * A copy has the write time of its document, so that whatever is newer stands, on either side (src/backends/cassandra/migration.rs).
 * Hence there is nothing to be remembered between two calls: a run whose copy is complete is only compared.
 */
import { checkSignal, MOST_AT_ONCE, positive, requiredKeyspace, requiredName, someOptions } from '../adapter/options.js'
import { checkCassandra } from '../bridge/client-checks.js'
import { nativeCassandra } from '../bridge/native-connections.js'
import { checkFields, FUNCTION, shown } from '../clients/fields.js'
import { Code, KafkaAdapterError, optionError } from '../errors.js'
import { inLanes, noteFailure, pace, patiently } from '../paced.js'
import { pagesOf } from '../stores/pages.js'

/**
 * @typedef {import('../../../index.js').MigrationOptions} MigrationOptions
 * @typedef {import('../../../index.js').MigrationReport} MigrationReport
 * @typedef {import('../native.js').NativeCassandra} NativeCassandra
 */

export const MODES = /** @type {const} */ (['look', 'copy', 'move'])
export const RUNS_PER_SECOND = 200
export const CONCURRENCY = 8

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
	const turn = pace(runsPerSecond, signal)
	await inLanes(runs, concurrency, async (runId) => {
		await turn()
		if (signal?.aborted) return
		try {
			report[await patiently(() => cassandra.copyRun(from, to, runId, mode), signal)]++
		} catch (error) {
			noteFailure(report, runId, error)
		}
		report.runs++
		onProgress?.(report)
	})
	report.finished = !signal?.aborted
	return report
}
