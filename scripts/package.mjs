/**
 * Makes this machine's two tarballs: the package, and the platform package with the native module.
 *
 *   node scripts/package.mjs [--no-build] [--out FOLDER] [--max-glibc VERSION] [-- arguments for cargo]
 *
 * The module is built, stripped (its debug information is kept apart, in FOLDER/debug), held against what a binary for
 * other machines may need and show, and packed. FOLDER is `dist-packages` by default. docs/packaging.md says the rest.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync } from 'node:fs'
import { rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { localBuild } from '../src/js/native.js'
import { thirdPartyLicences } from './third-party.mjs'
import { fixToolchainEnv } from './toolchain-env.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** What every Linux that runs Node has; anything else would have to be installed by the user, or clash with Node's own. */
const SYSTEM_LIBRARIES =
	/^(lib(c|m|dl|rt|pthread|util|gcc_s)\.so(\.\d+)?|libc\.musl-\w+\.so\.1|ld-(linux|musl)[\w-]*\.so\.\d+)$/
/** Node looks these up. Whatever else a library shows can be taken for Node's own symbols, or Node's for ours. */
const ENTRY_POINTS = /^_?(napi_register_module_v\d+|node_api_module_get_api_version_v\d+)$/
/** Of use in the repository only. */
const NOT_PUBLISHED = ['devDependencies', 'napi', 'prettier', 'scripts']
const NOT_IN_ROOT = /\.(node|new|rs|ts\.map|tgz)$|(^|\/)(Cargo\.|build\.rs|__test__|npm|scripts|target|bench)/

function main() {
	const { values, positionals } = parseArgs({
		allowPositionals: true,
		options: {
			'no-build': { type: 'boolean' },
			out: { type: 'string', default: join(ROOT, 'dist-packages') },
			'max-glibc': { type: 'string' },
			'refuse-publish': { type: 'boolean' },
		},
	})
	if (values['refuse-publish'])
		throw new Error('publish the tarballs of `npm run package`: this folder lacks the optional dependencies')
	const manifest = readManifest(ROOT)
	const optionalDependencies = platformVersions(manifest)
	if (!values['no-build']) run(process.execPath, ['scripts/build.mjs', ...positionals], { stdio: 'inherit' })

	const out = resolve(values.out)
	const built = localBuild()
	if (!existsSync(built)) throw new Error(`there is no ${built}; build it, or leave out --no-build`)
	const folder = join(ROOT, 'npm', basename(built).split('.')[1])
	if (!existsSync(folder)) throw new Error(`${folder} is missing: this platform is none of those that have a package`)
	mkdirSync(out, { recursive: true })
	const addon = join(folder, basename(built))
	keepDebugInfo(built, addon, join(out, 'debug'))
	verify(addon, values['max-glibc'])
	writeLicences(join(folder, 'THIRD-PARTY-LICENSES'))

	pack(folder, readManifest(folder), out)
	for (const name of NOT_PUBLISHED) delete manifest[name]
	const files = pack(ROOT, { ...manifest, optionalDependencies }, out)
	const strange = files.filter((path) => NOT_IN_ROOT.test(path))
	if (strange.length > 0) throw new Error(`not for the package: ${strange.join(', ')}`)
}

/** @returns {Record<string, any>} */
function readManifest(folder) {
	return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
}

/** The loader takes whatever platform package is there, so a different version would be used without a word. */
function platformVersions({ version, name }) {
	const manifests = readdirSync(join(ROOT, 'npm')).map((triple) => readManifest(join(ROOT, 'npm', triple)))
	const others = manifests.filter((platform) => platform.version !== version).map((platform) => platform.name)
	if (others.length > 0) throw new Error(`${name} is ${version}, and these are not: ${others.join(', ')}`)
	return Object.fromEntries(manifests.map((platform) => [platform.name, version]).sort())
}

