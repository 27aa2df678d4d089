/**
 * An in-memory stand-in for `NativeWorker`, with the semantics of docs/bridge.md: messages with at-least-once delivery, a
 * store of documents, durable steps, merges, and kills.
 *
 * A kill drops the sessions and everything that was not durable, then a new worker gets every uncompleted message again.
 */

/** @typedef {{ id: number, runId: string, blueprintId: string, nodeId: string, waitsFor: Set<number> | null }} Message */

/** Deterministic numbers in [0, 1). @param {number} seed */
export function randomFrom(seed) {
	let state = seed >>> 0
	return () => {
		state = (state + 0x6d2b79f5) >>> 0
		let t = Math.imul(state ^ (state >>> 15), 1 | state)
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296
	}
}

const tick = () => new Promise((resolve) => setImmediate(resolve))

export class FakeEngine {
	/** @type {Map<string, { entries: Map<string, string>, checkpoint: string | null }>} */
	documents = new Map()
	/** Every status row written, in order. @type {{ runId: string, status: string, data: string }[]} */
	published = []
	/** @type {{ runId: string, nodeId: string, code: string, reason: string }[]} */
	deadLetters = []
	/** @type {Message[]} */
	uncompleted = []
	/** Every call of the sessions. @type {any[][]} */
	calls = []
	#nextMessage = 1
	#nextHandle = 1
	/** @type {Map<number, any>} */
	#open = new Map()
	/** @type {Map<string, number>} */
	#handles = new Map()
	/** @type {Set<string>} */
	#keptOpen = new Set()
	/** @type {any} */
	#sessions
	#generation = 0
	#createSessions
	#ackDelay
	#duplicate
	#random
	/** @type {Set<number>} calls at which the worker is killed */
	killAt
	#killAfterEffect
	#moreMayCome

	/**
	 * @param {(native: any, fallback: (event: any[]) => void) => any} createSessions
	 * @param {{ ackDelay?: 'none' | 'random', duplicate?: boolean, seed?: number, killAt?: number[], killAfterEffect?: boolean, moreMayCome?: boolean }} [options]
	 */
	constructor(
		createSessions,
		{ ackDelay = 'none', duplicate = false, seed = 1, killAt = [], killAfterEffect = false, moreMayCome = false } = {},
	) {
		this.#createSessions = createSessions
		this.#ackDelay = ackDelay
		this.#duplicate = duplicate
		this.#random = randomFrom(seed)
		this.killAt = new Set(killAt)
		this.#killAfterEffect = killAfterEffect
		this.#moreMayCome = moreMayCome
		this.#startWorker()
	}

	get sessions() {
		return this.#sessions
	}

