/**
 * The commands of an open run that its session has not applied yet, and the ids of those that it has.
 */
import { unlessEmpty } from './checkpoint.js'

/** So many are remembered: repeats come soon, as redeliveries or as second clicks. */
const REMEMBERED = 64

/** @typedef {{ token: number, command: import('../adapter/command-messages.js').RunCommand }} Received */

export class RunCommands {
	/** @type {Received[]} */
	#queue = []
	/** @type {string[]} */
	#known = []
	/** Tokens of those applied since the last step. @type {number[]} */
	#applied = []

	/** @param {Received} received */
	push(received) {
		this.#queue.push(received)
	}

	/** @returns {Received | undefined} */
	shift() {
		return this.#queue.shift()
	}

	get waiting() {
		return this.#queue.length > 0
	}

	/** @param {string} id */
	isRepeat(id) {
		return this.#known.includes(id) || this.#queue.some(({ command }) => command.id === id)
	}

	/** Whether a queued command answers this node. @param {string} nodeId */
	answers(nodeId) {
		return this.#queue.some(({ command }) => command.kind !== 'cancel' && command.nodeId === nodeId)
	}

	/** @param {Received} received */
	applied({ token, command }) {
		this.#applied.push(token)
		// A timer is told by its time, which no two of them share.
		if (command.kind === 'wake') return
		this.#known.push(command.id)
		if (this.#known.length > REMEMBERED) this.#known.shift()
	}

	/** Tokens for the step that is taken now. */
	take() {
		return this.#applied.splice(0)
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	write(checkpoint) {
		checkpoint.commands = unlessEmpty(this.#known)
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	restore(checkpoint) {
		this.#known = [...(checkpoint.commands ?? [])]
	}
}
