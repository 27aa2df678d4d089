import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BatchRecord } from '../../src/js/session/batch-record.js'

const uuid = '00000000-1111-2222-3333-444444444444'

test('a record takes workers as batch-scatter makes them, and nothing else', () => {
	const def = (/** @type {number} */ i, /** @type {any} */ more = {}) => ({
		id: `w_x_${uuid}_${i}`,
		uses: 'w_x',
		inputs: `_batch.s_${uuid}_item_${i}`,
		...more,
	})
	const record = BatchRecord.of(def(3), 's', 'g')
	assert.ok(record)
	record.count++
	assert.equal(record.isNext(def(4), 's', 'g'), true)
	assert.equal(record.isNext(def(5), 's', 'g'), false)
	assert.equal(record.isNext(def(4), 'other', 'g'), false)
	assert.equal(record.isNext(def(4), 's', undefined), false)
	for (const odd of [{ params: {} }, { inputs: 'x' }, { uses: 'y' }, { config: { maxRetries: 2 } }]) {
		assert.equal(record.isNext(def(4, odd), 's', 'g'), false)
		assert.equal(BatchRecord.of(def(4, odd), 's', 'g'), undefined)
	}
	assert.deepEqual(record.worker(4), def(4))
})

test('completed items are ranges, in whatever order they come', () => {
	fc.assert(
		fc.property(fc.uniqueArray(fc.nat(60)), (items) => {
			const record = new BatchRecord('s', 'g', 'w', uuid, 0)
			for (const item of items) assert.equal(record.complete(item, 4), true)
			const sorted = items.toSorted((a, b) => a - b)
			assert.deepEqual(record.doneItems(), sorted)
			const gaps = sorted.filter((item, i) => i > 0 && item !== sorted[i - 1] + 1).length
			assert.equal(record.entry()[7].length, items.length === 0 ? 0 : 2 * (gaps + 1))
			assert.deepEqual(BatchRecord.revive(JSON.parse(JSON.stringify(record.entry()))).entry(), record.entry())
		}),
	)
})

test('a worker of another wave is not taken into the ranges', () => {
	const record = new BatchRecord('s', undefined, 'w', uuid, 0)
	assert.equal(record.complete(0, 3), true)
	assert.equal(record.complete(1, 4), false)
	assert.deepEqual(record.doneItems(), [0])
})
