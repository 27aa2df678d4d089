/**
 * Tokens of webhooks that carry what they stand for, sealed with the secret of the option: nothing is stored before they are used,
 * so that nothing can be lost (docs/decisions.md).
 *
 * That a token was used is noted in the coordination store. Without one, or where it has lost the note, the run's own record
 * decides (webhooks.js): a wait that has its answer takes no other.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { messageOf } from '../errors.js'

/**
 * @typedef {import('../../../index.js').WebhookWait} WebhookWait
 * @typedef {import('../../../index.js').WebhookTokenStore} WebhookTokenStore
 */

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_INFO = 'flowcraft webhook token 1'
/** How long a request may hold a token before another one may try, seconds. */
const CLAIM_SECONDS = 30

/** A name for a token in keys, ids and log lines, from which it cannot be found. @param {string} token */
export const fingerprint = (token) => createHash('sha256').update(token).digest('hex').slice(0, 40)

/** @implements {WebhookTokenStore} */
export class SealedTokens {
	#keys
	#audience
	#store
	#logger

	/**
	 * @param {object} parts
	 * @param {Uint8Array[]} parts.secrets
	 * @param {string} parts.topic a token of another topic is none of this one
	 * @param {() => import('flowcraft').ICoordinationStore | undefined} parts.store
	 * @param {() => import('flowcraft').ILogger} parts.logger
	 */
	constructor({ secrets, topic, store, logger }) {
		this.#keys = secrets.map((secret) => Buffer.from(hkdfSync('sha256', secret, '', KEY_INFO, 32)))
		this.#audience = Buffer.from(topic)
		this.#store = store
		this.#logger = logger
	}

	/** @param {WebhookWait} wait */
	async issue({ runId, nodeId, event, expiresAt }) {
		const nonce = randomBytes(NONCE_BYTES)
		const cipher = createCipheriv(CIPHER, this.#keys[0], nonce).setAAD(this.#audience)
		const sealed = [cipher.update(JSON.stringify([runId, nodeId, event, expiresAt])), cipher.final()]
		return Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]).toString('base64url')
	}

	/** @param {string} token @returns {Promise<WebhookWait | undefined>} */
	async find(token) {
		const bytes = Buffer.from(token, 'base64url')
		// Several texts decode to the same bytes; one of them is the token.
		if (bytes.length <= NONCE_BYTES + TAG_BYTES || bytes.toString('base64url') !== token) return undefined
		for (const key of this.#keys) {
			const text = this.#open(key, bytes)
			if (text === undefined) continue
			const [runId, nodeId, event, expiresAt] = JSON.parse(text)
			return { runId, nodeId, event, expiresAt }
		}
		return undefined
	}

	/** @param {Buffer} key @param {Buffer} bytes */
	#open(key, bytes) {
		const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
		decipher.setAAD(this.#audience).setAuthTag(bytes.subarray(-TAG_BYTES))
		try {
			const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES))
			return Buffer.concat([text, decipher.final()]).toString()
		} catch {
			return undefined
		}
	}

	/** @param {string} token @returns {Promise<'claimed' | 'taken' | 'used'>} */
	async claim(token) {
		const { used, claimed } = keysOf(token)
		return this.#ask('claimed', async (store) => {
			if ((await store.get(used)) !== undefined) return 'used'
			if (!(await store.setIfNotExist(claimed, 'claimed', CLAIM_SECONDS))) return 'taken'
			// Whoever held it may have used it in between.
			return (await store.get(used)) === undefined ? 'claimed' : 'used'
		})
	}

	/** @param {string} token @param {WebhookWait} wait */
	async confirm(token, { expiresAt }) {
		const { used, claimed } = keysOf(token)
		const seconds = Math.max(CLAIM_SECONDS, Math.ceil((expiresAt - Date.now()) / 1000))
		await this.#ask(undefined, async (store) => {
			await store.setIfNotExist(used, 'used', seconds)
			await store.delete(claimed)
		})
	}

	/** @param {string} token */
	async release(token) {
		await this.#ask(undefined, (store) => store.delete(keysOf(token).claimed))
	}

	/**
	 * The coordination store only notes what the run's record says anyway, a little earlier: its loss refuses nobody.
	 *
	 * @template T
	 * @param {T} otherwise
	 * @param {(store: import('flowcraft').ICoordinationStore) => Promise<T>} work
	 * @returns {Promise<T>}
	 */
	async #ask(otherwise, work) {
		const store = this.#store()
		if (typeof store?.setIfNotExist !== 'function') return otherwise
		try {
			return await work(store)
		} catch (error) {
			const text = `The coordination store did not note the use of a webhook token; the run's record decides: ${messageOf(error)}`
			this.#logger().warn(`[KafkaAdapter] ${text}`)
			return otherwise
		}
	}
}

/** @param {string} token */
const keysOf = (token) => {
	const name = `flowcraft:webhook:${fingerprint(token)}`
	return { used: `${name}:used`, claimed: `${name}:claimed` }
}
