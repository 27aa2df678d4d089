/**
 * Reads the settings of a cassandra-driver `Client`, and plain Cassandra settings, for the native client.
 */
import { optionError } from '../errors.js'
import {
	checkFields,
	kindOf,
	MILLISECONDS,
	NAME,
	OBJECT,
	OBJECT_OR_NONE,
	PORT,
	TEXT,
	unusable,
	whole,
} from './fields.js'
import { className, isObject, isPlain, isUntouched } from './genuine.js'
import { checkTls, readTls, TLS_FIELD } from './tls.js'

/**
 * @typedef {object} CassandraSettings
 * @property {string[]} contactPoints `host:port`
 * @property {string} [localDataCenter]
 * @property {string} [username]
 * @property {string} [password]
 * @property {import('./tls.js').TlsSettings} [tls]
 * @property {string} consistency
 * @property {string} [serialConsistency]
 * @property {number} [connectTimeoutMs]
 * @property {number} [requestTimeoutMs]
 *
 * `raised` names the weaker consistency that was found as the driver's own setting.
 * @typedef {{ settings: CassandraSettings, raised?: string, unsupported?: undefined }
 *   | { settings?: undefined, unsupported: string }} CassandraReading
 */

const MARKS = ['execute', 'batch', 'eachRow', 'shutdown', 'connect']
const METHODS = ['execute']
const DEFAULT_PORT = 9042
// In the order of the protocol's numbers.
const LEVELS = [
	'ANY',
	'ONE',
	'TWO',
	'THREE',
	'QUORUM',
	'ALL',
	'LOCAL_QUORUM',
	'EACH_QUORUM',
	'SERIAL',
	'LOCAL_SERIAL',
	'LOCAL_ONE',
]
/** Levels at which a step would count as durable though one node's loss loses it. */
const WEAK = new Set(['ANY', 'ONE', 'LOCAL_ONE'])
/** Levels that our own option may name; what is written at `ANY` cannot be read. */
export const CONSISTENCIES = Object.freeze(LEVELS.filter((level) => level !== 'ANY' && !level.includes('SERIAL')))

/** @satisfies {import('./fields.js').Fields} */
const FIELDS = {
	port: [PORT, `The default is ${DEFAULT_PORT}`],
	localDataCenter: [NAME, 'Leave it out for the data centre of the first node that answers'],
	keyspace: [NAME, 'Give the keyspace that holds your tables'],
	credentials: [OBJECT_OR_NONE, 'Give { username, password }'],
	sslOptions: TLS_FIELD,
	socketOptions: [OBJECT, 'Give { connectTimeout, readTimeout }'],
	// The driver has them, too.
	authProvider: [OBJECT, 'Give credentials'],
	protocolOptions: [OBJECT, 'Give port'],
	policies: [OBJECT, 'Leave it out'],
	consistency: [
		{ fits: (level) => isLevel(level, false), wanted: 'a level' },
		`Use one of ${CONSISTENCIES.join(', ')}`,
	],
	serialConsistency: [{ fits: (level) => isLevel(level, true), wanted: 'a level' }, 'Use SERIAL or LOCAL_SERIAL'],
}
/** @type {import('./fields.js').Fields} */
const LOGIN = { username: [TEXT, 'Give { username, password }'], password: [TEXT, 'Give { username, password }'] }
const PROTOCOL = { port: FIELDS.port }
const SOCKET = /** @type {import('./fields.js').Fields} */ ({
	connectTimeout: [MILLISECONDS, 'The default is 5000'],
	readTimeout: [MILLISECONDS, 'The default is 10000'],
})
/** 0 is no limit for the driver; the native client then has its own. */
const DRIVER_SOCKET = /** @type {import('./fields.js').Fields} */ ({
	connectTimeout: [whole(0), ''],
	readTimeout: [whole(0), ''],
})

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown> & { options: Record<string, unknown> }}
 */
export const isGenuineCassandra = (value) =>
	isObject(value) &&
	isObject(value.options) &&
	isObject(value.options.policies) &&
	Object.hasOwn(value, 'controlConnection') &&
	isUntouched(value, MARKS, METHODS)

/**
 * @param {string} point
 * @param {unknown} port
 */
const withPort = (point, port) => {
	const hasPort = /^(\[.*\]|[^:]*):\d+$/.test(point)
	if (hasPort) return point
	const host = point.includes(':') && !point.startsWith('[') ? `[${point}]` : point
	return `${host}:${typeof port === 'number' ? port : DEFAULT_PORT}`
}

/**
 * @param {unknown} provider
 * @returns {{ username?: string, password?: string, unsupported?: string }}
 */
