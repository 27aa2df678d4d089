/**
 * One node after another. In runs whose id begins with `stall` the second one blocks its thread for `stallMs`, and says
 * what health() is afterwards; in runs whose id begins with `poison` it kills its process. `quiet` keeps no journal.
 */
import { setTimeout as sleep } from 'node:timers/promises'

export const chain = {
	id: 'chain',
	nodes: [
		{ id: 'a', uses: 'body', params: { id: 'a' } },
		{ id: 'b', uses: 'body', params: { id: 'b' } },
		{ id: 'c', uses: 'body', params: { id: 'c' } },
	],
	edges: [
		{ source: 'a', target: 'b' },
		{ source: 'b', target: 'c' },
	],
}

/**
 * @param {(what: string, run: string, node: string) => void} write
 * @param {{ nodeMs?: number, stallMs?: number, quiet?: boolean } | undefined} parameters
 * @param {{ health: () => any }} worker
 */
export function flows(write, { nodeMs = 50, stallMs = 0, quiet = false } = {}, worker) {
	const journal = quiet ? () => {} : write
	/** @param {any} call */
	async function body({ params: { id }, dependencies }) {
		const run = dependencies.runtime.executionId
		journal('begin', run, id)
		if (id === 'b' && run.startsWith('poison')) process.kill(process.pid, 'SIGKILL')
		if (id === 'b' && run.startsWith('stall') && stallMs > 0) {
			Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, stallMs)
			const { healthy, troubles } = worker.health()
			journal(healthy ? 'green' : 'red', run, troubles.map((/** @type {any} */ trouble) => trouble.code).join())
		}
		await sleep(nodeMs)
		journal('end', run, id)
		return { output: process.pid }
	}
	return { blueprints: { chain }, registry: { body } }
}
