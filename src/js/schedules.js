/**
 * When ready nodes run (design D6).
 *
 * `EagerSchedule`: a branch goes on as soon as its own predecessors are recorded. Its visits carry the wave in which
 * memory would have run them, so that a node that two predecessors of one wave ask for runs once, and one that they ask
 * for in different waves runs again.
 *
 * `WaveSchedule`: Flowcraft's in-memory order. The whole frontier runs, in chunks; results are processed when the last
 * node has ended, in the order in which they ended.
 */

/** @typedef {import('./run-session.js').RunSession} RunSession */
/** @typedef {import('./visit.js').Visit} Visit */
/** @typedef {import('./checkpoint.js').Checkpoint} Checkpoint */

export class EagerSchedule {
	name = undefined
	/** Waves in which an `any` join already got its visit. @type {Map<string, Set<number>>} */
	#joins = new Map()
	/** Nodes asked for again while a visit of theirs was running; decided when it ends. @type {Map<string, number>} */
	#again = new Map()
	/** The visit in flight of each node that is not an `any` join. @type {Map<string, Visit>} */
	#single = new Map()
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
		const { wave } = this.#session.graph
		for (const visit of this.#session.visits.values())
			if (visit.nodeId === nodeId && visit.wave <= wave) visit.reset = true
	}

	/** @param {string} nodeId @param {number} wave */
	admit(nodeId, wave) {
		if (this.#session.graph.isAnyJoin(nodeId)) {
			const waves = this.#joins.get(nodeId)
			if (waves?.has(wave)) return
			if (waves) waves.add(wave)
			else this.#joins.set(nodeId, new Set([wave]))
			this.#session.newVisit(nodeId, wave)
			return
		}
		const running = this.#single.get(nodeId)
		if (!running) this.#single.set(nodeId, this.#session.newVisit(nodeId, wave))
		else if (running.wave < wave) this.#again.set(nodeId, wave)
	}

	/** @param {Visit[]} visits whose announcement is durable */
	start(visits) {
		for (const visit of visits) this.#session.start(visit)
	}

	/** @param {Visit} _visit */
	settled(_visit) {}

	/** @param {Visit} visit */
	async record(visit) {
		const { graph } = this.#session
		if (this.#single.get(visit.nodeId) === visit) this.#single.delete(visit.nodeId)
		const ready = await this.#session.route(visit)
		if (visit.reset) graph.uncomplete(visit.nodeId)
		await this.admitReady(ready, visit.wave)
		const wave = this.#again.get(visit.nodeId)
		if (wave === undefined || this.#session.isWaiting(visit.nodeId)) return
		this.#again.delete(visit.nodeId)
		if (!graph.completed.has(visit.nodeId)) this.admit(visit.nodeId, wave)
	}

	/** @param {string[]} ready @param {number} wave of what made them ready */
	async admitReady(ready, wave) {
		const { graph } = this.#session
		for (const nodeId of ready) {
			graph.wave = wave
			if (await this.#session.mayStart(nodeId)) this.admit(nodeId, graph.waveOf(nodeId))
		}
	}

	get idle() {
		return true
	}

	/** @param {Checkpoint} checkpoint */
	write(checkpoint) {
		if (this.#joins.size > 0) {
			this.#forgetPassedWaves()
			checkpoint.joins = Array.from(this.#joins, ([nodeId, waves]) => [nodeId, [...waves]])
		}
		if (this.#again.size > 0) checkpoint.again = [...this.#again]
	}

	/** What comes later has a wave above the lowest one that is in flight. */
	#forgetPassedWaves() {
		const floor = this.#session.lowestWave()
		for (const [nodeId, waves] of this.#joins) {
			for (const wave of waves) if (wave <= floor) waves.delete(wave)
			if (waves.size === 0) this.#joins.delete(nodeId)
		}
	}

	/** @param {Checkpoint} checkpoint */
	restore(checkpoint) {
		for (const [nodeId, waves] of checkpoint.joins ?? []) this.#joins.set(nodeId, new Set(waves))
		for (const [nodeId, wave] of checkpoint.again ?? []) this.#again.set(nodeId, wave)
		for (const visit of this.#session.visits.values()) {
			if (!this.#session.graph.isAnyJoin(visit.nodeId)) this.#single.set(visit.nodeId, visit)
		}
	}
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
		if (visit.awaits) this.#halting = true
		this.#running--
		if (this.#running === 0 && this.#queue.length > 0) this.#startChunk()
	}

	/** @param {Visit} visit */
	async record(visit) {
		this.#ended.push(visit)
		if (this.#session.visits.size > 0) return
		/** @type {string[]} */
		const ready = []
		for (const ended of this.#ended.splice(0)) ready.push(...(await this.#session.route(ended)))
		await this.admitReady([...this.#held.splice(0), ...ready], this.#wave)
	}

	/** @param {string[]} ready @param {number} wave */
	async admitReady(ready, wave) {
		const nodes = new Set(ready)
		if (this.#halting || this.#session.visits.size > 0) {
			this.#held.push(...nodes)
			return
		}
		this.#session.graph.wave = wave
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
