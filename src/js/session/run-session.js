/**
 * One open run: it starts due visits, lets Flowcraft process their results, and hands each step to the engine. A step holds
 * what recorded nodes have written, not what running ones have (docs/checkpoint.md).
 *
 * Everything that decides the graph happens in `#pump`, one result at a time; nodes run beside it.
 */
import { processResults } from 'flowcraft'
import { adoptRun, enterLoop, publishedError, recordedResult } from './adoption.js'
import { Code, KafkaAdapterError } from '../errors.js'
import { hasReplaced } from './premature.js'
import { CHECKPOINT_VERSION, formatCheckpoint, isOver, unlessEmpty } from './checkpoint.js'
import { isParkingTimer, parseCommand } from '../adapter/command-messages.js'
import { Freshness } from './freshness.js'
import { LiveRun } from './live-run.js'
import {
	cancelledOutcome,
	messageOf,
	outcomeText,
	quiescentOutcome,
	rejectedOutcome,
	restingOutcome,
	reviveError,
} from './outcome.js'
import { RunAttempts, isToRetry } from './run-attempts.js'
import { timeOf } from './child-record.js'
import { RunChildren } from './run-children.js'
import { VisitContext } from './run-context.js'
import { RunCommands } from './run-commands.js'
import { RunEvents } from './run-events.js'
import { RunExecutor } from './run-executor.js'
import { RunHistory, outcomeOf } from './run-history.js'
import { RunProgress, awaitingOf } from './run-progress.js'
import { RunRouter } from './run-router.js'
import { RunState, VisitState } from './run-state.js'
import { ANY, RunWaits } from './run-waits.js'
import { EagerSchedule, WaveSchedule } from './schedules.js'
import { rejected, settledRecord, revivedSettled, succeeded } from './settled-results.js'
import { Visit, inputKey } from './visit.js'

/** @typedef {import('./checkpoint.js').Checkpoint} Checkpoint */
/** @typedef {import('./opening.js').Opening} Opening */
/** @typedef {import('./outcome.js').Outcome} Outcome */
/** @typedef {import('./run-context.js').RunContext} RunContext */
/** @typedef {import('./settled-results.js').Settled} Settled */
/** @typedef {import('./run-waits.js').Answer} Answer */

/**
 * What all sessions of a worker share.
 * @typedef {object} SessionEnvironment
 * @property {import('flowcraft').FlowRuntime<any, any>} runtime
 * @property {NativeSteps} native
 * @property {{ onJobStart?: Function, isReadyForFanIn?: Function }} hooks only those that a subclass has overridden
 * @property {import('flowcraft').ILogger} logger
 * @property {import('flowcraft').IEventBus | undefined} adapterBus
 * @property {import('flowcraft').IEventBus | undefined} contextBus absent when the user gave none: context writes then cost no event
 * @property {import('../stores/live-runs.js').LivePlace | undefined} livePlace where others in this process find the open runs
 * @property {import('../stores/stored-values.js').ValueCodec} codec
 * @property {any} services
 * @property {import('./permits.js').Permits} permits
 * @property {number} permitsPerRun
 * @property {boolean} localStarts whether a due visit starts without waiting for its job message
 * @property {boolean} serial one message is worked on after the other
 * @property {import('./queue-retries.js').QueueRetries} [retries] absent where no node is retried by timers
 * @property {{ visits: number, workerId: string }} [history] absent: none is kept
 * @property {boolean} webhooks whether a `webhook` node waits for its request
 * @property {'eager' | 'wave'} schedule
 * @property {number} concurrency nodes of one wave that run at once (`wave`)
 * @property {number} abortGraceMs how long a node of a closed session keeps its permit at most
 */

/**
 * @typedef {object} NativeSteps
 * @property {(handle: number, dueJson: string) => void} opened
 * @property {(handle: number, code: string, reason: string, status: string | null) => void} refuse
 * @property {(handle: number, seq: number, changes: string[], checkpoint: string, done: number[], dueJson: string,
 *   outcomeJson: string | null, extrasJson?: string) => void} step
 * @property {(handle: number, token: number) => void} commandDone
 * @property {(handle: number, token: number, code: string, reason: string) => void} refuseCommand
 * @property {(handle: number) => void} refresh
 * @property {(keys: string[]) => void} versions of blueprints that this worker has, all of them
 * @property {() => string | null} timersMissing why nodes cannot have durable timers here, and what to do
 * @property {(handle: number) => void} drained
 */