/** Puts the stripped module at `addon`, and what was taken from it into `debug`. */
function keepDebugInfo(built, addon, debug) {
	rmSync(debug, { recursive: true, force: true })
	mkdirSync(debug, { recursive: true })
	const kept = join(debug, basename(addon))
	const next = `${addon}.new`
	if (process.platform === 'linux') {
		run('objcopy', ['--only-keep-debug', built, `${kept}.debug`])
		run('objcopy', ['--strip-unneeded', '--remove-section=.comment', `--add-gnu-debuglink=${kept}.debug`, built, next])
		copyIfSame(built, '.so', '.so.dwp', `${kept}.dwp`)
	} else if (process.platform === 'darwin') {
		run('dsymutil', [built, '-o', `${kept}.dSYM`])
		copyFileSync(built, next)
		run('strip', ['-x', next])
		// Apple silicon loads nothing whose signature is that of other bytes.
		run('codesign', ['--force', '--sign', '-', next])
	} else {
		copyFileSync(built, next)
		copyIfSame(built, '.dll', '.pdb', `${kept}.pdb`)
	}
	renameSync(next, addon)
	note(`${basename(addon)}: ${megabytes(built)} MB, stripped ${megabytes(addon)} MB; its debug information: ${debug}`)
}

/** Copies a file that cargo has left beside the library, if that library is the one that was built last. */
function copyIfSame(built, libraryEnd, wantedEnd, to) {
	const folder = join(ROOT, 'target', process.env.CARGO_BUILD_TARGET ?? '', 'release')
	for (const name of existsSync(folder) ? readdirSync(folder) : []) {
		if (!name.endsWith(wantedEnd)) continue
		const library = join(folder, name.slice(0, -wantedEnd.length) + libraryEnd)
		if (existsSync(library) && readFileSync(library).equals(readFileSync(built))) copyFileSync(join(folder, name), to)
	}
}

/** What is linked into the module differs from platform to platform. */
function writeLicences(file) {
	fixToolchainEnv()
	const [, host] = /^host: (.+)$/m.exec(run('rustc', ['-vV'])) ?? []
	const platform = process.env.CARGO_BUILD_TARGET ?? host
	const args = ['metadata', '--format-version', '1', '--locked', '--filter-platform', platform]
	const text = thirdPartyLicences(JSON.parse(run('cargo', args)))
	writeFileSync(file, text)
	note(`${basename(file)}: ${text.match(/^- /gm)?.length} parts, ${Math.ceil(text.length / 1024)} KiB`)
}

function verify(addon, maxGlibc) {
	if (process.platform === 'linux') verifyElf(addon, maxGlibc)
	if (process.platform === 'darwin') verifyMachO(addon)
	const program = `process.exit(typeof require(${JSON.stringify(addon)}).NativeWorker === 'function' ? 0 : 1)`
	run(process.execPath, ['-e', program])
	note(`loads in Node ${process.version}`)
}

function verifyElf(addon, maxGlibc) {
	const dynamic = run('readelf', ['-dW', addon])
	const needed = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name)
	complain('needs libraries that not every machine has', refused(needed, SYSTEM_LIBRARIES))
	if (/\((RPATH|RUNPATH)\)/.test(dynamic)) throw new Error('the module looks for libraries where it was built')
	note(`needs ${needed.join(', ')}`)

	const symbols = lines(run('nm', ['-D', '--defined-only', addon])).map((line) => line.split(' ').at(-1))
	complain('shows symbols of its inside', refused(symbols, ENTRY_POINTS))
	note(`shows ${symbols.join(', ')}`)

	const versions = [...run('readelf', ['-VW', addon]).matchAll(/\bGLIBC_(\d+(?:\.\d+)+)/g)].map(
		([, version]) => version,
	)
	const highest = versions.sort(compareVersions).at(-1)
	// glibc's symbols carry a version; one without is of a library that was not linked, and Node may well have it.
	const wanted = lines(run('nm', ['-D', '--undefined-only', addon])).filter((line) => / U [^@]+$/.test(line))
	if (highest) complain('would take symbols from whatever process it is in', wanted)
	note(highest ? `needs glibc ${highest} or newer` : 'needs no glibc')
	if (maxGlibc && highest && compareVersions(highest, maxGlibc) > 0)
		throw new Error(`the module needs glibc ${highest}, and is to run with ${maxGlibc}`)
}

