/**
 * The attempts of a run that wait for a timer: which are to follow, and which may begin.
 */
import { logRetry, mayRetry } from './queue-retries.js'

/** @typedef {import('./visit.js').Visit} Visit */

/** Whether another attempt is to follow. @param {Visit} visit that has ended */
export function isToRetry(visit) {
	const { plan, attempt } = visit
	return plan !== undefined && !visit.succeeded && attempt < plan.attempts && mayRetry(visit.error)
}

export class RunAttempts {
	#env
	#runId
	#progress
	#waits

	/**
	 * @param {Pick<import('./run-session.js').SessionEnvironment, 'retries' | 'logger'>} env
	 * @param {{ runId: string, progress: import('./run-progress.js').RunProgress, waits: import('./run-waits.js').RunWaits }} run
	 */
	constructor(env, { runId, progress, waits }) {
		this.#env = env
		this.#runId = runId
		this.#progress = progress
		this.#waits = waits
	}

	/**
	 * Another visit for a node that has failed, with a timer that lets it begin.
	 * @param {Visit} visit that is to be retried
	 */
	next(visit) {
		const { retries, logger } = this.#env
		const { visits } = this.#progress
		const plan = /** @type {import('./queue-retries.js').RetryPlan} */ (visit.plan)
		let at = /** @type {NonNullable<typeof retries>} */ (retries).nextAt(plan, visit.attempt)
		// A timer is told by run, node and time.
		const taken = new Set()
		for (const { nodeId, dueAt } of visits.values()) if (nodeId === visit.nodeId) taken.add(dueAt)
		while (taken.has(at)) at++
		const next = visit.retry(this.#progress.nextNumber(), at)
		visits.set(next.number, next)
		this.#waits.alarm(next.nodeId, next.number, at)
		logRetry(logger, visit, plan, this.#runId, at)
		return next
	}

	/** The attempt that a timer lets begin. @param {import('../adapter/command-messages.js').RunCommand} command */
	of({ nodeId, visit: number = 0, at }) {
		const visit = this.#progress.visits.get(number)
		return visit && visit.nodeId === nodeId && visit.dueAt === at ? visit : undefined
	}

	/** Those whose time has come though no timer said so. */
	overdue() {
		const now = Date.now()
		return [...this.#progress.visits.values()].filter(({ dueAt }) => dueAt !== undefined && dueAt <= now)
	}
}
