/** A worker process that runs one run to its end and says how it ended. usage: node one-run-main.mjs <options as JSON> */
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'

const blueprint = { id: 'one', nodes: [{ id: 'a', uses: 'a' }], edges: [] }
const adapter = new KafkaAdapter({
	...JSON.parse(process.argv[2]),
	runtimeOptions: {
		blueprints: { one: blueprint },
		registry: { a: async () => ({ output: 'done' }) },
		logger: new NullLogger(),
	},
})
try {
	await adapter.start()
	const { status } = await (await adapter.startRun('one')).result()
	console.log(status)
} finally {
	await adapter.stop()
}
