/**
 * Commands for a run (design D12): what is sent to the owner of its partition, which applies it in a step.
 *
 * | kind | members | effect |
 * |---|---|---|
 * | `resume` | `nodeId?`, `wave?`, `visit?`, `action?`, `output?` | a node that awaits goes on; `wave` names the visit of its wait; of one in a subflow `nodeId` is the path, and `visit` the subflow's visit in which it began |
 * | `cancel` | `reason?` | the run ends `cancelled` |
 * | `wake` | `nodeId`, `visit`, `at`, `bucket` | a timer of the run is due (src/kernel/timer.rs) |
 * | `move` | `version` | a parked run goes on with another version of its blueprint |
 * | `fail` | `reason?` | a parked run ends `failed` |
 *
 * Each has an `id`: a command that comes twice is applied once.
 */
import { randomUUID } from 'node:crypto'
import { Code, KafkaAdapterError } from '../errors.js'

/**
 * @typedef {object} RunCommand
 * @property {string} id
 * @property {'resume' | 'cancel' | 'wake' | 'move' | 'fail'} kind
 * @property {string} [nodeId]
 * @property {number} [wave]
 * @property {string} [action]
 * @property {any} [output] as the codec of stored values has it
 * @property {string} [reason]
 * @property {number} [visit]
 * @property {number} [at]
 * @property {number} [bucket]
 * @property {string | null} [version]
 */

/** Brokers take messages of 1 MiB unless told otherwise; key, run id and headers need some of it. */
export const MAX_COMMAND_BYTES = 1_000_000

const KINDS = new Set(['resume', 'cancel', 'wake', 'move', 'fail'])

/** As in src/kernel/timer.rs: the timers of parked runs, which wait for a version instead of a time. */
const PARKED_BUCKET = -2

/** Whether a command says that somebody has the version for which its run is parked. @param {RunCommand} command */
export const isParkingTimer = ({ kind, bucket }) => kind === 'wake' && bucket === PARKED_BUCKET

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
