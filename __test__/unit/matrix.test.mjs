/** docs/matrix.md lists all 85 rows of the feature matrix, each with tests on real services that exist. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { CASES } from '../integration/rows.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ROWS = Array.from({ length: 83 }, (_, at) => at + 1).flatMap((row) =>
	row === 28 || row === 30 ? [`${row}`, `${row}a`] : [`${row}`],
)
const CASE_FILE = '__test__/integration/blueprints.test.mjs'
/** The names that are put together in that file. */
const caseNames = CASES.map(({ row, name, schedule = 'eager' }) => `row ${row}: ${name} (${schedule})`)

/** @param {string} path */
const read = (path) => readFileSync(join(ROOT, path), 'utf8')

const lines = read('docs/matrix.md').split('<!-- matrix -->\n')[1].split('\n').slice(2)
const rows = lines
	.filter((line) => line.startsWith('|'))
	.map((line) =>
		line
			.slice(1, -1)
			.split('|')
			.map((cell) => cell.trim()),
	)

test('the table has every row once, in order', () => {
	assert.deepEqual(
		rows.map(([row]) => row),
		ROWS,
	)
	for (const [row, feature] of rows) assert.ok(feature, `row ${row} says what it is about`)
})

for (const [row, feature, proof] of rows) {
	test(`row ${row}, ${feature}: the tests it names exist`, () => {
		const named = [...proof.matchAll(/`(__test__\/[^`\s]+\.test\.mjs)`: `([^`]+)`/g)]
		assert.ok(named.length > 0, `row ${row} names no test: ${proof}`)
		for (const [, file, name] of named) {
			const found = file === CASE_FILE && caseNames.includes(name)
			const begins = [`test('${name}`, `test(\`${name}`, `test("${name}`]
			assert.ok(found || begins.some((text) => read(file).includes(text)), `${file}: ${name}`)
		}
	})
}

test('every row with a case is proven by it', () => {
	for (const { row } of CASES) {
		const [, , proof] = rows.find(([number]) => number === row.split(' ')[0]) ?? []
		assert.ok(proof?.includes(`\`row ${row}: `), `row ${row} of rows.mjs is not in the table`)
	}
})
