import { readFileSync } from 'node:fs'

/**
 * A process id together with its start time, so that a number the system has given to somebody else
 * in the meantime is not mistaken for the process we wrote down.
 *
 * @param {number} pid
 * @returns {string | undefined} undefined when there is no such process (a zombie counts as gone)
 */
export function identityOf(pid) {
	const stat = readStat(pid)
	if (stat) return stat.state === 'Z' ? undefined : `${pid}:${stat.startTime}`
	// Without /proc (macOS) the bare number has to do.
	if (process.platform !== 'linux' && answersSignal(pid)) return `${pid}:`
	return undefined
}

/**
 * @param {string} identity as given by {@link identityOf}
 * @returns {boolean} whether exactly that process still runs
 */
export function isAlive(identity) {
	const pid = Number(identity.split(':')[0])
	return Number.isInteger(pid) && pid > 0 && identityOf(pid) === identity
}

/**
 * @param {number | string} pid
 * @returns {{ state: string, parent: number, group: number, session: number, startTime: string } | undefined}
 */
export function readStat(pid) {
	try {
		const line = readFileSync(`/proc/${pid}/stat`, 'utf8')
		// The second field is the command in brackets and may hold blanks and brackets itself.
		const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
		return {
			state: fields[0],
			parent: Number(fields[1]),
			group: Number(fields[2]),
			session: Number(fields[3]),
			startTime: fields[19],
		}
	} catch {
		return undefined
	}
}

function answersSignal(pid) {
	try {
		process.kill(pid, 0)
		return true
	} catch (error) {
		return error.code === 'EPERM'
	}
}
