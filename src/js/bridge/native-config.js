/**
 * The configuration of a `NativeWorker`: which part the engine does itself, and which goes through JavaScript.
 */
import { isGenuineKafka, parseKafka, readKafka } from '../clients/kafkajs.js'
import { isObject } from '../clients/genuine.js'
import { optionError } from '../errors.js'
import { checkCassandra, isKafkaSettings, STORE_METHODS } from './client-checks.js'
import { cassandraSettings, isEmbedded, redisSettings, warnOfDetour } from './native-connections.js'
import { RedisCoordinationStore } from '../redis-coordination-store.js'

/**
 * @typedef {import('../adapter/options.js').Settings} Settings
 * @typedef {import('../clients/kafkajs.js').TokenProvider} TokenProvider
 * @typedef {{ kind: 'native' | 'js' | 'embedded' | 'none', [detail: string]: unknown }} Part
 *
 * Which members of the adapter a subclass or the user replaced.
 * @typedef {Record<'createContext' | 'onJobStart' | 'publishFinalResult' | 'enqueueJob' | 'processJobs' | 'handleJob',
 *   boolean>} Overrides
 *
 * @typedef {object} Plan
 * @property {Settings} settings
 * @property {Overrides} overrides
 * @property {boolean} consumes whether the engine consumes the topic itself where it can
 * @property {boolean} handledByUser whether each consumed message goes to a handler of the user
 * @property {(text: string) => void} [warn] absent while the constructor only checks
 */

const CASSANDRA_FIX = 'Give a cassandra-driver Client, contact points, settings, or backend: "embedded"'

/** @type {Part} */
const THROUGH_JS = Object.freeze({ kind: 'js' })

/**
 * @typedef {{ producer: () => any, consumer: (options: { groupId: string }) => any }} KafkaLike
 *
 * @param {unknown} kafka
 * @returns {kafka is KafkaLike} a kafkajs client, or what stands in for one
 */
export const isKafkaLike = (kafka) => !isKafkaSettings(kafka) && !isEmbedded(kafka)

/**
 * @param {Plan} plan
 * @param {unknown} object
 * @param {string} path
 * @param {string | undefined} unsupported
 * @returns {Part}
 */
const detour = ({ settings, warn }, object, path, unsupported) => {
	const library = path.slice('options.'.length)
	if (settings.native === 'required') {
		const reason = unsupported
			? `"${unsupported}" cannot be honoured natively`
			: 'not a client whose settings can be read'
		throw optionError(path, `${reason}, and options.native is "required"`, 'Change it, or use native: "prefer"')
	}
	if (unsupported && warn) warnOfDetour(object, library, unsupported, warn)
	return THROUGH_JS
}

/**
 * @param {Plan} plan
 * @returns {Promise<{ part: Part, token?: TokenProvider }>}
 */
const kafkaPart = async (plan) => {
	const { kafka } = plan.settings
	// The user's consumer and producer do it, where there are any.
	if (plan.overrides.processJobs && !plan.consumes && isKafkaLike(kafka)) return { part: THROUGH_JS }
	if (isEmbedded(kafka)) return { part: { kind: 'embedded', name: kafka.embedded, consume: plan.consumes } }
	const reading = isGenuineKafka(kafka)
		? await readKafka(kafka)
		: isKafkaSettings(kafka)
			? parseKafka(kafka, 'options.kafka')
			: undefined
	if (!reading?.settings) return { part: detour(plan, kafka, 'options.kafka', reading?.unsupported) }
	const { startPosition, topicPartitions } = plan.settings
	const settings = { ...reading.settings, startPosition, ...(topicPartitions ? { topicPartitions } : {}) }
	return { part: { kind: 'native', settings, consume: plan.consumes }, token: reading.token }
}

/**
 * @param {Plan} plan
 * @returns {Part} without keyspace and table
 */
const cassandraPart = (plan) => {
	const { cassandra, consistency } = plan.settings
	if (isEmbedded(cassandra)) return { kind: 'embedded', name: cassandra.embedded }
	const path = 'options.cassandraClient'
	checkCassandra(cassandra, path, CASSANDRA_FIX)
	const reading = cassandraSettings(cassandra, path)
	if (!reading?.settings) return detour(plan, cassandra, path, reading?.unsupported)
	if (reading.raised && !consistency) {
		plan.warn?.(
			`[KafkaAdapter] cassandra-driver: consistency ${reading.raised} is raised to ${reading.settings.consistency}, ` +
				'so that the loss of one node loses no step. Set options.consistency to choose another level',
		)
	}
	return { kind: 'native', settings: { ...reading.settings, ...(consistency ? { consistency } : {}) } }
}

/**
 * The native client puts names into its statements as they are, in one case; clients in JavaScript may have quoted ones.
 *
 * @param {string} name
 * @param {string} path
 */
const refuseQuoted = (name, path) => {
	if (!name.startsWith('"')) return
	const fix = 'Use a table with a name of lower-case letters, digits and "_"'
	throw optionError(path, `${name} is quoted, which the native client does not take`, fix)
}

/**
 * @param {Part} part
 * @param {Settings} settings
 * @param {'contextTable' | 'statusTable'} table
 * @returns {Part}
 */
