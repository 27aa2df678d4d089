/** A client that keeps a number of runs in flight, and what became of them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { analyzeBlueprint } from 'flowcraft'
import { Partitioners } from 'kafkajs'

const CLIENT_PATIENCE_MS = 150_000

/**
 * @typedef {import('./cluster.mjs').Place} Place
 * @typedef {import('./cluster.mjs').StatusRow} StatusRow
 */

/**
 * The partition that a run lives on: the one to which Java's murmur2 sends its key.
 *
 * @param {Place} place
 * @returns {(runId: string) => number}
 */
export function homePartition({ topic, partitions }) {
	const choose = Partitioners.DefaultPartitioner()
	const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({ partitionId, leader: 1 }))
	return (runId) =>
		choose({ topic, partitionMetadata: /** @type {any} */ (partitionMetadata), message: { key: runId, value: null } })
}

/**
 * Repeats what a client asks of a service that is away.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function again(work) {
	const deadline = Date.now() + CLIENT_PATIENCE_MS
	for (;;) {
		try {
			return await work()
		} catch (error) {
			if (Date.now() > deadline) throw error
			await sleep(200)
		}
	}
}

/**
 * Starts runs as the public guide's client does, never more than `window` at once, until all have ended.
 *
 * @param {Place} place
 * @param {object} options
 * @param {any} options.blueprint
 * @param {string[]} options.runs
 * @param {number} [options.window] default 64
 * @param {Record<number, () => Promise<unknown> | void>} [options.at] what happens when so many have ended; runs go on
 * @param {Record<number, () => Promise<unknown>>} [options.gates] so many may have been started until this is fulfilled
 * @param {number} [options.timeoutMs] without any progress
 * @param {(jobs: any[]) => Promise<unknown>} [options.send] default the place's own
 * @param {boolean} [options.patient] the client itself waits for services that are away
 * @returns {Promise<Map<string, StatusRow>>}
 */
export async function drive(place, options) {
	const { blueprint, runs, window = 64, at = {}, gates = {}, timeoutMs = 60_000, send = place.send, patient } = options
	const ask = patient ? again : (/** @type {() => Promise<any>} */ work) => work()
	const { startNodeIds } = analyzeBlueprint(blueprint)
	const waiting = [...runs]
	const inFlight = new Set()
	/** @type {Map<string, StatusRow>} */
	const ended = new Map()
	/** @type {Promise<unknown>[]} */
	const happening = []
	const events = Object.entries(at).map(([count, action]) => ({ count: Number(count), action }))
	const closed = new Map(Object.entries(gates).map(([count, open]) => [Number(count), open]))
	let progressAt = Date.now()

	while (ended.size < runs.length) {
		const limit = Math.min(runs.length, ...closed.keys())
		const room = Math.min(window - inFlight.size, limit - (runs.length - waiting.length))
		const next = waiting.splice(0, Math.max(0, room))
		if (next.length > 0) {
			await Promise.all(next.map((runId) => ask(() => place.writeContext(runId, '{}'))))
			const jobs = next.flatMap((runId) => startNodeIds.map((nodeId) => ({ runId, blueprintId: blueprint.id, nodeId })))
			await ask(() => send(jobs))
			for (const runId of next) inFlight.add(runId)
		}
		for (const [count, open] of closed) {
			if (runs.length - waiting.length < count) continue
			await open()
			closed.delete(count)
			progressAt = Date.now()
		}
		for (const row of await ask(() => place.statusRows([...inFlight]))) {
			if (row.status === 'running') continue
			inFlight.delete(row.runId)
			ended.set(row.runId, row)
			progressAt = Date.now()
		}
		while (events.length > 0 && events[0].count <= ended.size) {
			const action = /** @type {{ action: () => Promise<unknown> | void }} */ (events.shift()).action()
			// Whoever it is that fails, the runs must not go on as if nothing had happened.
			action?.catch(() => undefined)
			if (action) happening.push(action)
		}
		if (Date.now() - progressAt > timeoutMs) {
			const stuck = [...inFlight].slice(0, 5)
			const contexts = await Promise.all(stuck.map(async (runId) => [runId, (await place.context(runId))?.text]))
			throw new Error(
				`no run has ended for ${timeoutMs} ms; ended ${ended.size} of ${runs.length}, in flight ${inFlight.size}: ${JSON.stringify(contexts)}; ${JSON.stringify(await place.positions())}`,
			)
		}
		await sleep(10)
	}
	await Promise.all(happening)
	return ended
}
