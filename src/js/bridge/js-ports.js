/**
 * Answers the engine's requests (docs/bridge.md, kind 7) through the user's objects and overridden hooks.
 */
import { asEngine, RESERVED_KEY } from '../cassandra-context.js'
import { Code, KafkaAdapterError } from '../errors.js'
import { isObject } from '../clients/genuine.js'

/**
 * @typedef {import('flowcraft').IAsyncContext<Record<string, any>>} RunContext
 * @typedef {import('flowcraft').PatchOperation} PatchOperation
 * @typedef {import('flowcraft').JobPayload} JobPayload
 * @typedef {{ status: string, payload?: any, reason?: string }} FinalResult
 *
 * The adapter's members as the engine may call them, overridden or not.
 * @typedef {object} Hooks
 * @property {(runId: string) => RunContext} createContext
 * @property {(runId: string) => Promise<void>} touchStatus
 * @property {(runId: string, result: FinalResult) => Promise<void>} publishFinalResult
 * @property {(job: JobPayload) => Promise<void>} enqueueJob
 * @property {(job: JobPayload) => Promise<void>} handle the handler that `processJobs` was given
 *
 * @typedef {object} PortObjects
 * @property {Hooks} hooks
 * @property {() => import('flowcraft').ICoordinationStore} store
 * @property {import('./js-source.js').JsSource | undefined} source
 * @property {() => import('../clients/kafkajs.js').TokenProvider | undefined} token
 *
 * @typedef {Record<string, any>} Args
 * @typedef {(args: Args) => unknown} Operation
 */

/** What a token without an `exp` claim is taken to live; the engine asks again before it ends. */
const TOKEN_LIFETIME_MS = 5 * 60_000

/** @param {unknown} raw JSON text, or the value itself */
const parsed = (raw) => (typeof raw === 'string' ? JSON.parse(raw) : raw)

/** @param {unknown} value hexadecimal, or `null` */
const bytes = (value) => (typeof value === 'string' ? Buffer.from(value, 'hex') : null)

/**
 * @param {Args} args
 * @returns {PatchOperation[]} one write of a run in the words of `IAsyncContext.patch`
 */
const operations = ({ changes, checkpoint }) => {
	/** @type {PatchOperation[]} */
	const list = changes.map((/** @type {[string, string | null]} */ [key, raw]) =>
		raw === null ? { op: 'delete', key } : { op: 'set', key, value: JSON.parse(raw) },
	)
	if (checkpoint !== null && checkpoint !== undefined) {
		list.push({ op: 'set', key: RESERVED_KEY, value: parsed(checkpoint) })
	}
	return list
}

/**
 * @param {RunContext} context
 * @param {PatchOperation[]} list
 */
const write = async (context, list) => {
	if (typeof context.patch === 'function') return context.patch(list)
	for (const operation of list) {
		if (operation.op === 'set') await context.set(operation.key, operation.value)
		else await context.delete(operation.key)
	}
}

/**
 * @param {string} token
 * @returns {{ exp?: unknown, sub?: unknown }} claims of a JSON web token; none for an opaque token
 */
const claims = (token) => {
	try {
		const body = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
		return isObject(body) ? body : {}
	} catch {
		return {}
	}
}

/** @param {import('../clients/kafkajs.js').TokenProvider | undefined} provide */
const fetchToken = async (provide) => {
	if (!provide) throw new KafkaAdapterError(Code.Internal, 'no token provider: the settings name none')
	const { value, extensions } = await provide()
	const { exp, sub } = claims(value)
	const lifetimeMs = typeof exp === 'number' ? exp * 1000 : Date.now() + TOKEN_LIFETIME_MS
	return { token: value, lifetimeMs, principal: typeof sub === 'string' ? sub : '', extensions }
}

/**
 * @param {Hooks} hooks
 * @returns {Record<string, Operation>}
 */
const contextOperations = (hooks) => ({
	'context.load': ({ run }) =>
		asEngine(async () => {
			const document = await hooks.createContext(run).toJSON()
			return { text: isObject(document) && Object.keys(document).length === 0 ? null : JSON.stringify(document) }
		}),
	'context.write': (args) => asEngine(() => write(hooks.createContext(args.run), operations(args))),
})

/**
 * @param {Hooks} hooks
 * @returns {Record<string, Operation>}
 */
const statusOperations = (hooks) => ({
	'status.touch': ({ run }) => hooks.touchStatus(run),
	// A run that waits for its next attempt has no result to tell of.
	'status.publish': ({ run, status, data }) =>
		status === 'running' ? hooks.touchStatus(run) : hooks.publishFinalResult(run, { status, ...parsed(data) }),
})

/**
 * @param {PortObjects['store']} store
 * @returns {Record<string, Operation>}
 */
const coordinationOperations = (store) => ({
	'coordination.increment': ({ key, ttl }) => store().increment(key, ttl),
	'coordination.setIfNotExist': ({ key, value, ttl }) => store().setIfNotExist(key, value, ttl),
	'coordination.delete': ({ key }) => store().delete(key),
	'coordination.extendTTL': ({ key, ttl }) => store().extendTTL(key, ttl),
	// A store of the user may give back the number that `increment` has put there.
	'coordination.get': async ({ key }) => (await store().get(key))?.toString(),
})

/**
 * @param {PortObjects} objects
 * @returns {Record<string, Operation>}
 */
const jobOperations = ({ hooks, source, token }) => ({
	'sink.send': ({ run, blueprint, node }) => hooks.enqueueJob({ runId: run, blueprintId: blueprint, nodeId: node }),
	'sink.command': ({ run, command }) => source?.sendCommand(run, command),
	'sink.deadLetter': ({ key, value, headers, ...letter }) =>
		source?.deadLetter({
			key: bytes(key),
			value: bytes(value),
			headers: Object.fromEntries(headers.map((/** @type {unknown[]} */ [name, text]) => [name, bytes(text)])),
			partition: letter.partition,
			offset: letter.offset,
			code: letter.code,
			reason: letter.reason,
			run: letter.run,
		}),
	// The adapter starts the consumer itself, after the engine; kafkajs commits what `eachMessage` has completed.
	'source.start': () => undefined,
	'source.commit': () => undefined,
	// Not awaited: kafkajs waits for messages in work, and the engine ends those after this answer.
	'source.stop': () => void source?.stop().catch(() => undefined),
	handle: ({ runId, blueprintId, nodeId }) => hooks.handle({ runId, blueprintId, nodeId }),
	'kafka.token': () => fetchToken(token()),
})

/**
 * @param {PortObjects} objects
 * @returns {(op: string, argsJson: string) => Promise<string | null>} answers one request; the result is JSON text
 */
export const createPorts = (objects) => {
	/** @type {Record<string, Operation>} */
	const table = {
		...contextOperations(objects.hooks),
		...statusOperations(objects.hooks),
		...coordinationOperations(objects.store),
		...jobOperations(objects),
	}
	return async (op, argsJson) => {
		const operation = Object.hasOwn(table, op) ? table[op] : undefined
		if (!operation) throw new KafkaAdapterError(Code.Internal, `the engine asked for "${op}", which nobody answers`)
		const result = await operation(JSON.parse(argsJson))
		return result === undefined ? null : JSON.stringify(result)
	}
}
