/**
 * Telling a library's own object from a mock, a proxy or a wrapper without importing the library: several copies of
 * it may be installed, and ours must run where none is.
 */
import { types } from 'node:util'

/**
 * @param {unknown} value
 * @returns {value is Record<PropertyKey, unknown>}
 */
export const isObject = (value) => typeof value === 'object' && value !== null

/**
 * @param {object} object
 * @param {string} method
 */
const hasMethod = (object, method) => typeof Object.getOwnPropertyDescriptor(object, method)?.value === 'function'

/**
 * The library's prototype in an object's chain: the first that defines all of `marks`.
 *
 * @param {object} object
 * @param {string[]} marks names of methods that the library's class defines itself
 * @returns {object | undefined}
 */
export const libraryPrototype = (object, marks) => {
	/** @type {object | null} */
	let prototype = Object.getPrototypeOf(object)
	while (prototype && !marks.every((mark) => hasMethod(prototype ?? {}, mark))) {
		prototype = Object.getPrototypeOf(prototype)
	}
	return prototype ?? undefined
}

/**
 * Whether `object` is an instance of a library's class that behaves as that class does: no proxy, and none of the
 * methods we would go around is replaced, neither on the object nor in a subclass.
 *
 * @param {object} object
 * @param {string[]} marks
 * @param {string[]} methods that the JavaScript adapter calls on such an object
 */
export const isUntouched = (object, marks, methods) => {
	if (types.isProxy(object)) return false
	const library = libraryPrototype(object, marks)
	if (!library) return false
	/** @type {object} */
	let level = object
	while (level !== library) {
		const own = level
		if (methods.some((method) => Object.hasOwn(own, method))) return false
		level = Object.getPrototypeOf(level)
	}
	return true
}

/**
 * @param {unknown} value
 * @returns {string}
 */
export const className = (value) =>
	isObject(value) && typeof value.constructor === 'function' ? value.constructor.name : ''

/**
 * Whether a value is written-down settings rather than something with behaviour.
 *
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export const isPlain = (value) => {
	if (!isObject(value) || types.isProxy(value)) return false
	const prototype = Object.getPrototypeOf(value)
	return prototype === Object.prototype || prototype === null
}