const readAuth = (provider) => {
	if (!isObject(provider) || className(provider) === 'NoAuthProvider') return {}
	const { username, password } = provider
	const isPlain = ['PlainTextAuthProvider', 'DsePlainTextAuthProvider'].includes(className(provider))
	if (!isPlain || provider.authorizationId || typeof username !== 'string' || typeof password !== 'string') {
		return { unsupported: `authProvider (${className(provider) || 'custom'})` }
	}
	return { username, password }
}

/**
 * @param {unknown} policy
 * @returns {{ dataCenter?: string, unsupported?: string }}
 */
const readBalancing = (policy) => {
	if (!isObject(policy)) return {}
	switch (className(policy)) {
		case 'DefaultLoadBalancingPolicy':
		case 'DCAwareRoundRobinPolicy':
			return typeof policy.localDc === 'string' ? { dataCenter: policy.localDc } : {}
		case 'RoundRobinPolicy':
			return {}
		case 'TokenAwarePolicy':
			return readBalancing(policy.childPolicy)
		default:
			return { unsupported: `policies.loadBalancing (${className(policy) || 'custom'})` }
	}
}

/**
 * @param {Record<string, unknown>} options
 * @returns {Record<string, unknown>} the profile that statements without a profile run with
 */
const defaultProfile = (options) => {
	const profiles = Array.isArray(options.profiles) ? options.profiles.filter(isObject) : []
	return profiles.find((profile) => profile.name === 'default') ?? {}
}

/**
 * @param {unknown} found number as the driver has it, or name
 * @returns {string | undefined}
 */
const levelName = (found) => (typeof found === 'number' ? LEVELS[found] : LEVELS.find((level) => level === found))

/**
 * @param {unknown} found
 * @param {boolean} isSerial
 */
const isLevel = (found, isSerial) => levelName(found)?.includes('SERIAL') === isSerial

/**
 * @param {unknown} found
 * @returns {{ consistency: string, raised?: string }}
 */
const durableLevel = (found) => {
	const level = levelName(found)
	if (level === undefined) return { consistency: 'LOCAL_QUORUM' }
	return WEAK.has(level) ? { consistency: 'LOCAL_QUORUM', raised: level } : { consistency: level }
}

/**
 * @param {unknown} sslOptions
 * @returns {import('./tls.js').Reading<import('./tls.js').TlsSettings | undefined>}
 */
const readSsl = (sslOptions) => {
	if (!sslOptions) return { settings: undefined, unsupported: undefined }
	// The driver does not check certificates unless it is told to.
	return readTls(sslOptions, { rejectUnauthorized: false })
}

/** @param {Record<string, unknown>} options */
const unsupportedOption = (options) => {
	if (options.cloud) return 'cloud.secureConnectBundle'
	const policies = isObject(options.policies) ? options.policies : {}
	const translator = className(policies.addressResolution)
	return translator && translator !== 'AddressTranslator' ? `policies.addressResolution (${translator})` : undefined
}

/**
 * @param {unknown} group
 * @param {string} name
 * @param {string} target
 */
const timeout = (group, name, target) =>
	isObject(group) && typeof group[name] === 'number' && group[name] > 0 ? { [target]: group[name] } : {}

/**
 * @param {Record<string, unknown>} options of the driver
 * @param {{ consistency?: unknown, serialConsistency?: unknown }} levels to start from
 * @returns {CassandraReading}
 */
const assemble = (options, levels) => {
	const policies = isObject(options.policies) ? options.policies : {}
	const auth = readAuth(options.authProvider)
	const balancing = readBalancing(defaultProfile(options).loadBalancing ?? policies.loadBalancing)
	const ssl = readSsl(options.sslOptions)
	const unsupported =
		unsupportedOption(options) ??
		auth.unsupported ??
		balancing.unsupported ??
		(ssl.unsupported && `sslOptions.${ssl.unsupported}`)
	if (unsupported) return { unsupported }
	const { consistency, raised } = durableLevel(levels.consistency)
	const serial = levelName(levels.serialConsistency)
	const port = isObject(options.protocolOptions) ? options.protocolOptions.port : undefined
	const points = Array.isArray(options.contactPoints) ? options.contactPoints : []
	/** @type {CassandraSettings} */
	const settings = {
		contactPoints: points.map((point) => withPort(String(point), port)),
		consistency,
		...timeout(options.socketOptions, 'connectTimeout', 'connectTimeoutMs'),
		...timeout(options.socketOptions, 'readTimeout', 'requestTimeoutMs'),
	}
	const dataCenter = typeof options.localDataCenter === 'string' ? options.localDataCenter : balancing.dataCenter
	if (dataCenter) settings.localDataCenter = dataCenter
	if (auth.username !== undefined) Object.assign(settings, { username: auth.username, password: auth.password })
	if (ssl.settings) settings.tls = ssl.settings
	if (serial) settings.serialConsistency = serial
	return raised ? { settings, raised } : { settings }
}

