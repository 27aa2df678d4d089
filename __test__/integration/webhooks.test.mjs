/** Row 54: webhooks that let a run go on, once per token, from any process. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { KafkaAdapter, KafkaAdapterError } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'
import { REQUESTS } from './bad-input-cases.mjs'
import { withWorker } from './one-worker.mjs'

const SECRET = 'a secret of the test that is long enough'
const WEBHOOKS = { baseUrl: 'https://example.com/hooks/', secret: SECRET }
const AT_ONCE = 8

const node = (/** @type {string} */ id, uses = 'input', /** @type {any} */ more = {}) => ({ id, uses, ...more })
const edge = (/** @type {string} */ path) => ({ source: path.split('>')[0], target: path.split('>')[1] })
const wait = (/** @type {string} */ id, /** @type {string} */ hook) =>
	node(id, 'wait', { params: { eventName: `webhook:${hook}` } })

/** @type {Record<string, any>} */
const blueprints = Object.fromEntries(
	[
		// As Flowcraft's compiler makes it of `createWebhook()` and `await webhook.request`.
		{
			id: 'compiled',
			nodes: [node('hook', 'webhook'), node('mail'), wait('asked', 'hook'), node('z')],
			edges: [edge('hook>mail'), edge('mail>asked'), edge('asked>z')],
		},
		{ id: 'alone', nodes: [node('hook', 'webhook'), node('z')], edges: [edge('hook>z')] },
		{
			id: 'own',
			nodes: [node('ask', 'ask'), node('slow', 'gate'), node('w', 'wait')],
			edges: [edge('ask>slow'), edge('slow>w')],
		},
		{ id: 'parent', nodes: [node('sub', 'subflow', { params: { blueprintId: 'compiled' } })], edges: [] },
		{
			id: 'twins',
			nodes: ['s', 't'].map((id) => node(id, 'subflow', { params: { blueprintId: 'alone' } })),
			edges: [],
		},
		{
			id: 'two',
			nodes: [node('p', 'webhook'), node('q', 'webhook'), node('z')],
			edges: [edge('p>z'), edge('q>z')],
		},
	].map((one) => [one.id, one]),
)

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
/** @type {import('../support/cluster.mjs').Place} */
let home
before(async () => {
	cluster = await openCluster()
	home = await cluster.place({ name: 'webhooks' })
})
after(() => cluster.close())

let open = () => {}
/** @type {Promise<void>} */
let gate
/** @type {string[]} Addresses that nodes were given: what a third party would get. */
let urls = []
const registry = {
	input: async (/** @type {any} */ { input }) => {
		if (input?.url && !input.request?.method) urls.push(input.url)
		return { output: { got: input } }
	},
	gate: async () => ({ output: await gate }),
	/** Asks for the address of a wait by itself. */
	ask: async (/** @type {any} */ { dependencies: { adapter, runtime } }) => {
		const { url } = await adapter.registerWebhookEndpoint(runtime.executionId, 'w')
		urls.push(url)
		return { output: 'asked' }
	},
}

/**
 * A worker, and another process that serves HTTP: it is no member of the group, and was never started.
 *
 * @param {(tools: { place: import('../support/cluster.mjs').Place, client: KafkaAdapter,
 *   logger: ReturnType<typeof recorder> }) => Promise<void>} work
 * @param {{ webhooks?: any, client?: any }} [options]
 */
async function scene(work, { webhooks = WEBHOOKS, client: clientOptions = {} } = {}) {
	urls = []
	gate = new Promise((resolve) => (open = () => resolve()))
	await withWorker(home, { blueprints, registry }, { webhooks }, async (place) => {
		const logger = recorder()
		const runtimeOptions = { logger, blueprints, registry: {} }
		const client = new KafkaAdapter(place.options({ runtimeOptions, webhooks, ...clientOptions }))
		client.logger = logger
		try {
			await work({ place, client, logger })
		} finally {
			await client.stop()
		}
	})
}

/** What the two nodes of a run of `two` wait for. @param {KafkaAdapter} client @param {{ runId: string }} run */
async function addressesOf(client, { runId }) {
	const context = client.createContext(runId)
	const { url: p } = await context.get('_outputs.p')
	const { url: q } = await context.get('_outputs.q')
	return { context, p, q }
}

