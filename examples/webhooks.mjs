/**
 * A run that waits for a request from outside. The server may be any process that has the same secret, it need not be a worker;
 * here everything is in one, without other servers.
 *
 *   node webhooks.mjs
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { KafkaAdapter } from '@flowcraft/kafka-adapter'

/** `hook` has the address, `paid` is the node that waits for the request to it. */
const blueprint = {
	id: 'payment',
	nodes: [
		{ id: 'hook', uses: 'webhook' },
		{ id: 'tell', uses: 'tell' },
		{ id: 'paid', uses: 'wait', params: { eventName: 'webhook:hook' } },
		{ id: 'ship', uses: 'ship' },
	],
	edges: [
		{ source: 'hook', target: 'tell' },
		{ source: 'tell', target: 'paid' },
		{ source: 'paid', target: 'ship' },
	],
}

/** Whoever was given the address. */
const call = (url) =>
	fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ by: 'Ada' }) })

const registry = {
	tell: async ({ input }) => {
		setImmediate(async () => {
			console.log('first call', (await call(input.url)).status)
			console.log('second call', (await call(input.url)).status)
			called()
		})
		return { output: 'told' }
	},
	ship: async ({ input }) => ({ output: `shipped, paid by ${input.request.body.by}` }),
}
let called
const calls = new Promise((resolve) => (called = resolve))

/** As frameworks with standard requests do it by themselves. */
const server = createServer(async (incoming, outgoing) => {
	const { method, headers, url } = incoming
	// Not every method makes a standard request, and nobody takes what this function would throw.
	if (method !== 'POST') return outgoing.writeHead(405, { allow: 'POST' }).end()
	const request = new Request(new URL(url, 'http://localhost'), {
		method,
		headers,
		body: Readable.toWeb(incoming),
		duplex: 'half',
	})
	const response = await adapter.handleWebhook(request)
	outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text())
})
await once(server.listen(0, '127.0.0.1'), 'listening')

const adapter = new KafkaAdapter({
	backend: 'embedded',
	webhooks: {
		baseUrl: `http://127.0.0.1:${server.address().port}/hooks`,
		// Of a configuration, so that all processes have the same and tokens outlive a restart.
		secret: process.env.WEBHOOK_SECRET ?? randomBytes(32),
	},
	runtimeOptions: { registry, blueprints: { payment: blueprint } },
})
await adapter.start()

const run = await adapter.startRun('payment')
await calls
const { status, payload } = await run.result()
console.log(run.runId, status, payload.context.ship)
await adapter.stop()
server.close()
server.closeAllConnections()
