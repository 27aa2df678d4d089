/** Sessions over a fake engine, as a worker puts them together. */
import { FlowRuntime, GraphTraverser, NullLogger, analyzeBlueprint, sanitizeBlueprint } from 'flowcraft'
import { createSessions } from '../../src/js/bridge/sessions.js'
import { FakeEngine } from './fake-engine.mjs'
import { published, runInMemory } from './oracle.mjs'

/**
 * @param {any} runtimeOptions or what makes them, for each worker that starts
 * @param {{ engine?: any, sessions?: any, hooks?: any, retries?: any, adapterBus?: any, logger?: any, runtime?: () => any }} [options]
 */
export function startWorker(
	runtimeOptions,
	{ engine = {}, sessions = {}, hooks, retries, adapterBus, logger = new NullLogger(), runtime } = {},
) {
	const create = () => {
		if (runtime) return runtime()
		const made = typeof runtimeOptions === 'function' ? runtimeOptions() : runtimeOptions
		return new FlowRuntime({ ...made, dependencies: { adapter: {}, ...made.dependencies } })
	}
	return new FakeEngine(
		(native, fallback) =>
			createSessions({ runtime: create(), native, options: sessions, logger, adapterBus, hooks, retries, fallback }),
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

/**
 * Sessions without an engine: a test says itself what becomes durable, and when.
 * @param {any} runtimeOptions
 * @param {{ sessions?: any, hooks?: any, retries?: any, adapterBus?: any, logger?: any, livePlace?: any, timersMissing?: string | null, readStatus?: any }} [options]
 */
export function bareSessions(
	runtimeOptions,
	{
		sessions: options = {},
		hooks,
		retries,
		adapterBus,
		logger = new NullLogger(),
		livePlace,
		readStatus,
		timersMissing = null,
	} = {},
) {
	/** @type {any[][]} */
	const calls = []
	/** @type {any} */
	const native = {}
	native.timersMissing = () => timersMissing
	/** @type {string[][]} */
	const told = []
	native.versions = (/** @type {string[]} */ keys) => void told.push(keys)
	native.refresh = (/** @type {number} */ handle) => sessions.onBatch([[14, handle]])
	for (const name of ['opened', 'refuse', 'step', 'drained', 'commandDone', 'refuseCommand']) {
		native[name] = (/** @type {any[]} */ ...args) => void calls.push([name, ...args])
	}
	/** @type {any[]} */
	const others = []
	const runtime = new FlowRuntime(runtimeOptions)
	const fallback = (/** @type {any} */ event) => void others.push(event)
	const sessions = createSessions({
		runtime,
		native,
		options,
		logger,
		adapterBus,
		hooks,
		retries,
		livePlace,
		readStatus,
		fallback,
	})
	return {
		sessions,
		calls,
		others,
		/** Versions of blueprints that the engine was told. */
		told,
		/** The steps so far, by name. */
		get steps() {
			return calls
				.filter(([name]) => name === 'step')
				.map(([, handle, seq, changes, checkpoint, done, due, outcome, extras]) => ({
					handle,
					seq,
					changes: Object.fromEntries(
						changes.flatMap((/** @type {string} */ key, /** @type {number} */ i) =>
							i % 2 ? [] : [[key, changes[i + 1]]],
						),
					),
					checkpoint: JSON.parse(checkpoint),
					text: checkpoint,
					done,
					due: JSON.parse(due),
					outcome: outcome && JSON.parse(outcome),
					extras: extras && JSON.parse(extras),
				}))
		},
		/** @param {any[]} event */
		tell: (...event) => sessions.onBatch([event]),
		/** @param {string[]} nodeIds @param {{ entries?: Record<string, any>, checkpoint?: string, blueprintId?: string, handle?: number, moreMayCome?: boolean, commands?: any[] }} [run] commands get the tokens 1, 2, ... */
		open(
			nodeIds,
			{ entries = {}, checkpoint, blueprintId = 'bp', handle = 1, moreMayCome = false, commands = [] } = {},
		) {
			const raw = Object.entries(entries).flatMap(([key, value]) => [key, JSON.stringify(value)])
			const [tokens, texts] = [commands.map((_, at) => at + 1), commands.map((command) => JSON.stringify(command))]
			const stored = checkpoint ?? null
			sessions.onBatch([
				[1, handle, `run-${handle}`, blueprintId, nodeIds, raw, stored, true, moreMayCome, tokens, texts],
			])
		},
		/** Until nothing happens any more. */
		async settle() {
			for (let calm = 0, seen = -1; calm < 5; calm++) {
				if (calls.length !== seen) calm = 0
				seen = calls.length
				await new Promise((resolve) => setImmediate(resolve))
			}
		},
	}
}
