/**
 * How far a run has come: its visits, what is counted of it, its errors. In memory, and in its checkpoint (docs/checkpoint.md).
 */
import { flatMoments, moments, unlessEmpty } from './checkpoint.js'
import { recordError, reviveError } from './outcome.js'
import { Visit, attemptRecords, dueRecords, givenRecords, reviveVisits } from './visit.js'

/** @typedef {import('./checkpoint.js').Checkpoint} Checkpoint */

/** Waves after which memory takes the run for an endless loop. */
const MAX_WAVES = 10_000

export class RunProgress {
	/** Due and running visits. @type {Map<number, Visit>} */
	visits = new Map()
	/** The highest wave of the results processed so far. */
	highestWave = 0
	/** The wave from which the cap counts. */
	base = 0
	#lastVisit = 0
	/** Results processed so far. */
	#results = 0
	/** @type {WeakMap<object, any>} */
	#errorRecords = new WeakMap()
	#graph
	#state
	#context
	#parts

	/**
	 * @param {object} run
	 * @param {import('./run-graph.js').RunGraph} run.graph
	 * @param {import('./run-state.js').RunState} run.state
	 * @param {import('./run-context.js').RunContext} run.context
	 * @param {{ write(checkpoint: Checkpoint): void, restore(checkpoint: Checkpoint): void }[]} run.parts what else is in the checkpoint
	 */
	constructor({ graph, state, context, parts }) {
		this.#graph = graph
		this.#state = state
		this.#context = context
		this.#parts = parts
	}

	/** Highest visit number given so far. */
	get lastVisit() {
		return this.#lastVisit
	}

	/** A number for a visit that takes another one's place. */
	nextNumber() {
		return ++this.#lastVisit
	}

	/** @param {string} nodeId @param {number} wave */
	newVisit(nodeId, wave) {
		if (wave - this.base > MAX_WAVES) throw new Error('Traversal exceeded maximum iterations, possible infinite loop')
		const visit = new Visit(this.nextNumber(), nodeId, wave)
		this.visits.set(visit.number, visit)
		return visit
	}

	/** When the next result is processed. @param {number} wave of its visit @returns {import('./run-graph.js').Moment} */
	nextMoment(wave) {
		if (wave > this.highestWave) this.highestWave = wave
		return { wave, order: ++this.#results }
	}

	/** @param {Checkpoint} checkpoint */
	restore(checkpoint) {
		const { done, inputs = [], from = [], dynamic = [], batches = [], errors = [] } = checkpoint
		this.#graph.restore({ completed: moments(done), inputs, inputWaves: from, dynamic, batches })
		for (const record of errors) {
			const error = /** @type {any} */ (reviveError(record))
			this.#errorRecords.set(error, record)
			this.#state.getErrors().push(error)
		}
		if (checkpoint.fallback) this.#state.markFallbackExecuted()
		for (const [number, visit] of reviveVisits(checkpoint, this.#graph)) this.visits.set(number, visit)
		this.#lastVisit = checkpoint.last
		this.#results = checkpoint.results ?? 0
		this.highestWave = checkpoint.highest ?? 0
		this.base = checkpoint.base ?? 0
		for (const part of this.#parts) part.restore(checkpoint)
	}

	/** What it takes to go on. @param {Checkpoint} checkpoint */
	write(checkpoint) {
		const graph = this.#graph
		const state = this.#state
		checkpoint.due = unlessEmpty(dueRecords(this.visits.values(), graph))
		checkpoint.attempts = unlessEmpty(attemptRecords(this.visits.values()))
		checkpoint.given = unlessEmpty(givenRecords(this.visits.values()))
		checkpoint.results = this.#results
		checkpoint.highest = this.highestWave
		checkpoint.done = flatMoments(graph.plainCompleted)
		checkpoint.inputs = unlessEmpty([...graph.rewritten])
		checkpoint.from = unlessEmpty([...graph.inputWaves])
		checkpoint.dynamic = unlessEmpty([...graph.dynamic.values()])
		checkpoint.batches = unlessEmpty(graph.batches.map((batch) => batch.entry()))
		checkpoint.errors = unlessEmpty(state.getErrors().map((error) => this.#errorRecord(error)))
		checkpoint.fallback = state.getAnyFallbackExecuted() ? 1 : undefined
		checkpoint.base = this.base || undefined
		checkpoint.absent = unlessEmpty([...this.#context.absentKeys()])
		for (const part of this.#parts) part.write(checkpoint)
		if (state.isAwaiting()) checkpoint.details = detailsOf(state)
	}

	/** @param {any} error */
	#errorRecord(error) {
		let record = this.#errorRecords.get(error)
		if (!record) this.#errorRecords.set(error, (record = recordError(error)))
		return record
	}
}

/** The nodes that await, for a `RunState`. @param {Checkpoint | undefined} checkpoint */
export function awaitingOf(checkpoint) {
	if (!checkpoint) return undefined
	const { waiting = [], details = {}, wave } = checkpoint
	const marked = (wave?.ended ?? []).flatMap((/** @type {any} */ record) => record.marked ?? [])
	return { nodes: [...waiting.map(([nodeId]) => nodeId), ...marked], details }
}

/** @param {import('./run-state.js').RunState} state */
function detailsOf(state) {
	return Object.fromEntries(state.getAwaitingNodeIds().map((nodeId) => [nodeId, state.getAwaitingDetails(nodeId)]))
}
