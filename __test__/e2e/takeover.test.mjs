/** G12: runs that workers of npm's 1.4.4 have begun, stopped at every point of their life, are ended by these. */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { Partitioners } from 'kafkajs'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'
import {
	ANSWER,
	INITIAL,
	blueprints,
	flows,
	inMemory,
	registryOf,
	startsOf,
	wrongEnd,
} from '../support/takeover-flows.mjs'

const PARTITIONS = 360
const OVER = new Set(['completed', 'failed'])
const MAIN = fileURLToPath(new URL('../support/takeover-main.mjs', import.meta.url))

/** @type {import('../support/cluster.mjs').Cluster} */
let cluster
before(async () => {
	cluster = await openCluster()
})
after(() => cluster.close())

/** Run ids for each partition, as their messages are keyed by them. @param {string} topic */
function idsOf(topic) {
	const partitionMetadata = Array.from({ length: PARTITIONS }, (_, partitionId) => ({ partitionId, leader: 0 }))
	const partitionOf = Partitioners.DefaultPartitioner()
	/** @type {string[]} */
	const ids = []
	for (let at = 0, found = 0; found < PARTITIONS; at++) {
		const id = `${topic}-${at}`
		const partition = partitionOf(/** @type {any} */ ({ topic, partitionMetadata, message: { key: id } }))
		if (ids[partition] === undefined) found++
		ids[partition] ??= id
	}
	return ids
}

/** Workers of 1.4.4. @param {import('../support/cluster.mjs').Place} place */
async function startTheirs({ topic, group, tables }) {
	const child = fork(MAIN, [JSON.stringify({ topic, group, tables })], {
		stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
	})
	/** @type {any[]} */
	const said = []
	child.on('message', (message) => said.push(message))
	/** @param {string} type @returns {Promise<any>} */
	const says = (type) =>
		until(
			`the workers of 1.4.4 say ${type}`,
			() => {
				if (child.exitCode !== null) throw new Error(`the workers of 1.4.4 ended by ${child.exitCode}`)
				const at = said.findIndex((message) => message.type === type)
				return at < 0 ? undefined : said.splice(at, 1)[0]
			},
			{ timeoutMs: 90_000 },
		)
	return { child, says }
}

test('G12: runs of 1.4.4, stopped after each of their calls, end as they have to', { timeout: 240_000 }, async (t) => {
	const place = await cluster.place({ name: 'takeover', partitions: PARTITIONS, schema: 'full' })
	const ids = idsOf(place.topic)
	const { child, says } = await startTheirs(place)
	/** Where each partition is committed. @type {number[]} */
	const offsets = Array(PARTITIONS).fill(0)
	let next = 0

	/** @param {{ blueprintId: string, cut: number | null }[]} runs */
	async function begin(runs) {
		const plans = runs.map(({ blueprintId, cut }) => ({
			blueprintId,
			cut,
			partition: next,
			open: startsOf(blueprintId).length,
			runId: ids[next++],
		}))
		assert.ok(next <= PARTITIONS, `${next} runs need more partitions`)
		child.send({ plans })
		await says('ready')
		await Promise.all(
			plans.map(({ runId, blueprintId }) =>
				place.writeContext(runId, JSON.stringify({ ...INITIAL, blueprintId, blueprintVersion: null })),
			),
		)
		const starts = plans.flatMap(({ runId, blueprintId }) =>
			startsOf(blueprintId).map((nodeId) => ({ runId, blueprintId, nodeId })),
		)
		await place.send(starts)
		const { left } = await says('quiet')
		for (const [at, { partition }] of plans.entries()) offsets[partition] = left[at].offset
		return plans.map((plan, at) => ({ ...plan, changes: left[at].changes, hasMessages: left[at].open > 0 }))
	}

	try {
		await says('joined')
		const whole = await begin(flows.map(({ id }) => ({ blueprintId: id, cut: null })))
		const cuts = whole.flatMap(({ blueprintId, changes }) => [0, ...changes].map((cut) => ({ blueprintId, cut })))
		const runs = [...whole, ...(await begin(cuts))]
		t.diagnostic(whole.map(({ blueprintId, changes }) => `${blueprintId}: ${changes.length}`).join(', '))
		child.kill('SIGKILL')
		await once(child, 'exit')
		await place.commit(offsets)
		await endThem(place, runs)
	} finally {
		child.kill('SIGKILL')
	}
})

