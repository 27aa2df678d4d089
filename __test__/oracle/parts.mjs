/**
 * What one node of a recipe becomes: a node, or several with edges between them.
 *
 * @typedef {object} Part
 * @property {string} entry where edges from outside lead to
 * @property {string} exit where edges to others begin
 * @property {any[]} nodes
 * @property {any[]} edges
 *
 * @typedef {object} Scope what the parts of one blueprint share
 * @property {import('./generator.mjs').Profile} profile
 * @property {string} blueprintId
 * @property {Record<string, any>} blueprints gets the children
 * @property {{ left: number }} budget nodes that may still be made
 * @property {(child: any, id: string, scope: Scope) => any} buildChild
 * @property {number} sleepMs
 */

const CLASSES = ['class', 'classFallback', 'classFails']

/** @param {any} recipe @param {string} id @param {Scope} scope @returns {Part} */
export function part(recipe, id, scope) {
	if (recipe.kind === 'loop' && scope.budget.left >= 5) return loop(recipe, id, scope)
	if (recipe.kind === 'batch' && scope.budget.left >= 3) return batch(recipe, id, scope)
	if (recipe.kind === 'subflow' && scope.budget.left >= 2) return subflow(recipe, id, scope)
	const { nodes: _nodes, ...rest } = recipe
	return single(nodeOf(rest, id, scope), scope)
}

/** @param {string} id @param {any} params @param {any} [more] */
const body = (id, params, more = {}) => ({ id, uses: 'body', params: { ...params, name: id }, config: {}, ...more })

/** @param {any} node @param {Scope} scope @returns {Part} */
function single(node, scope) {
	scope.budget.left--
	return { entry: node.id, exit: node.id, nodes: [node], edges: [] }
}

/** @param {any} recipe @param {string} plainId @param {Scope} scope */
function nodeOf({ kind, delay = 0, any, count = 0, inputs, hook = '', limits = '' }, plainId, { sleepMs }) {
	const id = `${plainId}${hook}`
	// Hooks see how a pause begins, not its answer (pauses.mjs).
	if (kind === 'wait') return { id: plainId, uses: 'wait', config: {} }
	if (kind === 'webhook') return { id: plainId, uses: 'webhook', config: {} }
	if (kind === 'sleep') return { id: plainId, uses: 'sleep', params: { duration: sleepMs }, config: {} }
	if (kind === 'missing') return { id, uses: 'nowhere', config: {} }
	const node = body(id, { kind, delay, inputs, count, ...(kind === 'retry' ? { failures: delay } : {}) })
	if (CLASSES.includes(kind)) node.uses = 'body_class'
	node.config = {
		...(any ? { joinStrategy: 'any' } : {}),
		...(kind === 'retry' ? { maxRetries: 1 + (count % 3) } : {}),
		// Neither does anything in memory (row 27).
		...(limits === 'times' ? { timeout: 1, retryDelay: 60_000 } : {}),
		...(limits === 'never' ? { maxRetries: 0 } : {}),
	}
	return node
}

/**
 * `i -> loop`, then `loop -> s -> (body) -> e -> loop` until `count` rounds are over, then `loop -> b`.
 *
 * @param {any} recipe @param {string} id @param {Scope} scope @returns {Part}
 */
function loop({ count = 0, exit, body: inner = [] }, id, scope) {
	scope.budget.left -= 5
	const names = Object.fromEntries(['i', 's', 'e', 'b', 'x'].map((end) => [end, `${id}_${end}`]))
	const { i, s, e, b, x } = names
	const condition = (/** @type {number} */ rounds) => `(context["${e}"] || 0) < ${rounds}`
	const parts = inner.map((/** @type {any} */ one, /** @type {number} */ at) => part(one, `${id}_${at}`, scope))
	const chain = [s, ...parts.flatMap((/** @type {Part} */ one) => [one.entry, one.exit]), e]
	const links = []
	for (let at = 0; at < chain.length; at += 2) links.push({ source: chain[at], target: chain[at + 1] })
	const controller = { params: { condition: condition(count) }, config: { joinStrategy: 'any' } }
	const carry = `context["${e}"]`
	return {
		// Edges from outside lead to `i`, not to the controller, as Flowcraft asks.
		entry: i,
		exit: b,
		nodes: [
			body(i, { kind: 'text' }),
			body(s, { kind: 'count' }),
			...parts.flatMap((/** @type {Part} */ one) => one.nodes),
			body(e, { kind: 'same' }, { inputs: s }),
			// Without a break edge a loop never ends.
			body(b, { kind: 'text' }),
			...(exit ? [body(x, { kind: 'text' })] : []),
			{ id, uses: 'loop-controller', ...controller },
		],
		edges: [
			...parts.flatMap((/** @type {Part} */ one) => one.edges),
			...links,
			{ source: i, target: id },
			{ source: e, target: id },
			{ source: id, target: s, action: 'continue', transform: carry },
			{ source: id, target: b, action: 'break', transform: carry },
			...(exit ? [{ source: id, target: x, condition: `context["${e}"] === 2` }] : []),
		],
	}
}

/** @param {any} recipe @param {string} id @param {Scope} scope @returns {Part} */
function batch({ count = 0, worker, chunked }, id, scope) {
	scope.budget.left -= 3
	const [list, scatter, gather] = ['list', 'scatter', 'gather'].map((end) => `${id}_${end}`)
	const params = { workerUsesKey: worker, gatherNodeId: gather, outputKey: `${id}_out` }
	return {
		entry: list,
		exit: gather,
		nodes: [
			body(list, { kind: 'list', count }),
			{
				id: scatter,
				uses: 'batch-scatter',
				inputs: list,
				params: { ...params, ...(chunked ? { chunkSize: 2 } : {}) },
				config: {},
			},
			{
				id: gather,
				uses: 'batch-gather',
				params: { outputKey: params.outputKey, gatherNodeId: gather },
				config: { joinStrategy: 'all' },
			},
		],
		edges: [
			{ source: list, target: scatter },
			{ source: scatter, target: gather },
		],
	}
}

/** @param {any} recipe @param {string} id @param {Scope} scope @returns {Part} */
function subflow({ mapped, child }, id, scope) {
	const blueprintId = `${scope.blueprintId}_${id}`
	scope.blueprints[blueprintId] = scope.buildChild(child, blueprintId, scope)
	const { nodes } = scope.blueprints[blueprintId]
	const mapping = { inputs: { seed: 'flag' }, outputs: { [`${id}_sub`]: nodes.at(-1).id } }
	const params = { blueprintId, ...(mapped ? mapping : {}) }
	return single({ id, uses: 'subflow', params, config: {} }, scope)
}