	#startWorker() {
		const generation = ++this.#generation
		/** @type {any} */
		const native = {}
		native.timersMissing = () => null
		native.versions = () => {}
		native.refresh = (/** @type {number} */ handle) => this.#sessions.onBatch([[14, handle]])
		for (const name of ['opened', 'refuse', 'step', 'drained', 'commandDone', 'refuseCommand']) {
			native[name] = (/** @type {any[]} */ ...args) => this.#call(generation, name, args)
		}
		this.#sessions = this.#createSessions(native, () => {})
	}

	/** @param {number} generation @param {string} name @param {any[]} args */
	#call(generation, name, args) {
		if (generation !== this.#generation || !this.#open.has(args[0])) return
		this.calls.push([name, ...args])
		const killed = this.killAt.has(this.calls.length)
		if (killed && !this.#killAfterEffect) return this.kill()
		const run = this.#open.get(args[0])
		if (name === 'opened') this.#opened(run, JSON.parse(args[1]))
		else if (name === 'refuse') this.#refused(run, args)
		else if (name === 'step') this.#step(run, args, killed)
		if (killed) this.kill()
	}

	/** Writes a run's row as a client does. @param {string} runId @param {Record<string, any>} context */
	seed(runId, context) {
		this.documents.set(runId, {
			entries: new Map(
				Object.entries(JSON.parse(JSON.stringify(context))).map(([key, value]) => [key, JSON.stringify(value)]),
			),
			checkpoint: null,
		})
	}

	/** Produces a job message. @param {string} runId @param {string} blueprintId @param {string} nodeId */
	send(runId, blueprintId, nodeId) {
		const message = { id: this.#nextMessage++, runId, blueprintId, nodeId, waitsFor: null }
		this.uncompleted.push(message)
		this.#deliver(message)
		if (this.#duplicate) {
			const generation = this.#generation
			const copy = { ...message, id: this.#nextMessage++ }
			this.uncompleted.push(copy)
			setImmediate(() => generation === this.#generation && this.#deliver(copy))
		}
		return message
	}

	/** @param {any[][]} events */
	#emit(events) {
		const generation = this.#generation
		queueMicrotask(() => generation === this.#generation && this.#sessions.onBatch(events))
	}

	/** @param {Message} message */
	#deliver(message) {
		const handle = this.#handles.get(message.runId)
		const run = handle === undefined ? undefined : this.#open.get(handle)
		if (!run) this.#openRun(message)
		else if (!run.due) run.messages.push(message)
		else this.#attach(run, message)
	}

	/** @param {Message} message */
	#openRun(message) {
		const { runId, blueprintId } = message
		const stored = this.documents.get(runId)
		const run = {
			handle: this.#nextHandle++,
			runId,
			blueprintId,
			messages: [message],
			due: null,
			pending: [],
			stepped: false,
			ended: false,
			outcome: null,
		}
		this.#open.set(run.handle, run)
		this.#handles.set(runId, run.handle)
		const entries = stored ? [...stored.entries].flat() : []
		// Read before the event is delivered: later messages of the run wait in `messages`.
		const generation = this.#generation
		queueMicrotask(() => {
			if (generation !== this.#generation) return
			const nodeIds = run.messages.map((waiting) => waiting.nodeId)
			this.#sessions.onBatch([
				[
					1,
					run.handle,
					runId,
					blueprintId,
					nodeIds,
					entries,
					stored?.checkpoint ?? null,
					stored !== undefined,
					this.#moreMayCome,
				],
			])
		})
	}

	/** @param {any} run @param {[number, string][]} due */
	#opened(run, due) {
		run.due = new Map(due)
		for (const message of run.messages.splice(0)) this.#attach(run, message)
		for (const [visit, nodeId] of due) {
			if (!this.uncompleted.some((message) => message.waitsFor?.has(visit) && message.runId === run.runId))
				this.#announce(run, nodeId)
		}
	}

	/** @param {any} run @param {string} nodeId */
	#announce(run, nodeId) {
		this.send(run.runId, run.blueprintId, nodeId)
	}

	/** A message waits for the visits of its node that are due when it arrives. @param {any} run @param {Message} message */
	#attach(run, message) {
		message.waitsFor = new Set([...run.due].filter(([, nodeId]) => nodeId === message.nodeId).map(([visit]) => visit))
		if (message.waitsFor.size > 0) return
		this.#emit([[4, run.handle, message.nodeId]])
		// Nothing is due for it. It may be all that keeps the run alive until the first step is durable.
		if (run.stepped) this.#complete(message)
		else run.held = [...(run.held ?? []), message]
	}

	/** @param {Message} message */
	#complete(message) {
		this.uncompleted = this.uncompleted.filter((other) => other !== message)
	}

	/** @param {any} run @param {any[]} args */
	#refused(run, [, code, reason, status]) {
		for (const message of run.messages) {
			this.deadLetters.push({ runId: run.runId, nodeId: message.nodeId, code, reason })
			this.#complete(message)
		}
		if (status) this.published.push({ runId: run.runId, status, data: JSON.stringify({ status, reason }) })
		this.#close(run)
	}

	/** @param {any} run @param {any[]} args @param {boolean} atOnce */
	#step(run, [, seq, changes, checkpoint, done, dueJson, outcomeJson], atOnce) {
		if (run.ended && !this.#keptOpen.has(run.runId))
			throw new Error(`step ${seq} after the outcome of run ${run.runId}`)
		JSON.parse(checkpoint)
		const keys = changes.filter((/** @type {any} */ _, /** @type {number} */ i) => i % 2 === 0)
		if (new Set(keys).size !== keys.length) throw new Error(`a key stands twice in step ${seq}: ${keys}`)
		run.pending.push({
			seq,
			changes,
			checkpoint,
			done,
			due: JSON.parse(dueJson),
			outcome: outcomeJson && JSON.parse(outcomeJson),
		})
		run.ended = outcomeJson !== null
		if (atOnce) return this.#makeDurable(run)
		const generation = this.#generation
		const commit = () => generation === this.#generation && this.#open.has(run.handle) && this.#makeDurable(run)
		if (this.#ackDelay === 'none') queueMicrotask(commit)
		else this.#later(commit)
	}

	/** @param {() => void} action */
	async #later(action) {
		for (let ticks = Math.floor(this.#random() * 4); ticks > 0; ticks--) await tick()
		action()
	}

	/** Group commit: everything pending becomes durable together. @param {any} run */
	#makeDurable(run) {
		if (run.pending.length === 0) return
		const steps = run.pending.splice(0)
		const stored = this.documents.get(run.runId) ?? { entries: new Map(), checkpoint: null }
		for (const step of steps) {
			apply(stored.entries, step.changes)
			stored.checkpoint = step.checkpoint
			this.#settle(run, step)
		}
		this.documents.set(run.runId, stored)
		run.stepped = true
		for (const message of run.held ?? []) this.#complete(message)
		run.held = []
		const last = steps.at(-1)
		this.#emit([[2, run.handle, last.seq]])
		if (last.outcome) this.#finish(run, last.outcome, stored)
	}

	/** @param {any} run @param {any} step */
	#settle(run, { done, due }) {
		for (const [visit, nodeId] of due) {
			run.due.set(visit, nodeId)
			this.#announce(run, nodeId)
		}
		for (const visit of done) run.due.delete(visit)
		for (const message of this.uncompleted.filter((other) => other.runId === run.runId && other.waitsFor)) {
			for (const visit of done) message.waitsFor?.delete(visit)
			if (message.waitsFor?.size === 0 && !run.held?.includes(message)) this.#complete(message)
		}
	}

	/** @param {any} run @param {any} outcome @param {{ entries: Map<string, string> }} stored */
	#finish(run, outcome, stored) {
		this.published.push({
			runId: run.runId,
			status: outcome.status,
			data: statusData(run.runId, outcome, stored.entries),
		})
		this.uncompleted = this.uncompleted.filter((message) => message.runId !== run.runId || message.waitsFor === null)
		if (outcome.status !== 'awaiting' || !this.#keptOpen.has(run.runId)) this.#close(run)
	}

	/** @param {any} run */
	#close(run) {
		this.#emit([[6, run.handle, 'closed']])
		this.#open.delete(run.handle)
		this.#handles.delete(run.runId)
		for (const message of run.messages.splice(0)) if (this.uncompleted.includes(message)) this.#deliver(message)
	}

	/** Somebody else writes the run's row. @param {string} runId @param {string[]} changes */
	write(runId, changes) {
		const stored = this.documents.get(runId) ?? { entries: new Map(), checkpoint: null }
		apply(stored.entries, changes)
		this.documents.set(runId, stored)
		const handle = this.#handles.get(runId)
		if (handle !== undefined) this.#emit([[3, handle, changes]])
	}

	/** @param {any[]} event without its handle, which is the run's @param {string} runId */
	tell(runId, [kind, ...rest]) {
		this.#sessions.onBatch([[kind, this.#handles.get(runId), ...rest]])
	}

	/** @param {string} runId */
	session(runId) {
		return this.#sessions.get(this.#handles.get(runId))
	}

	/** Opens a run that awaits, for a resume. @param {string} runId */
	async reopen(runId) {
		const checkpoint = JSON.parse(this.documents.get(runId)?.checkpoint ?? '{}')
		this.send(runId, checkpoint.blueprint, '(resume)')
		while (!this.session(runId)) await tick()
		return this.session(runId)
	}

	/** A run's session stays open when it awaits. @param {string} runId */
	keepOpen(runId) {
		this.#keptOpen.add(runId)
	}

	/** The worker dies; another one starts and gets every uncompleted message. */
	kill() {
		const old = this.#sessions
		const handles = [...this.#open.keys()]
		this.#open.clear()
		this.#handles.clear()
		this.#startWorker()
		// A dead process runs nothing: its sessions must not go on in this one.
		old.onBatch(handles.map((handle) => [6, handle, 'killed']))
		for (const message of this.uncompleted) message.waitsFor = null
		// Delivering adds messages and removes them.
		const redelivered = this.uncompleted.slice()
		for (const message of redelivered) this.#deliver(message)
	}

	/** The last status row of a run. @param {string} runId */
	status(runId) {
		const row = this.published.findLast((other) => other.runId === runId)
		return row && { status: row.status, data: JSON.parse(row.data), text: row.data }
	}

	/** @param {string} runId @param {number} [deadlineMs] */
	async result(runId, deadlineMs = 5000) {
		const end = Date.now() + deadlineMs
		while (!this.published.some((row) => row.runId === runId)) {
			if (Date.now() > end) throw new Error(`run ${runId} has no result; ${this.describe()}`)
			await tick()
		}
		return /** @type {{ status: string, data: any, text: string }} */ (this.status(runId))
	}

	/** Until no message is left and nothing runs. */
	async quiet(deadlineMs = 5000) {
		const end = Date.now() + deadlineMs
		for (let calm = 0; calm < 5; await tick()) {
			if (Date.now() > end) throw new Error(`not quiet; ${this.describe()}`)
			calm = this.uncompleted.length === 0 && this.#open.size === 0 ? calm + 1 : 0
		}
	}

	describe() {
		return JSON.stringify(
			{
				uncompleted: this.uncompleted,
				calls: this.calls.slice(-5),
				open: [...this.#open.values()].map((run) => [...(run.due ?? [])]),
			},
			(_, v) => (v instanceof Set ? [...v] : v),
		)
	}
}

/** @param {Map<string, string>} entries @param {string[]} changes */
function apply(entries, changes) {
	for (let i = 0; i < changes.length; i += 2) {
		if (changes[i + 1] === '') entries.delete(changes[i])
		else entries.set(changes[i], JSON.stringify(JSON.parse(changes[i + 1])))
	}
}

/** @param {string} runId @param {any} outcome @param {Map<string, string>} entries */
function statusData(runId, { status, reason, errors, hidden = [], payload }, entries) {
	const head = { status, ...(reason === undefined ? undefined : { reason }) }
	if (payload === null) return JSON.stringify(head)
	if (payload !== undefined) return JSON.stringify({ ...head, payload })
	const visible = [...entries]
		.filter(([key]) => !hidden.includes(key))
		.map(([key, raw]) => `${JSON.stringify(key)}:${raw}`)
	const context = `{${[...visible, `"_executionId":${JSON.stringify(runId)}`].join(',')}}`
	return JSON.stringify({
		...head,
		payload: { context: JSON.parse(context), serializedContext: context, status, ...(errors ? { errors } : undefined) },
	})
}
