/** How the native module is found, and what is said where it is not. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'

const source = fileURLToPath(new URL('../../src/js', import.meta.url))
const binary = readdirSync(source).find((name) => name.endsWith('.node'))
const folders = []

/** A copy of the loader alone, in a package of its own. */
const loaderAlone = () => {
	const root = mkdtempSync(join(tmpdir(), 'adapter-loader-'))
	folders.push(root)
	const folder = join(root, 'node_modules/@flowcraft/kafka-adapter/src/js')
	mkdirSync(folder, { recursive: true })
	for (const file of ['native.js', 'errors.js']) cpSync(join(source, file), join(folder, file))
	writeFileSync(join(root, 'node_modules/@flowcraft/kafka-adapter/package.json'), '{"type":"module"}')
	return { folder, scope: join(root, 'node_modules/@flowcraft') }
}

const load = async (folder) => (await import(pathToFileURL(join(folder, 'native.js')))).getNative()
const names = (module) => Object.keys(module).toSorted()
const CLASSES = ['NativeCassandra', 'NativeRedis', 'NativeWorker']

after(() => {
	for (const folder of folders) rmSync(folder, { recursive: true })
})

describe('the native module', () => {
	it('is the build that lies beside the loader', async () => {
		const { folder } = loaderAlone()
		cpSync(join(source, binary), join(folder, binary))
		assert.deepEqual(names(await load(folder)), CLASSES)
	})

	it('is the package of this platform', async () => {
		const { folder, scope } = loaderAlone()
		const triple = binary.slice('kafka-adapter.'.length, -'.node'.length)
		const platform = join(scope, `kafka-adapter-${triple}`)
		mkdirSync(platform)
		cpSync(join(source, binary), join(platform, binary))
		writeFileSync(
			join(platform, 'package.json'),
			JSON.stringify({ name: `@flowcraft/kafka-adapter-${triple}`, main: binary }),
		)
		assert.deepEqual(names(await load(folder)), CLASSES)
	})

	it('loads in a worker thread', async () => {
		const code = `
			const { parentPort, workerData } = require('node:worker_threads')
			import(workerData).then(({ getNative }) => parentPort.postMessage(Object.keys(getNative())))`
		const worker = new Worker(code, { eval: true, workerData: pathToFileURL(join(source, 'native.js')).href })
		const found = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
		await worker.terminate()
		assert.deepEqual(found.toSorted(), CLASSES)
	})

	it('is not loaded before something native is used', () => {
		const program = `
			import { KafkaAdapter } from ${JSON.stringify(pathToFileURL(join(source, 'index.js')).href)}
			const logger = { debug() {}, info() {}, warn() {}, error() {} }
			const adapter = new KafkaAdapter({
				kafka: { producer: () => ({}), consumer: () => ({}) }, cassandraClient: { execute() {} },
				coordinationStore: {}, keyspace: 'k', contextTableName: 'c', statusTableName: 's', runtimeOptions: { logger },
			})
			adapter.createContext('run')
			process.exitCode = process.report.getReport().sharedObjects.some((name) => name.includes('kafka-adapter.')) ? 1 : 0`
		execFileSync(process.execPath, ['--input-type=module', '-e', program])
	})
})

describe('where no native module loads', () => {
	const failure = async (folder) => {
		try {
			await load(folder)
		} catch (error) {
			return error
		}
		return assert.fail('it loaded')
	}

	it('the error names platform, libc, Node, what was tried, and the fix', async () => {
		const { folder } = loaderAlone()
		const { name, code, message } = await failure(folder)
		assert.deepEqual([name, code], ['KafkaAdapterError', 'ERR_NATIVE_LOAD'])
		assert.ok(message.includes(`on ${process.platform} ${process.arch} (`), message)
		if (process.platform === 'linux') assert.match(message, /\((glibc 2\.\d+|musl)\)/)
		assert.ok(message.includes(`Node ${process.version}`))
		assert.match(message, /kafka-adapter\..*\.node: no such file; @flowcraft\/kafka-adapter-.*: Cannot find module/)
		assert.match(message, /Install @flowcraft\/kafka-adapter-.* or build it with "npm run build"$/)
	})

	it('the error repeats what the system said about a file that does not load', async () => {
		const { folder } = loaderAlone()
		writeFileSync(join(folder, binary), 'this is no library')
		const { message } = await failure(folder)
		assert.match(message, /\.node: .*(file too short|invalid ELF header|not a mach-o file|not a valid Win32)/i)
	})

	it('the fix fits a package that is there and does not load', async () => {
		const platform = (/** @type {(file: string) => void} */ fill) => {
			const { folder, scope } = loaderAlone()
			const triple = binary.slice('kafka-adapter.'.length, -'.node'.length)
			const home = join(scope, `kafka-adapter-${triple}`)
			mkdirSync(home)
			writeFileSync(join(home, 'package.json'), JSON.stringify({ main: binary }))
			fill(join(home, binary))
			return failure(folder)
		}
		const damaged = await platform((file) => writeFileSync(file, 'x'))
		const missing = await platform(() => {})
		for (const { message } of [damaged, missing]) {
			assert.doesNotMatch(message, /Install @flowcraft/)
			assert.match(message, /The file is damaged.*remove node_modules.*"npm run build"$/)
		}
	})

	it('the fix is for what the system said', async () => {
		const said = {
			"/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by x.node)": /C library is older/,
			'Error relocating x.node: __res_init: symbol not found': /another C library \(glibc or musl\)/,
			'libfoo.so.1: cannot open shared object file: No such file or directory': /library of the system .* is missing/,
			'dlopen(x.node, 1): mach-o file, but is an incompatible architecture': /another processor/,
			'x.node: failed to map segment from shared object': /refuses to load it/,
			'something else entirely': /the system does not load it: remove node_modules/,
		}
		for (const [text, fix] of Object.entries(said)) {
			const { folder, scope } = loaderAlone()
			const triple = binary.slice('kafka-adapter.'.length, -'.node'.length)
			const home = join(scope, `kafka-adapter-${triple}`)
			mkdirSync(home)
			writeFileSync(join(home, 'package.json'), JSON.stringify({ main: 'index.cjs' }))
			writeFileSync(
				join(home, 'index.cjs'),
				`throw Object.assign(new Error(${JSON.stringify(text)}), { code: 'ERR_DLOPEN_FAILED' })`,
			)
			const { message } = await failure(folder)
			assert.ok(message.includes(text), message)
			assert.match(message.split(text)[1], fix)
			assert.doesNotMatch(message, /Install @flowcraft/)
		}
	})

	it('another attempt is made at the next use', async () => {
		const { folder } = loaderAlone()
		await failure(folder)
		cpSync(join(source, binary), join(folder, binary))
		assert.deepEqual(names(await load(folder)), CLASSES)
	})
})
