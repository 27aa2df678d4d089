/** Commands that end, and what they said. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { fixToolchainEnv } from '../../scripts/toolchain-env.mjs'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** With all dependencies, on a slow machine. */
const BUILD_MS = 45 * 60_000
const KERNEL_ALONE = ['--no-default-features', '--features', 'mutants']

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set()
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/** @typedef {{ code: number | null, output: string, errors: string }} Ended */

/**
 * @param {string[]} command the subcommand and its options
 * @param {string[]} [features]
 */
export function cargo(command, features = KERNEL_ALONE) {
	fixToolchainEnv()
	return ended('cargo', [...command, ...features], { patienceMs: BUILD_MS })
}

/**
 * What `cargo ... --message-format=json` has built.
 *
 * @param {Ended} build
 * @param {(artifact: any) => string | undefined} fileOf
 */
export function builtFile({ code, output, errors }, fileOf) {
	const messages = output.split('\n').filter((line) => line.startsWith('{'))
	const file = messages.map((line) => fileOf(JSON.parse(line))).findLast(Boolean)
	if (code !== 0 || !file) throw new Error(`what has the faults could not be built:\n${errors}`)
	return file
}

/**
 * @param {string} file
 * @param {string[]} args
 * @param {{ env?: Record<string, string | undefined>, cwd?: string, patienceMs: number }} options of `env`, `undefined` takes a
 *   variable out
 * @returns {Promise<Ended>}
 */
export function ended(file, args, { env: more = {}, cwd = ROOT, patienceMs }) {
	const env = { ...process.env, ...more }
	for (const [name, value] of Object.entries(env)) if (value === undefined) delete env[name]
	// This may itself run below a `node --test`, whose private variable would change what its children print.
	delete env.NODE_TEST_CONTEXT
	return new Promise((resolve, reject) => {
		const child = spawn(file, args, {
			cwd,
			env,
			stdio: ['ignore', 'pipe', 'pipe'],
			timeout: patienceMs,
			killSignal: 'SIGKILL',
		})
		running.add(child)
		let output = ''
		let errors = ''
		child.stdout.setEncoding('utf8').on('data', (text) => (output += text))
		child.stderr.setEncoding('utf8').on('data', (text) => (errors += text))
		child.once('error', reject)
		child.once('close', (code) => {
			running.delete(child)
			resolve({ code, output, errors })
		})
	})
}
