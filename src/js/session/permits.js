/**
 * Who may run a node body now: first come, first served, under a limit for the worker and one per run.
 *
 * A run that is at its own limit waits in its own queue, so that it never stands in front of other runs.
 */

/** @typedef {() => boolean} Job starts the work and says true, or says false when it is no longer wanted */

/** @template T */
class Queue {
	/** @type {T[]} */
	#items = []
	#head = 0

	get size() {
		return this.#items.length - this.#head
	}

	/** @param {T} item */
	push(item) {
		this.#items.push(item)
	}

	/** @returns {T | undefined} */
	shift() {
		if (this.#head === this.#items.length) return undefined
		const item = this.#items[this.#head]
		this.#items[this.#head++] = /** @type {T} */ (undefined)
		if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
			this.#items = this.#items.slice(this.#head)
			this.#head = 0
		}
		return item
	}
}

export class Permits {
	#free
	/** @type {Queue<Job>} */
	#waiting = new Queue()
	#granting = false

	/** @param {number} limit */
	constructor(limit) {
		this.#free = limit
		this.limit = limit
	}

	get used() {
		return this.limit - this.#free
	}

	get waiting() {
		return this.#waiting.size
	}

	/** @param {number} limit how many permits one run may have or wait for */
	gate(limit) {
		return new RunGate(this, limit)
	}

	/** @param {Job} job */
	enter(job) {
		this.#waiting.push(job)
		this.#grant()
	}

	leave() {
		this.#free++
		this.#grant()
	}

	#grant() {
		// A job that ends at once leaves from inside this loop: the loop goes on, the stack does not grow.
		if (this.#granting) return
		this.#granting = true
		try {
			while (this.#free > 0 && this.#waiting.size > 0) {
				const job = /** @type {Job} */ (this.#waiting.shift())
				this.#free--
				if (!job()) this.#free++
			}
		} finally {
			this.#granting = false
		}
	}
}

class RunGate {
	#admitted = 0
	/** @type {Queue<Job>} */
	#waiting = new Queue()

	/** @param {Permits} permits @param {number} limit */
	constructor(permits, limit) {
		this.permits = permits
		this.limit = limit
	}

	/** @param {Job} job */
	enter(job) {
		if (this.#admitted >= this.limit) {
			this.#waiting.push(job)
			return
		}
		this.#admitted++
		this.permits.enter(job)
	}

	leave() {
		this.#admitted--
		this.permits.leave()
		const next = this.#waiting.shift()
		if (next) this.enter(next)
	}
}
