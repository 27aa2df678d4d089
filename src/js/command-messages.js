/**
 * Commands for a run (design D12): what is sent to the owner of its partition, which applies it in a step.
 *
 * | kind | members | effect |
 * |---|---|---|
 * | `resume` | `nodeId?`, `wave?`, `action?`, `output?` | a node that awaits goes on; `wave` names the visit of its wait |
 * | `cancel` | `reason?` | the run ends `cancelled` |
 * | `wake` | `nodeId`, `visit`, `at` | a timer of the run is due (src/kernel/timer.rs) |
 *
 * Each has an `id`: a command that comes twice is applied once.
 */
import { randomUUID } from 'node:crypto'
import { Code, KafkaAdapterError } from './errors.js'

/**
 * @typedef {object} RunCommand
 * @property {string} id
 * @property {'resume' | 'cancel' | 'wake'} kind
 * @property {string} [nodeId]
 * @property {number} [wave]
 * @property {string} [action]
 * @property {any} [output] as the codec of stored values has it
 * @property {string} [reason]
 * @property {number} [visit]
 * @property {number} [at]
 */

/** Brokers take messages of 1 MiB unless told otherwise; key, run id and headers need some of it. */
export const MAX_COMMAND_BYTES = 1_000_000

const KINDS = new Set(['resume', 'cancel', 'wake'])

/** @param {string} text @returns {RunCommand} */
export function parseCommand(text) {
	const command = JSON.parse(text)
	if (KINDS.has(command.kind) && typeof command.id === 'string') return command
	throw new KafkaAdapterError(
		Code.CommandUnknown,
		`this worker knows no command of kind "${String(command.kind)}". Update it, or resend the command`,
	)
}

/**
 * @param {string} runId
 * @param {Omit<RunCommand, 'id' | 'output'> & { id?: string }} command
 * @param {string} [output] raw JSON
 * @returns {string}
 */
export function formatCommand(runId, { id = randomUUID(), ...command }, output) {
	const text = JSON.stringify({ id, ...command })
	const whole = output === undefined ? text : `${text.slice(0, -1)},"output":${output}}`
	const size = Buffer.byteLength(whole)
	if (size <= MAX_COMMAND_BYTES) return whole
	throw new KafkaAdapterError(
		Code.JobTooLarge,
		`the ${command.kind} of run "${runId}" has ${size} bytes, the limit is ${MAX_COMMAND_BYTES}. ` +
			'Store the output elsewhere, and send what finds it',
	)
}
