/**
 * Values of a run's context as stored text, and back.
 *
 * With Flowcraft's own `JsonSerializer` the stored text is what `JSON.stringify` gives: readable by clients and by
 * JavaScript workers. With a serializer of the user's, values that JSON carries without loss are stored just the same,
 * and only the others (Date, Map, class instances, ...) as `{"_flowcraft:value": "<serializer.serialize({ v: value })>"}`.
 */
import { JsonSerializer } from 'flowcraft'

/** The only member of an object that stands for a value written by the user's serializer. */
const MARKER = '_flowcraft:value'
const MARKED = `{"${MARKER}":`
/** Deeper values go to the serializer: it must be able to say no to a cycle, we need not. */
const MAX_PLAIN_DEPTH = 200

/** @typedef {{ serialize(data: Record<string, any>): string, deserialize(text: string): Record<string, any> }} Serializer */

/**
 * @typedef {object} ValueCodec
 * @property {boolean} isDefault whether the serializer is Flowcraft's own
 * @property {(value: any) => string | undefined} encode stored text; undefined where nothing can be stored (undefined,
 *   functions). Throws where the value cannot be serialised at all (a BigInt, a cycle).
 * @property {(raw: string) => any} decode
 */

/**
 * @param {import('flowcraft').FlowRuntime<any, any>} runtime
 * @returns {ValueCodec} of its serializer, where the user gave one
 */
export function codecOf(runtime) {
	const isFromContainer = /** @type {any} */ (runtime).container
	return createValueCodec(isFromContainer ? runtime.serializer : runtime.options?.serializer)
}

/**
 * @param {Serializer | undefined} serializer
 * @returns {ValueCodec}
 */
export function createValueCodec(serializer) {
	if (!serializer || Object.getPrototypeOf(serializer) === JsonSerializer.prototype) {
		return { isDefault: true, encode: JSON.stringify, decode: JSON.parse }
	}
	return {
		isDefault: false,
		encode(value) {
			if (value === undefined || isPlainJson(value, 0)) return JSON.stringify(value)
			if (typeof value === 'function' || typeof value === 'symbol') return undefined
			return `${MARKED}${JSON.stringify(serializer.serialize({ v: value }))}}`
		},
		decode(raw) {
			const value = JSON.parse(raw)
			return raw.startsWith(MARKED) && isMarked(value) ? serializer.deserialize(value[MARKER]).v : value
		},
	}
}

/** @param {any} value */
function isMarked(value) {
	const keys = Object.keys(value)
	return keys.length === 1 && keys[0] === MARKER && typeof value[MARKER] === 'string'
}

/**
 * Whether `JSON.parse(JSON.stringify(value))` gives an equal value. A user's object that looks like a marked one does not count.
 * @param {any} value
 * @param {number} depth
 * @returns {boolean}
 */
function isPlainJson(value, depth) {
	if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
	if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0)
	if (typeof value !== 'object' || depth > MAX_PLAIN_DEPTH) return false
	if (Array.isArray(value)) return value.every((item) => isPlainJson(item, depth + 1))
	const prototype = Object.getPrototypeOf(value)
	if (prototype !== Object.prototype && prototype !== null) return false
	if (depth === 0 && isMarked(value)) return false
	return Object.values(value).every((item) => isPlainJson(item, depth + 1))
}
