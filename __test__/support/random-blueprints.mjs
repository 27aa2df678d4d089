/**
 * Random blueprints with deterministic node bodies.
 *
 * Bodies take a number of turns of the event loop, which a variant permutes. Memory and the sessions count the same turns,
 * so in schedule `wave` nodes end in the same order and everything can be compared, races included. For `eager` those
 * blueprints are compared on which memory gives the same result in all variants: their nodes do not race (design G11).
 */
import fc from 'fast-check'
import { FlowcraftError, UnsafeEvaluator } from 'flowcraft'

const UUID = /[0-9a-f]{8}-[0-9a-f-]{27}/g
const turn = () => new Promise((resolve) => setImmediate(resolve))

const PLAIN = [
	'value',
	'value',
	'value',
	'value',
	'undefined',
	'empty',
	'void',
	'fail',
	'action',
	'action',
	'null',
	'text',
]
const SPECIAL = ['loop', 'batch', 'subflow', 'fatal', 'missing', 'retry', 'dynamic', 'writes']
const RACING = ['keys', 'counter', 'mutates', 'wait', 'sleep', 'alias']

const node = (/** @type {string[]} */ kinds) =>
	fc.record({
		kind: fc.constantFrom(...kinds),
		delay: fc.nat(3),
		any: fc.nat(3).map((n) => n === 0),
		fallback: fc.option(fc.nat(9), { freq: 4 }),
		explicit: fc.boolean(),
		items: fc.nat(4),
		failing: fc.nat(9),
	})

const edge = fc.record({
	from: fc.nat(9),
	to: fc.nat(9),
	type: fc.constantFrom(
		'plain',
		'plain',
		'plain',
		'plain',
		'action',
		'other',
		'true',
		'false',
		'transform',
		'context',
		'twice',
	),
})

/** @param {'eager' | 'wave'} profile @param {{ racing?: boolean }} [options] nodes that read or change what others see */
export function arbitrarySpec(profile, { racing = profile === 'wave' } = {}) {
	const kinds = [...PLAIN, ...PLAIN, ...SPECIAL, ...(racing ? RACING : [])]
	return fc.record({
		profile: fc.constant(profile),
		nodes: fc.array(node(kinds), { minLength: 1, maxLength: 8 }),
		edges: fc.array(edge, { minLength: 2, maxLength: 14 }),
	})
}

/**
 * @typedef {object} Built
 * @property {any} blueprint
 * @property {Record<string, any>} blueprints
 * @property {Record<string, any>} initial
 * @property {Set<string>} ignore keys that are not compared
 */

/** @param {any} spec @returns {Built} */
export function buildBlueprint(spec) {
	const parts = spec.nodes.map((/** @type {any} */ one, /** @type {number} */ i) => part(one, `n${i}`))
	const edges = forwardEdges(spec, parts)
	// Memory's barrier lets conditions read what siblings of the source have written (row 7).
	if (spec.profile === 'eager') for (const one of edges) if (one.condition === 'n0 || flag') one.condition = 'flag'
	const nodes = parts.flatMap((/** @type {any} */ one) => one.nodes)
	const inner = parts.flatMap((/** @type {any} */ one) => one.edges)
	addFallbacks(spec, parts, edges)
	const all = [...inner, ...edges]
	/** @type {Set<string>} */
	const ignore = new Set()
	for (const target of nodes) {
		const sources = predecessors(target.id, all)
		// Of two transforms into one node the second sees the first one's result (row 20): their order matters.
		if (spec.profile === 'eager' && sources.size > 1)
			for (const one of edges) if (one.target === target.id) delete one.transform
		// An eager `any` join does not wait for the end of the wave: what it reads of its sources is a race.
		if (spec.profile === 'eager' && target.config?.joinStrategy === 'any') {
			target.params.blind = true
			ignore.add(`_inputs.${target.id}`)
			continue
		}
		if (sources.size > 1 && target.params?.explicit)
			target.inputs = Object.fromEntries([...sources].map((id) => [id, id]))
	}
	return {
		blueprint: { id: 'random', nodes, edges: all },
		blueprints: SUBFLOWS,
		initial: { flag: true, zero: 0, counter: 0 },
		ignore,
	}
}

