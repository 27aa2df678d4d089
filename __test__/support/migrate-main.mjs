/**
 * Migrates until it has copied so many runs, and is killed at once, in the middle of the others:
 *
 *   node migrate-main.mjs '{"contactPoints": [...], "keyspace": "...", "from": "...", "to": "...", "copies": 7}'
 */
import { migrateContexts } from '../../src/js/index.js'

const { contactPoints, copies, ...options } = JSON.parse(process.argv[2])
await migrateContexts({
	...options,
	cassandraClient: { contactPoints },
	mode: 'copy',
	runsPerSecond: Infinity,
	onProgress: ({ copied }) => void (copied >= copies && process.kill(process.pid, 'SIGKILL')),
})
