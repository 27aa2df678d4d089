/**
 * Everything in one process and without any server: for trying out, and for tests of your workflows. What is not finished
 * is lost with the process.
 *
 *   npm install flowcraft @flowcraft/kafka-adapter
 *   node embedded.mjs
 */
import { KafkaAdapter } from '@flowcraft/kafka-adapter'
import { agentNodeRegistry, blueprint, blueprints, initialContext } from './shared.mjs'

const adapter = new KafkaAdapter({
	backend: 'embedded',
	runtimeOptions: { registry: agentNodeRegistry, blueprints },
})

await adapter.start()
const run = await adapter.startRun(blueprint.id, initialContext)
const { status, payload } = await run.result()
console.log(run.runId, status, payload.context.join)
await adapter.stop()
