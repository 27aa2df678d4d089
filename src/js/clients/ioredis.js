/**
 * Reads the settings of an ioredis `Redis` or `Cluster` (versions 5 and 6), and plain Redis settings or a URL, for the
 * native client.
 */
import { optionError } from '../errors.js'
import { checkFields, kindOf, LIST, MILLISECONDS, NAME, PORT, TEXT, unusable, whole } from './fields.js'
import { className, isObject, isUntouched } from './genuine.js'
import { checkTls, readTls, TLS_FIELD } from './tls.js'

/**
 * @typedef {{ host: string, port: number }} Address
 *
 * @typedef {object} RedisSettings
 * @property {string} [host]
 * @property {number} [port]
 * @property {string} [username]
 * @property {string} [password]
 * @property {number} [db]
 * @property {import('./tls.js').TlsSettings} [tls]
 * @property {string} [keyPrefix]
 * @property {number} [connectTimeoutMs]
 * @property {number} [commandTimeoutMs]
 * @property {Address[]} [cluster]
 * @property {{ name: string, nodes: Address[], username?: string, password?: string }} [sentinel]
 *
 * @typedef {import('./tls.js').Reading<RedisSettings>} RedisReading
 */

// ioredis mixes EventEmitter into its prototypes, constructor included, so the class name says nothing.
const MARKS = ['sendCommand', 'connect', 'disconnect', 'duplicate']
const METHODS = ['pipeline', 'set', 'get', 'del', 'expire', 'sendCommand']
const DEFAULT_PORT = 6379
const SENTINEL_PORT = 26_379

/** @satisfies {import('./fields.js').Fields} */
const FIELDS = {
	url: [TEXT, 'Write "redis://[user:password@]host:port[/db]" or "rediss://..."'],
	host: [NAME, 'The default is "127.0.0.1"'],
	port: [PORT, `The default is ${DEFAULT_PORT}`],
	username: [TEXT, 'Leave it out for the default user'],
	password: [TEXT, 'Put it in quotes'],
	db: [whole(0), 'The default is 0'],
	tls: TLS_FIELD,
	keyPrefix: [TEXT, 'Leave it out for none'],
	connectTimeout: [MILLISECONDS, 'The default is 5000'],
	commandTimeout: [MILLISECONDS, 'The default is 5000'],
	cluster: [LIST, 'Write ["host:port", ...]'],
	sentinels: [LIST, 'Write [{ host, port }, ...]'],
	name: [NAME, 'Give the name under which the sentinels know the server'],
	sentinelUsername: [TEXT, 'Leave it out for the default user'],
	sentinelPassword: [TEXT, 'Put it in quotes'],
}
/** The names of plain settings. */
export const REDIS_SETTINGS = Object.freeze(Object.keys(FIELDS))

/** The same of a client object, where 0 is no limit. @type {import('./fields.js').Fields} */
const OF_CLIENTS = { ...FIELDS, connectTimeout: [whole(0), ''], commandTimeout: [whole(0), ''] }

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown> & { options: Record<string, unknown> }}
 */
export const isGenuineRedis = (value) =>
	isObject(value) &&
	typeof value.isCluster === 'boolean' &&
	typeof value.status === 'string' &&
	isObject(value.options) &&
	'enableOfflineQueue' in value.options &&
	isUntouched(value, MARKS, METHODS)

/**
 * @param {string} name
 * @param {unknown} value
 * @param {'string' | 'number'} type
 */
const optional = (name, value, type) => (typeof value === type && value !== '' ? { [name]: value } : {})

/** @param {Record<string, unknown>} options */
const credentials = (options) => ({
	...optional('username', options.username, 'string'),
	...optional('password', options.password, 'string'),
})

/**
 * @param {unknown} tls `true` comes from a `rediss://` URL
 * @returns {import('./tls.js').Reading<import('./tls.js').TlsSettings | undefined>}
 */
const readTlsOption = (tls) => (tls ? readTls(tls) : { settings: undefined, unsupported: undefined })

/**
 * @param {Record<string, unknown>} options
 * @returns {RedisReading} what every kind of deployment has
 */
const readCommon = (options) => {
	const tls = readTlsOption(options.tls)
	if (tls.unsupported) return { unsupported: `tls.${tls.unsupported}` }
	const unsupported = unusable(options, OF_CLIENTS)
	if (unsupported) return { unsupported }
	return {
		settings: {
			...credentials(options),
			...optional('keyPrefix', options.keyPrefix, 'string'),
			...optional('connectTimeoutMs', options.connectTimeout || undefined, 'number'),
			...optional('commandTimeoutMs', options.commandTimeout || undefined, 'number'),
			...(tls.settings ? { tls: tls.settings } : {}),
		},
	}
}

/**
 * @param {unknown} node `{ host, port }`, a port, `host:port` or a URL, as ioredis takes them
 * @param {number} defaultPort
 * @returns {Address | undefined} `undefined` where it is none, or has more than an address
 */
