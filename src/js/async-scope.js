/**
 * An `AsyncLocalStorage` that costs nothing while nobody is in it.
 *
 * Node.js 20 and 22 follow every promise of the process from the first `run` of a storage on, until `disable()`: a fifth of what a
 * job costs the JavaScript thread (docs/decisions.md, 62).
 */
import { AsyncLocalStorage } from 'node:async_hooks'

/** @template Value */
export class AsyncScope {
	/** @type {AsyncLocalStorage<Value>} */
	#storage = new AsyncLocalStorage()
	#inside = 0

	/**
	 * Whoever calls from `work`, or from what it awaits, finds `value`. What goes on after `work` has ended may find nothing.
	 * @template Result
	 * @param {Value} value
	 * @param {() => Result} work
	 * @returns {Promise<Awaited<Result>>}
	 */
	async run(value, work) {
		this.#inside++
		try {
			return await this.#storage.run(value, work)
		} finally {
			if (--this.#inside === 0) this.#storage.disable()
		}
	}

	/** @returns {Value | undefined} */
	get value() {
		return this.#storage.getStore()
	}
}
