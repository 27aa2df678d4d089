/** Runs the one contract against npm's 1.4.4 and against this package, and holds the table of differences to it. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import * as theirs from 'kafka-adapter-js'
import * as ours from '../../src/js/index.js'
import { setNative } from '../../src/js/native.js'
import { differences } from './differences.mjs'
import { fakeNative } from './fake-native.mjs'
import { sections } from './surface.contract.mjs'

const scenarios = Object.values(sections).flat()

// Nothing in the contract needs the engine to do anything: it has to be there when a worker starts.
before(() => setNative(fakeNative))
after(() => setNative(undefined))

/**
 * @param {'theirs' | 'ours'} side
 * @param {object} module
 */
const run = (side, module) => {
	for (const [section, list] of Object.entries(sections)) {
		describe(section, () => {
			for (const scenario of list) {
				const expected = Object.hasOwn(scenario, 'expect') ? scenario.expect : differences[scenario.id]?.[side]
				it(scenario.id, async () => assert.deepEqual(await scenario.observe(module), expected))
			}
		})
	}
}

describe("npm's 1.4.4", () => run('theirs', theirs))
describe('this package', () => run('ours', ours))

describe('the table of differences', () => {
	it('is about scenarios that leave it open what to expect, and about each of them', () => {
		const open = scenarios.filter((scenario) => !Object.hasOwn(scenario, 'expect')).map(({ id }) => id)
		assert.deepEqual(Object.keys(differences).toSorted(), open.toSorted())
	})

	it('lists no two equal behaviours, and says why', () => {
		for (const [id, { theirs, ours, source, reason }] of Object.entries(differences)) {
			assert.notDeepEqual(theirs, ours, id)
			assert.match(source, /^(spec \d|issue \d|design D)/, id)
			assert.ok(reason.length > 20, id)
		}
	})
})

describe('the contract', () => {
	it('has every scenario once', () => {
		assert.equal(new Set(scenarios.map(({ id }) => id)).size, scenarios.length)
	})

	/** An implementation of which every member answers `constant`. */
	const stubOf = (constant) => {
		const answering = (base) =>
			class extends base {
				constructor(...args) {
					super(...args)
					return new Proxy(this, {
						get: (target, name) => (name === 'then' ? undefined : (target[name] ?? (() => constant))),
					})
				}
			}
		const members = [
			'start',
			'stop',
			'processJobs',
			'enqueueJob',
			'createContext',
			'onJobStart',
			'reconcile',
			'handleJob',
		]
		class KafkaAdapter extends answering(Object) {}
		for (const name of [...members, 'publishFinalResult', 'registerWebhookEndpoint']) {
			KafkaAdapter.prototype[name] = () => constant
		}
		return {
			KafkaAdapter,
			CassandraContext: class CassandraContext extends answering(Object) {},
			RedisCoordinationStore: class RedisCoordinationStore extends answering(Object) {},
			createKafkaReconciler: () => ({ run: async () => constant }),
		}
	}

	const constants = { undefined, true: true, 0: 0, text: '', object: {}, list: [], promise: Promise.resolve() }
	for (const [name, constant] of Object.entries(constants)) {
		it(`is failed in every section by a stub that answers ${name}`, async () => {
			for (const [section, list] of Object.entries(sections)) {
				let failures = 0
				for (const { id, observe, expect } of list) {
					const seen = await Promise.resolve()
						.then(() => observe(stubOf(constant)))
						.catch(() => 'failed')
					try {
						assert.deepEqual(seen, expect ?? differences[id]?.ours)
					} catch {
						failures++
					}
				}
				assert.ok(failures > list.length / 2, `${section}: the stub passes ${list.length - failures} of ${list.length}`)
			}
		})
	}
})
