/**
 * The demo once everything is installed and built. It stands apart from scripts/demo.mjs because it imports npm packages.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startServices } from '../../__test__/services/services.mjs'
import { executionsIn, Journal } from './journal.mjs'
import { Progress } from './progress.mjs'
import { areEqual, describe, inMemory, totalsOf } from './report.mjs'
import { createAdapter, Runs } from './runs.mjs'
import { complete, folderOf, lockState, openDemo, runIdOf } from './state.mjs'
import { CONTEXTS, STATUSES, Store } from './store.mjs'

const ADDRESSES = ['KAFKA_BROKERS', 'CASSANDRA_CONTACT_POINTS', 'REDIS_URL']
const FAILURES_SHOWN = 10

/**
 * @typedef {object} Options
 * @property {string} folder with the Markdown files
 * @property {string} state folder that outlives the demo
 * @property {number} [limit] of files
 * @property {number} seed of generated files
 * @property {number} pauseMs added to each node
 * @property {number} inFlight runs at once
 * @property {boolean} fresh
 * @property {boolean} keep the services after the end, until Ctrl-C
 * @property {string} [json] file for a summary that programs read
 * @property {string} keyspace
 * @property {string} [topic]
 * @property {string} [group]
 *
 * @typedef {object} Stage what the steps of one demo share
 * @property {Options} options
 * @property {AbortSignal} signal
 * @property {import('./state.mjs').Demo} demo
 * @property {string} journalFile
 * @property {{ runId: string, file: import('./files.mjs').InputFile }[]} runs
 * @property {Record<string, string>} env addresses
 * @property {{ keyspace: string, topic: string, group: string }} names
 * @property {Store} store
 */

/**
 * @param {Options} options
 * @param {AbortSignal} signal aborted: it stops in order, and a later start goes on
 * @returns {Promise<boolean>} whether every run completed with what it gives in memory
 */
export async function runDemo(options, signal) {
	/** @type {(() => unknown)[]} */
	const closing = []
	try {
		const stage = await prepare(options, signal, (step) => closing.push(step))
		await processFiles(stage)
		const isGood = await conclude(stage)
		if (options.keep && !signal.aborted) await untilStopped(stage)
		return isGood
	} finally {
		await inTurn(closing.reverse())
	}
}

/** Every step is taken, whatever becomes of the others. */
async function inTurn(steps) {
	const failures = []
	for (const step of steps) await Promise.resolve(step()).catch((error) => failures.push(error))
	if (failures.length > 0) throw failures[0]
}

/** @returns {Promise<Stage>} */
async function prepare(options, signal, onClose) {
	onClose(await lockState(options.state))
	const demo = await openDemo(options.state, wishOf(options))
	const folder = folderOf(options.state, demo.id)
	const runs = demo.files.map((file) => ({ file, runId: runIdOf(demo, file) }))
	say(`${demo.isResumed ? 'Going on with demo' : 'Demo'} ${demo.id}: ${runs.length} Markdown files, one run for each`)

	const services = await startServices({ dataDir: join(folder, 'services'), signal })
	onClose(services.stop)
	const names = namesOf(options, demo)
	const store = new Store({
		contactPoints: services.env.CASSANDRA_CONTACT_POINTS.split(','),
		localDataCenter: services.env.CASSANDRA_DATACENTER,
		keyspace: names.keyspace,
	})
	onClose(() => store.close())
	await store.createTables()
	return { options, signal, demo, journalFile: join(folder, 'executions.log'), runs, env: services.env, names, store }
}

/** Runs on other services are other runs. */
function wishOf({ folder, limit, seed, fresh }) {
	const services = ADDRESSES.map((name) => process.env[name] ?? '').join(' ')
	return { folder, limit, seed, fresh, services }
}

/** A demo has a topic and a group to itself, or it would go on with the jobs of one that was given up. */
function namesOf({ keyspace, topic, group }, { id }) {
	return { keyspace, topic: topic ?? `flowcraft-demo-${id}`, group: group ?? `flowcraft-demo-${id}` }
}

