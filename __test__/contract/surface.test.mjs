/** Runs the one contract against npm's 1.4.4 and against this package, and holds the table of differences to it. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import * as theirs from 'kafka-adapter-js'
import * as ours from '../../src/js/index.js'
import { setNative } from '../../src/js/native.js'
import { differences } from './differences.mjs'
import { fakeNative } from './fake-native.mjs'
import { sections as onServices } from './services.contract.mjs'
import { assertFails, expectedOf, stubs } from './stubs.mjs'
import { sections } from './surface.contract.mjs'

const scenarios = [sections, onServices].flatMap((some) => Object.values(some).flat())

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
				it(scenario.id, async () => assert.deepEqual(await scenario.observe(module), expectedOf(scenario, side)))
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

	it('lists no two equal behaviours, says why, and which section calls that of 1.4.4 wrong', () => {
		for (const [id, { theirs, ours, source, reason, beyond }] of Object.entries(differences)) {
			assert.notDeepEqual(theirs, ours, id)
			assert.ok(reason.length > 20, id)
			assert.match(source, /^(spec|design|issue) /, id)
			const isCalledWrong = /spec (2|5)\b/.test(source)
			assert.equal(isCalledWrong, beyond === undefined, `${id}: spec 2 or 5, or why neither`)
			if (!isCalledWrong) assert.ok(beyond.length > 20, id)
		}
	})
})

describe('the contract', () => {
	it('has every scenario once', () => {
		assert.equal(new Set(scenarios.map(({ id }) => id)).size, scenarios.length)
	})

	for (const [name, stub] of stubs) {
		it(`is failed in every section by a stub that answers ${name}`, async () => {
			for (const [section, list] of Object.entries(sections))
				await assertFails(section, list, ({ observe }) => observe(stub))
		})
	}
})
