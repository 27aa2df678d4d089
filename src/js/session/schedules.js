/**
 * When ready nodes run (design D6).
 *
 * `EagerSchedule`: a branch goes on as soon as its own predecessors are recorded. What runs is nevertheless what memory
 * runs, since every result has its moment in memory's order: the wave of its visit, and its place in that wave.
 * - An `any` join runs once for each wave in which it is asked for.
 * - An `all` node runs when somebody has asked for it at a moment at which all its predecessors were completed. A slow
 *   predecessor of an early wave may come after the one that asked; a fast one of a late wave does not count before its
 *   time. Nor does it start before what else feeds it and belongs to that wave or an earlier one: the fallback of a predecessor that
 *   has failed, say, since Flowcraft counts that predecessor as completed.
 * - Once a node has succeeded nobody asks for it again. One that has failed runs once more for each further moment at which it
 *   was ready, be it an earlier one of which a slow visit tells late.
 *
 * `WaveSchedule`: Flowcraft's in-memory order. The whole frontier runs, in chunks; results are processed when the last
 * node has ended, in the order in which they ended.
 */

import { unlessEmpty } from './checkpoint.js'

/** @typedef {import('./run-session.js').RunSession} RunSession */
/** @typedef {import('./visit.js').Visit} Visit */
/** @typedef {import('./checkpoint.js').Checkpoint} Checkpoint */
/**
 * Somebody asked for an `all` node.
 * @typedef {object} Ask
 * @property {number} wave
 * @property {number} order
 * @property {boolean} surely a visit of its own wave ran then, so that even its success changes nothing
 * @property {boolean} ready all its predecessors were completed, whatever a loop has reset since
 */

/** Flags of an ask in the checkpoint. */
const SURELY = 1
const READY = 2

export class EagerSchedule {
	name = undefined
	/** Waves in which a contested node already got its visit. @type {Map<string, Set<number>>} */
	#visited = new Map()
	/** Who asked for `all` nodes, by wave: undecided so far. @type {Map<string, Ask[]>} */
	#asks = new Map()
	/** The visit in flight of each `all` node. @type {Map<string, Visit>} */
	#single = new Map()
	/** Those of `any` joins. @type {Map<string, Set<Visit>>} */
	#joining = new Map()
	#session

	/** @param {RunSession} session */
	constructor(session) {
		this.#session = session
		session.graph.onReset = (nodeId) => this.#onReset(nodeId)
	}

	/**
	 * In memory a loop resets its body between waves, after everything that ran before. Here a slow branch of the body
	 * may still run: its completion, when it comes, belongs to before the reset.
	 * @param {string} nodeId
	 */
	#onReset(nodeId) {
		const { wave } = this.#session.graph.now
		for (const visit of this.#session.visits.values())
			if (visit.nodeId === nodeId && visit.wave < wave) visit.reset = true
	}

	/** @param {string} nodeId @param {number} wave */
	admit(nodeId, wave) {
		const { graph } = this.#session
		const isAny = graph.isAnyJoin(nodeId)
		if (isAny || graph.isContested(nodeId)) {
			const waves = this.#visited.get(nodeId)
			if (waves?.has(wave)) return
			if (waves) waves.add(wave)
			else this.#visited.set(nodeId, new Set([wave]))
		}
		this.#take(this.#session.newVisit(nodeId, wave))
	}

	/** @param {Visit} visit in flight from now on */
	#take(visit) {
		const { nodeId } = visit
		const joining = this.#joining.get(nodeId)
		if (joining) joining.add(visit)
		else if (this.#session.graph.isAnyJoin(nodeId)) this.#joining.set(nodeId, new Set([visit]))
		else this.#single.set(nodeId, visit)
	}

	/** @param {Visit} visit @returns {boolean} whether it was in flight: one that goes on with an answer is not */
	#release(visit) {
		const { nodeId } = visit
		if (this.#single.get(nodeId) === visit) return this.#single.delete(nodeId)
		const joining = this.#joining.get(nodeId)
		const wasIn = joining?.delete(visit) ?? false
		if (joining?.size === 0) this.#joining.delete(nodeId)
		return wasIn
	}

