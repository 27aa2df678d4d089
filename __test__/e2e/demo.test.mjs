/** The demo as a user has it: started, interrupted, killed, started again. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inputFiles } from '../../scripts/demo/files.mjs'
import { inMemory, totalsOf } from '../../scripts/demo/report.mjs'
import { dropKeyspace, uniqueName } from './demo-keyspace.mjs'

const DEMO = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url))
const PACKAGES = fileURLToPath(new URL('../../node_modules', import.meta.url))
const FILES = 60
const THIRD_LINE = '18/60 runs done'
/** Nodes that take a while, so that there is something to interrupt, and few runs at once, so that 30 % is not all. */
const SLOWLY = ['--pause', '30', '--in-flight', '8']
const RUNS_IN_FLIGHT = 8
/** The widest step of the workflow: headings, links and words. */
const NODES_PER_STEP = 3

let scratch

before(async () => {
	scratch = await mkdtemp(join(tmpdir(), 'flowcraft-demo-'))
})

after(() => rm(scratch, { recursive: true, force: true }))

/** A demo of its own: folder, state and keyspace. */
function prepare(t, { folder, args = [] }) {
	const keyspace = uniqueName('demo')
	const state = join(scratch, keyspace)
	const json = `${state}.json`
	t.after(() => dropKeyspace(keyspace))
	const options = ['--no-setup', '--limit', String(FILES), '--keyspace', keyspace, '--state', state, '--json', json]
	return {
		start: () => startDemo([folder, ...options, ...args]),
		summary: async () => JSON.parse(await readFile(json, 'utf8')),
		executions: async (id) => (await readFile(join(state, id, 'executions.log'), 'utf8')).split('\n').filter(Boolean),
		currentId: async () => JSON.parse(await readFile(join(state, 'current.json'), 'utf8')).id,
	}
}

