/** Runs that await and get their answers, on the sessions alone. */
import assert from 'node:assert/strict'
import { startRun, startWorker } from './worker.mjs'

export const node = (/** @type {string} */ id, uses = 'input', /** @type {any} */ more = {}) => ({ id, uses, ...more })
export const edge = (/** @type {string} */ path, /** @type {any} */ more = {}) => ({
	source: path.split('>')[0],
	target: path.split('>')[1],
	...more,
})
const turn = () => new Promise((resolve) => setImmediate(resolve))
export const registry = {
	input: async (/** @type {any} */ { input }) => ({ output: { got: input } }),
	slow: async () => {
		for (let i = 0; i < 20; i++) await turn()
		return { output: 'slow' }
	},
	acts: async () => ({ output: 'acted', action: 'go' }),
}

/**
 * A worker whose engine closes nothing when a run awaits: the transport of resumes will open such a session, and this
 * stands for it.
 * @param {any} blueprint @param {any} [options]
 */
export async function awaitingRun(blueprint, options = {}) {
	const engine = startWorker(
		{ registry: options.registry ?? registry, blueprints: { bp: blueprint, ...options.blueprints } },
		{ sessions: { schedule: options.schedule }, engine: options.engine },
	)
	const runId = startRun(engine, blueprint, options.initial)
	const first = await engine.result(runId)
	assert.equal(first.status, 'awaiting')
	await engine.quiet()
	return { engine, runId, first }
}

/** @param {any} engine @param {string} runId @param {any[]} answers */
export async function resumed(engine, runId, answers) {
	const before = engine.published.length
	engine.keepOpen(runId)
	const session = await engine.reopen(runId)
	for (const answer of answers) assert.equal(session.resume(answer), true)
	for (let i = 0; engine.published.length <= before + 1 && i < 200; i++) await turn()
	return engine.status(runId)
}