/** @param {import('../support/cluster.mjs').Place} place @param {any[]} runs */
async function endThem(place, runs) {
	const all = runs.map(({ runId }) => runId)
	/** @type {Map<string, string[]>} */
	const ran = new Map(all.map((runId) => [runId, []]))
	/** What 1.4.4 has left: the row, and how it stands. */
	const left = new Map(await Promise.all(all.map(async (runId) => [runId, (await place.context(runId))?.document])))
	const before = await statusesOf(place, all)
	const registry = registryOf('right', (runId, nodeId) => void ran.get(runId)?.push(nodeId))
	const logger = recorder()
	const adapter = new KafkaAdapter(place.options({ runtimeOptions: { blueprints, registry, logger } }))
	adapter.logger = logger
	await adapter.start()
	try {
		await place.allCommitted({ timeoutMs: 60_000 })
		// 1.4.4 leaves some runs without a message: their last job is done, and they are not over for it.
		const then = await statusesOf(place, all)
		for (const runId of all) if ((then.get(runId)?.status ?? 'running') === 'running') await adapter.reconcile(runId)
		await answer(place, adapter, runs)
		// Which of them have not ended is said below, with what they are.
		await until(
			'the runs have ended',
			async () => [...(await statusesOf(place, all)).values()].every(({ status }) => OVER.has(status)),
			{ timeoutMs: 20_000, everyMs: 250 },
		).catch(() => undefined)
		const ends = await statusesOf(place, all)
		const memory = new Map(await Promise.all(flows.map(async (flow) => [flow.id, await inMemory(flow)])))
		const wrong = runs.flatMap((run) => {
			const { runId, blueprintId, cut } = run
			const [was, is, document] = [before.get(runId), ends.get(runId), left.get(runId)]
			const problem = problemOf(run, { was, is, document, ran: ran.get(runId) }, memory.get(blueprintId))
			const found = `${was?.status} and ${Object.keys(document)}`
			return problem
				? [`${blueprintId}, stopped after ${cut} calls: ${problem}; ran here: ${ran.get(runId)}; found ${found}`]
				: []
		})
		assert.deepEqual(wrong, [], `${wrong.length} of ${runs.length}`)
	} finally {
		await adapter.stop()
	}
}

/** @param {import('../support/cluster.mjs').Place} place @param {string[]} runIds */
const statusesOf = async (place, runIds) => new Map((await place.statusRows(runIds)).map((row) => [row.runId, row]))

/**
 * Answers the runs that wait: all do that 1.4.4 has not ended.
 * @param {import('../support/cluster.mjs').Place} place @param {KafkaAdapter} adapter @param {any[]} runs
 */
async function answer(place, adapter, runs) {
	for (const { id, asks } of flows.filter(({ asks }) => asks)) {
		const waiting = runs.filter(({ blueprintId }) => blueprintId === id).map(({ runId }) => runId)
		const statuses = await until(
			`the runs of ${id} wait`,
			async () => {
				const rows = await statusesOf(place, waiting)
				return waiting.every((runId) => (rows.get(runId)?.status ?? 'running') !== 'running') && rows
			},
			{ timeoutMs: 20_000 },
		)
		const asking = waiting.filter((runId) => statuses.get(runId)?.status === 'awaiting')
		await Promise.all(asking.map((runId) => adapter.resumeWithAction(runId, undefined, ANSWER, { nodeId: asks })))
	}
}

/**
 * @param {any} run
 * @param {{ was: any, is: any, document: any, ran: string[] | undefined }} seen `was` and `is`: its status row as 1.4.4 left it, and now
 * @param {any} memory
 */
function problemOf({ blueprintId, hasMessages }, { was, is, document, ran }, memory) {
	const flow = /** @type {import('../support/takeover-flows.mjs').Flow} */ (flows.find(({ id }) => id === blueprintId))
	if (was?.status === 'completed') {
		if (ran?.length) return 'it was over'
		return isDeepStrictEqual(is?.data, was.data) ? undefined : 'its result has changed'
	}
	// Nothing was left to do, and nobody opened it.
	if (was?.status === 'failed' && is?.text === was.text && !ran?.length && !hasMessages) return undefined
	return is?.data ? wrongEnd(flow, is.data, memory, document) : `it is ${is?.status}`
}
