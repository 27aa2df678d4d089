/**
 * Webhooks: addresses that let a waiting node go on, once each.
 *
 * A request is answered by a command (design D12) whose id comes from the token, so that a repeat changes nothing wherever the
 * first one died. The token counts as used only when the command is acknowledged.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { isObject } from '../clients/genuine.js'
import { KafkaAdapterError, messageOf, optionError } from '../errors.js'
import { answerWait } from '../adapter/run-control.js'
import { childPlace } from '../session/child-run.js'
import { fingerprint } from './webhook-tokens.js'
import { webhookTarget } from './webhook-nodes.js'

/**
 * @typedef {object} WebhookHost
 * @property {import('./webhook-options.js').WebhookSettings} settings
 * @property {import('../../../index.js').WebhookTokenStore} tokens
 * @property {Record<string, import('flowcraft').WorkflowBlueprint>} blueprints
 * @property {import('../adapter/run-control.js').ControlHost} control
 * @property {(runId: string) => Promise<string | undefined>} blueprintOf
 * @property {import('flowcraft').ILogger} logger
 *
 * @typedef {import('../../../index.js').WebhookWait} WebhookWait
 */

/** How long a request waits for another one that has its token. */
const PATIENCE_MS = 10_000
const POLL_MS = 50
/** They are for whoever stands in front of the workflow, and would be stored with the run. */
const UNTOLD_HEADERS = new Set(['authorization', 'proxy-authorization', 'cookie'])

/**
 * @param {WebhookHost} host
 * @param {string} runId
 * @param {string} nodeId
 * @returns {Promise<{ url: string, event: string }>}
 */
export const registerWebhook = async ({ settings, tokens, blueprints, blueprintOf }, runId, nodeId) => {
	for (const [name, value] of Object.entries({ runId, nodeId })) {
		if (typeof value !== 'string' || value === '') throw optionError(name, 'no id', 'Use a non-empty string')
	}
	const event = `webhook:${nodeId}`
	const place = childPlace()
	const within = place?.runId === runId ? place : undefined
	const target = webhookTarget(blueprints, await blueprintOf(runId), nodeId, within)
	const expiresAt = Date.now() + settings.ttlMs
	const token = await tokens.issue({ runId, nodeId: target, event, expiresAt })
	return { url: `${settings.baseUrl}/${encodeURIComponent(token)}`, event }
}

/**
 * @param {WebhookHost} host
 * @param {Request} request
 * @returns {Promise<Response>} never a rejection because of what was sent
 */
export const handleWebhook = async (host, request) => {
	checkRequest(request)
	if (request.method !== 'POST') return answer(405, 'use POST', { allow: 'POST' })
	const token = tokenOf(request)
	try {
		const wait = token === undefined ? undefined : await host.tokens.find(token)
		if (token === undefined || !wait || wait.expiresAt <= Date.now()) return unknown()
		const body = await readBody(request, host.settings.maxBodyBytes)
		if (body instanceof Response) return body
		return await use(host, token, wait, outputOf(request, wait, host.settings.baseUrl, token, body))
	} catch (error) {
		const name = token === undefined ? '' : ` ${fingerprint(token)}`
		host.logger.error(`[KafkaAdapter] Webhook${name} could not be taken: ${messageOf(error)}`)
		return answer(503, 'try again later', { 'retry-after': '5' })
	}
}

/** @param {any} request may come from another realm, or another implementation of fetch */
const checkRequest = (request) => {
	const isRequest =
		isObject(request) &&
		typeof request.url === 'string' &&
		typeof request.method === 'string' &&
		typeof request.arrayBuffer === 'function' &&
		isObject(request.headers)
	const fix = 'Give a standard Request; for Node\'s own server see "Webhooks" in the README'
	if (!isRequest) throw optionError('request', 'not a Request', fix)
	if (!request.bodyUsed) return
	throw optionError('request', 'its body has been read already', 'Read a request.clone() instead')
}

/** The last part of the path, wherever the framework has mounted it. @param {Request} request */
const tokenOf = ({ url }) => {
	try {
		const last = new URL(url, 'http://localhost').pathname.split('/').at(-1)
		return last ? decodeURIComponent(last) : undefined
	} catch {
		return undefined
	}
}

/**
 * One request at a time; whoever comes meanwhile waits for what becomes of the token.
 *
 * @param {WebhookHost} host
 * @param {string} token
 * @param {WebhookWait} wait
 * @param {unknown} output
 */
const use = async (host, token, wait, output) => {
	const { tokens } = host
	const deadline = performance.now() + PATIENCE_MS
	for (;;) {
		const claim = await tokens.claim(token)
		if (claim === 'used') return unknown()
		if (claim === 'claimed') break
		if (performance.now() > deadline) return answer(503, 'another request is using it', { 'retry-after': '30' })
		await sleep(POLL_MS)
	}
	try {
		const isSent = await send(host, token, wait, output)
		if (!isSent) await tokens.release(token)
		if (!isSent) return unknown()
	} catch (error) {
		await tokens.release(token)
		if (error instanceof KafkaAdapterError && error.code === 'ERR_RUN_UNKNOWN') return unknown()
		if (error instanceof KafkaAdapterError && error.code === 'ERR_JOB_TOO_LARGE') return answer(413, 'too large')
		throw error
	}
	await tokens.confirm(token, wait)
	return answer(200)
}

/** @param {WebhookHost} host @param {string} token @param {WebhookWait} wait @param {unknown} output */
const send = ({ control }, token, { runId, nodeId }, output) =>
	answerWait(control, runId, { id: `webhook:${fingerprint(token)}`, nodeId, output })

/**
 * @param {Request} request
 * @param {number} limit
 * @returns {Promise<{ value: unknown } | Response>}
 */
const readBody = async (request, limit) => {
	const tooLarge = () => answer(413, `a body has at most ${limit} bytes`)
	if (Number(request.headers.get('content-length') ?? 0) > limit) return tooLarge()
	/** @type {Uint8Array[]} */
	const chunks = []
	let size = 0
	for await (const chunk of /** @type {AsyncIterable<Uint8Array>} */ (request.body ?? [])) {
		size += chunk.length
		if (size > limit) return tooLarge()
		chunks.push(chunk)
	}
	try {
		const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
		const isJson = /^[^;]*[/+]json\s*(;|$)/i.test(request.headers.get('content-type') ?? '')
		return { value: isJson && text !== '' ? JSON.parse(text) : text }
	} catch {
		return answer(400, 'the body is not what its content-type says, or not UTF-8')
	}
}

/**
 * @param {Request} request
 * @param {WebhookWait} wait
 * @param {string} baseUrl
 * @param {string} token
 * @param {{ value: unknown }} body
 */
const outputOf = (request, { event }, baseUrl, token, { value: body }) => {
	const headers = Object.fromEntries([...request.headers].filter(([name]) => !UNTOLD_HEADERS.has(name)))
	const query = Object.fromEntries(new URL(request.url, 'http://localhost').searchParams)
	const url = `${baseUrl}/${encodeURIComponent(token)}`
	return { url, event, request: { method: request.method, headers, query, body } }
}

/** A wrong, a used and an expired token look alike. */
const unknown = () => answer(404, 'there is nothing that waits here')

/**
 * @param {number} status
 * @param {string} [error]
 * @param {Record<string, string>} [headers]
 */
const answer = (status, error, headers) =>
	Response.json(error === undefined ? { status: 'accepted' } : { error }, {
		status,
		headers: { ...headers, 'cache-control': 'no-store' },
	})
