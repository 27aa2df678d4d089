/**
 * The fields of written-down settings: what each may be, and how one that is not is refused. A field that is `undefined` or
 * `null` is not given.
 */
import { optionError } from '../errors.js'
import { isObject } from './genuine.js'

/**
 * @typedef {object} Rule
 * @property {(value: unknown) => boolean} fits
 * @property {string} wanted what goes behind "is not"
 * @property {boolean} [isSecret] whether no value is ever repeated; without it numbers are
 * @property {(value: unknown) => string | undefined} [problem] said instead
 *
 * @typedef {[rule: Rule, fix: string]} Field
 * @typedef {Record<string, Field>} Fields
 * @typedef {{ name: string, problem: string, fix: string }} Wrong
 */

/** Node's timers count milliseconds in 31 bits: what is longer ends at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * @param {unknown} value
 * @returns {string} for example "an object"
 */
export const kindOf = (value) => {
	if (value === null || value === undefined) return String(value)
	if (value === '') return 'an empty string'
	if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
	return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/**
 * @param {unknown} value of an option that holds no secret
 * @returns {string}
 */
export const shown = (value) => {
	if (typeof value === 'string') return JSON.stringify(value)
	return typeof value === 'number' || typeof value === 'boolean' ? String(value) : kindOf(value)
}

/**
 * @param {number} least
 * @param {number} [most]
 * @returns {Rule}
 */
export const whole = (least, most = Number.MAX_SAFE_INTEGER) => ({
	fits: (value) => Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most,
	wanted: `a whole number ${most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`}`,
})

/**
 * @param {number} least
 * @param {number} most
 * @returns {Rule}
 */
export const between = (least, most) => ({
	fits: (value) => typeof value === 'number' && value >= least && value <= most,
	wanted: `a number from ${least} to ${most}`,
})

/** @type {Rule} */
export const TEXT = { fits: (value) => typeof value === 'string', wanted: 'a string', isSecret: true }
/** @type {Rule} */
export const NAME = {
	fits: (value) => typeof value === 'string' && value !== '',
	wanted: 'a string with something in it',
}
/** @type {Rule} */
export const FLAG = { fits: (value) => typeof value === 'boolean', wanted: 'true or false' }
/** @type {Rule} */
export const OBJECT = { fits: (value) => isObject(value) && !Array.isArray(value), wanted: 'an object' }
/** `condition && { ... }` is `false` at times. @type {Rule} */
export const OBJECT_OR_NONE = { fits: (value) => value === false || OBJECT.fits(value), wanted: 'an object' }
/** @type {Rule} */
export const SWITCH = {
	fits: (value) => FLAG.fits(value) || OBJECT.fits(value),
	wanted: 'true, false or an object',
}
/** @type {Rule} */
export const LIST = { fits: (value) => Array.isArray(value) && value.length > 0, wanted: 'a list with something in it' }
/** @type {Rule} */
export const FUNCTION = { fits: (value) => typeof value === 'function', wanted: 'a function' }
export const PORT = whole(1, 65_535)
export const MILLISECONDS = whole(1, LONGEST_TIMER_MS)

/**
 * @param {string[]} methods
 * @returns {Rule}
 */
export const withMethods = (...methods) => ({
	fits: (value) => isObject(value) && methods.every((name) => typeof value[name] === 'function'),
	wanted: `an object with ${methods.join(', ')}`,
	problem: (value) =>
		isObject(value) ? `"${methods.find((name) => typeof value[name] !== 'function')}" is no method of it` : undefined,
})

/**
 * @param {unknown} value
 * @param {Rule} rule
 */
const problemOf = (value, { wanted, isSecret, problem }) =>
	problem?.(value) ?? `${typeof value === 'number' && !isSecret ? value : kindOf(value)} is not ${wanted}`

/**
 * @param {object} settings
 * @param {Fields} fields
 * @param {string[]} [required]
 * @returns {Wrong | undefined}
 */
const firstWrong = (settings, fields, required = []) => {
	for (const [name, [rule, fix]] of Object.entries(fields)) {
		const value = Reflect.get(settings, name)
		const isGiven = value !== undefined && value !== null
		if (!isGiven && required.includes(name)) return { name, problem: 'missing', fix }
		if (isGiven && !rule.fits(value)) return { name, problem: problemOf(value, rule), fix }
	}
	return undefined
}

/**
 * @param {object} settings
 * @param {string} path
 * @param {Fields} fields
 * @param {string[]} [required]
 */
export const checkFields = (settings, path, fields, required) => {
	const wrong = firstWrong(settings, fields, required)
	if (wrong) throw optionError(`${path}.${wrong.name}`, wrong.problem, wrong.fix)
}

/**
 * A field of a client object that the native client cannot use goes on being the library's.
 *
 * @param {object} settings of a genuine client
 * @param {Fields} fields
 * @returns {string | undefined}
 */
export const unusable = (settings, fields) => {
	const wrong = firstWrong(settings, fields)
	return wrong && `${wrong.name} (${wrong.problem})`
}
