/** What `FlowRuntime.run` makes of a blueprint. */
import { isDeepStrictEqual } from 'node:util'
import { VARIANTS, runtimeOptions } from './bodies.mjs'
import { comparable, runInMemory } from './comparator.mjs'
import { isOfChain } from './pauses.mjs'

/** A blueprint that runs more bodies is left out: it would only take long. */
const MOST_BODIES = 300

/**
 * Undefined where the blueprint cannot be compared: it takes too long, or its nodes race.
 *
 * @param {import('./build.mjs').Built} built
 * @param {{ raceFree?: boolean }} [options] default: as the profile says
 * @returns {Promise<any>}
 */
export async function expected(built, { raceFree = built.profile === 'eager' } = {}) {
	const first = await runVariant(built, 0)
	if (!first || !raceFree) return first
	for (let variant = 1; variant < VARIANTS; variant++) {
		// One after the other: nobody waits for a place in a chunk.
		if (!isDeepStrictEqual(await runVariant(built, variant, { concurrency: 100 }), first)) return undefined
	}
	return first
}

/** @param {import('./build.mjs').Built} built @param {number} variant @param {any} [options] */
async function runVariant({ blueprint, children, initial, strict, ignore }, variant, options) {
	const tooLong = new AbortController()
	let bodies = 0
	const begin = () => {
		if (++bodies > MOST_BODIES) tooLong.abort()
	}
	const runtime = { ...runtimeOptions(variant, { begin }), blueprints: children }
	const result = await runInMemory(blueprint, runtime, initial, { strict, signal: tooLong.signal, ...options })
	if (result.context) for (const key of Object.keys(result.context)) if (isOfChain(key)) delete result.context[key]
	return tooLong.signal.aborted || result.rejected?.includes('maximum iterations')
		? undefined
		: comparable(result, ignore)
}
