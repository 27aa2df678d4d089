/**
 * Attempts of a node that wait for a durable timer instead of following each other in the process (`retryMode: 'queue'`).
 *
 * Which node does, the hooks of Flowcraft's adapters say: `shouldRetryInProcess`, and `getQueueRetryOptions` with what BullMQ
 * takes, `{ attempts, backoff }`. What that leaves out comes from the node's `config`.
 */
import { FlowcraftError, isNodeClass } from 'flowcraft'
import { shown } from '../clients/fields.js'
import { optionError } from '../errors.js'
import { messageOf } from './outcome.js'

/** @typedef {import('flowcraft').NodeDefinition} NodeDefinition */
/** @typedef {import('flowcraft').FlowRuntime<any, any>} Runtime */

/**
 * @typedef {object} RetryHooks
 * @property {(node: NodeDefinition) => boolean} shouldRetryInProcess
 * @property {(node: NodeDefinition) => Record<string, any> | undefined} getQueueRetryOptions
 */

/**
 * @typedef {object} RetryPlan
 * @property {number} attempts all of them, the first included
 * @property {'exponential' | 'fixed'} type
 * @property {number} delayMs before the second attempt
 * @property {number} jitter the part of each delay that chance decides, 0 to 1
 */

/** As Flowcraft's adapter for BullMQ has it. */
export const RETRY_DELAY_MS = 1_000
/** Where exponential delays stop growing; a longer first delay is kept. */
export const LONGEST_DELAY_MS = 3_600_000
/** Half of a delay: attempts of many runs that failed together spread, and none comes at once. */
const JITTER = 0.5
/** What Flowcraft throws where a run was cancelled. */
const CANCELLED = 'Workflow cancelled'
/** A cycle of causes would never end; nobody nests this deep. */
const DEEPEST_CAUSE = 32

/**
 * @param {RetryPlan} plan
 * @param {number} failed attempts so far, at least 1
 * @param {number} chance from 0 to 1
 * @returns {number} whole milliseconds until the next attempt
 */
export function delayAfter({ type, delayMs, jitter }, failed, chance) {
	if (delayMs === 0) return 0
	const grown = type === 'fixed' ? delayMs : Math.min(delayMs * 2 ** (failed - 1), Math.max(delayMs, LONGEST_DELAY_MS))
	return Math.round(grown * (1 - jitter * chance))
}

/**
 * @param {NodeDefinition} node
 * @param {Record<string, any> | undefined} options of `getQueueRetryOptions`
 * @returns {RetryPlan}
 */
export function planOf({ config = {} }, options = {}) {
	const { attempts, backoff } = options
	const {
		type = 'exponential',
		delay,
		jitter = JITTER,
	} = typeof backoff === 'number' ? { type: 'fixed', delay: backoff } : (backoff ?? {})
	const at = 'getQueueRetryOptions().backoff'
	if (!['undefined', 'number', 'object'].includes(typeof backoff))
		throw optionError(at, `${shown(backoff)} is not known`, 'Use milliseconds, or { type, delay, jitter }')
	if (type !== 'exponential' && type !== 'fixed')
		throw optionError(`${at}.type`, `${shown(type)} is not known`, 'Use "exponential" or "fixed"')
	if (!(jitter >= 0 && jitter <= 1))
		throw optionError(`${at}.jitter`, `${shown(jitter)} is not from 0 to 1`, `The default is ${JITTER}`)
	return {
		attempts: [attempts, config.maxRetries].find((count) => Number.isInteger(count) && count >= 1) ?? 1,
		type,
		delayMs: [delay, config.retryDelay].find((ms) => Number.isFinite(ms) && ms >= 0) ?? RETRY_DELAY_MS,
		jitter,
	}
}

/**
 * Whether another attempt may help: not after a fatal error, also where it is a cause, nor where the run was cancelled.
 *
 * @param {any} error
 */
export function mayRetry(error) {
	if (error?.name === 'AbortError' || (error instanceof FlowcraftError && error.message === CANCELLED)) return false
	for (let depth = 0, at = error; at && depth < DEEPEST_CAUSE; depth++, at = at.cause)
		if (at instanceof FlowcraftError && at.isFatal) return false
	return true
}

export class QueueRetries {
	#hooks
	#missing
	#warn
	#random
	#hasWarned = false

	/**
	 * @param {RetryHooks} hooks
	 * @param {{ missing: () => string | null, warn: (text: string) => void, random?: () => number }} worker `missing`: why there is
	 *   no place for timers
	 */
	constructor(hooks, { missing, warn, random = Math.random }) {
		this.#hooks = hooks
		this.#missing = missing
		this.#warn = warn
		this.#random = random
	}

	/**
	 * @param {NodeDefinition} node that is about to run
	 * @returns {RetryPlan | undefined} `undefined`: its attempts follow each other in the process
	 */
	planFor(node) {
		if (this.#hooks.shouldRetryInProcess(node)) return undefined
		const missing = this.#missing()
		if (missing === null) return planOf(node, this.#hooks.getQueueRetryOptions(node))
		if (!this.#hasWarned) this.#warn(`[KafkaAdapter] Nodes are retried in the process, without a delay: ${missing}`)
		this.#hasWarned = true
		return undefined
	}

	/**
	 * @param {RetryPlan} plan
	 * @param {number} failed attempts so far
	 * @returns {number} when the next attempt is due, milliseconds since the epoch
	 */
	nextAt(plan, failed) {
		return Date.now() + delayAfter(plan, failed, this.#random())
	}
}

/**
 * The same runtime, whose executors make one attempt of a node that is retried by timers, and all of any other: Flowcraft's
 * factory asks the adapter alone, which knows nothing of children of subflows (they run in the process) and of missing tables.
 *
 * @param {Runtime} runtime
 * @returns {Runtime}
 */
export const withSingleAttempts = (runtime) =>
	Object.create(runtime, {
		getExecutorForNode: {
			/** @param {string} nodeId @param {any} execution */
			value: (nodeId, execution) => {
				const executor = /** @type {any} */ (runtime.getExecutorForNode(nodeId, execution))
				const { strategy, nodeDef } = executor
				const { plan, isLastAttempt } = execution.state
				strategy.maxRetries = plan ? 1 : (nodeDef.config?.maxRetries ?? 1)
				if (plan && !isLastAttempt && isNodeClass(strategy.implementation))
					strategy.implementation = withoutFallback(/** @type {any} */ (strategy.implementation))
				return executor
			},
		},
	})

/**
 * The `fallback` of a class node takes the place of its last attempt, as in memory.
 *
 * @param {any} Implementation
 */
const withoutFallback = (Implementation) => {
	const Attempt = class extends Implementation {
		/** @param {any} error */
		async fallback(error) {
			throw error
		}
	}
	return Object.defineProperty(Attempt, 'name', { value: Implementation.name })
}

/**
 * @param {import('flowcraft').ILogger} logger
 * @param {{ nodeId: string, attempt: number, error: any }} visit that has failed
 * @param {RetryPlan} plan
 * @param {string} runId
 * @param {number} at when the next attempt is due, milliseconds since the epoch
 */
export function logRetry(logger, { nodeId, attempt, error }, { attempts }, runId, at) {
	logger.warn(
		`[KafkaAdapter] Attempt ${attempt} of ${attempts} of node '${nodeId}' of run '${runId}' failed, the next one is due at ` +
			`${new Date(at).toISOString()}: ${messageOf(error?.cause ?? error)}`,
	)
}
