import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'

/**
 * A worker at a topic and in a group of its own, for as long as `work` takes.
 *
 * @template T
 * @param {import('../support/cluster.mjs').Place} home whose tables it uses
 * @param {Record<string, any>} runtimeOptions
 * @param {Record<string, any>} options
 * @param {(place: import('../support/cluster.mjs').Place, adapter: KafkaAdapter) => Promise<T>} work
 */
export async function withWorker(home, runtimeOptions, options, work) {
	const place = await home.sibling({ partitions: 3 })
	const adapter = new KafkaAdapter(
		place.options({ ...options, runtimeOptions: { logger: new NullLogger(), ...runtimeOptions } }),
	)
	await adapter.start()
	try {
		return await work(place, adapter)
	} finally {
		await adapter.stop()
	}
}

/** Row 28a: the alias of a node that a fallback replaced may be missing. @param {any} context */
const withoutReplaced = (context) =>
	Object.fromEntries(
		Object.entries(context).filter(([key, value]) => value !== null || context[`_outputs.${key}`] !== null),
	)

/** What is compared. @param {any} result @param {Set<string>} [ignore] @param {boolean} [errorSet] */
export function comparable({ context, errors, ...rest }, ignore = new Set(), errorSet = false) {
	const kept = context && Object.entries(withoutReplaced(context)).filter(([key]) => !ignore.has(key))
	return {
		...rest,
		context: kept && Object.fromEntries(kept),
		errors: errors && (errorSet ? [...new Set(errors)] : errors),
	}
}
