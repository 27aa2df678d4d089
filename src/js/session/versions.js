/**
 * The versions of blueprints that this worker has, told to the engine, which wakes the runs that are parked for one of them.
 *
 * Users register blueprints by assigning to an object, which tells nobody: so it is looked at from time to time. That
 * costs no statement.
 */

const LOOK_EVERY_MS = 1_000

/**
 * How a parked run names what it waits for.
 * @param {string} blueprintId
 * @param {string | null} version
 */
export const versionKey = (blueprintId, version) => JSON.stringify([blueprintId, version])

export class RegisteredVersions {
	#list
	#tell
	#fail
	#hasFailed = false
	#told = ''
	/** @type {NodeJS.Timeout | undefined} */
	#timer

	/**
	 * @param {() => [blueprintId: string, version: string | null][]} list
	 * @param {(keys: string[]) => void} tell
	 * @param {(error: unknown) => void} fail called once
	 */
	constructor(list, tell, fail) {
		this.#list = list
		this.#tell = tell
		this.#fail = fail
	}

	/** Tells the engine if anything has changed. Never throws, whatever is registered. */
	look() {
		try {
			const keys = this.#list().map(([id, version]) => versionKey(id, version))
			const text = keys.join('\n')
			if (text === this.#told) return
			this.#tell(keys)
			this.#told = text
		} catch (error) {
			if (!this.#hasFailed) this.#fail(error)
			this.#hasFailed = true
		}
	}

	/** Tells the engine, which must be up, and looks from now on. */
	watch() {
		this.#told = ''
		this.look()
		this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS).unref()
	}

	stop() {
		clearInterval(this.#timer)
	}
}
