/**
 * Looks after stalled runs from time to time (`reconcileEverySeconds`), in one worker of the group: the one that has the first
 * partition of the topic. No election is needed, the group has made one, and it makes another when that worker is gone.
 */
import { messageOf } from '../errors.js'
import { createKafkaReconciler } from '../reconciler.js'

/** Rows of open runs are touched every 30 s (`touch_every` in src/kernel/machine): whoever stands this long is in no worker's hands. */
const STALLED_SECONDS = 300
const AT_ONCE = 4
const FIRST_PARTITION = 0

/**
 * @typedef {object} CaretakerHost
 * @property {number} everySeconds
 * @property {() => number[]} partitions of the worker
 * @property {() => import('flowcraft').ILogger} logger
 * @property {Omit<Parameters<typeof createKafkaReconciler>[0], 'stalledThresholdSeconds'>} place
 */

export class Caretaker {
	/** @type {NodeJS.Timeout | undefined} */
	#timer
	/** @type {Promise<void> | undefined} */
	#round
	#end = new AbortController()
	#host

	/** @param {CaretakerHost} host */
	constructor(host) {
		this.#host = host
	}

	start() {
		if (this.#timer) return
		this.#end = new AbortController()
		// The worker keeps the process, this does not.
		this.#timer = setInterval(() => this.#look(), this.#host.everySeconds * 1000).unref()
	}

	/** What is under way ends first. */
	async stop() {
		clearInterval(this.#timer)
		this.#timer = undefined
		this.#end.abort()
		await this.#round
	}

	#look() {
		if (this.#round || !this.#host.partitions().includes(FIRST_PARTITION)) return
		this.#round = this.#reconcile().finally(() => {
			this.#round = undefined
		})
	}

	async #reconcile() {
		const { place, logger } = this.#host
		try {
			const reconciler = createKafkaReconciler({ ...place, logger: logger(), stalledThresholdSeconds: STALLED_SECONDS })
			await reconciler.run({ concurrency: AT_ONCE, signal: this.#end.signal })
		} catch (error) {
			logger().error(`[KafkaAdapter] Stalled runs could not be looked for: ${messageOf(error)}`)
		}
	}
}
