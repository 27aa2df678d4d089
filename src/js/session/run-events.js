/**
 * What a run tells the event buses: `workflow:*` on the runtime's, as memory does, and `job:*` on the adapter's.
 * (`node:*`, `edge:*`, `context:change` and `batch:*` come from Flowcraft itself.)
 */
import { unlessEmpty } from './checkpoint.js'
import { messageOf } from './outcome.js'

/** @typedef {import('./visit.js').Visit} Visit */

export class RunEvents {
	#eventBus
	#adapterBus
	#logger
	#run
	#job

	/**
	 * @param {import('./run-session.js').SessionEnvironment} env
	 * @param {{ runId: string, blueprintId: string, executedId: string }} run the blueprint's registered and own id
	 */
	constructor({ services, adapterBus, logger }, { runId, blueprintId, executedId }) {
		this.#eventBus = services.eventBus
		this.#adapterBus = adapterBus
		this.#logger = logger
		this.#run = { blueprintId: executedId, executionId: runId }
		this.#job = { runId, blueprintId }
	}

	/** Rejects as the event bus does: in memory this rejects the run. @param {boolean} isFresh */
	async opened(isFresh) {
		if (isFresh) await this.#eventBus.emit({ type: 'workflow:start', payload: this.#run })
		await this.#eventBus.emit({ type: 'workflow:resume', payload: this.#run })
	}

	/**
	 * The end, as `FlowRuntime.run` tells it: a run that rejects says `cancelled`, a cancelled one says so twice.
	 * @param {import('./outcome.js').Outcome} outcome
	 * @param {any[]} errors
	 */
	async finished(outcome, errors) {
		if (outcome.status === 'running') return
		const isRejected = 'payload' in outcome
		const status = isRejected ? 'cancelled' : outcome.status
		const told = isRejected ? [workflowError(outcome.reason ?? 'Workflow cancelled')] : unlessEmpty(errors)
		const finish = { type: 'workflow:finish', payload: { ...this.#run, status, errors: told } }
		try {
			await this.#eventBus.emit(finish)
			if (outcome.status !== 'cancelled') return
			await this.#eventBus.emit({ type: 'workflow:pause', payload: this.#run })
			await this.#eventBus.emit(finish)
		} catch (error) {
			this.#logger.warn(
				`[KafkaAdapter] The event bus failed at the end of run '${this.#job.runId}': ${messageOf(error)}`,
			)
		}
	}

	/** A node will be tried again, as Flowcraft's executor tells it. @param {{ nodeId: string, attempt: number }} visit that has failed */
	async retried({ nodeId, attempt }) {
		try {
			await this.#eventBus.emit({ type: 'node:retry', payload: { nodeId, attempt, ...this.#run } })
		} catch (error) {
			this.#logger.warn(`[KafkaAdapter] The event bus failed on node:retry: ${messageOf(error)}`)
		}
	}

	/** A durable step. @param {Visit[]} recorded @param {Visit[]} due */
	jobs(recorded, due) {
		if (!this.#adapterBus) return
		for (const visit of recorded) {
			const { nodeId } = visit
			if (visit.succeeded) this.#emit('job:processed', { nodeId, duration: visit.duration, success: true })
			else if (visit.settled) this.#emit('job:failed', { nodeId, error: visit.error })
		}
		for (const { nodeId } of due) this.#emit('job:enqueued', { nodeId })
	}

	/** @param {string} type @param {any} detail */
	async #emit(type, detail) {
		try {
			await /** @type {any} */ (this.#adapterBus).emit({ type, payload: { ...this.#job, ...detail } })
		} catch (error) {
			this.#logger.warn(`[KafkaAdapter] The event bus failed on ${type}: ${messageOf(error)}`)
		}
	}
}

/** @param {string} message */
function workflowError(message) {
	return { message, timestamp: new Date().toISOString(), isFatal: false, name: 'WorkflowError' }
}
