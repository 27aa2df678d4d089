/** Blueprints on the sessions alone, over an engine that can be killed at each of its calls (`support/fake-engine.mjs`). */
import assert from 'node:assert/strict'
import { startRun, startWorker } from '../support/worker.mjs'
import { runtimeOptions } from './bodies.mjs'
import { build } from './build.mjs'
import { comparable, published } from './comparator.mjs'
import { expected, expectedAnswered } from './memory.mjs'
import { answerTo, ignoredIn, openPauses, pausesOf, withoutChains } from './pauses.mjs'

const PATIENCE_MS = 5_000

/**
 * @param {any} recipe
 * @param {{ engine?: any, variants?: number[] }} [options]
 * @returns {Promise<boolean>} whether there was something to compare
 */
export async function compare(recipe, { engine = {}, variants = [0, 2, 3, 5] } = {}) {
	const built = build(recipe, 'random')
	const memory = await expected(built)
	if (!memory) return false
	for (const variant of built.profile === 'eager' ? variants : [0]) {
		assert.deepEqual((await runOnce(built, engine, variant)).result, memory)
	}
	return true
}

/**
 * The worker dies at each of its calls in turn, before or after the call takes effect.
 *
 * @param {any} recipe
 * @param {{ engine?: any }} [options]
 * @returns {Promise<number>} how often it was killed
 */
export async function compareWithKills(recipe, { engine: engineOptions = {} } = {}) {
	const built = build(recipe, 'random')
	// A node that runs again may end in another place of its wave, so races are out of question here.
	const memory = await expected(built, { raceFree: true })
	if (!memory) return 0
	const { engine } = await runOnce(built, engineOptions)
	const calls = engine.calls.length
	for (let call = 1; call <= calls; call++) {
		for (const killAfterEffect of [false, true]) {
			// The second kill hits the recovery.
			const killAt = call % 3 === 0 ? [call, call + 2] : [call]
			const { result } = await runOnce(built, { ...engineOptions, killAt, killAfterEffect })
			assert.deepEqual(result, memory, `killed at call ${call}${killAfterEffect ? ', after its effect' : ''}`)
		}
	}
	return calls * 2
}

/**
 * Waits and sleeps are answered one after the other, until the run has ended.
 *
 * @param {any} recipe
 * @param {'eager' | 'wave'} schedule
 * @param {{ engine?: any }} [options]
 * @returns {Promise<number>} how many answers there were
 */
export async function compareAnswered(recipe, schedule, { engine: engineOptions = {} } = {}) {
	const built = build(recipe, 'random')
	if (pausesOf(built.blueprint, built.children).length === 0) return 0
	const memory = await expectedAnswered(built)
	if (!memory) return 0
	const { engine, runId } = await runOnce(built, engineOptions, 0, schedule)
	let answers = 0
	for (; engine.status(runId)?.status === 'awaiting'; answers++) await answerFirst(engine, runId, built)
	const { blueprint, initial } = built
	const result = published(engine.status(runId)?.data, blueprint, initial)
	assert.deepEqual(withoutChains(comparable(result, ignoredIn(built))), memory)
	return answers
}

/** @param {any} engine @param {string} runId @param {import('./build.mjs').Built} built */
async function answerFirst(engine, runId, { blueprint, children }) {
	const [{ ids, node }] = openPauses(engine.status(runId).data.payload.context, blueprint, children)
	const nodeId = ids.join('/')
	// A session that is opened repeats its outcome; then comes the next one.
	const rows = engine.published.length + (engine.session(runId) ? 1 : 2)
	engine.keepOpen(runId)
	const session = await engine.reopen(runId)
	assert.equal(session.resume({ nodeId, ...answerTo(node) }), true)
	const deadline = Date.now() + PATIENCE_MS
	while (engine.published.length < rows) {
		assert.ok(Date.now() < deadline, `nothing after the answer to ${nodeId}: ${engine.describe()}`)
		await new Promise((resolve) => setImmediate(resolve))
	}
}

/**
 * @param {import('./build.mjs').Built} built
 * @param {any} engineOptions
 * @param {number} [variant]
 * @param {'eager' | 'wave'} [schedule]
 */
async function runOnce(
	{ profile, blueprint, children, initial, strict, ignore },
	engineOptions,
	variant = 0,
	schedule = profile === 'eager' ? 'eager' : 'wave',
) {
	const options = () => ({ ...runtimeOptions(variant), blueprints: { ...children, [blueprint.id]: blueprint } })
	const engine = startWorker(options, { engine: engineOptions, sessions: { schedule, strict } })
	const runId = startRun(engine, blueprint, initial)
	const row = await engine.result(runId)
	await engine.quiet()
	return { engine, runId, result: comparable(published(row.data, blueprint, initial), ignore) }
}
