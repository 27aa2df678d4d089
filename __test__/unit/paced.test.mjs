/** Work on many runs: how many are begun in which time, and what ends all of it. Without a clock. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { inLanes, pace, patiently } from '../../src/js/paced.js'

/** A clock that goes on only while somebody rests. */
const standing = () => {
	let ms = 0
	return { now: () => ms, rest: async (/** @type {number} */ span) => void (ms += span) }
}

describe('a pace', () => {
	for (const [perSecond, runs] of [
		[1, 5],
		[200, 1000],
	]) {
		it(`lets ${perSecond} through in a second, and one more`, async () => {
			const clock = standing()
			const turn = pace(perSecond, undefined, clock)
			for (let begun = 1; begun <= runs; begun++) {
				await turn()
				assert.ok(begun <= Math.floor((clock.now() * perSecond) / 1000 + 1e-6) + 1, `${begun} at ${clock.now()} ms`)
			}
			assert.equal(Math.round(clock.now()), ((runs - 1) * 1000) / perSecond)
		})
	}

	it('holds up nobody when it is infinite', async () => {
		const clock = standing()
		const turn = pace(Infinity, undefined, clock)
		for (let begun = 0; begun < 1000; begun++) await turn()
		assert.equal(clock.now(), 0)
	})

	it('ends with its signal', async () => {
		const end = new AbortController()
		const turn = pace(0.001, end.signal)
		await turn()
		const second = turn()
		end.abort()
		await second
	})
})

describe('what may pass', () => {
	const failing = (/** @type {boolean} */ retryable) => Object.assign(new Error('no'), { retryable })

	it('is tried again', async () => {
		let tries = 0
		const work = async () => {
			if (++tries === 1) throw failing(true)
			return tries
		}
		assert.equal(await patiently(work, undefined), 2)
	})

	it('and what does not is not, nor after the signal', async () => {
		let tries = 0
		const never = async () => {
			tries++
			throw failing(false)
		}
		await assert.rejects(patiently(never, undefined), /no/)
		const ended = async () => {
			tries++
			throw failing(true)
		}
		await assert.rejects(patiently(ended, AbortSignal.abort()), /no/)
		assert.equal(tries, 2)
	})
})

describe('lanes', () => {
	const turn = () => new Promise((resolve) => setImmediate(resolve))
	async function* numbers() {
		for (let number = 0; number < 10; number++) yield number
	}

	it('do each item once, so many at once', async () => {
		/** @type {number[]} */
		const done = []
		let atOnce = 0
		let most = 0
		await inLanes(numbers(), 3, async (item) => {
			most = Math.max(most, ++atOnce)
			await turn()
			atOnce--
			done.push(item)
		})
		assert.deepEqual([done.toSorted((a, b) => a - b), most], [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 3])
	})

	it('begin nothing more when one has broken, and throw its reason when all have ended', async () => {
		/** @type {number[]} */
		const begun = []
		let ended = 0
		const work = async (/** @type {number} */ item) => {
			begun.push(item)
			if (item === 1) throw new Error('broken')
			await turn()
			ended++
		}
		await assert.rejects(inLanes(numbers(), 2, work), /broken/)
		assert.deepEqual([begun, ended], [[0, 1], 1])
	})
})
