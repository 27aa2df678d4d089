/**
 * The context of one run: live values over stored text.
 *
 * - A value is parsed when somebody asks for its key, and from then on the same object is handed to everybody: nodes
 *   may change what they were given, and several keys may hold one object, as in memory.
 * - `take` gives the changes since the last step. Objects that a running node holds are compared with their stored text
 *   at each step; one difference makes it compare every live object, since the changed one may be part of others.
 * - `undefined` is a value like any other (`has` is true), though JSON has no text for it: the checkpoint carries the
 *   names of such keys (`absentKeys`).
 */
import { TrackedAsyncContext } from 'flowcraft'

/** The key under which Rust keeps the checkpoint inside the document: never a user's key. */
const RESERVED_KEY = '_flowcraft'
const DONE = Promise.resolve()

class Cell {
	/** @param {string | undefined | null} raw */
	constructor(raw) {
		/** The text in the document; undefined: none there; null: something, to be overwritten. */
		this.raw = raw
		/** @type {any} */
		this.value = undefined
		this.live = false
		/** The step that last wrote it, to tell what is not durable yet. */
		this.step = 0
	}
}

/** @typedef {{ raw: string | undefined, holders: number }} Watch */

/** @param {any} value */
const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function'

/** @extends {TrackedAsyncContext<any>} */
export class RunContext extends TrackedAsyncContext {
	/** @type {Map<string, Cell>} */
	#cells = new Map()
	/** @type {Set<string>} */
	#dirty = new Set()
	/** Deleted keys that the document still has or had until the step of that number. @type {Map<string, number>} */
	#removed = new Map()
	/** Keys of ours in the document that nodes do not see. @type {Map<string, string>} */
	#hidden = new Map()
	/** @type {Set<string>} */
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
	#codec
	#warn

	/**
	 * @param {import('./stored-values.js').ValueCodec} codec
	 * @param {(key: string, error: any) => void} warn called once per key that cannot be stored
	 */
	constructor(codec, warn) {
		super(/** @type {any} */ (undefined))
		this.#codec = codec
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
			if (hidden.includes(entries[i])) this.#hidden.set(entries[i], entries[i + 1])
			else this.#cells.set(entries[i], new Cell(entries[i + 1]))
		}
		for (const key of absent) if (!this.#cells.has(key)) this.#setAbsent(key)
	}

