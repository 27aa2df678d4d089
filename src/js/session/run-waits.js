/**
 * The nodes of a run that await somebody from outside.
 *
 * The first resume of a wait counts. One that comes before its wait is kept for it.
 */
import { unlessEmpty } from './checkpoint.js'
import { leadsTo, pathOf } from './child-record.js'

/** @typedef {import('./child-record.js').OpenWait} OpenWait */
/**
 * `timer`: of the timer that gives it, its time; `visit`: in which the wait in a subflow has begun that it is for.
 * @typedef {{ action?: string, output?: any, timer?: number, visit?: number }} Answer
 */

/** Stands for whichever node awaits first. */
export const ANY = ''

export class RunWaits {
	/** Nodes that await, and the wave of their visit. @type {Map<string, number>} */
	#waves = new Map()
	/** Answers that came before their wait. @type {Map<string, Answer>} */
	#early = new Map()
	/** When timers wake nodes that await, milliseconds since the epoch. @type {Map<string, number>} */
	#alarms = new Map()
	/** Alarms that are not durable yet. @type {[nodeId: string, visit: number, at: number][]} */
	#fresh = []

	/** @param {string} nodeId */
	has(nodeId) {
		return this.#waves.has(nodeId)
	}

	/** The lowest wave from which an answer may still lead on. */
	get lowestWave() {
		return Math.min(...this.#waves.values())
	}

	get size() {
		return this.#waves.size
	}

	/** @returns {string | undefined} */
	get first() {
		return this.#waves.keys().next().value
	}

	/**
	 * A node begins to await.
	 * @param {string} nodeId
	 * @param {number} wave
	 * @param {number} [alarm] when a timer wakes it, milliseconds since the epoch
	 * @param {OpenWait[]} [open] of a subflow, the waits in it
	 * @returns {Answer & { nodeId: string } | undefined} the answer, if it has come already
	 */
	begin(nodeId, wave, alarm, open = [{ ids: [nodeId], at: alarm }]) {
		this.#waves.set(nodeId, wave)
		const answer = this.#takeEarly(open)
		if (alarm !== undefined && !answer) {
			this.#alarms.set(nodeId, alarm)
			this.#fresh.push([nodeId, wave, alarm])
		}
		return answer
	}

	/** @param {OpenWait[]} open @returns {Answer & { nodeId: string } | undefined} */
	#takeEarly(open) {
		for (const wait of open) {
			for (const [address, answer] of this.#early) {
				if (!leadsTo(address, wait)) continue
				this.#early.delete(address)
				// For a wait of before at the same place it comes too late.
				if (answer.visit === undefined || answer.visit === wait.visit) return { ...answer, nodeId: pathOf(wait.ids) }
			}
		}
		const wait = open.find(({ at }) => at === undefined)
		const answer = wait && this.#early.get(ANY)
		if (!answer) return undefined
		this.#early.delete(ANY)
		return { ...answer, nodeId: pathOf(wait.ids) }
	}

	/** Ends a wait. @param {string} nodeId @returns {number | undefined} its wave */
	end(nodeId) {
		const wave = this.#waves.get(nodeId)
		this.#waves.delete(nodeId)
		this.#alarms.delete(nodeId)
		return wave
	}

	/** The wave of a wait's visit. @param {string} nodeId */
	waveOf(nodeId) {
		return this.#waves.get(nodeId)
	}

	/** When a timer wakes the node. @param {string} nodeId */
	alarmOf(nodeId) {
		return this.#alarms.get(nodeId)
	}

	/** An alarm that wakes no node that awaits. @param {string} nodeId @param {number} visit @param {number} at milliseconds since the epoch */
	alarm(nodeId, visit, at) {
		this.#fresh.push([nodeId, visit, at])
	}

	/** The alarms that the step which is taken now must make durable. */
	takeAlarms() {
		return this.#fresh.splice(0)
	}

	/** Keeps an answer for a wait to come; the first one counts. @param {string} nodeId @param {Answer} answer */
	keep(nodeId, answer) {
		if (!this.#early.has(nodeId)) this.#early.set(nodeId, answer)
	}

	/** @param {string} nodeId */
	isAnswered(nodeId) {
		return this.#early.has(nodeId)
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	write(checkpoint) {
		checkpoint.waiting = unlessEmpty([...this.#waves])
		checkpoint.kept = unlessEmpty([...this.#early])
		checkpoint.alarms = unlessEmpty([...this.#alarms])
	}

	/** @param {import('./checkpoint.js').Checkpoint} checkpoint */
	restore(checkpoint) {
		for (const [nodeId, wave] of checkpoint.waiting ?? []) this.#waves.set(nodeId, wave)
		for (const [nodeId, answer] of checkpoint.kept ?? []) this.#early.set(nodeId, answer)
		for (const [nodeId, at] of checkpoint.alarms ?? []) this.#alarms.set(nodeId, at)
	}
}
