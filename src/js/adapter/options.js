/**
 * The options of `KafkaAdapter`: what is refused, what is filled in. Nothing that the JavaScript package accepted is
 * refused, unless it can only fail later and worse.
 */
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { CONSISTENCIES } from '../clients/cassandra-driver.js'
import { isObject, isPlain } from '../clients/genuine.js'
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
		const shown = typeof value === 'string' ? JSON.stringify(value) : `a ${value === null ? 'null' : typeof value}`
		throw optionError(path, `${shown} is not a CQL identifier`, 'Use letters, digits and "_", beginning with a letter')
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
	const shown = typeof value === 'string' ? `"${value}"` : `a ${typeof value}`
	throw optionError(path, `${shown} is not a topic name`, 'Use up to 249 letters, digits, ".", "_" and "-"')
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
	throw optionError(`options.${name}`, `${JSON.stringify(value)} is not known`, `Use one of ${allowed.join(', ')}`)
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {number} otherwise
 * @param {{ infinite?: boolean, standard?: string | number }} [rule] `standard`: the default, in words
 * @returns {number}
 */
export const positive = (options, name, otherwise, { infinite = false, standard = otherwise } = {}) => {
	const value = options[name] ?? otherwise
	if (typeof value === 'number' && value >= 1 && (Number.isSafeInteger(value) || (infinite && value === Infinity))) {
		return value
	}
	const kind = infinite ? 'a whole number of at least 1, or Infinity' : 'a whole number of at least 1'
	throw optionError(`options.${name}`, `${String(value)} is not ${kind}`, `The default is ${standard}`)
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 * @param {string} otherwise
 */
const text = (options, name, otherwise) => {
	const value = options[name] || otherwise
	if (typeof value === 'string') return value
	throw optionError(`options.${name}`, `a ${typeof value} is not a string`, `The default is "${otherwise}"`)
}

/**
 * @param {Record<string, unknown>} options
 * @param {string} name
 */
const flag = (options, name) => {
	const value = options[name] ?? false
	if (typeof value === 'boolean') return value
	throw optionError(`options.${name}`, `${JSON.stringify(value)} is not true or false`, 'The default is false')
}

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
	startTimeoutMs: positive(options, 'startTimeoutMs', START_TIMEOUT_MS, { infinite: true }),
	poisonOpenings: positive(options, 'poisonOpenings', POISON_OPENINGS),
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
		const problem = `${String(crashAfterCalls)} is not a whole number of at least 1`
		throw optionError('options.backend.crashAfterCalls', problem, 'Leave it out, but in tests')
	}
	throw optionError('options.backend', 'not a backend', 'Use "embedded" or { embedded: "a name" }, or leave it out')
}

/** @param {unknown} level */
const readConsistency = (level) => {
	if (level === undefined || CONSISTENCIES.includes(String(level))) return /** @type {string | undefined} */ (level)
	throw optionError(
		'options.consistency',
		`${JSON.stringify(level)} is not known`,
		`Use one of ${CONSISTENCIES.join(', ')}`,
	)
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

/** @param {unknown} given */
const requiredKafka = (given) => {
	if (isObject(given) || typeof given === 'string') return given
	const found = given === null ? 'null' : typeof given
	throw optionError(
		'options.kafka',
		`${found} is no client`,
		'Give a kafkajs Kafka, brokers, settings, or backend: "embedded"',
	)
}

const newWorkerId = () => `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`

/** @param {Record<string, unknown>} options */
const checkRuntimeOptions = ({ runtimeOptions }) => {
	if (isObject(runtimeOptions) || typeof runtimeOptions === 'function') return
	throw optionError(
		'options.runtimeOptions',
		'missing',
		'Give the options of your FlowRuntime, for example runtime.options',
	)
}

/**
 * @param {unknown} given
 * @returns {Settings}
 */
export const readOptions = (given) => {
	if (!isObject(given)) throw optionError('options', 'missing', 'Give { kafka, cassandraClient, runtimeOptions, ... }')
	checkRuntimeOptions(given)
	for (const name of ['keyspace', 'contextTableName', 'statusTableName']) checkName(given[name], `options.${name}`)
	const backend = readBackend(given.backend)
	const topic = checkTopic(given.topicName || TOPIC, 'options.topicName')
	const consistency = readConsistency(given.consistency)
	return {
		topic,
		groupId: text(given, 'groupId', GROUP),
		deadLetterTopic: checkTopic(given.deadLetterTopic || `${topic}.dead-letters`, 'options.deadLetterTopic'),
		workerId: text(given, 'workerId', newWorkerId()),
		kafka: requiredKafka(given.kafka ?? given.brokers ?? backend),
		cassandra: cassandraInput(given.cassandraClient ?? backend, consistency),
		coordination: given.coordinationStore ?? backend,
		keyspace: /** @type {string} */ (given.keyspace ?? (backend && 'flowcraft')),
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
		topicPartitions:
			given.topicPartitions === undefined
				? undefined
				: positive(given, 'topicPartitions', 1, { standard: 'what the brokers are set to' }),
		limits: readLimits(given),
		valueSizes: readValueSizes(given),
		maxHistoryVisits: positive(given, 'maxHistoryVisits', HISTORY_VISITS),
		...readTimes(given),
		reconcileEverySeconds:
			given.reconcileEverySeconds === undefined
				? undefined
				: positive(given, 'reconcileEverySeconds', 1, { standard: 'not to look' }),
		retentionSeconds:
			given.retentionSeconds === undefined
				? undefined
				: positive(given, 'retentionSeconds', 1, { standard: 'to keep runs for ever' }),
		sweepEverySeconds: positive(given, 'sweepEverySeconds', SWEEP_EVERY_SECONDS),
		webhooks: readWebhooks(given.webhooks),
	}
}
