/**
 * Finds and loads the native module, on first use, so that programs which only touch mocks need no binary.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { Code, KafkaAdapterError, messageOf } from './errors.js'

/**
 * The shapes below are the contract of docs/bridge.md.
 *
 * @typedef {import('./errors.js').Failure} Failure
 * @typedef {[kind: number, ...rest: unknown[]]} BridgeEvent
 *
 * @typedef {object} NativeWorker
 * @property {(text: string, layout: Uint32Array) => void} turn
 * @property {(handle: number, code: string, reason: string, status: string | null) => void} refuse
 * @property {(handle: number, token: number) => void} commandDone
 * @property {(handle: number, token: number, code: string, reason: string) => void} refuseCommand
 * @property {(handle: number) => void} refresh
 * @property {() => string | null} timersMissing
 * @property {(keys: string[]) => void} versions
 * @property {(runId: string, command: string) => Promise<void | Failure>} sendCommand
 * @property {(requestId: number, error: string | null, result: string | null) => void} reply
 * @property {() => Promise<void | Failure>} start
 * @property {(deadlineMs: number) => Promise<string | Failure>} stop the report, JSON
 * @property {() => string | null} health JSON; `null` before the engine is up
 * @property {(handle: number) => void} drained
 * @property {() => void} alive
 * @property {(runId: string, blueprintId: string, nodeId: string) => Promise<void | Failure>} enqueue
 * @property {(runId: string, blueprintId: string, nodeId: string, command?: string) => Promise<void | Failure>} submit
 *
 * @typedef {object} NativeCassandra
 * @property {(table: string, runId: string) => Promise<string | null | Failure>} readContext
 * @property {(table: string, runId: string, text: string, keepCheckpoint: boolean) => Promise<void | Failure>} writeContext
 * @property {(table: string) => Promise<boolean | Failure>} hasEntries
 * @property {(table: string, runId: string, keys: string[] | null) => Promise<string[] | Failure>} readKeys key, raw, ...
 * @property {(table: string, runId: string, changes: string[]) => Promise<void | Failure>} writeKeys key, raw or "", ...
 * @property {(planJson: string) => Promise<string | Failure>} ensureSchema JSON `{layout, statements}`
 * @property {(table: string, runId: string) => Promise<void | Failure>} touchStatus
 * @property {(table: string, runId: string) => Promise<void | Failure>} sent
 * @property {(table: string, runId: string, status: string, statusData: string) => Promise<void | Failure>} publishStatus
 * @property {(table: string, runId: string) => Promise<string | null | Failure>} readStatus JSON `{status, statusData}`
 * @property {(table: string, status: string, beforeMs: number, page: string | null) =>
 *   Promise<{ runs: string[], next: string | null } | Failure>} stalledPage
 * @property {(table: string) => Promise<boolean | Failure>} hasIndex
 * @property {(table: string, beforeMs: number, page: string | null) =>
 *   Promise<{ runs: string[], next: string | null } | Failure>} indexedPage
 * @property {(table: string) => Promise<number | null | Failure>} lastFullSearch milliseconds since the epoch
 * @property {(table: string, beganMs: number) => Promise<void | Failure>} noteFullSearch
 * @property {(table: string, page: string | null) => Promise<{ runs: string[], next: string | null } | Failure>} contextPage
 * @property {(contexts: string, statuses: string, retentionSeconds: number) => Promise<number | Failure>} checkSweep
 *   milliseconds since the epoch before which runs must have ended
 * @property {(statuses: string, beforeMs: number, page: string | null) =>
 *   Promise<{ runs: string[], rows: number, next: string | null } | Failure>} endedPage
 * @property {(contexts: string, statuses: string, runId: string, beforeMs: number) =>
 *   Promise<'deleted' | 'kept' | 'gone' | Failure>} sweepRun
 * @property {(from: string, to: string, runId: string, mode: 'look' | 'copy' | 'move') =>
 *   Promise<'gone' | 'same' | 'copied' | 'stale' | Failure>} copyRun
 * @property {() => Promise<void | Failure>} close
 *
 * @typedef {object} NativeRedis
 * @property {(key: string, ttl: number) => Promise<number | Failure>} increment
 * @property {(key: string, value: string, ttl: number) => Promise<boolean | Failure>} setIfNotExist
 * @property {(key: string) => Promise<void | Failure>} delete
 * @property {(key: string, ttl: number) => Promise<boolean | Failure>} extendTtl
 * @property {(key: string) => Promise<string | null | Failure>} get
 * @property {() => Promise<void | Failure>} close
 *
 * @typedef {object} NativeModule
 * @property {new (configJson: string, onBatch: (events: BridgeEvent[]) => void) => NativeWorker} NativeWorker
 * @property {{ connect(settingsJson: string): Promise<NativeCassandra | Failure>,
 *   schemaStatements(planJson: string): string[] | Failure }} NativeCassandra
 * @property {{ connect(settingsJson: string): Promise<NativeRedis | Failure> }} NativeRedis
 */

const require = createRequire(import.meta.url)
const RELEASED = [
	'linux-x64-gnu',
	'linux-arm64-gnu',
	'linux-x64-musl',
	'linux-arm64-musl',
	'darwin-x64',
	'darwin-arm64',
	'win32-x64-msvc',
]

