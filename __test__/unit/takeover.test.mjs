/**
 * G12 without a server: runs that workers of npm's 1.4.4 have begun over objects in memory, stopped after each of their calls, are ended as
 * in memory. The same on real services, over all calls: e2e/takeover.test.mjs.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../../src/js/index.js'
import { ANSWER, blueprints, flows, inMemory, registryOf, wrongEnd } from '../support/takeover-flows.mjs'
import { leaveAll } from '../support/takeover-memory.mjs'

/** @typedef {import('../support/takeover-memory.mjs').Left} Left */

/** Sends, and consumes nothing. */
class Client extends KafkaAdapter {
	/** @override */
	async processJobs() {}
}

const leaving = leaveAll()
const memory = new Map(flows.map((flow) => [flow.id, inMemory(flow)]))

for (const { every, ...options } of [
	{ every: 1, schedule: 'eager', maxConcurrentJobs: 100 },
	{ every: 3, schedule: 'wave', maxConcurrentJobs: 100 },
	{ every: 9, schedule: 'eager', maxConcurrentJobs: 1 },
]) {
	const how = `${options.schedule}, ${options.maxConcurrentJobs} at once`
	test(`G12: runs of 1.4.4 end as in memory, ${how}`, { timeout: 120_000 }, async () => {
		const some = (await leaving).filter((_, at) => at % every === 0)
		const wrong = await endAll(some, options)
		assert.equal(wrong.length, 0, `${wrong.length} of ${some.length}:\n${wrong.join('\n')}`)
	})
}

/** @param {Left[]} runs @param {Record<string, any>} more @returns {Promise<string[]>} what is wrong */
async function endAll(runs, more) {
	/** @type {Map<string, string[]>} */
	const ran = new Map()
	const registry = registryOf('right', (runId, nodeId) => void ran.set(runId, [...(ran.get(runId) ?? []), nodeId]))
	const runtimeOptions = { logger: new NullLogger(), blueprints, registry }
	const options = /** @type {any} */ ({ backend: { embedded: randomUUID() }, runtimeOptions, ...more })
	const [client, worker] = [new Client(options), new KafkaAdapter(options)]
	await client.start()
	try {
		const ids = await Promise.all(runs.map((left) => put(client, left)))
		await worker.start()
		const wrong = await Promise.all(
			runs.map(async (left, at) => {
				const problem = await problemOf(worker, ids[at], left).catch((error) => error.message)
				const { flow, cut, row, messages, document } = left
				const found = `${row?.status}, messages ${messages}, keys ${Object.keys(document)}`
				return problem ? [`${flow.id} after ${cut}: ${problem}; ran ${ran.get(ids[at])}; found ${found}`] : []
			}),
		)
		await worker.stop()
		const over = runs.filter(({ row }, at) => row?.status === 'completed' && ran.has(ids[at]))
		return [...wrong.flat(), ...over.map(({ flow, cut }) => `${flow.id} after ${cut}: it was over`)]
	} finally {
		await worker.stop()
		await client.stop()
	}
}

/** @param {Client} client @param {Left} left @returns {Promise<string>} the run's id */
async function put(client, { flow, document, row, messages }) {
	const runId = randomUUID()
	const set = Object.entries(document).map(([key, value]) => ({ op: /** @type {const} */ ('set'), key, value }))
	await client.createContext(runId).patch(set)
	if (row?.data) await client.publishFinalResult(runId, JSON.parse(row.data))
	else if (row) await client.onJobStart(runId, '', '')
	for (const nodeId of messages) await client.enqueueJob({ runId, blueprintId: flow.id, nodeId })
	return runId
}

/** @param {KafkaAdapter} worker @param {string} runId @param {Left} left */
async function problemOf(worker, runId, { flow, row, messages, document }) {
	const run = worker.getRun(runId)
	if (row?.status === 'failed' && messages.length === 0) return undefined
	if (row?.status === 'completed') {
		assert.deepEqual(await run.result(), JSON.parse(/** @type {string} */ (row.data)))
		return undefined
	}
	if (messages.length === 0) await worker.reconcile(runId)
	if (flow.asks) {
		await until(
			async () => (await run.status()) === 'awaiting',
			async () => `it does not await but is ${await run.status()}`,
		)
		await run.resume(undefined, ANSWER, { nodeId: flow.asks })
	}
	// 1.4.4 may have called it failed, without its context.
	await until(
		async () => !row?.data || 'payload' in (await run.result()),
		async () => 'it is as 1.4.4 has left it',
	)
	return wrongEnd(flow, await run.result({ timeoutMs: 20_000 }), await memory.get(flow.id), document)
}

/** @param {() => Promise<boolean>} isSo @param {() => Promise<string>} problem */
async function until(isSo, problem) {
	for (const end = Date.now() + 20_000; !(await isSo()); await sleep(20)) {
		if (Date.now() > end) throw new Error(await problem())
	}
}
