/**
 * The registered blueprints, each sanitised and analysed once. What users registered is never changed.
 */
import { GraphTraverser, analyzeBlueprint, sanitizeBlueprint } from 'flowcraft'
import { EMPTY_TEMPLATE, RunGraph, graphTemplate } from './run-graph.js'

/**
 * @typedef {object} CatalogEntry
 * @property {string} id the id under which it is registered
 * @property {any} source the user's object
 * @property {import('flowcraft').WorkflowBlueprint} blueprint sanitised
 * @property {string | null} version
 * @property {string[]} startSet the nodes that begin a run (spec 4.2)
 * @property {Set<string>} entryNodes nodes whose job begins a run: the start set and what clients take for it, i.e. also
 *   nodes without incoming edges that are only fallbacks
 * @property {Set<string>} nodeIds
 * @property {() => RunGraph} graph a new graph for one run; without nodes where there is a problem
 * @property {any} [problem] why no run of it can begin, as `FlowRuntime.run` would throw it
 */

/** @param {any} blueprints @param {string} id */
function own(blueprints, id) {
	return blueprints && Object.hasOwn(blueprints, id) ? blueprints[id] : undefined
}

/** @param {any} source @returns {string | null} */
const versionOf = (source) => source?.metadata?.version || null

/**
 * @param {import('flowcraft').FlowRuntime<any, any>} runtime
 * @param {{ strict?: boolean }} [options]
 */
export function createBlueprintCatalog(runtime, { strict = false } = {}) {
	/** @type {Map<string, CatalogEntry>} */
	const entries = new Map()
	const find = (/** @type {string} */ id) =>
		// `blueprints` is where a runtime from a container keeps them; its `options` are empty.
		own(runtime.options?.blueprints, id) ?? own(/** @type {any} */ (runtime).blueprints, id)

	return {
		/** Each registered blueprint with its version; asked once a second, so nothing is analysed for it. @returns {[id: string, version: string | null][]} */
		versions() {
			const ids = [runtime.options?.blueprints, /** @type {any} */ (runtime).blueprints].flatMap((some) =>
				Object.keys(some ?? {}),
			)
			return [...new Set(ids)].flatMap((id) => {
				const source = find(id)
				return source ? [[id, versionOf(source)]] : []
			})
		},
		/** @param {string} id @returns {CatalogEntry | undefined} */
		get(id) {
			const source = find(id)
			if (!source) return undefined
			const known = entries.get(id)
			// A version may be changed in place.
			if (known && known.source === source && known.version === versionOf(source)) return known
			const entry = analyse(id, source, strict)
			entries.set(id, entry)
			return entry
		},
	}
}

/** @param {string} id @param {any} source @param {boolean} strict @returns {CatalogEntry} */
function analyse(id, source, strict) {
	/** @type {CatalogEntry} */
	const entry = {
		id,
		source,
		blueprint: { id, nodes: [], edges: [] },
		version: versionOf(source),
		startSet: [],
		entryNodes: new Set(),
		nodeIds: new Set(),
		graph: () => new RunGraph(EMPTY_TEMPLATE),
	}
	try {
		entry.blueprint = sanitizeBlueprint(source)
		entry.nodeIds = new Set(entry.blueprint.nodes.map((node) => node.id))
		const template = graphTemplate(entry.blueprint)
		entry.graph = () => new RunGraph(template)
		entry.startSet = new GraphTraverser(entry.blueprint).getReadyNodes().map(({ nodeId }) => nodeId)
		const { startNodeIds, isDag } = analyzeBlueprint(entry.blueprint)
		entry.entryNodes = new Set([...entry.startSet, ...startNodeIds])
		if (strict && !isDag)
			entry.problem = new Error(`Workflow '${entry.blueprint.id}' failed strictness check: Cycles are not allowed.`)
	} catch (problem) {
		entry.problem = problem
	}
	return entry
}
