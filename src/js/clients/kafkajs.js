/**
 * Reads the settings of a kafkajs `Kafka` object, and plain Kafka settings, for the native client.
 */
import { optionError } from '../errors.js'
import { between, checkFields, kindOf, NAME, OBJECT, OBJECT_OR_NONE, TEXT, unusable, whole } from './fields.js'
import { isObject, isUntouched, libraryPrototype } from './genuine.js'
import { checkTls, readTls, TLS_FIELD } from './tls.js'

/**
 * @typedef {object} SaslSettings
 * @property {'plain' | 'scram-sha-256' | 'scram-sha-512' | 'oauthbearer'} mechanism
 * @property {string} [username]
 * @property {string} [password]
 *
 * @typedef {object} KafkaSettings
 * @property {string[]} brokers `host:port`
 * @property {string} [clientId]
 * @property {import('./tls.js').TlsSettings} [tls]
 * @property {SaslSettings} [sasl]
 * @property {number} [sessionTimeoutMs]
 * @property {number} [heartbeatIntervalMs]
 * @property {number} [lingerMs]
 * @property {string} [groupInstanceId]
 * @property {'earliest' | 'latest'} [startPosition]
 * @property {number} [topicPartitions]
 * @property {Record<string, string>} [properties]
 *
 * @typedef {() => Promise<{ value: string, extensions?: Record<string, string> }>} TokenProvider
 *
 * @typedef {{ settings: KafkaSettings, token?: TokenProvider, unsupported?: undefined }
 *   | { settings?: undefined, unsupported: string }} KafkaReading
 *
 * What a kafkajs connection pool (not connected to anything) tells about its client:
 * @typedef {{ host: unknown, port: unknown, ssl: unknown, sasl: unknown, clientId: unknown, socketFactory: unknown }} Pool
 * @typedef {{ brokerPool: { connectionPoolBuilder: { build(): Promise<Pool> } } }} Cluster
 */

const MARKS = ['producer', 'consumer', 'admin', 'logger']
const METHODS = ['producer', 'consumer']
const CREATE_CLUSTER = 'private:Kafka:createCluster'
// A list that never repeats comes from a function that invents addresses; the first of them will do.
const MAX_BROKERS = 64
/** @type {SaslSettings['mechanism'][]} */
const MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer']

/** @param {object} object */
const clusterSymbol = (object) =>
	Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === CREATE_CLUSTER)

/**
 * @param {unknown} value
 * @returns {value is object}
 */
export const isGenuineKafka = (value) =>
	isObject(value) && clusterSymbol(value) !== undefined && isUntouched(value, MARKS, METHODS)

/** @param {object} kafka */
const createCluster = (kafka) => {
	const symbol = clusterSymbol(kafka)
	const create = symbol && Reflect.get(kafka, symbol)
	return /** @type {Cluster} */ (create({ allowAutoTopicCreation: false }))
}

/**
 * kafkajs keeps its broker list in a closure; building one pool after the other hands it out in turn.
 *
 * @param {object} kafka
 * @returns {Promise<{ brokers: string[], pool: Pool }>}
 */
const enumerate = async (kafka) => {
	const builder = createCluster(kafka).brokerPool.connectionPoolBuilder
	const pool = await builder.build()
	const brokers = [`${pool.host}:${pool.port}`]
	while (brokers.length < MAX_BROKERS) {
		const next = await builder.build()
		const broker = `${next.host}:${next.port}`
		if (brokers.includes(broker)) break
		brokers.push(broker)
	}
	return { brokers, pool }
}

/**
 * Whether the sockets are made by kafkajs's own factory: a second client of the same copy of kafkajs shows its text.
 *
 * @param {object} kafka
 * @param {Pool} pool
 */
const hasDefaultSockets = async (kafka, pool) => {
	const library = libraryPrototype(kafka, MARKS)
	const Kafka = /** @type {new (options: object) => object} */ (library?.constructor)
	const plain = await createCluster(new Kafka({ brokers: ['127.0.0.1:9092'] })).brokerPool.connectionPoolBuilder.build()
	return String(plain.socketFactory) === String(pool.socketFactory)
}

/**
 * @param {unknown} sasl
 * @returns {{ sasl?: SaslSettings, token?: TokenProvider, unsupported?: string }}
 */
