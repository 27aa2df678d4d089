/**
 * One open run: it starts due visits, lets Flowcraft process their results, and hands each step to the engine.
 *
 * Everything that decides the graph happens in `#pump`, one at a time; nodes run beside it. A step holds every change to
 * the context up to that instant (design D5).
 */
import { executeBatch, processResults } from 'flowcraft'
import { flatMoments, formatCheckpoint, moments, unlessEmpty } from './checkpoint.js'
import {
	isCancellation,
	messageOf,
	quiescentOutcome,
	recordError,
	rejectedOutcome,
	reviveError,
	reviveOriginal,
	serializedPayload,
} from './outcome.js'
import { VisitContext } from './run-context.js'
import { RunGraph, shapeOf } from './run-graph.js'
import { RunState, VisitState } from './run-state.js'
import { EagerSchedule, WaveSchedule } from './schedules.js'
import { Visit, VisitExecution } from './visit.js'

/** @typedef {import('./checkpoint.js').Checkpoint} Checkpoint */
/** @typedef {import('./opening.js').Opening} Opening */
/** @typedef {import('./outcome.js').Outcome} Outcome */
/** @typedef {import('./run-context.js').RunContext} RunContext */
/** @typedef {import('./visit.js').Settled} Settled */
/** @typedef {{ nodeId?: string, action?: string, output?: any }} Resume */

/**
 * What all sessions of a worker share.
 * @typedef {object} SessionEnvironment
 * @property {import('flowcraft').FlowRuntime<any, any>} runtime
 * @property {NativeSteps} native
 * @property {{ onJobStart?: Function, isReadyForFanIn?: Function }} hooks only those that a subclass has overridden
 * @property {import('flowcraft').ILogger} logger
 * @property {import('flowcraft').IEventBus | undefined} adapterBus
 * @property {import('flowcraft').IEventBus | undefined} contextBus absent when the user gave none: context writes then cost no event
 * @property {import('./stored-values.js').ValueCodec} codec
 * @property {any} services
 * @property {import('./permits.js').Permits} permits
 * @property {number} permitsPerRun
 * @property {boolean} localStarts whether a due visit starts without waiting for its job message
 * @property {'eager' | 'wave'} schedule
 * @property {number} concurrency nodes of one wave that run at once (`wave`)
 * @property {number} abortGraceMs how long a node of a closed session keeps its permit at most
 */

/**
 * @typedef {object} NativeSteps
 * @property {(handle: number, dueJson: string) => void} opened
 * @property {(handle: number, code: string, reason: string, status: string | null) => void} refuse
 * @property {(handle: number, seq: number, changes: string[], checkpoint: string, done: number[], dueJson: string,
 *   outcomeJson: string | null) => void} step
 * @property {(handle: number) => void} drained
 */

/** Waves after which memory takes the run for an endless loop. */
const MAX_WAVES = 10_000
/** Results that one step records at most, so that a busy run still becomes durable now and then. */
const MAX_RESULTS_PER_STEP = 64

/** Instead of a blueprint that cannot be used. */
const NOTHING = { id: '', nodes: [], edges: [] }

const RESET = 1
const REPLAY = 2

export class RunSession {
	/** Due and running visits. @type {Map<number, Visit>} */
	visits = new Map()
	/** @type {RunGraph} */
	graph
	/** @type {RunState} */
	state
	closed = false
	#env
	#handle
	#runId
	#opening
	#context
	#schedule
	#gate
	#router
	#lastVisit = 0
	/** Results processed so far. */
	#results = 0
	/** The wave from which the cap counts. */
	#base = 0
	#seq = 0
	/** Steps whose durability is awaited, with what follows then. @type {{ seq: number, visits: Visit[], recorded: Visit[] }[]} */
	#announced = []
	/** Visits that became due since the last step. @type {Visit[]} */
	#fresh = []
	/** Ended visits that are to be recorded. @type {Visit[]} */
	#settled = []
	/** @type {Required<Pick<Resume, 'nodeId'>>[] & Resume[]} */
	#resumes = []
	/** Nodes that await, and the wave of their visit. @type {Map<string, number>} */
	#waiting = new Map()
	/** Resumes that came before their wait. @type {Map<string, Resume>} */
	#kept = new Map()
	/** @type {Outcome | undefined} */
	#outcome
	#pumping = false
	#opened = false
	/** Nothing is recorded any more: the run has its outcome. */
	#ended = false
	#abortReason = ''
	/** @type {'no' | 'asked' | 'answered'} */
	#draining = 'no'
	#moreMayCome
	/** @type {WeakMap<object, any>} */
	#errorRecords = new WeakMap()

