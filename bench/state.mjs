/**
 * What the state of runs costs: the size of a context in each layout and with npm's 1.4.4, and the search for stalled runs.
 *
 *   node bench/state.mjs [--rounds 3] [--parts stalled,costs,lengths,contexts] [--sizes 1,16,64,256,1024,4096] [--quick] [--write]
 *
 * `--sizes` are KiB, of the contexts. `--quick` takes one short round of few sizes. `--write` writes docs/benchmarks-state.md, its plots, and the
 * raw figures beside it; parts and sizes that are left out keep the figures that stand there, and with `--parts none` nothing is measured.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { startServices } from '../__test__/services/services.mjs'
import { KIB, measureContexts, measureLengths } from './contexts.mjs'
import { measureCosts } from './costs.mjs'
import { openServices } from './place.mjs'
import { machine, VERSIONS } from './report.mjs'
import { measureReconciler } from './stalled.mjs'
import { FIGURES, pages } from './state-report.mjs'

const PARTS = { stalled: measureReconciler, costs: measureCosts, lengths: measureLengths, contexts: measureContexts }
const docs = (/** @type {string} */ name) => new URL(`../docs/${name}`, import.meta.url)

const { values } = parseArgs({
	options: {
		rounds: { type: 'string', default: '3' },
		parts: { type: 'string', default: Object.keys(PARTS).join(',') },
		sizes: { type: 'string' },
		quick: { type: 'boolean', default: false },
		write: { type: 'boolean', default: false },
	},
})
const rounds = values.quick ? 1 : Number(values.rounds)
const parts = Object.entries(PARTS).filter(([part]) => values.parts.split(',').includes(part))
const sizes = values.sizes?.split(',').map((kib) => Number(kib) * KIB)
const about = { machine: machine(), versions: VERSIONS, at: new Date().toISOString().slice(0, 10), rounds }

const figures = await readFile(docs(FIGURES), 'utf8').then(JSON.parse, () => ({}))
if (parts.length > 0) {
	// Before the servers are there: what others did on this machine.
	const loadBefore = loadavg()[1]
	const started = await startServices({})
	Object.assign(process.env, started.env)
	const services = await openServices()
	try {
		for (const [part, measure] of parts) {
			const before = figures[part]?.rows ?? []
			const keep = async (/** @type {any[]} */ rows) => {
				figures[part] = { ...about, loadBefore, rows: part === 'contexts' ? merged(before, rows) : rows }
				if (values.write) await writeFigures()
			}
			const options = { rounds, quick: values.quick, cassandraPid: started.cassandra?.pid, sizes, keep }
			await keep(await measure(services, options))
		}
	} finally {
		await services.close()
		await started.stop()
	}
}
if (values.write) {
	await writeFigures()
	// From the file, so that figures that were kept and new ones are rounded alike.
	const kept = JSON.parse(await readFile(docs(FIGURES), 'utf8'))
	for (const [name, text] of Object.entries(pages(kept))) await writeFile(docs(name), text)
}

/** New rows in the place of those of their sizes. @param {{ size: number }[]} before @param {{ size: number }[]} rows */
function merged(before, rows) {
	return [...before.filter(({ size }) => rows.every((row) => row.size !== size)), ...rows].sort(
		(a, b) => a.size - b.size,
	)
}

function writeFigures() {
	return writeFile(docs(FIGURES), `${JSON.stringify(figures, rounded, '\t')}\n`)
}

/** @param {string} _key @param {unknown} value */
function rounded(_key, value) {
	return typeof value === 'number' ? Math.round(value * 100) / 100 : value
}
