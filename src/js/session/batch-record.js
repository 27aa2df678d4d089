/**
 * The workers of a batch as one record. A batch of thousands would otherwise put thousands of definitions, ids and results
 * into every checkpoint; `batch-scatter` makes them by a rule, so a range says the same.
 */

/** @typedef {import('flowcraft').NodeDefinition} NodeDefinition */
/**
 * In the checkpoint: the scatter node, the gather node, what worker ids begin with, the batch's uuid, the first item, how
 * many, the wave in which workers completed, and which did: first, last, first, last, ...
 * @typedef {[from: string, gather: string | null, key: string, uuid: string, first: number, count: number, wave: number, done: number[]]} BatchEntry
 */

const WORKER_ID = /^(.*)_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})_(\d+)$/s

export class BatchRecord {
	count = 0
	/** The wave of completed workers; -1 as long as there is none. */
	wave = -1
	/** Completed items: first, last, first, last, ... @type {number[]} */
	#done = []

	/** @param {string} from @param {string | undefined} gather @param {string} key @param {string} uuid @param {number} first */
	constructor(from, gather, key, uuid, first) {
		this.from = from
		this.gather = gather
		this.key = key
		this.uuid = uuid
		this.first = first
	}

	/**
	 * A record that begins with this worker, if it is one that `batch-scatter` has made.
	 * @param {NodeDefinition} def @param {string} from @param {string | undefined} gather
	 */
	static of(def, from, gather) {
		const [, key, uuid, item] = WORKER_ID.exec(def.id) ?? []
		if (key === undefined || key !== def.uses) return undefined
		const record = new BatchRecord(from, gather, key, uuid, Number(item))
		return record.isNext(def, from, gather) ? record : undefined
	}

	/** @param {NodeDefinition} def @param {string} from @param {string | undefined} gather */
	isNext(def, from, gather) {
		const made = this.worker(this.first + this.count)
		const { id, uses, inputs, ...rest } = def
		const isPlain = id === made.id && uses === made.uses && inputs === made.inputs && Object.keys(rest).length === 0
		return isPlain && from === this.from && gather === this.gather
	}

	/** @param {number} item @returns {NodeDefinition} as `batch-scatter` makes it */
	worker(item) {
		const { from, key, uuid } = this
		return { id: `${key}_${uuid}_${item}`, uses: key, inputs: `_batch.${from}_${uuid}_item_${item}` }
	}

	/** Notes a completed worker. @param {number} item @param {number} wave @returns {boolean} false where its wave is another */
	complete(item, wave) {
		if (this.wave >= 0 && this.wave !== wave) return false
		this.wave = wave
		const done = this.#done
		let at = done.length
		while (at > 0 && done[at - 2] > item) at -= 2
		const joinsBefore = at > 0 && done[at - 1] === item - 1
		const joinsAfter = at < done.length && done[at] === item + 1
		if (joinsBefore && joinsAfter) done.splice(at - 1, 2)
		else if (joinsBefore) done[at - 1] = item
		else if (joinsAfter) done[at] = item
		else done.splice(at, 0, item, item)
		return true
	}

	/** @returns {number[]} */
	doneItems() {
		const items = []
		for (let i = 0; i < this.#done.length; i += 2) {
			for (let item = this.#done[i]; item <= this.#done[i + 1]; item++) items.push(item)
		}
		return items
	}

	/** @returns {BatchEntry} */
	entry() {
		const { from, gather, key, uuid, first, count, wave } = this
		return [from, gather ?? null, key, uuid, first, count, wave, this.#done]
	}

	/** @param {BatchEntry} entry */
	static revive([from, gather, key, uuid, first, count, wave, done]) {
		const record = new BatchRecord(from, gather ?? undefined, key, uuid, first)
		record.count = count
		record.wave = wave
		record.#done = done
		return record
	}
}
