/**
 * The equality relation of spec §5: same status; same context as JSON, without `_executionId`, `blueprintId` and
 * `blueprintVersion` (unless in the initial row or a node id) and with uuids renamed; same multiset of `errors[].nodeId` and
 * `originalError.message`. Results of memory and of status rows are brought into one form, which is then compared.
 */
import assert from 'node:assert/strict'
import { FlowRuntime } from 'flowcraft'

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g
// A subflow's whole context may be a value, as an object or as text.
const EXECUTION_ID = /(\\*"_executionId\\*":\\*")[^"\\]+/g
// When a sleep wakes up depends on when it began.
const WAKE_UP = /(\\*"wakeUpAt\\*":\\*")[^"\\]+/g
// Of a webhook: its token is another one in each run.
const ADDRESS = /(\\*"url\\*":\\*")[^"\\]+/g
const BOOKKEEPING = ['_executionId', 'blueprintId', 'blueprintVersion']

/**
 * Runs a blueprint in memory.
 * @param {any} blueprint
 * @param {any} runtimeOptions
 * @param {Record<string, any>} [initial]
 * @param {any} [options]
 */
export async function runInMemory(blueprint, runtimeOptions, initial = {}, options) {
	const runtime = new FlowRuntime(runtimeOptions)
	try {
		const result = await runtime.run(blueprint, structuredClone(initial), options)
		return {
			status: result.status,
			context: canonical(project(result.context), keep(blueprint, initial)),
			errors: errorLines(result.errors),
		}
	} catch (error) {
		return { status: 'failed', rejected: error instanceof Error ? error.message : String(error) }
	}
}

/**
 * A status row in the same form.
 * @param {any} data
 * @param {any} blueprint
 * @param {Record<string, any>} [initial]
 */
export function published(data, blueprint, initial = {}) {
	const { status, reason, payload } = data
	if (!payload) return { status, rejected: reason }
	assert.equal(payload.status, status)
	assert.deepEqual(JSON.parse(payload.serializedContext), payload.context)
	return {
		status,
		context: canonical(payload.context, keep(blueprint, initial)),
		errors: errorLines(payload.errors),
	}
}

/**
 * What is compared of a result in that form.
 *
 * @param {any} result
 * @param {Set<string>} [ignore] keys of the context
 */
export function comparable({ context, ...rest }, ignore = new Set()) {
	// Row 28a: the alias of a node that a fallback replaced may be missing.
	const replaced = (/** @type {string} */ key) => context[key] === null && context[`_outputs.${key}`] === null
	const kept = context && Object.entries(context).filter(([key]) => !replaced(key) && !ignore.has(key))
	return { ...rest, context: kept && Object.fromEntries(kept) }
}

/**
 * @param {any} actual
 * @param {any} expected
 * @returns {string | undefined} what differs
 */
export function difference(actual, expected) {
	try {
		assert.deepEqual(actual, expected)
		return undefined
	} catch (error) {
		return /** @type {Error} */ (error).message
	}
}

/** @param {any[]} [errors] */
function errorLines(errors = []) {
	// After some errors of a process V8 loses the child's message, and Flowcraft says `Unknown error` (spec 4.9).
	return errors
		.map(({ nodeId, originalError }) =>
			`${nodeId}: ${originalError.message.replace(/(Status: failed\.) Error: .*/, '$1')}`.replace(UUID, '*'),
		)
		.sort()
}

/** Bookkeeping keys that belong to the user here. @param {any} blueprint @param {Record<string, any>} initial */
function keep(blueprint, initial) {
	const nodes = Array.isArray(blueprint.nodes) ? blueprint.nodes : Object.values(blueprint.nodes ?? {})
	return [...Object.keys(initial), ...nodes.map((/** @type {any} */ node) => node.id)]
}

/** @param {any} value */
function project(value) {
	const text = JSON.stringify(value)
	return text === undefined ? undefined : JSON.parse(text)
}

/** @param {Record<string, any>} context @param {string[]} kept */
function canonical(context, kept) {
	const entries = Object.entries(context).filter(([key]) => !BOOKKEEPING.includes(key) || kept.includes(key))
	const masked = (/** @type {any} */ value) =>
		JSON.stringify(value)
			.replace(WAKE_UP, '$1then')
			.replace(ADDRESS, '$1there')
			.replace(UUID, '*')
			.replace(EXECUTION_ID, '')
	entries.sort((a, b) => {
		const [x, y] = [masked(a), masked(b)]
		return x < y ? -1 : x > y ? 1 : 0
	})
	/** @type {Map<string, string>} */
	const names = new Map()
	const text = JSON.stringify(entries)
		.replace(EXECUTION_ID, '$1run')
		.replace(WAKE_UP, '$1then')
		.replace(ADDRESS, '$1there')
		.replace(UUID, (uuid) => {
			if (!names.has(uuid)) names.set(uuid, `uuid-${names.size + 1}`)
			return /** @type {string} */ (names.get(uuid))
		})
	return Object.fromEntries(JSON.parse(text))
}
