/**
 * The options of `KafkaAdapter`: what is refused, what is filled in. Nothing that the JavaScript package accepted is
 * refused, unless it can only fail later and worse.
 */
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { checkCassandra, checkKafka, checkStore } from '../bridge/client-checks.js'
import { isCassandraSettings } from '../bridge/native-connections.js'
import { CONSISTENCIES, keyspaceOf } from '../clients/cassandra-driver.js'
import { checkFields, FUNCTION, kindOf, LONGEST_TIMER_MS, OBJECT, shown, withMethods } from '../clients/fields.js'
import { isObject, isPlain } from '../clients/genuine.js'
import { brokerList } from '../clients/kafkajs.js'
import { optionError } from '../errors.js'
import { HISTORY_VISITS } from '../session/run-history.js'
import { VALUE_SIZES } from '../stores/value-limits.js'
import { readWebhooks } from '../webhooks/webhook-options.js'

/**
 * Bounds of one worker; at a bound it pauses partitions and goes on when there is room.
 *
 * @typedef {object} Limits
 * @property {number} maxConcurrentJobs
 * @property {number} maxConcurrentJobsPerRun
 * @property {number} maxLoadedRuns
 * @property {number} maxLoadedBytes
 * @property {number} maxWaitingMessages
 *
 * @typedef {object} Settings
 * @property {string} topic
 * @property {string} groupId
 * @property {string} deadLetterTopic
 * @property {string} workerId
 * @property {unknown} kafka a client, settings, or `{ embedded }`
 * @property {unknown} cassandra a client, settings, or `{ embedded }`
 * @property {unknown} coordination a store, settings, a URL, `{ embedded }`, or `undefined`
 * @property {string} keyspace
 * @property {string} contextTable
 * @property {string} statusTable
 * @property {'topic' | 'local'} dispatch
 * @property {'eager' | 'wave'} schedule
 * @property {boolean} strict
 * @property {boolean} enforceTimeouts
 * @property {'in-process' | 'queue'} retryMode
 * @property {'prefer' | 'required'} native
 * @property {string | undefined} consistency
 * @property {'earliest' | 'latest'} startPosition
 * @property {number | undefined} topicPartitions
 * @property {Limits} limits
 * @property {import('../stores/value-limits.js').ValueSizes} valueSizes
 * @property {number} maxHistoryVisits
 * @property {number} leaseTtlMs
 * @property {number} startTimeoutMs
 * @property {number} revokeGraceMs
 * @property {number} maxStallMs
 * @property {number} poisonOpenings
 * @property {number | undefined} reconcileEverySeconds
 * @property {number | undefined} retentionSeconds
 * @property {number} sweepEverySeconds
 * @property {import('../webhooks/webhook-options.js').WebhookSettings | undefined} webhooks
 */

/**
 * The engine's own defaults (src/kernel/machine, src/ffi/config.rs), written out because users are told them.
 *
 * @type {Limits}
 */
const LIMITS = {
	maxConcurrentJobs: 256,
	maxConcurrentJobsPerRun: 32,
	maxLoadedRuns: 256,
	maxLoadedBytes: 256 * 1024 * 1024,
	maxWaitingMessages: 10_000,
}

const TIMES = { leaseTtlMs: 8_000, revokeGraceMs: 5_000, maxStallMs: 60_000 }
const START_TIMEOUT_MS = 10_000
const POISON_OPENINGS = 5
const SWEEP_EVERY_SECONDS = 3_600
/** The engine counts them in 31 and 32 bits. */
const MOST_PARTITIONS = 2 ** 31 - 1
const MOST_OPENINGS = 2 ** 32 - 1
const TOPIC = 'flowcraft-jobs'
const GROUP = 'flowcraft-workers'

/** A CQL name: plain, or in double quotes; anything else would be read as part of the statement it is put into. */
const CQL_NAME = /^(?:[A-Za-z][A-Za-z0-9_]*|"[A-Za-z0-9_]+")$/
/** Cassandra's own limit for names of keyspaces and tables. */
const LONGEST_CQL_NAME = 48
const TOPIC_NAME = /^[A-Za-z0-9._-]{1,249}$/

/**
 * @param {unknown} value
 * @param {string} path
 */
export const checkName = (value, path) => {
	if (value === undefined) return
	if (typeof value !== 'string' || !CQL_NAME.test(value)) {
		throw optionError(
			path,
			`${shown(value)} is not a CQL identifier`,
			'Use letters, digits and "_", beginning with a letter',
		)
	}
	const { length } = value.replaceAll('"', '')
	if (length <= LONGEST_CQL_NAME) return
	const problem = `"${value}" has ${length} characters`
	throw optionError(path, problem, `Cassandra takes ${LONGEST_CQL_NAME} at most: use a shorter name`)
}

