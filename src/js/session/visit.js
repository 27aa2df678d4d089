/**
 * One due execution of a node, and how Flowcraft's executor sees the run from inside it.
 */
import { WorkflowState } from 'flowcraft'
import { isSuccess } from './settled-results.js'

export class Visit {
	/** A loop has reset this node's completion while the visit was running. */
	reset = false
	/** The node's output was recorded by somebody else: only what follows is to be found. */
	replay = false
	/** An answer that a subflow's child goes on with. @type {import('./run-children.js').AnswerWithin | undefined} */
	answer = undefined
	/** What it was given, where another wave has overwritten it meanwhile. @type {import('./run-context.js').Kept | undefined} */
	given = undefined
	/** What a subflow leaves of its child, where that awaits. @type {import('./child-record.js').ChildRecord | undefined} */
	child = undefined
	/** Which attempt of the node this is, from 1. */
	attempt = 1
	/** When a timer lets this attempt begin, milliseconds since the epoch; `undefined`: now. @type {number | undefined} */
	dueAt = undefined
	/** How the node is retried, where timers do it. @type {import('./queue-retries.js').RetryPlan | undefined} */
	plan = undefined
	/** Nodes that this visit has marked as awaiting: itself, as a rule. @type {Set<string> | undefined} */
	marked = undefined
	/** Attempts that failed before, one right after the other. */
	failedAttempts = 0
	started = false
	/** When the node began, milliseconds since the epoch; 0: it has not. */
	startedAt = 0
	holdsPermit = false
	#begun = 0
	/** Milliseconds from the start of the node to its end. */
	duration = 0
	/** @type {import('./settled-results.js').Settled | undefined} */
	settled = undefined
	/** @type {import('./run-context.js').VisitContext | undefined} */
	context = undefined

	/** @param {number} number @param {string} nodeId @param {number} wave */
	constructor(number, nodeId, wave) {
		this.number = number
		this.nodeId = nodeId
		this.wave = wave
	}

	start() {
		this.started = true
		this.holdsPermit = true
		this.startedAt = Date.now()
		this.#begun = performance.now()
	}

	/** @param {import('./settled-results.js').Settled} settled @param {Set<string> | undefined} marked */
	end(settled, marked) {
		this.settled = settled
		this.marked = marked
		this.duration = Math.round(performance.now() - this.#begun)
	}

	/**
	 * The next attempt, in this one's place.
	 * @param {number} number @param {number} dueAt milliseconds since the epoch
	 */
	retry(number, dueAt) {
		const next = new Visit(number, this.nodeId, this.wave)
		next.attempt = this.attempt + 1
		next.dueAt = dueAt
		next.reset = this.reset
		next.answer = this.answer
		next.given = this.given
		return next
	}

	get flags() {
		return (this.reset ? RESET : 0) | (this.replay ? REPLAY : 0)
	}

	/** Attempts of the node so far, this one included. */
	get attempts() {
		return this.attempt + this.failedAttempts
	}

	get running() {
		return this.started && !this.settled
	}

	get succeeded() {
		return this.settled !== undefined && isSuccess(this.settled)
	}

	/** The error of a node that did not succeed. @returns {any} */
	get error() {
		const settled = /** @type {any} */ (this.settled)
		return settled.status === 'rejected' ? settled.reason.error : settled.value.executionResult.error
	}
}

/**
 * An executor that repeats a node in the process says so on its event bus alone.
 * @param {Visit} visit @param {any} executor of Flowcraft @returns {any}
 */
export function countingAttempts(visit, executor) {
	const { strategy } = executor
	const { eventBus, maxRetries } = strategy ?? {}
	if (!eventBus || !(maxRetries > 1)) return executor
	strategy.eventBus = {
		emit(/** @type {any} */ event) {
			if (event.type === 'node:retry') visit.failedAttempts++
			return eventBus.emit(event)
		},
	}
	return executor
}

/** The execution context that Flowcraft's executors and nodes get: `ExecutionContext` is not exported. */
export class VisitExecution {
	/**
	 * @param {{ blueprint: import('flowcraft').WorkflowBlueprint, state: any, runtime: any, services: any, executionId: string, signal: AbortSignal }} parts
	 */
	constructor({ blueprint, state, runtime, services, executionId, signal }) {
		this.blueprint = blueprint
		this.state = state
		this.nodeRegistry = runtime.registry
		this.executionId = executionId
		this.runtime = runtime
		this.services = services
		this.signal = signal
		/** Subflows take memory's own default. @type {number | undefined} */
		this.concurrency = undefined
	}

