/**
 * Who answers what a run awaits, through the public door: waits by `resumeWithAction`, webhooks by a request to their address. Sleeps
 * are over by themselves.
 */
import assert from 'node:assert/strict'
import { comparable, published } from './comparator.mjs'
import { answerTo, bodyTo, ignoredIn, openPauses, withoutChains } from './pauses.mjs'

/** For adapters of runs with webhooks. */
export const WEBHOOKS = { baseUrl: 'http://localhost/hooks', secret: 'of the oracle, long enough for a key' }
/** Looks at the same row after which an answer is given again: its run may have died with it. */
const PATIENCE = 250

export class Answering {
	#built
	#runId
	#cancels
	#seen = ''
	#given = 0
	#looks = 0

	/**
	 * @param {import('./build.mjs').Built} built
	 * @param {string} runId
	 * @param {boolean} cancels instead of giving an answer
	 */
	constructor(built, runId, cancels) {
		this.#built = built
		this.#runId = runId
		this.#cancels = cancels
	}

	/** @param {import('../../src/js/index.js').KafkaAdapter} adapter @param {any} data of the status row, `awaiting` */
	async look(adapter, data) {
		const text = JSON.stringify(data)
		if (text === this.#seen && ++this.#looks < PATIENCE) return
		this.#seen = text
		this.#looks = 0
		const { blueprint, children } = this.#built
		const open = openPauses(data.payload.context, blueprint, children)
		const first = open.find(({ node }) => node.uses !== 'sleep')
		if (!first) return
		if (this.#cancels) await adapter.cancel(this.#runId)
		else if (first.node.uses === 'webhook') await this.#request(adapter, first)
		// The row may be of before the last answer: without an address a second one could be somebody else's.
		else await this.#resume(adapter, first, open.length === 1 && this.#given === 0)
		this.#given++
	}

	/** @param {import('../../src/js/index.js').KafkaAdapter} adapter @param {import('./pauses.mjs').OpenPause} pause @param {boolean} isOnly */
	async #resume(adapter, { ids, node }, isOnly) {
		const { action, output } = answerTo(node)
		await adapter.resumeWithAction(this.#runId, action, output, isOnly ? {} : { nodeId: ids.join('/') })
	}

	/** @param {import('../../src/js/index.js').KafkaAdapter} adapter @param {import('./pauses.mjs').OpenPause} pause */
	async #request(adapter, { node, context }) {
		const { url } = context[`_outputs.${node.id}`]
		const { status } = await adapter.handleWebhook(new Request(url, { method: 'POST', body: bodyTo(node) }))
		assert.ok(status === 200 || status === 404, `${url}: ${status}`)
	}
}

/** What is compared. @param {import('./build.mjs').Built} built @param {any} data of its status row */
export function resultOf(built, data) {
	const { blueprint, initial, ignore } = built
	const result = published(data, blueprint, initial)
	return built.answered ? withoutChains(comparable(result, ignoredIn(built))) : comparable(result, ignore)
}
