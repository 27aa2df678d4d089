/**
 * Job messages as they lie on the topic: `{"runId","blueprintId","nodeId"}`.
 */
import { Code, KafkaAdapterError } from './errors.js'
import { isObject } from './clients/genuine.js'

/** @typedef {import('flowcraft').JobPayload} JobPayload */

const FIELDS = /** @type {const} */ (['runId', 'blueprintId', 'nodeId'])
/** Bounds as in src/kernel/job.rs: a field becomes part of keys in three systems. */
const MAX_FIELD_BYTES = 1024
const MAX_MESSAGE_BYTES = 64 * 1024

/**
 * @param {string} code
 * @param {string} problem
 */
const refused = (code, problem) =>
	new KafkaAdapterError(
		code,
		`job message refused: ${problem}. Expected JSON {"runId","blueprintId","nodeId"} with non-empty strings`,
	)

/** @param {string} text */
const parse = (text) => {
	try {
		return JSON.parse(text)
	} catch {
		throw refused(Code.JobNotJson, 'not JSON')
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
 * @returns {JobPayload}
 */
export const decodeJob = (value) => {
	if (value.length > MAX_MESSAGE_BYTES) {
		throw refused(Code.JobTooLarge, `${value.length} bytes, the limit is ${MAX_MESSAGE_BYTES}`)
	}
	const job = parse(value.toString())
	if (!isObject(job) || Array.isArray(job)) throw refused(Code.JobNotObject, 'not an object')
	for (const field of FIELDS) checkField(job, field)
	return /** @type {JobPayload & Record<PropertyKey, unknown>} */ (job)
}

/**
 * @param {object} job
 * @returns {boolean} whether it has nothing beyond the three fields that the engine itself sends
 */
export const isBareJob = (job) => Object.keys(job).every((key) => FIELDS.some((field) => field === key))
