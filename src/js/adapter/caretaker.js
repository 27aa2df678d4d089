/**
 * What one worker of the group does from time to time, on behalf of all: the one that has the first partition of the topic. No
 * election is needed, the group has made one, and it makes another when that worker is gone.
 */
import { messageOf } from '../errors.js'

const FIRST_PARTITION = 0

/**
 * @typedef {object} Duty
 * @property {number} everySeconds
 * @property {() => number[]} partitions of the worker
 * @property {() => import('flowcraft').ILogger} logger
 * @property {string} failure what is logged when it fails, in words
 * @property {(signal: AbortSignal) => Promise<unknown>} work
 */

export class Caretaker {
	/** @type {NodeJS.Timeout | undefined} */
	#timer
	/** @type {Promise<void> | undefined} */
	#round
	#end = new AbortController()
	#duty

	/** @param {Duty} duty */
	constructor(duty) {
		this.#duty = duty
	}

	start() {
		if (this.#timer) return
		this.#end = new AbortController()
		// The worker keeps the process, this does not.
		this.#timer = setInterval(() => this.#look(), this.#duty.everySeconds * 1000).unref()
	}

	/** What is under way ends first. */
	async stop() {
		clearInterval(this.#timer)
		this.#timer = undefined
		this.#end.abort()
		await this.#round
	}

	#look() {
		if (this.#round || !this.#duty.partitions().includes(FIRST_PARTITION)) return
		this.#round = this.#work().finally(() => {
			this.#round = undefined
		})
	}

	async #work() {
		const { work, logger, failure } = this.#duty
		try {
			await work(this.#end.signal)
		} catch (error) {
			logger().error(`[KafkaAdapter] ${failure}: ${messageOf(error)}`)
		}
	}
}
