/**
 * `config.timeout` of nodes, for `enforceTimeouts`: Flowcraft reads it nowhere.
 *
 * An attempt that takes longer fails there and then; Flowcraft's own rules for retries and fallbacks go on from that. Its body may
 * run on, but its signal is aborted, and what it would still write is refused.
 */
import { isNodeClass } from 'flowcraft'
import { Code, KafkaAdapterError } from '../errors.js'

/** What timers of Node can hold, about 25 days; a longer limit is none. */
const LONGEST_MS = 2 ** 31 - 1
const READS = /^(get|has|is|toJSON)/

/** @typedef {import('flowcraft').FlowRuntime<any, any>} Runtime */
/** @typedef {{ nodeId: string, runId: string, limitMs: number, attempts: number, earlier: number }} Limit */

/**
 * The same runtime, whose executors keep limits; subflows that it runs do, too.
 *
 * @param {Runtime} runtime
 * @returns {Runtime}
 */
export const withTimeouts = (runtime) =>
	Object.create(runtime, {
		getExecutorForNode: {
			/** @param {string} nodeId @param {any} execution */
			value: (nodeId, execution) => limited(runtime.getExecutorForNode(nodeId, execution)),
		},
	})

/** @param {any} executor Flowcraft's `NodeExecutor` */
const limited = (executor) => {
	const { nodeDef, strategy, context } = executor
	const limitMs = nodeDef?.config?.timeout
	if (!(typeof limitMs === 'number' && limitMs > 0 && limitMs <= LONGEST_MS) || !strategy?.implementation)
		return executor
	// Of a node that timers retry, this is one attempt of several.
	const { plan, attempt = 1 } = context.state
	const attempts = plan?.attempts ?? strategy.maxRetries
	const limit = { nodeId: nodeDef.id, runId: context.executionId, limitMs, attempts, earlier: plan ? attempt - 1 : 0 }
	const { implementation } = strategy
	strategy.implementation = isNodeClass(implementation)
		? limitedClass(/** @type {any} */ (implementation), limit)
		: limitedFunction(implementation, limit)
	return executor
}

/** @param {any} body @param {Limit} limit */
const limitedFunction = (body, limit) => {
	let attempt = limit.earlier
	return (/** @type {any} */ context) => within({ ...limit, attempt: ++attempt }, context, body)
}

/**
 * An attempt of a class node is its `exec`; what comes before and after it has the limit for itself.
 *
 * @param {any} Implementation
 * @param {Limit} limit
 */
const limitedClass = (Implementation, limit) => {
	let attempt = limit.earlier
	const Limited = class extends Implementation {
		/** @param {any} context */
		prep(context) {
			return within({ ...limit, phase: 'prep' }, context, (/** @type {any} */ own) => super.prep(own))
		}

		/** @param {any} prepared @param {any} context */
		exec(prepared, context) {
			return within({ ...limit, attempt: ++attempt }, context, (/** @type {any} */ own) => super.exec(prepared, own))
		}

		/** @param {any} result @param {any} context */
		post(result, context) {
			return within({ ...limit, phase: 'post' }, context, (/** @type {any} */ own) => super.post(result, own))
		}
	}
	return Object.defineProperty(Limited, 'name', { value: Implementation.name })
}

/**
 * @param {Limit & { attempt?: number, phase?: string }} limit
 * @param {any} context of the node
 * @param {(context: any) => any} body
 */
const within = async (limit, context, body) => {
	const abort = new AbortController()
	const outer = context.signal
	const forward = () => abort.abort(outer.reason)
	if (outer?.aborted) forward()
	outer?.addEventListener('abort', forward, { once: true })
	/** @type {NodeJS.Timeout | undefined} */
	let timer
	try {
		return await new Promise((resolve, reject) => {
			const expire = () => {
				const error = timeoutError(limit)
				// Before the signal: a body that answers it with an error of its own comes too late.
				reject(error)
				abort.abort(error)
			}
			timer = setTimeout(expire, limit.limitMs)
			Promise.resolve(body(attemptContext(context, abort.signal))).then(resolve, reject)
		})
	} finally {
		clearTimeout(timer)
		outer?.removeEventListener('abort', forward)
	}
}

/** @param {Limit & { attempt?: number, phase?: string }} limit */
const timeoutError = ({ nodeId, runId, limitMs, attempts, attempt, phase }) => {
	const what = phase ?? `attempt ${attempt} of ${attempts}`
	return new KafkaAdapterError(
		Code.NodeTimeout,
		`node "${nodeId}" of run "${runId}": ${what} took longer than its config.timeout of ${limitMs} ms. ` +
			'Raise it, or let the node end when its signal is aborted',
		{ retryable: true },
	)
}

/**
 * What the node sees in one attempt.
 *
 * @param {any} context
 * @param {AbortSignal} signal
 */
const attemptContext = (context, signal) => {
	const { workflowState, runtime } = context.dependencies
	const state = whileOpen(workflowState, signal)
	const execution = Object.assign(Object.create(Object.getPrototypeOf(runtime)), runtime, { state, signal })
	return {
		...context,
		context: whileOpen(context.context, signal),
		dependencies: { ...context.dependencies, workflowState: state, runtime: execution },
		signal,
	}
}

/**
 * Takes no changes any more once the attempt has timed out.
 *
 * @param {any} target
 * @param {AbortSignal} signal
 */
const whileOpen = (target, signal) =>
	new Proxy(target, {
		get(_, name) {
			const member = Reflect.get(target, name, target)
			if (typeof member !== 'function') return member
			if (name === 'getContext') return () => whileOpen(member.call(target), signal)
			if (typeof name === 'string' && READS.test(name)) return member.bind(target)
			return (/** @type {any[]} */ ...args) => (isOver(signal) ? refusal(signal) : member.apply(target, args))
		},
	})

/** @param {AbortSignal} signal */
const isOver = ({ aborted, reason }) => aborted && reason?.code === Code.NodeTimeout

/** A body that nobody waits for any more may not look at its promises: they must not end the process. @param {AbortSignal} signal */
const refusal = (signal) => {
	const refused = Promise.reject(signal.reason)
	refused.catch(() => undefined)
	return refused
}
