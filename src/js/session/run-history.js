/**
 * What a run has done: its last visits, in the order in which they were recorded. It stands in the checkpoint, so that it is
 * stored with the step that it tells of; being bounded, it does not make long runs slower.
 *
 * ```
 * { "list": [["ship", 7, 4, 1700000000000, 12, 0, "failed"?, 3?]], node, visit, wave, start (milliseconds since the epoch),
 *                                              duration (milliseconds), worker, outcome unless completed, attempts unless 1
 *   "workers": ["host-1234-ab12cd34"],         ids, told by their place here
 *   "omitted": 5 }                             visits of before that are not kept
 * ```
 */

/** @typedef {import('./visit.js').Visit} Visit */
/** @typedef {import('../../../index.js').RunHistory} PublicHistory */
/** @typedef {PublicHistory['visits'][number]['outcome']} VisitOutcome */

/**
 * @typedef {[nodeId: string, visit: number, wave: number, startedAt: number, durationMs: number, worker: number,
 *   outcome?: VisitOutcome, attempts?: number]} VisitRecord
 */
/** @typedef {{ list: VisitRecord[], workers: string[], omitted?: number }} HistoryRecord */

/** Visits that are kept of a run unless the option says otherwise. */
export const HISTORY_VISITS = 100

export class RunHistory {
	#most
	#workerId
	/** @type {VisitRecord[]} */
	#list = []
	/** JSON of each of them: a run of many visits writes all of them with each step. @type {string[]} */
	#texts = []
	/** @type {string[]} */
	#workers = []
	#omitted = 0

	/**
	 * @param {{ visits: number, workerId: string }} kept how many visits, and who records them
	 * @param {HistoryRecord | undefined} before
	 */
	constructor({ visits, workerId }, before) {
		this.#most = visits
		this.#workerId = workerId
		if (!before) return
		this.#keep(before.list.slice())
		this.#workers = before.workers.slice()
		this.#omitted = before.omitted ?? 0
	}

	/**
	 * @param {Visit} visit that has ended, or is given up
	 * @param {VisitOutcome} outcome
	 */
	add(visit, outcome) {
		const { nodeId, number, wave, startedAt, duration, attempts } = visit
		const durationMs = outcome === 'aborted' ? Date.now() - startedAt : duration
		this.#push([nodeId, number, wave, startedAt, durationMs, this.#worker()], outcome, attempts)
	}

	/** @param {string} nodeId of a node that has its answer @param {number} wave @param {number} now milliseconds since the epoch */
	answered(nodeId, wave, now) {
		this.#push([nodeId, 0, wave, now, 0, this.#worker()], 'answered')
	}

	/** @param {VisitRecord} record @param {VisitOutcome} outcome @param {number} [attempts] */
	#push(record, outcome, attempts = 1) {
		if (attempts > 1) record.push(outcome, attempts)
		else if (outcome !== 'completed') record.push(outcome)
		this.#list.push(record)
		this.#texts.push(JSON.stringify(record))
		this.#shorten()
	}

	/** @param {VisitRecord[]} list */
	#keep(list) {
		this.#list = list
		this.#texts = list.map((record) => JSON.stringify(record))
	}

	#shorten() {
		const surplus = this.#list.length - this.#most
		if (surplus <= 0) return
		this.#list.splice(0, surplus)
		this.#texts.splice(0, surplus)
		this.#omitted += surplus
	}

	#worker() {
		const known = this.#workers.indexOf(this.#workerId)
		return known >= 0 ? known : this.#workers.push(this.#workerId) - 1
	}

	/** @returns {string | undefined} JSON of a {@link HistoryRecord} */
	text() {
		this.#shorten()
		if (this.#list.length === 0 && this.#omitted === 0) return undefined
		const workers = JSON.stringify(this.#workersKept())
		const omitted = this.#omitted > 0 ? `,"omitted":${this.#omitted}` : ''
		return `{"list":[${this.#texts.join(',')}],"workers":${workers}${omitted}}`
	}

	/** A run that many workers have had in turn does not keep the ids of those whose visits are gone. */
	#workersKept() {
		if (this.#workers.length <= 1) return this.#workers
		const used = [...new Set(this.#list.map((record) => record[5]))]
		if (used.length === this.#workers.length) return this.#workers
		this.#keep(this.#list.map((record) => /** @type {VisitRecord} */ (record.with(5, used.indexOf(record[5])))))
		return (this.#workers = used.map((place) => this.#workers[place]))
	}
}

/** @param {Visit} visit that has begun @returns {VisitOutcome} */
export const outcomeOf = (visit) => {
	if (!visit.settled) return 'aborted'
	if (!visit.succeeded) return 'failed'
	return visit.marked?.has(visit.nodeId) ? 'awaiting' : 'completed'
}

/**
 * @param {HistoryRecord | undefined} history
 * @returns {Pick<PublicHistory, 'visits' | 'omitted'>}
 */
export const readHistory = (history) => {
	const { list = [], workers = [], omitted = 0 } = history ?? {}
	return { visits: list.map((record) => readVisit(record, workers)), omitted }
}

/** @param {VisitRecord} record @param {string[]} workers @returns {PublicHistory['visits'][number]} */
const readVisit = (record, workers) => {
	const [nodeId, visit, wave, startedAt, durationMs, worker, outcome = 'completed', attempts = 1] = record
	const isStarted = startedAt > 0
	return {
		nodeId,
		visit: visit || undefined,
		wave,
		outcome,
		attempts,
		startedAt: isStarted ? new Date(startedAt) : undefined,
		finishedAt: isStarted ? new Date(startedAt + durationMs) : undefined,
		workerId: workers[worker],
	}
}
