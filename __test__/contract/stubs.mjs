/** Implementations that know nothing: a contract which they pass says nothing. */
import assert from 'node:assert/strict'
import { differences } from './differences.mjs'

const ADAPTER_MEMBERS = [
	'start',
	'stop',
	'processJobs',
	'enqueueJob',
	'createContext',
	'onJobStart',
	'reconcile',
	'handleJob',
	'publishFinalResult',
	'registerWebhookEndpoint',
]

const answering = (constant) =>
	class {
		constructor() {
			return new Proxy(this, {
				get: (target, name) => (name === 'then' ? undefined : (target[name] ?? (() => constant))),
			})
		}
	}

/** An implementation of which every member answers `constant`. */
function stubOf(constant) {
	class KafkaAdapter extends answering(constant) {}
	for (const name of ADAPTER_MEMBERS) KafkaAdapter.prototype[name] = () => constant
	return {
		KafkaAdapter,
		CassandraContext: class CassandraContext extends answering(constant) {},
		RedisCoordinationStore: class RedisCoordinationStore extends answering(constant) {},
		createKafkaReconciler: () => ({ run: async () => constant }),
	}
}

const constants = { undefined, true: true, 0: 0, text: '', object: {}, list: [], promise: Promise.resolve() }

/** @type {[string, any][]} what each answers, and the stub */
export const stubs = Object.entries(constants).map(([name, constant]) => [name, stubOf(constant)])

/**
 * What a scenario has to see.
 *
 * @param {import('./surface.contract.mjs').Scenario} scenario
 * @param {'theirs' | 'ours'} side
 */
export const expectedOf = (scenario, side) =>
	Object.hasOwn(scenario, 'expect') ? scenario.expect : differences[scenario.id]?.[side]

/**
 * @param {string} section
 * @param {import('./surface.contract.mjs').Scenario[]} list
 * @param {(scenario: any) => unknown} observe
 */
export async function assertFails(section, list, observe) {
	const passes = await Promise.all(
		list.map(async (scenario) => {
			const seen = await Promise.resolve()
				.then(() => observe(scenario))
				.catch(() => 'failed')
			try {
				assert.deepEqual(seen, expectedOf(scenario, 'ours'))
				return scenario.id
			} catch {
				return undefined
			}
		}),
	)
	const passed = passes.filter(Boolean)
	assert.ok(passed.length < list.length / 2, `${section}: the stub passes ${passed.join('; ')}`)
}
