/**
 * How a run ended, in the words of `FlowRuntime.run`.
 */
import { FlowcraftError } from 'flowcraft'

/**
 * @typedef {object} ErrorRecord an error as it is stored and published
 * @property {string} nodeId
 * @property {string} message
 * @property {string} name
 * @property {boolean} isFatal
 * @property {{ name: string, message: string, code?: string }} [cause] the root of it
 * @property {string} timestamp
 * @property {{ name: string, message: string, isFatal?: boolean, code?: string }} originalError
 */

/**
 * @typedef {object} Outcome
 * @property {'completed' | 'failed' | 'awaiting' | 'cancelled' | 'parked' | 'running'} status `running`: all that is left are
 *   nodes that wait for their next attempt
 * @property {string} [reason]
 * @property {ErrorRecord[]} [errors]
 * @property {string[]} [hidden]
 * @property {any} [payload] absent: Rust puts it together from the stored document; null: none
 */

/** @param {any} error anything that was thrown */
export function messageOf(error) {
	try {
		return String(error instanceof Error ? error.message : error)
	} catch {
		return 'something that has no text was thrown'
	}
}

/**
 * An entry of `WorkflowState.getErrors()` as plain data. Every member is named: after some errors V8 loses `message`
 * from what enumeration gives (spec 4.9).
 * @param {any} entry
 * @returns {ErrorRecord}
 */
export function recordError(entry) {
	const original = entry.originalError
	const record = {
		nodeId: entry.nodeId,
		message: messageOf(original),
		name: entry.name ?? 'FlowcraftError',
		isFatal: entry.isFatal === true,
		cause: rootCause(original),
		timestamp: entry.timestamp,
		originalError: {
			name: nameOf(original),
			message: messageOf(original),
			isFatal: original?.isFatal,
			...codeOf(original),
		},
	}
	return record
}

/** @param {any} error */
function codeOf(error) {
	return typeof error?.code === 'string' ? { code: error.code } : undefined
}

/** @param {any} error */
function nameOf(error) {
	return typeof error?.name === 'string' ? error.name : 'Error'
}

/** @param {any} error @returns {ErrorRecord['cause']} */
function rootCause(error) {
	// The cause of a failed child is an entry of its errors: no `Error`, and the error that it stands for has the causes.
	const next = (/** @type {any} */ one) => one?.cause ?? one?.originalError
	let cause = error?.cause
	// A cycle of causes would never end; nobody nests this deep.
	for (let depth = 0; next(cause) && depth < 32; depth++) cause = next(cause)
	if (cause === undefined || cause === null) return undefined
	const message = typeof cause.message === 'string' ? cause.message : messageOf(cause)
	return { name: nameOf(cause), message, ...codeOf(cause) }
}

/**
 * A recorded error as an entry of `WorkflowState`, after a restore.
 * @param {ErrorRecord} record
 */
export function reviveError(record) {
	const { nodeId, timestamp } = record
	const entry = new FlowcraftError(record.message, { nodeId, isFatal: record.isFatal })
	return { ...entry, message: record.message, timestamp, originalError: reviveOriginal(nodeId, record) }
}

/**
 * @param {string} nodeId
 * @param {Pick<ErrorRecord, 'originalError' | 'cause'>} record
 */
export function reviveOriginal(nodeId, { originalError, cause }) {
	const revived = new FlowcraftError(originalError.message, {
		nodeId,
		isFatal: originalError.isFatal,
		cause: cause && Object.assign(new Error(cause.message), cause),
	})
	if (revived.name !== originalError.name) revived.name = originalError.name
	return Object.assign(revived, codeOf(originalError))
}

/**
 * The outcome of a run in which nothing is due, running or settling.
 * @param {import('flowcraft').WorkflowState<any>} state
 * @param {import('./run-context.js').RunContext} context
 * @returns {Outcome}
 */
export function quiescentOutcome(state, context) {
	const status = /** @type {Outcome['status']} */ (state.getStatus(true))
	const errors = state.getErrors().map(recordError)
	const hidden = context.hiddenKeys()
	if (status !== 'awaiting' && context.contains('_awaitingNodeIds') && context.read('_awaitingNodeIds')) {
		hidden.push('_awaitingNodeIds', '_awaitingDetails')
	}
	return {
		status,
		...(status === 'failed' ? { reason: errors[0].message } : undefined),
		...(errors.length > 0 ? { errors } : undefined),
		...(hidden.length > 0 ? { hidden } : undefined),
	}
}

/**
 * What the engine gets.
 * @param {Outcome} outcome
 * @param {{ codec: import('../stores/stored-values.js').ValueCodec, runtime: { serializer: import('../stores/stored-values.js').Serializer } }} env
 * @param {import('./run-context.js').RunContext} context
 * @param {string} runId
 */
export function outcomeText(outcome, { codec, runtime }, context, runId) {
	const text = JSON.stringify(outcome)
	if (codec.isDefault || 'payload' in outcome) return text
	const payload = serializedPayload(outcome, context.snapshot(), runId, runtime.serializer)
	return `${text.slice(0, -1)},"payload":${payload}}`
}

/** Of a run that leaves memory until the next attempt of one of its nodes is due. @returns {Outcome} */
export function restingOutcome() {
	return { status: 'running', payload: null }
}

/** How a run ends that somebody cancels: as memory ends one whose signal is aborted. @param {string} [reason] @returns {Outcome} */
export function cancelledOutcome(reason) {
	const payload = { context: {}, serializedContext: '{}', status: /** @type {const} */ ('cancelled') }
	return { status: 'cancelled', ...(reason === undefined ? undefined : { reason }), payload }
}

/** @param {any} error what the processing threw */
export function isCancellation(error) {
	return (
		(error instanceof DOMException && error.name === 'AbortError') ||
		(error instanceof FlowcraftError && error.message.includes('cancelled'))
	)
}

/**
 * The outcome where `FlowRuntime.run` would have rejected, or resolved to `cancelled`.
 * @param {any} error
 * @returns {Outcome}
 */
export function rejectedOutcome(error) {
	if (isCancellation(error)) return cancelledOutcome()
	return { status: 'failed', reason: messageOf(error), payload: null }
}

/**
 * The result object of `FlowRuntime.run` as JSON text, for runs whose values need the user's serializer.
 * @param {Outcome} outcome
 * @param {Record<string, any>} values
 * @param {string} runId
 * @param {import('../stores/stored-values.js').Serializer} serializer
 */
export function serializedPayload(outcome, values, runId, serializer) {
	/** @type {Record<string, any>} */
	const context = Object.fromEntries(Object.entries(values).filter(([key]) => !outcome.hidden?.includes(key)))
	context._executionId = runId
	const members = Object.entries(context).flatMap(([key, value]) => {
		const text = jsonOf(value)
		return text === undefined ? [] : [`${JSON.stringify(key)}:${text}`]
	})
	const rest = JSON.stringify({
		serializedContext: serializer.serialize(context),
		status: outcome.status,
		errors: outcome.errors,
	})
	return `{"context":{${members.join(',')}},${rest.slice(1)}`
}

/** @param {any} value */
function jsonOf(value) {
	try {
		return JSON.stringify(value)
	} catch {
		return undefined
	}
}
