/**
 * Sweeps until it has deleted so many runs, and is killed at once, in the middle of the others:
 *
 *   node sweep-main.mjs '{"contactPoints": [...], "keyspace": "...", ..., "retentionSeconds": 60, "deletions": 7}'
 */
import { sweepRuns } from '../../src/js/index.js'

const { contactPoints, deletions, ...options } = JSON.parse(process.argv[2])
await sweepRuns({
	...options,
	cassandraClient: { contactPoints },
	runsPerSecond: Infinity,
	onProgress: ({ deleted }) => void (deleted >= deletions && process.kill(process.pid, 'SIGKILL')),
})
