/**
 * What `executeBatch` gives for one node, and how it is kept in a checkpoint until its wave is processed.
 */
import { isCancellation, recordError, reviveOriginal } from './outcome.js'

/** @typedef {{ status: 'fulfilled', value: any } | { status: 'rejected', reason: any }} Settled */
/** @typedef {import('../stores/stored-values.js').ValueCodec} ValueCodec */

/** @param {string} nodeId @param {any} error @returns {Settled} */
export function rejected(nodeId, error) {
	return { status: 'rejected', reason: { nodeId, error } }
}

/** @param {string} nodeId @param {any} result @returns {Settled} */
export function succeeded(nodeId, result) {
	return { status: 'fulfilled', value: { nodeId, executionResult: { status: 'success', result } } }
}

/** @param {string} nodeId @param {any} error @returns {Settled} */
export function failed(nodeId, error) {
	return { status: 'fulfilled', value: { nodeId, executionResult: { status: 'failed', error } } }
}

/** @param {any} settled */
export function isSuccess(settled) {
	return settled.status === 'fulfilled' && settled.value.executionResult.status === 'success'
}

/** @param {any} settled @param {ValueCodec} codec */
export function settledRecord(settled, codec) {
	if (settled.status === 'rejected') return { kind: 'rejected', error: errorRecord(settled.reason.error) }
	const { status, result, error, fallbackNodeId } = settled.value.executionResult
	if (status !== 'success') return { kind: status, error: errorRecord(error), fallbackNodeId }
	let text
	try {
		text = codec.encode(result)
	} catch {
		// As with keys of the context: what cannot be stored is absent after a hand-over.
		text = codec.encode({ ...result, output: undefined })
	}
	return { kind: status, result: text }
}

/** @param {any} error */
function errorRecord(error) {
	const { cause, originalError } = recordError({ originalError: error })
	return { cause, originalError, cancelled: isCancellation(error) || undefined }
}

/** @param {any} record @param {ValueCodec} codec @returns {Settled} */
export function revivedSettled({ nodeId, kind, error, result, fallbackNodeId }, codec) {
	if (kind === 'success') return succeeded(nodeId, result === undefined ? undefined : codec.decode(result))
	const revived = reviveOriginal(nodeId, error)
	if (kind === 'rejected') return rejected(nodeId, revived)
	return { status: 'fulfilled', value: { nodeId, executionResult: { status: kind, error: revived, fallbackNodeId } } }
}
