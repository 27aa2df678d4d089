/** The public types where the client packages are not, and against every version of them that is supported. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const tsc = join(root, 'node_modules/typescript/bin/tsc')

const compile = async (project) => {
	try {
		await promisify(execFile)(process.execPath, [tsc, '-p', project])
		return ''
	} catch (error) {
		return error.stdout || String(error)
	}
}

const PROGRAM = `
import { CassandraContext, createKafkaReconciler, KafkaAdapter, RedisCoordinationStore } from '@flowcraft/kafka-adapter'

const adapter = new KafkaAdapter({
	brokers: 'a:9092',
	cassandraClient: { contactPoints: ['a'], localDataCenter: 'dc1' },
	coordinationStore: new RedisCoordinationStore('redis://a'),
	keyspace: 'ks',
	contextTableName: 'contexts',
	statusTableName: 'statuses',
	runtimeOptions: { registry: {}, blueprints: {} },
})
await adapter.start()
const context = new CassandraContext('run', { client: 'a', keyspace: 'ks', tableName: 'contexts' })
await context.set('k', 1)
const options = { adapter, cassandraClient: 'a', keyspace: 'ks', statusTableName: 'statuses', stalledThresholdSeconds: 1 }
const stats: { stalledRuns: number } = await createKafkaReconciler(options).run()
export { stats }
`

/** A project with the adapter and Flowcraft in it, and nothing else. */
const emptyProject = async (strict) => {
	const folder = await mkdtemp(join(tmpdir(), 'adapter-types-'))
	const scope = join(folder, 'node_modules/@flowcraft/kafka-adapter')
	await mkdir(scope, { recursive: true })
	await cp(join(root, 'index.d.ts'), join(scope, 'index.d.ts'))
	await cp(join(root, 'package.json'), join(scope, 'package.json'))
	await symlink(join(root, 'node_modules/flowcraft'), join(folder, 'node_modules/flowcraft'))
	const compilerOptions = {
		target: 'es2022',
		module: 'nodenext',
		lib: ['es2022', 'dom'],
		types: [],
		preserveSymlinks: true,
		strict,
		skipLibCheck: false,
		noEmit: true,
	}
	await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.mts'] }))
	await writeFile(join(folder, 'worker.mts'), PROGRAM)
	return folder
}

const DOCUMENTS = { 'docs-page.md': ['worker'], 'package-readme.md': ['worker', 'reconciler', 'stats'] }

/** The code blocks of what users were told, as they stand there, in a project inside this repository. */
const documentedPrograms = async (paths) => {
	const source = join(root, '__test__/types/programs')
	await mkdir(join(root, '.cache'), { recursive: true })
	const folder = await mkdtemp(join(root, '.cache/programs-'))
	for (const file of ['shared.ts', 'globals.d.ts']) await cp(join(source, file), join(folder, file))
	for (const [document, names] of Object.entries(DOCUMENTS)) {
		const text = await readFile(join(source, document), 'utf8')
		const blocks = [...text.matchAll(/```typescript\n(.*?)```/gs)].map(([, block]) => block)
		assert.equal(blocks.length, names.length)
		for (const [index, block] of blocks.entries()) {
			await writeFile(join(folder, `${document.slice(0, -3)}-${names[index]}.ts`), block)
		}
	}
	const compilerOptions = {
		target: 'es2022',
		module: 'esnext',
		moduleResolution: 'bundler',
		moduleDetection: 'force',
		types: ['node'],
		esModuleInterop: true,
		strict: false,
		skipLibCheck: false,
		noEmit: true,
		paths,
	}
	await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
	return folder
}

// `npm run test:types` compiles what lies in __test__/types itself.
describe('the public types', { concurrency: 2 }, () => {
	for (const strict of [true, false]) {
		it(`compile without kafkajs, cassandra-driver, ioredis and @types/node (strict: ${strict})`, async () => {
			const folder = await emptyProject(strict)
			try {
				assert.equal(await compile(folder), '')
			} finally {
				await rm(folder, { recursive: true })
			}
		})
	}

	for (const [version, paths] of Object.entries({ 5: { ioredis: [join(root, 'node_modules/ioredis5')] }, 6: {} })) {
		it(`fit the programs of the guide and the README of 1.4.4, with ioredis ${version}`, async () => {
			const folder = await documentedPrograms(paths)
			try {
				assert.equal(await compile(folder), '')
			} finally {
				await rm(folder, { recursive: true })
			}
		})
	}
})