/** @param {any} spec @param {string} id @returns {any} */
function part(spec, id) {
	const { kind, delay, any, explicit, items, failing } = spec
	const body = (/** @type {string} */ name, /** @type {any} */ params = {}) => ({
		id: name,
		uses: 'body',
		params: { kind, delay, explicit, name, ...params },
		config: {},
	})
	if (kind === 'loop') {
		return {
			entry: `${id}_i`,
			exit: `${id}_b`,
			nodes: [
				body(`${id}_i`, { kind: 'text' }),
				body(`${id}_s`, { kind: 'count' }),
				body(`${id}_e`, { kind: 'same' }),
				// Without a break edge a loop never ends.
				body(`${id}_b`, { kind: 'text' }),
				{
					id,
					uses: 'loop-controller',
					params: { condition: `(context["${id}_e"] || 0) < ${items}` },
					config: { joinStrategy: 'any' },
				},
			],
			edges: [
				// Edges from outside lead to the controller, as Flowcraft asks.
				{ source: `${id}_i`, target: id },
				{ source: `${id}_s`, target: `${id}_e` },
				{ source: `${id}_e`, target: id },
				{ source: id, target: `${id}_s`, action: 'continue', transform: `context["${id}_e"]` },
				{ source: id, target: `${id}_b`, action: 'break', transform: `context["${id}_e"]` },
			],
		}
	}
	if (kind === 'batch') {
		return {
			entry: `${id}_scatter`,
			exit: `${id}_gather`,
			nodes: [
				{ id: `${id}_list`, uses: 'body', params: { kind: 'list', items, delay, name: `${id}_list` }, config: {} },
				{
					id: `${id}_scatter`,
					uses: 'batch-scatter',
					inputs: `${id}_list`,
					params: {
						workerUsesKey: failing === 0 ? 'badWorker' : 'worker',
						gatherNodeId: `${id}_gather`,
						outputKey: `${id}_out`,
					},
				},
				{
					id: `${id}_gather`,
					uses: 'batch-gather',
					params: { outputKey: `${id}_out`, gatherNodeId: `${id}_gather` },
					config: { joinStrategy: 'all' },
				},
			],
			edges: [
				{ source: `${id}_list`, target: `${id}_scatter` },
				{ source: `${id}_scatter`, target: `${id}_gather` },
			],
			fixedInputs: true,
		}
	}
	if (kind === 'subflow') {
		const blueprintId = Object.keys(SUBFLOWS)[items % Object.keys(SUBFLOWS).length]
		return single(
			{
				id,
				uses: 'subflow',
				params: { blueprintId, ...(explicit ? { inputs: { seed: 'flag' }, outputs: { [`${id}_sub`]: 'last' } } : {}) },
			},
			explicit,
		)
	}
	if (kind === 'wait') return single({ id, uses: 'wait' })
	if (kind === 'sleep') return single({ id, uses: 'sleep', params: { duration: 60_000 } })
	if (kind === 'missing') return single({ id, uses: 'nowhere' })
	const made = body(id, kind === 'dynamic' ? { items } : kind === 'retry' ? { failures: failing % 3 } : {})
	made.config = {
		...(any && kind !== 'retry' ? { joinStrategy: 'any' } : {}),
		...(kind === 'retry' ? { maxRetries: 1 + (items % 3) } : {}),
	}
	return single(made)
}

/** @param {any} node @param {boolean} [fixedInputs] */
function single(node, fixedInputs = false) {
	return { entry: node.id, exit: node.id, nodes: [node], edges: [], fixedInputs }
}

/** @param {any} spec @param {any[]} parts */
function forwardEdges(spec, parts) {
	/** @type {any[]} */
	const edges = []
	for (const { from, to, type } of spec.edges) {
		const [a, b] = [from % parts.length, to % parts.length].sort((x, y) => x - y)
		if (a === b) continue
		const [source, target] = [parts[a], parts[b]]
		const made = edgeOf(source, target, type)
		edges.push(made)
		if (type === 'twice') edges.push({ ...made, action: 'go' })
	}
	return edges
}

