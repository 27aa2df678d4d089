/**
 * A user's program, run as a process of its own: `node program.mjs <scenario> <options as JSON>`. Nothing here calls
 * `process.exit()`: that the process ends by itself is what the tests look at.
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { KafkaAdapter } from '../../src/js/index.js'
import { until } from '../support/cluster.mjs'
import { nativeThreads, openConnections } from './traces.mjs'

const [scenario, text] = isMainThread ? process.argv.slice(2) : [workerData.scenario, workerData.text]
const options = JSON.parse(text)
const say = (/** @type {any} */ fact) =>
	isMainThread ? console.log(JSON.stringify(fact)) : parentPort?.postMessage(fact)

/** @type {string[]} */
const errors = []
const logger = { debug() {}, info() {}, warn() {}, error: (/** @type {string} */ line) => void errors.push(line) }
const blueprint = { id: 'one', nodes: [{ id: 'a', uses: 'a' }], edges: [] }
const runtimeOptions = { blueprints: { one: blueprint }, registry: { a: async () => ({ output: 'done' }) }, logger }
const build = () => new KafkaAdapter({ ...options, runtimeOptions })

async function oneRun(/** @type {KafkaAdapter} */ adapter) {
	const run = await adapter.startRun('one')
	return (await run.result({ timeoutMs: 30_000 })).status
}

/** A worker that has runs in every stage, until the process or the thread ends. */
async function atWork() {
	const adapter = build()
	await adapter.start()
	const keepOn = () => void adapter.startRun('one').then(keepOn, () => undefined)
	for (let i = 0; i < 50; i++) keepOn()
	await until('runs are recorded', () => (adapter.health().counters?.recorded ?? 0) > 50)
}

const inThread = (/** @type {string} */ name) =>
	new Worker(fileURLToPath(import.meta.url), { workerData: { scenario: name, text } })

const scenarios = {
	async 'never started'() {
		build()
		say({ built: true })
	},
	async 'one run'() {
		const adapter = build()
		await adapter.start()
		const status = await oneRun(adapter)
		await adapter.stop()
		say({ status })
	},
	async 'not stopped'() {
		const adapter = build()
		await adapter.start()
		say({ started: true })
	},
	// As in the public guide: nobody waits for start().
	async 'refused, nobody waits'() {
		build().start()
		process.on('exit', () => say({ errors: errors.length }))
	},
	async 'stopped while it starts'() {
		const adapter = build()
		const starting = adapter.start().then(
			() => 'started',
			(/** @type {any} */ error) => error.code,
		)
		await adapter.stop()
		say({ starting: await starting })
	},
	async 'one run in a thread, three times'() {
		for (let i = 0; i < 3; i++) {
			const thread = inThread('one run')
			/** @type {any} */
			let fact
			thread.on('message', (message) => (fact = message))
			const code = await new Promise((resolve, reject) => {
				thread.once('exit', resolve)
				thread.once('error', reject)
			})
			say({ ...fact, code })
		}
	},
	async 'at work'() {
		await atWork()
		say({ working: true })
	},
	// Nothing else in the process has loaded the addon.
	async 'a thread at work is terminated'() {
		const thread = inThread('at work')
		await once(thread, 'message')
		await thread.terminate()
		await until('native threads end', () => nativeThreads().length === 0, { describe: nativeThreads })
		await until('connections are closed', () => openConnections().length === 0, { describe: openConnections })
		say({ ended: true })
	},
	async 'a thread at work is terminated, five times'() {
		for (let i = 0; i < 5; i++) {
			const thread = inThread('at work')
			await once(thread, 'message')
			await thread.terminate()
			const from = performance.now()
			const adapter = build()
			await adapter.start()
			await until('all partitions are ours', () => adapter.health().partitions?.length === 2)
			const status = await oneRun(adapter)
			const tookMs = performance.now() - from
			await adapter.stop()
			await until('native threads end', () => nativeThreads().length === 0, { describe: nativeThreads })
			say({ status, tookMs })
		}
	},
	async 'a thread is terminated while it starts'() {
		const thread = inThread('not stopped')
		await until('the client of the thread exists', () => nativeThreads().length > 0, { everyMs: 1 })
		await thread.terminate()
		await until('native threads end', () => nativeThreads().length === 0, { describe: nativeThreads })
		await until('connections are closed', () => openConnections().length === 0, { describe: openConnections })
		say({ ended: true })
	},
	async 'exits in the middle of work'() {
		await atWork()
		process.exit(7)
	},
	async 'throws in the middle of work'() {
		await atWork()
		setImmediate(() => {
			throw new Error('nobody catches this')
		})
	},
}

await scenarios[/** @type {keyof typeof scenarios} */ (scenario)]()
