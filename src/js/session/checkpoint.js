/**
 * What is kept of a run besides its context, so that any process can go on with it. `docs/checkpoint.md` describes it.
 *
 * ```
 * {
 *   "v": 1,
 *   "blueprint": "order",             id under which the blueprint is registered
 *   "version": "3" | null,            its version when the run began
 *   "schedule": "wave",               absent: eager
 *   "last": 7,                        highest visit number given so far
 *   "due": [[7, "ship", 4, 0?, {}?]], visits due or running: number, node, wave, flags (1: a loop has reset its
 *                                     completion, 2: its output is there already), what a subflow goes on with;
 *           [8, [0, 5, 20], 4]        visits 8 to 27, of the workers of batch 0 for items 5 to 24
 *   "attempts": [[7, 2, 1700000000000]], due visits that are no first attempt: visit, attempt, and when it is due, milliseconds
 *                                     since the epoch, where it waits for that
 *   "given": [[7, "{\"id\":1}"]],     due visits whose `_inputs` another wave has overwritten: visit, raw JSON of what it was given
 *   "results": 9, "highest": 4,       results processed so far, and the highest wave of them
 *   "done": ["a", 1, 1, "b", 2, 3],   completed nodes, and in which wave and after how many results they became so
 *   "inputs": [["b", "_inputs.b"]],   `inputs` that edges have rewritten
 *   "from": [["j", 3]],               contested nodes: the wave of the edge that wrote their input
 *   "dynamic": [{ "def", "from", "gather"? }],
 *   "batches": [["s", "g", "work", uuid, 0, 25, 4, [0, 2, 4, 4]]], see batch-record.js: items 0 to 2 and 4 are done
 *   "visited": [["j", [3, 4]]],       contested nodes: waves that already had their visit
 *   "asks": [["c", [[5, 7, 1?]]]],    undecided: wave and place of those who asked for the node; flags 1 = a visit changes nothing, 2 = it was ready
 *   "errors": [...], "fallback": 1,
 *   "waiting": [["approve", 3]],      nodes that await, and their wave
 *   "details": { "approve": {...} },  their details
 *   "kept": [["approve", {...}]],     resumes that came before their wait; under "" for whichever comes first
 *   "alarms": [["nap", 1700000000000]], when timers wake nodes that await, milliseconds since the epoch
 *   "children": [["sub", {...}]],     see child-record.js: children of subflows that await
 *   "commands": ["<id>"],             the last commands applied, so that a repeat changes nothing
 *   "base": 3,                        wave from which the cap of 10,000 counts
 *   "absent": ["k"],                  keys whose value is `undefined`
 *   "hidden": ["blueprintId"],        keys of ours that nodes do not see
 *   "wave": {...},                    schedule "wave": results of the running wave, nodes held back
 *   "adopted": 1,                     begun by somebody else (docs/checkpoint.md)
 *   "early": ["z"],                   of an adopted run: nodes whose old messages say nothing
 *   "outcome": {...},                 how it ended
 *   "history": {...},                 see run-history.js
 *   "parked": {...}                   it waits for its version of the blueprint
 * }
 * ```
 * Everything empty is left out.
 */

export const CHECKPOINT_VERSION = 1

/** Wave, place in it, flags. @typedef {[wave: number, order: number, flags?: number]} AskRecord */
/** Visit, attempt, and when that is due. @typedef {[number: number, attempt: number, dueAt?: number]} AttemptRecord */
/** Visit, and raw JSON of what it was given; without it there was nothing. @typedef {[number: number, text?: string]} GivenRecord */

