/** G12 through the public door, without a server: runs that workers of 1.4.4 have begun, whose messages lie in the topic. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'

const diamond = {
	id: 'diamond',
	nodes: ['s', 'a', 'b', 'c', 'j'].map((id) => ({ id, uses: 'body' })),
	edges: ['s>a', 's>b', 's>c', 'a>j', 'b>j', 'c>j'].map((edge) => {
		const [source, target] = edge.split('>')
		return { source, target }
	}),
}
/** What workers of 1.4.4 write before they send the jobs of the three branches. */
const begun = { blueprintId: 'diamond', blueprintVersion: null, '_outputs.s': 's' }

/** Sends, and consumes nothing. */
class Client extends KafkaAdapter {
	/** @override */
	async processJobs() {}
}

/**
 * @param {string[]} messages nodes, in the order of the topic
 * @param {Record<string, unknown>} row
 * @param {number} maxConcurrentJobs
 */
async function adopt(messages, row, maxConcurrentJobs) {
	/** @type {string[]} */
	const ran = []
	const body = async (/** @type {any} */ { nodeId }) => {
		ran.push(nodeId)
		return { output: nodeId }
	}
	const options = {
		backend: { embedded: randomUUID() },
		maxConcurrentJobs,
		runtimeOptions: {
			logger: new NullLogger(),
			blueprints: {
				diamond: { ...diamond, nodes: diamond.nodes.map((node) => ({ ...node, params: { nodeId: node.id } })) },
			},
			registry: { body: async (/** @type {any} */ { params }) => body(params) },
		},
	}
	const client = new Client(options)
	const worker = new KafkaAdapter(options)
	const runId = randomUUID()
	try {
		await client.start()
		await client
			.createContext(runId)
			.patch(Object.entries(row).map(([key, value]) => ({ op: /** @type {const} */ ('set'), key, value })))
		for (const nodeId of messages) await client.enqueueJob({ runId, blueprintId: 'diamond', nodeId })
		await worker.start()
		const { status, payload } = await worker.getRun(runId).result({ timeoutMs: 20_000 })
		return { status, context: payload.context, ran }
	} finally {
		await worker.stop()
		await client.stop()
	}
}

for (const atOnce of [1, 100]) {
	test(`G12: each branch of an adopted run runs, ${atOnce} at once`, async () => {
		const { status, context, ran } = await adopt(['a', 'b', 'c'], begun, atOnce)
		assert.equal(status, 'completed')
		assert.deepEqual(ran.toSorted(), ['a', 'b', 'c', 'j'])
		assert.equal(context['_outputs.j'], 'j')
	})

	test(`G12: recorded branches of an adopted run do not run again, ${atOnce} at once`, async () => {
		const { status, ran } = await adopt(['a', 'b', 'c'], { ...begun, '_outputs.a': 'a', '_outputs.b': 'b' }, atOnce)
		assert.equal(status, 'completed')
		assert.deepEqual(ran.toSorted(), ['c', 'j'])
	})
}
