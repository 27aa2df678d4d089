/**
 * Does what is missing before anything of this checkout can run, and only that: `npm run demo` and `npm test` both begin here.
 * It runs before `npm install`, so it needs nothing but Node.
 */
import { spawn } from 'node:child_process'
import { readFileSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { ensureCacheDir } from '../__test__/services/jars.mjs'
import { withLock } from '../__test__/services/lock.mjs'
import { fixToolchainEnv } from './toolchain-env.mjs'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
const ADDON_FOLDER = join(ROOT, 'src', 'js')
const NATIVE_INPUTS = ['Cargo.toml', 'Cargo.lock', 'build.rs']
const NPM_FLAGS = ['--no-audit', '--no-fund']

/** What is missing and cannot be had without the user; its message says what to do. */
export class SetupError extends Error {}

/**
 * @param {object} [options]
 * @param {boolean} [options.native] also build the native module, default true
 * @param {AbortSignal} [options.signal] ends the command under way
 */
export async function setup({ native = true, signal } = {}) {
	fixToolchainEnv()
	await run('bash', ['scripts/prerequisites', '--quiet'], 'the prerequisites named above are missing', signal)

	const cacheDir = join(ROOT, '.cache')
	await ensureCacheDir(cacheDir)
	// Two at once (a demo beside a test run) would install into the same folder.
	await withLock(join(cacheDir, 'setup.lock'), signal, async () => {
		if (!packagesInstalled()) await installPackages(signal)
		if (native && !addonUpToDate()) await buildAddon(signal)
	})
}

async function installPackages(signal) {
	if (isFile('package-lock.json')) {
		progress('installing the npm packages (npm ci)')
		const { code, output } = await capture('npm', ['ci', ...NPM_FLAGS], signal)
		if (code === 0) return
		if (!lacksOtherPlatformsOnly(output)) throw new SetupError(`npm ci failed:\n${output}`)
		progress(
			"npm ci refuses the lock file for want of other platforms' packages; installing what it names (npm install)",
		)
	} else {
		progress('installing the npm packages (npm install)')
	}
	// Keeps to the versions of the lock file, and does not write it.
	await run('npm', ['install', '--no-save', ...NPM_FLAGS], 'npm install failed', signal)
}

/**
 * A registry that serves this platform alone makes a lock file without the optional packages of the others, and `npm ci` takes
 * that for a lock file out of date. Any other complaint of it is a real one.
 */
function lacksOtherPlatformsOnly(output) {
	const optional = new Set(
		Object.values(readPackages('package-lock.json')).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {})),
	)
	const missing = [...output.matchAll(/Missing: (\S+)@\S* from lock file/g)].map(([, name]) => name)
	return missing.length > 0 && missing.every((name) => optional.has(name)) && !/Invalid: /.test(output)
}

async function buildAddon(signal) {
	progress('building the native module, 2-6 minutes the first time')
	const began = Date.now()
	await run('npm', ['run', '--silent', 'build'], 'the native module could not be built', signal)
	if (newestAddon() === 0) throw new SetupError(`npm run build has left no *.node file in ${ADDON_FOLDER}`)
	progress(`built in ${Math.round((Date.now() - began) / 1000)} s`)
}

/** Compares contents, not times: a checkout or an `npm install` touches the lock file without changing what it asks for. */
function packagesInstalled() {
	if (!isFile('package-lock.json')) return isFile('node_modules/.package-lock.json')
	const wanted = readPackages('package-lock.json')
	const installed = readPackages('node_modules/.package-lock.json')
	return Object.entries(wanted).every(([path, entry]) => {
		if (path === '') return true
		// Optional ones may belong to another platform.
		if (!installed[path]) return Boolean(entry.optional || entry.devOptional || entry.peer)
		return installed[path].version === entry.version && installed[path].integrity === entry.integrity
	})
}

function readPackages(path) {
	try {
		return JSON.parse(readFileSync(join(ROOT, path), 'utf8')).packages ?? {}
	} catch {
		return {}
	}
}

function addonUpToDate() {
	const built = newestAddon()
	const sources = [...NATIVE_INPUTS.map((name) => join(ROOT, name)), ...filesBelow(join(ROOT, 'src'), ADDON_FOLDER)]
	return built > 0 && sources.every((path) => modified(path) <= built)
}

function newestAddon() {
	const addons = filesBelow(ADDON_FOLDER).filter((path) => path.endsWith('.node'))
	return Math.max(0, ...addons.map(modified))
}

function filesBelow(folder, except) {
	return readdirSafely(folder).flatMap((entry) => {
		const path = join(folder, entry.name)
		if (path === except) return []
		return entry.isDirectory() ? filesBelow(path, except) : [path]
	})
}

function readdirSafely(folder) {
	try {
		return readdirSync(folder, { withFileTypes: true })
	} catch {
		return []
	}
}

function isFile(path) {
	return modified(join(ROOT, path)) > 0
}

function modified(path) {
	return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function run(file, args, problem, signal) {
	return new Promise((resolve, reject) => {
		// Standard output is the caller's own; what tools say goes to standard error.
		const child = spawn(file, args, { cwd: ROOT, stdio: ['ignore', 2, 2], signal })
		child.once('error', (cause) =>
			reject(signal?.aborted ? signal.reason : new SetupError(`${file} could not be run`, { cause })),
		)
		child.once('exit', (code) => (code === 0 ? resolve() : reject(new SetupError(problem))))
	})
}

function capture(file, args, signal) {
	return new Promise((resolve, reject) => {
		const child = spawn(file, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], signal })
		let output = ''
		child.stdout.on('data', (chunk) => (output += chunk))
		child.stderr.on('data', (chunk) => (output += chunk))
		child.once('error', (cause) =>
			reject(signal?.aborted ? signal.reason : new SetupError(`${file} could not be run`, { cause })),
		)
		child.once('close', (code) => resolve({ code, output }))
	})
}

function progress(line) {
	process.stderr.write(`[setup] ${line}\n`)
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
	setup({ native: !process.argv.includes('--no-native') }).catch((error) => {
		process.stderr.write(`[setup] ${error.message}\n`)
		process.exitCode = 1
	})
}
