/** What workers of npm's 1.4.4 leave of a run, over objects in memory. */
import { randomUUID } from 'node:crypto'
import { FlowRuntime, NullLogger } from 'flowcraft'
import * as theirs from 'kafka-adapter-js'
import { INITIAL, blueprints, flows, registryOf, startsOf } from './takeover-flows.mjs'

/** @typedef {{ flow: import('./takeover-flows.mjs').Flow, cut: number, document: any, row: { status: string, data?: string } | undefined, messages: string[] }} Left */

const idle = async () => {}

/** Stopped workers of 1.4.4 would keep the process for half an hour. */
const { setInterval: every } = globalThis
globalThis.setInterval = /** @type {any} */ (
	(/** @type {any[]} */ ...args) => every(.../** @type {[any]} */ (args)).unref()
)

/** All flows, stopped after each call that changes something. @returns {Promise<Left[]>} */
export async function leaveAll() {
	/** @type {Left[]} */
	const all = []
	for (const flow of flows) {
		const { changes } = await leave(flow.id, Infinity)
		for (const cut of [0, ...changes]) all.push({ flow, cut, ...(await leave(flow.id, cut)) })
	}
	return all
}

/** What a run of 1.4.4 leaves when its worker is stopped after so many calls. @param {string} blueprintId @param {number} cut */
async function leave(blueprintId, cut) {
	let calls = 0
	/** Calls that change something: to be stopped after one that only reads is to be stopped before it. */
	/** @type {number[]} */
	const changes = []
	/** @type {() => void} */
	let stop = () => {}
	const stopped = new Promise((resolve) => (stop = () => resolve('stopped')))
	const counted = async (/** @type {() => any} */ work, isChange = true) => {
		if (calls >= cut) {
			stop()
			return new Promise(() => {})
		}
		calls++
		if (isChange) changes.push(calls)
		return work()
	}
	let document = JSON.stringify({ ...INITIAL, blueprintId, blueprintVersion: null })
	/** @type {{ status: string, data?: string } | undefined} */
	let row
	const execute = (/** @type {string} */ query, /** @type {any[]} */ params) =>
		counted(() => {
			if (query.startsWith('SELECT')) return { first: () => ({ get: () => document }) }
			if (query.includes('context_data')) document = params[1]
			else if (query.includes('IF NOT EXISTS')) {
				const applied = row === undefined
				row ??= { status: 'running' }
				return { wasApplied: () => applied }
			} else if (query.startsWith('INSERT')) row = { status: params[1], data: params[2] }
			return undefined
		}, !query.startsWith('SELECT'))
	/** @type {Map<string, any>} */
	const keys = new Map()
	const store = {
		increment: (/** @type {string} */ key) => counted(() => keys.set(key, (keys.get(key) ?? 0) + 1).get(key)),
		setIfNotExist: (/** @type {string} */ key, /** @type {string} */ value) =>
			counted(() => !keys.has(key) && Boolean(keys.set(key, value))),
		delete: (/** @type {string} */ key) => counted(() => void keys.delete(key)),
		extendTTL: (/** @type {string} */ key) => counted(() => keys.has(key)),
		get: (/** @type {string} */ key) => counted(() => keys.get(key), false),
	}
	const messages = startsOf(blueprintId)
	/** @type {(handle: (payload: any) => Promise<void>) => void} */
	let begin = idle
	/** @type {Promise<(payload: any) => Promise<void>>} */
	const handling = new Promise((resolve) => (begin = resolve))
	const send = (/** @type {any} */ { messages: [{ value }] }) => counted(() => messages.push(JSON.parse(value).nodeId))
	const kafka = {
		producer: () => ({ connect: idle, disconnect: idle, send }),
		consumer: () => ({
			connect: idle,
			disconnect: idle,
			subscribe: idle,
			run: async (/** @type {any} */ { eachMessage }) => begin(eachMessage),
		}),
	}
	const runtimeOptions = structuredFlows()
	const adapter = new theirs.KafkaAdapter(
		/** @type {any} */ ({
			kafka,
			cassandraClient: { execute },
			coordinationStore: store,
			keyspace: 'k',
			contextTableName: 'contexts',
			statusTableName: 'statuses',
			runtimeOptions,
		}),
	)
	adapter.logger = new NullLogger()
	await adapter.start()
	const handle = await handling
	const runId = randomUUID()
	const work = async () => {
		while (messages.length > 0) {
			const value = JSON.stringify({ runId, blueprintId, nodeId: messages[0] })
			await handle({ topic: 't', partition: 0, message: { value } })
			await counted(() => {})
			messages.shift()
		}
	}
	await Promise.race([work(), stopped])
	return { document: JSON.parse(document), row, messages: [...messages], changes }
}

/** 1.4.4 changes the blueprints of its worker. */
const structuredFlows = () =>
	new FlowRuntime({ blueprints: structuredClone(blueprints), registry: registryOf('left'), logger: new NullLogger() })
		.options
