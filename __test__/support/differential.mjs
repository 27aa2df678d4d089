/** One random blueprint in memory and on the sessions. */
import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { VARIANTS, buildBlueprint, randomRuntime } from './random-blueprints.mjs'
import { published, runInMemory } from './oracle.mjs'
import { startRun, startWorker } from './worker.mjs'

/** @param {any} result @param {Set<string>} ignore */
function comparable({ context, ...rest }, ignore) {
	// Row 28a: the alias of a node that a fallback replaced may be missing.
	const replaced = (/** @type {string} */ key) => context[key] === null && context[`_outputs.${key}`] === null
	const kept = context && Object.entries(context).filter(([key]) => !replaced(key) && !ignore.has(key))
	return { ...rest, context: kept && Object.fromEntries(kept) }
}

/**
 * What memory makes of a blueprint; undefined where its nodes race.
 * @param {any} built
 * @param {'eager' | 'wave'} profile
 */
async function oracle({ blueprint, initial, ignore }, profile) {
	const expected = comparable(await runInMemory(blueprint, randomRuntime(), initial), ignore)
	if (profile === 'wave') return expected
	for (let variant = 1; variant < VARIANTS; variant++) {
		const other = comparable(
			await runInMemory(blueprint, randomRuntime(variant), initial, { concurrency: 100 }),
			ignore,
		)
		if (!isDeepStrictEqual(other, expected)) return undefined
	}
	return expected
}

/**
 * @param {any} spec
 * @param {{ engine?: any, sessions?: any, variants?: number[] }} [options]
 * @returns {Promise<boolean>} whether there was something to compare
 */
export async function compare(spec, { engine: engineOptions = {}, sessions = {}, variants = [0, 2, 3, 5] } = {}) {
	const built = buildBlueprint(spec)
	const expected = await oracle(built, spec.profile)
	if (!expected) return false
	for (const variant of spec.profile === 'eager' ? variants : [0]) {
		const { row } = await runOnce(built, { schedule: spec.profile, ...sessions }, engineOptions, variant)
		assert.deepEqual(comparable(published(row.data, built.blueprint, built.initial), built.ignore), expected)
	}
	return true
}

/**
 * The worker dies at each of its calls in turn, before or after the call takes effect.
 * @param {any} spec
 * @param {{ engine?: any, sessions?: any }} [options]
 * @returns {Promise<number>} how often it was killed
 */
export async function compareWithKills(spec, { engine: engineOptions = {}, sessions = {} } = {}) {
	const built = buildBlueprint(spec)
	// A node that runs again may end in another place of its wave, so races are out of question here.
	const expected = await oracle(built, 'eager')
	if (!expected) return 0
	const options = { schedule: spec.profile, ...sessions }
	const { engine } = await runOnce(built, options, engineOptions)
	const calls = engine.calls.length
	for (let call = 1; call <= calls; call++) {
		for (const killAfterEffect of [false, true]) {
			// The second kill hits the recovery.
			const killAt = call % 3 === 0 ? [call, call + 2] : [call]
			const { row } = await runOnce(built, options, { ...engineOptions, killAt, killAfterEffect })
			const actual = comparable(published(row.data, built.blueprint, built.initial), built.ignore)
			assert.deepEqual(actual, expected, `killed at call ${call}${killAfterEffect ? ', after its effect' : ''}`)
		}
	}
	return calls * 2
}

/** @param {any} built @param {any} sessions @param {any} engineOptions @param {number} [variant] */
export async function runOnce({ blueprint, blueprints, initial }, sessions, engineOptions, variant = 0) {
	// A new runtime for every worker: what a killed one counted is lost.
	const options = () => ({ ...randomRuntime(variant), blueprints: { ...blueprints, [blueprint.id]: blueprint } })
	const engine = startWorker(options, { engine: engineOptions, sessions })
	const runId = startRun(engine, blueprint, initial)
	const row = await engine.result(runId)
	await engine.quiet()
	return { engine, runId, row }
}