const addressOf = (node, defaultPort) => {
	if (typeof node === 'number') return valid('127.0.0.1', node)
	if (typeof node === 'string') return addressOfText(node, defaultPort)
	if (!isObject(node) || isSet(node.username) || isSet(node.password)) return undefined
	return valid(node.host ?? '127.0.0.1', Number(node.port ?? defaultPort))
}

/**
 * @param {unknown} host
 * @param {number} port
 * @returns {Address | undefined}
 */
const valid = (host, port) => (NAME.fits(host) && PORT.fits(port) ? { host: String(host), port } : undefined)

/**
 * @param {string} text
 * @param {number} defaultPort
 */
const addressOfText = (text, defaultPort) => {
	if (/^\d+$/.test(text)) return valid('127.0.0.1', Number(text))
	const full = text.includes('://') ? text : `redis://${text}`
	const url = URL.canParse(full) ? new URL(full) : undefined
	if (url?.protocol !== 'redis:' || url.username || url.password) return undefined
	return valid(url.hostname.replace(/^\[|\]$/g, ''), Number(url.port || defaultPort))
}

/**
 * @param {unknown} nodes
 * @param {number} defaultPort
 * @returns {Address[] | undefined} `undefined` where one of them is none
 */
const addresses = (nodes, defaultPort) => {
	const found = (Array.isArray(nodes) ? nodes : []).map((node) => addressOf(node, defaultPort))
	return found.every((node) => node !== undefined) ? found : undefined
}

/**
 * @param {Record<string, unknown>} client
 * @param {Record<string, unknown>} options
 * @returns {RedisReading}
 */
const readCluster = (client, options) => {
	const node = isObject(options.redisOptions) ? options.redisOptions : {}
	if (isSet(options.natMap) || isSet(node.natMap)) return { unsupported: 'natMap' }
	if (options.useSRVRecords) return { unsupported: 'useSRVRecords' }
	const common = readCommon({ ...node, keyPrefix: options.keyPrefix || node.keyPrefix })
	if (!common.settings) return common
	const cluster = addresses(client.startupNodes, DEFAULT_PORT)
	return cluster ? { settings: { ...common.settings, cluster } } : { unsupported: 'startupNodes' }
}

/** @param {unknown} value */
const isSet = (value) => value !== undefined && value !== null && value !== false

/**
 * The native client speaks TLS to sentinels and servers alike, or to none of them. ioredis does as `sentinelTLS` says
 * with the former, and needs `enableTLSForSentinelMode` for the latter.
 *
 * @param {Record<string, unknown>} options
 * @param {RedisSettings} common
 * @returns {import('./tls.js').Reading<import('./tls.js').TlsSettings | undefined>}
 */
const readSentinelTls = (options, common) => {
	const servers = options.enableTLSForSentinelMode ? common.tls : undefined
	const sentinels = readTlsOption(options.sentinelTLS)
	if (sentinels.unsupported) return { unsupported: `sentinelTLS.${sentinels.unsupported}` }
	if (JSON.stringify(sentinels.settings) === JSON.stringify(servers)) return { settings: servers }
	return { unsupported: sentinels.settings ? 'sentinelTLS' : 'enableTLSForSentinelMode' }
}

/**
 * @param {Record<string, unknown>} options
 * @param {RedisSettings} common
 * @returns {RedisReading}
 */
const readSentinel = (options, common) => {
	if (isSet(options.natMap)) return { unsupported: 'natMap' }
	if (isSet(options.role) && options.role !== 'master') return { unsupported: 'role' }
	const tls = readSentinelTls(options, common)
	if (tls.unsupported !== undefined) return { unsupported: tls.unsupported }
	const nodes = addresses(options.sentinels, SENTINEL_PORT)
	if (!nodes) return { unsupported: 'sentinels' }
	const sentinel = {
		name: typeof options.name === 'string' ? options.name : 'mymaster',
		nodes,
		...optional('username', options.sentinelUsername, 'string'),
		...optional('password', options.sentinelPassword, 'string'),
	}
	const { tls: _ofServers, ...rest } = common
	return {
		settings: { ...rest, ...(tls.settings ? { tls: tls.settings } : {}), db: Number(options.db ?? 0), sentinel },
	}
}

/**
 * @param {Record<string, unknown>} options in the words of ioredis
 * @returns {RedisReading}
 */
const readServer = (options) => {
	if (isSet(options.path)) return { unsupported: 'path (unix socket)' }
	if (isSet(options.Connector)) return { unsupported: `Connector (${className(options.Connector) || 'custom'})` }
	const common = readCommon(options)
	if (!common.settings) return common
	if (isSet(options.sentinels)) return readSentinel(options, common.settings)
	const server = addressOf({ host: options.host, port: options.port }, DEFAULT_PORT)
	if (!server) return { unsupported: 'host and port' }
	return { settings: { ...server, db: Number(options.db ?? 0), ...common.settings } }
}

