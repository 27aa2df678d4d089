/**
 * A user's program, run as a process of its own: `node program.mjs <scenario> <options as JSON>`. Nothing here calls
 * `process.exit()`: that the process ends by itself is what the tests look at.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { KafkaAdapter } from '../../src/js/index.js'

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
			const thread = new Worker(fileURLToPath(import.meta.url), { workerData: { scenario: 'one run', text } })
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
	// A thread that is ended from outside, its worker running.
	async 'a thread is terminated'() {
		const thread = new Worker(fileURLToPath(import.meta.url), { workerData: { scenario: 'not stopped', text } })
		await new Promise((resolve, reject) => {
			thread.once('message', resolve)
			thread.once('error', reject)
		})
		await thread.terminate()
		// The main thread goes on, with a worker of its own.
		const adapter = build()
		await adapter.start()
		const status = await oneRun(adapter)
		await adapter.stop()
		say({ status })
	},
}

await scenarios[/** @type {keyof typeof scenarios} */ (scenario)]()
