/**
 * An open run as others in this process see it: reads come from the session's context, changes go with its next step.
 *
 * - A change is in the context at once, where nodes find it; its promise is fulfilled when the step that holds it is
 *   durable. A session that closes before that step was handed over leaves the change to the store; one that closes after
 *   it cannot say what became of it, and the promise is rejected.
 * - The last step of a session ends what it takes. Changes then wait until that step is durable and go to the store:
 *   a row that is written beside a step in flight would be overwritten by it.
 * - Code of the user that the session waits for before it can hand over a step (`during`) must not wait for that step:
 *   its changes are fulfilled as soon as they are in the context.
 * - Values pass as JSON text, as they do through the store: nobody gets an object that nodes hold.
 */
import { AsyncScope } from '../async-scope.js'
import { Code, KafkaAdapterError } from '../errors.js'

/**
 * @typedef {import('./run-context.js').RunContext} RunContext
 * @typedef {import('flowcraft').PatchOperation} PatchOperation
 * @typedef {{ resolve: (isTaken: boolean) => void, reject: (error: Error) => void }} Change
 */

/** @type {AsyncScope<{ run: LiveRun, isOver: boolean }>} */
const stays = new AsyncScope()

export class LiveRun {
	#runId
	#context
	#isOpen
	/** @type {import('../stores/live-runs.js').LivePlace | undefined} */
	#place
	#hasBegun = false
	#isClosed = false
	/** Changes that no step holds yet. @type {Change[]} */
	#untaken = []
	/** @type {{ seq: number, changes: Change[] }[]} */
	#taken = []
	/** Those who wait until every step is durable. @type {(() => void)[]} */
	#late = []
	#handedOver = 0
	#durable = 0

	/**
	 * @param {string} runId
	 * @param {RunContext} context
	 * @param {() => boolean} isOpen whether the session hands over further steps
	 */
	constructor(runId, context, isOpen) {
		this.#runId = runId
		this.#context = context
		this.#isOpen = isOpen
	}

	/** Set by the session: asks for a step though nothing has ended. */
	askForStep = () => {}

	/** Whether the session knows more than the row. */
	get isCurrent() {
		return !this.#isClosed && (this.#isOpen() || this.#handedOver > this.#durable)
	}

	/** Whether changes wait for a step. */
	get isWaiting() {
		return this.#untaken.length > 0
	}

	// For contexts.

	/** @param {string} key @returns {any} */
	read(key) {
		const text = this.#context.textOf(key)
		return text === undefined ? undefined : JSON.parse(text)
	}

	/** @param {string} key */
	has(key) {
		return this.#context.textOf(key) !== undefined
	}

	/** @returns {Record<string, any>} */
	document() {
		return JSON.parse(this.#context.documentText())
	}

	/**
	 * @param {PatchOperation[]} operations
	 * @returns {Promise<boolean>} false: the session did not take them, they belong into the store
	 */
	async change(operations) {
		// As the store would have it: what has no text is not there.
		const changes = operations
			.filter(({ op }) => op === 'set' || op === 'delete')
			.map((operation) => ({
				key: operation.key,
				text: operation.op === 'set' ? JSON.stringify(operation.value) : undefined,
			}))
		while (!this.#isOpen()) {
			if (!this.isCurrent) return false
			await /** @type {Promise<void>} */ (new Promise((resolve) => this.#late.push(resolve)))
		}
		for (const { key, text } of changes) this.#context.putText(key, text)
		const stay = stays.value
		if (stay?.run === this && !stay.isOver) return true
		return new Promise((resolve, reject) => {
			this.#untaken.push({ resolve, reject })
			if (this.#hasBegun) this.askForStep()
		})
	}

	// For the session.

	/**
	 * Runs code of the user that the next step waits for.
	 * @template T
	 * @param {() => T} work
	 * @returns {Promise<Awaited<T>>}
	 */
	async during(work) {
		const stay = { run: /** @type {LiveRun} */ (this), isOver: false }
		try {
			return await stays.run(stay, work)
		} finally {
			stay.isOver = true
		}
	}

	/** Lets others in this process find the run. @param {import('../stores/live-runs.js').LivePlace | undefined} place */
	enter(place) {
		this.#place = place
		place?.enter(this.#runId, this)
	}

	/** The session has opened: what came meanwhile may ask for a step. */
	begin() {
		this.#hasBegun = true
	}

	/** @param {number} seq of the step that holds every change so far */
	handedOver(seq) {
		this.#handedOver = seq
		if (this.#untaken.length > 0) this.#taken.push({ seq, changes: this.#untaken })
		this.#untaken = []
	}

	/** @param {number} seq */
	durable(seq) {
		this.#durable = seq
		while (this.#taken.length > 0 && this.#taken[0].seq <= seq) {
			for (const { resolve } of this.#taken.shift()?.changes ?? []) resolve(true)
		}
		if (seq >= this.#handedOver) this.#letGo()
	}

	/** @param {string} reason */
	close(reason) {
		this.#isClosed = true
		this.#place?.leave(this.#runId, this)
		for (const { resolve } of this.#untaken.splice(0)) resolve(false)
		const text = `run "${this.#runId}" was given up here (${reason}) while a change of its context was being written. Read the key, and repeat the change if it is not there`
		for (const { changes } of this.#taken.splice(0)) {
			for (const { reject } of changes) reject(new KafkaAdapterError(Code.RunClosed, text, { retryable: true }))
		}
		this.#letGo()
	}

	#letGo() {
		for (const resolve of this.#late.splice(0)) resolve()
	}
}
