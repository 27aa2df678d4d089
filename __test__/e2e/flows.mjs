/**
 * The diamond of the end-to-end tests: `a` feeds `b` and `c`, both feed `d`. Bodies write a journal, take `nodeMs`, and
 * compute from their inputs. Runs whose id begins with `slow` have a long `b`: `slow-obedient` ends it at its abort signal,
 * `slow-stubborn` does not. With `signed`, outputs say which process made them.
 */
import { setTimeout as sleep } from 'node:timers/promises'

export const NODES = ['a', 'b', 'c', 'd']

export const diamond = {
	id: 'diamond',
	nodes: [
		{ id: 'a', uses: 'body', params: { id: 'a' } },
		{ id: 'b', uses: 'body', params: { id: 'b' } },
		{ id: 'c', uses: 'body', params: { id: 'c' } },
		{ id: 'd', uses: 'body', params: { id: 'd' }, inputs: { b: 'b', c: 'c' } },
	],
	edges: [
		{ source: 'a', target: 'b' },
		{ source: 'a', target: 'c' },
		{ source: 'b', target: 'd' },
		{ source: 'c', target: 'd' },
	],
}

/** What a run's nodes return. @param {string} run */
export const outputs = (run) => ({
	a: run,
	b: `${run}.b`,
	c: `${run}.c`,
	d: { b: `${run}.b`, c: `${run}.c` },
})

/**
 * @param {(what: string, run: string, node: string) => void} journal
 * @param {{ nodeMs?: number, slowMs?: number, signed?: boolean }} [parameters]
 */
export function flows(journal, { nodeMs = 50, slowMs = 20_000, signed = false } = {}) {
	/** @param {any} call */
	async function body({ input, params: { id }, dependencies, signal }) {
		const run = dependencies.runtime.executionId
		journal('begin', run, id)
		const isSlow = id === 'b' && run.startsWith('slow')
		signal?.addEventListener('abort', () => journal('abort', run, id), { once: true })
		const obeys = isSlow && run.startsWith('slow-obedient')
		await sleep(isSlow ? slowMs : nodeMs, undefined, obeys ? { signal } : {})
		journal('end', run, id)
		if (signed) return { output: { by: process.pid, from: input } }
		if (id === 'a') return { output: run }
		return { output: id === 'd' ? input : `${input}.${id}` }
	}
	return { blueprints: { diamond }, registry: { body } }
}
