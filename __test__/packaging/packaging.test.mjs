/**
 * The two tarballs of `npm run package`, in projects of users: what is in them, what compiles and runs with them, and what
 * is said where they cannot.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { localBuild } from '../../src/js/native.js'
import { openCluster } from '../support/cluster.mjs'
import { Project, ROOT, tarballs } from './project.mjs'

const NAME = '@flowcraft/kafka-adapter'
const TRIPLE = localBuild().split('.').at(-2)
const BINARY = `node_modules/${NAME}-${TRIPLE}/kafka-adapter.${TRIPLE}.node`
const CLIENTS = ['kafkajs', 'cassandra-driver', 'ioredis']
const TOOLS = ['flowcraft@2.10.1', 'typescript@5', '@types/node@20']
const SOURCES = ['tsconfig.json', 'runs.ts', 'worker-settings.ts']
/** Time for the process to end once `stop()` has; a connection or a timer left open would take for ever. */
const EXIT_MS = 5_000

const readJson = (/** @type {string[]} */ ...path) => JSON.parse(readFileSync(join(ROOT, ...path), 'utf8'))
const root = readJson('package.json')
const triples = readdirSync(join(ROOT, 'npm')).sort()
const out = mkdtempSync(join(tmpdir(), 'flowcraft-packages-'))
const command = promisify(execFile)

/** @type {string[]} */
let packages
/** What `npm run package` has said. */
let said = ''
/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let place
/** @type {Project[]} */
const projects = []

before(async () => {
	const script = ['scripts/package.mjs', '--no-build', '--out', out]
	said = (await command(process.execPath, script, { cwd: ROOT })).stdout
	packages = tarballs(out)
	cluster = await openCluster()
	place = await cluster.place({ name: 'packaging' })
})

after(async () => {
	await cluster?.close()
	for (const project of projects) project.remove()
	rmSync(out, { recursive: true, force: true })
})

/** @param {string[]} [sources] */
function newProject(sources) {
	const project = new Project(sources)
	projects.push(project)
	return project
}

