/**
 * Module hooks that give one file of `src/js` one fault. They run in a thread of their own, as Node wants it.
 */
import { glueMutant, mutatedSource } from './glue.mjs'

/** @type {import('./glue.mjs').GlueMutant} */
let chosen
/** @type {string} */
let url

/** @param {{ name: string }} data */
export function initialize({ name }) {
	chosen = glueMutant(name)
	url = new URL(`../../${chosen.file}`, import.meta.url).href
}

/**
 * @param {string} loaded
 * @param {any} context
 * @param {(url: string, context: any) => any} next
 */
export async function load(loaded, context, next) {
	const module = await next(loaded, context)
	return loaded === url ? { ...module, source: mutatedSource(chosen, String(module.source)) } : module
}
