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
 * @property {(handle: number, dueJson: string) => void} opened
 * @property {(handle: number, code: string, reason: string, status: string | null) => void} refuse
 * @property {(handle: number, seq: number, changes: string[], checkpoint: string, done: number[], dueJson: string,
 *   outcomeJson: string | null, extrasJson?: string) => void} step
 * @property {(handle: number, token: number) => void} commandDone
 * @property {(handle: number, token: number, code: string, reason: string) => void} refuseCommand
 * @property {() => string | null} timersMissing
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
 * @property {(table: string, runId: string, text: string) => Promise<void | Failure>} writeContext
 * @property {(table: string, runId: string) => Promise<void | Failure>} touchStatus
 * @property {(table: string, runId: string, status: string, statusData: string) => Promise<void | Failure>} publishStatus
 * @property {(table: string, runId: string) => Promise<string | null | Failure>} readStatus JSON `{status, statusData}`
 * @property {(table: string, status: string, beforeMs: number, page: string | null) =>
 *   Promise<{ runs: string[], next: string | null } | Failure>} stalledPage
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
 * @property {{ connect(settingsJson: string): Promise<NativeCassandra | Failure> }} NativeCassandra
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
 * @param {string} candidate path or package name
 * @param {string[]} failures collects why each candidate was of no use
 * @returns {NativeModule | undefined}
 */
const attempt = (candidate, failures) => {
	try {
		return require(candidate)
	} catch (error) {
		failures.push(`${candidate}: ${messageOf(error).split('\n')[0]}`)
		return undefined
	}
}

/** @param {string} triple */
const fixFor = (triple) =>
	RELEASED.includes(triple)
		? `Install @flowcraft/kafka-adapter-${triple} in the version of @flowcraft/kafka-adapter ` +
			'(npm leaves it out with --omit=optional, or when node_modules was copied from another system), ' +
			'or build it with "npm run build"'
		: `There is no ready binary for ${triple} (there are: ${RELEASED.join(', ')}); build it with "npm run build"`

/** @returns {NativeModule} */
const load = () => {
	const { triple, libc } = describePlatform()
	/** @type {string[]} */
	const failures = []
	const local = localBuild({ triple, libc })
	const found =
		(existsSync(local) ? attempt(local, failures) : undefined) ??
		attempt(`@flowcraft/kafka-adapter-${triple}`, failures)
	if (found) return found
	if (!existsSync(local)) failures.unshift(`${local}: no such file`)
	throw new KafkaAdapterError(
		Code.NativeLoad,
		`no native module of @flowcraft/kafka-adapter loads on ${process.platform} ${process.arch} (${libc}), ` +
			`Node ${process.version}. Tried: ${failures.join('; ')}. ${fixFor(triple)}`,
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