/** @param {Record<string, unknown>} options of a genuine client */
const unusableOption = (options) => {
	const { protocolOptions, socketOptions } = options
	return (
		unusable(options, { localDataCenter: FIELDS.localDataCenter }) ??
		unusable(Object(protocolOptions), PROTOCOL) ??
		unusable(Object(socketOptions), DRIVER_SOCKET)
	)
}

/**
 * @param {{ options: Record<string, unknown> }} client a genuine client
 * @returns {CassandraReading}
 */
export const readCassandra = ({ options }) => {
	const unsupported = unusableOption(options)
	if (unsupported) return { unsupported }
	const queryOptions = isObject(options.queryOptions) ? options.queryOptions : {}
	const profile = defaultProfile(options)
	return assemble(options, {
		consistency: profile.consistency ?? queryOptions.consistency,
		serialConsistency: profile.serialConsistency ?? queryOptions.serialConsistency,
	})
}

/**
 * @param {string} point
 * @returns {boolean} whether it is `host` or `host:port`
 */
const isAddress = (point) => {
	if (!/^[A-Za-z0-9._:[\]%-]+$/.test(point)) return false
	const [, host, port] = /^(\[.*\]|[^:]*):(.*)$/.exec(point) ?? []
	return port === undefined || (host !== '' && /^\d+$/.test(port) && PORT.fits(Number(port)))
}

/**
 * @param {unknown[]} points
 * @param {string} path
 */
const checkPoints = (points, path) => {
	if (points.length === 0) throw optionError(path, 'no contact point is given', 'Give at least one "host:port"')
	for (const [index, point] of points.entries()) {
		if (typeof point === 'string' && isAddress(point)) continue
		const shown = typeof point === 'string' ? `"${point}"` : kindOf(point)
		throw optionError(`${path}[${index}]`, `${shown} is not an address`, 'Write "host" or "host:port"')
	}
}

/**
 * @param {unknown} value `"a:9042,b:9042"`, a list of addresses
 * @param {string} path
 */
const pointList = (value, path) => {
	const points = typeof value === 'string' ? value.split(',').map((part) => part.trim()) : value
	if (!Array.isArray(points)) {
		throw optionError(path, 'no list of contact points', 'Write ["host:port", ...] or "host:port,host:port"')
	}
	checkPoints(points, path)
	return points
}

/**
 * @param {Record<string, unknown>} settings
 * @param {string} path
 */
const checkPlain = (settings, path) => {
	checkFields(settings, path, FIELDS)
	checkTls(settings.sslOptions, `${path}.sslOptions`)
	checkFields(Object(settings.protocolOptions), `${path}.protocolOptions`, PROTOCOL)
	checkFields(Object(settings.socketOptions), `${path}.socketOptions`, SOCKET)
	if (settings.credentials) checkFields(Object(settings.credentials), `${path}.credentials`, LOGIN, Object.keys(LOGIN))
}

/**
 * Plain settings, in the words of the driver's own options; `"host:port,host:port"` and a list are contact points.
 *
 * @param {string | unknown[] | Record<string, unknown>} value
 * @param {string} path
 * @returns {CassandraReading}
 */
export const parseCassandra = (value, path) => {
	if (typeof value === 'string' || Array.isArray(value)) return assemble({ contactPoints: pointList(value, path) }, {})
	checkPlain(value, path)
	const { contactPoints, credentials, ...rest } = value
	const points = pointList(contactPoints, `${path}.contactPoints`)
	const login = credentials ? { authProvider: new PlainTextAuthProvider(Object(credentials)) } : {}
	const protocolOptions = rest.port === undefined || rest.port === null ? rest.protocolOptions : { port: rest.port }
	return assemble({ ...rest, ...login, protocolOptions, contactPoints: points }, rest)
}

/** Stands for the driver's class of the same name where only credentials are written down. */
class PlainTextAuthProvider {
	/** @param {{ username: string, password: string }} credentials */
	constructor({ username, password }) {
		this.username = username
		this.password = password
	}
}

/** What CQL takes for a name without quotes as it is. */
const PLAIN_NAME = /^[a-z][a-z0-9_]*$/

/**
 * The keyspace that a client or settings name, as statements have it. The driver puts its own in quotes.
 *
 * @param {unknown} client
 * @returns {string | undefined}
 */
export const keyspaceOf = (client) => {
	const isGenuine = isGenuineCassandra(client)
	const keyspace = isGenuine || isPlain(client) ? client.keyspace : undefined
	if (typeof keyspace !== 'string' || keyspace === '') return undefined
	return isGenuine && !PLAIN_NAME.test(keyspace) ? `"${keyspace}"` : keyspace
}
