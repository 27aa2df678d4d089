/**
 * Worker processes: the program in `worker-process-main.mjs`, started, watched and killed from a test.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from './cluster.mjs'

const PROGRAM = fileURLToPath(new URL('worker-process-main.mjs', import.meta.url))

/**
 * One line of a journal: something that a node body did.
 *
 * @typedef {object} Entry
 * @property {'begin' | 'end' | 'abort' | 'red' | 'green'} what the last two: a body has looked at its worker's health
 * @property {string} run
 * @property {string} node
 * @property {number} pid
 * @property {number} at milliseconds since the epoch, with fractions
 */

/** The file that node bodies of all worker processes of a test write to, and what it says. */
export class Journal {
	#folder = mkdtempSync(join(tmpdir(), 'flowcraft-journal-'))
	path = join(this.#folder, 'journal')

	/** @returns {Entry[]} in the order of writing */
	read() {
		let text
		try {
			text = readFileSync(this.path, 'utf8')
		} catch {
			return []
		}
		return text
			.split('\n')
			.slice(0, -1)
			.map((line) => {
				const [what, run, node, pid, at] = line.split(' ')
				return { what: /** @type {Entry['what']} */ (what), run, node, pid: Number(pid), at: Number(at) }
			})
	}

	remove() {
		rmSync(this.#folder, { recursive: true, force: true })
	}
}

/**
 * @typedef {object} WorkerOptions
 * @property {string} flows URL of a module that exports `flows(journal): { blueprints, registry }`
 * @property {Journal} journal
 * @property {Record<string, any>} [adapter] more options of the adapter; JSON
 * @property {Record<string, any>} [kafka] more Kafka settings; JSON
 * @property {any} [parameters] for `flows`; JSON
 * @property {string} [name]
 */

/** @typedef {Awaited<ReturnType<typeof startWorkerProcess>>} WorkerProcess */

/**
 * Fulfils once the worker is a member of its group.
 *
 * @param {import('./cluster.mjs').Place} place
 * @param {WorkerOptions} options
 */
export async function startWorkerProcess(
	place,
	{ flows, journal, adapter = {}, kafka = {}, parameters, name = 'worker' },
) {
	const { where } = place.cluster
	const config = {
		flows,
		parameters,
		journal: journal.path,
		adapter: {
			kafka: { brokers: where.brokers, ...kafka },
			cassandraClient: { contactPoints: where.contactPoints, localDataCenter: where.localDataCenter },
			coordinationStore: where.redisUrl,
			topicName: place.topic,
			groupId: place.group,
			keyspace: place.keyspace,
			contextTableName: place.contexts,
			statusTableName: place.statuses,
			...adapter,
		},
	}
	const child = fork(PROGRAM, [JSON.stringify(config)], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
	let output = ''
	child.stdout?.on('data', (chunk) => (output += chunk))
	child.stderr?.on('data', (chunk) => (output += chunk))
	const exited = once(child, 'exit')
	/** @type {any[]} */
	const inbox = []
	child.on('message', (message) => inbox.push(message))

	/** @param {string} what @param {string} type */
	const answer = (what, type, timeoutMs = 60_000) =>
		until(
			`${name} ${what}`,
			() => {
				const at = inbox.findIndex((message) => message.type === type)
				if (at >= 0) return inbox.splice(at, 1)[0]
				if (child.exitCode !== null || child.signalCode !== null)
					throw new Error(`${name} ended (${child.signalCode ?? child.exitCode}):\n${output}`)
			},
			{ timeoutMs, everyMs: 5, describe: () => output.slice(-2000) },
		)

	const worker = {
		name,
		pid: /** @type {number} */ (child.pid),
		get output() {
			return output
		},
		async health() {
			child.send({ type: 'health' })
			return (await answer('tells its health', 'health')).health
		},
		/** An orderly end: `adapter.stop()`, then nothing may keep the process. @param {any} [options] */
		async stop(options) {
			child.send({ type: 'stop', options })
			const { error } = await answer('stops', 'stopped')
			if (error) throw new Error(`${name}: stop() rejected: ${error}`)
			await worker.exited()
		},
		/** @param {NodeJS.Signals} signal */
		signal: (signal) => child.kill(signal),
		async kill() {
			child.kill('SIGKILL')
			await exited
		},
		async exited(timeoutMs = 20_000) {
			await until(`${name} exits`, () => child.exitCode !== null || child.signalCode !== null, {
				timeoutMs,
				describe: () => output.slice(-2000),
			})
		},
		/** Whatever became of it, it is gone afterwards. */
		async dispose() {
			if (child.exitCode !== null || child.signalCode !== null) return
			child.kill('SIGKILL')
			await exited
		},
	}
	try {
		const { error } = await answer('starts', 'started')
		if (error) throw new Error(`${name}: start() rejected: ${error}\n${output}`)
		return worker
	} catch (error) {
		await worker.dispose()
		throw error
	}
}