const readSasl = (sasl) => {
	if (!isObject(sasl)) return {}
	const mechanism = MECHANISMS.find((known) => known === String(sasl.mechanism).toLowerCase())
	if (!mechanism) return { unsupported: `sasl.mechanism "${String(sasl.mechanism)}"` }
	if (mechanism === 'oauthbearer') {
		const { oauthBearerProvider } = sasl
		if (typeof oauthBearerProvider !== 'function') return { unsupported: 'sasl without oauthBearerProvider' }
		return { sasl: { mechanism }, token: /** @type {TokenProvider} */ (oauthBearerProvider.bind(sasl)) }
	}
	const { username, password } = sasl
	if (typeof username !== 'string') return { unsupported: 'sasl.username (missing)' }
	if (typeof password !== 'string') return { unsupported: 'sasl.password (missing)' }
	return { sasl: { mechanism, username, password } }
}

/**
 * Plain settings have nobody else who could log in.
 *
 * @param {unknown} sasl
 * @param {string} path
 */
const checkSasl = (sasl, path) => {
	if (!sasl) return
	const { mechanism, ...rest } = isObject(sasl) ? sasl : {}
	const known = MECHANISMS.find((name) => name === String(mechanism).toLowerCase())
	if (!known) {
		const problem = mechanism === undefined ? 'missing' : `"${String(mechanism)}" is not known`
		const names = MECHANISMS.join(', ')
		throw optionError(`${path}.mechanism`, problem, `Use one of ${names}, or pass a kafkajs client`)
	}
	/** @type {[string, string][]} */
	const fields =
		known === 'oauthbearer'
			? [['oauthBearerProvider', 'function']]
			: [
					['username', 'string'],
					['password', 'string'],
				]
	for (const [name, type] of fields) {
		if (typeof rest[name] === type) continue
		const problem = rest[name] === undefined ? 'missing' : `a ${typeof rest[name]}, not a ${type}`
		throw optionError(`${path}.${name}`, problem, `Mechanism "${String(mechanism)}" needs it as a ${type}`)
	}
}

/**
 * @param {unknown} ssl
 * @returns {import('./tls.js').Reading<import('./tls.js').TlsSettings | undefined>}
 */
const readSsl = (ssl) => {
	if (!ssl) return { settings: undefined, unsupported: undefined }
	const reading = readTls(ssl)
	// librdkafka always presents and checks the broker's own host name.
	return reading.settings?.servername ? { unsupported: 'servername' } : reading
}

/**
 * @param {{ brokers: string[], clientId?: unknown, ssl?: unknown, sasl?: unknown }} parts
 * @returns {KafkaReading}
 */
const assemble = ({ brokers, clientId, ssl, sasl }) => {
	const tls = readSsl(ssl)
	if (tls.unsupported) return { unsupported: `ssl.${tls.unsupported}` }
	const auth = readSasl(sasl)
	if (auth.unsupported) return { unsupported: auth.unsupported }
	/** @type {KafkaSettings} */
	const settings = { brokers }
	if (typeof clientId === 'string') settings.clientId = clientId
	if (tls.settings) settings.tls = tls.settings
	if (auth.sasl) settings.sasl = auth.sasl
	return auth.token ? { settings, token: auth.token } : { settings }
}

/**
 * @param {object} kafka a genuine kafkajs client; a `brokers` function of the user is called
 * @returns {Promise<KafkaReading>}
 */
export const readKafka = async (kafka) => {
	const { brokers, pool } = await enumerate(kafka)
	if (!(await hasDefaultSockets(kafka, pool))) return { unsupported: 'socketFactory' }
	checkBrokers(brokers, 'options.kafka.brokers')
	const { clientId, ssl, sasl } = pool
	const unsupported = unusable({ clientId }, { clientId: FIELDS.clientId })
	if (unsupported) return { unsupported }
	return assemble({ brokers, clientId, ssl, sasl })
}

const BROKER = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5})$/

/**
 * @param {unknown[]} brokers
 * @param {string} path
 * @returns {asserts brokers is string[]}
 */
function checkBrokers(brokers, path) {
	if (brokers.length === 0) throw optionError(path, 'no broker is given', 'Give at least one "host:port"')
	for (const [index, broker] of brokers.entries()) {
		const port = typeof broker === 'string' ? Number(BROKER.exec(broker)?.[1] ?? 0) : 0
		if (port > 0 && port < 65536) continue
		const shown = typeof broker === 'string' ? `"${broker}"` : kindOf(broker)
		throw optionError(
			`${path}[${index}]`,
			`${shown} is not an address`,
			'Write "host:port", for example "127.0.0.1:9092"',
		)
	}
}