function verifyMachO(addon) {
	const needed = lines(run('otool', ['-L', addon]))
		.slice(1)
		.map((line) => line.trim().split(' ')[0])
	const own = (name) => name.endsWith('libflowcraft_kafka_adapter.dylib')
	complain(
		'needs libraries that not every machine has',
		refused(needed, /^\/(usr\/lib|System)\//).filter((name) => !own(name)),
	)
	const symbols = lines(run('nm', ['-gU', addon])).map((line) => line.split(' ').at(-1))
	complain('shows symbols of its inside', refused(symbols, ENTRY_POINTS))
	note(`needs ${needed.join(', ')}; shows ${symbols.join(', ')}`)
}

function refused(names, allowed) {
	return names.filter((name) => !allowed.test(name))
}

function complain(problem, names) {
	if (names.length > 0) throw new Error(`the module ${problem}: ${names.slice(0, 10).join(', ')} (${names.length})`)
}

function compareVersions(left, right) {
	return left.localeCompare(right, 'en', { numeric: true })
}

/**
 * Packs what npm would of `folder`, with another package.json.
 *
 * @returns {string[]} the files
 */
function pack(folder, manifest, out) {
	const stage = mkdtempSync(join(tmpdir(), 'flowcraft-pack-'))
	try {
		const files = npmPack(folder, ['--dry-run']).files.map(({ path }) => path)
		for (const path of files) {
			mkdirSync(dirname(join(stage, path)), { recursive: true })
			copyFileSync(join(folder, path), join(stage, path))
		}
		writeFileSync(join(stage, 'package.json'), `${JSON.stringify(withRepository(manifest), null, 2)}\n`)
		const { filename, size, unpackedSize } = npmPack(stage, ['--pack-destination', out])
		note(`${join(out, filename)}: ${size} bytes, unpacked ${unpackedSize}, ${files.length} files`)
		return files
	} finally {
		rmSync(stage, { recursive: true, force: true })
	}
}

/** npm publishes with provenance only what names the repository that the workflow runs in. */
function withRepository(manifest) {
	const { GITHUB_SERVER_URL, GITHUB_REPOSITORY } = process.env
	if (!GITHUB_SERVER_URL || !GITHUB_REPOSITORY) return manifest
	return { ...manifest, repository: { type: 'git', url: `git+${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}.git` } }
}

function npmPack(folder, flags) {
	const args = ['pack', '--json', '--ignore-scripts', ...flags]
	const { npm_execpath: npm } = process.env
	const output = npm?.endsWith('npm-cli.js')
		? run(process.execPath, [npm, ...args], { cwd: folder })
		: run('npm', args, { cwd: folder, shell: process.platform === 'win32' })
	// A list, or an object by name, as npm's version has it.
	return Object.values(JSON.parse(output))[0]
}

function run(file, args, options = {}) {
	const { status, stdout, stderr, error } = spawnSync(file, args, {
		cwd: ROOT,
		encoding: 'utf8',
		maxBuffer: 2 ** 28,
		...options,
	})
	if (error) throw new Error(`${file} could not be run (${error.code})`, { cause: error })
	if (status !== 0) throw new Error(`${file} ${args.join(' ')} failed${stderr ? `:\n${stderr.trim()}` : ''}`)
	return stdout
}

function lines(text) {
	return text.split('\n').filter(Boolean)
}

function megabytes(path) {
	return (statSync(path).size / 1e6).toFixed(1)
}

function note(line) {
	console.log(`[package] ${line}`)
}

try {
	main()
} catch (error) {
	console.error(`[package] ${error.message}`)
	process.exitCode = 1
}
