/** Sessions over a fake engine, as a worker puts them together. */
import { FlowRuntime, GraphTraverser, NullLogger, analyzeBlueprint, sanitizeBlueprint } from 'flowcraft'
import { createSessions } from '../../src/js/sessions.js'
import { FakeEngine } from './fake-engine.mjs'
import { published, runInMemory } from './oracle.mjs'

/**
 * @param {any} runtimeOptions or what makes them, for each worker that starts
 * @param {{ engine?: any, sessions?: any, hooks?: any, adapterBus?: any, logger?: any, runtime?: () => any }} [options]
 */
export function startWorker(
	runtimeOptions,
	{ engine = {}, sessions = {}, hooks, adapterBus, logger = new NullLogger(), runtime } = {},
) {
	const create = () => {
		if (runtime) return runtime()
		const made = typeof runtimeOptions === 'function' ? runtimeOptions() : runtimeOptions
		return new FlowRuntime({ ...made, dependencies: { ...made.dependencies, adapter: {} } })
	}
	return new FakeEngine(
		(native, fallback) =>
			createSessions({ runtime: create(), native, options: sessions, logger, adapterBus, hooks, fallback }),
		engine,
	)
}

let runs = 0

/**
 * Starts a run as the documented client does.
 * @param {FakeEngine} engine
 * @param {any} blueprint
 * @param {Record<string, any>} [initial]
 */
export function startRun(engine, blueprint, initial = {}) {
	const runId = `run-${++runs}`
	engine.seed(runId, initial)
	const clean = sanitizeBlueprint(blueprint)
	let { startNodeIds } = analyzeBlueprint(clean)
	// A graph of cycles only: memory chooses the entry points.
	if (startNodeIds.length === 0) startNodeIds = new GraphTraverser(clean).getReadyNodes().map(({ nodeId }) => nodeId)
	for (const nodeId of startNodeIds) engine.send(runId, blueprint.id, nodeId)
	return runId
}

/**
 * Runs a blueprint in memory and on the sessions.
 * @param {any} blueprint
 * @param {any} runtimeOptions
 * @param {any} [options]
 */
export async function bothWays(blueprint, runtimeOptions, { initial = {}, inMemory, ...options } = {}) {
	const expected = await runInMemory(blueprint, runtimeOptions, initial, inMemory)
	const engine = startWorker(
		{ ...runtimeOptions, blueprints: { ...runtimeOptions.blueprints, [blueprint.id]: blueprint } },
		options,
	)
	const runId = startRun(engine, blueprint, initial)
	const { data, text } = await engine.result(runId)
	await engine.quiet()
	return { expected, actual: published(data, blueprint, initial), engine, runId, data, text }
}