/** @returns {string | undefined} version of glibc, `undefined` with musl */
const glibcVersion = () => {
	/** @type {{ excludeNetwork?: boolean, getReport(): object }} */
	const report = process.report
	const before = report.excludeNetwork
	// Without this the report resolves the name of every open socket's peer, which can take seconds.
	report.excludeNetwork = true
	const { header } = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (report.getReport())
	report.excludeNetwork = before
	return header?.glibcVersionRuntime
}

/** @returns {{ triple: string, libc: string }} */
const describePlatform = () => {
	const { platform, arch } = process
	if (platform === 'win32') return { triple: `win32-${arch}-msvc`, libc: 'msvc' }
	if (platform !== 'linux') return { triple: `${platform}-${arch}`, libc: 'system' }
	const glibc = glibcVersion()
	return glibc
		? { triple: `linux-${arch}-gnu`, libc: `glibc ${glibc}` }
		: { triple: `linux-${arch}-musl`, libc: 'musl' }
}

/** Where a build on this machine lies. */
export const localBuild = ({ triple } = describePlatform()) =>
	fileURLToPath(new URL(`./kafka-adapter.${triple}.node`, import.meta.url))

/**
 * Why a candidate was of no use: it is not there, or (`broken`) it is and does not load.
 * @typedef {{ text: string, broken?: string }} Miss
 */

/**
 * @param {string} candidate path or package name
 * @param {Miss[]} failures
 * @returns {NativeModule | undefined}
 */
const attempt = (candidate, failures) => {
	try {
		return require(candidate)
	} catch (error) {
		const said = messageOf(error).split('\n')[0]
		const isAbsent = Reflect.get(Object(error), 'code') === 'MODULE_NOT_FOUND' && said.includes(`'${candidate}'`)
		failures.push({ text: `${candidate}: ${said}`, ...(isAbsent ? {} : { broken: said }) })
		return undefined
	}
}

const BUILD = 'build it here with "npm run build"'
const REINSTALL = 'remove node_modules, run "npm install" on this system, or '

/** What systems say of a library that is there and does not load, and what helps. @type {[RegExp, string][]} */
const CAUSES = [
	[
		/version `?(?:GLIBC|GLIBCXX|CXXABI)_\S+ not found/,
		`This system's C library is older than the module needs: use a newer system or container image, or ${BUILD}`,
	],
	[
		/Error relocating|ld-(?:linux|musl)|libc\.musl|libc\.so\.6/,
		`The module was made for another C library (glibc or musl) than this Node uses: ${REINSTALL}${BUILD}`,
	],
	[
		/cannot open shared object file|Library not loaded|The specified module could not be found/,
		`A library of the system that the module needs is missing: install the one that is named, or ${BUILD}`,
	],
	[
		/wrong ELF class|incompatible architecture|not a valid Win32/,
		`The module was made for another processor, which happens when node_modules is copied between systems: ${REINSTALL}${BUILD}`,
	],
	[
		/invalid ELF header|file too short|cannot read file data|not a mach-o|truncated|Cannot find module/i,
		`The file is damaged, incomplete or made for another system: ${REINSTALL}${BUILD}`,
	],
	[
		/Operation not permitted|Permission denied|failed to map segment|code signature/i,
		`The system refuses to load it: allow this user to read the file, and programs to run from where it lies (no "noexec")`,
	],
]

/** @param {string} said */
const fixForBroken = (said) =>
	CAUSES.find(([sign]) => sign.test(said))?.[1] ??
	`The file is there and the system does not load it: ${REINSTALL}${BUILD}`

/** @param {string} triple */
const fixForAbsent = (triple) =>
	RELEASED.includes(triple)
		? `Install @flowcraft/kafka-adapter-${triple} in the version of @flowcraft/kafka-adapter ` +
			'(npm leaves it out with --omit=optional, or when node_modules was copied from another system), ' +
			'or build it with "npm run build"'
		: `There is no ready binary for ${triple} (there are: ${RELEASED.join(', ')}); build it with "npm run build"`

/** @returns {NativeModule} */
const load = () => {
	const { triple, libc } = describePlatform()
	/** @type {Miss[]} */
	const failures = []
	const local = localBuild({ triple, libc })
	const isBuilt = existsSync(local)
	const found =
		(isBuilt ? attempt(local, failures) : undefined) ?? attempt(`@flowcraft/kafka-adapter-${triple}`, failures)
	if (found) return found
	if (!isBuilt) failures.unshift({ text: `${local}: no such file` })
	// What is there and does not load says more than what is not there.
	const broken = failures.findLast((failure) => failure.broken)?.broken
	throw new KafkaAdapterError(
		Code.NativeLoad,
		`no native module of @flowcraft/kafka-adapter loads on ${process.platform} ${process.arch} (${libc}), ` +
			`Node ${process.version}. Tried: ${failures.map(({ text }) => text).join('; ')}. ` +
			(broken ? fixForBroken(broken) : fixForAbsent(triple)),
	)
}

/** @type {NativeModule | undefined} */
let current

/** @returns {NativeModule} loaded at the first call; a failure is tried again at the next */
export const getNative = () => (current ??= load())

/**
 * Puts another implementation of the bridge in place of the binary; `undefined` goes back to it. Not reachable
 * through the package's exports.
 *
 * @param {NativeModule | undefined} module
 */
export const setNative = (module) => {
	current = module
}