	/** Visits of a node that are due or run while results are processed. @param {string} nodeId @returns {Iterable<Visit>} */
	inFlight(nodeId) {
		const single = this.#single.get(nodeId)
		return single ? [single] : (this.#joining.get(nodeId) ?? [])
	}

	/** @param {Visit[]} visits whose announcement is durable */
	start(visits) {
		for (const visit of visits) this.#session.start(visit)
	}

	/** @param {Visit} _visit */
	settled(_visit) {}

	/** Another attempt takes the place of one that has failed. @param {Visit} visit @param {Visit} next */
	replaced(visit, next) {
		if (this.#release(visit)) this.#take(next)
	}

	/** @param {Visit} visit @returns {Promise<Visit[]>} visits whose results were processed */
	async record(visit) {
		this.#release(visit)
		const ready = await this.#session.route(visit)
		this.#session.endPreviews()
		if (visit.reset) this.#session.graph.uncomplete(visit.nodeId)
		await this.admitReady(ready, visit.nodeId)
		return [visit]
	}

	/**
	 * @param {string[]} ready nodes that Flowcraft calls ready after a result
	 * @param {string} from the node whose result it was
	 */
	async admitReady(ready, from) {
		const { graph } = this.#session
		const { now, asked } = graph
		graph.asked = []
		for (const nodeId of asked) if (!this.#isPlain(nodeId)) this.#ask(nodeId, now)
		for (const nodeId of ready) {
			if (graph.isAnyJoin(nodeId) ? graph.matched : this.#isPlain(nodeId)) {
				if (await this.#session.mayStart(nodeId)) this.admit(nodeId, now.wave + 1)
				continue
			}
			// A dynamic node: its emitter has made it ready, whatever ran under that id before.
			if (!asked.includes(nodeId)) this.#asks.set(nodeId, [{ ...now, surely: true, ready: false }])
			await this.#decide(nodeId)
		}
		if (this.#asks.size === 0) return
		for (const nodeId of this.#asks.keys()) {
			const concerned = nodeId === from || graph.feeds(from, nodeId) || asked.includes(nodeId)
			if (concerned || graph.isAnyJoin(nodeId)) await this.#decide(nodeId)
		}
	}

	/** Whether a node depends on one other only and does not run: what Flowcraft says about it now, memory says too. @param {string} nodeId */
	#isPlain(nodeId) {
		const { graph } = this.#session
		return !graph.isContested(nodeId) && !graph.isAnyJoin(nodeId) && !this.#single.has(nodeId)
	}

	/** @param {string} nodeId @param {import('./run-graph.js').Moment} now */
	#ask(nodeId, now) {
		const running = this.#single.get(nodeId)
		if (this.#session.graph.isCompletedAt(nodeId, now)) return
		// Two may ask for the same visit.
		if (running?.wave === now.wave + 1 || this.#visited.get(nodeId)?.has(now.wave + 1)) return
		const ask = { ...now, surely: running !== undefined && running.wave === now.wave, ready: false }
		const asks = this.#asks.get(nodeId)
		if (!asks) {
			this.#asks.set(nodeId, [ask])
			return
		}
		// Of one wave the last decides: whatever is ready at an earlier moment is ready then.
		const same = asks.findIndex(({ wave }) => wave === now.wave)
		if (same >= 0) {
			const { surely, ready } = asks[same]
			asks[same] = { ...ask, surely: ask.surely || surely, ready }
		} else asks.push(ask)
		asks.sort((a, b) => a.wave - b.wave)
	}

	/** Gives a node its visit if one of those who asked did so at a moment when it was ready. @param {string} nodeId */
	async #decide(nodeId) {
		const { graph } = this.#session
		const asks = this.#asks.get(nodeId)
		if (!asks || this.#single.has(nodeId) || this.#session.isWaiting(nodeId)) return
		if (graph.isAnyJoin(nodeId)) return this.#decideAny(nodeId, asks)
		const visited = this.#visited.get(nodeId)
		const done = graph.completed.has(nodeId)
		const left = asks.filter(({ wave, surely }) => surely || !(done || visited?.has(wave + 1)))
		const at = left.findIndex((ask) => ask.ready || graph.isReadyAt(nodeId, ask))
		if (at >= 0 && this.#isStillFed(nodeId, left[at].wave)) left[at].ready = true
		else if (at >= 0) {
			// An earlier one stays: a slow visit of before may yet tell that the node was ready then.
			const [{ wave }] = left.splice(at, 1)
			if (await this.#session.mayStart(nodeId)) this.admit(nodeId, wave + 1)
		}
		if (left.length > 0) this.#asks.set(nodeId, left)
		else this.#asks.delete(nodeId)
	}

	/**
	 * Whether anything may still write the input of a visit for which somebody has asked in this wave: what is in flight, awaits, or goes
	 * on with an answer, for which it has a later wave.
	 * @param {string} nodeId @param {number} wave
	 */
	#isStillFed(nodeId, wave) {
		const { graph, visits, state } = this.#session
		for (const { nodeId: other, wave: since, answer } of visits.values())
			if ((answer || since <= wave) && graph.feeds(other, nodeId)) return true
		if (!state.isAwaiting()) return false
		return state
			.getAwaitingNodeIds()
			.some((other) => graph.feeds(other, nodeId) && this.#session.waveOfWait(other) <= wave)
	}

	/**
	 * Where no edge of a result matches, an `any` join runs unless it is completed at that moment. So everything of before
	 * that may still complete it comes first.
	 * @param {string} nodeId @param {Ask[]} asks
	 */
	async #decideAny(nodeId, asks) {
		const { graph, visits } = this.#session
		while (asks.length > 0) {
			const [ask] = asks
			for (const { nodeId: other, wave } of visits.values()) if (wave < ask.wave && graph.leadsTo(other, nodeId)) return
			asks.shift()
			if (graph.isCompletedAt(nodeId, ask)) continue
			if (await this.#session.mayStart(nodeId)) this.admit(nodeId, ask.wave + 1)
		}
		this.#asks.delete(nodeId)
	}

	resumed() {
		return []
	}

	get idle() {
		return true
	}

	/** @param {Checkpoint} checkpoint */
	write(checkpoint) {
		if (this.#visited.size === 0 && this.#asks.size === 0) return
		this.#forgetPassedWaves()
		checkpoint.visited = unlessEmpty(Array.from(this.#visited, ([nodeId, waves]) => [nodeId, [...waves]]))
		checkpoint.asks = unlessEmpty(Array.from(this.#asks, ([nodeId, asks]) => [nodeId, asks.map(askRecord)]))
	}

	/**
	 * What comes later has a wave above the lowest one in flight, so nothing can ask for a visit up to that wave; and no
	 * predecessor can complete before it, so what was not ready then will never be.
	 */
	#forgetPassedWaves() {
		const floor = this.#session.lowestWave()
		for (const [nodeId, waves] of this.#visited) {
			for (const wave of waves) if (wave <= floor) waves.delete(wave)
			if (waves.size === 0) this.#visited.delete(nodeId)
		}
		for (const [nodeId, asks] of this.#asks) {
			if (asks[0].wave >= floor || this.#single.has(nodeId)) continue
			const left = asks.filter(({ wave }) => wave >= floor)
			if (left.length > 0) this.#asks.set(nodeId, left)
			else this.#asks.delete(nodeId)
		}
	}

	/** @param {Checkpoint} checkpoint */
	restore(checkpoint) {
		for (const [nodeId, waves] of checkpoint.visited ?? []) this.#visited.set(nodeId, new Set(waves))
		for (const [nodeId, asks] of checkpoint.asks ?? []) this.#asks.set(nodeId, asks.map(reviveAsk))
		for (const visit of this.#session.visits.values()) this.#take(visit)
	}
}

/** @param {Ask} ask @returns {import('./checkpoint.js').AskRecord} */
function askRecord({ wave, order, surely, ready }) {
	const flags = (surely ? SURELY : 0) | (ready ? READY : 0)
	return flags > 0 ? [wave, order, flags] : [wave, order]
}

/** @param {import('./checkpoint.js').AskRecord} record @returns {Ask} */
function reviveAsk([wave, order, flags = 0]) {
	return { wave, order, surely: (flags & SURELY) !== 0, ready: (flags & READY) !== 0 }
}

export class WaveSchedule {
	name = /** @type {const} */ ('wave')
	#wave = 1
	/** Announced, not started: the chunks to come. @type {Visit[]} */
	#queue = []
	#running = 0
	/** Ended nodes of the running wave in the order in which they ended. @type {Visit[]} */
	#ended = []
	/** Ready nodes that a wait keeps from running. @type {string[]} */
	#held = []
	#halting
	#session
	#concurrency

	/** @param {RunSession} session @param {number} concurrency */
	constructor(session, concurrency) {
		this.#session = session
		this.#concurrency = concurrency
		this.#halting = session.state.isAwaiting()
	}

	/** @param {string} nodeId @param {number} wave */
	admit(nodeId, wave) {
		this.#wave = wave
		this.#session.newVisit(nodeId, wave)
	}

	/** @param {Visit[]} visits */
	start(visits) {
		for (const visit of visits) this.#queue.push(visit)
		if (this.#running === 0) this.#startChunk()
	}

	#startChunk() {
		const chunk = this.#queue.splice(0, this.#concurrency)
		this.#running = chunk.length
		for (const visit of chunk) this.#session.start(visit)
	}

	/** @param {Visit} visit */
	settled(visit) {
		if (visit.marked) this.#halting = true
		this.#running--
		if (this.#running === 0 && this.#queue.length > 0) this.#startChunk()
	}

	/** Results are processed when nothing of the wave runs any more. */
	inFlight() {
		return []
	}

	/** The wave waits for the next attempt as for the one that has failed: its visit is among those of the session. */
	replaced() {}

	/** @param {Visit} visit @returns {Promise<Visit[]>} visits whose results were processed */
	async record(visit) {
		const processed = visit.replay ? [visit] : []
		if (visit.replay) this.#held.push(...(await this.#goOnFrom(visit)))
		else this.#ended.push(visit)
		if (this.#session.visits.size > 0) return processed
		const wave = this.#ended.splice(0)
		/** @type {string[]} */
		const ready = []
		for (const ended of wave) ready.push(...(await this.#session.route(ended)))
		this.#session.endPreviews()
		await this.admitReady([...this.#held.splice(0), ...ready])
		return [...processed, ...wave]
	}

	/** What others have recorded belongs to waves of before. @param {Visit} visit */
	async #goOnFrom(visit) {
		const ready = await this.#session.route(visit)
		this.#session.endPreviews()
		const due = new Set(Array.from(this.#session.visits.values(), ({ nodeId }) => nodeId))
		return ready.filter((nodeId) => !due.has(nodeId))
	}

	/** @param {string[]} ready */
	async admitReady(ready) {
		const nodes = new Set(ready)
		if (this.#halting || this.#session.visits.size > 0) {
			this.#held.push(...nodes)
			return
		}
		this.#session.graph.asked = []
		const next = this.#wave + 1
		for (const nodeId of nodes) if (await this.#session.mayStart(nodeId)) this.admit(nodeId, next)
	}

	resumed() {
		this.#halting = false
		return this.#held.splice(0)
	}

	get idle() {
		return this.#ended.length === 0
	}

	/** @param {Checkpoint} checkpoint */
	write(checkpoint) {
		checkpoint.wave = {
			number: this.#wave,
			...(this.#ended.length > 0
				? { ended: this.#ended.map((visit) => this.#session.recordSettled(visit)) }
				: undefined),
			...(this.#held.length > 0 ? { held: this.#held } : undefined),
			...(this.#halting ? { halting: 1 } : undefined),
		}
	}

	/** @param {Checkpoint} checkpoint */
	restore(checkpoint) {
		const { number = 1, ended = [], held = [], halting } = checkpoint.wave ?? {}
		this.#wave = number
		this.#ended = ended.map((/** @type {any} */ record) => this.#session.reviveSettled(record))
		this.#held = held
		this.#halting = halting === 1
	}
}