/** Results that one step records at most, so that a busy run still becomes durable now and then. */
const MAX_RESULTS_PER_STEP = 64

/** Of a command that no message of the engine waits for. */
const NO_TOKEN = 0

/** Why the nodes of a run are aborted that fails as a whole. */
const ENDED = 'the run has ended'

export class RunSession {
	/** @type {import('./run-graph.js').RunGraph} */
	graph
	/** @type {RunState} */
	state
	closed = false
	/** @type {LiveRun} what others in this process see of the run */
	live
	/** @type {Freshness} */
	fresh
	#env
	#handle
	#runId
	#opening
	#context
	#schedule
	#gate
	#router
	#events
	#waits = new RunWaits()
	/** @type {RunChildren} */
	#children
	#commands = new RunCommands()
	/** @type {RunHistory | undefined} */
	#history
	/** @type {RunProgress} */
	#progress
	/** @type {RunAttempts} */
	#attempts
	#seq = 0
	/** Steps whose durability is awaited, with what follows then. @type {{ seq: number, due: Visit[], recorded: Visit[] }[]} */
	#announced = []
	/** Visits that became due since the last step. @type {Visit[]} */
	#fresh = []
	/** Ended visits whose results are to be processed. @type {Visit[]} */
	#settled = []
	/** Visits recorded since the last step. @type {Visit[]} */
	#recorded = []
	/** @type {(Answer & { nodeId: string })[]} */
	#answers = []
	/** The node whose answer is being processed. @type {string | undefined} */
	#answering
	/** @type {Outcome | undefined} */
	#outcome
	#pumping = false
	/** Nothing is recorded any more: the run has its outcome. */
	#ended = false
	/** @type {RunExecutor} */
	#executor
	/** @type {'no' | 'asked' | 'answered'} */
	#draining = 'no'
	#moreMayCome
	/** Nodes whose old messages say nothing. @type {Set<string>} */
	#early
	/** Visits that start once all has been gone on from that others have recorded: their input may depend on it. @type {Visit[]} */
	#behind = []

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
		this.live = new LiveRun(runId, context, () => !this.closed && !this.#ended && this.#draining !== 'answered')
		this.live.askForStep = () => this.#pump()
		this.#gate = env.permits.gate(env.permitsPerRun)
		this.fresh = new Freshness(env.livePlace?.reachesAll ? undefined : () => env.native.refresh(handle))
		const { entry, blueprintId, checkpoint } = opening
		this.#history = env.history && new RunHistory(env.history, checkpoint?.history)
		this.#events = new RunEvents(env, { runId, blueprintId, executedId: entry.blueprint.id })
		this.graph = entry.graph()
		this.#router = new RunRouter(env.runtime, this.graph, (nodeId) => this.#keepInput(nodeId))
		const adoption = opening.kind === 'adopted' ? adoptRun(this.graph, context, entry, env) : undefined
		this.#early = adoption?.early ?? new Set(checkpoint?.early)
		this.state = new RunState(context, adoption?.awaiting ?? awaitingOf(checkpoint))
		this.state.setEventEmitter(/** @type {any} */ (env.contextBus), runId)
		const inWaves = (checkpoint ? checkpoint.schedule : env.schedule) === 'wave'
		this.#schedule = inWaves ? new WaveSchedule(this, env.concurrency) : new EagerSchedule(this)
		this.#children = new RunChildren(this.graph, context, env.runtime)
		this.#executor = new RunExecutor(env, { runId, blueprintId, graph: this.graph, context, children: this.#children })
		const parts = [this.#waits, this.#children, this.#commands, this.#schedule]
		this.#progress = new RunProgress({ graph: this.graph, state: this.state, context, parts })
		this.#attempts = new RunAttempts(env, { runId, progress: this.#progress, waits: this.#waits })
		if (checkpoint) this.#restore(checkpoint)
		else this.#begin(adoption)
	}

	/** Due and running visits. */
	get visits() {
		return this.#progress.visits
	}

	// Opening.

	/** @param {import('./adoption.js').Adoption | undefined} adoption */
	#begin(adoption) {
		const { entry, blueprintId, nodeIds } = this.#opening
		if (!this.#context.contains('blueprintId')) this.#context.hide('blueprintId', blueprintId)
		if (!this.#context.contains('blueprintVersion')) this.#context.hide('blueprintVersion', entry.version)
		const awaiting = this.state.getAwaitingNodeIds()
		this.#children.adopt(awaiting)
		for (const nodeId of awaiting) this.#waits.begin(nodeId, 1, ...this.#waitOf(nodeId))
		this.graph.clearFrontier()
		if (entry.problem) return
		if (!adoption) for (const nodeId of entry.startSet) this.#schedule.admit(nodeId, 1)
		else this.#goOn(adoption, nodeIds)
	}

	/** @param {import('./adoption.js').Adoption} adoption @param {string[]} nodeIds of messages */
	#goOn({ due, replaced }, nodeIds) {
		const { entry, failure } = this.#opening
		if (replaced.size > 0) this.state.markFallbackExecuted()
		if (failure !== undefined)
			this.state.getErrors().push(/** @type {any} */ (reviveError(publishedError(failure, entry.nodeIds))))
		for (const nodeId of due) this.#admitAdopted(nodeId)
		for (const nodeId of nodeIds) this.#admitMessage(nodeId)
	}

	/**
	 * A node that has run here may be due again, in a loop, but then its visit is known: the message is an old one. One that has run elsewhere
	 * is gone on from, once.
	 * @param {string} asked node of a message
	 */
	#admitMessage(asked) {
		if (this.#early.has(asked)) return
		const fallback = this.graph.node(asked)?.config?.fallback
		// The job of a node that was replaced is the one that goes on from its fallback.
		const nodeId = fallback && hasReplaced(this.#context, fallback, asked) ? fallback : asked
		const since = this.graph.completed.get(nodeId)
		const hasRun = since ? since.wave > 0 : this.#context.contains(`_outputs.${nodeId}`)
		if (this.graph.node(nodeId) && !hasRun && !this.#waits.has(nodeId)) this.#admitAdopted(nodeId)
	}

	/** @param {string} nodeId */
	#admitAdopted(nodeId) {
		for (const visit of this.visits.values()) if (visit.nodeId === nodeId) return
		const last = this.#progress.lastVisit
		const isRecorded = this.graph.completed.has(nodeId)
		// What a recorded node leads to may be due by its own message, too: one visit is enough.
		this.#schedule.admit(nodeId, isRecorded ? 1 : 2)
		if (isRecorded) this.graph.goneOnFrom(nodeId)
		const { lastVisit } = this.#progress
		const visit = lastVisit > last && this.visits.get(lastVisit)
		if (!visit) return
		visit.replay = isRecorded && recordedResult(this.graph, this.#context, nodeId) !== undefined
		if (visit.replay) return
		this.state.clearError(nodeId)
		enterLoop(this.graph, nodeId)
	}

	get #isAdopted() {
		return this.#opening.kind === 'adopted' || this.#opening.checkpoint?.adopted === 1
	}

	/** @param {Checkpoint} checkpoint */
	#restore(checkpoint) {
		this.#progress.restore(checkpoint)
		this.#fresh = [...this.visits.values()].filter(({ dueAt }) => dueAt === undefined)
		this.#outcome = checkpoint.outcome
		if (!checkpoint.adopted || isOver(checkpoint)) return
		// Only its message says that such a node is due: nobody here has recorded what led to it.
		for (const nodeId of this.#opening.nodeIds) this.#admitMessage(nodeId)
	}

	/**
	 * Answers the opening and goes to work.
	 * @param {{ token: number, text: string }[]} [commands] that wait for the run
	 */
	open(commands = []) {
		const due = this.#fresh
		this.#fresh = []
		this.#env.native.opened(this.#handle, dueJson(due))
		if (!isOver(this.#opening.checkpoint)) {
			// What came while the run was parked has no message any more.
			for (const text of this.#opening.unparked?.commands ?? []) this.#accept(NO_TOKEN, text)
			for (const { token, text } of commands) this.#accept(token, text)
		}
		this.#startOverdue()
		if (this.#outcome && due.length === 0 && !this.#hasMore) return this.#repeatOutcome(this.#outcome)
		this.#outcome = undefined
		this.#work(due)
	}

	/**
	 * The status row of a run that has ended may be missing: the same outcome again makes the engine write it again.
	 * @param {Outcome} outcome
	 */
	#repeatOutcome(outcome) {
		this.#ended = true
		const checkpoint = formatCheckpoint(/** @type {Checkpoint} */ (this.#opening.checkpoint))
		this.#seq++
		this.#env.native.step(
			this.#handle,
			this.#seq,
			this.#context.take(this.#seq),
			checkpoint,
			[],
			'[]',
			this.#outcomeJson(outcome),
			...this.#extras(),
		)
	}

	/** @param {Visit[]} due */
	async #work(due) {
		this.live.enter(this.#env.livePlace)
		try {
			await this.#calling(() => this.#events.opened(this.#opening.kind === 'fresh'))
			if (this.#opening.entry.problem) throw this.#opening.entry.problem
		} catch (error) {
			this.#reject(error)
			return
		}
		if (this.closed) return
		this.live.begin()
		this.#behind = due.filter(({ replay }) => !replay)
		this.#startLocally(due.filter(({ replay }) => replay))
		this.#startBehind()
		if (this.visits.size === 0 || this.#hasMore || this.#rests) this.#pump()
	}

	/**
	 * Event buses may change the context, too; without one of the user's there is nobody whose changes could wait for us.
	 * @param {() => Promise<void>} work
	 */
	#calling(work) {
		return this.#env.contextBus ? this.live.during(work) : work()
	}

	// Visits.

	/** @param {string} nodeId @param {number} wave */
	newVisit(nodeId, wave) {
		const visit = this.#progress.newVisit(nodeId, wave)
		this.#fresh.push(visit)
		return visit
	}

	/** @param {Visit} visit whose announcement is durable */
	start(visit) {
		this.#gate.enter(() => {
			if (this.closed || this.#ended || this.#executor.stopped !== undefined || this.#draining !== 'no') return false
			visit.start()
			this.#run(visit)
			return true
		})
	}

	/** @param {Visit} visit */
	async #run(visit) {
		visit.context = new VisitContext(this.#context, this.fresh, visit)
		const state = new VisitState(this.state, visit.context, visit.attempt)
		let settled
		try {
			settled = await this.#executor.execute(visit, state)
		} catch (error) {
			settled = rejected(visit.nodeId, error)
		}
		settled = this.#refuseTimers(visit, state, settled)
		visit.end(settled, state.marked)
		this.#leave(visit)
		if (this.closed || this.#ended) return
		// What failed under an abort signal may have failed because of it: it stays due, for whoever has the run next.
		if (this.#executor.stopped !== undefined && !visit.succeeded) return this.#answerDrain()
		if (isToRetry(visit)) this.#forgetMarks(visit)
		this.#schedule.settled(visit)
		this.#settled.push(visit)
		this.#pump()
	}

	/**
	 * A node that sleeps where nothing can wake it would never go on.
	 * @param {Visit} visit
	 * @param {VisitState} state
	 * @param {Settled} settled
	 */
	#refuseTimers(visit, state, settled) {
		const sleepers = [...(state.marked ?? [])].filter((marked) => this.#alarmOf(marked, visit.child) !== undefined)
		const missing = sleepers.length > 0 ? this.#env.native.timersMissing() : null
		if (missing === null) return settled
		for (const sleeper of sleepers) this.state.clearAwaiting(sleeper)
		state.marked = undefined
		visit.child = undefined
		return rejected(visit.nodeId, new KafkaAdapterError(Code.SchemaMissing, missing))
	}

	/** @param {Visit} visit */
	#leave(visit) {
		if (!visit.holdsPermit) return
		visit.holdsPermit = false
		this.#gate.leave()
	}

	// Processing, one result at a time.

	async #pump() {
		if (this.#pumping) return
		this.#pumping = true
		try {
			do {
				await this.#recordSome()
				if (this.closed || this.#ended) return
				this.#startBehind()
				this.#commit(this.#outcomeNow)
			} while (this.#hasMore)
		} catch (error) {
			this.#reject(error)
		} finally {
			this.#pumping = false
			this.#answerDrain()
		}
	}

	get #hasMore() {
		if (this.#fresh.length > 0) return true
		return this.#settled.length > 0 || this.#answers.length > 0 || this.#commands.waiting || this.live.isWaiting
	}

	async #recordSome() {
		for (let received = this.#commands.shift(); received; received = this.#commands.shift()) {
			await this.#apply(received)
			if (this.#ended) return
		}
		while (this.#answers.length > 0) {
			const answer = /** @type {Answer & { nodeId: string }} */ (this.#answers.shift())
			this.#answering = answer.nodeId
			await this.#answer(answer)
			this.#answering = undefined
		}
		while (this.#settled.length > 0 && this.#recorded.length < MAX_RESULTS_PER_STEP) {
			const visit = /** @type {Visit} */ (this.#settled.shift())
			this.visits.delete(visit.number)
			this.#recorded.push(visit)
			this.#context.record(/** @type {VisitContext} */ (visit.context))
			this.#history?.add(visit, outcomeOf(visit))
			if (isToRetry(visit)) {
				await this.#retryLater(visit)
				continue
			}
			this.#children.record(visit)
			for (const { marked, wave } of await this.#schedule.record(visit)) {
				for (const nodeId of marked ?? []) await this.#beginWait(nodeId, wave)
			}
		}
	}

	/**
	 * Lets Flowcraft process one result.
	 * @param {{ nodeId: string, wave: number, settled?: Settled }} visit
	 * @returns {Promise<string[]>} nodes that it made ready
	 */
	async route({ nodeId, wave, settled }) {
		this.graph.now = this.#progress.nextMoment(wave)
		const waits = this.state.isAwaiting() && this.state.getAwaitingNodeIds().includes(nodeId)
		const traverser = /** @type {any} */ (waits ? this.#router.withoutRouting() : this.graph)
		const runtime = /** @type {any} */ (waits ? this.#router.preview : this.#router)
		const results = [/** @type {any} */ (settled)]
		await this.#calling(async () => {
			await processResults(results, traverser, this.state, runtime, this.#opening.entry.blueprint, this.#runId)
			await this.state.settled()
		})
		return this.graph.getReadyNodes().map((ready) => ready.nodeId)
	}

	/**
	 * In memory a node reads what the wave before its own has written, since the next results are processed when it has ended. So a visit
	 * that is due or runs, or that a crash lets begin again, goes on reading that.
	 *
	 * @param {string} nodeId whose input a result is about to overwrite
	 */
	#keepInput(nodeId) {
		const inputs = this.graph.node(nodeId)?.inputs
		const key = inputKey(nodeId)
		if (inputs !== undefined && inputs !== key) return
		for (const visit of this.#schedule.inFlight(nodeId)) {
			// Where nothing was given yet, what comes is the first.
			if (visit.wave === this.graph.now.wave + 1 || this.#context.read(key) === undefined) continue
			visit.given ??= this.#context.keep(key)
		}
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
			const blueprint = this.graph.getDynamicBlueprint()
			return (await this.live.during(() => ask(this.#runId, blueprint, nodeId))) !== false
		} catch (error) {
			await this.route({ nodeId, wave: this.graph.now.wave, settled: rejected(nodeId, error) })
			return false
		}
	}

	/** The lowest wave from which anything may still come. */
	lowestWave() {
		let lowest = this.#waits.lowestWave
		for (const { wave } of this.visits.values()) if (wave < lowest) lowest = wave
		return lowest
	}

	get #quiescent() {
		return this.visits.size === 0 && this.#schedule.idle && !this.#moreMayCome
	}

	/** How the run stands once nothing of it runs, is due or is to be processed. @returns {Outcome | undefined} */
	get #outcomeNow() {
		if (this.#quiescent) return quiescentOutcome(this.state, this.#context)
		return this.#rests ? restingOutcome() : undefined
	}

	/** Whether all that is left are attempts whose time has not come. */
	get #rests() {
		if (this.visits.size === 0 || this.#moreMayCome || this.#hasMore) return false
		for (const { dueAt } of this.visits.values()) if (dueAt === undefined) return false
		return true
	}

	// Attempts that wait for a timer.

	/** A failed attempt awaits nothing. @param {Visit} visit */
	#forgetMarks(visit) {
		for (const nodeId of visit.marked ?? []) this.state.clearAwaiting(nodeId)
		visit.marked = undefined
	}

	/**
	 * The attempt is recorded, and that is all: its result is not processed, and another visit stands for the node.
	 * @param {Visit} visit that is to be retried
	 */
	async #retryLater(visit) {
		this.#schedule.replaced(visit, this.#attempts.next(visit))
		await this.#calling(() => this.#events.retried(visit))
	}

	/** @param {Visit} visit whose time has come: it starts when that is durable */
	#startAttempt(visit) {
		visit.dueAt = undefined
		this.#fresh.push(visit)
	}

	/**
	 * What brought the run here is no timer (a nudge of `reconcile`, say), and yet attempts are overdue: timers may be gone. Not
	 * where commands wait: the timer's own is among them, and its row goes with the step that applies it. Nor where messages are
	 * taken one after the other: the nudge is held until the run has its outcome, and the attempt's own message would wait behind it.
	 */
	#startOverdue() {
		if (this.#commands.waiting || this.#env.serial) return
		for (const visit of this.#attempts.overdue()) this.#startAttempt(visit)
	}

	// Commands.

	/** @param {number} token @param {string} text */
	command(token, text) {
		// What comes after the outcome opens the run again.
		if (!this.closed && !this.#ended && this.#accept(token, text)) this.#pump()
	}

	/** @param {number} token @param {string} text @returns {boolean} whether there is something to apply */
	#accept(token, text) {
		const { native } = this.#env
		try {
			const command = parseCommand(text)
			if (this.#isEffective(command)) {
				this.#commands.push({ token, command })
				return true
			}
			native.commandDone(this.#handle, token)
		} catch (error) {
			native.refuseCommand(
				this.#handle,
				token,
				/** @type {any} */ (error).code ?? 'ERR_COMMAND_UNKNOWN',
				messageOf(error),
			)
		}
		return false
	}

	/** The first command for the visit of a wait counts. @param {import('../adapter/command-messages.js').RunCommand} command */
	#isEffective(command) {
		const { id, kind, nodeId = this.#waits.first ?? ANY, wave, visit, at } = command
		// What brought a parked run back is answered by the step that records it. Any other run is not parked.
		if (kind === 'move' || isParkingTimer(command)) return this.#opening.unparked !== undefined && this.#seq === 0
		if (kind === 'fail') return false
		if (kind === 'wake' && this.#attempts.of(command)) return true
		if (kind === 'wake') return this.#waits.alarmOf(nodeId) === at && !this.#commands.answers(nodeId)
		if (this.#commands.isRepeat(id)) return false
		if (kind === 'cancel') return true
		if (wave !== undefined && this.#waits.waveOf(nodeId) !== wave) return false
		return !this.#commands.answers(nodeId) && this.#mayAnswer(nodeId, visit)
	}

	/** @param {import('./run-commands.js').Received} received */
	async #apply(received) {
		const { kind, nodeId = this.#waits.first ?? ANY, action, output, visit, reason, at } = received.command
		this.#commands.applied(received)
		if (kind === 'move' || isParkingTimer(received.command)) return
		if (kind === 'wake') {
			const attempt = this.#attempts.of(received.command)
			if (attempt) return this.#startAttempt(attempt)
			// The same timer twice.
			if (this.#waits.alarmOf(nodeId) !== at) return
		}
		if (kind === 'cancel') return this.#endEarly(cancelledOutcome(reason), reason ?? 'the run was cancelled')
		this.#answering = nodeId
		const value = output === undefined ? undefined : this.#env.codec.decode(JSON.stringify(output))
		await this.#answer(kind === 'wake' ? { nodeId, timer: at } : { nodeId, action, output: value, visit })
		this.#answering = undefined
	}

	// Waits.

	/** Whether a node awaits, or its child goes on with an answer. @param {string} nodeId */
	isWaiting(nodeId) {
		return this.#waits.has(nodeId) || this.#children.get(nodeId) !== undefined
	}

	/** A node whose result is being processed awaits from now on. @param {string} nodeId that awaits */
	waveOfWait(nodeId) {
		return this.#waits.waveOf(nodeId) ?? this.graph.now.wave
	}

	/** @param {string} nodeId @param {number} wave */
	async #beginWait(nodeId, wave) {
		const early = this.#waits.begin(nodeId, wave, ...this.#waitOf(nodeId))
		if (early) await this.#answer(early)
	}

	/**
	 * When a timer wakes a node that awaits, and who awaits in its child.
	 * @param {string} nodeId
	 * @returns {[number | undefined, import('./child-record.js').OpenWait[] | undefined]}
	 */
	#waitOf(nodeId) {
		return [this.#alarmOf(nodeId, this.#children.get(nodeId)), this.#children.waitsOf(nodeId)]
	}

	/**
	 * When a timer wakes a node that awaits: its own details say so, or a child that sleeps.
	 * @param {string} nodeId
	 * @param {import('./child-record.js').ChildRecord | undefined} child
	 */
	#alarmOf(nodeId, child) {
		return timeOf(this.state.getAwaitingDetails(nodeId)) ?? this.#children.alarmOf(child)
	}

	/**
	 * Goes on from a node that awaits: the first one unless `nodeId` names another, or the path of one in a subflow. A node that
	 * does not await yet gets its answer when it does.
	 * @param {Answer & { nodeId?: string }} answer
	 * @returns {boolean} false where there is nothing to answer: the node is unknown, or has its answer
	 */
	resume({ nodeId = this.#waits.first, action, output }) {
		if (this.closed || nodeId === undefined || !this.#mayAnswer(nodeId)) return false
		this.#ended = false
		this.#outcome = undefined
		this.#answers.push({ nodeId, action, output })
		this.#pump()
		return true
	}

	/** @param {string} address @param {number} [visit] of a wait in a subflow, in which it began */
	#mayAnswer(address, visit) {
		if (this.#answering === address || this.#answers.some((other) => other.nodeId === address)) return false
		const { nodeId, within } = this.#children.target(address)
		if (within === undefined && this.#waits.has(nodeId)) return true
		if (address === ANY) return !this.#waits.isAnswered(ANY)
		if (this.#waits.isAnswered(address)) return false
		if (within !== undefined && this.#children.get(nodeId))
			return this.#children.mayAnswer({ nodeId, within }, visit, this.#answerRunning(nodeId))
		return !(this.#ended || this.graph.completed.has(nodeId)) && this.graph.node(nodeId) !== undefined
	}

	/** The answer with which the child of a subflow goes on now. @param {string} nodeId */
	#answerRunning(nodeId) {
		for (const visit of this.visits.values()) if (visit.nodeId === nodeId && visit.answer) return visit.answer
		return undefined
	}

	/** @param {Answer & { nodeId: string }} answer */
	async #answer({ nodeId: address, ...answer }) {
		const { action, output, visit } = answer
		const target = this.#children.target(address)
		const { nodeId } = target
		const isSubflow = this.#waits.has(nodeId) && this.#children.get(nodeId) !== undefined
		const within = isSubflow ? this.#children.answer(target, answer) : undefined
		const asked = isSubflow && !within ? undefined : this.#waits.end(nodeId)
		if (asked === undefined) {
			this.#waits.keep(address, { action, output, visit })
			return
		}
		// In memory a resume comes after everything that has run.
		const wave = Math.max(asked, this.#progress.highestWave)
		this.#history?.answered(nodeId, wave, Date.now())
		this.state.clearAwaiting(nodeId)
		if (this.visits.size === 0 && this.#waits.size === 0) this.#progress.base = wave
		const held = this.#schedule.resumed()
		if (within) {
			this.newVisit(nodeId, wave).answer = within
			await this.#schedule.admitReady(held, nodeId)
			return
		}
		// As in memory: without an output of its own a resume keeps what the node has left, e.g. what a sleep passes on.
		const value = output === undefined ? this.#context.read(`_outputs.${nodeId}`) : output
		const ready = await this.route({ nodeId, wave, settled: succeeded(nodeId, { output: value, action }) })
		await this.#schedule.admitReady([...held, ...ready], nodeId)
	}

	// Steps.

	/** @param {Outcome | undefined} given */
	#commit(given) {
		const seq = ++this.#seq
		const changes = this.#context.take(seq)
		const refusal = this.#context.takeRefusal()
		const outcome = refusal ? this.#refused(refusal) : given
		const due = this.#fresh
		const recorded = this.#recorded
		this.#fresh = []
		this.#recorded = []
		this.#outcome = outcome
		this.#ended = outcome !== undefined
		const checkpoint = formatCheckpoint(this.#checkpoint(), this.#history?.text())
		const done = recorded.map((visit) => visit.number)
		this.#announced.push({ seq, due, recorded })
		this.live.handedOver(seq)
		this.#env.native.step(
			this.#handle,
			seq,
			changes,
			checkpoint,
			done,
			dueJson(due),
			outcome ? this.#outcomeJson(outcome) : null,
			...this.#extras(),
		)
		if (refusal) this.#executor.signal(ENDED)
	}

	/**
	 * What a node has written cannot be stored: without it the run would go on from something else than the node has said.
	 * @param {Error} refusal
	 */
	#refused(refusal) {
		this.#logEnd(refusal)
		this.#dropAll()
		return rejectedOutcome(refusal)
	}

	/** What few steps have. @returns {[] | [string]} */
	#extras() {
		const applied = this.#commands.take()
		const timers = this.#waits.takeAlarms()
		const unparking = this.#seq === 1 ? this.#opening.unparked?.timer : undefined
		const isEmpty = applied.length + timers.length === 0 && !unparking
		return isEmpty ? [] : [JSON.stringify({ applied, timers, unparking })]
	}

	/**
	 * Ends the run where `FlowRuntime.run` would reject.
	 * @param {any} error
	 */
	#reject(error) {
		if (this.closed || this.#ended) return
		this.#logEnd(error)
		this.#endEarly(rejectedOutcome(error), ENDED)
	}

	/** @param {any} error */
	#logEnd(error) {
		this.#env.logger.error(`[KafkaAdapter] Run '${this.#runId}' ended: ${messageOf(error)}`)
	}

	/**
	 * Ends the run whatever is due or runs in it.
	 * @param {Outcome} outcome
	 * @param {string} reason for the nodes that run
	 */
	#endEarly(outcome, reason) {
		for (const { context } of this.visits.values()) if (context) this.#context.record(context)
		this.#dropAll()
		this.#commit(outcome)
		this.#executor.signal(reason)
	}

	/** Nothing is due any more; what ran is done with. */
	#dropAll() {
		for (const visit of this.visits.values()) if (visit.started) this.#history?.add(visit, outcomeOf(visit))
		this.#recorded.push(...this.visits.values())
		this.visits.clear()
		this.#fresh = []
		this.#settled = []
		this.#answers = []
	}

	/** @returns {Checkpoint} */
	#checkpoint() {
		const { blueprintId, entry } = this.#opening
		/** @type {Checkpoint} */
		const checkpoint = {
			v: CHECKPOINT_VERSION,
			blueprint: blueprintId,
			version: entry.version,
			schedule: this.#schedule.name,
			last: this.#progress.lastVisit,
			hidden: unlessEmpty(this.#context.hiddenKeys()),
			outcome: this.#outcome,
		}
		if (isOver(checkpoint)) return checkpoint
		this.#progress.write(checkpoint)
		checkpoint.adopted = this.#isAdopted ? 1 : undefined
		checkpoint.early = unlessEmpty([...this.#early])
		return checkpoint
	}

	/** @param {Outcome} outcome */
	#outcomeJson(outcome) {
		return outcomeText(outcome, this.#env, this.#context, this.#runId)
	}

	// What the engine says.

	/** @param {number} seq */
	durable(seq) {
		if (this.closed) return
		this.#context.durable(seq)
		this.fresh.now()
		this.live.durable(seq)
		while (this.#announced.length > 0 && this.#announced[0].seq <= seq) {
			const { due, recorded } = /** @type {{ due: Visit[], recorded: Visit[] }} */ (this.#announced.shift())
			this.#events.jobs(recorded, due)
			if (this.#outcome && this.#announced.length === 0) this.#events.finished(this.#outcome, this.state.getErrors())
			if (due.length > 0) this.#startLocally(due)
		}
	}

	/** @param {Visit[]} visits whose announcement is durable */
	#startLocally(visits) {
		if (this.#env.localStarts) this.#schedule.start(visits)
	}

	#startBehind() {
		if (this.#behind.length === 0) return
		for (const { replay } of this.visits.values()) if (replay) return
		this.#startLocally(this.#behind.splice(0))
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
		if (this.#draining !== 'asked' || this.#pumping || this.#settled.length > 0) return
		for (const visit of this.visits.values()) if (visit.running) return
		this.#draining = 'answered'
		this.#env.native.drained(this.#handle)
	}

	/** @param {string[]} changes */
	merge(changes) {
		this.#context.merge(changes)
	}

	/** @param {string} nodeId of a message that is not due here */
	stray(nodeId) {
		if (!this.#isAdopted || this.closed || this.#ended) return
		this.#admitMessage(nodeId)
		this.#pump()
	}

	/** The partition was read to the end seen at the adoption: no message of before is still to come. */
	allSeen() {
		this.#moreMayCome = false
		if (!this.closed && !this.#ended && (this.#quiescent || this.#rests)) this.#pump()
	}

	/** @param {string} reason */
	abort(reason) {
		this.#executor.stop(reason)
	}

	/** @param {string} reason */
	close(reason) {
		if (this.closed) return
		this.closed = true
		this.live.close(reason)
		this.fresh.now()
		const running = [...this.visits.values()].filter((visit) => visit.running)
		if (running.length === 0) return
		this.#executor.signal(reason)
		// A node that does not listen to its signal must not stand in the way of other runs for ever.
		setTimeout(() => running.forEach((visit) => this.#leave(visit)), this.#env.abortGraceMs).unref()
	}

	// Results of a running wave, in the checkpoint.

	/** @param {Visit} visit */
	recordSettled({ number, nodeId, wave, marked, settled }) {
		return { number, nodeId, wave, marked: marked && [...marked], ...settledRecord(settled, this.#env.codec) }
	}

	/** @param {any} record */
	reviveSettled(record) {
		const visit = new Visit(record.number, record.nodeId, record.wave)
		visit.end(revivedSettled(record, this.#env.codec), record.marked && new Set(record.marked))
		return visit
	}
}

/** @param {Visit[]} visits */
function dueJson(visits) {
	return visits.length === 0 ? '[]' : JSON.stringify(visits.map(({ number, nodeId }) => [number, nodeId]))
}
