/**
 * Reads the settings of an ioredis `Redis` or `Cluster` (versions 5 and 6), and plain Redis settings or a URL, for the
 * native client.
 */
import { optionError } from '../errors.js'
import { className, isObject, isUntouched } from './genuine.js'
import { readTls } from './tls.js'

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
	return {
		settings: {
			...credentials(options),
			...optional('keyPrefix', options.keyPrefix, 'string'),
			...optional('connectTimeoutMs', options.connectTimeout, 'number'),
			...optional('commandTimeoutMs', options.commandTimeout, 'number'),
			...(tls.settings ? { tls: tls.settings } : {}),
		},
	}
}

/**
 * @param {unknown} node `{ host, port }`, a port, `host:port` or a URL, as ioredis takes them
 * @param {number} defaultPort
 * @returns {Address}
 */
const address = (node, defaultPort) => {
	if (typeof node === 'number') return { host: '127.0.0.1', port: node }
	if (typeof node === 'string') return addressOfText(node, defaultPort)
	const { host, port } = isObject(node) ? node : {}
	return { host: typeof host === 'string' ? host : '127.0.0.1', port: Number(port ?? defaultPort) }
}

/**
 * @param {string} text
 * @param {number} defaultPort
 */
const addressOfText = (text, defaultPort) => {
	if (/^\d+$/.test(text)) return { host: '127.0.0.1', port: Number(text) }
	const url = new URL(text.includes('://') ? text : `redis://${text}`)
	return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || defaultPort) }
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
	const nodes = Array.isArray(client.startupNodes) ? client.startupNodes : []
	return { settings: { ...common.settings, cluster: nodes.map((entry) => address(entry, DEFAULT_PORT)) } }
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
	const nodes = Array.isArray(options.sentinels) ? options.sentinels : []
	const sentinel = {
		name: typeof options.name === 'string' ? options.name : 'mymaster',
		nodes: nodes.map((entry) => address(entry, 26379)),
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
	const { host, port } = address({ host: options.host ?? '127.0.0.1', port: options.port }, DEFAULT_PORT)
	return { settings: { host, port, db: Number(options.db ?? 0), ...common.settings } }
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
 * @param {string} text
 * @param {string} path
 * @returns {Record<string, unknown>}
 */
const optionsOfUrl = (text, path) => {
	const url = URL.canParse(text) ? new URL(text) : undefined
	if (!url || !['redis:', 'rediss:'].includes(url.protocol)) {
		// The text is not repeated: it may hold a password.
		throw optionError(path, 'not a Redis URL', 'Write "redis://[user:password@]host:port[/db]" or "rediss://..."')
	}
	return {
		host: url.hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
		port: Number(url.port || DEFAULT_PORT),
		username: decodeURIComponent(url.username),
		password: decodeURIComponent(url.password),
		db: Number(url.pathname.slice(1) || 0),
		tls: url.protocol === 'rediss:',
	}
}

/**
 * @param {RedisReading} reading
 * @param {string} path
 * @returns {RedisReading}
 */
const checked = (reading, path) => {
	const { port, db } = reading.settings ?? {}
	if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65536)) {
		throw optionError(`${path}.port`, `${port} is not a port`, 'Write a number between 1 and 65535')
	}
	if (db !== undefined && !(Number.isInteger(db) && db >= 0)) {
		throw optionError(`${path}.db`, `${db} is not a database number`, 'Write 0 or another whole number')
	}
	return reading
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
	if (typeof value === 'string') return checked(readServer(optionsOfUrl(value, path)), path)
	const { url, cluster, ...rest } = value
	if (Array.isArray(cluster)) return readCluster({ startupNodes: cluster }, { redisOptions: rest })
	const base = typeof url === 'string' ? optionsOfUrl(url, `${path}.url`) : {}
	return checked(readServer({ ...base, ...rest }), path)
}
