/** What a worker looks after when it is the one of its group to do so: stalled runs, and runs that ended long ago. */
import { createKafkaReconciler } from '../reconciler.js'
import { sweepRuns } from '../retention/sweep-runs.js'
import { Caretaker } from './caretaker.js'

/** Rows of open runs are touched every 30 s (`touch_every` in src/kernel/machine): whoever stands this long is in no worker's hands. */
const STALLED_SECONDS = 300
const AT_ONCE = 4

/**
 * @typedef {object} DutyHost
 * @property {import('./options.js').Settings} settings
 * @property {() => number[]} partitions of the worker
 * @property {() => import('flowcraft').ILogger} logger
 * @property {(runId: string) => Promise<Set<string>>} reconcile
 *
 * @typedef {Omit<import('./caretaker.js').Duty, 'partitions' | 'logger'>} Work
 */

/** @param {DutyHost} host */
const placeOf = ({ settings: { cassandra, keyspace, contextTable, statusTable } }) => ({
	cassandraClient: /** @type {any} */ (cassandra),
	keyspace,
	contextTableName: contextTable,
	statusTableName: statusTable,
})

/** @param {DutyHost} host @returns {Work | undefined} */
const stalledRuns = (host) => {
	const { reconcileEverySeconds: everySeconds } = host.settings
	if (everySeconds === undefined) return undefined
	return {
		everySeconds,
		failure: 'Stalled runs could not be looked for',
		work: async (signal) => {
			const adapter = { reconcile: host.reconcile }
			const place = { ...placeOf(host), adapter, logger: host.logger(), stalledThresholdSeconds: STALLED_SECONDS }
			await createKafkaReconciler(place).run({ concurrency: AT_ONCE, signal })
		},
	}
}

/** @param {DutyHost} host @returns {Work | undefined} */
const endedRuns = (host) => {
	const { retentionSeconds, sweepEverySeconds: everySeconds } = host.settings
	if (retentionSeconds === undefined) return undefined
	return {
		everySeconds,
		failure: 'Runs that ended long ago could not be deleted',
		work: async (signal) => {
			const { deleted, failed, failures } = await sweepRuns({ ...placeOf(host), retentionSeconds, signal })
			const what = `runs that ended more than ${retentionSeconds} s ago`
			if (deleted > 0) host.logger().info(`[KafkaAdapter] Deleted ${deleted} ${what}`)
			if (failed > 0)
				host.logger().error(`[KafkaAdapter] ${failed} ${what} could not be deleted, the first: ${failures[0].message}`)
		},
	}
}

/** @param {DutyHost} host @returns {Caretaker[]} */
export const caretakersOf = (host) =>
	[stalledRuns(host), endedRuns(host)]
		.filter((work) => work !== undefined)
		.map((work) => new Caretaker({ ...work, partitions: host.partitions, logger: host.logger }))