/** @param {string} url @param {unknown} body @param {RequestInit} [init] */
const post = (url, body, init = {}) =>
	new Request(url, {
		method: 'POST',
		headers: { 'content-type': 'application/json', authorization: 'Bearer of the caller', 'x-mine': '1' },
		body: JSON.stringify(body),
		...init,
	})

/** @param {import('../../index.js').RunHandle} run @param {string} status */
const reaches = (run, status) => until(`run is ${status}`, async () => (await run.status()) === status)
const lastUrl = () => until('a node was given an address', () => urls.at(-1))

/** A run of a `webhook` node that waits, and its address. @param {KafkaAdapter} client */
async function waitingRun(client) {
	const run = await client.startRun('alone')
	await reaches(run, 'awaiting')
	const { url, event } = await client.createContext(run.runId).get('_outputs.hook')
	assert.equal(event, 'webhook:hook')
	assert.match(url, /^https:\/\/example\.com\/hooks\/[A-Za-z0-9_-]+$/)
	return { run, url }
}

/** @param {import('../../index.js').RunHandle} run */
async function completed(run) {
	const { status, payload } = await run.result({ timeoutMs: 20_000 })
	assert.equal(status, 'completed')
	return payload.context
}

describe('row 54: webhooks', () => {
	test('row 54: a webhook node waits for its request, which any process takes, once', () =>
		scene(async ({ client }) => {
			const { run, url } = await waitingRun(client)
			const request = post(`${url}?a=1`, { paid: true })
			const response = await client.handleWebhook(request)
			assert.equal(response.status, 200)
			assert.deepEqual(await response.json(), { status: 'accepted' })
			assert.equal((await client.handleWebhook(post(url, { paid: false }))).status, 404, 'used, be it applied or not')
			const context = await completed(run)
			const headers = { 'content-type': 'application/json', 'x-mine': '1' }
			const told = { method: 'POST', headers, query: { a: '1' }, body: { paid: true } }
			assert.deepEqual(context.hook, { url, event: 'webhook:hook', request: told })
			assert.deepEqual(context.z, { got: context.hook })
			assert.equal((await client.handleWebhook(post(url, {}))).status, 404, 'the run is over')
		}))

	test('row 54: the wait that the compiler puts behind it goes on; what is between has the address', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('compiled')
			await reaches(run, 'awaiting')
			assert.equal((await client.handleWebhook(post(await lastUrl(), { ok: 1 }))).status, 200)
			const context = await completed(run)
			assert.deepEqual(context.asked.request.body, { ok: 1 })
			assert.deepEqual(context.z.got.request.body, { ok: 1 })
			assert.equal(context.hook.url, context.asked.url)
		}))

	test('row 54: a node registers the wait behind it by itself; a request that comes before the wait is kept', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('own')
			const url = await lastUrl()
			assert.equal((await client.handleWebhook(post(url, 'early'))).status, 200)
			assert.equal((await client.handleWebhook(post(url, 'again'))).status, 404)
			open()
			assert.equal((await completed(run)).w.request.body, 'early')
		}))

	test('row 54: in a subflow', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('parent')
			await reaches(run, 'awaiting')
			assert.equal((await client.handleWebhook(post(await lastUrl(), { ok: 2 }))).status, 200)
			const { sub } = await completed(run)
			assert.deepEqual(sub.got.request.body, { ok: 2 })
		}))

	test('row 54: a webhook node in a subflow waits for itself, also where two subflows have the same child', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('twins')
			await reaches(run, 'awaiting')
			const context = client.createContext(run.runId)
			for (const id of ['t', 's']) {
				const { url } = JSON.parse(await context.get(`_subflowState.${id}`))['_outputs.hook']
				assert.equal((await client.handleWebhook(post(url, { to: id }))).status, 200)
				await until(`${id} has its answer`, async () => (await context.get(id)) !== undefined)
				assert.equal((await client.handleWebhook(post(url, { to: 'nobody' }))).status, 404)
			}
			const { s, t } = await completed(run)
			assert.deepEqual([s.got.request.body, t.got.request.body], [{ to: 's' }, { to: 't' }])
		}))

	test('row 54: of several requests at once, at several processes, one gets 200, and its body counts', () =>
		scene(async ({ place, client }) => {
			const runtimeOptions = { logger: recorder(), blueprints, registry: {} }
			const other = new KafkaAdapter(place.options({ runtimeOptions, webhooks: WEBHOOKS }))
			const { run, url } = await waitingRun(client)
			const requests = Array.from({ length: AT_ONCE }, (_, at) => post(url, { at }))
			const responses = await Promise.all(
				requests.map((request, at) => (at % 2 ? client : other).handleWebhook(request)),
			)
			await other.stop()
			const statuses = responses.map(({ status }) => status)
			assert.deepEqual(statuses.toSorted(), [200, ...Array(AT_ONCE - 1).fill(404)])
			assert.deepEqual((await completed(run)).hook.request.body, { at: statuses.indexOf(200) })
		}))

	test('row 54: two webhooks of a run are told apart', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('two')
			await reaches(run, 'awaiting')
			const { p, q } = await addressesOf(client, run)
			assert.equal((await client.handleWebhook(post(q, 'for q'))).status, 200)
			assert.equal((await client.handleWebhook(post(p, 'for p'))).status, 200)
			const ended = await completed(run)
			assert.deepEqual([ended.p.request.body, ended.q.request.body], ['for p', 'for q'])
		}))

	test('row 54: a wait that has been answered otherwise takes no request', () =>
		scene(async ({ client }) => {
			const run = await client.startRun('two')
			await reaches(run, 'awaiting')
			const { context, p, q } = await addressesOf(client, run)
			await run.resume(undefined, 'by hand', { nodeId: 'p' })
			await until('p has its answer', async () => (await context.get('p')) === 'by hand')
			assert.equal((await client.handleWebhook(post(p, 'too late'))).status, 404)
			assert.equal((await client.handleWebhook(post(q, 'for q'))).status, 200)
			assert.equal((await completed(run)).p, 'by hand')
		}))

	test('row 54: a command that cannot be sent eats no token', () =>
		scene(async ({ place, client, logger }) => {
			const { run, url } = await waitingRun(client)
			const runtimeOptions = { logger, blueprints, registry: {} }
			const kafka = { brokers: ['127.0.0.1:1'] }
			const cutOff = new KafkaAdapter(
				place.options({ kafka, startTimeoutMs: 1_000, runtimeOptions, webhooks: WEBHOOKS }),
			)
			cutOff.logger = logger
			const response = await cutOff.handleWebhook(post(url, 'lost'))
			await cutOff.stop()
			assert.deepEqual([response.status, response.headers.get('retry-after')], [503, '5'])
			const said = JSON.stringify(logger.lines)
			assert.match(said, /could not be taken/)
			assert.ok(!said.includes(/** @type {string} */ (url.split('/').at(-1))), 'no token in the log')
			assert.ok(!said.includes(SECRET), 'no secret in the log')
			assert.equal((await client.handleWebhook(post(url, 'again'))).status, 200)
			assert.equal((await completed(run)).hook.request.body, 'again')
		}))

	test('row 54: a coordination store that forgets, or is not there, changes nothing: the run has its answer', () =>
		scene(
			async ({ client, place }) => {
				const { run, url } = await waitingRun(client)
				assert.equal((await client.handleWebhook(post(url, 'first'))).status, 200)
				// In the row: what is in memory only, others do not know yet.
				await until('the answer is stored', async () => {
					const row = await place.context(run.runId)
					return row?.document.hook?.request?.body === 'first'
				})
				assert.equal((await client.handleWebhook(post(url, 'second'))).status, 404)
				assert.equal((await completed(run)).hook.request.body, 'first')
			},
			{ client: { coordinationStore: undefined } },
		))

	test('row 54: an expired token gets 404 and changes nothing', () =>
		scene(
			async ({ client }) => {
				const { run, url } = await waitingRun(client)
				const registered = Date.now()
				await until('the clock has gone on', () => Date.now() > registered + 1)
				assert.equal((await client.handleWebhook(post(url, 'late'))).status, 404)
				assert.equal(await run.status(), 'awaiting')
				await run.resume(undefined, 'by hand')
				assert.equal((await completed(run)).hook, 'by hand')
			},
			{ webhooks: { ...WEBHOOKS, ttlMs: 1 } },
		))

	test('row 54: a secret may be replaced: the old one is still accepted, an unknown one is not', () =>
		scene(async ({ place, client }) => {
			const { run, url } = await waitingRun(client)
			const next = 'another secret of the test, as long'
			const served = (/** @type {any} */ secret) =>
				new KafkaAdapter(
					place.options({
						runtimeOptions: { logger: recorder(), blueprints, registry: {} },
						webhooks: { ...WEBHOOKS, secret },
					}),
				)
			const [stranger, rotated] = [served(next), served([next, SECRET])]
			assert.equal((await stranger.handleWebhook(post(url, 1))).status, 404)
			assert.equal((await rotated.handleWebhook(post(url, 2))).status, 200)
			await Promise.all([stranger.stop(), rotated.stop()])
			assert.equal((await completed(run)).hook.request.body, 2)
		}))

	test('row 54: a store of tokens of the user', async () => {
		/** @type {Map<string, { wait: any, state: string }>} */
		const made = new Map()
		const at = (/** @type {string} */ token) => /** @type {any} */ (made.get(token))
		const tokens = {
			issue: async (/** @type {any} */ wait) => {
				const token = `token/${made.size}`
				made.set(token, { wait, state: 'new' })
				return token
			},
			find: async (/** @type {string} */ token) => made.get(token)?.wait,
			claim: async (/** @type {string} */ token) => (at(token).state === 'new' ? 'claimed' : 'used'),
			confirm: async (/** @type {string} */ token) => void (at(token).state = 'used'),
			release: async () => {},
		}
		await scene(
			async ({ client }) => {
				const run = await client.startRun('alone')
				await reaches(run, 'awaiting')
				const { url } = await client.createContext(run.runId).get('_outputs.hook')
				assert.equal(url, 'https://example.com/hooks/token%2F0')
				assert.deepEqual(at('token/0').wait.nodeId, 'hook')
				assert.equal((await client.handleWebhook(post(url, 1))).status, 200)
				assert.equal((await client.handleWebhook(post(url, 2))).status, 404)
				assert.equal((await completed(run)).hook.request.body, 1)
			},
			{ webhooks: { baseUrl: WEBHOOKS.baseUrl, tokens } },
		)
	})
})

