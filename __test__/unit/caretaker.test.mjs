/** Who of a group does what is to be done by one of them, and when. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it, mock } from 'node:test'
import { Caretaker } from '../../src/js/adapter/caretaker.js'
import { memoryLogger } from '../contract/mocks.mjs'

const EVERY_SECONDS = 60
const round = () => mock.timers.tick(EVERY_SECONDS * 1000)
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('a duty of one worker of the group', () => {
	beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }))
	afterEach(() => mock.timers.reset())

	/** @param {(signal: AbortSignal) => Promise<unknown>} work @param {number[]} [partitions] */
	const caretakerOf = (work, partitions = [0]) => {
		const logger = memoryLogger()
		const duty = {
			everySeconds: EVERY_SECONDS,
			partitions: () => partitions,
			logger: () => logger,
			failure: 'No',
			work,
		}
		return { caretaker: new Caretaker(/** @type {any} */ (duty)), partitions, logger }
	}

	it('is done by whoever has the first partition, as long as it has it', async () => {
		let done = 0
		const { caretaker, partitions } = caretakerOf(async () => done++, [1, 2])
		caretaker.start()
		round()
		assert.equal(done, 0, 'another one has it')
		partitions.push(0)
		for (const expected of [1, 2]) {
			round()
			await settled()
			assert.equal(done, expected)
		}
		partitions.length = 0
		round()
		assert.equal(done, 2)
		await caretaker.stop()
	})

	it('is not begun a second time while it is under way, and is waited for by a stop, which tells it', async () => {
		let begun = 0
		let ended = false
		/** @param {AbortSignal} signal */
		const work = async (signal) => {
			begun++
			await new Promise((resolve) => signal.addEventListener('abort', resolve))
			ended = true
		}
		const { caretaker } = caretakerOf(work)
		caretaker.start()
		for (let at = 0; at < 3; at++) round()
		assert.equal(begun, 1)
		await caretaker.stop()
		assert.ok(ended)
		round()
		assert.equal(begun, 1, 'nothing is done after a stop')
	})

	it('is done again after a failure, which is logged', async () => {
		let done = 0
		const { caretaker, logger } = caretakerOf(async () => {
			if (++done === 1) throw new Error('of the store')
		})
		caretaker.start()
		for (let at = 0; at < 2; at++) {
			round()
			await settled()
		}
		assert.equal(done, 2)
		assert.deepEqual(logger.lines, [['error', '[KafkaAdapter] No: of the store']])
		await caretaker.stop()
	})
})
