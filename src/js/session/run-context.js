/**
 * The context of one run: live values over stored text.
 *
 * - A value is parsed when somebody asks for its key, and from then on the same object is handed to everybody: nodes
 *   may change what they were given, and several keys may hold one object, as in memory.
 * - `take` gives the changes since the last step. What a node has written while it still runs is seen by everybody, but
 *   is not among them before the node is recorded: were it stored, a node that runs again after a crash would count its
 *   counter twice, and a batch would leave out the items that it had already noted.
 * - Objects that a node was given are compared with their stored text when the node is recorded; one difference makes
 *   `take` compare every live object, since the changed one may be part of others.
 * - `undefined` is a value like any other (`has` is true), though JSON has no text for it: the checkpoint carries the
 *   names of such keys (`absentKeys`).
 */
import { TrackedAsyncContext } from 'flowcraft'

/** The key under which Rust keeps the checkpoint inside the document: never a user's key. */
const RESERVED_KEY = '_flowcraft'
const DONE = Promise.resolve()
const ENGINE = { recorded: true }

/** A value that nodes see; before `live` it is still only stored text. @typedef {{ live: boolean, value: any }} Cell */
/** Text in the document (undefined: none) and the step that wrote it. @typedef {{ raw: string | undefined, step: number }} Stored */
/** What a key held, and its text, once read from it. @typedef {{ key: string, text: string | undefined, value?: { live: any } }} Kept */
/** @typedef {{ writer: { recorded: boolean }, has: boolean, value: any }} Version */
/** Versions of a key that nodes have written while they run, after the one that may be stored. @typedef {{ base: Version | undefined, versions: Version[] }} Draft */
/** An object that nodes hold, and its text when the first of them got it. @typedef {{ raw: string | undefined, holders: number, due: boolean }} Watch */
/** Texts of objects within one `take`. @typedef {Map<object, string | undefined>} Memo */

/** @param {any} value */
const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function'

/** @extends {TrackedAsyncContext<any>} */
export class RunContext extends TrackedAsyncContext {
	/** @type {Map<string, Cell>} */
	#cells = new Map()
	/** @type {Map<string, Stored>} */
	#stored = new Map()
	/** Keys of ours in the document that nodes do not see. @type {Map<string, string>} */
	#hidden = new Map()
	/** Keys to look at in the next `take`. @type {Set<string>} */
	#dirty = new Set()
	/** @type {Map<string, Draft>} */
	#drafts = new Map()
	/** Keys that are there without a text. @type {Set<string>} */
	#absent = new Set()
	/** @type {Map<object, Watch>} */
	#watched = new Map()
	/** The text that an object had when it was last seen. @type {WeakMap<object, string>} */
	#texts = new WeakMap()
	/** Objects whose known text is as somebody else wrote it: spaces and number formats may not be ours. @type {WeakSet<object>} */
	#asRead = new WeakSet()
	/** Emissions that Flowcraft does not always wait for. @type {Promise<void>[]} */
	#pending = []
	#durable = 0
	/** What was too large for the last step. @type {Error | undefined} */
	#refusal
	#codec
	#weigh
	#warn

