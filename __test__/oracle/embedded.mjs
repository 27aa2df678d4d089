/** Blueprints on `KafkaAdapter` over the in-memory ports, through the public door. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { GraphTraverser, NullLogger, sanitizeBlueprint } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
import { StatusTable } from '../../src/js/stores/status-table.js'
import { runtimeOptions } from './bodies.mjs'
import { Answering, WEBHOOKS, resultOf } from './answering.mjs'

const ENDED = new Set(['completed', 'failed', 'cancelled'])
const POLL_MS = 4
/**
 * For a run, since its start and since the last death of a worker; 30 s where the machine has nothing else to do. Counted, not
 * timed: where this process gets no time, its runs do not get any either.
 */
const MOST_POLLS = 7_500
/** What a worker says that died as asked. */
const DIED = /the worker died with call \d+ of its stores/

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
 * @param {boolean} [options.webhooks]
 * @param {() => number | undefined} [options.life] calls of its stores and log after which the next worker dies
 * @param {boolean} [options.leases] the next worker waits until the lease of a dead one is over
 */
export async function openEmbedded(
	all,
	{ schedule, strict = false, variant = 0, twice = false, webhooks = false, life, leases = true },
) {
	const embedded = randomUUID()
	const blueprints = Object.assign({}, ...all.map((one) => ({ ...one.children, [one.blueprint.id]: one.blueprint })))
	/** @type {KafkaAdapter} */
	let adapter
	/** @type {Promise<void>} */
	let started
	let kills = 0
	let isUp = false
	/** Ends with the worker, whose calls are not answered from then on. @type {Promise<'died'>} */
	let death

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
		const logger = new NullLogger()
		death = new Promise((resolve) => {
			logger.warn = (/** @type {string} */ message) => {
				if (DIED.test(message)) resolve('died')
			}
		})
		const Class = twice ? Doubling : KafkaAdapter
		const own = new Class({
			backend: { embedded, crashAfterCalls: life?.() },
			schedule,
			strict,
			// Any object is accepted as a store. One that can do nothing: no leases.
			coordinationStore: leases ? undefined : {},
			leaseTtlMs: 1_000,
			poisonOpenings: 1_000,
			...(webhooks ? { webhooks: WEBHOOKS } : {}),
			runtimeOptions: { ...runtimeOptions(variant), blueprints, logger },
		})
		adapter = own
		void death.then(() => {
			kills++
			// What is left of it is no concern of the next one.
			void own.stop({ deadlineMs: 0 })
			if (isUp) started = start()
		})
		await Promise.race([own.start(), death])
	}

	/** There may be one more start by the time one has ended. */
	async function up() {
		for (let awaited; awaited !== started;) {
			awaited = started
			await awaited
		}
	}

	/** @param {any} blueprint @param {any} initial @returns {Promise<string>} */
	async function startRun(blueprint, initial) {
		for (;;) {
			await up()
			const generation = kills
			const start = async () =>
				schedule === 'wave' ? startAsClient(blueprint, initial) : (await adapter.startRun(blueprint.id, initial)).runId
			try {
				const runId = await Promise.race([start(), death])
				if (runId !== 'died') return runId
			} catch (error) {
				// The worker died meanwhile; what it began is nobody's any more.
				if (generation === kills) throw error
			}
		}
	}

	isUp = true
	started = start()
	await started
	return {
		get kills() {
			return kills
		},
		/**
		 * @param {import('./build.mjs').Built} built
		 * @param {string} [status] in which memory ends
		 * @returns {Promise<any>} in the comparator's form
		 */
		async run(built, status) {
			const { blueprint, initial } = built
			const runId = await startRun(blueprint, initial)
			const answering = built.answered ? new Answering(built, runId, status === 'cancelled') : undefined
			for (let [polls, life] = [0, kills]; ; polls++) {
				if (life !== kills) [polls, life] = [0, kills]
				const { cassandra, keyspace, statusTableName } = adapter
				const row = await new StatusTable(cassandra, `${keyspace}.${statusTableName}`).read(runId)
				const awaits = row?.status === 'awaiting'
				if (awaits && answering) await answering.look(adapter, row.result)
				else if (row && (awaits || ENDED.has(row.status))) return resultOf(built, row.result)
				if (polls > MOST_POLLS) return { status: `still ${row?.status ?? 'without status'}` }
				await sleep(POLL_MS)
			}
		},
		async close() {
			await up()
			isUp = false
			await Promise.race([adapter.stop(), death])
		},
	}
}
