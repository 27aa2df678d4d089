/** Runs that go on in one worker after the other. */
import assert from 'node:assert/strict'
import { bareSessions } from './worker.mjs'

/**
 * A run from opening to opening, each in a worker of its own that knows only what was durable.
 * @param {any[]} nodes @param {any} registry @param {any} [more]
 */
export function openings(nodes, registry, { edges = [], blueprints = {}, patienceMs = 0, ...options } = {}) {
	const blueprint = { id: 'bp', nodes, edges }
	/** @type {Record<string, any>} */
	let entries = {}
	/** @type {string | undefined} */
	let checkpoint
	/** @type {[nodeId: string, visit: number, at: number][]} */
	const timers = []
	return {
		timers,
		get checkpoint() {
			return JSON.parse(checkpoint ?? 'null')
		},
		/** @param {any[]} [commands] without them it is a message for the first node that opens the run */
		async open(commands = []) {
			const bare = bareSessions({ registry, blueprints: { bp: blueprint, ...blueprints }, ...options.runtime }, options)
			bare.open(commands.length > 0 ? [] : [nodes[0].id], { entries, checkpoint, commands })
			let outcome
			for (let seen = 0, done = false; !done;) {
				const until = Date.now() + patienceMs
				do await bare.settle()
				while (bare.steps.length === seen && Date.now() < until)
				const steps = bare.steps.slice(seen)
				seen += steps.length
				done = steps.length === 0
				for (const step of steps) {
					for (const [key, raw] of Object.entries(step.changes)) {
						if (raw === '') delete entries[key]
						else entries[key] = JSON.parse(raw)
					}
					checkpoint = step.text
					timers.push(...(step.extras?.timers ?? []))
					outcome = step.outcome ?? outcome
					bare.tell(2, 1, step.seq)
				}
				if (outcome) break
			}
			bare.tell(6, 1, 'closed')
			return { outcome, bare, entries }
		},
		/** The oldest timer is due. */
		wake() {
			const timer = timers.shift()
			assert.ok(timer, 'there is a timer')
			return this.open([wakeOf(timer)])
		},
	}
}

/** @param {[nodeId: string, visit: number, at: number]} timer */
export const wakeOf = ([nodeId, visit, at]) => ({
	id: `wake:${nodeId}:${visit}:${at}`,
	kind: 'wake',
	nodeId,
	visit,
	at,
	bucket: 1,
})
