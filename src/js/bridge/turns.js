/**
 * What sessions tell the engine, gathered by turns of the event loop: a wake-up of the engine costs more than what it brings.
 */

/** @typedef {import('../session/run-session.js').NativeSteps} NativeSteps */

/**
 * `opened` and `step` wait for the end of the turn, in their order; everything else goes at once, and they before it.
 *
 * @param {NativeSteps & { flush(): void }} native
 * @returns {NativeSteps}
 */
export function byTurns(native) {
	let isDue = false
	const flush = () => {
		isDue = false
		native.flush()
	}
	// Microtasks come first, and with them the ends of nodes that wait for nothing.
	const flushSoon = () => {
		if (isDue) return
		isDue = true
		setImmediate(flush)
	}
	return {
		opened(handle, dueJson) {
			native.opened(handle, dueJson)
			flushSoon()
		},
		step(...step) {
			native.step(...step)
			flushSoon()
		},
		refuse: (...refusal) => native.refuse(...refusal),
		commandDone: (handle, token) => native.commandDone(handle, token),
		refuseCommand: (...refusal) => native.refuseCommand(...refusal),
		refresh: (handle) => native.refresh(handle),
		versions: (keys) => native.versions(keys),
		timersMissing: () => native.timersMissing(),
		drained: (handle) => native.drained(handle),
	}
}
