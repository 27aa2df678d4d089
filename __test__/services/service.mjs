import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { tail } from './jars.mjs'

const PROBE_TIMEOUT_MS = 5000
const PROBE_INTERVAL_MS = 50
const LOG_LINES = 30

/**
 * How one kind of service is prepared, started and asked whether it is ready.
 *
 * @typedef {object} Place
 * @property {string} dir the service's own folder
 * @property {Record<string, number>} ports by the names in `Recipe.ports`
 * @property {string} [jars] folder with its jars
 * @property {import('./tls.mjs').Certificates} [tls] also TLS, and `ACCOUNT` (Cassandra: its default account) alone is let in there
 *
 * @typedef {object} Recipe
 * @property {string} name
 * @property {boolean} jars whether `<name>.pom.xml` names jars for it
 * @property {string[]} ports the first is the one clients use
 * @property {number} startTimeoutMs
 * @property {number} stopTimeoutMs after which SIGKILL follows SIGTERM
 * @property {import('./probe.mjs').Probe} probe
 * @property {(place: Place) => Promise<void>} prepare runs before each start, so it must not undo what is there
 * @property {(place: Place) => { file: string, args: string[] }} command
 */

/** One service process in a process group of its own. Ports and data stay the same over restarts. */
export class Service {
	#recipe
	#place
	#guard
	#child
	#exited = Promise.resolve()

	/**
	 * @param {Recipe} recipe
	 * @param {Place} place
	 * @param {{ watch(pid: number): void, forget(pid: number): void }} guard
	 */
	constructor(recipe, place, guard) {
		this.#recipe = recipe
		this.#place = place
		this.#guard = guard
	}

	get name() {
		return this.#recipe.name
	}

	/** The port clients use. */
	get port() {
		return this.#place.ports[this.#recipe.ports[0]]
	}

	get address() {
		return `127.0.0.1:${this.port}`
	}

	/** The port of clients that come with TLS and an account; of Cassandra the same. */
	get securedPort() {
		return this.#place.ports.secured ?? this.port
	}

	/** Process id and process group; undefined while it is down. */
	get pid() {
		return this.running ? this.#child.pid : undefined
	}

	get running() {
		return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
	}

	/**
	 * Starts it and waits until it answers its protocol.
	 *
	 * @param {{ signal?: AbortSignal }} [options] aborted: nothing of it runs any more when this rejects
	 */
	async start({ signal } = {}) {
		if (this.running) return
		await mkdir(join(this.#place.dir, 'tmp'), { recursive: true })
		await this.#recipe.prepare(this.#place)
		signal?.throwIfAborted()
		await this.#spawn()
		await this.#ready(signal)
	}

	/**
	 * Ends it; data and port stay reserved for the next `start()`.
	 *
	 * @param {{ signal?: NodeJS.Signals }} [options] `SIGKILL` for a crash; default `SIGTERM`
	 */
	async stop({ signal = 'SIGTERM' } = {}) {
		const child = this.#child
		if (!this.running) return
		child.ref()
		this.#signal(signal)
		// A paused process takes its signal only after it goes on.
		this.#signal('SIGCONT')
		const timer = setTimeout(() => this.#signal('SIGKILL'), this.#recipe.stopTimeoutMs)
		await this.#exited
		clearTimeout(timer)
	}

	/** @param {{ signal?: NodeJS.Signals, loseData?: boolean }} [options] `loseData`: it comes back empty */
	async restart({ signal, loseData = false } = {}) {
		await this.stop({ signal })
		if (loseData) await rm(this.#place.dir, { recursive: true, force: true })
		await this.start()
	}

	/** Stops its clock (SIGSTOP): connections stay open, nothing answers. */
	pause() {
		this.#signal('SIGSTOP')
	}

	resume() {
		this.#signal('SIGCONT')
	}

	/** @returns {Promise<string>} the last lines it wrote */
	async logTail(lines = LOG_LINES) {
		return tail(await readFile(this.#logFile, 'utf8').catch(() => ''), lines)
	}

	get #logFile() {
		return join(this.#place.dir, `${this.name}.log`)
	}

	async #spawn() {
		const { file, args } = this.#recipe.command(this.#place)
		const log = openSync(this.#logFile, 'a')
		try {
			// Detached: a group of its own, which a Ctrl-C in the terminal does not reach and which can be ended as a whole.
			const child = spawn(file, args, { cwd: this.#place.dir, detached: true, stdio: ['ignore', log, log] })
			await new Promise((resolve, reject) => {
				child.once('spawn', resolve)
				child.once('error', (cause) =>
					reject(
						new Error(`${this.name}: ${file} could not be run; scripts/prerequisites names what is missing`, { cause }),
					),
				)
				if (child.pid) this.#guard.watch(child.pid)
			})
			// A service must not keep its starter alive: a test that forgets to stop ends, and the guard cleans up.
			child.unref()
			this.#child = child
			this.#exited = new Promise((resolve) => child.once('exit', resolve)).then(() => {
				signalGroup(child.pid, 'SIGKILL')
				this.#guard.forget(child.pid)
			})
		} finally {
			closeSync(log)
		}
	}

	async #ready(signal) {
		const deadline = Date.now() + this.#recipe.startTimeoutMs
		try {
			for (;;) {
				const problem = await this.#problem()
				signal?.throwIfAborted()
				if (!this.running)
					throw await this.#failure(
						`ended while starting (${this.#child.signalCode ?? `exit code ${this.#child.exitCode}`})`,
					)
				if (!problem) return
				if (Date.now() > deadline)
					throw await this.#failure(`was not ready within ${this.#recipe.startTimeoutMs} ms: ${problem.message}`)
				await delay(PROBE_INTERVAL_MS)
			}
		} catch (error) {
			await this.stop()
			throw error
		}
	}

	/** @returns {Promise<Error | undefined>} why it is not ready */
	#problem() {
		return this.#recipe.probe(this.port, PROBE_TIMEOUT_MS).then(
			() => undefined,
			(error) => error,
		)
	}

	async #failure(what) {
		return new Error(`${this.name} ${what}. The last lines of its log:\n${await this.logTail()}`)
	}

	#signal(signal) {
		if (this.running) signalGroup(this.#child.pid, signal)
	}
}

function signalGroup(pid, signal) {
	try {
		process.kill(-pid, signal)
	} catch (error) {
		if (error.code !== 'ESRCH') throw error
	}
}
