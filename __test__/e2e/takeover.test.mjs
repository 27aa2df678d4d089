/** G12: runs that workers of npm's 1.4.4 have begun, stopped at every point of their life, are ended by these. */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Partitioners } from 'kafkajs'
import { KafkaAdapter } from '../../src/js/index.js'
import { openCluster, recorder, until } from '../support/cluster.mjs'
import { ROUNDS, blueprints, registryOf } from '../support/takeover-flows.mjs'

const PARTITIONS = 300
const MAIN = fileURLToPath(new URL('../support/takeover-main.mjs', import.meta.url))

/** Nodes that a run ends with, by blueprint; of `branch`, those of either side. @type {Record<string, string[][]>} */
const ENDS = {
	chain: [['a', 'b', 'c']],
	diamond: [['a', 'b', 'c', 'd']],
	branch: [
		['a', 'left', 'left2', 'r'],
		['a', 'r', 'right', 'right2'],
	],
	any: [['a', 'b', 'c', 'j', 'z']],
	loop: [['a', 'body', 'ctl', 'more', 'z']],
}

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

/** @param {any} document */
const outputsOf = (document) =>
	Object.keys(document)
		.filter((key) => key.startsWith('_outputs.'))
		.map((key) => key.slice('_outputs.'.length))
		.sort()

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
			open: 1,
			runId: ids[next++],
		}))
		assert.ok(next <= PARTITIONS, `${next} runs need more partitions`)
		child.send({ plans })
		await says('ready')
		await Promise.all(
			plans.map(({ runId, blueprintId }) =>
				place.writeContext(runId, JSON.stringify({ mine: 1, again: true, blueprintId, blueprintVersion: null })),
			),
		)
		await place.send(plans.map(({ runId, blueprintId }) => ({ runId, blueprintId, nodeId: 'a' })))
		const { left } = await says('quiet')
		for (const [at, { partition }] of plans.entries()) offsets[partition] = left[at].offset
		return plans.map((plan, at) => ({ ...plan, calls: left[at].calls }))
	}

	try {
		await says('joined')
		const whole = await begin(Object.keys(ENDS).map((blueprintId) => ({ blueprintId, cut: null })))
		const cuts = whole.flatMap(({ blueprintId, calls }) =>
			Array.from({ length: calls }, (_, cut) => ({ blueprintId, cut })),
		)
		const runs = [...whole, ...(await begin(cuts))]
		t.diagnostic(whole.map(({ blueprintId, calls }) => `${blueprintId}: ${calls}`).join(', '))
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
	/** @type {Map<string, string[]>} */
	const ran = new Map(runs.map(({ runId }) => [runId, []]))
	const left = new Map()
	for (const { runId } of runs) left.set(runId, (await place.context(runId))?.document)
	const begun = new Set(
		(await place.statusRows(runs.map(({ runId }) => runId)))
			.filter(({ status }) => status !== 'running')
			.map(({ runId }) => runId),
	)
	const registry = registryOf('right', (runId, nodeId) => void ran.get(runId)?.push(nodeId))
	const logger = recorder()
	const adapter = new KafkaAdapter(place.options({ runtimeOptions: { blueprints, registry, logger } }))
	adapter.logger = logger
	await adapter.start()
	try {
		await place.allCommitted({ timeoutMs: 60_000 })
		// 1.4.4 leaves some runs without a message: their last job is done, and they are not over for it.
		const rows = await place.statusRows(runs.map(({ runId }) => runId))
		const ended = new Set(rows.filter(({ status }) => status !== 'running').map(({ runId }) => runId))
		for (const { runId } of runs) if (!ended.has(runId)) await adapter.reconcile(runId)
		const all = runs.map(({ runId }) => runId)
		// Which of them have not ended is said below, with what they are.
		await place.outcomes(all, { timeoutMs: 20_000 }).catch(() => undefined)
		const outcomes = new Map((await place.statusRows(all)).map((row) => [row.runId, row]))
		/** @type {string[]} */
		const wrong = []
		for (const { runId, blueprintId, cut } of runs) {
			const { document } = /** @type {any} */ (await place.context(runId))
			const note = (/** @type {string} */ text) =>
				wrong.push(
					`${blueprintId}, stopped after ${cut} calls: ${text}; ran here: ${ran.get(runId)}; found ${Object.keys(left.get(runId))}`,
				)
			const status = outcomes.get(runId)?.status
			if (status !== 'completed') note(`it is ${status}`)
			const outputs = outputsOf(document).join()
			const isLeft = '_inputs.left' in left.get(runId)
			const allowed = blueprintId === 'branch' && isLeft ? [ENDS.branch[0]] : ENDS[blueprintId]
			if (!allowed.some((end) => end.join() === outputs)) note(`outputs of ${outputs}`)
			if (document.mine !== 1) note('the initial context is gone')
			if (blueprintId === 'loop' && !(document.rounds >= ROUNDS)) note(`${document.rounds} rounds`)
			if (begun.has(runId) && ran.get(runId)?.length) note('was over')
		}
		assert.deepEqual(wrong, [], `${wrong.length} of ${runs.length}`)
	} finally {
		await adapter.stop()
	}
}
