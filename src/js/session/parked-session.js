/**
 * A run that this worker cannot go on with, because it began with another version of its blueprint. It is parked: one step
 * records that, with a timer that wakes it where somebody has the version, and the messages that brought it here are
 * complete. What comes for it meanwhile is kept in its checkpoint (docs/checkpoint.md, `parked`).
 */
import { CHECKPOINT_VERSION, formatCheckpoint, unlessEmpty } from './checkpoint.js'
import { isParkingTimer, parseCommand } from '../adapter/command-messages.js'
import { cancelledOutcome, messageOf, outcomeText } from './outcome.js'
import { versionKey } from './versions.js'

/** @typedef {import('./checkpoint.js').Checkpoint} Checkpoint */
/** @typedef {import('./checkpoint.js').Parked} Parked */
/** @typedef {import('./outcome.js').Outcome} Outcome */

/**
 * @typedef {object} Parking what `openRun` found
 * @property {string} blueprintId
 * @property {string | null} version which the run needs
 * @property {string} reason
 * @property {Checkpoint} [checkpoint] absent where nobody has recorded anything of the run
 * @property {string[] | undefined} nodeIds that messages asked for, of a run that has not begun
 */

/** @typedef {{ token: number, text: string }} CommandText */

export class ParkedSession {
	#env
	#handle
	#runId
	#context
	#found
	#moreMayCome
	#isOver = false
	/** The version that the run needs; an operator may change it. */
	#version
	/** @type {string[]} */
	#kept
	#nodeIds
	/** @type {number[]} */
	#applied = []
	/** Whether the timer at hand is used up. */
	#isWoken = false
	/** @type {Outcome | undefined} an end that somebody asks for */
	#end

	/**
	 * @param {import('./run-session.js').SessionEnvironment} env
	 * @param {{ handle: number, runId: string, context: import('./run-context.js').RunContext, parking: Parking, moreMayCome: boolean }} run
	 */
	constructor(env, { handle, runId, context, parking, moreMayCome }) {
		this.#env = env
		this.#handle = handle
		this.#runId = runId
		this.#context = context
		this.#found = parking
		this.#moreMayCome = moreMayCome
		this.#version = parking.version
		this.#kept = [...(parking.checkpoint?.parked?.commands ?? [])]
		this.#nodeIds = parking.nodeIds && new Set(parking.nodeIds)
	}

