/**
 * `npm run bench:micro`: the kernel's benches (kernel.rs) and the bridge's (bridge.mjs), neither of which needs a service.
 *
 *   node bench/micro.mjs [--runs 4000] [--write]
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeSection } from './limits-page.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const CRITERION = join(ROOT, 'target', 'criterion')
/** A young generation in which nothing is collected while so many runs are measured. */
const ALLOCATION_RUNS = 1_000
const LARGE = ['--expose-gc', '--min-semi-space-size=1024', '--max-semi-space-size=1024']

const { values } = parseArgs({
	options: { runs: { type: 'string', default: '4000' }, write: { type: 'boolean', default: false } },
})

/** @param {string} command @param {string[]} args @param {import('node:child_process').StdioOptions} stdio */
function run(command, args, stdio) {
	const { status, stdout, error } = spawnSync(command, args, { cwd: ROOT, stdio, encoding: 'utf8' })
	if (error) throw error
	if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}`)
	return stdout
}

/** Medians as criterion keeps them. @returns {{ name: string, ns: number }[]} per element */
function kernel() {
	rmSync(CRITERION, { recursive: true, force: true })
	// The kernel alone: what it does not use need not be built.
	const cargo = ['bench', '--no-default-features', '--bench', 'kernel', '--']
	run('cargo', [...cargo, '--warm-up-time', '0.5', '--measurement-time', '2'], 'inherit')
	return readdirSync(CRITERION, { recursive: true, encoding: 'utf8' })
		.filter((path) => path.endsWith(join('new', 'benchmark.json')))
		.toSorted()
		.map((path) => {
			const read = (/** @type {string} */ name) => JSON.parse(readFileSync(join(CRITERION, path, '..', name), 'utf8'))
			const { full_id: name, throughput } = read('benchmark.json')
			return { name: name.replace('/', ': '), ns: read('estimates.json').median.point_estimate / throughput.Elements }
		})
}

/** @param {string[]} flags @param {string[]} options */
const bridge = (flags, ...options) =>
	JSON.parse(run(process.execPath, [...flags, 'bench/bridge.mjs', '--json', ...options], ['ignore', 'pipe', 'inherit']))

const figures = {
	kernel: kernel(),
	times: bridge([], '--runs', values.runs),
	allocations: bridge(LARGE, '--allocations', '--runs', String(ALLOCATION_RUNS)),
}
console.log(JSON.stringify(figures, null, 2))
if (values.write) writeSection('micro', figures)
