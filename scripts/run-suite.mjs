import { spawn } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { leftovers, RUN_ID_VARIABLE } from './leftovers.mjs'

const COUNT_REPORTER = fileURLToPath(new URL('count-reporter.mjs', import.meta.url))
const GRACE_MS = 5000

/**
 * One row of the table in scripts/test.mjs.
 *
 * @typedef {object} Suite
 * @property {string} name
 * @property {string[]} [command] a command, or
 * @property {string} [folder] a folder with `*.test.mjs` files for `node --test`
 * @property {string[]} [nodeFlags] for such a folder
 * @property {'whole' | 'cargo'} [count] how a command is counted: as one test, or by the `test result:` lines of cargo
 * @property {boolean} [needsServices]
 * @property {number} [timeoutMs]
 *
 * @typedef {object} Result
 * @property {string} suite
 * @property {number} passed
 * @property {number} failed
 * @property {number} skipped
 * @property {string[]} failures names
 * @property {number} ms
 * @property {string} [note]
 * @property {string[]} [running] the tests that had begun and not ended
 */

/**
 * Runs a suite, passes its output on and counts it. Ends it, with everything it has started, when it takes too long or the
 * signal aborts; whatever it leaves behind otherwise is ended too and counts as a failure.
 *
 * @param {Suite} suite
 * @param {object} context
 * @param {string} context.root
 * @param {string} context.reportDir folder for the reports of `node --test`
 * @param {Record<string, string>} context.env
 * @param {string} context.runId
 * @param {number} context.timeoutMs
 * @param {string} [context.grep]
 * @param {AbortSignal} context.signal
 * @param {{ watch(pid: number): void, forget(pid: number): void }} context.guard
 * @param {Set<number>} context.known processes with our mark that are to stay: the services
 * @returns {Promise<Result>}
 */
export async function runSuite(suite, context) {
	const began = Date.now()
	const result = { suite: suite.name, passed: 0, failed: 0, skipped: 0, failures: [], ms: 0 }
	const fail = (name) => {
		result.failed++
		result.failures.push(name)
	}
	const files = suite.folder ? testFiles(join(context.root, suite.folder)) : []
	if (suite.folder && files.length === 0) {
		fail(`${suite.folder} has no *.test.mjs file`)
		return result
	}

	const report = join(context.reportDir, `${suite.name}.jsonl`)
	const command = suite.folder ? nodeTest(suite, files, report, context) : suite.command
	const { code, ended, output } = await runCommand(command, context)
	if (suite.folder) countNodeReport(report, result, fail, context)
	else if (suite.count === 'cargo') countCargo(output, result)
	else if (code === 0) result.passed++

	if (ended) fail(`${ended}${stillRunning(result)}`)
	else if (code !== 0 && result.failed === 0) fail(`exit code ${code}`)
	else if (code === 0 && result.passed + result.failed + result.skipped === 0) fail(`no test has run`)
	for (const { pid, command } of await leftovers(context.runId, context.known, GRACE_MS))
		fail(`left a process behind: ${pid} ${command}`)
	result.ms = Date.now() - began
	return result
}

/** Whether there is anything to run. */
export function isWritten(root, { folder }) {
	return !folder || testFiles(join(root, folder)).length > 0
}

function testFiles(folder) {
	let entries
	try {
		entries = readdirSync(folder, { withFileTypes: true })
	} catch {
		return []
	}
	return entries
		.flatMap((entry) => {
			const path = join(folder, entry.name)
			if (entry.isDirectory()) return testFiles(path)
			return entry.name.endsWith('.test.mjs') ? [path] : []
		})
		.sort()
}

function nodeTest({ nodeFlags = [] }, files, report, { root, grep }) {
	return [
		process.execPath,
		...nodeFlags,
		'--test',
		'--test-concurrency=1',
		...(grep ? [`--test-name-pattern=${grep}`] : []),
		'--test-reporter=spec',
		'--test-reporter-destination=stdout',
		`--test-reporter=${COUNT_REPORTER}`,
		`--test-reporter-destination=${report}`,
		...files.map((file) => relative(root, file)),
	]
}

function runCommand([file, ...args], { root, env, runId, timeoutMs, signal, guard }) {
	return new Promise((resolve) => {
		// A process group of its own: what has to be ended can be ended as a whole.
		const child = spawn(file, args, {
			cwd: root,
			env: { ...env, [RUN_ID_VARIABLE]: runId },
			detached: true,
			stdio: ['ignore', 'pipe', 'pipe'],
		})
		let output = ''
		let ended
		const collect = (to) => (chunk) => {
			output += chunk
			to.write(chunk)
		}
		child.stdout.on('data', collect(process.stdout))
		child.stderr.on('data', collect(process.stderr))
		const end = (reason) => {
			ended ??= reason
			signalGroup(child.pid, 'SIGTERM')
			setTimeout(() => signalGroup(child.pid, 'SIGKILL'), GRACE_MS).unref()
		}
		const timer = setTimeout(() => end(`ended after ${timeoutMs} ms`), timeoutMs)
		const onAbort = () => end('interrupted')
		signal.addEventListener('abort', onAbort)
		const finish = (code, problem) => {
			clearTimeout(timer)
			signal.removeEventListener('abort', onAbort)
			if (child.pid) {
				signalGroup(child.pid, 'SIGKILL')
				guard.forget(child.pid)
			}
			resolve({ code, ended: ended ?? problem, output })
		}
		if (child.pid) guard.watch(child.pid)
		child.once('error', (error) => finish(1, `${file} could not be run (${error.code})`))
		// The pipes may be held open by a process that was left behind, so their end is awaited for a moment only.
		child.once('exit', (code, by) => {
			const late = setTimeout(() => finish(code ?? by), GRACE_MS)
			child.once('close', () => {
				clearTimeout(late)
				finish(code ?? by)
			})
		})
	})
}

function countNodeReport(report, result, fail, { grep }) {
	const running = new Set()
	for (const { kind, name, file } of readLines(report)) {
		const key = `${file}\n${name}`
		if (kind === 'start') running.add(key)
		else running.delete(key)
		if (kind === 'pass') result.passed++
		if (kind === 'skip') result.skipped++
		if (kind === 'fail') fail(name)
		if (kind === 'empty' && !grep) fail(`${name} has no test`)
	}
	result.running = [...running].map((key) => key.split('\n')[1])
}

function readLines(path) {
	let text
	try {
		text = readFileSync(path, 'utf8')
	} catch {
		return []
	}
	// The last line of a run that was killed may be half a line.
	return text
		.split('\n')
		.slice(0, -1)
		.map((line) => JSON.parse(line))
}

function stillRunning({ running = [] }) {
	return running.length > 0 ? `, while in: ${running.at(-1)}` : ''
}

function countCargo(output, result) {
	for (const [, passed, failed, ignored] of output.matchAll(
		/^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored/gm,
	)) {
		result.passed += Number(passed)
		result.failed += Number(failed)
		result.skipped += Number(ignored)
	}
	const named = [...output.matchAll(/^test (.+) \.\.\. FAILED$/gm)].map(([, name]) => name)
	result.failures.push(...named)
}

function signalGroup(pid, signal) {
	try {
		process.kill(-pid, signal)
	} catch {
		// It is gone, which is what was wanted.
	}
}
