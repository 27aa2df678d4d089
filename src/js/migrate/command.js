#!/usr/bin/env node
/**
 * `flowcraft-migrate`: {@link migrateContexts} for operators. Looks unless told to copy; Ctrl-C stops it, and started again it goes on.
 */
import { parseArgs } from 'node:util'
import { messageOf } from '../errors.js'
import { CONCURRENCY, migrateContexts, RUNS_PER_SECOND } from './migrate-contexts.js'

const USAGE = `usage: flowcraft-migrate --keyspace NAME --from TABLE --to TABLE [options]

Copies the runs of a table in layout "document" to one in layout "entries", also while workers work. Without --copy it only says
what is to be copied. Started again it goes on; what is there already is compared and left.

--copy                 copy, and read back what was copied
--delete-migrated      delete each document whose copy has been read back; when no worker uses the source any more
--runs-per-second N    default ${RUNS_PER_SECOND}
--concurrency N        runs at once, default ${CONCURRENCY}
--contact-points LIST  host:port,host:port; default CASSANDRA_CONTACT_POINTS
--data-center NAME     local data centre; default CASSANDRA_DATACENTER
--username NAME        default CASSANDRA_USERNAME; the password is read from CASSANDRA_PASSWORD
--tls                  with the authorities that Node trusts
`
const INTERRUPTED = 130
const BETWEEN_LINES_MS = 5_000
const BETWEEN_TTY_LINES_MS = 200

/** @typedef {import('../../../index.js').MigrationReport} MigrationReport */

const readArguments = () => {
	const { values } = parseArgs({
		options: {
			keyspace: { type: 'string' },
			from: { type: 'string' },
			to: { type: 'string' },
			copy: { type: 'boolean', default: false },
			'delete-migrated': { type: 'boolean', default: false },
			'runs-per-second': { type: 'string', default: String(RUNS_PER_SECOND) },
			concurrency: { type: 'string', default: String(CONCURRENCY) },
			'contact-points': { type: 'string', default: process.env.CASSANDRA_CONTACT_POINTS },
			'data-center': { type: 'string', default: process.env.CASSANDRA_DATACENTER },
			username: { type: 'string', default: process.env.CASSANDRA_USERNAME },
			tls: { type: 'boolean', default: false },
			help: { type: 'boolean', default: false },
		},
	})
	if (values.help) return undefined
	if (values['delete-migrated'] && !values.copy) throw new Error('--delete-migrated goes with --copy')
	for (const name of /** @type {const} */ (['keyspace', 'from', 'to', 'contact-points']))
		if (!values[name]) throw new Error(`--${name} is missing`)
	return values
}

/** @param {MigrationReport} report */
const counts = ({ runs, same, copied, stale, gone, failed }) =>
	`${runs} runs: ${same} there already, ${copied} copied, ${stale} to be copied, ${gone} gone meanwhile, ${failed} failed`

/** One line that changes on a terminal, a line now and then elsewhere. */
const progress = () => {
	const { isTTY } = process.stderr
	let last = performance.now()
	return (/** @type {MigrationReport} */ report) => {
		const now = performance.now()
		if (now - last < (isTTY ? BETWEEN_TTY_LINES_MS : BETWEEN_LINES_MS)) return
		last = now
		process.stderr.write(isTTY ? `\r\u001b[K${counts(report)}` : `${counts(report)}\n`)
	}
}

const main = async () => {
	const values = readArguments()
	if (!values) {
		process.stdout.write(USAGE)
		return 0
	}
	const interruption = new AbortController()
	for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => interruption.abort())
	const { username } = values
	const report = await migrateContexts({
		cassandraClient: {
			contactPoints: String(values['contact-points']).split(','),
			localDataCenter: values['data-center'],
			...(username ? { credentials: { username, password: process.env.CASSANDRA_PASSWORD ?? '' } } : {}),
			...(values.tls ? { sslOptions: {} } : {}),
		},
		keyspace: String(values.keyspace),
		from: String(values.from),
		to: String(values.to),
		mode: values['delete-migrated'] ? 'move' : values.copy ? 'copy' : 'look',
		runsPerSecond: Number(values['runs-per-second']),
		concurrency: Number(values.concurrency),
		signal: interruption.signal,
		onProgress: progress(),
	})
	if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
	console.log(counts(report))
	for (const { runId, code, message } of report.failures) console.error(`${runId}: ${code}: ${message}`)
	if (!report.finished) console.log('Stopped; start it again to go on.')
	if (!report.finished) return INTERRUPTED
	return report.failed > 0 ? 1 : 0
}

try {
	process.exitCode = await main()
} catch (error) {
	console.error(messageOf(error))
	process.exitCode = 2
}