/** @param {string} name */
async function contents(name) {
	const tarball = packages.find((path) => path.includes(name))
	assert.ok(tarball, name)
	const list = (await command('tar', ['-tzf', tarball])).stdout.split('\n').filter(Boolean)
	const manifest = JSON.parse((await command('tar', ['-xzOf', tarball, 'package/package.json'])).stdout)
	return { files: list.map((path) => path.replace(/^package\//, '')).sort(), manifest }
}

/** @param {string} name @param {string} path */
async function fileOf(name, path) {
	const tarball = packages.find((found) => found.includes(name))
	assert.ok(tarball, name)
	return (await command('tar', ['-xzOf', tarball, `package/${path}`], { maxBuffer: 2 ** 24 })).stdout
}

/** Runs a worker program on the services and holds its report against what it has to be. @param {Project} project */
async function workerRuns(project, /** @type {string} */ program) {
	const { keyspace, topic, group } = place
	const { brokers, contactPoints, localDataCenter, redisUrl } = cluster
	const { report, exitedAt } = await project.run(program, {
		KAFKA_BROKERS: brokers.join(','),
		CASSANDRA_CONTACT_POINTS: contactPoints.join(','),
		CASSANDRA_DATACENTER: localDataCenter,
		REDIS_URL: redisUrl,
		TOPIC: topic,
		GROUP: group,
		KEYSPACE: keyspace,
	})
	const expected = Array.from({ length: 20 }, (_, index) => {
		const text = `HELLO, RUN ${index}`
		return `completed: ${text} ${text.length}`
	})
	assert.deepEqual(report.results, expected)
	assert.deepEqual(report.addons, [project.path(BINARY)])
	assert.ok(exitedAt - report.stoppedAt < EXIT_MS, `ended ${exitedAt - report.stoppedAt} ms after stop()`)
}

describe('the packages', () => {
	test('all versions agree', () => {
		const { version } = root
		assert.match(readFileSync(join(ROOT, 'Cargo.toml'), 'utf8'), new RegExp(`^version = "${version}"$`, 'm'))
		assert.equal(readJson('package-lock.json').version, version)
		for (const triple of triples) assert.equal(readJson('npm', triple, 'package.json').version, version, triple)
	})

	test('there is one for each target of napi, for its platform alone', () => {
		const libcs = { gnu: ['glibc'], musl: ['musl'] }
		const systems = { linux: 'linux', darwin: 'darwin', windows: 'win32' }
		const expected = root.napi.targets.map((/** @type {string} */ target) => {
			const [arch, , system, abi] = target.split('-')
			const os = systems[/** @type {keyof typeof systems} */ (system)]
			const cpu = arch === 'x86_64' ? 'x64' : 'arm64'
			return { triple: [os, cpu, abi].filter(Boolean).join('-'), os: [os], cpu: [cpu], libc: libcs[abi] }
		})
		const actual = triples.map((triple) => {
			const { name, main, files, os, cpu, libc, engines } = readJson('npm', triple, 'package.json')
			assert.equal(name, `${NAME}-${triple}`)
			assert.equal(main, `kafka-adapter.${triple}.node`)
			assert.deepEqual(files, [main, 'THIRD-PARTY-LICENSES'])
			assert.deepEqual(engines, root.engines)
			return { triple, os, cpu, libc }
		})
		const byTriple = (/** @type {{ triple: string }} */ left, /** @type {{ triple: string }} */ right) =>
			left.triple < right.triple ? -1 : 1
		assert.deepEqual(actual, expected.sort(byTriple))
	})

	test('carry the licence', () => {
		const licence = readFileSync(join(ROOT, 'LICENSE'), 'utf8')
		for (const triple of triples) assert.equal(readFileSync(join(ROOT, 'npm', triple, 'LICENSE'), 'utf8'), licence)
	})

	test('the lock file names neither a registry nor a platform package', () => {
		// docs/packaging.md: `npm ci` refuses a lock file over optional dependencies that are not published yet.
		const lock = readFileSync(join(ROOT, 'package-lock.json'), 'utf8')
		assert.doesNotMatch(lock, /"resolved": "https?:/)
		for (const triple of triples) assert.ok(!lock.includes(`${NAME}-${triple}`))
		assert.equal(root.optionalDependencies, undefined)
	})

	test('the package holds the glue and the types, and asks for every platform in its own version', async () => {
		const { files, manifest } = await contents(`kafka-adapter-${root.version}`)
		const other = files.filter((path) => !/^src\/js\/[\w/-]+\.js$/.test(path))
		const present = ['CHANGELOG.md', 'LICENSE', 'README.md', 'index.d.ts', 'package.json']
		assert.deepEqual(
			other,
			present.filter((path) => existsSync(join(ROOT, path))),
		)
		const asked = triples.map((triple) => [`${NAME}-${triple}`, root.version])
		assert.deepEqual(manifest.optionalDependencies, Object.fromEntries(asked))
		for (const field of ['dependencies', 'devDependencies', 'scripts']) assert.equal(manifest[field], undefined, field)
	})

	test('the platform package holds the binary and its licences, and runs no script', async () => {
		const { files, manifest } = await contents(`kafka-adapter-${TRIPLE}`)
		const binary = `kafka-adapter.${TRIPLE}.node`
		assert.deepEqual(files, ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES', binary, 'package.json'])
		for (const field of ['dependencies', 'scripts']) assert.equal(manifest[field], undefined, field)
	})

	test('the licences are those of every crate in the binary, and of the C libraries that crates carry', async () => {
		const text = await fileOf(`kafka-adapter-${TRIPLE}`, 'THIRD-PARTY-LICENSES')
		const [list, ...texts] = text.split(/^=+$/m)
		const parts = [...list.matchAll(/^- (\S+) \S+: (.+)$/gm)].map(([, name]) => name)
		for (const name of [
			'rdkafka',
			'rdkafka-sys',
			'scylla',
			'redis',
			'openssl',
			'openssl-src',
			'tokio',
			'napi',
			'serde',
		]) {
			assert.ok(parts.includes(name), name)
			assert.ok(
				texts.some((heads) => new RegExp(`^${name} \\d`, 'm').test(heads)),
				`the text of ${name}'s licence`,
			)
		}
		for (const name of ['proptest', 'napi-build', 'flowcraft-kafka-adapter']) assert.ok(!parts.includes(name), name)
		/** What is said under a head. @param {RegExp} head */
		const under = (head) => texts[texts.findIndex((part) => head.test(part)) + 1]
		assert.match(under(/^OpenSSL \(in openssl-src/m), /Apache License\s+Version 2\.0/)
		assert.match(under(/^librdkafka \(in rdkafka-sys/m), /Magnus Edenhill[\s\S]*LZ4/i)
		assert.match(under(/^zlib \(in libz-sys/m), /Jean-loup Gailly/)
		assert.match(under(/^zstd \(in zstd-sys/m), /Meta Platforms|Facebook/)
	})

	test(
		'the binary shows nothing but its entry point, and needs no OpenSSL, zlib or SASL',
		{
			skip: process.platform === 'linux' ? false : 'the ELF tools are for Linux',
		},
		() => {
			assert.match(said, /^\[package\] shows napi_register_module_v1$/m)
			assert.match(said, /^\[package\] needs lib[^\n]*libc/m)
			assert.doesNotMatch(said, /needs[^\n]*lib(ssl|crypto|z|sasl2|zstd)\./)
		},
	)
})

describe('a TypeScript project without kafkajs, cassandra-driver, ioredis and Rust', () => {
	/** @type {Project} */
	let project

	before(async () => {
		project = newProject(SOURCES)
		await project.install(...packages, ...TOOLS)
	})

	test('has none of them', async () => {
		assert.deepEqual(await project.importable([...CLIENTS, 'flowcraft', NAME]), ['flowcraft', NAME])
		for (const tool of ['cargo', 'rustc']) await assert.rejects(command(tool, ['-V'], { env: project.env }), /ENOENT/)
	})

	test('compiles, and its worker completes its runs from plain settings and ends', async () => {
		await project.compile()
		await workerRuns(project, 'out/worker-settings.js')
	})

	test('compiles with the three, and its worker completes its runs from their instances and ends', async () => {
		const versions = CLIENTS.map((name) => `${name}@${root.devDependencies[name]}`)
		await project.install(...versions)
		cpSync(join(import.meta.dirname, 'project/worker-clients.ts'), project.path('worker-clients.ts'))
		await project.compile()
		await workerRuns(project, 'out/worker-clients.js')
	})
})

describe('a project that listed the JavaScript package alone', () => {
	test('keeps flowcraft, is told which client is missing, and works once it lists the three', async () => {
		const project = newProject(['runs.ts', 'worker-clients.ts'])
		await project.install(`${NAME}@1.4.4`)
		assert.deepEqual(await project.importable(['flowcraft', ...CLIENTS]), ['flowcraft', ...CLIENTS])

		await project.install(...packages)
		assert.deepEqual(await project.importable(['flowcraft', ...CLIENTS]), ['flowcraft'])
		await project.transpile()
		await assert.rejects(project.run('out/worker-clients.js'), /Cannot find package 'cassandra-driver'/)

		await project.install('kafkajs@2', 'cassandra-driver@4', 'ioredis@5')
		await workerRuns(project, 'out/worker-clients.js')
	})
})

describe('where no binary fits', () => {
	const START = `
		import { KafkaAdapter } from '${NAME}'
		try {
			await new KafkaAdapter({ backend: 'embedded', runtimeOptions: {} }).start()
			console.log('started')
		} catch ({ code, message }) {
			console.log(JSON.stringify({ code, message }))
		}`

	/** @type {Project} */
	let installed

	before(async () => {
		installed = newProject()
		await installed.install(...packages, 'flowcraft@2.10.1')
	})

	/**
	 * What the loader says in a project whose platform package is as `change` leaves it.
	 *
	 * @param {(project: Project) => void} change
	 * @param {string} [arch] what Node takes this machine for
	 */
	async function refusal(change, arch = process.arch) {
		const project = newProject()
		cpSync(installed.path('node_modules'), project.path('node_modules'), { recursive: true })
		change(project)
		project.write('preset.mjs', `Object.defineProperty(process, 'arch', { value: '${arch}' })`)
		project.write('start.mjs', `import './preset.mjs'\n${START}`)
		const { output } = await project.run('start.mjs')
		const line = output.split('\n').find((text) => text.startsWith('{'))
		assert.ok(line, output)
		const { code, message } = JSON.parse(line)
		assert.equal(code, 'ERR_NATIVE_LOAD')
		assert.ok(message.includes(`${process.platform} ${arch} (`), message)
		return message
	}

	const libc = process.platform === 'linux' ? /\((glibc \d+\.\d+|musl)\), Node v/ : /Node v/

	test('the package that is missing is named', async () => {
		const message = await refusal((project) => rmSync(project.path(BINARY, '..'), { recursive: true }))
		assert.match(message, libc)
		assert.ok(message.includes(`Cannot find module '${NAME}-${TRIPLE}'`), message)
		assert.ok(message.includes(`Install ${NAME}-${TRIPLE}`), message)
		assert.match(message, /--omit=optional/)
	})

	test('what the loader of the system says of a corrupt file is passed on', async () => {
		const message = await refusal((project) => project.write(BINARY, 'this is no library'.repeat(500)))
		assert.match(message, libc)
		assert.match(message, /invalid ELF header|not a mach-o file|not a valid Win32 application/i)
		assert.match(message, /remove node_modules/)
		assert.doesNotMatch(message, /Install @flowcraft/)
	})

	test('what the loader of the system says of a file that was cut off is passed on', async () => {
		const message = await refusal((project) => {
			const whole = readFileSync(project.path(BINARY))
			project.write(BINARY, whole.subarray(0, 100))
		})
		assert.match(message, /cannot read file data|file too short|truncated|not a valid Win32 application/i)
		assert.match(message, /remove node_modules/)
	})

	test(
		'a glibc that is too old is named',
		{
			skip: TRIPLE?.endsWith('-gnu') ? false : 'this platform has no glibc',
		},
		async () => {
			const message = await refusal((project) => {
				const bytes = readFileSync(project.path(BINARY)).toString('latin1')
				const changed = bytes.replace(/\0GLIBC_2\.(\d\d)\0/, '\0GLIBC_9.$1\0')
				assert.notEqual(changed, bytes)
				project.write(BINARY, Buffer.from(changed, 'latin1'))
			})
			assert.match(message, /version `GLIBC_9\.\d\d' not found/)
			assert.match(message, /C library is older than the module needs/)
			assert.doesNotMatch(message, /Install @flowcraft/)
		},
	)

	test('the platforms that have one are listed where this is none of them', async () => {
		const message = await refusal(() => {}, 'riscv64')
		const listed = /there are: ([^)]+)\)/.exec(message)?.[1].split(', ')
		assert.deepEqual(listed?.sort(), triples)
	})
})
