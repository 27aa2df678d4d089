/**
 * How far the runs are: a bar that is drawn over on a terminal, a line for every tenth elsewhere.
 */
const DRAW_EVERY_MS = 100
const RATE_WINDOW_MS = 2_000
const BAR_WIDTH = 30

/**
 * @typedef {object} Figures
 * @property {number} done runs
 * @property {number} total runs
 * @property {number} jobs node bodies begun by this process
 * @property {number} inFlight runs
 */

export class Progress {
	#out
	#read
	#timer
	#lastTenth = -1
	/** @type {{ at: number, jobs: number }[]} the last moments, for a rate that follows what happens now */
	#samples = []

	/**
	 * @param {{ isTTY?: boolean, write(text: string): unknown }} out
	 * @param {() => Figures} read
	 */
	constructor(out, read) {
		this.#out = out
		this.#read = read
	}

	start() {
		this.#draw()
		this.#timer = setInterval(() => this.#draw(), DRAW_EVERY_MS)
	}

	/** To be called when a run is done, so that no tenth is skipped between two draws. */
	step() {
		if (!this.#out.isTTY) this.#draw()
	}

	/** A line above the bar. */
	log(line) {
		this.#out.write(`${this.#out.isTTY ? '\r\x1b[K' : ''}${line}\n`)
	}

	/** Leaves the last state to be seen. */
	stop() {
		if (!this.#timer) return
		clearInterval(this.#timer)
		this.#timer = undefined
		if (this.#out.isTTY) this.#out.write(`\r\x1b[K${this.#line(this.#read())}\n`)
	}

	#draw() {
		const figures = this.#read()
		this.#sample(figures)
		if (this.#out.isTTY) return this.#out.write(`\r\x1b[K${this.#line(figures)}`)
		const tenth = figures.total === 0 ? 10 : Math.floor((10 * figures.done) / figures.total)
		if (tenth === this.#lastTenth) return
		this.#lastTenth = tenth
		this.#out.write(`${this.#text(figures)}\n`)
	}

	#sample({ jobs }) {
		const at = performance.now()
		this.#samples.push({ at, jobs })
		while (this.#samples[0].at < at - RATE_WINDOW_MS) this.#samples.shift()
	}

	#line(figures) {
		const filled = figures.total === 0 ? BAR_WIDTH : Math.floor((BAR_WIDTH * figures.done) / figures.total)
		return `[${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}] ${this.#text(figures)}`
	}

	#text({ done, total, jobs, inFlight }) {
		const first = this.#samples[0]
		const elapsedMs = first ? performance.now() - first.at : 0
		const rate = elapsedMs > 0 ? Math.round((1000 * (jobs - first.jobs)) / elapsedMs) : 0
		return `${done}/${total} runs done, ${rate} jobs/s, ${inFlight} in flight`
	}
}
