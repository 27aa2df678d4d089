import { readFileSync, readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { readStat } from '../__test__/services/identity.mjs'

/** In the environment of everything a test run starts, so that a process is recognised even in a session of its own. */
export const RUN_ID_VARIABLE = 'FLOWCRAFT_TEST_RUN'

/**
 * The processes of the run that are still there after a moment of grace; they are ended. Without /proc none is found.
 *
 * @param {string} runId
 * @param {Set<number>} known not to be counted
 * @param {number} graceMs
 * @returns {Promise<{ pid: number, command: string }[]>}
 */
export async function leftovers(runId, known, graceMs) {
	const deadline = Date.now() + graceMs
	let found = marked(runId, known)
	while (found.length > 0 && Date.now() < deadline) {
		await delay(100)
		found = marked(runId, known)
	}
	const described = found.map((pid) => ({ pid, command: commandOf(pid) }))
	for (const pid of found) kill(pid)
	return described
}

function marked(runId, known) {
	const mark = `\0${RUN_ID_VARIABLE}=${runId}\0`
	return numbersIn('/proc').filter((pid) => {
		if (pid === process.pid || known.has(pid)) return false
		return `\0${read(`/proc/${pid}/environ`)}`.includes(mark) && readStat(pid)?.state !== 'Z'
	})
}

function numbersIn(folder) {
	try {
		return readdirSync(folder)
			.filter((name) => /^\d+$/.test(name))
			.map(Number)
	} catch {
		return []
	}
}

function commandOf(pid) {
	return read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim().slice(0, 200)
}

function read(path) {
	try {
		return readFileSync(path, 'utf8')
	} catch {
		return ''
	}
}

function kill(pid) {
	try {
		process.kill(pid, 'SIGKILL')
	} catch {
		// It has gone meanwhile.
	}
}