/**
 * What the native client does not do over TLS: it names a server by the host it connects to, hands no certificates on to
 * the nodes that a cluster tells it of, and shows a certificate of its own only to servers that it verifies.
 *
 * @param {RedisReading} reading
 * @returns {RedisReading}
 */
const withNativeTls = (reading) => {
	if (!reading.settings?.tls) return reading
	const { servername, ...tls } = reading.settings.tls
	if (servername && servername !== reading.settings.host) return { unsupported: 'tls.servername' }
	const isVerified = tls.rejectUnauthorized !== false
	if (!isVerified && tls.cert) return { unsupported: 'tls.cert with rejectUnauthorized: false' }
	if (!reading.settings.cluster) return { settings: { ...reading.settings, tls } }
	if (isVerified) return { unsupported: 'tls (of a cluster)' }
	return { settings: { ...reading.settings, tls: { rejectUnauthorized: false } } }
}

/**
 * @param {Record<string, unknown> & { options: Record<string, unknown> }} client a genuine client
 * @returns {RedisReading}
 */
export const readRedis = (client) =>
	withNativeTls(client.isCluster ? readCluster(client, client.options) : readServer(client.options))

/**
 * The text is not repeated in errors: it may hold a password.
 *
 * @param {string} text
 * @param {string} path
 * @returns {Record<string, unknown>}
 */
const optionsOfUrl = (text, path) => {
	const url = URL.canParse(text) ? new URL(text) : undefined
	if (!url || !['redis:', 'rediss:'].includes(url.protocol)) {
		throw optionError(path, 'not a Redis URL', FIELDS.url[1])
	}
	if (url.port === '0') throw optionError(path, '0 is not a port', FIELDS.port[1])
	if (url.search || url.hash)
		throw optionError(path, 'more than a database stands behind the host', 'Give settings instead')
	return {
		host: url.hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
		port: Number(url.port || DEFAULT_PORT),
		username: decoded(url.username, path),
		password: decoded(url.password, path),
		db: database(url.pathname.slice(1), path),
		tls: url.protocol === 'rediss:',
	}
}

/**
 * @param {string} text
 * @param {string} path
 */
const decoded = (text, path) => {
	try {
		return decodeURIComponent(text)
	} catch {
		throw optionError(path, 'its login is not percent-encoded', 'Write "%25" for "%", or give username and password')
	}
}

/**
 * @param {string} text
 * @param {string} path
 */
const database = (text, path) => {
	const number = Number(text || 0)
	if (/^\d*$/.test(text) && FIELDS.db[0].fits(number)) return number
	throw optionError(path, `"${text}" is not a database number`, 'Write 0 or another whole number behind the host')
}

/**
 * @param {unknown} nodes
 * @param {string} path
 * @param {number} port
 */
const checkNodes = (nodes, path, port) => {
	for (const [index, node] of (Array.isArray(nodes) ? nodes : []).entries()) {
		if (addressOf(node, port)) continue
		// It is not repeated: it may hold a password.
		const problem = `${kindOf(node)} is not an address`
		throw optionError(
			`${path}[${index}]`,
			problem,
			'Write "host:port" or { host, port }; a login stands beside the list',
		)
	}
}

/** What a cluster has no use for. */
const OF_ONE_SERVER = ['url', 'host', 'port', 'db', 'sentinels', 'name']

/**
 * @param {Record<string, unknown>} settings
 * @param {string} path
 */
const checkPlain = (settings, path) => {
	checkFields(settings, path, FIELDS)
	checkTls(settings.tls, `${path}.tls`)
	checkNodes(settings.cluster, `${path}.cluster`, DEFAULT_PORT)
	checkNodes(settings.sentinels, `${path}.sentinels`, SENTINEL_PORT)
	if (!settings.cluster) return
	const other = OF_ONE_SERVER.find((key) => settings[key])
	if (other) throw optionError(`${path}.${other}`, 'of no use to a cluster', `Leave it out, or ${path}.cluster`)
}

/**
 * A URL, or settings in the words of ioredis's own options; `cluster` lists the nodes of a cluster.
 *
 * @param {string | Record<string, unknown>} value
 * @param {string} path
 * @returns {RedisReading}
 */
export const parseRedis = (value, path) => withNativeTls(parsePlain(value, path))

/**
 * @param {string | Record<string, unknown>} value
 * @param {string} path
 * @returns {RedisReading}
 */
const parsePlain = (value, path) => {
	if (typeof value === 'string') return readServer(optionsOfUrl(value, path))
	checkPlain(value, path)
	const { url, cluster, ...rest } = value
	if (cluster) return readCluster({ startupNodes: cluster }, { redisOptions: rest })
	const base = typeof url === 'string' ? optionsOfUrl(url, `${path}.url`) : {}
	const given = Object.fromEntries(Object.entries(rest).filter(([, setting]) => setting !== undefined))
	return readServer({ ...base, ...given })
}
