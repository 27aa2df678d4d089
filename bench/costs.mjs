/**
 * What Cassandra itself takes for the statements of a run: no worker, one after the other, through the driver of npm.
 */
import { randomUUID } from 'node:crypto'
import { contextOf, insertRun, KIB, SUBJECTS } from './contexts.mjs'
import { cpuSince } from './cpu.mjs'
import { makePlace } from './place.mjs'
import { inTurn } from './turns.mjs'

const SIZES = [KIB, KIB * KIB]
const RUNS = 50
const QUICK_RUNS = 5
const [ENTRIES] = SUBJECTS

/**
 * @typedef {{ what: string, size: number, ms: number[], cpuMs: (number | null)[] }} CostRow
 *
 * @param {import('./place.mjs').Services} services
 * @param {{ rounds: number, quick: boolean, cassandraPid?: number }} options
 * @returns {Promise<CostRow[]>}
 */
export async function measureCosts(services, { rounds, quick, cassandraPid }) {
	/** @type {CostRow[]} */
	const rows = []
	for (const size of SIZES) {
		const name = `bench_${randomUUID().replaceAll('-', '').slice(0, 12)}`
		await makePlace(services, name, ENTRIES.layout)
		const ids = Array.from({ length: quick ? QUICK_RUNS : RUNS }, () => randomUUID())
		const context = contextOf(size)
		for (const id of ids) await insertRun(services, name, ENTRIES, id, context)
		const own = Object.entries(statements(name, context)).map(([what, one]) => ({ ...one, row: costRow(what, size) }))
		rows.push(...own.map(({ row }) => row))
		await inTurn(own, rounds, async ({ query, params, row }) => {
			const [began, cpu] = [performance.now(), cpuSince(cassandraPid)]
			for (const id of ids) await services.client.execute(query, [id, ...params], { prepare: true, fetchSize: 1000 })
			row.ms.push((performance.now() - began) / ids.length)
			const used = cpu()
			row.cpuMs.push(used === null ? null : used / ids.length)
		})
		await services.client.execute(`DROP KEYSPACE ${name}`)
	}
	for (const { what, size, ms, cpuMs } of rows)
		console.log(`${what}, ${size / KIB} KiB: ${ms.map(Math.round)} ms, CPU ${cpuMs} ms`)
	return rows
}

/** @param {string} what @param {number} size @returns {CostRow} */
const costRow = (what, size) => ({ what, size, ms: [], cpuMs: [] })

/** @param {string} keyspace @param {Record<string, unknown>} context */
const statements = (keyspace, context) => ({
	'the context is read': {
		query: `SELECT key, value, WRITETIME(value) FROM ${keyspace}.contexts WHERE run_id = ?`,
		params: [],
	},
	'a key is written': {
		query: `INSERT INTO ${keyspace}.contexts (run_id, key, value) VALUES (?, ?, ?)`,
		params: ['_outputs.n0', '1'],
	},
	'the outcome is written': {
		query: `INSERT INTO ${keyspace}.statuses (run_id, status, status_data) VALUES (?, ?, ?)`,
		params: ['completed', JSON.stringify({ context, serializedContext: JSON.stringify(context) })],
	},
})