/** @param {any} source @param {any} target @param {string} type */
function edgeOf(source, target, type) {
	const base = { source: source.exit, target: target.entry }
	if (type === 'action') return { ...base, action: 'go' }
	if (type === 'other') return { ...base, action: 'stay' }
	if (type === 'true') return { ...base, condition: 'result.output' }
	if (type === 'false') return { ...base, condition: 'zero' }
	if (type === 'transform') return { ...base, transform: 'input && input.id' }
	if (type === 'context') return { ...base, condition: 'n0 || flag' }
	return base
}

/** @param {any} spec @param {any[]} parts @param {any[]} edges */
function addFallbacks(spec, parts, edges) {
	spec.nodes.forEach((/** @type {any} */ one, /** @type {number} */ i) => {
		if (one.fallback === null) return
		const target = parts[one.fallback % parts.length]
		const own = parts[i].nodes[0]
		// Backward fallbacks make cycles of inherited edges: memory then runs until its cap.
		if (
			one.fallback % parts.length <= i ||
			own.uses !== 'body' ||
			target.nodes.length > 1 ||
			target.nodes[0].uses !== 'body'
		)
			return
		// A fallback that also runs for itself writes to the successors of what it would replace, whenever it comes.
		if (spec.profile === 'eager' && edges.some((other) => other.target === target.entry)) return
		own.config.fallback = target.entry
	})
}

/** Distinct sources of a node's edges. @param {string} id @param {any[]} edges */
function predecessors(id, edges) {
	return new Set(edges.filter(({ target }) => target === id).map(({ source }) => source))
}

/** @param {any} value */
function digest(value) {
	const text = (JSON.stringify(value) ?? 'undefined').replace(UUID, '*').replace(/"_executionId":"[^"]*"/g, '')
	let hash = 0
	for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0
	return hash
}

/** How many variants of speed there are. */
export const VARIANTS = 9

/**
 * Turns that a node takes: as the blueprint says, all the same, first nodes slow, last nodes slow, or mixed.
 * @param {number} variant @param {string} name @param {number} delay
 */
function turnsOf(variant, name, delay) {
	const place = Number(/\d+/.exec(name)?.[0] ?? 0) % 10
	// Odd, while a subflow takes an even number in all: on a tie the number of microtasks would decide.
	const odd = (/** @type {number} */ n) => 2 * n + 1
	if (variant === 0) return odd(delay)
	if (variant === 1) return odd(0)
	if (variant === 2) return odd(9 - place)
	if (variant === 3) return odd(place)
	return odd((digest([variant, name]) >>> 0) % 9)
}

