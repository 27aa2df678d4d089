/**
 * Job messages as they lie on the topic: `{"runId","blueprintId","nodeId"}`.
 */
import { Code, KafkaAdapterError } from '../errors.js'
import { isObject } from '../clients/genuine.js'

/**
 * @typedef {import('flowcraft').JobPayload} JobPayload
 *
 * A job; or a command (command-messages.js), which names no blueprint and no node.
 * @typedef {JobPayload & { command?: object }} Received
 */

const FIELDS = /** @type {const} */ (['runId', 'blueprintId', 'nodeId'])
/** Bounds as in src/kernel/job.rs: a field becomes part of keys in three systems. */
const MAX_FIELD_BYTES = 1024
const MAX_MESSAGE_BYTES = 64 * 1024
const MAX_COMMAND_BYTES = 1024 * 1024

/**
 * @param {string} code
 * @param {string} problem
 */
const refused = (code, problem) =>
	new KafkaAdapterError(
		code,
		`job message refused: ${problem}. Expected JSON {"runId","blueprintId","nodeId"} with non-empty strings`,
	)

/** @param {Uint8Array} value @returns {any} `undefined` where it is not JSON */
const parsed = (value) => {
	try {
		return JSON.parse(value.toString())
	} catch {
		return undefined
	}
}

/**
 * @param {Record<PropertyKey, unknown>} job
 * @param {string} field
 */
const checkField = (job, field) => {
	const value = job[field]
	if (typeof value !== 'string' || value === '')
		throw refused(Code.JobField, `"${field}" is missing, empty or no string`)
	const size = Buffer.byteLength(value)
	if (size > MAX_FIELD_BYTES)
		throw refused(Code.JobTooLarge, `"${field}" has ${size} bytes, the limit is ${MAX_FIELD_BYTES}`)
}

/**
 * @param {Uint8Array} value
 * @param {number} limit
 */
const checkSize = (value, limit) => {
	if (value.length > limit) throw refused(Code.JobTooLarge, `${value.length} bytes, the limit is ${limit}`)
}

/**
 * @param {Uint8Array} value
 * @returns {Received}
 */
export const decodeJob = (value) => {
	checkSize(value, MAX_COMMAND_BYTES)
	const job = parsed(value)
	// Only a command may be longer than a job.
	if (!isObject(job?.command)) checkSize(value, MAX_MESSAGE_BYTES)
	if (job === undefined) throw refused(Code.JobNotJson, 'not JSON')
	if (!isObject(job) || Array.isArray(job)) throw refused(Code.JobNotObject, 'not an object')
	if (isObject(job.command)) {
		checkField(job, 'runId')
		return /** @type {Received & Record<PropertyKey, unknown>} */ (job)
	}
	for (const field of FIELDS) checkField(job, field)
	return /** @type {JobPayload & Record<PropertyKey, unknown>} */ (job)
}

/**
 * @param {object} job
 * @returns {boolean} whether it has nothing beyond the three fields that the engine itself sends
 */
export const isBareJob = (job) => Object.keys(job).every((key) => FIELDS.some((field) => field === key))
