/** Processor time, which says more than the clock where a machine is shared. */
import { readFileSync } from 'node:fs'

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
