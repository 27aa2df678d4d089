/**
 * The oracle for as long as it is told, over the in-memory ports:
 *
 *   node __test__/oracle/long.mjs --minutes 30 [--mode eager] [--seed 7]
 *   node __test__/oracle/long.mjs --blueprints 20000 ...                until so many were compared in each mode
 *   node __test__/oracle/long.mjs --mode eager --seed 7 --path 12      one blueprint of a failed run, shrunk
 *
 * Without `--mode` all modes take turns. It ends with the histogram of features; its exit code is 1 after a difference.
 */
import { parseArgs } from 'node:util'
import { MODES, campaign, explain, shrink } from './campaign.mjs'
import { Histogram } from './features.mjs'

const MINUTE_MS = 60_000
const DEFAULT_MINUTES = 30
const BLUEPRINTS_PER_ROUND = 1000

const { values } = parseArgs({
	options: {
		minutes: { type: 'string' },
		blueprints: { type: 'string' },
		mode: { type: 'string' },
		seed: { type: 'string' },
		path: { type: 'string' },
	},
})
const modes = values.mode ? [values.mode] : Object.keys(MODES)
const unknown = modes.find((mode) => !Object.hasOwn(MODES, mode))
if (unknown) throw new Error(`no mode "${unknown}"; there are ${Object.keys(MODES).join(', ')}`)
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31))

// Workers that have died in it hold the process: nothing answers them any more.
process.exit(values.path === undefined ? await search() : await replay(values.path))

async function search() {
	const enough = Number(values.blueprints ?? Infinity)
	const minutes = values.minutes ?? (values.blueprints === undefined ? DEFAULT_MINUTES : Infinity)
	const end = Date.now() + Number(minutes) * MINUTE_MS
	const totals = new Map(modes.map((mode) => [mode, { compared: 0, kills: 0, raced: 0, different: 0 }]))
	const histogram = new Histogram()
	const isOpen = () => Date.now() < end && [...totals.values()].some(({ compared }) => compared < enough)
	for (let seed = firstSeed; isOpen(); seed++) {
		for (const [mode, total] of totals) {
			if (total.compared >= enough) continue
			if (Date.now() >= end) break
			const { compared, kills, raced, failures } = await campaign(mode, seed, BLUEPRINTS_PER_ROUND, histogram)
			total.compared += compared
			total.kills += kills
			total.raced += raced
			total.different += failures.length
			console.log(
				`seed ${seed}, ${mode}: ${compared} compared, ${kills} kills, ${raced} raced, ${failures.length} different`,
			)
			if (failures.length > 0) console.log(await explain(mode, seed, failures))
		}
	}
	console.log(`\n${histogram}\n`)
	console.table(Object.fromEntries(totals))
	return [...totals.values()].some(({ different }) => different > 0) ? 1 : 0
}

/** @param {string} path */
async function replay(path) {
	const recipe = await shrink(modes[0], firstSeed, path)
	if (recipe) console.log(`still different, shrunk:\n${JSON.stringify(recipe)}`)
	else console.log(`seed ${firstSeed}, path ${path} ends as in memory on ${modes[0]}`)
	return recipe ? 1 : 0
}
