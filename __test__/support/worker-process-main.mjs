/**
 * A worker as users write them, whose node bodies also keep a journal. Its only argument is JSON (`worker-process.mjs`).
 */
import { appendFileSync } from 'node:fs'
import { FlowRuntime } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'

const { flows: url, parameters, journal: path, adapter: options } = JSON.parse(process.argv[2])

/** @param {string} what @param {string} run @param {string} node */
const journal = (what, run, node) =>
	appendFileSync(path, `${what} ${run} ${node} ${process.pid} ${performance.timeOrigin + performance.now()}\n`)

const { flows } = await import(url)
const runtime = new FlowRuntime(flows(journal, parameters, { health: () => adapter.health() }))
const say = (/** @type {string} */ level) => (/** @type {string} */ text, /** @type {any} */ meta) =>
	console.log(new Date().toISOString(), level, text, ...(meta ? [meta] : []))
const logger = { debug() {}, info: say('info'), warn: say('warn'), error: say('error') }
const adapter = new KafkaAdapter({ ...options, runtimeOptions: { ...runtime.options, logger } })

process.on('message', async (/** @type {any} */ { type, options }) => {
	if (type === 'health') process.send?.({ type: 'health', health: adapter.health() })
	if (type !== 'stop') return
	const error = await adapter.stop(options).then(
		() => null,
		(reason) => `${reason.code} ${reason.message}`,
	)
	process.send?.({ type: 'stopped', error }, () => process.disconnect())
})
// A test that is gone needs no workers.
process.on('disconnect', () => setTimeout(() => process.exit(3), 15_000).unref())

try {
	await adapter.start()
	process.send?.({ type: 'started' })
} catch (error) {
	process.send?.({ type: 'started', error: `${error.code} ${error.message}` })
}
