/** The parts of the demo that need no services: what it reads, what it draws, what it says at the end. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inputFiles } from '../../scripts/demo/files.mjs'
import { Progress } from '../../scripts/demo/progress.mjs'
import { describe as report, inMemory } from '../../scripts/demo/report.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** @type {string} */
let scratch
before(async () => {
	scratch = await mkdtemp(join(tmpdir(), 'flowcraft-demo-unit-'))
})
after(() => rm(scratch, { recursive: true, force: true }))

describe('the input of the demo', () => {
	it('is at least 300 files of the checkout and its packages, without being told a folder', async () => {
		const files = await inputFiles({ folder: ROOT, generatedFolder: join(scratch, 'default'), seed: 1 })
		assert.ok(files.length >= 300, `${files.length} files`)
		assert.ok(files.some(({ name }) => name === 'README.md'))
		assert.ok(files.some(({ name }) => name.startsWith('node_modules')))
	})

	it('is filled up to 300 files, the same ones for the same seed', async () => {
		const folder = join(ROOT, 'docs')
		const found = await inputFiles({ folder, generatedFolder: scratch, limit: 1, seed: 1 })
		assert.ok(!found[0].name.startsWith('generated-'))
		const filled = async (/** @type {string} */ name, /** @type {number} */ seed) => {
			const files = await inputFiles({ folder, generatedFolder: join(scratch, name), seed })
			assert.equal(files.length, 300)
			const generated = files.filter(({ name: file }) => file.startsWith('generated-'))
			assert.ok(generated.length > 200 && generated.length < 300, `${generated.length} of them`)
			return Promise.all(generated.map(({ path }) => readFile(path, 'utf8')))
		}
		const first = await filled('first', 1)
		assert.deepEqual(await filled('again', 1), first)
		assert.notDeepEqual(await filled('other', 2), first)
	})
})

describe('the progress of the demo', () => {
	const drawn = async (/** @type {boolean} */ isTTY) => {
		/** @type {string[]} */
		const writes = []
		const figures = { done: 0, total: 60, jobs: 0, inFlight: 8 }
		const progress = new Progress({ isTTY, write: (text) => writes.push(text) }, () => figures)
		progress.start()
		for (const done of [15, 30, 60]) {
			Object.assign(figures, { done, jobs: done * 8, inFlight: done < 60 ? 8 : 0 })
			const seen = writes.length
			progress.step()
			// The bar draws itself.
			while (writes.length === seen) await new Promise((resolve) => setTimeout(resolve, 5))
		}
		progress.log('a warning')
		progress.stop()
		return writes
	}

	it('is a bar on a terminal, drawn over, with runs done, jobs per second and runs in flight', async () => {
		const writes = await drawn(true)
		const overdrawn = '\r\x1b[K'
		for (const text of writes) assert.ok(text.startsWith(overdrawn), JSON.stringify(text))
		const bars = writes.filter((text) => text.includes('runs done')).map((text) => text.slice(overdrawn.length))
		for (const bar of bars) assert.match(bar, /^\[#*\.*\] \d+\/60 runs done, \d+ jobs\/s, \d+ in flight\n?$/)
		const width = (/** @type {string} */ bar) => [bar.split('#').length - 1, bar.indexOf(']')]
		const at = (/** @type {number} */ done) => width(bars.find((bar) => bar.includes(` ${done}/60 `)) ?? '')
		assert.deepEqual([0, 15, 30, 60].map(at), [
			[0, 31],
			[7, 31],
			[15, 31],
			[30, 31],
		])
		assert.ok(
			bars.some((bar) => /[1-9]\d* jobs\/s, 8 in flight/.test(bar)),
			bars.join('\n'),
		)
		// What is said stands above it, and the last state stays to be seen.
		assert.equal(writes.at(-2), `${overdrawn}a warning\n`)
		assert.match(writes.at(-1) ?? '', /60\/60 runs done, \d+ jobs\/s, 0 in flight\n$/)
	})

	it('is a line for each tenth elsewhere', async () => {
		const writes = await drawn(false)
		assert.deepEqual(
			writes.map((text) => text.split(',')[0].trimEnd()),
			['0/60 runs done', '15/60 runs done', '30/60 runs done', '60/60 runs done', 'a warning'],
		)
	})
})

describe('the end of the demo', () => {
	const summary = (/** @type {number} */ at, /** @type {string[]} */ broken = []) => ({
		name: `file-${at}.md`,
		bytes: at,
		words: 2,
		headings: 1,
		links: broken.length,
		brokenLinks: broken.length,
		score: 100,
		broken,
	})

	it('says every broken link, however many there are', async () => {
		const path = join(scratch, 'file-1.md')
		const targets = Array.from({ length: 500 }, (_, at) => `gone-${at}.md`)
		await writeFile(path, targets.map((target) => `[a](${target})`).join('\n'))
		const [first] = await inMemory([{ runId: 'first', file: { path, name: 'file-1.md' } }])
		const many = targets.map((target) => `file-1.md -> ${target}`)
		const lines = report([first, summary(2, ['file-2.md -> other.md'])])
		const from = lines.indexOf('Broken relative links: 501')
		assert.deepEqual(
			lines.slice(from + 1, from + 502),
			[...many, 'file-2.md -> other.md'].map((line) => `  ${line}`),
		)
		assert.equal(lines[from + 502], '')
	})

	it('has the ten largest files in order, and the totals of all', () => {
		const lines = report(Array.from({ length: 12 }, (_, at) => summary(at + 1)))
		assert.equal(lines[0], 'The 10 largest files:')
		assert.match(lines[1], /bytes +words +headings +links +score +file$/)
		assert.deepEqual(
			lines.slice(2, 12).map((line) => line.trim().split(/\s+/)),
			Array.from({ length: 10 }, (_, at) => [String(12 - at), '2', '1', '0', '100', `file-${12 - at}.md`]),
		)
		assert.equal(lines[12], '')
		assert.match(
			lines.at(-1) ?? '',
			/^Totals: 12 files, 78 bytes, 24 words, 12 headings, 0 links, 0 broken in 0 files, average score 100\.0$/,
		)
	})
})