/** New for every run: some bodies count their calls. @param {number} [variant] */
export function randomRuntime(variant = 0) {
	/** @type {Map<string, number>} */
	const attempts = new Map()
	/** @param {any} nodeContext */
	async function body({ context, input, params, dependencies }) {
		for (let i = turnsOf(variant, params.name ?? '', params.delay ?? 0); i > 0; i--) await turn()
		const seen = params.blind ? 'blind' : input
		const { kind } = params
		if (kind === 'undefined') return { output: undefined }
		if (kind === 'empty') return {}
		if (kind === 'void') return undefined
		if (kind === 'null') return { output: null }
		if (kind === 'text') return { output: `t${digest(seen)}` }
		if (kind === 'fail') throw new Error(`failed on ${digest(seen)}`)
		if (kind === 'fatal') throw new FlowcraftError('fatal', { isFatal: true })
		if (kind === 'action') return { output: { id: 'acted', d: digest(seen) }, action: 'go' }
		if (kind === 'list') return { output: Array.from({ length: params.items }, (_, i) => ({ i })) }
		if (kind === 'count') return { output: (typeof input === 'number' ? input : 0) + 1 }
		if (kind === 'same') return { output: input }
		if (kind === 'keys')
			return {
				output: Object.keys(await context.toJSON())
					.map((key) => key.replace(UUID, '*'))
					.sort(),
			}
		if (kind === 'counter') {
			const n = await context.get('counter')
			await turn()
			await context.set('counter', n + 1)
			return { output: n, action: 'stay' }
		}
		if (kind === 'writes') {
			await context.set('written', { by: 'writer' })
			await context.set('gone', 1)
			await context.delete('gone')
			await context.set('nothing', undefined)
			return { output: await context.has('nothing') }
		}
		if (kind === 'mutates') {
			if (typeof input === 'object' && input !== null) input.mutated = (input.mutated ?? 0) + 1
			return { output: input }
		}
		if (kind === 'alias') {
			const all = await context.toJSON()
			return {
				output: {
					shared: Object.values(all).find(
						(value) => typeof value === 'object' && value !== null && Object.keys(value).length < 3,
					),
				},
			}
		}
		if (kind === 'retry') {
			const key = JSON.stringify(params)
			const attempt = (attempts.get(key) ?? 0) + 1
			attempts.set(key, attempt)
			if (attempt <= params.failures) throw new Error('not yet')
			attempts.set(key, 0)
			return { output: 'at last' }
		}
		if (kind === 'dynamic') {
			const emitter = dependencies.runtime ? digest(params) : 0
			return {
				output: { id: 'emitter' },
				dynamicNodes: Array.from({ length: params.items }, (_, i) => ({
					id: `dyn_${emitter}_${i}`,
					uses: 'body',
					inputs: 'flag',
					params: { kind: i === 1 ? 'undefined' : 'value', delay: i },
				})),
			}
		}
		return { output: { id: kind, d: digest(seen) } }
	}
	const worker = async (/** @type {any} */ { input }) => {
		for (let i = turnsOf(variant, `${input.i}`, input.i); i > 1; i--) await turn()
		return { output: input.i % 2 ? input.i * 10 : undefined }
	}
	const badWorker = async (/** @type {any} */ { input }) => {
		await turn()
		if (input.i === 1) throw new Error('bad item')
		return { output: input.i }
	}
	/** Built-in nodes take their time, too. */
	const slowdown = {
		async aroundNode(
			/** @type {any} */ _context,
			/** @type {string} */ nodeId,
			/** @type {() => Promise<any>} */ next,
		) {
			for (let i = turnsOf(variant, nodeId.replace(UUID, '*'), 0); i > 1; i--) await turn()
			return next()
		},
	}
	return {
		registry: { body, worker, badWorker },
		evaluator: new QuietEvaluator(),
		blueprints: SUBFLOWS,
		...(variant > 1 ? { middleware: [slowdown] } : {}),
	}
}

/** `UnsafeEvaluator` writes to the console what it cannot evaluate. */
class QuietEvaluator extends UnsafeEvaluator {
	/** @param {string} expression @param {Record<string, any>} context @override */
	evaluate(expression, context) {
		const { error } = console
		console.error = () => {}
		try {
			return super.evaluate(expression, context)
		} finally {
			console.error = error
		}
	}
}

const SUBFLOWS = {
	sub_plain: {
		id: 'sub_plain',
		nodes: [
			{ id: 'first', uses: 'body', params: { kind: 'value' } },
			{ id: 'last', uses: 'body', params: { kind: 'text' } },
		],
		edges: [{ source: 'first', target: 'last' }],
	},
	sub_fails: {
		id: 'sub_fails',
		nodes: [
			{ id: 'first', uses: 'body', params: { kind: 'value' } },
			{ id: 'last', uses: 'body', params: { kind: 'fail' } },
		],
		edges: [{ source: 'first', target: 'last' }],
	},
	sub_batch: {
		id: 'sub_batch',
		nodes: [
			{ id: 'list', uses: 'body', params: { kind: 'list', items: 3 } },
			{
				id: 'last_scatter',
				uses: 'batch-scatter',
				inputs: 'list',
				params: { workerUsesKey: 'worker', gatherNodeId: 'last_gather', outputKey: 'out' },
			},
			{ id: 'last_gather', uses: 'batch-gather', params: { gatherNodeId: 'last_gather', outputKey: 'out' } },
			{ id: 'last', uses: 'body', params: { kind: 'value' } },
		],
		edges: [
			{ source: 'list', target: 'last_scatter' },
			{ source: 'last_scatter', target: 'last_gather' },
			{ source: 'last_gather', target: 'last' },
		],
	},
}