	/**
	 * @param {import('../stores/stored-values.js').ValueCodec} codec
	 * @param {(key: string, error: any) => void} warn called once per key that cannot be stored
	 * @param {(key: string, raw: string) => Error | undefined} [weigh] asked of each text that is to be stored: why it is refused
	 */
	constructor(codec, warn, weigh = () => undefined) {
		super(/** @type {any} */ (undefined))
		this.#codec = codec
		this.#weigh = weigh
		/** @type {Set<string>} */
		const warned = new Set()
		this.#warn = (/** @type {string} */ key, /** @type {any} */ error) => {
			if (warned.has(key)) return
			warned.add(key)
			warn(key, error)
		}
	}

	/**
	 * Fills the context with a stored document.
	 * @param {string[]} entries key, raw JSON, key, raw JSON, ...
	 * @param {{ hidden?: string[], absent?: string[] }} [kept] what the checkpoint says about keys
	 */
	load(entries, { hidden = [], absent = [] } = {}) {
		for (let i = 0; i < entries.length; i += 2) {
			const [key, raw] = [entries[i], entries[i + 1]]
			this.#stored.set(key, { raw, step: 0 })
			if (hidden.includes(key)) this.#hidden.set(key, raw)
			else this.#cells.set(key, { live: false, value: undefined })
		}
		for (const key of absent) {
			if (this.#cells.has(key)) continue
			this.#cells.set(key, { live: true, value: undefined })
			this.#absent.add(key)
		}
	}

	/**
	 * Puts a key of ours into the document without showing it to nodes.
	 * @param {string} key
	 * @param {any} value
	 */
	hide(key, value) {
		this.#hidden.set(key, JSON.stringify(value))
		this.#dirty.add(key)
	}

	/** The run has another version of its blueprint from now on. @param {string | null} version */
	restamp(version) {
		if (this.#hidden.has('blueprintVersion')) this.hide('blueprintVersion', version)
		else if (this.#cells.has('blueprintVersion')) this.write('blueprintVersion', version)
	}

	hiddenKeys() {
		return [...this.#hidden.keys()]
	}

	absentKeys() {
		return this.#absent
	}

	keys() {
		return this.#cells.keys()
	}

	/** @param {string} key */
	contains(key) {
		return this.#cells.has(key)
	}

	/** @param {string} key @returns {any} */
	read(key) {
		const cell = this.#cells.get(key)
		return cell && this.#value(key, cell)
	}

	/**
	 * What a key holds now, for somebody who goes on reading it whatever is written.
	 * @param {string} key
	 * @returns {Kept}
	 */
	keep(key) {
		// The text of the last step where there is one: a node that runs may have changed the object since.
		const text = this.#dirty.has(key) ? this.textOf(key) : this.#stored.get(key)?.raw
		return { key, text, value: { live: this.read(key) } }
	}

	/** @param {Kept} kept @returns {any} */
	valueOf(kept) {
		kept.value ??= { live: kept.text === undefined ? undefined : this.#codec.decode(kept.text) }
		return kept.value.live
	}

	/** @param {string} key @param {Cell} cell */
	#value(key, cell) {
		if (cell.live) return cell.value
		const raw = /** @type {string} */ (this.#stored.get(key)?.raw)
		const value = this.#codec.decode(raw)
		if (isObject(value)) {
			this.#texts.set(value, raw)
			this.#asRead.add(value)
		}
		cell.live = true
		cell.value = value
		return value
	}

	/** @param {string} key @param {any} value @param {{ recorded: boolean }} [writer] a visit that is not recorded yet */
	write(key, value, writer = ENGINE) {
		if (key === RESERVED_KEY) return
		this.#draft(key, writer, true, value)
		const cell = this.#cells.get(key)
		if (cell) {
			cell.live = true
			cell.value = value
		} else {
			this.#cells.set(key, { live: true, value })
			this.#hidden.delete(key)
		}
		this.#dirty.add(key)
	}

	/** @param {string} key @param {{ recorded: boolean }} [writer] */
	remove(key, writer = ENGINE) {
		if (!this.#cells.has(key)) return false
		this.#draft(key, writer, false, undefined)
		this.#cells.delete(key)
		this.#dirty.add(key)
		return true
	}

	/** @param {string} key @param {{ recorded: boolean }} writer @param {boolean} has @param {any} value */
	#draft(key, writer, has, value) {
		const draft = this.#drafts.get(key)
		if (draft) draft.versions.push({ writer, has, value })
		else if (!writer.recorded) {
			const base = this.#dirty.has(key) ? this.#current(key) : undefined
			this.#drafts.set(key, { base, versions: [{ writer, has, value }] })
		}
	}

	/** @param {string} key @returns {Version} */
	#current(key) {
		const cell = this.#cells.get(key)
		return { writer: ENGINE, has: cell !== undefined, value: cell && this.#value(key, cell) }
	}

	/** What a row would hold of a key now: keys of ours are there, values that JSON cannot carry are not. @param {string} key */
	textOf(key) {
		const cell = this.#cells.get(key)
		if (!cell) return this.#hidden.get(key)
		if (!cell.live) return this.#stored.get(key)?.raw
		try {
			return this.#codec.encode(cell.value)
		} catch {
			// Told when a key with this value is stored.
			return undefined
		}
	}

	/** What a row would hold now, without what is the engine's own. */
	documentText() {
		const members = [...this.#hidden.keys(), ...this.#cells.keys()].flatMap((key) => {
			const text = this.textOf(key)
			return text === undefined ? [] : [`${JSON.stringify(key)}:${text}`]
		})
		return `{${members.join()}}`
	}

	/** A change from outside the run's nodes; keys of ours stay. @param {string} key @param {string | undefined} text undefined: delete */
	putText(key, text) {
		if (text === undefined) this.remove(key)
		else this.write(key, this.#codec.decode(text))
	}

	/** @returns {Record<string, any>} a new object over the live values */
	snapshot() {
		// fromEntries defines members, so that even `__proto__` becomes one.
		return Object.fromEntries(Array.from(this.#cells, ([key, cell]) => [key, this.#value(key, cell)]))
	}

	// IAsyncContext, with the events of TrackedAsyncContext but without its ever growing list of deltas.

	/** @param {any} key @override */
	async get(key) {
		return this.read(key)
	}

	/** @param {any} key @param {any} value @param {{ recorded: boolean }} [writer] @returns {Promise<void>} @override */
	set(key, value, writer) {
		this.write(key, value, writer)
		return this.#announce({ key, op: 'set', value })
	}

	/** @param {any} key @override */
	async has(key) {
		return this.#cells.has(key)
	}

	/** @param {any} key @param {{ recorded: boolean }} [writer] @override */
	async delete(key, writer) {
		const removed = this.remove(key, writer)
		if (removed) await this.#announce({ key, op: 'delete' })
		return removed
	}

	/** @override */
	async toJSON() {
		return this.snapshot()
	}

	/** @param {import('flowcraft').PatchOperation[]} operations @param {{ recorded: boolean }} [writer] @override */
	async patch(operations, writer) {
		for (const operation of operations) {
			if (operation.op === 'set') this.write(operation.key, operation.value, writer)
			else if (operation.op === 'delete') this.remove(operation.key, writer)
		}
	}

	/** @param {{ key: string, op: 'set' | 'delete', value?: any }} change */
	#announce(change) {
		const { eventBus, executionId, sourceNode } = /** @type {any} */ (this)
		if (!eventBus || !executionId) return DONE
		const payload = { sourceNode: sourceNode || 'unknown', ...change, executionId }
		const emitted = (async () => eventBus.emit({ type: 'context:change', payload }))()
		// Flowcraft drops some of these promises; a rejection nobody awaits would end the process.
		emitted.catch(() => {})
		this.#pending.push(emitted)
		return emitted
	}

	/** Resolves when every announced change was taken by the event bus; rejects as it does. */
	async announced() {
		while (this.#pending.length > 0) await Promise.all(this.#pending.splice(0))
	}

	// What nodes hold.

	/** Notes that a node got this value and may change it. @param {VisitContext} visit @param {any} value */
	hold(visit, value) {
		if (!isObject(value) || visit.held?.has(value)) return
		visit.held ??= new Set()
		visit.held.add(value)
		const watch = this.#watched.get(value)
		if (watch) watch.holders++
		else this.#watched.set(value, { raw: this.#texts.get(value), holders: 1, due: false })
	}

	/** Takes over what a visit has written and changed: it is recorded with the next step. @param {VisitContext} visit */
	record(visit) {
		visit.recorded = true
		for (const object of visit.held ?? []) {
			const watch = this.#watched.get(object)
			if (!watch) continue
			watch.holders--
			watch.due = true
		}
		visit.held = undefined
	}

	// Steps.

	/**
	 * The changes since the last step, which carry this step's number from now on.
	 * @param {number} step
	 * @returns {string[]} key, raw JSON or "" for deleted, ...
	 */
	take(step) {
		/** @type {Memo} */
		const memo = new Map()
		if (this.#watched.size > 0 && this.#someObjectChanged(memo)) this.#findChanged(memo)
		/** @type {string[]} */
		const changes = []
		for (const key of this.#dirty) {
			const version = this.#storable(key)
			if (version) this.#put(key, version, step, changes, memo)
			if (!this.#drafts.has(key)) this.#dirty.delete(key)
		}
		return changes
	}

	/** The version of a key that may be stored now, if there is a new one. @param {string} key @returns {Version | undefined} */
	#storable(key) {
		const draft = this.#drafts.get(key)
		if (!draft) return this.#current(key)
		const last = draft.versions.findLastIndex(({ writer }) => writer.recorded)
		if (last === draft.versions.length - 1) {
			this.#drafts.delete(key)
			return this.#current(key)
		}
		const { base } = last < 0 ? draft : { base: draft.versions[last] }
		draft.versions.splice(0, last + 1)
		draft.base = undefined
		return base
	}

	/** @param {string} key @param {Version} version @param {number} step @param {string[]} changes @param {Memo} memo */
	#put(key, { has, value }, step, changes, memo) {
		const raw = has ? this.#text(key, value, memo) : this.#hidden.get(key)
		if (has && raw === undefined) this.#absent.add(key)
		else this.#absent.delete(key)
		const stored = this.#stored.get(key)
		if (raw === stored?.raw) return
		const refusal = raw && this.#weigh(key, raw)
		if (refusal) return this.#refuse(key, refusal)
		if (stored) {
			stored.raw = raw
			stored.step = step
		} else this.#stored.set(key, { raw, step })
		changes.push(key, raw ?? '')
	}

	/** The key is as it was: what is stored stays. @param {string} key @param {Error} refusal */
	#refuse(key, refusal) {
		this.#refusal ??= refusal
		if (this.#stored.get(key)?.raw === undefined) this.#cells.delete(key)
		else this.#cells.set(key, { live: false, value: undefined })
	}

	/** Why something of the last step was not stored, once. */
	takeRefusal() {
		const refusal = this.#refusal
		this.#refusal = undefined
		return refusal
	}

	/** @param {string} key @param {any} value @param {Memo} memo */
	#text(key, value, memo) {
		if (isObject(value) && memo.has(value)) return memo.get(value)
		let raw
		try {
			raw = this.#codec.encode(value)
		} catch (error) {
			this.#warn(key, error)
		}
		if (isObject(value)) this.#remember(value, raw, memo)
		return raw
	}

	/** @param {object} object @param {string | undefined} raw @param {Memo} memo */
	#remember(object, raw, memo) {
		memo.set(object, raw)
		if (raw !== undefined) this.#texts.set(object, raw)
	}

	/** @param {Memo} memo */
	#someObjectChanged(memo) {
		let changed = false
		for (const [object, watch] of this.#watched) {
			if (!watch.due) continue
			watch.due = false
			const raw = this.#textOf(object, memo)
			if (watch.raw !== undefined && !this.#isSame(object, watch.raw, raw)) changed = true
			watch.raw = raw
			if (watch.holders === 0) this.#watched.delete(object)
		}
		return changed
	}

	/** @param {object} object @param {Memo} memo */
	#textOf(object, memo) {
		if (memo.has(object)) return memo.get(object)
		let raw
		try {
			raw = this.#codec.encode(object)
		} catch {
			// Told when a key with this value is stored.
			return undefined
		}
		this.#remember(object, raw, memo)
		return raw
	}

	/** Whether a stored text says what the object says now. @param {object} object @param {string} stored @param {string | undefined} raw */
	#isSame(object, stored, raw) {
		return stored === raw || (this.#asRead.has(object) && this.#codec.encode(this.#codec.decode(stored)) === raw)
	}

	/** @param {Memo} memo */
	#findChanged(memo) {
		for (const [key, { live, value }] of this.#cells) {
			if (!live || !isObject(value) || this.#dirty.has(key)) continue
			const stored = this.#stored.get(key)?.raw
			if (stored === undefined || !this.#isSame(value, stored, this.#text(key, value, memo))) this.#dirty.add(key)
		}
	}

	/** @param {number} step steps up to this one are durable */
	durable(step) {
		this.#durable = step
	}

	/**
	 * Takes over what others wrote, except where this session has changed the key and that is not durable yet.
	 * @param {string[]} changes key, raw JSON or "" for deleted, ...
	 */
	merge(changes) {
		for (let i = 0; i < changes.length; i += 2) this.#mergeKey(changes[i], changes[i + 1] || undefined)
	}

	/** @param {string} key @param {string | undefined} raw */
	#mergeKey(key, raw) {
		const stored = this.#stored.get(key)
		if (this.#dirty.has(key) || (stored && stored.step > this.#durable) || stored?.raw === raw) return
		this.#stored.set(key, { raw, step: 0 })
		if (this.#hidden.has(key)) {
			if (raw !== undefined) this.#hidden.set(key, raw)
		} else if (raw === undefined) this.#cells.delete(key)
		else {
			this.#cells.set(key, { live: false, value: undefined })
			this.#absent.delete(key)
		}
	}
}

/** What one visit of a node sees of the run's context: the same values, with a note of what it holds and writes. */
export class VisitContext {
	type = /** @type {const} */ ('async')
	/** Whether the visit has ended and belongs to the next step. */
	recorded = false
	/** @type {Set<object> | undefined} */
	held = undefined
	#run
	#fresh
	#visit

	/**
	 * @param {RunContext} run
	 * @param {import('./freshness.js').Freshness} fresh
	 * @param {{ given?: Kept }} [visit]
	 */
	constructor(run, fresh, visit = {}) {
		this.#run = run
		this.#fresh = fresh
		this.#visit = visit
	}

	/** @param {string} key */
	async get(key) {
		const looking = this.#fresh.wait()
		if (looking) await looking
		const { given } = this.#visit
		const value = given?.key === key ? this.#run.valueOf(given) : this.#run.read(key)
		this.#run.hold(this, value)
		return value
	}

	/** @param {string} key @param {any} value */
	set(key, value) {
		this.#run.hold(this, value)
		return this.#run.set(key, value, this)
	}

	/** @param {string} key */
	async has(key) {
		const looking = this.#fresh.wait()
		if (looking) await looking
		return this.#run.has(key)
	}

	/** @param {string} key */
	delete(key) {
		return this.#run.delete(key, this)
	}

	async toJSON() {
		const looking = this.#fresh.wait()
		if (looking) await looking
		const values = this.#run.snapshot()
		for (const value of Object.values(values)) this.#run.hold(this, value)
		return values
	}

	/** @param {import('flowcraft').PatchOperation[]} operations */
	patch(operations) {
		for (const operation of operations) if (operation.op === 'set') this.#run.hold(this, operation.value)
		return this.#run.patch(operations, this)
	}
}
