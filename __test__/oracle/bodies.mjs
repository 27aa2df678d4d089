/**
 * Node bodies with deterministic results, and the runtime options around them.
 *
 * Bodies take a number of turns of the event loop, which a variant permutes. Memory and the sessions count the same turns,
 * so in schedule `wave` nodes end in the same order and everything can be compared, races included.
 */
import { BaseNode, FlowcraftError, SubflowNode, UnsafeEvaluator } from 'flowcraft'

export const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g

/** What is different in every run, also in the text of a subflow's context. */
const OF_THIS_RUN = /\\*"(_executionId|wakeUpAt|url)\\*":\\*"[^"\\]*\\*"/g
/** Where a subflow's whole context is the value: what depends on when a wait was answered, and the links of `pauses.mjs`. */
const OF_PAUSES = /^_inputs\.|~\d+$/

/** How many variants of speed there are. */
export const VARIANTS = 15
const CONTROLLERS_LAST = 4
const CONTROLLERS_FIRST = 5
const FIRST_MIXED = 6
const MANY_TURNS = 40

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** In one order, whoever wrote first. @param {string} _key @param {any} value */
function canonical(_key, value) {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
	const kept = Object.keys(value).filter((key) => !OF_PAUSES.test(key))
	return Object.fromEntries(kept.toSorted().map((key) => [key, value[key]]))
}

/** @param {any} value */
export function digest(value) {
	const text = (JSON.stringify(value, canonical) ?? 'undefined').replace(UUID, '*').replace(OF_THIS_RUN, '')
	let hash = 0
	for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0
	return hash
}

/**
 * Turns that a node takes: as the blueprint says, all the same, first nodes slow, last nodes slow, or mixed. An odd number,
 * while those inside of subflows take even ones: between a node and a subflow that end in the same turn the number of
 * microtasks would decide, which is nobody's promise.
 * @param {number} variant @param {string} name @param {number} delay
 */
function turnsOf(variant, name, delay) {
	const place = Number(/\d+/.exec(name)?.[0] ?? 0) % 10
	const odd = (/** @type {number} */ n) => 2 * n + 1
	if (variant === 0) return odd(delay)
	if (variant === 1) return odd(0)
	if (variant === 2) return odd(9 - place)
	if (variant === 3) return odd(place)
	return odd(mixed([variant, name, 'body']) % 9)
}

/**
 * Turns around a node, its body's not counted. A controller that is entered again races with what it has started, and
 * has no body: it is the last and the first of them once each. Mixed turns are far enough apart for both, too.
 * @param {number} variant @param {string} nodeId
 */
function turnsAround(variant, nodeId) {
	const name = nodeId.replace(UUID, '*')
	// The parts of a loop or a batch are called after it (`parts.mjs`).
	const isPart = /_[a-z]+$/.test(name)
	if (variant < 2) return 0
	if (variant === CONTROLLERS_LAST) return isPart ? 0 : MANY_TURNS
	if (variant === CONTROLLERS_FIRST) return isPart ? MANY_TURNS : 0
	if (variant < FIRST_MIXED) return turnsOf(variant, name, 0) - 1
	return 2 * (mixed([variant, name]) % 25)
}

/** Numbers that have nothing to do with each other for values that are nearly the same. @param {any} value */
function mixed(value) {
	let hash = digest(value)
	hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
	hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
	return (hash ^ (hash >>> 16)) >>> 0
}

/** Results that need nothing but the call. @type {Record<string, (call: any, seen: any) => any>} */
const RESULTS = {
	undefined: () => ({ output: undefined }),
	empty: () => ({}),
	void: () => undefined,
	null: () => ({ output: null }),
	string: () => 'a string',
	text: (_, seen) => ({ output: `t${digest(seen)}` }),
	identity: (call) => ({ output: { ran: call.dependencies.runtime.executionId.length > 0 } }),
	fail: (_, seen) => {
		throw new Error(`failed on ${digest(seen)}`)
	},
	fatal: () => {
		throw new FlowcraftError('fatal', { isFatal: true })
	},
	action: (_, seen) => ({ output: { id: 'acted', d: digest(seen) }, action: 'go' }),
	stay: (_, seen) => ({ output: { id: 'stayed', d: digest(seen) }, action: 'stay' }),
	list: ({ params }) => ({ output: Array.from({ length: params.count }, (_, i) => ({ i })) }),
	count: ({ input }) => ({ output: (typeof input === 'number' ? input : 0) + 1 }),
	same: ({ input }) => ({ output: input }),
	answer: ({ params }) => params.answer,
	date: () => ({ output: new Date(0) }),
	isDate: ({ input }) => ({ output: { date: input instanceof Date } }),
	mutates: ({ input }) => {
		if (typeof input === 'object' && input !== null) input.mutated = (input.mutated ?? 0) + 1
		return { output: input }
	},
	dynamic: ({ params }) => ({
		output: { id: 'emitter' },
		dynamicNodes: dynamicNodes(`dyn_${params.name}`, params.count, ['value', 'undefined', 'value', 'fail']),
	}),
}