const withTable = (part, settings, table) => {
	if (part.kind === 'js') return part
	if (settings.keyspace === undefined) {
		throw optionError('options.keyspace', 'missing', 'Give the keyspace that holds your tables')
	}
	if (settings[table] === undefined) throw optionError(`options.${table}Name`, 'missing', 'Give the name of the table')
	// The embedded backend has no keyspaces: its tables go by their full names.
	if (part.kind === 'embedded') return { ...part, table: `${settings.keyspace}.${settings[table]}` }
	refuseQuoted(settings.keyspace, 'options.keyspace')
	refuseQuoted(settings[table], `options.${table}Name`)
	return { ...part, keyspace: settings.keyspace, table: settings[table] }
}

/**
 * @param {unknown} store
 * @returns {unknown} the ioredis client or settings behind our own store; the store itself otherwise
 */
const behind = (store) => {
	const isOurs = isObject(store) && Object.getPrototypeOf(store) === RedisCoordinationStore.prototype
	return isOurs && !STORE_METHODS.some((method) => Object.hasOwn(store, method)) ? store.redis : store
}

/**
 * @param {Plan} plan
 * @returns {Part}
 */
const coordinationPart = (plan) => {
	const { coordination } = plan.settings
	if (coordination === undefined || coordination === null) return { kind: 'none' }
	const path = 'options.coordinationStore'
	const client = behind(coordination)
	if (isEmbedded(client)) return { kind: 'embedded', name: client.embedded }
	const reading = redisSettings(client, path)
	if (reading?.settings) return { kind: 'native', settings: reading.settings }
	if (reading) return detour(plan, client, path, reading.unsupported)
	const isStore = STORE_METHODS.every((method) => typeof Reflect.get(Object(coordination), method) === 'function')
	// Anything was accepted as a store. What it would hold are hints, so one without methods changes nothing.
	if (!isStore) return { kind: 'none' }
	return client === coordination ? THROUGH_JS : detour(plan, client, path, undefined)
}

/**
 * What can be said about the clients without asking them anything; called by the constructor.
 *
 * @param {Plan} plan
 */
export const checkClients = (plan) => {
	// The JavaScript package could be built without a Cassandra client, and be used as far as that goes.
	if (plan.settings.cassandra !== undefined && plan.settings.cassandra !== null) checkRetention(plan, buildStores(plan))
	coordinationPart(plan)
}

/**
 * @param {Plan} plan
 * @param {{ timers: Part }} stores
 */
const checkRetention = ({ settings }, { timers }) => {
	if (settings.retentionSeconds === undefined || timers.kind !== 'js') return
	const fix = 'Give a client whose settings can be read, or plain settings, or leave it out'
	throw optionError('options.retentionSeconds', 'ended runs cannot be deleted through JavaScript', fix)
}

/** @param {Plan} plan */
const buildStores = (plan) => {
	const { settings, overrides } = plan
	const statusByUser = overrides.onJobStart || overrides.publishFinalResult
	const cassandra = overrides.createContext && statusByUser ? THROUGH_JS : cassandraPart(plan)
	const statusTable = () => withTable(cassandra, settings, 'statusTable')
	return {
		context: overrides.createContext ? THROUGH_JS : withTable(cassandra, settings, 'contextTable'),
		status: statusByUser ? THROUGH_JS : statusTable(),
		// They stand beside the status table, whoever writes that.
		timers: settings.statusTable === undefined ? THROUGH_JS : statusTable(),
	}
}

/**
 * @param {Plan} plan
 * @returns {Promise<{ config: Record<string, unknown> & { kafka: Part }, token?: TokenProvider }>}
 */
export const buildConfig = async (plan) => {
	const { settings, overrides, handledByUser } = plan
	const { part: kafka, token } = await kafkaPart(plan)
	const keeps = plan.consumes ? settings.retentionSeconds : undefined
	if (keeps !== undefined && kafka.kind === 'js')
		plan.warn?.(
			'[KafkaAdapter] retentionSeconds has no effect in this worker: its jobs come through a kafkajs object, without their ' +
				'age and partition. It deletes nothing, and a job of a run that was deleted starts it anew',
		)
	const config = {
		topic: settings.topic,
		groupId: settings.groupId,
		deadLetterTopic: settings.deadLetterTopic,
		workerId: settings.workerId,
		kafka,
		...buildStores(plan),
		coordination: coordinationPart(plan),
		enqueue: overrides.enqueueJob ? 'js' : 'native',
		handle: handledByUser ? 'js' : 'native',
		dispatch: settings.dispatch,
		limits: settings.limits,
		leaseTtlMs: settings.leaseTtlMs,
		// JSON has no Infinity: `null` waits for ever.
		startTimeoutMs: Number.isFinite(settings.startTimeoutMs) ? settings.startTimeoutMs : null,
		revokeGraceMs: settings.revokeGraceMs,
		maxStallMs: settings.maxStallMs,
		poisonOpenings: settings.poisonOpenings,
		...(keeps === undefined ? {} : { retentionSeconds: keeps, sweepEverySeconds: settings.sweepEverySeconds }),
		...(isEmbedded(settings.kafka) ? { crashAfterCalls: settings.kafka.crashAfterCalls } : {}),
	}
	return { config, token }
}
