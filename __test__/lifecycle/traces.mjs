/**
 * What native code has left in this process. Linux tells; elsewhere nothing is found.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'

/** @param {string} folder */
function list(folder) {
	try {
		return readdirSync(folder)
	} catch {
		return []
	}
}

/** @param {() => string} read what a thread or a descriptor says, unless it ended meanwhile */
function orNothing(read) {
	try {
		return read()
	} catch {
		return ''
	}
}

/** Names of the threads of Kafka clients: ours, and librdkafka's own. */
export const nativeThreads = () =>
	list('/proc/self/task')
		.map((id) => orNothing(() => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim()))
		.filter((name) => name.startsWith('flowcraft-kafka') || name.startsWith('rdk:'))

/** Remote ports of the TCP connections that are open. */
export function openConnections() {
	const own = new Set(list('/proc/self/fd').map((id) => orNothing(() => readlinkSync(`/proc/self/fd/${id}`))))
	const tables = ['tcp', 'tcp6'].map((name) => orNothing(() => readFileSync(`/proc/self/net/${name}`, 'utf8')))
	return tables
		.flatMap((table) => table.split('\n').slice(1))
		.map((line) => line.trim().split(/\s+/))
		.filter((fields) => own.has(`socket:[${fields[9]}]`))
		.map((fields) => parseInt(fields[2].split(':')[1], 16))
}
