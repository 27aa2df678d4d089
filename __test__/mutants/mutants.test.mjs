/**
 * Would the tests notice? Three faults as a sample; `npm run test:long` has them all. And that the list of faults, the code
 * that they are in and README.md are of one mind.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { cargo } from './commands.mjs'
import { ENGINE } from './engine.mjs'
import { GLUE, mutatedSource, sourceOf } from './glue.mjs'
import { KERNEL } from './kernel.mjs'
import { THREE, allMutants, buildKernel, chosen, rustFaults, survival } from './run.mjs'

describe('a fault in the code makes its test fail', () => {
	before(() => buildKernel())
	for (const mutant of chosen(THREE))
		test(`${mutant.guarantee}: ${mutant.name}`, async () => assert.equal(await survival(mutant), undefined))
})

test('a build without debug assertions refuses the feature', async () => {
	const { code, errors } = await cargo(['check', '--release', '--lib'])
	assert.notEqual(code, 0)
	assert.match(errors, /the feature `mutants` puts faults into the engine: it is for tests alone/)
})

test('each fault of the kernel, the engine and the backends has its test', () => {
	const tested = [...KERNEL, ...ENGINE].map(({ name }) => name)
	assert.deepEqual(tested.sort(), [...rustFaults().keys()].sort())
	const variants = readFileSync(new URL('../../src/kernel/mutant.rs', import.meta.url), 'utf8').match(/^ {4}\w+ = "/gm)
	assert.equal(variants?.length, tested.length, 'a fault without a line that says what it breaks')
})

test('each test that a fault of the engine or of a backend names is there', () => {
	for (const { suite, source: elsewhere, test: name } of ENGINE) {
		const file = suite ?? elsewhere ?? `src/${name.split('::').slice(0, -1).join('/')}.rs`
		const source = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
		const found = suite ? `test('${name}` : `fn ${name.split('::').at(-1)}()`
		assert.ok(source.includes(found), `${file} has no ${found}`)
	}
})

test('each fault of the glue has one place, and one that is gone is refused', () => {
	for (const mutant of GLUE) assert.notEqual(sourceOf(mutant), '')
	const [mutant] = GLUE
	assert.throws(() => mutatedSource(mutant, ''), /has its fragment 0 times/)
	assert.throws(() => mutatedSource(mutant, mutant.from + mutant.from), /has its fragment 2 times/)
})

test('README.md has a row for each fault', () => {
	const text = readFileSync(new URL('README.md', import.meta.url), 'utf8')
	const rows = text.split('\n').filter((line) => line.startsWith('| `'))
	const expected = allMutants().map(
		({ name, what, guarantee, test: by }) => `| \`${name}\` | ${what} | ${guarantee} | \`${by}\` |`,
	)
	assert.deepEqual(rows, expected)
})
