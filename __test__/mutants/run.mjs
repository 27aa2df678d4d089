/**
 * Puts faults into the code and looks whether the tests notice (README.md).
 *
 *   node __test__/mutants/run.mjs [--all | --three | name...]
 *
 * Each fault names the test that has to fail for it. That test runs once without any fault, and must pass. The exit code is
 * 1 where a fault was not noticed.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { fixToolchainEnv } from '../../scripts/toolchain-env.mjs'
import { GLUE, sourceOf } from './glue.mjs'
import { KERNEL } from './kernel.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LOADER = new URL('loader.mjs', import.meta.url).href
/** A test that a fault keeps from ending has noticed nothing that it could name. */
const PATIENCE_MS = 120_000
/** Schedules of the simulation: with 300, each fault was noticed in each of twelve runs. */
const SCHEDULES = '1000'
/** One of offsets, one of the order of things, one of the graph. */
export const THREE = ['commit-over-gap', 'start-before-write', 'forget-visited-waves']

/** @typedef {{ name: string, guarantee: string, what: string, test: string, run: (name?: string) => Promise<Verdict> }} Mutant */
/** Of one run of one test. `broken`: it did not come to a verdict. @typedef {'passed' | 'failed' | 'broken'} Verdict */

/** @type {Promise<string> | undefined} */
let building

/** The tests of the kernel, built with all faults in it: one build serves all. */
export function buildKernel() {
	fixToolchainEnv()
	building ??= cargo(['test', '--no-run', '--message-format=json', '--profile', 'mutants', '--lib']).then(
		({ code, output, errors }) => {
			const built = output.split('\n').filter((line) => line.startsWith('{'))
			const executable = built.map((line) => JSON.parse(line).executable).findLast(Boolean)
			if (code !== 0 || !executable) throw new Error(`the kernel could not be built with its faults:\n${errors}`)
			return executable
		},
	)
	return building
}

/** @param {string[]} command */
export function cargo([subcommand, ...options]) {
	return ended('cargo', [subcommand, ...options, '--no-default-features', '--features', 'mutants'], {}, 15 * 60_000)
}

/** The faults that `src/kernel/mutant.rs` knows, and what each breaks. @returns {Map<string, string>} */
export function kernelFaults() {
	const source = readFileSync(new URL('../../src/kernel/mutant.rs', import.meta.url), 'utf8')
	const found = source.matchAll(/\/\/\/ (.+)\n\s+\w+ = "([a-z-]+)",\n/g)
	return new Map(Array.from(found, ([, what, name]) => [name, what]))
}

/** @returns {Mutant[]} */
export function allMutants() {
	const what = kernelFaults()
	const kernel = KERNEL.map(({ name, guarantee, test }) => ({
		name,
		guarantee,
		what: what.get(name) ?? '',
		test: `kernel::${test}`,
		run: (/** @type {string | undefined} */ fault) => kernelTest(`kernel::${test}`, fault),
	}))
	const glue = GLUE.map(({ name, guarantee, breaks, suite, test }) => ({
		name,
		guarantee,
		what: breaks,
		test: `${suite}: ${test}`,
		run: (/** @type {string | undefined} */ fault) => glueTest(suite, test, fault),
	}))
	return [...kernel, ...glue]
}

/** @param {string} test @param {string} [fault] @returns {Promise<Verdict>} */
async function kernelTest(test, fault = '') {
	const env = {
		FLOWCRAFT_MUTANT: fault,
		SCHEDULES: process.env.SCHEDULES ?? SCHEDULES,
		// A fault is no bug to be kept for later, and its smallest schedule is of no interest.
		PROPTEST_MAX_SHRINK_ITERS: '0',
		PROPTEST_DISABLE_FAILURE_PERSISTENCE: '1',
	}
	const { output } = await ended(await buildKernel(), ['--exact', test], env)
	if (output.includes(`\ntest ${test} ... ok\n`)) return 'passed'
	return output.includes(`\ntest ${test} ... FAILED\n`) ? 'failed' : 'broken'
}

/** @param {string} suite @param {string} test @param {string} [fault] @returns {Promise<Verdict>} */
async function glueTest(suite, test, fault) {
	const pattern = test.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
	const options = ['--test-reporter=tap', `--test-name-pattern=${pattern}`]
	const loader = fault === undefined ? [] : ['--import', LOADER]
	const { output } = await ended(process.execPath, [...loader, ...options, suite], { FLOWCRAFT_MUTANT: fault })
	const results = output.matchAll(/^\s*(not ok|ok) \d+ - (.+)$/gm)
	const own = Array.from(results, ([, result, name]) => ({ result, name })).filter(
		({ name }) => name.startsWith(test) && !name.includes(' # SKIP'),
	)
	if (own.length === 0) return 'broken'
	return own.every(({ result }) => result === 'ok') ? 'passed' : 'failed'
}

/**
 * @param {string} file
 * @param {string[]} args
 * @param {Record<string, string | undefined>} more environment; `undefined` takes a variable out
 * @param {number} [patienceMs]
 * @returns {Promise<{ code: number | null, output: string, errors: string }>}
 */
function ended(file, args, more, patienceMs = PATIENCE_MS) {
	const env = { ...process.env, ...more }
	for (const [name, value] of Object.entries(env)) if (value === undefined) delete env[name]
	// This may itself run below a `node --test`, whose private variable would change what its children print.
	delete env.NODE_TEST_CONTEXT
	return new Promise((resolve, reject) => {
		const child = spawn(file, args, {
			cwd: ROOT,
			env,
			stdio: ['ignore', 'pipe', 'pipe'],
			timeout: patienceMs,
			killSignal: 'SIGKILL',
		})
		let output = ''
		let errors = ''
		child.stdout.setEncoding('utf8').on('data', (text) => (output += text))
		child.stderr.setEncoding('utf8').on('data', (text) => (errors += text))
		child.once('error', reject)
		child.once('close', (code) => resolve({ code, output, errors }))
	})
}

/**
 * @param {Mutant} mutant
 * @returns {Promise<string | undefined>} why the fault does not count as noticed
 */
export async function survival({ name, test, run }) {
	const whole = await run()
	if (whole !== 'passed') return `without a fault, ${test} ${whole === 'failed' ? 'fails' : 'does not run'}`
	const verdict = await run(name)
	if (verdict === 'failed') return undefined
	return verdict === 'passed' ? `survived: ${test} passes` : `broken: ${test} comes to no verdict`
}

/** @param {string[]} names @returns {Mutant[]} */
export function chosen(names) {
	const all = allMutants()
	return names.map((name) => {
		const found = all.find((mutant) => mutant.name === name)
		if (!found) throw new Error(`there is no fault "${name}"; there are ${all.map((one) => one.name).join(', ')}`)
		return found
	})
}

async function main() {
	const { values, positionals } = parseArgs({
		allowPositionals: true,
		options: { all: { type: 'boolean' }, three: { type: 'boolean' } },
	})
	for (const mutant of GLUE) sourceOf(mutant)
	const names = positionals.length > 0 ? positionals : THREE
	const mutants = values.all ? allMutants() : chosen(values.three ? THREE : names)
	let survivors = 0
	for (const mutant of mutants) {
		const began = Date.now()
		const problem = await survival(mutant)
		if (problem) survivors++
		const seconds = ((Date.now() - began) / 1000).toFixed(1).padStart(6)
		console.log(`${mutant.name.padEnd(26)} ${seconds} s  ${problem ?? 'noticed'}`)
	}
	console.log(`\n${mutants.length - survivors} of ${mutants.length} faults noticed`)
	return survivors > 0 ? 1 : 0
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main()