	/**
	 * @param {SessionEnvironment} env
	 * @param {{ handle: number, runId: string, context: RunContext, opening: Opening, moreMayCome?: boolean }} run
	 */
	constructor(env, { handle, runId, context, opening, moreMayCome = false }) {
		this.#env = env
		this.#handle = handle
		this.#runId = runId
		this.#context = context
		this.#opening = opening
		this.#moreMayCome = moreMayCome
		this.#gate = env.permits.gate(env.permitsPerRun)
		const { entry, checkpoint } = opening
		this.graph = entry.problem ? new RunGraph(NOTHING, shapeOf(NOTHING)) : entry.graph()
		this.#router = new Router(env.runtime, this.graph)
		this.state = this.#newState(checkpoint)
		this.#schedule = (checkpoint ? checkpoint.schedule === 'wave' : env.schedule === 'wave')
			? new WaveSchedule(this, env.concurrency)
			: new EagerSchedule(this)
		if (checkpoint) this.#restore(checkpoint)
		else this.#begin()
	}

	get runId() {
		return this.#runId
	}

	get running() {
		let running = 0
		for (const visit of this.visits.values()) if (visit.started && !visit.settled) running++
		return running
	}

	/** @param {Checkpoint | undefined} checkpoint */
	#newState(checkpoint) {
		const awaiting = checkpoint && {
			nodes: (checkpoint.waiting ?? []).map(([nodeId]) => nodeId),
			details: checkpoint.details ?? {},
		}
		const state = new RunState(this.#context, awaiting)
		state.setEventEmitter(/** @type {any} */ (this.#env.contextBus), this.#runId)
		return state
	}

	// Opening.

	#begin() {
		const { entry, blueprintId, kind, nodeIds } = this.#opening
		if (!this.#context.contains('blueprintId')) this.#context.hide('blueprintId', blueprintId)
		if (!this.#context.contains('blueprintVersion')) this.#context.hide('blueprintVersion', entry.version)
		for (const nodeId of this.state.getAwaitingNodeIds()) this.#waiting.set(nodeId, 1)
		if (kind === 'adopted') {
			this.#adopt()
			for (const nodeId of new Set(nodeIds)) this.#admitAdopted(nodeId)
			return
		}
		this.graph.clearFrontier()
		if (!entry.problem) for (const nodeId of entry.startSet) this.#schedule.admit(nodeId, 1)
	}

	/** Takes over what JavaScript workers have recorded, and adds what they leave out. */
	#adopt() {
		/** @type {[string, import('./run-graph.js').Moment][]} */
		const completed = []
		/** @type {[string, any][]} */
		const inputs = []
		for (const { id } of this.#opening.entry.blueprint.nodes) {
			if (this.#context.contains(`_outputs.${id}`)) completed.push([id, { wave: 0, order: 0 }])
			if (this.#context.contains(`_inputs.${id}`) && this.#inputIsTransformed(id)) inputs.push([id, `_inputs.${id}`])
		}
		this.graph.restore({ completed, inputs, inputWaves: [], dynamic: [] })
		for (const [nodeId] of completed) {
			if (!this.#context.contains(nodeId)) this.#context.write(nodeId, this.#context.read(`_outputs.${nodeId}`))
		}
	}

	/** @param {string} nodeId */
	#inputIsTransformed(nodeId) {
		return this.#opening.entry.blueprint.edges.some((edge) => edge.target === nodeId && edge.transform !== undefined)
	}

	/** @param {string} nodeId */
	#admitAdopted(nodeId) {
		for (const visit of this.visits.values()) if (visit.nodeId === nodeId) return
		const before = this.#lastVisit
		this.#schedule.admit(nodeId, 1)
		const visit = this.visits.get(this.#lastVisit)
		if (visit && this.#lastVisit > before && this.graph.completed.has(nodeId)) visit.replay = true
	}

	/** @param {Checkpoint} checkpoint */
	#restore(checkpoint) {
		this.graph.restore({
			completed: moments(checkpoint.done),
			inputs: checkpoint.inputs ?? [],
			inputWaves: checkpoint.from ?? [],
			dynamic: checkpoint.dynamic ?? [],
		})
		for (const record of checkpoint.errors ?? []) {
			const error = reviveError(record)
			this.#errorRecords.set(error, record)
			this.state.getErrors().push(/** @type {any} */ (error))
		}
		if (checkpoint.fallback) this.state.markFallbackExecuted()
		for (const [nodeId, wave] of checkpoint.waiting ?? []) this.#waiting.set(nodeId, wave)
		for (const [nodeId, resume] of checkpoint.kept ?? []) this.#kept.set(nodeId, resume)
		for (const [number, nodeId, wave, flags = 0] of checkpoint.due ?? []) {
			const visit = new Visit(number, nodeId, wave)
			visit.reset = (flags & RESET) !== 0
			visit.replay = (flags & REPLAY) !== 0
			this.visits.set(number, visit)
			this.#fresh.push(visit)
		}
		this.#lastVisit = checkpoint.last
		this.#results = checkpoint.results ?? 0
		this.#base = checkpoint.base ?? 0
		this.#outcome = checkpoint.outcome
		this.#schedule.restore(checkpoint)
	}

	/** Answers the opening and goes to work. */
	open() {
		const due = this.#fresh.splice(0)
		this.#env.native.opened(this.#handle, dueJson(due))
		this.#opened = true
		if (this.#outcome) this.#repeatOutcome()
		else
			this.#emitOpening().then(
				() => this.#work(due),
				(error) => this.#reject(error),
			)
	}

	/** The status row of a run that has ended may be missing: the same outcome again makes the engine write it again. */
	#repeatOutcome() {
		this.#ended = true
		const text = /** @type {string} */ (JSON.stringify(this.#opening.checkpoint))
		this.#env.native.step(
			this.#handle,
			++this.#seq,
			[],
			text,
			[],
			'[]',
			this.#outcomeJson(/** @type {Outcome} */ (this.#outcome)),
		)
	}

	async #emitOpening() {
		const payload = this.#runPayload()
		if (this.#opening.kind === 'fresh') await this.#env.services.eventBus.emit({ type: 'workflow:start', payload })
		await this.#env.services.eventBus.emit({ type: 'workflow:resume', payload })
		if (this.#opening.entry.problem) throw this.#opening.entry.problem
	}

	#runPayload() {
		return { blueprintId: this.#opening.entry.blueprint.id, executionId: this.#runId }
	}

	/** @param {Visit[]} due */
	#work(due) {
		if (this.closed) return
		this.#startLocally(due)
		if (this.visits.size === 0) this.#pump()
	}

	// Visits.

	/** @param {string} nodeId @param {number} wave */
	newVisit(nodeId, wave) {
		if (wave - this.#base > MAX_WAVES) throw new Error('Traversal exceeded maximum iterations, possible infinite loop')
		const visit = new Visit(++this.#lastVisit, nodeId, wave)
		this.visits.set(visit.number, visit)
		this.#fresh.push(visit)
		return visit
	}

	/** @param {Visit} visit whose announcement is durable */
	start(visit) {
		this.#gate.enter(() => {
			if (this.closed || this.#ended || this.#abortReason || this.#draining !== 'no') return false
			visit.started = true
			visit.startedAt = performance.now()
			this.#run(visit)
			return true
		})
	}

	/** @param {Visit} visit */
	async #run(visit) {
		const context = new VisitContext(this.#context)
		const state = new VisitState(this.state, context)
		let settled
		try {
			settled = visit.replay ? this.#replayed(visit) : await this.#execute(visit, state)
		} catch (error) {
			settled = rejected(visit.nodeId, error)
		}
		this.#gate.leave()
		if (this.closed || this.#ended) return
		visit.context = context
		visit.settled = /** @type {Settled} */ (settled)
		visit.awaits = state.marked !== undefined
		// What failed under an abort signal may have failed because of it: it stays due, for whoever has the run next.
		if (visit.abort?.signal.aborted && !visit.succeeded) return this.#answerDrain()
		this.#schedule.settled(visit)
		this.#settled.push(visit)
		this.#pump()
	}

	/** @param {Visit} visit @param {VisitState} state @returns {Promise<Settled>} */
	async #execute(visit, state) {
		const { runtime, services, hooks } = this.#env
		if (hooks.onJobStart) await hooks.onJobStart(this.#runId, this.#opening.blueprintId, visit.nodeId)
		visit.abort = new AbortController()
		const blueprint = this.graph.getDynamicBlueprint()
		const execution = new VisitExecution(
			blueprint,
			state,
			runtime.registry,
			this.#runId,
			runtime,
			services,
			visit.abort.signal,
			undefined,
		)
		const ready = [{ nodeId: visit.nodeId, nodeDef: this.graph.node(visit.nodeId) }]
		const executorOf = (/** @type {string} */ nodeId) =>
			runtime.getExecutorForNode(nodeId, /** @type {any} */ (execution))
		const results = await executeBatch(
			/** @type {any} */ (ready),
			blueprint,
			/** @type {any} */ (state),
			executorOf,
			runtime,
		)
		return /** @type {Settled} */ (results[0])
	}

	/** @param {Visit} visit @returns {Settled} */
	#replayed({ nodeId }) {
		return succeeded(nodeId, { output: this.#context.read(`_outputs.${nodeId}`) })
	}

	// Processing, one result at a time.

	async #pump() {
		if (this.#pumping || !this.#opened) return
		this.#pumping = true
		try {
			do {
				const recorded = await this.#recordSome()
				if (this.closed || this.#ended) return
				this.#commit(recorded, this.#quiescent() ? quiescentOutcome(this.state, this.#context) : undefined)
			} while (this.#settled.length > 0 || this.#resumes.length > 0)
		} catch (error) {
			this.#reject(error)
		} finally {
			this.#pumping = false
			this.#answerDrain()
		}
	}

	async #recordSome() {
		/** @type {Visit[]} */
		const recorded = []
		while (this.#resumes.length > 0) await this.#resumeNode(/** @type {any} */ (this.#resumes.shift()))
		while (this.#settled.length > 0 && recorded.length < MAX_RESULTS_PER_STEP) {
			const visit = /** @type {Visit} */ (this.#settled.shift())
			this.visits.delete(visit.number)
			if (visit.context) this.#context.record(visit.context)
			await this.#schedule.record(visit)
			await this.#noteWaits(visit.wave)
			recorded.push(visit)
		}
		return recorded
	}

	/**
	 * Lets Flowcraft process one result.
	 * @param {{ nodeId: string, wave: number, settled?: Settled }} visit
	 * @returns {Promise<string[]>} nodes that it made ready
	 */
	async route({ nodeId, wave, settled }) {
		this.graph.now = { wave, order: ++this.#results }
		const waits = this.state.getAwaitingNodeIds().includes(nodeId)
		const traverser = waits ? this.#router.withoutRouting() : this.graph
		const runtime = waits ? this.#router.preview : this.#router
		const { blueprint } = this.#opening.entry
		await processResults(
			[/** @type {any} */ (settled)],
			/** @type {any} */ (traverser),
			this.state,
			/** @type {any} */ (runtime),
			blueprint,
			this.#runId,
		)
		await this.state.settled()
		return this.graph.getReadyNodes().map((ready) => ready.nodeId)
	}

	/** In memory a run ends with the wave in which a node awaits, and with it what its edges have rewritten. */
	endPreviews() {
		this.#router.endPreviews()
	}

	/**
	 * Asks a subclass's `isReadyForFanIn` about a join that the graph calls ready.
	 * @param {string} nodeId
	 */
	async mayStart(nodeId) {
		const ask = this.#env.hooks.isReadyForFanIn
		if (!ask || (this.graph.predecessorsOf(nodeId)?.size ?? 0) <= 1) return true
		try {
			return (await ask(this.#runId, this.graph.getDynamicBlueprint(), nodeId)) !== false
		} catch (error) {
			await this.route({ nodeId, wave: this.graph.now.wave, settled: rejected(nodeId, error) })
			return false
		}
	}

	/** @param {string} nodeId */
	isWaiting(nodeId) {
		return this.#waiting.has(nodeId)
	}

	/** The lowest wave from which anything may still come. */
	lowestWave() {
		let lowest = Infinity
		for (const visit of this.visits.values()) lowest = Math.min(lowest, visit.wave)
		for (const wave of this.#waiting.values()) lowest = Math.min(lowest, wave)
		return lowest
	}

	/** @param {number} wave of the visit that may have marked nodes as awaiting */
	async #noteWaits(wave) {
		if (!this.state.isAwaiting()) return
		for (const nodeId of this.state.getAwaitingNodeIds()) {
			if (this.#waiting.has(nodeId)) continue
			this.#waiting.set(nodeId, wave)
			const early = this.#kept.get(nodeId)
			if (early) await this.#resumeNode({ ...early, nodeId })
		}
	}

	#quiescent() {
		return this.visits.size === 0 && this.#schedule.idle && !this.#moreMayCome
	}

	// Waits.

	/**
	 * Goes on from a node that awaits. The first resume of a wait counts; one that comes before its wait is kept.
	 * @param {Resume} resume
	 * @returns {boolean} whether there was something to resume
	 */
	resume(resume) {
		const waiting = this.state.getAwaitingNodeIds()
		const nodeId = resume.nodeId ?? waiting[0]
		if (this.closed || nodeId === undefined || (this.#ended && !waiting.includes(nodeId))) return false
		if (!waiting.includes(nodeId) && (this.#kept.has(nodeId) || !this.graph.node(nodeId))) return false
		this.#ended = false
		this.#outcome = undefined
		this.#resumes.push({ ...resume, nodeId })
		this.#pump()
		return true
	}

	/** @param {Resume & { nodeId: string }} resume */
	async #resumeNode({ nodeId, action, output }) {
		const wave = this.#waiting.get(nodeId)
		if (wave === undefined || !this.state.getAwaitingNodeIds().includes(nodeId)) {
			this.#kept.set(nodeId, { action, output })
			return
		}
		this.#kept.delete(nodeId)
		this.#waiting.delete(nodeId)
		this.state.clearAwaiting(nodeId)
		if (this.visits.size === 0 && this.#waiting.size === 0) this.#base = wave
		// As in memory: without an output of its own a resume keeps what the node has left, e.g. what a sleep passes on.
		const value = output === undefined ? this.#context.read(`_outputs.${nodeId}`) : output
		const ready = await this.route({ nodeId, wave, settled: succeeded(nodeId, { output: value, action }) })
		await this.#schedule.admitReady([...this.#schedule.resumed(), ...ready], nodeId)
	}

	// Steps.

	/** @param {Visit[]} recorded @param {Outcome | undefined} outcome */
	#commit(recorded, outcome) {
		const seq = ++this.#seq
		const visits = this.#fresh.splice(0)
		if (outcome) {
			this.#outcome = outcome
			this.#ended = true
		}
		const changes = this.#context.take(seq)
		const done = recorded.map((visit) => visit.number)
		const outcomeJson = outcome ? this.#outcomeJson(outcome) : null
		const checkpoint = this.#checkpoint()
		this.#announced.push({ seq, visits, recorded })
		this.#env.native.step(this.#handle, seq, changes, checkpoint, done, dueJson(visits), outcomeJson)
	}

	/**
	 * Ends the run where `FlowRuntime.run` would reject.
	 * @param {any} error
	 */
	#reject(error) {
		if (this.closed || this.#ended) return
		this.#env.logger.error(`[KafkaAdapter] Run '${this.#runId}' ended: ${messageOf(error)}`)
		const dropped = [...this.visits.values()]
		for (const visit of [...dropped, ...this.#settled]) if (visit.context) this.#context.record(visit.context)
		this.visits.clear()
		this.#fresh = []
		this.#settled = []
		this.#commit(dropped, rejectedOutcome(error))
		for (const visit of dropped) visit.abort?.abort(abortError('the run has ended'))
	}

	#checkpoint() {
		const { graph, state } = this
		/** @type {Checkpoint} */
		const checkpoint = {
			v: 1,
			blueprint: this.#opening.blueprintId,
			version: this.#opening.entry.version,
			schedule: this.#schedule.name,
			last: this.#lastVisit,
			due: unlessEmpty(Array.from(this.visits.values(), dueRecord)),
			results: this.#results,
			done: flatMoments(graph.completed),
			inputs: unlessEmpty([...graph.rewritten]),
			from: unlessEmpty([...graph.inputWaves]),
			dynamic: unlessEmpty([...graph.dynamic.values()]),
			errors: unlessEmpty(state.getErrors().map((error) => this.#errorRecord(error))),
			fallback: state.getAnyFallbackExecuted() ? 1 : undefined,
			waiting: unlessEmpty([...this.#waiting]),
			details: this.#waiting.size > 0 ? this.#details() : undefined,
			kept: unlessEmpty([...this.#kept]),
			base: this.#base || undefined,
			absent: unlessEmpty([...this.#context.absentKeys()]),
			hidden: unlessEmpty(this.#context.hiddenKeys()),
			adopted: this.#opening.kind === 'adopted' || this.#opening.checkpoint?.adopted ? 1 : undefined,
			outcome: this.#outcome,
		}
		this.#schedule.write(checkpoint)
		return formatCheckpoint(checkpoint)
	}

	#details() {
		return Object.fromEntries(
			Array.from(this.#waiting.keys(), (nodeId) => [nodeId, this.state.getAwaitingDetails(nodeId)]),
		)
	}

	/** @param {any} error */
	#errorRecord(error) {
		let record = this.#errorRecords.get(error)
		if (!record) this.#errorRecords.set(error, (record = recordError(error)))
		return record
	}

	/** @param {Outcome} outcome */
	#outcomeJson(outcome) {
		const text = JSON.stringify(outcome)
		if (this.#env.codec.isDefault || 'payload' in outcome) return text
		const payload = serializedPayload(outcome, this.#context.snapshot(), this.#runId, this.#env.runtime.serializer)
		return `${text.slice(0, -1)},"payload":${payload}}`
	}

	// What the engine says.

	/** @param {number} seq */
	durable(seq) {
		if (this.closed) return
		this.#context.durable(seq)
		while (this.#announced.length > 0 && this.#announced[0].seq <= seq) {
			const { visits, recorded } = /** @type {any} */ (this.#announced.shift())
			if (this.#env.adapterBus) this.#emitJobs(visits, recorded)
			if (this.#announced.length === 0 && this.#ended) this.#emitFinish()
			if (visits.length > 0) this.#startLocally(visits)
		}
	}

	/** @param {Visit[]} visits whose announcement is durable */
	#startLocally(visits) {
		if (this.#env.localStarts) this.#schedule.start(visits)
	}

	/** @param {number[]} numbers of visits whose job message arrived, where starts are not local */
	startVisits(numbers) {
		const visits = numbers.map((number) => this.visits.get(number)).filter((visit) => visit && !visit.started)
		if (visits.length > 0) this.#schedule.start(/** @type {Visit[]} */ (visits))
	}

	/** The partition is given up: what runs may end and be recorded, nothing starts. */
	drain() {
		if (this.#draining === 'no') this.#draining = 'asked'
		this.#answerDrain()
	}

	#answerDrain() {
		if (this.#draining !== 'asked' || this.#pumping || this.#settled.length > 0 || this.running > 0) return
		this.#draining = 'answered'
		this.#env.native.drained(this.#handle)
	}

	/** @param {string[]} changes */
	merge(changes) {
		this.#context.merge(changes)
	}

	/** @param {string} nodeId of a message that is not due here */
	stray(nodeId) {
		const adopted = this.#opening.kind === 'adopted' || this.#opening.checkpoint?.adopted
		if (!adopted || this.closed || this.#ended || !this.#opening.entry.nodeIds.has(nodeId)) return
		if (this.graph.completed.has(nodeId)) return
		this.#admitAdopted(nodeId)
		this.#pump()
	}

	/** The partition was read to the end seen at the adoption: no message of before is still to come. */
	allSeen() {
		this.#moreMayCome = false
		if (!this.closed && !this.#ended && this.#quiescent()) this.#pump()
	}

	/** @param {string} reason */
	abort(reason) {
		this.#abortReason = reason || 'aborted'
		for (const visit of this.visits.values()) visit.abort?.abort(abortError(reason))
	}

	/** @param {string} reason */
	close(reason) {
		if (this.closed) return
		this.closed = true
		for (const visit of this.visits.values()) visit.abort?.abort(abortError(reason))
		this.#announced = []
	}

	// Results of a running wave, in the checkpoint.

	/** @param {Visit} visit */
	recordSettled({ number, nodeId, wave, awaits, settled }) {
		return {
			number,
			nodeId,
			wave,
			awaits: awaits || undefined,
			...settledRecord(/** @type {any} */ (settled), this.#env.codec),
		}
	}

	/** @param {any} record */
	reviveSettled(record) {
		const visit = new Visit(record.number, record.nodeId, record.wave)
		visit.awaits = record.awaits === true
		visit.settled = revivedSettled(record, this.#env.codec)
		return visit
	}

	// Events.

	/** @param {Visit[]} visits @param {Visit[]} recorded */
	#emitJobs(visits, recorded) {
		const job = { runId: this.#runId, blueprintId: this.#opening.blueprintId }
		for (const visit of recorded) {
			if (!visit.settled) continue
			const { nodeId } = visit
			if (!visit.succeeded) this.#emitJob('job:failed', { ...job, nodeId, error: visit.error })
			else {
				const duration = Math.round(performance.now() - visit.startedAt)
				this.#emitJob('job:processed', { ...job, nodeId, duration, success: true })
			}
		}
		for (const { nodeId } of visits) this.#emitJob('job:enqueued', { ...job, nodeId })
	}

	/** @param {string} type @param {any} payload */
	async #emitJob(type, payload) {
		try {
			await /** @type {any} */ (this.#env.adapterBus).emit({ type, payload })
		} catch (error) {
			this.#env.logger.warn(`[KafkaAdapter] The event bus failed on ${type}: ${messageOf(error)}`)
		}
	}

	async #emitFinish() {
		const outcome = /** @type {Outcome} */ (this.#outcome)
		const { eventBus } = this.#env.services
		const rejectedRun = 'payload' in outcome
		const errors = rejectedRun
			? [
					{
						message: outcome.reason ?? 'Workflow cancelled',
						timestamp: new Date().toISOString(),
						isFatal: false,
						name: 'WorkflowError',
					},
				]
			: unlessEmpty(this.state.getErrors())
		const status = rejectedRun ? 'cancelled' : outcome.status
		const finish = { type: 'workflow:finish', payload: { ...this.#runPayload(), status, errors } }
		try {
			await eventBus.emit(finish)
			if (outcome.status !== 'cancelled') return
			await eventBus.emit({ type: 'workflow:pause', payload: this.#runPayload() })
			await eventBus.emit(finish)
		} catch (error) {
			this.#env.logger.warn(
				`[KafkaAdapter] The event bus failed at the end of run '${this.#runId}': ${messageOf(error)}`,
			)
		}
	}
}

/** What `processResults` needs of the runtime, with a note of the inputs that it rewrites. */
class Router {
	#runtime
	#graph
	/** Inputs that previews have rewritten, as they were. @type {Map<any, any>} */
	#previewed = new Map()

	/** @param {import('flowcraft').FlowRuntime<any, any>} runtime @param {RunGraph} graph */
	constructor(runtime, graph) {
		this.#runtime = runtime
		this.#graph = graph
		/** For nodes that await: the context gets what memory would write, the graph stays as it is. */
		this.preview = {
			determineNextNodes: this.determineNextNodes.bind(this),
			applyEdgeTransform: this.#applyForNow.bind(this),
		}
	}

	/** @param {any[]} args */
	determineNextNodes(...args) {
		return /** @type {any} */ (this.#runtime).determineNextNodes(...args)
	}

	/** @param {any} edge @param {any} result @param {any} target @param {any[]} rest */
	async applyEdgeTransform(edge, result, target, ...rest) {
		const rewrites = target.inputs === undefined || edge.transform !== undefined
		if (!this.#isOvertaken(target.id)) {
			await /** @type {any} */ (this.#runtime).applyEdgeTransform(edge, result, target, ...rest)
		}
		if (rewrites) this.#graph.rewrite(target.id, `_inputs.${target.id}`)
	}

	/**
	 * The last edge into a node writes its input: the last in memory's order, not the one of the slowest predecessor.
	 * @param {string} nodeId
	 */
	#isOvertaken(nodeId) {
		const { now, inputWaves } = this.#graph
		if (!this.#graph.isContested(nodeId) || this.#graph.isAnyJoin(nodeId)) return false
		if ((inputWaves.get(nodeId) ?? 0) > now.wave) return true
		inputWaves.set(nodeId, now.wave)
		return false
	}

	/** @param {any} edge @param {any} result @param {any} target @param {any[]} rest */
	async #applyForNow(edge, result, target, ...rest) {
		const { inputs } = target
		await /** @type {any} */ (this.#runtime).applyEdgeTransform(edge, result, target, ...rest)
		if (target.inputs !== inputs && !this.#previewed.has(target)) this.#previewed.set(target, inputs)
	}

	/** Takes back what previews have rewritten. */
	endPreviews() {
		for (const [target, inputs] of this.#previewed) if (!this.#graph.rewritten.has(target.id)) target.inputs = inputs
		this.#previewed.clear()
	}

	/** A traverser that completes nothing and readies nothing. */
	withoutRouting() {
		return {
			getDynamicBlueprint: () => this.#graph.getDynamicBlueprint(),
			getAllPredecessors: () => this.#graph.getAllPredecessors(),
			addDynamicNode() {},
			markNodeCompleted() {},
		}
	}
}

/** @param {Visit} visit @returns {[number, string, number, any?]} */
function dueRecord({ number, nodeId, wave, reset, replay }) {
	const flags = (reset ? RESET : 0) | (replay ? REPLAY : 0)
	return flags ? [number, nodeId, wave, flags] : [number, nodeId, wave]
}

/** @param {Visit[]} visits */
function dueJson(visits) {
	return visits.length === 0 ? '[]' : JSON.stringify(visits.map(({ number, nodeId }) => [number, nodeId]))
}

/** @param {string} nodeId @param {any} error @returns {Settled} */
function rejected(nodeId, error) {
	return { status: 'rejected', reason: { nodeId, error } }
}

/** @param {string} nodeId @param {any} result @returns {Settled} */
function succeeded(nodeId, result) {
	return { status: 'fulfilled', value: { nodeId, executionResult: { status: 'success', result } } }
}

/** Flowcraft tells cancellations by this class and name. @param {string} reason */
function abortError(reason) {
	return new DOMException(reason || 'aborted', 'AbortError')
}

/** @param {any} settled @param {import('./stored-values.js').ValueCodec} codec */
function settledRecord(settled, codec) {
	if (settled.status === 'rejected') return { kind: 'rejected', error: errorRecord(settled.reason.error) }
	const { status, result, error, fallbackNodeId } = settled.value.executionResult
	if (status !== 'success') return { kind: status, error: errorRecord(error), fallbackNodeId }
	let text
	try {
		text = codec.encode(result)
	} catch {
		// As with keys of the context: what cannot be stored is absent after a hand-over.
		text = codec.encode({ ...result, output: undefined })
	}
	return { kind: status, result: text }
}

/** @param {any} error */
function errorRecord(error) {
	const { cause, originalError } = recordError({ originalError: error })
	return { cause, originalError, cancelled: isCancellation(error) || undefined }
}

/** @param {any} record @param {import('./stored-values.js').ValueCodec} codec @returns {Settled} */
function revivedSettled({ nodeId, kind, error, result, fallbackNodeId }, codec) {
	if (kind === 'success') return succeeded(nodeId, result === undefined ? undefined : codec.decode(result))
	const revived = reviveOriginal(nodeId, error)
	if (kind === 'rejected') return rejected(nodeId, revived)
	return { status: 'fulfilled', value: { nodeId, executionResult: { status: kind, error: revived, fallbackNodeId } } }
}
