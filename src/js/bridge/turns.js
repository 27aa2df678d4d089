/**
 * What sessions tell the engine, gathered by turns of the event loop: native code takes strings and lists one by one (decision 67), and
 * a wake-up of the engine is a system call.
 */

/** @typedef {import('../session/run-session.js').NativeSteps} NativeSteps */

/** What `turn` carries, as docs/bridge.md lists it. */
const OPENED = 0
const STEP = 1
/** In place of a length: there is no such text. A number that V8 keeps in a list without a box. */
const ABSENT = 0x7fff_ffff
/** After so many steps a part of the turn goes ahead: the stores write it while the rest of the turn is computed. */
const STEPS_PER_CALL = 128

/**
 * `opened` and `step` wait for the end of the turn, or for company, in their order; everything else goes at once, and they before it.
 *
 * @param {import('../native.js').NativeWorker} native
 * @returns {NativeSteps}
 */
export function byTurns(native) {
	/** @type {string[]} */
	let texts = []
	/** @type {number[]} */
	let layout = []
	let steps = 0
	let isDue = false

	const flush = () => {
		if (layout.length === 0) return
		const [said, lengths] = [texts, layout]
		texts = []
		layout = []
		steps = 0
		native.turn(said.join(''), new Uint32Array(lengths))
	}
	const endTurn = () => {
		isDue = false
		flush()
	}
	// Microtasks come first, and with them the ends of nodes that wait for nothing.
	const flushSoon = () => {
		if (isDue) return
		isDue = true
		setImmediate(endTurn)
	}
	/** @param {string} text */
	const say = (text) => {
		texts.push(text)
		layout.push(text.length)
	}
	/** @param {string | null | undefined} text */
	const sayIfAny = (text) => {
		if (text === null || text === undefined) layout.push(ABSENT)
		else say(text)
	}
	/** @template {any[]} A @param {(...args: A) => void} call @returns {(...args: A) => void} */
	const atOnce =
		(call) =>
		(...args) => {
			flush()
			call(...args)
		}

	return {
		opened(handle, dueJson) {
			layout.push(OPENED, handle)
			say(dueJson)
			flushSoon()
		},
		step(handle, seq, changes, checkpoint, done, dueJson, outcomeJson, extrasJson) {
			layout.push(STEP, handle, seq, changes.length)
			// Halves of a surrogate pair at the end of one key and the start of another would become one character.
			for (const text of changes) say(text.toWellFormed())
			say(checkpoint)
			layout.push(done.length, ...done)
			say(dueJson)
			sayIfAny(outcomeJson)
			sayIfAny(extrasJson)
			if (++steps >= STEPS_PER_CALL) flush()
			else flushSoon()
		},
		refuse: atOnce((...refusal) => native.refuse(...refusal)),
		commandDone: atOnce((handle, token) => native.commandDone(handle, token)),
		refuseCommand: atOnce((...refusal) => native.refuseCommand(...refusal)),
		refresh: atOnce((handle) => native.refresh(handle)),
		versions: atOnce((keys) => native.versions(keys)),
		timersMissing: () => native.timersMissing(),
		drained: atOnce((handle) => native.drained(handle)),
	}
}