	/** @param {string} key */
	#setAbsent(key) {
		const cell = new Cell(undefined)
		cell.live = true
		this.#cells.set(key, cell)
		this.#absent.add(key)
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
		return cell && this.#value(cell)
	}

	/** @param {Cell} cell */
	#value(cell) {
		if (cell.live) return cell.value
		const raw = /** @type {string} */ (cell.raw)
		const value = this.#codec.decode(raw)
		if (isObject(value)) {
			this.#texts.set(value, raw)
			this.#asRead.add(value)
		}
		cell.live = true
		cell.value = value
		return value
	}

	/** @param {string} key @param {any} value */
	write(key, value) {
		if (key === RESERVED_KEY) return
		let cell = this.#cells.get(key)
		if (!cell) {
			cell = new Cell(this.#dirty.has(key) || this.#removed.has(key) ? null : this.#hidden.get(key))
			this.#cells.set(key, cell)
			this.#hidden.delete(key)
			this.#removed.delete(key)
		}
		cell.live = true
		cell.value = value
		this.#dirty.add(key)
	}

	/** @param {string} key */
	remove(key) {
		const cell = this.#cells.get(key)
		if (!cell) return false
		this.#cells.delete(key)
		this.#absent.delete(key)
		if (cell.raw === undefined) this.#dirty.delete(key)
		else {
			this.#dirty.add(key)
			this.#removed.set(key, Infinity)
		}
		return true
	}

	/** @returns {Record<string, any>} a new object over the live values */
	snapshot() {
		// fromEntries defines members, so that even `__proto__` becomes one.
		return Object.fromEntries(Array.from(this.#cells, ([key, cell]) => [key, this.#value(cell)]))
	}

	// IAsyncContext, with the events of TrackedAsyncContext but without its ever growing list of deltas.

	/** @param {any} key @override */
	async get(key) {
		return this.read(key)
	}

	/** @param {any} key @param {any} value @returns {Promise<void>} @override */
	set(key, value) {
		this.write(key, value)
		return this.#announce({ key, op: 'set', value })
	}

	/** @param {any} key @override */
	async has(key) {
		return this.#cells.has(key)
	}

	/** @param {any} key @override */
	async delete(key) {
		const removed = this.remove(key)
		if (removed) await this.#announce({ key, op: 'delete' })
		return removed
	}

	/** @override */
	async toJSON() {
		return this.snapshot()
	}

	/** @param {import('flowcraft').PatchOperation[]} operations @override */
	async patch(operations) {
		for (const operation of operations) {
			if (operation.op === 'set') this.write(operation.key, operation.value)
			else if (operation.op === 'delete') this.remove(operation.key)
		}
	}

	/** @param {{ key: string, op: 'set' | 'delete', value?: any }} change */
	#announce(change) {
		const { eventBus, executionId, sourceNode } = /** @type {any} */ (this)
		if (!eventBus || !executionId) return DONE
		const emitted = (async () =>
			eventBus.emit({
				type: 'context:change',
				payload: { sourceNode: sourceNode || 'unknown', ...change, executionId },
			}))()
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

	/**
	 * Notes that a node got this value and may change it.
	 * @param {Set<object>} held the objects that the node has already
	 * @param {any} value
	 */
	hold(held, value) {
		if (!isObject(value) || held.has(value)) return
		held.add(value)
		const watch = this.#watched.get(value)
		if (watch) watch.holders++
		else this.#watched.set(value, { raw: this.#texts.get(value), holders: 1 })
	}

	/** @param {Set<object>} held what a node that has ended held */
	release(held) {
		for (const object of held) {
			const watch = this.#watched.get(object)
			if (watch) watch.holders--
		}
		held.clear()
	}

	/**
	 * The changes since the last step, which carry this step's number from now on.
	 * @param {number} step
	 * @returns {string[]} key, raw JSON or "" for deleted, ...
	 */
	take(step) {
		/** @type {Map<object, string | undefined>} */
		const memo = new Map()
		if (this.#watched.size > 0 && this.#someObjectChanged(memo)) this.#findChanged(memo)
		/** @type {string[]} */
		const changes = []
		for (const key of this.#dirty) this.#takeKey(key, step, changes, memo)
		this.#dirty.clear()
		return changes
	}

	/** @param {string} key @param {number} step @param {string[]} changes @param {Map<object, string | undefined>} memo */
	#takeKey(key, step, changes, memo) {
		const cell = this.#cells.get(key)
		if (!cell) {
			const hidden = this.#hidden.get(key)
			if (hidden === undefined) this.#removed.set(key, step)
			changes.push(key, hidden ?? '')
			return
		}
		const raw = this.#text(key, cell.value, memo)
		if (raw === undefined) this.#absent.add(key)
		else this.#absent.delete(key)
		if (raw === cell.raw) return
		cell.raw = raw
		cell.step = step
		changes.push(key, raw ?? '')
	}

	/** @param {string} key @param {any} value @param {Map<object, string | undefined>} memo */
	#text(key, value, memo) {
		if (!isObject(value)) return this.#encode(key, value)
		if (memo.has(value)) return memo.get(value)
		const raw = this.#encode(key, value)
		this.#remember(value, raw, memo)
		return raw
	}

	/** @param {object} object @param {string | undefined} raw @param {Map<object, string | undefined>} memo */
	#remember(object, raw, memo) {
		memo.set(object, raw)
		if (raw !== undefined) this.#texts.set(object, raw)
		// asRead outlives this look on purpose: other cells may hold the object with its text as read.
	}

	/** @param {string} key @param {any} value */
	#encode(key, value) {
		try {
			return this.#codec.encode(value)
		} catch (error) {
			this.#warn(key, error)
			return undefined
		}
	}

	/** @param {Map<object, string | undefined>} memo */
	#someObjectChanged(memo) {
		let changed = false
		for (const [object, watch] of this.#watched) {
			const asRead = this.#asRead.has(object)
			const raw = this.#textOf(object, memo)
			if (watch.raw !== undefined && raw !== watch.raw && !(asRead && this.#normal(watch.raw) === raw)) changed = true
			watch.raw = raw
			if (watch.holders === 0) this.#watched.delete(object)
		}
		return changed
	}

	/** @param {object} object @param {Map<object, string | undefined>} memo */
	#textOf(object, memo) {
		if (memo.has(object)) return memo.get(object)
		let raw
		try {
			raw = this.#codec.encode(object)
		} catch {
			// Told when a key with this value is taken.
		}
		if (raw !== undefined) this.#remember(object, raw, memo)
		return raw
	}

	/** @param {Map<object, string | undefined>} memo */
	#findChanged(memo) {
		for (const [key, cell] of this.#cells) {
			if (!cell.live || !isObject(cell.value) || this.#dirty.has(key)) continue
			const asRead = this.#asRead.has(cell.value)
			const raw = this.#text(key, cell.value, memo)
			if (raw === cell.raw || (asRead && cell.raw && this.#normal(cell.raw) === raw)) continue
			this.#dirty.add(key)
		}
	}

	/** @param {string} raw a stored text as we would have written it */
	#normal(raw) {
		return this.#codec.encode(this.#codec.decode(raw))
	}

	/** @param {number} step steps up to this one are durable */
	durable(step) {
		this.#durable = step
		for (const [key, removedBy] of this.#removed) if (removedBy <= step) this.#removed.delete(key)
	}

	/**
	 * Takes over what others wrote, except where this session has changed the key and that is not durable yet.
	 * @param {string[]} changes key, raw JSON or "" for deleted, ...
	 */
	merge(changes) {
		for (let i = 0; i < changes.length; i += 2) this.#mergeKey(changes[i], changes[i + 1])
	}

	/** @param {string} key @param {string} raw */
	#mergeKey(key, raw) {
		if (this.#hidden.has(key)) {
			if (raw !== '') this.#hidden.set(key, raw)
			return
		}
		const cell = this.#cells.get(key)
		if (this.#dirty.has(key) || this.#removed.has(key) || (cell && cell.step > this.#durable)) return
		if (raw === '') {
			// An own `undefined` has no text in the document either: its absence there is not news.
			if (cell && cell.raw !== undefined) this.#cells.delete(key)
		} else if (cell?.raw !== raw) {
			if (cell) Object.assign(cell, { raw, live: false, value: undefined })
			else this.#cells.set(key, new Cell(raw))
			this.#absent.delete(key)
		}
	}
}

/** What one visit of a node sees of the run's context: the same values, with a note of the objects it holds. */
export class VisitContext {
	type = /** @type {const} */ ('async')
	/** @type {Set<object>} */
	held = new Set()
	#run

	/** @param {RunContext} run */
	constructor(run) {
		this.#run = run
	}

	/** @param {string} key */
	async get(key) {
		const value = this.#run.read(key)
		this.#run.hold(this.held, value)
		return value
	}

	/** @param {string} key @param {any} value */
	set(key, value) {
		this.#run.hold(this.held, value)
		return this.#run.set(key, value)
	}

	/** @param {string} key */
	has(key) {
		return this.#run.has(key)
	}

	/** @param {string} key */
	delete(key) {
		return this.#run.delete(key)
	}

	async toJSON() {
		const values = this.#run.snapshot()
		for (const value of Object.values(values)) this.#run.hold(this.held, value)
		return values
	}

	/** @param {import('flowcraft').PatchOperation[]} operations */
	patch(operations) {
		for (const operation of operations) if (operation.op === 'set') this.#run.hold(this.held, operation.value)
		return this.#run.patch(operations)
	}
}