	/** @param {import('flowcraft').WorkflowBlueprint} blueprint @param {Record<string, any>} initial */
	createForSubflow(blueprint, initial) {
		const state = new WorkflowState(initial)
		state.setEventEmitter(this.services.eventBus, this.executionId)
		return new VisitExecution({ ...this, blueprint, state })
	}
}

const RESET = 1
const REPLAY = 2

/**
 * A due visit in the checkpoint: its number, node and wave, flags, and the answer that a subflow goes on with. Consecutive
 * visits of consecutive workers of a batch are one record, with batch, first item and count for the node.
 * @typedef {[number: number, node: string | [batch: number, item: number, count: number], wave: number, flags?: number,
 *   answer?: import('./run-children.js').AnswerWithin]} DueRecord
 */

/** @typedef {import('./run-graph.js').RunGraph} RunGraph */

/** @param {Iterable<Visit>} visits @param {RunGraph} graph @returns {DueRecord[]} */
export function dueRecords(visits, graph) {
	/** @type {DueRecord[]} */
	const records = []
	for (const visit of visits) {
		const worker = visit.flags === 0 && !visit.answer && graph.workers.get(visit.nodeId)
		if (!worker) records.push(dueRecord(visit))
		else if (!extend(records.at(-1), visit, worker))
			records.push([visit.number, [worker.batch, worker.item, 1], visit.wave])
	}
	return records
}

/** @param {Visit} visit @returns {DueRecord} */
function dueRecord({ number, nodeId, wave, flags, answer }) {
	if (answer) return [number, nodeId, wave, flags, answer]
	return flags ? [number, nodeId, wave, flags] : [number, nodeId, wave]
}

/** @param {DueRecord | undefined} record @param {Visit} visit @param {{ batch: number, item: number }} worker */
function extend(record, { number, wave }, { batch, item }) {
	if (!record || typeof record[1] === 'string' || record[2] !== wave) return false
	const [lastBatch, first, count] = record[1]
	if (lastBatch !== batch || first + count !== item || record[0] + count !== number) return false
	record[1][2]++
	return true
}

/**
 * What tells attempts: visit, attempt, and when a timer lets it begin, where it has not begun.
 * @param {Iterable<Visit>} visits
 * @returns {import('./checkpoint.js').AttemptRecord[]}
 */
export function attemptRecords(visits) {
	/** @type {import('./checkpoint.js').AttemptRecord[]} */
	const records = []
	for (const { number, attempt, dueAt } of visits)
		if (attempt > 1) records.push(dueAt === undefined ? [number, attempt] : [number, attempt, dueAt])
	return records
}

/**
 * What visits were given that the context has no more: visit, and the text of the value, where it has one.
 * @param {Iterable<Visit>} visits
 * @returns {import('./checkpoint.js').GivenRecord[]}
 */
export function givenRecords(visits) {
	/** @type {import('./checkpoint.js').GivenRecord[]} */
	const records = []
	for (const { number, given } of visits)
		if (given) records.push(given.text === undefined ? [number] : [number, given.text])
	return records
}

/** @param {import('./checkpoint.js').Checkpoint} checkpoint @param {RunGraph} graph restored */
export function reviveVisits({ due = [], attempts = [], given = [] }, graph) {
	const visits = new Map(revived(due, graph).map((visit) => [visit.number, visit]))
	for (const [number, attempt, dueAt] of attempts) {
		const visit = visits.get(number)
		if (visit) Object.assign(visit, { attempt, dueAt })
	}
	for (const [number, text] of given) {
		const visit = visits.get(number)
		if (visit) visit.given = { key: inputKey(visit.nodeId), text }
	}
	return visits
}

/** Under which an edge writes what it carries to a node. @param {string} nodeId */
export const inputKey = (nodeId) => `_inputs.${nodeId}`

/** @param {DueRecord[]} records @param {RunGraph} graph */
function revived(records, graph) {
	return records.flatMap(([number, node, wave, flags = 0, answer]) => {
		if (typeof node !== 'string') {
			const [batch, first, count] = node
			const idOf = (/** @type {number} */ i) => graph.batches[batch].worker(first + i).id
			return Array.from({ length: count }, (_, i) => new Visit(number + i, idOf(i), wave))
		}
		const visit = new Visit(number, node, wave)
		visit.reset = (flags & RESET) !== 0
		visit.replay = (flags & REPLAY) !== 0
		visit.answer = answer
		return [visit]
	})
}