function startDemo(args) {
	const child = spawn(process.execPath, [DEMO, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
	const lines = []
	let errors = ''
	child.stderr.on('data', (chunk) => (errors += chunk))
	const reader = createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
	return {
		kill: (signal) => child.kill(signal),
		ended: once(child, 'close').then(([code, signal]) => ({ code, signal, text: [...lines, errors].join('\n') })),
		/** Rejects when the demo ends without such a line. */
		async line(beginning) {
			if (lines.some((line) => line.startsWith(beginning))) return
			for await (const [line] of on(reader)) if (line.startsWith(beginning)) return
			assert.fail(`no line "${beginning}" in:\n${[...lines, errors].join('\n')}`)
		},
	}
}

async function* on(reader) {
	const queue = []
	let wake = () => {}
	let closed = false
	reader.on('line', (line) => (queue.push([line]), wake()))
	reader.on('close', () => ((closed = true), wake()))
	while (!closed || queue.length > 0) {
		if (queue.length > 0) yield queue.shift()
		else await new Promise((resolve) => (wake = resolve))
	}
}

/** What the same files give without any service. */
async function expectedSummaries(folder, generatedFolder) {
	const files = await inputFiles({ folder, generatedFolder, limit: FILES, seed: 1 })
	return inMemory(files.map((file) => ({ runId: file.name, file })))
}

const expectedTotals = async (...where) => totalsOf(await expectedSummaries(...where))

/** What the demo prints for people: the ten largest files, every broken link, the totals, and where the results lie. */
async function assertReport(text, { folder, keyspace, topic }) {
	const lines = text.split('\n')
	/** The lines behind a heading, up to the next empty one. */
	const below = (heading) => {
		const from = lines.indexOf(heading)
		assert.ok(from >= 0, `no line "${heading}" in:\n${text}`)
		return lines.slice(from + 1, lines.indexOf('', from))
	}
	const files = await inputFiles({ folder, generatedFolder: join(scratch, 'unused'), limit: FILES, seed: 1 })
	const sizes = await Promise.all(files.map(async ({ path }) => (await stat(path)).size))
	const [columns, ...rows] = below('The 10 largest files:')
	assert.match(columns, /bytes +words +headings +links +score +file$/)
	assert.deepEqual(
		rows.map((row) => Number(row.trim().split(/\s+/)[0])),
		sizes.toSorted((a, b) => b - a).slice(0, 10),
	)

	const summaries = await expectedSummaries(folder, join(scratch, 'unused'))
	const broken = summaries.flatMap((summary) => summary.broken)
	assert.equal(broken.length, totalsOf(summaries).brokenLinks)
	assert.deepEqual(
		below(`Broken relative links: ${broken.length}`).toSorted(),
		broken.map((link) => `  ${link}`).toSorted(),
	)

	const { bytes, words, headings, links, filesWithBrokenLinks } = totalsOf(summaries)
	const totals =
		`Totals: ${FILES} files, ${bytes} bytes, ${words} words, ${headings} headings, ${links} links, ` +
		`${broken.length} broken in ${filesWithBrokenLinks} files, average score `
	assert.ok(
		lines.some((line) => line.startsWith(totals)),
		`no line "${totals}" in:\n${text}`,
	)
	assert.ok(lines.includes(`Runs completed: ${FILES} of ${FILES}`), text)
	const where = `Results: Cassandra ${keyspace}.statuses (status_data) and ${keyspace}.contexts; jobs: Kafka topic ${topic}`
	assert.ok(lines.includes(where), text)
}

test('every run completes, with the totals of the same workflow in memory; the next start is a new demo', async (t) => {
	const demo = prepare(t, { folder: PACKAGES })
	const first = await demo.start().ended
	assert.equal(first.code, 0, first.text)
	const summary = await demo.summary()
	await assertReport(first.text, { folder: PACKAGES, ...summary })
	const { demo: id, runs, totals, isEqualInMemory, executions, duplicates } = summary
	assert.deepEqual(runs, { total: FILES, completed: FILES, failed: 0 })
	assert.deepEqual(totals, await expectedTotals(PACKAGES, join(scratch, 'unused')))
	assert.equal(isEqualInMemory, true)
	assert.ok(totals.words > 1_000 && totals.brokenLinks > 0, JSON.stringify(totals))
	assert.match(first.text, /Totals equal to the in-memory run: yes/)
	for (const nodeId of ['read', 'headings', 'links', 'words', 'join', 'score', 'summary']) {
		assert.equal(executions[nodeId], FILES, nodeId)
	}
	assert.equal(executions.report, totals.filesWithBrokenLinks)
	assert.equal(duplicates, 0)

	const second = await demo.start().ended
	assert.equal(second.code, 0, second.text)
	const again = await demo.summary()
	assert.notEqual(again.demo, id)
	assert.equal(again.isResumed, false)
	assert.deepEqual(again.totals, totals)
})

test('Ctrl-C at 30 %: the second start goes on, and no node body runs twice', async (t) => {
	const folder = await mkdtemp(join(scratch, 'generated-only-'))
	const demo = prepare(t, { folder, args: SLOWLY })
	const first = demo.start()
	await first.line(THIRD_LINE)
	first.kill('SIGINT')
	const { code, text } = await first.ended
	assert.equal(code, 130, text)
	assert.match(text, /Stopped at \d+ of 60 runs\. The same command goes on from here\./)
	const interrupted = await demo.summary()
	assert.equal(interrupted.isInterrupted, true)
	assert.ok(interrupted.runs.completed >= 18 && interrupted.runs.completed < FILES, JSON.stringify(interrupted.runs))

	const second = await demo.start().ended
	assert.equal(second.code, 0, second.text)
	assert.match(second.text, /Going on with demo/)
	const summary = await demo.summary()
	assert.equal(summary.demo, interrupted.demo)
	assert.equal(summary.runs.completed, FILES)
	assert.deepEqual(summary.totals, await expectedTotals(folder, join(scratch, 'expected')))
	assert.equal(summary.executions.read, FILES)
	assert.equal(summary.duplicates, 0)
})

test('kill -9 at 30 %: the same totals, and only what was in flight runs again', async (t) => {
	const folder = await mkdtemp(join(scratch, 'generated-only-'))
	const demo = prepare(t, { folder, args: SLOWLY })
	const first = demo.start()
	await first.line(THIRD_LINE)
	first.kill('SIGKILL')
	assert.equal((await first.ended).signal, 'SIGKILL')
	const id = await demo.currentId()
	const before = await demo.executions(id)

	const second = await demo.start().ended
	assert.equal(second.code, 0, second.text)
	const summary = await demo.summary()
	assert.equal(summary.demo, id)
	assert.deepEqual(summary.runs, { total: FILES, completed: FILES, failed: 0 })
	assert.deepEqual(summary.totals, await expectedTotals(folder, join(scratch, 'expected')))
	assert.equal(summary.isEqualInMemory, true)
	assert.ok(summary.duplicates <= RUNS_IN_FLIGHT * NODES_PER_STEP, `${summary.duplicates} executions again`)
	// Nothing that began only after the kill has run twice.
	const later = (await demo.executions(id)).slice(before.length)
	assert.equal(new Set(later).size, later.length)
})
