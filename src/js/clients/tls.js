/**
 * TLS settings of Node's clients, as the native clients need them: PEM text, and Node's idea of whom to trust.
 */
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import { checkFields, FLAG, NAME, SWITCH, TEXT } from './fields.js'
import { isObject } from './genuine.js'

/**
 * @typedef {object} TlsSettings
 * @property {string} [ca] PEM, one or more certificates
 * @property {string} [cert] PEM
 * @property {string} [key] PEM
 * @property {string} [passphrase]
 * @property {boolean} [rejectUnauthorized]
 * @property {string} [servername]
 */

/**
 * Settings read from a client: either complete, or the name of the first setting that the native client cannot honour.
 *
 * @template T
 * @typedef {{ settings: T, unsupported?: undefined } | { settings?: undefined, unsupported: string }} Reading
 */

const SUPPORTED = new Set(['ca', 'cert', 'key', 'passphrase', 'rejectUnauthorized', 'servername'])
// Where to connect is taken from the client's own address list.
const IRRELEVANT = new Set(['host', 'port', 'requestCert'])

/** @returns {string} */
const extraRoots = () => {
	const file = process.env.NODE_EXTRA_CA_CERTS
	if (!file) return ''
	try {
		return readFileSync(file, 'utf8')
	} catch {
		// Node itself has warned about the unreadable file and goes on without it.
		return ''
	}
}

/** @type {string | undefined} */
let roots

/** Node's roots rather than the system's: slim images have none, and users configure trust through Node. */
export const defaultRoots = () => (roots ??= [...tls.rootCertificates, extraRoots()].filter(Boolean).join('\n'))

/**
 * @param {unknown} value
 * @returns {string | undefined} PEM text of a string, a buffer or a list of them; `undefined` for anything else
 */
const pem = (value) => {
	if (typeof value === 'string') return value
	if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8')
	if (!Array.isArray(value)) return undefined
	const parts = value.map(pem)
	return parts.every((part) => part !== undefined) ? parts.join('\n') : undefined
}

/**
 * @param {unknown} value `key` of `tls.connect`: PEM, or a list with one PEM or one `{ pem, passphrase }`
 * @returns {{ key?: string, passphrase?: string }}
 */
const privateKey = (value) => {
	const single = Array.isArray(value) && value.length === 1 ? value[0] : value
	if (typeof single === 'object' && single !== null && 'pem' in single) {
		const passphrase = 'passphrase' in single && typeof single.passphrase === 'string' ? single.passphrase : undefined
		return { key: pem(single.pem), passphrase }
	}
	return { key: Array.isArray(single) ? undefined : pem(single) }
}

/** @type {import('./fields.js').Rule} */
const PEM = {
	fits: (value) => value === false || pem(value) !== undefined,
	wanted: 'PEM text, a buffer or a list of them',
}
/** @type {import('./fields.js').Rule} */
const KEY = { fits: (value) => value === false || privateKey(value).key !== undefined, wanted: 'PEM text or a buffer' }
const CONTENT = 'Give the content of a PEM file'

/** @type {import('./fields.js').Fields} */
const FIELDS = {
	ca: [PEM, CONTENT],
	cert: [PEM, CONTENT],
	key: [KEY, CONTENT],
	passphrase: [TEXT, 'Leave it out where the key has none'],
	rejectUnauthorized: [FLAG, 'Leave it out for the default'],
	servername: [NAME, 'Leave it out for the host'],
}

/** What a setting for TLS may be, with what is written in it. @type {import('./fields.js').Field} */
export const TLS_FIELD = [SWITCH, 'Give true, or { ca, cert, key, ... }']

/**
 * @param {unknown} value of a setting that is {@link TLS_FIELD}
 * @param {string} path
 */
export const checkTls = (value, path) => {
	if (isObject(value)) checkFields(value, path, FIELDS)
}

/** @param {unknown} value */
const isSet = (value) => value !== undefined && value !== null && value !== false

/**
 * @param {Record<string, unknown>} options
 * @returns {string | undefined} name of the first option that has no native counterpart
 */
const firstUnsupported = (options) => {
	const known = (/** @type {string} */ name) => SUPPORTED.has(name) || IRRELEVANT.has(name)
	const foreign = Object.keys(options).find((name) => isSet(options[name]) && !known(name))
	if (foreign) return foreign
	if (isSet(options.ca) && pem(options.ca) === undefined) return 'ca'
	if (isSet(options.cert) && pem(options.cert) === undefined) return 'cert'
	if (isSet(options.key) && privateKey(options.key).key === undefined) return 'key'
	return undefined
}

/**
 * @param {unknown} options `true`, or options of `tls.connect`
 * @param {{ rejectUnauthorized?: boolean }} [defaults] of the client the options were given to
 * @returns {Reading<TlsSettings>}
 */
export const readTls = (options, { rejectUnauthorized = true } = {}) => {
	const given = typeof options === 'object' && options !== null ? Object.fromEntries(Object.entries(options)) : {}
	const unsupported = firstUnsupported(given)
	if (unsupported) return { unsupported }
	const { key, passphrase = given.passphrase } = isSet(given.key) ? privateKey(given.key) : {}
	/** @type {TlsSettings} */
	const settings = {
		ca: (isSet(given.ca) && pem(given.ca)) || defaultRoots(),
		rejectUnauthorized: typeof given.rejectUnauthorized === 'boolean' ? given.rejectUnauthorized : rejectUnauthorized,
	}
	if (isSet(given.cert)) settings.cert = pem(given.cert)
	if (key !== undefined) settings.key = key
	if (typeof passphrase === 'string') settings.passphrase = passphrase
	if (typeof given.servername === 'string' && given.servername) settings.servername = given.servername
	return { settings }
}
