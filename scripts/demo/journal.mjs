/**
 * Which node bodies have run: a file of its own, beside what the services know, so that it can be held against them.
 * One line when a body begins, written before it does anything: a killed demo has missed none.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

export class Journal {
	#file
	#entries = 0

	/** @param {string} path */
	constructor(path) {
		this.#file = openSync(path, 'a')
	}

	/** How many bodies this process has begun. */
	get entries() {
		return this.#entries
	}

	record(runId, nodeId) {
		this.#entries++
		writeSync(this.#file, `${runId} ${nodeId}\n`)
	}

	close() {
		closeSync(this.#file)
	}
}

/**
 * @param {string} path
 * @returns {{ perNode: Record<string, number>, total: number, duplicates: number }} duplicates: executions of a node in a
 *   run beyond its first
 */
export function executionsIn(path) {
	const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean)
	/** @type {Record<string, number>} */
	const perNode = {}
	for (const line of lines) {
		const nodeId = line.slice(line.indexOf(' ') + 1)
		perNode[nodeId] = (perNode[nodeId] ?? 0) + 1
	}
	return { perNode, total: lines.length, duplicates: lines.length - new Set(lines).size }
}
