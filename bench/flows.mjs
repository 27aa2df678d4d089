/**
 * Of the workers of overload.mjs and scale.mjs: chains whose nodes take `nodeMs`. The journal has every node, or of each run the
 * beginning of its first node and the end of its last one (`ends`), or nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { chain } from './workloads.mjs'

/**
 * @typedef {{ nodes: number, nodeMs?: number, journal?: 'all' | 'ends' | 'none' }} Parameters
 *
 * @param {(what: string, run: string, node: string) => void} write
 * @param {Parameters} parameters
 */
export function flows(write, { nodes, nodeMs = 0, journal = 'all' }) {
	const blueprint = chain('chain', nodes, 'body')
	const [first, last] = [blueprint.nodes[0].id, blueprint.nodes[nodes - 1].id]
	const tells = (/** @type {string} */ id, /** @type {string} */ end) =>
		journal === 'all' || (journal === 'ends' && id === end)
	/** @param {any} call */
	const body =
		(id) =>
		async ({ input, dependencies }) => {
			const run = dependencies.runtime.executionId
			if (tells(id, first)) write('begin', run, id)
			if (nodeMs > 0) await sleep(nodeMs)
			if (tells(id, last)) write('end', run, id)
			return { output: (Number(input) || 0) + 1 }
		}
	const registry = Object.fromEntries(blueprint.nodes.map(({ id }) => [id, body(id)]))
	return {
		blueprints: { chain: { ...blueprint, nodes: blueprint.nodes.map(({ id }) => ({ id, uses: id })) } },
		registry,
	}
}

/** Start messages. @param {string[]} ids */
export const starts = (ids) => ids.map((runId) => ({ runId, blueprintId: 'chain', nodeId: 'n0' }))

export const FLOWS = import.meta.url
