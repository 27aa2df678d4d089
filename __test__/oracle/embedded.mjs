/** Blueprints on `KafkaAdapter` over the in-memory ports, through the public door. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { GraphTraverser, NullLogger, sanitizeBlueprint } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
import { StatusTable } from '../../src/js/stores/status-table.js'
import { runtimeOptions } from './bodies.mjs'
import { comparable, published } from './comparator.mjs'

const ENDED = new Set(['completed', 'failed', 'awaiting', 'cancelled'])
const PATIENCE_MS = 30_000
const POLL_MS = 4

/** Sends every job message twice. */
class Doubling extends KafkaAdapter {
	/** @param {any} job @override */
	async enqueueJob(job) {
		await super.enqueueJob(job)
		await super.enqueueJob(job)
	}
}

/** @typedef {Awaited<ReturnType<typeof openEmbedded>>} Embedded */

/**
 * A cluster in memory with one worker.
 *
 * @param {import('./build.mjs').Built[]} all whose blueprints it knows
 * @param {object} options
 * @param {'eager' | 'wave'} options.schedule
 * @param {boolean} [options.strict]
 * @param {number} [options.variant]
 * @param {boolean} [options.twice] every message is delivered twice
 * @param {() => boolean} [options.kill] asked whenever a body begins: whether the worker dies now
 */
export async function openEmbedded(all, { schedule, strict = false, variant = 0, twice = false, kill }) {
	const backend = { embedded: randomUUID() }
	const blueprints = Object.assign({}, ...all.map((one) => ({ ...one.children, [one.blueprint.id]: one.blueprint })))
	/** @type {Promise<unknown>[]} */
	const dying = []
	/** @type {KafkaAdapter} */
	let adapter
	/** @type {Promise<void>} */
	let started
	let kills = 0
	let isUp = false

	/** As the documented client starts a run: its row is what the run begins with, no more. @param {any} blueprint @param {any} initial */
	async function startAsClient(blueprint, initial) {
		const runId = randomUUID()
		const entries = Object.entries(initial).map(([key, value]) => ({ op: /** @type {const} */ ('set'), key, value }))
		await adapter.createContext(runId).patch(entries)
		for (const { nodeId } of new GraphTraverser(sanitizeBlueprint(blueprint)).getReadyNodes())
			await adapter.enqueueJob({ runId, blueprintId: blueprint.id, nodeId })
		return runId
	}

	async function start() {
		const generation = kills
		const begin = () => {
			if (isUp && generation === kills && kill?.()) restart()
		}
		const Class = twice ? Doubling : KafkaAdapter
		adapter = new Class({
			backend,
			schedule,
			strict,
			coordinationStore: undefined,
			runtimeOptions: { ...runtimeOptions(variant, { begin }), blueprints, logger: new NullLogger() },
		})
		await adapter.start()
		isUp = true
	}

	/** The old worker is dropped in the middle of what it does. */
	function restart() {
		isUp = false
		kills++
		dying.push(adapter.stop({ deadlineMs: 0 }))
		started = start()
	}

	/** @param {any} blueprint @param {any} initial @returns {Promise<string>} */
	async function startRun(blueprint, initial) {
		for (;;) {
			await started
			const generation = kills
			try {
				if (schedule === 'wave') return await startAsClient(blueprint, initial)
				return (await adapter.startRun(blueprint.id, initial)).runId
			} catch (error) {
				// The worker was dropped meanwhile; what it began is nobody's any more.
				if (generation === kills) throw error
			}
		}
	}

	started = start()
	await started
	return {
		get kills() {
			return kills
		},
		/** @param {import('./build.mjs').Built} built @returns {Promise<any>} in the comparator's form */
		async run({ blueprint, initial, ignore }) {
			const runId = await startRun(blueprint, initial)
			const deadline = Date.now() + PATIENCE_MS
			for (;;) {
				const { cassandra, keyspace, statusTableName } = adapter
				const row = await new StatusTable(cassandra, `${keyspace}.${statusTableName}`).read(runId)
				if (row && ENDED.has(row.status)) return comparable(published(row.result, blueprint, initial), ignore)
				if (Date.now() > deadline) return { status: `still ${row?.status ?? 'without status'}` }
				await sleep(POLL_MS)
			}
		},
		async close() {
			isUp = false
			await started
			await Promise.all(dying)
			await adapter.stop()
		},
	}
}