/** @param {Stage} stage */
async function processFiles({ options, signal, runs, store, env, names, journalFile }) {
	const journal = new Journal(journalFile)
	const progress = new Progress(process.stdout, () => ({
		done: work.over,
		total: runs.length,
		jobs: journal.entries,
		inFlight: work.inFlight,
	}))
	const adapter = createAdapter({ env, names, journal, pauseMs: options.pauseMs, log: (line) => progress.log(line) })
	const statuses = await store.statuses(runs.map(({ runId }) => runId))
	const work = new Runs({ adapter, runs, statuses, signal, onDone: () => progress.step() })
	if (work.over > 0) say(`${work.over} runs were done before, ${statuses.size - work.over} are under way`)

	const finished = work.start(options.inFlight, () => progress.start())
	try {
		await untilAborted(finished, signal)
		if (signal.aborted) progress.log('Stopping: the nodes that run now finish first')
	} finally {
		progress.stop()
		await adapter.stop()
		// What a stop interrupts is taken up by the next start.
		await finished.catch((error) => signal.aborted || Promise.reject(error))
		journal.close()
	}
}

/** @returns {Promise<unknown>} over when the work is, or when it is to stop */
function untilAborted(work, signal) {
	if (signal.aborted) return Promise.resolve()
	return Promise.race([work, new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))])
}

/** @param {Stage} stage */
async function conclude(stage) {
	const { options, signal, demo, runs, store, journalFile } = stage
	const results = await store.results(runs.map(({ runId }) => runId))
	const completed = [...results.values()].filter(({ status }) => status === 'completed')
	const summaries = completed.map(({ summary }) => summary)
	const isEqual = signal.aborted ? undefined : areEqual(summaries, await inMemory(runs))
	const executions = executionsIn(journalFile)
	await writeJson(options.json, {
		demo: demo.id,
		isResumed: demo.isResumed ?? false,
		isInterrupted: signal.aborted,
		runs: { total: runs.length, completed: completed.length, failed: failuresOf(results).length },
		totals: totalsOf(summaries),
		isEqualInMemory: isEqual,
		executions: executions.perNode,
		duplicates: executions.duplicates,
		...stage.names,
		journal: journalFile,
	})
	if (signal.aborted) {
		say(`Stopped at ${completed.length} of ${runs.length} runs. The same command goes on from here.`)
		return false
	}
	for (const line of describe(summaries)) say(line)
	for (const line of verdict(stage, { results, completed, executions, isEqual })) say(line)
	await complete(options.state, demo)
	return isEqual === true && completed.length === runs.length
}

function verdict({ runs, names }, { results, completed, executions, isEqual }) {
	const failures = failuresOf(results).map(([runId, { status, reason }]) => `  ${runId} ${status}: ${reason ?? '?'}`)
	return [
		`Runs completed: ${completed.length} of ${runs.length}`,
		...failures.slice(0, FAILURES_SHOWN),
		`Node bodies executed: ${executions.total}, of these ${executions.duplicates} again`,
		`Totals equal to the in-memory run: ${isEqual ? 'yes' : 'NO'}`,
		`Results: Cassandra ${names.keyspace}.${STATUSES} (status_data) and ${names.keyspace}.${CONTEXTS}; jobs: Kafka topic ${names.topic}`,
	]
}

const failuresOf = (results) => [...results].filter(([, { status }]) => status !== 'completed' && status !== 'running')

async function writeJson(path, summary) {
	if (path) await writeFile(path, `${JSON.stringify(summary, null, '\t')}\n`)
}

/** @param {Stage} stage */
async function untilStopped({ env, signal }) {
	say('The services stay up until Ctrl-C:')
	for (const [name, value] of Object.entries(env)) say(`export ${name}=${value}`)
	const alive = setInterval(() => {}, 2 ** 30)
	await untilAborted(new Promise(() => {}), signal)
	clearInterval(alive)
}

function say(line) {
	process.stdout.write(`${line}\n`)
}
