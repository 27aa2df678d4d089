/** A user's project: the packages of the guide, the module that worker and clients share, and the programs. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CLIENT = join(ROOT, '__test__/integration/guide-client')

const PACKAGES = ['flowcraft', 'kafkajs', 'cassandra-driver']

/** @param {{ ioredis?: 'ioredis' | 'ioredis5' }} [options] which of the two installed versions */
export function openProject({ ioredis = 'ioredis' } = {}) {
	const folder = mkdtempSync(join(tmpdir(), 'flowcraft-project-'))
	/** @param {string} name @param {string} target */
	const link = (name, target) => {
		const path = join(folder, 'node_modules', name)
		mkdirSync(dirname(path), { recursive: true })
		symlinkSync(target, path)
	}
	for (const name of PACKAGES) link(name, join(ROOT, 'node_modules', name))
	link('ioredis', join(ROOT, 'node_modules', ioredis))
	link('@flowcraft/kafka-adapter', ROOT)
	writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
	for (const name of ['shared.mjs', 'prepared.mjs']) copyFileSync(join(CLIENT, name), join(folder, name))

	return {
		folder,
		/** @param {string} name @param {string} text */
		write: (name, text) => writeFileSync(join(folder, name), text),
		/**
		 * The program of a client, to its end.
		 *
		 * @param {string} text
		 * @param {string[]} args
		 * @param {{ isPrepared?: boolean }} [options] `false` leaves `prepared.mjs` out
		 * @returns {Promise<string>} the id of the run
		 */
		async runClient(text, args, { isPrepared = true } = {}) {
			writeFileSync(join(folder, 'client.mjs'), text)
			const command = [...(isPrepared ? ['--import', './prepared.mjs'] : []), 'client.mjs', ...args]
			const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: folder })
			return stdout.trim()
		},
		/** A program that runs until it is stopped. @param {string} name @param {Record<string, string>} [env] */
		start(name, env = {}) {
			const child = spawn(process.execPath, [name], { cwd: folder, env: { ...process.env, ...env } })
			const exited = once(child, 'exit')
			const seen = { output: '' }
			for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (seen.output += chunk))
			return {
				seen,
				get isRunning() {
					return child.exitCode === null && child.signalCode === null
				},
				async stop() {
					child.kill()
					await exited
				},
			}
		},
		remove: () => rmSync(folder, { recursive: true, force: true }),
	}
}

/** Clients of tables without a status column leave the statement out that writes it. @param {string} text */
export function withoutStatusStatement(text) {
	const statement = /^\s*await \w+\.execute\('INSERT INTO statuses.*\n/m
	if (!statement.test(text)) throw new Error(`no statement on statuses in ${text}`)
	return text.replace(statement, '')
}
