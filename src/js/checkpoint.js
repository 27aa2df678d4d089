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
 *   "due": [[7, "ship", 4, 1?]],      visits due or running: number, node, wave, 1 = a loop has reset its completion
 *   "done": ["a", 1, "b", 2],         completed nodes and the wave of their last visit
 *   "inputs": [["b", "_inputs.b"]],   `inputs` that edges have rewritten
 *   "dynamic": [{ "def", "from", "gather"? }],
 *   "joins": [["j", [3, 4]]],         `any` joins: waves that already had their visit
 *   "again": [["c", 5]],              nodes asked for again while a visit of theirs was running
 *   "errors": [...], "fallback": 1,
 *   "waiting": [["approve", 3]],      nodes that await, and their wave
 *   "details": { "approve": {...} },  their details
 *   "kept": [["approve", {...}]],     resumes that came before their wait
 *   "base": 3,                        wave from which the cap of 10,000 counts
 *   "absent": ["k"],                  keys whose value is `undefined`
 *   "hidden": ["blueprintId"],        keys of ours that nodes do not see
 *   "wave": {...},                    schedule "wave": results of the running wave, nodes held back
 *   "adopted": 1,                     begun by somebody else (docs/checkpoint.md)
 *   "outcome": {...}                  how it ended
 * }
 * ```
 * Everything empty is left out.
 */

export const CHECKPOINT_VERSION = 1

/**
 * @typedef {object} Checkpoint
 * @property {number} v
 * @property {string} blueprint
 * @property {string | null} version
 * @property {'wave'} [schedule]
 * @property {number} last
 * @property {[number, string, number, 1?][]} [due]
 * @property {(string | number)[]} [done]
 * @property {[string, any][]} [inputs]
 * @property {import('./run-graph.js').DynamicNode[]} [dynamic]
 * @property {[string, number[]][]} [joins]
 * @property {[string, number][]} [again]
 * @property {import('./outcome.js').ErrorRecord[]} [errors]
 * @property {1} [fallback]
 * @property {[string, number][]} [waiting]
 * @property {Record<string, any>} [details]
 * @property {[string, { action?: string, output?: any }][]} [kept]
 * @property {number} [base]
 * @property {string[]} [absent]
 * @property {string[]} [hidden]
 * @property {any} [wave]
 * @property {1} [adopted]
 * @property {import('./outcome.js').Outcome} [outcome]
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
 * @returns {string}
 */
export function formatCheckpoint(checkpoint) {
	return JSON.stringify(checkpoint, undefined, undefined)
}

/** @template T @param {T[]} list */
export const unlessEmpty = (list) => (list.length > 0 ? list : undefined)

/** @param {Map<string, number>} map */
export function flatPairs(map) {
	/** @type {(string | number)[]} */
	const flat = []
	for (const [key, value] of map) flat.push(key, value)
	return unlessEmpty(flat)
}

/** @param {(string | number)[] | undefined} flat @returns {[string, number][]} */
export function pairs(flat = []) {
	/** @type {[string, number][]} */
	const list = []
	for (let i = 0; i < flat.length; i += 2) list.push([String(flat[i]), Number(flat[i + 1])])
	return list
}
