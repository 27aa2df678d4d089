/**
 * `sweepRuns`: deletes runs that ended long ago, their context first and then their status row.
 *
 * Found by their status rows, of which all pages are read. What is deleted has the write time of the status that ended the run
 * (src/backends/cassandra/sweep.rs), so that whatever is newer stands, and a call that was cut off is only repeated.
 */
import { checkSignal, MOST_AT_ONCE, positive, requiredKeyspace, requiredName, someOptions } from '../adapter/options.js'
import { checkCassandra } from '../bridge/client-checks.js'
import { nativeCassandra } from '../bridge/native-connections.js'
import { checkFields, FUNCTION } from '../clients/fields.js'
import { Code, KafkaAdapterError, optionError } from '../errors.js'
import { inLanes, noteFailure, pace, patiently } from '../paced.js'
import { pagesOf } from '../stores/pages.js'

/**
 * @typedef {import('../../../index.js').SweepOptions} SweepOptions
 * @typedef {import('../../../index.js').SweepReport} SweepReport
 * @typedef {import('../native.js').NativeCassandra} NativeCassandra
 */

const RUNS_PER_SECOND = 200
const CONCURRENCY = 4
/** Rows that are looked at in the time of one run that is deleted, at most. */
const ROWS_PER_RUN = 25
/** As many as `PAGE_ROWS` of src/backends/cassandra/standalone.rs. */
const ROWS_PER_PAGE = 500

/** @param {SweepOptions} options */
const readOptions = (options) => {
	const fix = 'Give { cassandraClient, keyspace, contextTableName, statusTableName, retentionSeconds }'
	const given = someOptions(options, fix)
	const keyspace = requiredKeyspace(given, 'cassandraClient')
	const contexts = requiredName(given, 'contextTableName')
	const statuses = requiredName(given, 'statusTableName')
	checkCassandra(given.cassandraClient, 'options.cassandraClient')
	if (given.retentionSeconds === undefined)
		throw optionError('options.retentionSeconds', 'missing', 'Give the seconds for which a run is kept after its end')
	checkSignal(given)
	checkFields(given, 'options', { onProgress: [FUNCTION, 'Leave it out where nobody looks'] })
	return {
		contexts: `${keyspace}.${contexts}`,
		statuses: `${keyspace}.${statuses}`,
		retentionSeconds: positive(given, 'retentionSeconds', 1, { standard: 'to keep runs for ever' }),
		runsPerSecond: positive(given, 'runsPerSecond', RUNS_PER_SECOND, { infinite: true }),
		concurrency: positive(given, 'concurrency', CONCURRENCY, { most: MOST_AT_ONCE }),
	}
}

/**
 * @param {(page: string | null) => Promise<{ runs: string[], next: string | null }>} ask
 * @param {AbortSignal | undefined} signal
 */
async function* runsOf(ask, signal) {
	for await (const runs of pagesOf(ask)) {
		for (const run of runs) {
			if (signal?.aborted) return
			yield run
		}
		if (signal?.aborted) return
	}
}

/**
 * @param {SweepOptions} options
 * @returns {Promise<SweepReport>}
 */
export const sweepRuns = async (options) => {
	const { contexts, statuses, retentionSeconds, runsPerSecond, concurrency } = readOptions(options)
	const { signal, onProgress } = options
	const connection = nativeCassandra(options.cassandraClient)
	if (!connection)
		throw new KafkaAdapterError(Code.Unsupported, 'sweepRuns() needs a genuine cassandra-driver Client or settings')
	const cassandra = await connection
	const beforeMs = await patiently(() => cassandra.checkSweep(contexts, statuses, retentionSeconds), signal)
	/** @type {SweepReport} */
	const report = { rows: 0, deleted: 0, kept: 0, gone: 0, failed: 0, failures: [], finished: false }
	const pageTurn = pace((runsPerSecond * ROWS_PER_RUN) / ROWS_PER_PAGE, signal)
	const page = async (/** @type {string | null} */ mark) => {
		await pageTurn()
		const found = await patiently(() => cassandra.endedPage(statuses, beforeMs, mark), signal)
		report.rows += found.rows
		return found
	}
	const turn = pace(runsPerSecond, signal)
	await inLanes(runsOf(page, signal), concurrency, async (runId) => {
		await turn()
		if (signal?.aborted) return
		try {
			report[await patiently(() => cassandra.sweepRun(contexts, statuses, runId, beforeMs), signal)]++
		} catch (error) {
			noteFailure(report, runId, error)
		}
		onProgress?.(report)
	})
	report.finished = !signal?.aborted
	return report
}
