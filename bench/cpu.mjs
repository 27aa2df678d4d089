/** Processor time, which says more than the clock where a machine is shared. */
import { readFileSync, readdirSync } from 'node:fs'

/** Linux counts in hundredths of a second for programs, whatever its own clock does. */
const TICK_MS = 10

/** @param {number | undefined} pid of a process of this machine @returns {number | null} milliseconds it has used, user and system */
export function cpuMsOf(pid) {
	if (pid === undefined || process.platform !== 'linux') return null
	const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
	// The name of the program, in brackets, may hold anything.
	const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
	return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}

/** @param {number | undefined} pid @returns {() => number | null} milliseconds since now */
export function cpuSince(pid) {
	const before = cpuMsOf(pid)
	return () => (before === null ? null : Number(cpuMsOf(pid)) - before)
}

/**
 * Processor time of this process by kind of thread, microseconds: the JavaScript thread, those of the engine with its clients of
 * Cassandra and Redis, librdkafka's, and V8's own (collector, compiler). Nothing where Linux does not tell.
 *
 * @returns {{ js: number, engine: number, kafka: number, v8: number }}
 */
export function threadTimes() {
	const times = { js: 0, engine: 0, kafka: 0, v8: 0 }
	for (const task of process.platform === 'linux' ? readdirSync('/proc/self/task') : []) {
		const name = readFileSync(`/proc/self/task/${task}/comm`, 'utf8')
		times[Number(task) === process.pid ? 'js' : kindOf(name)] +=
			Number(readFileSync(`/proc/self/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1000
	}
	return times
}

/** @param {string} name of a thread */
function kindOf(name) {
	if (name.startsWith('rdk:')) return 'kafka'
	return name.startsWith('flowcraft') ? 'engine' : 'v8'
}
