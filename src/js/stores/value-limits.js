/**
 * How large the value of one key may be, as stored text in UTF-8.
 *
 * Cassandra refuses a write above half of a segment of its commit log (`max_mutation_size`, 16 MiB unless set), and one
 * such value is stored up to three times in one step: as the node's output, under its bare id and as the input of a
 * successor. What Cassandra would refuse is told here before anything is sent, with the key.
 */
import { Code, KafkaAdapterError } from '../errors.js'

const MIB = 1024 * 1024
/** UTF-8 of one UTF-16 unit, at most. */
const MOST_BYTES_PER_UNIT = 3

/** Bytes. @typedef {{ maxValueBytes: number, warnValueBytes: number }} ValueSizes */

/** @type {Readonly<ValueSizes>} */
export const VALUE_SIZES = Object.freeze({ maxValueBytes: 8 * MIB, warnValueBytes: MIB })

/** @param {string} text @param {number} limit bytes @returns {number | undefined} its bytes, if they are more than that */
const bytesAbove = (text, limit) => {
	// Counting is for large ones.
	if (text.length * MOST_BYTES_PER_UNIT <= limit) return undefined
	const bytes = Buffer.byteLength(text)
	return bytes > limit ? bytes : undefined
}

/**
 * @param {string} runId
 * @param {string} key
 * @param {string} text raw JSON
 * @param {number} [limit] bytes
 * @returns {KafkaAdapterError | undefined} where it is larger
 */
export const refusedSize = (runId, key, text, limit = VALUE_SIZES.maxValueBytes) => {
	const bytes = bytesAbove(text, limit)
	if (bytes === undefined) return undefined
	return new KafkaAdapterError(
		Code.TooLarge,
		`key "${key}" of run "${runId}" has ${bytes} bytes, and ${limit} are allowed. Store large values elsewhere and keep a ` +
			'reference to them, or raise maxValueBytes; Cassandra itself refuses what is above its max_mutation_size',
	)
}

/**
 * @param {string} runId
 * @param {string} key
 * @param {string} text raw JSON
 * @param {number} limit bytes
 * @returns {string | undefined} what to warn of
 */
export const sizeWarning = (runId, key, text, limit) => {
	const bytes = bytesAbove(text, limit)
	if (bytes === undefined) return undefined
	return `[KafkaAdapter] Key '${key}' of run '${runId}' has ${bytes} bytes: each step that changes it writes them all`
}