/**
 * @param {unknown} value
 * @param {string} path
 */
const checkTopic = (value, path) => {
	if (typeof value === 'string' && TOPIC_NAME.test(value) && value !== '.' && value !== '..') return value
	throw optionError(path, `${shown(value)} is not a topic name`, 'Use up to 249 letters, digits, ".", "_" and "-"')
}

/**
 * @template {string} T
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {readonly T[]} allowed the first is the default
 * @returns {T}
 */
const choice = (options, name, allowed) => {
	const value = options[name] ?? allowed[0]
	const found = allowed.find((item) => item === value)
	if (found !== undefined) return found
	throw optionError(`options.${name}`, `${shown(value)} is not known`, `Use one of ${allowed.join(', ')}`)
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {number} otherwise
 * @param {{ infinite?: boolean, standard?: string | number, most?: number }} [rule] `standard`: the default, in words
 * @returns {number}
 */
export const positive = (
	options,
	name,
	otherwise,
	{ infinite = false, standard = otherwise, most = Infinity } = {},
) => {
	const value = options[name] ?? otherwise
	const isWhole = typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= most
	if (isWhole || (infinite && value === Infinity)) return value
	const range = most === Infinity ? 'of at least 1' : `from 1 to ${most}`
	const kind = `a whole number ${range}${infinite ? ', or Infinity' : ''}`
	throw optionError(`options.${name}`, `${shown(value)} is not ${kind}`, `The default is ${standard}`)
}

/**
 * Options of whatever works without an adapter.
 *
 * @param {unknown} given
 * @param {string} fix
 * @returns {Record<string, unknown>}
 */
export const someOptions = (given, fix) => {
	if (OBJECT.fits(given)) return /** @type {Record<string, unknown>} */ (given)
	throw optionError('options', given === undefined ? 'missing' : `${kindOf(given)} is not an object`, fix)
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {string} [fix]
 * @returns {string}
 */
export const requiredName = (options, name, fix = 'Give the names of keyspace and tables') => {
	if (options[name] === undefined) throw optionError(`options.${name}`, 'missing', fix)
	checkName(options[name], `options.${name}`)
	return String(options[name])
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name of the client
 * @returns {string} the option, or what the client says
 */
export const requiredKeyspace = (options, name) => {
	const keyspace = readKeyspace(options.keyspace, options[name], `options.${name}`)
	return requiredName({ keyspace }, 'keyspace', 'Give the keyspace that holds your tables')
}

/** A signal that is none would be asked in vain. @param {Record<string, unknown>} options */
export const checkSignal = (options) =>
	checkFields(options, 'options', { signal: [SIGNAL, 'Give the signal of an AbortController'] })

/** @type {import('../clients/fields.js').Rule} */
const SIGNAL = { fits: (value) => isObject(value) && typeof value.aborted === 'boolean', wanted: 'an AbortSignal' }

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {{ standard: string, most?: number }} rule
 */
const positiveOrNone = (options, name, rule) =>
	options[name] === undefined || options[name] === null ? undefined : positive(options, name, 1, rule)

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {string} otherwise
 */
const text = (options, name, otherwise) => {
	const value = options[name] || otherwise
	if (typeof value === 'string') return value
	throw optionError(`options.${name}`, `${kindOf(value)} is not a string`, `The default is "${otherwise}"`)
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 */
const flag = (options, name) => {
	const value = options[name] ?? false
	if (typeof value === 'boolean') return value
	throw optionError(`options.${name}`, `${shown(value)} is not true or false`, 'The default is false')
}

/** Work that goes on at once, beside what the engine bounds. */
export const MOST_AT_ONCE = 10_000

/** @param {Record<string, unknown>} options */
const readLimits = (options) => {
	const limits = { ...LIMITS }
	for (const name of /** @type {(keyof Limits)[]} */ (Object.keys(limits)))
		limits[name] = positive(options, name, limits[name])
	return limits
}

/** @param {Record<string, unknown>} options */
const readValueSizes = (options) => ({
	maxValueBytes: positive(options, 'maxValueBytes', VALUE_SIZES.maxValueBytes),
	warnValueBytes: positive(options, 'warnValueBytes', VALUE_SIZES.warnValueBytes),
})

/** @param {Record<string, unknown>} options */
const readTimes = (options) => ({
	leaseTtlMs: positive(options, 'leaseTtlMs', TIMES.leaseTtlMs),
	revokeGraceMs: positive(options, 'revokeGraceMs', TIMES.revokeGraceMs),
	maxStallMs: positive(options, 'maxStallMs', TIMES.maxStallMs),
	startTimeoutMs: positive(options, 'startTimeoutMs', START_TIMEOUT_MS, { infinite: true, most: LONGEST_TIMER_MS }),
	poisonOpenings: positive(options, 'poisonOpenings', POISON_OPENINGS, { most: MOST_OPENINGS }),
})

/**
 * @param {unknown} backend
 * @returns {{ embedded: string, crashAfterCalls?: number } | undefined}
 */
const readBackend = (backend) => {
	if (backend === undefined) return undefined
	if (backend === 'embedded') return Object.freeze({ embedded: 'default' })
	if (isPlain(backend) && typeof backend.embedded === 'string' && backend.embedded) {
		const { embedded, crashAfterCalls } = backend
		if (crashAfterCalls === undefined) return Object.freeze({ embedded })
		if (typeof crashAfterCalls === 'number' && Number.isSafeInteger(crashAfterCalls) && crashAfterCalls > 0)
			return Object.freeze({ embedded, crashAfterCalls })
		const problem = `${shown(crashAfterCalls)} is not a whole number of at least 1`
		throw optionError('options.backend.crashAfterCalls', problem, 'Leave it out, but in tests')
	}
	throw optionError('options.backend', 'not a backend', 'Use "embedded" or { embedded: "a name" }, or leave it out')
}

/** @param {unknown} level */
const readConsistency = (level) => {
	if (level === undefined || (typeof level === 'string' && CONSISTENCIES.includes(level))) return level
	throw optionError('options.consistency', `${shown(level)} is not known`, `Use one of ${CONSISTENCIES.join(', ')}`)
}

/** @param {unknown} consistency */
const overriding = (consistency) => (consistency ? { consistency } : {})

/**
 * Text settings become an object, so that whoever shares it shares one connection.
 *
 * @param {unknown} client
 * @param {string | undefined} consistency
 */
const cassandraInput = (client, consistency) => {
	if (typeof client === 'string' || Array.isArray(client)) {
		return { contactPoints: client, ...overriding(consistency) }
	}
	return isPlain(client) && 'contactPoints' in client ? { ...client, ...overriding(consistency) } : client
}

/**
 * @param {Record<string, unknown>} options
 * @param {unknown} backend
 */
const readKafka = ({ kafka, brokers }, backend) => {
	const isByBrokers = (kafka === undefined || kafka === null) && brokers !== undefined && brokers !== null
	if (isByBrokers) return brokerList(brokers, 'options.brokers')
	const given = kafka ?? backend
	checkKafka(given, 'options.kafka')
	return given
}

/**
 * @param {unknown} client
 * @param {unknown} backend
 * @param {string | undefined} consistency
 */
const readCassandra = (client, backend, consistency) => {
	// Whether mocks have what is called of them is asked where it is known what is (native-config.js).
	if (isCassandraSettings(client)) checkCassandra(client, 'options.cassandraClient')
	return cassandraInput(client ?? backend, consistency)
}

/**
 * @param {unknown} store
 * @param {unknown} backend
 */
const readStore = (store, backend) => {
	checkStore(store, 'options.coordinationStore')
	return store ?? backend
}

/**
 * An explicit option wins over what the client says, as anywhere.
 *
 * @param {unknown} keyspace
 * @param {unknown} client
 * @param {string} path of the client
 * @returns {string | undefined}
 */
export const readKeyspace = (keyspace, client, path) => {
	checkName(keyspace, 'options.keyspace')
	if (keyspace !== undefined) return /** @type {string} */ (keyspace)
	const found = keyspaceOf(client)
	checkName(found, `${path}.keyspace`)
	return found
}

/**
 * @param {string} topic
 * @param {unknown} given
 */
const readDeadLetterTopic = (topic, given) => {
	const path = 'options.deadLetterTopic'
	const deadLetters = checkTopic(given || `${topic}.dead-letters`, path)
	if (deadLetters !== topic) return deadLetters
	// A message that nobody can process would be buried onto the topic it came from, without end.
	throw optionError(path, `"${topic}" is the topic of the jobs`, `Use another one, for example "${topic}.dead-letters"`)
}

const newWorkerId = () => `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`

const EVENT_BUS = withMethods('emit')
const BUS_FIX = 'Give a bus as FlowRuntime takes it, or leave it out'

/** What flowcraft would only stumble over when it uses it. @type {import('../clients/fields.js').Fields} */
const RUNTIME_FIELDS = {
	blueprints: [OBJECT, 'Give { "id of a blueprint": blueprint }'],
	registry: [OBJECT, 'Give { "name of an implementation": a function or class }'],
	dependencies: [OBJECT, 'Give what your nodes depend on by name'],
	logger: [withMethods('debug', 'info', 'warn', 'error'), 'Give a logger as FlowRuntime takes it, or leave it out'],
	eventBus: [EVENT_BUS, BUS_FIX],
	serializer: [withMethods('serialize', 'deserialize'), 'Give a serializer as FlowRuntime takes it, or leave it out'],
	evaluator: [withMethods('evaluate'), 'Give an evaluator as FlowRuntime takes it, or leave it out'],
	middleware: [{ fits: Array.isArray, wanted: 'a list' }, 'Give a list, or leave it out'],
}

/** @param {Record<string, unknown>} options */
const checkRuntimeOptions = ({ runtimeOptions, eventBus }) => {
	const path = 'options.runtimeOptions'
	const fix = 'Give the options of your FlowRuntime, for example runtime.options'
	if (runtimeOptions === undefined || runtimeOptions === null) throw optionError(path, 'missing', fix)
	if (!OBJECT.fits(runtimeOptions) && !FUNCTION.fits(runtimeOptions))
		throw optionError(path, `${kindOf(runtimeOptions)} is not an object`, fix)
	// flowcraft has its own in the place of anything falsy.
	const names = Object.keys(RUNTIME_FIELDS).filter((name) => Reflect.get(Object(runtimeOptions), name))
	checkFields(Object(runtimeOptions), path, Object.fromEntries(names.map((name) => [name, RUNTIME_FIELDS[name]])))
	checkFields({ eventBus: eventBus || undefined }, 'options', { eventBus: [EVENT_BUS, BUS_FIX] })
}

/**
 * @param {unknown} given
 * @returns {Settings}
 */
export const readOptions = (given) => {
	if (!isObject(given)) throw optionError('options', 'missing', 'Give { kafka, cassandraClient, runtimeOptions, ... }')
	checkRuntimeOptions(given)
	for (const name of ['contextTableName', 'statusTableName']) checkName(given[name], `options.${name}`)
	const backend = readBackend(given.backend)
	const topic = checkTopic(given.topicName || TOPIC, 'options.topicName')
	const consistency = readConsistency(given.consistency)
	const keyspace = readKeyspace(given.keyspace, given.cassandraClient, 'options.cassandraClient')
	return {
		topic,
		groupId: text(given, 'groupId', GROUP),
		deadLetterTopic: readDeadLetterTopic(topic, given.deadLetterTopic),
		workerId: text(given, 'workerId', newWorkerId()),
		kafka: readKafka(given, backend),
		cassandra: readCassandra(given.cassandraClient, backend, consistency),
		coordination: readStore(given.coordinationStore, backend),
		keyspace: /** @type {string} */ (keyspace ?? (backend && 'flowcraft')),
		contextTable: /** @type {string} */ (given.contextTableName ?? (backend && 'contexts')),
		statusTable: /** @type {string} */ (given.statusTableName ?? (backend && 'statuses')),
		dispatch: choice(given, 'dispatch', /** @type {const} */ (['topic', 'local'])),
		schedule: choice(given, 'schedule', /** @type {const} */ (['eager', 'wave'])),
		strict: flag(given, 'strict'),
		enforceTimeouts: flag(given, 'enforceTimeouts'),
		retryMode: choice(given, 'retryMode', /** @type {const} */ (['in-process', 'queue'])),
		native: choice(given, 'native', /** @type {const} */ (['prefer', 'required'])),
		consistency,
		startPosition: choice(given, 'startPosition', /** @type {const} */ (['earliest', 'latest'])),
		topicPartitions: positiveOrNone(given, 'topicPartitions', {
			standard: 'what the brokers are set to',
			most: MOST_PARTITIONS,
		}),
		limits: readLimits(given),
		valueSizes: readValueSizes(given),
		maxHistoryVisits: positive(given, 'maxHistoryVisits', HISTORY_VISITS),
		...readTimes(given),
		reconcileEverySeconds: positiveOrNone(given, 'reconcileEverySeconds', {
			standard: 'not to look',
			most: Math.floor(LONGEST_TIMER_MS / 1000),
		}),
		retentionSeconds: positiveOrNone(given, 'retentionSeconds', { standard: 'to keep runs for ever' }),
		sweepEverySeconds: positive(given, 'sweepEverySeconds', SWEEP_EVERY_SECONDS, {
			most: Math.floor(LONGEST_TIMER_MS / 1000),
		}),
		webhooks: readWebhooks(given.webhooks),
	}
}
