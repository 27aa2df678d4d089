/**
 * How old the copy of a run's context may be that its nodes read (design D8).
 *
 * Others may write the row while the run is open. A node that reads later than that after the last look at the row, which
 * every step takes, has the engine look first.
 */

/** Milliseconds. The engine's own bound before it writes is the same. */
const MAX_AGE_MS = 100

export class Freshness {
	#look
	#until = performance.now() + MAX_AGE_MS
	/** @type {Promise<void> | undefined} */
	#looking
	#ended = () => {}

	/**
	 * @param {(() => void) | undefined} look makes the engine look; {@link Freshness.now} is its answer. Absent where nobody writes
	 * the row but through the run.
	 */
	constructor(look) {
		this.#look = look
	}

	/** @returns {Promise<void> | undefined} to be awaited before a read; nothing where the copy is new enough */
	wait() {
		if (!this.#look || performance.now() <= this.#until) return undefined
		if (!this.#looking) {
			this.#looking = new Promise((resolve) => (this.#ended = resolve))
			this.#look()
		}
		return this.#looking
	}

	/** The copy is as the store has it, or nobody will look any more. */
	now() {
		this.#until = performance.now() + MAX_AGE_MS
		this.#looking = undefined
		this.#ended()
	}
}