describe('requests that are not taken leave the token as it was', () => {
	test('G9: each of docs/bad-input.md, and then a good one', () =>
		scene(async ({ client }) => {
			const { run, url } = await waitingRun(client)
			const token = /** @type {string} */ (url.split('/').at(-1))
			for (const { input, status, error, path = () => `/${token}`, init } of REQUESTS) {
				const response = await client.handleWebhook(
					new Request(`https://example.com/hooks${path(token)}`, { method: 'POST', ...init }),
				)
				assert.deepEqual([response.status, await response.json()], [status, { error }], input)
			}
			assert.equal((await client.handleWebhook(post(url, 'good'))).status, 200)
			assert.equal((await completed(run)).hook.request.body, 'good')
		}))

	test('G9: no Request, a Request that was read, and no option', async () => {
		const options = home.options({ runtimeOptions: { logger: recorder() }, webhooks: WEBHOOKS })
		const adapter = new KafkaAdapter(options)
		const read = post('https://example.com/hooks/x', 1)
		await read.text()
		const refused = (/** @type {RegExp} */ words) => (/** @type {unknown} */ error) =>
			error instanceof KafkaAdapterError && error.code === 'ERR_OPTION' && words.test(error.message)
		await assert.rejects(adapter.handleWebhook(/** @type {any} */ ({})), refused(/^request: not a Request/))
		await assert.rejects(adapter.handleWebhook(read), refused(/^request: its body has been read already/))
		await assert.rejects(adapter.registerWebhookEndpoint('', 'a'), refused(/^runId: no id/))
		const without = new KafkaAdapter({ ...options, webhooks: undefined })
		await assert.rejects(
			without.handleWebhook(post('https://example.com/x', 1)),
			refused(/^options\.webhooks: missing/),
		)
		await assert.rejects(without.registerWebhookEndpoint('r', 'n'), {
			message: 'registerWebhookEndpoint not implemented for KafkaAdapter',
		})
	})
})