/** @param {string} prefix @param {number} count @param {string[]} kinds */
function dynamicNodes(prefix, count, kinds) {
	return Array.from({ length: count }, (_, i) => ({
		id: `${prefix}_${i}`,
		uses: 'body',
		inputs: 'flag',
		params: { kind: kinds[i % kinds.length], delay: i, name: `${prefix}_${i}` },
	}))
}

/** Results that use the context. @type {Record<string, (call: any) => Promise<any>>} */
const CONTEXT_RESULTS = {
	async reads({ context, params }) {
		const key = params.reads ?? 'flag'
		return { output: { has: await context.has(key), d: digest(await context.get(key)) } }
	},
	async keys({ context }) {
		const keys = Object.keys(await context.toJSON()).map((key) => key.replace(UUID, '*'))
		return { output: keys.sort() }
	},
	async counter({ context }) {
		const n = (await context.get('counter')) ?? 0
		await turn()
		await context.set('counter', n + 1)
		return { output: n, action: 'stay' }
	},
	async writes({ context, params }) {
		await context.set(`by.${params.name}`, { by: 'writer' })
		await context.set(`gone.${params.name}`, 1)
		await context.delete(`gone.${params.name}`)
		await context.set(`nothing.${params.name}`, undefined)
		return { output: await context.has(`nothing.${params.name}`) }
	},
	async alias({ context }) {
		const all = Object.values(await context.toJSON())
		const isSmall = (/** @type {any} */ value) =>
			typeof value === 'object' && value !== null && Object.keys(value).length < 3
		return { output: { shared: all.find(isSmall) } }
	},
}

/** How often a call was tried: the retries of a node share one call. @type {WeakMap<object, number>} */
const attempts = new WeakMap()

/** @param {any} call */
async function result(call) {
	const { params, input } = call
	const seen = params.blind ? 'blind' : input
	const { kind } = params
	if (kind === 'retry') {
		const attempt = (attempts.get(call) ?? 0) + 1
		attempts.set(call, attempt)
		if (attempt <= params.failures) throw new Error('not yet')
		return { output: 'at last' }
	}
	if (CONTEXT_RESULTS[kind]) return CONTEXT_RESULTS[kind](call)
	if (RESULTS[kind]) return RESULTS[kind](call, seen)
	return { output: { id: kind, d: digest(seen) } }
}

class Body extends BaseNode {
	/** @param {any} call @override */
	async prep(call) {
		return digest(this.params?.blind ? 'blind' : call.input)
	}

	/** @param {any} seen @override */
	async exec(seen) {
		if (this.params?.kind !== 'class') throw new Error(`class failed on ${seen}`)
		return { output: seen }
	}

	/** @param {Error} error @param {any} _call @override */
	async fallback(error, _call) {
		if (this.params?.kind !== 'classFallback') throw error
		return { output: `instead of ${error.message}` }
	}

	/** @param {any} made @override */
	async post({ output }) {
		return { output: { post: output } }
	}

	/** @param {Error} _error @param {any} call @override */
	async recover(_error, call) {
		await call.context.set(`recovered.${this.nodeId}`, true)
	}
}

/** A batch whose workers are subflows with a batch inside. */
class BatchWorker extends SubflowNode {
	/** @param {any} _params @param {string} nodeId */
	constructor(_params, nodeId) {
		super({ blueprintId: 'inner_batch' }, nodeId)
	}
}

