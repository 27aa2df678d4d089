/**
 * Puts faults into the code and looks whether the tests notice (README.md).
 *
 *   node __test__/mutants/run.mjs [--all | --three | name...]
 *
 * Each fault names the test that has to fail for it. That test runs once without any fault, and must pass. The exit code is
 * 1 where a fault was not noticed.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startServices } from '../services/services.mjs'
import { builtFile, cargo, ended } from './commands.mjs'
import { ENGINE, needsServices } from './engine.mjs'
import { GLUE, sourceOf } from './glue.mjs'
import { KERNEL } from './kernel.mjs'
import { treeWithFaults } from './tree.mjs'

const LOADER = new URL('loader.mjs', import.meta.url).href
/** A test that a fault keeps from ending has noticed nothing that it could name. */
const PATIENCE_MS = 120_000
/** Schedules of the simulation: with 300, each fault was noticed in each of twelve runs. */
const SCHEDULES = '1000'
/** One of offsets, one of the order of things, one of the graph. */
export const THREE = ['commit-over-gap', 'start-before-write', 'forget-visited-waves']

/**
 * @typedef {object} Mutant
 * @property {string} name
 * @property {string} guarantee
 * @property {string} what
 * @property {string} test
 * @property {boolean} [services] whether the test needs them
 * @property {(name?: string) => Promise<Verdict>} run
 *
 * Of one run of one test. `broken`: it did not come to a verdict.
 * @typedef {'passed' | 'failed' | 'broken'} Verdict
 */

/** @type {Map<string, Promise<string>>} */
const builds = new Map()

/** The tests of the kernel, built with all faults in it: one build serves all. */
export const buildKernel = () => buildTests('mutants')
/** And those of the engine, over the in-process ports. */
const buildEngine = () => buildTests('mutants,embedded')

/** @param {string} features */
function buildTests(features) {
	const command = ['test', '--no-run', '--message-format=json', '--profile', 'mutants', '--lib']
	const build = async () =>
		builtFile(await cargo(command, ['--no-default-features', '--features', features]), ({ executable }) => executable)
	const building = builds.get(features) ?? build()
	builds.set(features, building)
	return building
}

/** The faults that `src/kernel/mutant.rs` knows, and what each breaks. @returns {Map<string, string>} */
export function rustFaults() {
	const source = readFileSync(new URL('../../src/kernel/mutant.rs', import.meta.url), 'utf8')
	const found = source.matchAll(/\/\/\/ (.+)\n\s+\w+ = "([a-z-]+)",\n/g)
	return new Map(Array.from(found, ([, what, name]) => [name, what]))
}

/** @returns {Mutant[]} */
export function allMutants() {
	const what = rustFaults()
	const kernel = KERNEL.map(({ name, guarantee, test }) => ({
		name,
		guarantee,
		what: what.get(name) ?? '',
		test: `kernel::${test}`,
		run: (/** @type {string | undefined} */ fault) => rustTest(buildKernel, `kernel::${test}`, fault),
	}))
	const glue = GLUE.map(({ name, guarantee, breaks, suite, test }) => ({
		name,
		guarantee,
		what: breaks,
		test: `${suite}: ${test}`,
		run: (/** @type {string | undefined} */ fault) => glueTest(suite, test, fault),
	}))
	const engine = ENGINE.map((mutant) => {
		const { name, guarantee, suite, test } = mutant
		return {
			name,
			guarantee,
			what: what.get(name) ?? '',
			test: suite ? `${suite}: ${test}` : test,
			services: needsServices(mutant),
			run: (/** @type {string | undefined} */ fault) =>
				suite ? addonTest(suite, test, fault) : rustTest(buildEngine, test, fault),
		}
	})
	return [...kernel, ...glue, ...engine]
}

/**
 * @param {() => Promise<string>} build
 * @param {string} test
 * @param {string} [fault]
 * @returns {Promise<Verdict>}
 */
async function rustTest(build, test, fault = '') {
	const env = {
		FLOWCRAFT_MUTANT: fault,
		SCHEDULES: process.env.SCHEDULES ?? SCHEDULES,
		// A fault is no bug to be kept for later, and its smallest schedule is of no interest.
		PROPTEST_MAX_SHRINK_ITERS: '0',
		PROPTEST_DISABLE_FAILURE_PERSISTENCE: '1',
	}
	const { output } = await ended(await build(), ['--exact', test], { env, patienceMs: PATIENCE_MS })
	if (output.includes(`\ntest ${test} ... ok\n`)) return 'passed'
	return output.includes(`\ntest ${test} ... FAILED\n`) ? 'failed' : 'broken'
}

/** @param {string} suite @param {string} test @param {string} [fault] */
function glueTest(suite, test, fault) {
	return nodeTest(suite, test, fault, { flags: fault === undefined ? [] : ['--import', LOADER] })
}

/** @param {string} suite @param {string} test @param {string} [fault] */
async function addonTest(suite, test, fault) {
	return nodeTest(suite, test, fault, { cwd: await treeWithFaults() })
}

/**
 * @param {string} suite
 * @param {string} test
 * @param {string | undefined} fault
 * @param {{ flags?: string[], cwd?: string }} where
 * @returns {Promise<Verdict>}
 */
async function nodeTest(suite, test, fault, { flags = [], cwd }) {
	const pattern = test.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
	const args = [...flags, '--test-reporter=tap', `--test-name-pattern=${pattern}`, suite]
	const env = { FLOWCRAFT_MUTANT: fault }
	const { output } = await ended(process.execPath, args, { env, cwd, patienceMs: PATIENCE_MS })
	const results = output.matchAll(/^\s*(not ok|ok) \d+ - (.+)$/gm)
	const own = Array.from(results, ([, result, name]) => ({ result, name })).filter(
		({ name }) => name.startsWith(test) && !name.includes(' # SKIP'),
	)
	if (own.length === 0) return 'broken'
	return own.every(({ result }) => result === 'ok') ? 'passed' : 'failed'
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
	// So that the tree goes, too; whatever services there are end with this process.
	for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => process.exit(1))
	const services = mutants.some((mutant) => mutant.services) ? await startServices() : undefined
	Object.assign(process.env, services?.env)
	try {
		return await judge(mutants)
	} finally {
		await services?.stop()
	}
}

/** @param {Mutant[]} mutants @returns {Promise<number>} the exit code */
async function judge(mutants) {
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
