/**
 * What `npm test` runs: the set-up that is missing, the services once, then every suite of the table below.
 *
 *   node scripts/test.mjs [suite...] [--grep PATTERN] [--no-setup]
 *
 * `--grep` selects tests by name; it reaches the folders of `node --test` only, so without named suites the others are left out.
 * TEST_TIMEOUT_MS replaces every suite's own limit. The last line is `N passed, N failed`.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startGuard } from '../__test__/services/guard.mjs'
import { startServices } from '../__test__/services/services.mjs'
import { leftovers, RUN_ID_VARIABLE } from './leftovers.mjs'
import { isWritten, runSuite } from './run-suite.mjs'
import { ROOT, setup } from './setup.mjs'

const MINUTE_MS = 60_000
const DEFAULT_TIMEOUT_MS = 15 * MINUTE_MS

/** @type {import('./run-suite.mjs').Suite[]} in the order in which they run */
const SUITES = [
	{ name: 'lint', command: ['npm', 'run', '--silent', 'lint'], count: 'whole' },
	{
		name: 'rust',
		command: ['cargo', 'test', '--release', '--no-fail-fast'],
		count: 'cargo',
		needsServices: true,
		timeoutMs: 30 * MINUTE_MS,
	},
	{ name: 'mutants', folder: '__test__/mutants' },
	{ name: 'types', command: ['npm', 'run', '--silent', 'test:types'], count: 'whole' },
	{ name: 'unit', folder: '__test__/unit' },
	{ name: 'contract', folder: '__test__/contract', needsServices: true },
	{ name: 'lifecycle', folder: '__test__/lifecycle', needsServices: true, nodeFlags: ['--expose-gc'] },
	{ name: 'integration', folder: '__test__/integration', needsServices: true },
	{ name: 'oracle', folder: '__test__/oracle', needsServices: true },
	{ name: 'e2e', folder: '__test__/e2e', needsServices: true },
	{ name: 'packaging', folder: '__test__/packaging', needsServices: true, timeoutMs: 30 * MINUTE_MS },
]

async function main() {
	const { suites, grep, withSetup } = readArguments()
	const interruption = interruptible()
	const run = {
		id: `${process.pid}-${Date.now().toString(36)}`,
		reportDir: await mkdtemp(join(tmpdir(), 'flowcraft-test-')),
		guard: startGuard(),
		signal: interruption.signal,
		grep,
	}
	// Inherited by the services too: whatever this run starts carries the mark.
	process.env[RUN_ID_VARIABLE] = run.id
	// This may itself run below a `node --test`, whose private variable would change what the suites print.
	delete process.env.NODE_TEST_CONTEXT

	const results = []
	try {
		if (withSetup) await setup({ native: suites.some(needsAddon), signal: run.signal })
		await runAll(suites, run, results)
	} catch (error) {
		if (!run.signal.aborted) process.stderr.write(`${error.message}\n`)
		results.push(failure('set-up', run.signal.aborted ? 'interrupted' : error.message.split('\n')[0]))
	} finally {
		await run.guard.end()
		await rm(run.reportDir, { recursive: true, force: true })
	}
	for (const { pid, command } of await leftovers(run.id, new Set(), 5000))
		results.push(failure('the end', `left behind: ${pid} ${command}`))
	const failed = summarise(results)
	return interruption.exitCode ?? (failed ? 1 : 0)
}

function needsAddon({ name }) {
	return !['lint', 'rust', 'mutants'].includes(name)
}

async function runAll(suites, run, results) {
	/** @type {import('../__test__/services/services.mjs').Services | undefined} */
	let services
	try {
		for (const suite of suites) {
			if (run.signal.aborted) break
			heading(suite.name)
			if (suite.needsServices && isWritten(ROOT, suite)) services ??= await startServices({ signal: run.signal })
			const result = await runSuite(suite, {
				...run,
				runId: run.id,
				root: ROOT,
				env: { ...process.env, ...services?.env },
				known: new Set([run.guard.pid, ...(services?.pids ?? [])]),
				timeoutMs: Number(process.env.TEST_TIMEOUT_MS) || suite.timeoutMs || DEFAULT_TIMEOUT_MS,
			})
			results.push(result)
			if (result.failed > 0) await reportDead(services)
		}
	} finally {
		await services?.stop()
	}
}

/** A suite may well stop a service of its own; one of ours that is down explains failures that name something else. */
async function reportDead(services) {
	for (const name of ['kafka', 'cassandra', 'redis']) {
		const service = services?.[name]
		if (service && !service.running)
			process.stdout.write(`\n${name} is down. The last lines of its log:\n${await service.logTail()}\n`)
	}
}

/** @returns {boolean} whether anything failed, or nothing ran */
function summarise(results) {
	heading('summary')
	const width = Math.max(...results.map(({ suite }) => suite.length), 5)
	for (const { suite, passed, failed, skipped, ms, note } of results) {
		const counts =
			note ??
			`${count(passed)} passed ${count(failed)} failed ${count(skipped)} skipped ${(ms / 1000).toFixed(1).padStart(8)} s`
		process.stdout.write(`${suite.padEnd(width)} ${counts}\n`)
	}
	const failures = results.flatMap(({ suite, failures }) => failures.map((name) => `  ${suite}: ${name}`))
	if (failures.length > 0) process.stdout.write(`\nFailed:\n${failures.join('\n')}\n`)
	const passed = sum(results, 'passed')
	const failed = sum(results, 'failed')
	process.stdout.write(`\n${passed} passed, ${failed} failed\n`)
	return failed > 0 || passed === 0
}

function failure(suite, name) {
	return { suite, passed: 0, failed: 1, skipped: 0, failures: [name], ms: 0 }
}

function sum(results, field) {
	return results.reduce((total, result) => total + result[field], 0)
}

function count(number) {
	return String(number).padStart(5)
}

function heading(text) {
	process.stdout.write(`\n=== ${text} ===\n`)
}

/** The first signal ends the run in order; a second one ends it at once, and the guards clean up. */
function interruptible() {
	const controller = new AbortController()
	const state = { signal: controller.signal, exitCode: undefined }
	for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
		process.on(name, () => {
			if (state.exitCode !== undefined) process.exit(state.exitCode)
			state.exitCode = 128 + constants.signals[name]
			controller.abort(new Error(`stopped by ${name}`))
		})
	}
	return state
}

function readArguments() {
	const { values, positionals } = parseArgs({
		allowPositionals: true,
		options: { grep: { type: 'string' }, 'no-setup': { type: 'boolean' } },
	})
	const unknown = positionals.filter((name) => !SUITES.some((suite) => suite.name === name))
	if (unknown.length > 0)
		throw new Error(`no such suite: ${unknown.join(', ')}; there are ${SUITES.map(({ name }) => name).join(', ')}`)
	const chosen = SUITES.filter((suite) =>
		positionals.length > 0 ? positionals.includes(suite.name) : !values.grep || suite.folder,
	)
	return { suites: chosen, grep: values.grep, withSetup: !values['no-setup'] }
}

main().then(
	// What runs on (a handle of a killed child) is of no interest any more.
	(code) => process.exit(code),
	(error) => {
		process.stderr.write(`${error.message}\n`)
		process.exit(2)
	},
)