/**
 * @param {unknown} value `"a:9092,b:9092"`, a list of addresses
 * @param {string} path
 */
export const brokerList = (value, path) => {
	const list =
		typeof value === 'string' ? value.split(',').map((part) => part.trim().replace(/^kafka:\/\//, '')) : value
	if (!Array.isArray(list)) {
		throw optionError(path, 'no list of brokers', 'Write ["host:port", ...] or "host:port,host:port"')
	}
	checkBrokers(list, path)
	return list
}

/** As librdkafka takes them. */
const LONGEST_SESSION_MS = 3_600_000
const LONGEST_LINGER_MS = 900_000
/** The engine's own (src/backends/kafka/config.rs). */
const SESSION_TIMEOUT_MS = 10_000
const HEARTBEAT_MS = 1_000

/** @satisfies {import('./fields.js').Fields} */
const FIELDS = {
	clientId: [TEXT, 'Leave it out for "flowcraft"'],
	ssl: TLS_FIELD,
	sasl: [OBJECT_OR_NONE, 'Give { mechanism, username, password }'],
	sessionTimeoutMs: [whole(1, LONGEST_SESSION_MS), `The default is ${SESSION_TIMEOUT_MS}`],
	heartbeatIntervalMs: [whole(1, LONGEST_SESSION_MS), `The default is ${HEARTBEAT_MS}`],
	lingerMs: [between(0, LONGEST_LINGER_MS), 'The default is 0.5'],
	// librdkafka would take an empty one for no name at all.
	groupInstanceId: [NAME, 'Give each worker a name of its own, or leave it out'],
	properties: [OBJECT, 'Give { "name of librdkafka": "value" }'],
}

/** What kafkajs has no word for, or says elsewhere; the names are those of the native client. */
const NATIVE_ONLY = /** @type {const} */ ([
	'sessionTimeoutMs',
	'heartbeatIntervalMs',
	'lingerMs',
	'groupInstanceId',
	'properties',
])

/**
 * @param {unknown} properties
 * @param {string} path
 */
const checkProperties = (properties, path) => {
	for (const [name, value] of Object.entries(properties ?? {})) {
		if (typeof value === 'string') continue
		throw optionError(
			`${path}["${name}"]`,
			`${kindOf(value)} is not a string`,
			'Put it in quotes: librdkafka takes text',
		)
	}
}

/**
 * @param {Record<string, unknown>} settings
 * @param {string} path
 */
const checkPlain = (settings, path) => {
	checkFields(settings, path, FIELDS)
	checkTls(settings.ssl, `${path}.ssl`)
	checkSasl(settings.sasl, `${path}.sasl`)
	checkProperties(settings.properties, `${path}.properties`)
	const session = Number(settings.sessionTimeoutMs ?? SESSION_TIMEOUT_MS)
	const heartbeat = Number(settings.heartbeatIntervalMs ?? HEARTBEAT_MS)
	if (heartbeat < session) return
	const name = settings.heartbeatIntervalMs === undefined ? 'sessionTimeoutMs' : 'heartbeatIntervalMs'
	const problem = `heartbeats every ${heartbeat} ms are not within a session timeout of ${session} ms`
	throw optionError(`${path}.${name}`, problem, 'Let heartbeatIntervalMs be about a third of sessionTimeoutMs')
}

/**
 * Plain settings, in the words of kafkajs's own options.
 *
 * @param {string | unknown[] | Record<string, unknown>} value
 * @param {string} path
 * @returns {KafkaReading}
 */
export const parseKafka = (value, path) => {
	if (typeof value === 'string' || Array.isArray(value)) return assemble({ brokers: brokerList(value, path) })
	checkPlain(value, path)
	const reading = assemble({ ...value, brokers: brokerList(value.brokers, `${path}.brokers`) })
	const given = NATIVE_ONLY.filter((name) => value[name] !== undefined && value[name] !== null)
	if (reading.settings) Object.assign(reading.settings, Object.fromEntries(given.map((name) => [name, value[name]])))
	return reading
}