/**
 * @typedef {object} Checkpoint
 * @property {number} v
 * @property {string} blueprint
 * @property {string | null} version
 * @property {'wave'} [schedule]
 * @property {number} last
 * @property {import('./visit.js').DueRecord[]} [due]
 * @property {AttemptRecord[]} [attempts]
 * @property {GivenRecord[]} [given]
 * @property {(string | number)[]} [done]
 * @property {number} [results]
 * @property {number} [highest]
 * @property {[string, any][]} [inputs]
 * @property {[string, number][]} [from]
 * @property {import('./run-graph.js').DynamicNode[]} [dynamic]
 * @property {import('./batch-record.js').BatchEntry[]} [batches]
 * @property {[string, number[]][]} [visited]
 * @property {[string, AskRecord[]][]} [asks]
 * @property {import('./outcome.js').ErrorRecord[]} [errors]
 * @property {1} [fallback]
 * @property {[string, number][]} [waiting]
 * @property {Record<string, any>} [details]
 * @property {[string, import('./run-waits.js').Answer][]} [kept]
 * @property {[string, number][]} [alarms]
 * @property {[string, import('./child-record.js').ChildRecord][]} [children]
 * @property {string[]} [commands]
 * @property {number} [base]
 * @property {string[]} [absent]
 * @property {string[]} [hidden]
 * @property {any} [wave]
 * @property {1} [adopted]
 * @property {string[]} [early]
 * @property {import('./outcome.js').Outcome} [outcome]
 * @property {import('./run-history.js').HistoryRecord} [history]
 * @property {Parked} [parked]
 */

/**
 * @typedef {object} Parked
 * @property {number} since milliseconds since the epoch
 * @property {number} at with the version, what tells its timer
 * @property {string} reason
 * @property {string[]} [nodes] that messages asked for, of a run that has not begun
 * @property {string[]} [commands] raw JSON, in the order in which they came
 */

/** @param {string} text @returns {Checkpoint} */
export function parseCheckpoint(text) {
	const checkpoint = JSON.parse(text)
	if (typeof checkpoint !== 'object' || checkpoint === null || typeof checkpoint.v !== 'number') {
		throw new Error('The checkpoint is not an object with a version.')
	}
	if (checkpoint.v !== CHECKPOINT_VERSION) {
		throw new Error(`The checkpoint has version ${checkpoint.v}; this worker knows version ${CHECKPOINT_VERSION}.`)
	}
	if (typeof checkpoint.blueprint !== 'string' || typeof checkpoint.last !== 'number') {
		throw new Error('The checkpoint lacks its blueprint or its last visit.')
	}
	return checkpoint
}

/**
 * @param {Checkpoint} checkpoint with empty members, which are left out
 * @param {string} [history] its `history`, as JSON
 * @returns {string}
 */
export function formatCheckpoint(checkpoint, history) {
	const text = stringify(checkpoint)
	return history === undefined ? text : `${text.slice(0, -1)},"history":${history}}`
}

/** @param {Checkpoint} checkpoint */
function stringify(checkpoint) {
	try {
		return JSON.stringify(checkpoint)
	} catch {
		// What users may put in (params of dynamic nodes, details of waits) need not be JSON. It lives on in this process.
		return JSON.stringify(checkpoint, leaveOutWhatJsonCannotSay())
	}
}

/** A replacer that leaves out big integers and cycles. @returns {(this: any, key: string, value: any) => any} */
function leaveOutWhatJsonCannotSay() {
	/** @type {any[]} */
	const path = []
	return function (_key, value) {
		while (path.length > 0 && path.at(-1) !== this) path.pop()
		if (typeof value === 'bigint' || path.includes(value)) return undefined
		if (typeof value === 'object' && value !== null) path.push(value)
		return value
	}
}

/** Statuses of runs that have left memory and will go on. */
const OPEN = new Set(['awaiting', 'running'])

/** @param {import('./outcome.js').Outcome} outcome */
const goesOn = ({ status }) => OPEN.has(status)

/** Whether its run has ended. @param {Checkpoint | undefined} checkpoint */
export const isOver = (checkpoint) => checkpoint?.outcome !== undefined && !goesOn(checkpoint.outcome)

/** @template T @param {T[]} list */
export const unlessEmpty = (list) => (list.length > 0 ? list : undefined)

/** @param {Map<string, import('./run-graph.js').Moment>} moments */
export function flatMoments(moments) {
	/** @type {(string | number)[]} */
	const flat = []
	for (const [key, { wave, order }] of moments) flat.push(key, wave, order)
	return unlessEmpty(flat)
}

/** @param {(string | number)[] | undefined} flat @returns {[string, import('./run-graph.js').Moment][]} */
export function moments(flat = []) {
	/** @type {[string, import('./run-graph.js').Moment][]} */
	const list = []
	for (let i = 0; i < flat.length; i += 3) {
		list.push([String(flat[i]), { wave: Number(flat[i + 1]), order: Number(flat[i + 2]) }])
	}
	return list
}