export const INNER_BATCH = {
	id: 'inner_batch',
	nodes: [
		{ id: 'list', uses: 'body', params: { kind: 'list', count: 2, name: 'list', inner: true } },
		{
			id: 'in_scatter',
			uses: 'batch-scatter',
			inputs: 'list',
			params: { workerUsesKey: 'worker', gatherNodeId: 'in_gather', outputKey: 'out' },
		},
		{ id: 'in_gather', uses: 'batch-gather', params: { gatherNodeId: 'in_gather', outputKey: 'out' } },
	],
	edges: [
		{ source: 'list', target: 'in_scatter' },
		{ source: 'in_scatter', target: 'in_gather' },
	],
}

/** A hook that lets an error through disables the node's fallback; the result of a node that failed wins anyway. */
const quietly = async (/** @type {() => Promise<any>} */ next) => {
	try {
		return await next()
	} catch {
		return undefined
	}
}

/** By the end of a node's id: watched by hooks, answered by one, or with its errors thrown on. @type {any} */
const hooks = {
	async beforeNode(/** @type {any} */ context, /** @type {string} */ nodeId) {
		if (nodeId.endsWith('_watched')) await context.set(`before.${nodeId}`, true)
	},
	async afterNode(
		/** @type {any} */ context,
		/** @type {string} */ nodeId,
		/** @type {any} */ result,
		/** @type {any} */ error,
	) {
		if (nodeId.endsWith('_watched'))
			await context.set(`after.${nodeId}`, error?.message ?? result?.action ?? 'no action')
	},
	async aroundNode(/** @type {any} */ _context, /** @type {string} */ nodeId, /** @type {() => Promise<any>} */ next) {
		if (nodeId.endsWith('_short')) return { output: 'short cut' }
		return nodeId.endsWith('_loud') ? next() : quietly(next)
	},
}

/** `UnsafeEvaluator` writes to the console what it cannot evaluate. */
class QuietEvaluator extends UnsafeEvaluator {
	/** @param {string} expression @param {Record<string, any>} context @override */
	evaluate(expression, context) {
		if (expression === 'boom') throw new Error('the evaluator broke')
		const { error } = console
		console.error = () => {}
		try {
			return super.evaluate(expression, context)
		} finally {
			console.error = error
		}
	}
}

/**
 * @typedef {object} Around what a driver wants to know of the bodies that run
 * @property {(call: any) => unknown} [begin] awaited before a body's own turns
 */

/**
 * Runtime options without blueprints.
 *
 * @param {number} [variant]
 * @param {Around} [around]
 */
export function runtimeOptions(variant = 0, { begin } = {}) {
	const take = async (/** @type {string} */ name, /** @type {number} */ delay, least = 0) => {
		for (let i = turnsOf(variant, name, delay); i > least; i--) await turn()
	}
	/** @param {any} call */
	async function body(call) {
		await begin?.(call)
		await take(call.params.name ?? '', call.params.delay ?? 0, call.params.inner ? 1 : 0)
		if (call.params.inner) await turn()
		return result(call)
	}
	const pass = async (/** @type {any} */ { input }) => ({ output: input })
	const worker = async (/** @type {any} */ { input }) => {
		await take(`${input.i}`, input.i, 1)
		return { output: input.i % 2 ? input.i * 10 : undefined }
	}
	const badWorker = async (/** @type {any} */ { input }) => {
		await turn()
		if (input.i === 1) throw new Error('bad item')
		return { output: input.i }
	}
	const emitWorker = async (/** @type {any} */ { input }) => {
		await turn()
		return { output: input.i, dynamicNodes: dynamicNodes(`from_worker_${input.i}`, 1, ['value']) }
	}
	/**
	 * Built-in nodes take their time, too; and of nodes that take none the first to start ends first, however many
	 * microtasks each needs. The links of `pauses.mjs` (`~`) are only there to be many.
	 */
	const slowdown = {
		async aroundNode(/** @type {any} */ _context, /** @type {string} */ nodeId, /** @type {() => any} */ next) {
			if (nodeId.includes('~')) return next()
			await turn()
			await turn()
			for (let i = turnsAround(variant, nodeId); i > 0; i--) await turn()
			return nodeId.endsWith('_loud') ? next() : quietly(next)
		},
	}
	return {
		registry: { body, pass, body_class: Body, worker, badWorker, emitWorker, batchWorker: BatchWorker },
		evaluator: new QuietEvaluator(),
		middleware: [slowdown, hooks],
	}
}
