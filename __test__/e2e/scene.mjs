import { Journal, startWorkerProcess } from '../support/worker-process.mjs'

const flows = new URL('flows.mjs', import.meta.url).href

/** @param {string} prefix @param {number} count */
export const runIds = (prefix, count) => Array.from({ length: count }, (_, at) => `${prefix}-${at}`)

/**
 * A place with its journal, and workers that are gone afterwards whatever happens.
 *
 * @param {import('../support/cluster.mjs').Cluster} cluster
 * @param {string} name
 * @param {Partial<import('../support/worker-process.mjs').WorkerOptions>} options of each worker
 * @param {(scene: { place: import('../support/cluster.mjs').Place, journal: Journal,
 *   worker: (name: string, more?: Partial<import('../support/worker-process.mjs').WorkerOptions>) =>
 *   Promise<import('../support/worker-process.mjs').WorkerProcess> }) => Promise<void>} play
 */
export async function scene(cluster, name, options, play) {
	const place = await cluster.place({ name, partitions: 8 })
	const journal = new Journal()
	/** @type {import('../support/worker-process.mjs').WorkerProcess[]} */
	const workers = []
	/** @param {string} called @param {Partial<import('../support/worker-process.mjs').WorkerOptions>} [more] */
	const worker = async (called, more) => {
		const started = await startWorkerProcess(place, { flows, journal, name: called, ...options, ...more })
		workers.push(started)
		return started
	}
	try {
		await play({ place, journal, worker })
	} finally {
		await Promise.all(workers.map((one) => one.dispose()))
		journal.remove()
	}
}