	/** @param {CommandText[]} commands that wait for the run */
	open(commands) {
		this.#env.native.opened(this.#handle, '[]')
		for (const { token, text } of commands) this.#take(token, text)
		if (!this.#moreMayCome || this.#end) this.#record()
	}

	/** @param {number} token @param {string} text */
	command(token, text) {
		if (this.#isOver) return
		this.#take(token, text)
		if (this.#end) this.#record()
	}

	/** @param {number} token @param {string} text */
	#take(token, text) {
		const { native } = this.#env
		try {
			const command = parseCommand(text)
			this.#applied.push(token)
			const { kind, reason } = command
			if (kind === 'cancel') this.#end ??= cancelledOutcome(reason)
			else if (kind === 'fail') this.#end ??= this.#failure(reason)
			else if (kind === 'move') this.#move(command.version ?? null)
			else if (isParkingTimer(command)) this.#isWoken ||= this.#isOurs(command)
			// A repeat need not be the same text: a webhook's request has other headers each time.
			else if (!this.#kept.some((kept) => parseCommand(kept).id === command.id)) this.#kept.push(text)
		} catch (error) {
			const code = /** @type {any} */ (error).code ?? 'ERR_COMMAND_UNKNOWN'
			native.refuseCommand(this.#handle, token, code, messageOf(error))
		}
	}

	/** A timer of an earlier parking says nothing about this one. @param {import('../adapter/command-messages.js').RunCommand} command */
	#isOurs({ nodeId, at }) {
		const parked = this.#found.checkpoint?.parked
		return at === parked?.at && nodeId === versionKey(this.#found.blueprintId, this.#found.checkpoint?.version ?? null)
	}

	/** @param {string | null} version which this worker has not, either */
	#move(version) {
		this.#version = version
		this.#context.restamp(version)
	}

	/** @param {string | undefined} reason @returns {Outcome} */
	#failure(reason = this.#reason) {
		const errors = this.#found.checkpoint?.errors
		return { status: 'failed', reason, ...(errors ? { errors } : undefined), hidden: this.#context.hiddenKeys() }
	}

	get #reason() {
		return this.#found.checkpoint?.parked?.reason ?? this.#found.reason
	}

	#record() {
		this.#isOver = true
		const { checkpoint, blueprintId } = this.#found
		const before = checkpoint?.parked
		const since = before?.since ?? Date.now()
		const isNew = !before || this.#isWoken || this.#version !== checkpoint?.version
		const at = before && !isNew ? before.at : Math.max(Date.now(), (before?.at ?? 0) + 1)
		const key = (/** @type {string | null} */ version) => versionKey(blueprintId, version)
		const ends = this.#end !== undefined
		const reason = this.#version === this.#found.version ? this.#reason : mismatch(this.#version)
		const extras = {
			applied: this.#applied,
			...(isNew && !ends ? { parking: [key(this.#version), at] } : undefined),
			...(before && (isNew || ends) ? { unparking: [key(checkpoint?.version ?? null), before.at] } : undefined),
		}
		const parked = { since, at, reason, nodes: this.#nodeIds && [...this.#nodeIds], commands: unlessEmpty(this.#kept) }
		const payload = { blueprintId, version: this.#version, since: new Date(since).toISOString() }
		const outcome = this.#end ?? { status: /** @type {const} */ ('parked'), reason, payload }
		if (isNew && !ends) this.#env.logger.warn(`[KafkaAdapter] Run '${this.#runId}' is parked: ${reason}`)
		this.#env.native.step(
			this.#handle,
			1,
			this.#context.take(1),
			formatCheckpoint(this.#end ? this.#ended(this.#end) : this.#parkedCheckpoint(parked)),
			[],
			'[]',
			outcomeText(outcome, this.#env, this.#context, this.#runId),
			JSON.stringify(extras),
		)
	}

	/** @param {Parked} parked @returns {Checkpoint} */
	#parkedCheckpoint(parked) {
		const { checkpoint } = this.#found
		// Where others have begun it, messages of theirs may still come: the engine looks for them.
		const adopted = [...this.#context.keys()].some((key) => key.startsWith('_outputs.')) ? 1 : undefined
		const begun = checkpoint ?? { ...this.#empty(), adopted }
		return { ...begun, version: this.#version, parked }
	}

	/** @param {Outcome} outcome @returns {Checkpoint} */
	#ended(outcome) {
		const { last, schedule, history } = this.#found.checkpoint ?? this.#empty()
		return { ...this.#empty(), last, schedule, history, hidden: unlessEmpty(this.#context.hiddenKeys()), outcome }
	}

	/** @returns {Checkpoint} */
	#empty() {
		return { v: CHECKPOINT_VERSION, blueprint: this.#found.blueprintId, version: this.#version, last: 0 }
	}

	/** @param {string} nodeId of a message that came while the run is open */
	stray(nodeId) {
		this.#nodeIds?.add(nodeId)
	}

	/** No message of before is still to come. */
	allSeen() {
		this.#moreMayCome = false
		if (!this.#isOver) this.#record()
	}

	drain() {
		if (this.#isOver) return
		this.#isOver = true
		this.#env.native.drained(this.#handle)
	}

	/** @param {string[]} changes */
	merge(changes) {
		this.#context.merge(changes)
	}

	close() {
		this.#isOver = true
	}

	// Nothing runs here.

	durable() {}
	abort() {}
	startVisits() {}
	fresh = { now() {} }
}

/** @param {string | null} version */
const mismatch = (version) =>
	`The run was moved to version '${version}' of its blueprint, which its worker does not have.`
