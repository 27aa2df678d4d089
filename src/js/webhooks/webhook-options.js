/**
 * The option `webhooks` of `KafkaAdapter`.
 */
import { shown } from '../clients/fields.js'
import { isObject } from '../clients/genuine.js'
import { optionError } from '../errors.js'

/**
 * @typedef {object} WebhookSettings
 * @property {string} baseUrl without a slash at its end
 * @property {Uint8Array[]} secrets the first one makes tokens, all of them are accepted; empty with a store of the user's
 * @property {import('../../../index.js').WebhookTokenStore | undefined} tokens
 * @property {number} ttlMs
 * @property {number} maxBodyBytes
 */

const WEEK_MS = 7 * 24 * 60 * 60 * 1000
const BODY_BYTES = 256 * 1024
/** A message of the topic has to hold the body, with the request's headers. */
const LARGEST_BODY = 768 * 1024
/** Ten years: stores count seconds in 32 bits. */
const LONGEST_MS = 10 * 365 * 24 * 60 * 60 * 1000
/** As long as the key that is derived of it. */
const SECRET_BYTES = 32
const STORE_METHODS = /** @type {const} */ (['issue', 'find', 'claim', 'confirm', 'release'])

/** @param {unknown} value */
const readBaseUrl = (value) => {
	const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined
	const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:'
	// What was given is not shown: it may hold a password.
	if (!url || !isWeb || url.search || url.hash || url.username || url.password) {
		const fix =
			'Give the public address under which requests reach handleWebhook, for example "https://example.com/hooks"'
		throw optionError('options.webhooks.baseUrl', 'not an http or https URL without query, fragment and login', fix)
	}
	return url.href.replace(/\/+$/, '')
}

/**
 * @param {unknown} secret
 * @param {string} path
 */
const readSecret = (secret, path) => {
	const isBytes = secret instanceof Uint8Array
	const bytes = typeof secret === 'string' ? Buffer.from(secret) : isBytes ? Uint8Array.from(secret) : undefined
	if (bytes && bytes.length >= SECRET_BYTES) return bytes
	const problem = bytes ? `${bytes.length} bytes are too few` : 'not a string or Uint8Array'
	throw optionError(path, problem, `Give at least ${SECRET_BYTES} random bytes, the same to all workers`)
}

/** @param {unknown} secret one, or several of which the first is the current one */
const readSecrets = (secret) => {
	if (!Array.isArray(secret)) return [readSecret(secret, 'options.webhooks.secret')]
	if (secret.length === 0) throw optionError('options.webhooks.secret', 'an empty list', 'Give at least one secret')
	return secret.map((one, at) => readSecret(one, `options.webhooks.secret[${at}]`))
}

/** @param {unknown} tokens @returns {import('../../../index.js').WebhookTokenStore | undefined} */
const readTokens = (tokens) => {
	if (tokens === undefined) return undefined
	const missing = STORE_METHODS.find((name) => !isObject(tokens) || typeof tokens[name] !== 'function')
	if (missing === undefined) return /** @type {any} */ (tokens)
	const fix = `Give an object with ${STORE_METHODS.join(', ')}, or a secret instead`
	throw optionError('options.webhooks.tokens', `"${missing}" is no method of it`, fix)
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {number} otherwise
 * @param {number} most
 */
const bounded = (options, name, otherwise, most) => {
	const value = options[name] ?? otherwise
	if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= most) return value
	const problem = `${shown(value)} is not a whole number from 1 to ${most}`
	throw optionError(`options.webhooks.${name}`, problem, `The default is ${otherwise}`)
}

/**
 * @param {unknown} given
 * @returns {WebhookSettings | undefined}
 */
export const readWebhooks = (given) => {
	if (given === undefined) return undefined
	if (!isObject(given)) {
		throw optionError('options.webhooks', 'not an object', 'Give { baseUrl, secret }, or leave it out')
	}
	const baseUrl = readBaseUrl(given.baseUrl)
	const tokens = readTokens(given.tokens)
	const secrets = tokens ? [] : readSecrets(given.secret)
	const settings = {
		baseUrl,
		secrets,
		tokens,
		ttlMs: bounded(given, 'ttlMs', WEEK_MS, LONGEST_MS),
		maxBodyBytes: bounded(given, 'maxBodyBytes', BODY_BYTES, LARGEST_BODY),
	}
	// Settings may be printed.
	return Object.defineProperty(settings, 'secrets', { enumerable: false })
}
