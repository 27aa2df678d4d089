/** What a worker process registers (`support/worker-process.mjs`): random blueprints, by the numbers that make them. */
import { setTimeout as sleep } from 'node:timers/promises'
import { runtimeOptions } from './bodies.mjs'
import { build } from './build.mjs'
import { recipes, sample } from './generator.mjs'

/** @param {any} options @returns {import('./build.mjs').Built[]} without the strict ones, which need a worker of their own */
export function blueprintsOf({ profile, seed, count, ...rest }) {
	const all = sample(recipes(profile, rest), seed, count).map((recipe, at) => build(recipe, `random-${at}`))
	return all.filter(({ strict }) => !strict)
}

/** @param {import('./build.mjs').Built[]} all @returns {Record<string, any>} */
export const registered = (all) =>
	Object.assign({}, ...all.map(({ blueprint, children }) => ({ ...children, [blueprint.id]: blueprint })))

/**
 * @param {(what: string, run: string, node: string) => void} journal
 * @param {{ profile: string, seed: number, count: number, nodeMs: number }} parameters
 */
export function flows(journal, { nodeMs, ...parameters }) {
	const begin = async (/** @type {any} */ { dependencies, params }) => {
		journal('begin', dependencies.runtime.executionId, params.name)
		await sleep(nodeMs)
		journal('end', dependencies.runtime.executionId, params.name)
	}
	return { ...runtimeOptions(0, { begin }), blueprints: registered(blueprintsOf(parameters)) }
}
