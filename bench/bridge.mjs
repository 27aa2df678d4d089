/**
 * What a job costs between Rust and JavaScript, without any service: a worker on the embedded backend runs chains of ten empty
 * nodes; then the same crossings with the same payloads, recorded from it, without sessions and without Flowcraft.
 *
 *   node bench/bridge.mjs [--runs 4000] [--allocations] [--json]
 *
 * Processor time is that of the threads, as Linux tells it: the JavaScript thread, those of the engine, and V8's own (collector,
 * compiler). `--allocations` measures what a job allocates in V8 instead: the heap's growth in a young generation so large that
 * nothing is collected meanwhile. It needs `--expose-gc --min-semi-space-size=1024 --max-semi-space-size=1024`.
 */
import { PerformanceObserver } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { getHeapStatistics } from 'node:v8'
import { NullLogger } from 'flowcraft'
import { KafkaAdapter } from '../src/js/index.js'
import { byTurns } from '../src/js/bridge/turns.js'
import { getNative, setNative } from '../src/js/native.js'
import { threadTimes } from './cpu.mjs'
import { WORKLOADS } from './workloads.mjs'

const { blueprint, jobs } = WORKLOADS.chain
const OPEN = 1
const DURABLE = 2
/** In a turn. */
const OPENED = 0
const ABSENT = 0x7fff_ffff
const LAST = blueprint.nodes.at(-1).id
/** Runs that are started at once. */
const WINDOW = 500
const WARM_RUNS = 2_000
const COUNTED_RUNS = 500

const { values } = parseArgs({
	options: {
		runs: { type: 'string', default: '4000' },
		allocations: { type: 'boolean', default: false },
		json: { type: 'boolean', default: false },
	},
})

/** @param {number} runs @param {() => Promise<void>} work @returns {Promise<Record<string, number>>} microseconds per job */
async function timed(runs, work) {
	const before = threadTimes()
	await work()
	const after = threadTimes()
	return Object.fromEntries(Object.keys(after).map((kind) => [kind, (after[kind] - before[kind]) / (runs * jobs)]))
}

/** @param {number} runs @param {() => Promise<void>} work @returns {Promise<Record<string, number>>} bytes per job */
async function allocated(runs, work) {
	if (!globalThis.gc) throw new Error('--allocations needs --expose-gc and a large young generation')
	let collections = 0
	const observer = new PerformanceObserver((list) => (collections += list.getEntries().length))
	globalThis.gc()
	await new Promise(setImmediate)
	observer.observe({ entryTypes: ['gc'] })
	const before = getHeapStatistics().used_heap_size
	await work()
	const grown = getHeapStatistics().used_heap_size - before
	await new Promise(setImmediate)
	observer.disconnect()
	if (collections > 0) throw new Error(`${collections} collections came in between: take fewer runs`)
	return { bytes: grown / (runs * jobs) }
}

const measure = values.allocations ? allocated : timed

/** The body of a node that ends a run tells it. @type {() => void} */
let onEnd = () => {}
const next = async ({ input }) => ({ output: (Number(input) || 0) + 1 })
const registry = {
	increment: next,
	last: async (context) => {
		onEnd()
		return next(context)
	},
}
const chain = {
	...blueprint,
	nodes: blueprint.nodes.map((node) => (node.id === LAST ? { ...node, uses: 'last' } : node)),
}
const adapterOn = (/** @type {string} */ name) =>
	new KafkaAdapter({
		backend: { embedded: name },
		runtimeOptions: { blueprints: { [chain.id]: chain }, registry, logger: new NullLogger() },
	})

/** Starts lie on the topic before the worker comes: what they cost is no part of a job. @param {string} name @param {number} runs */
async function sendStarts(name, runs) {
	const client = adapterOn(name)
	for (let sent = 0; sent < runs; sent += WINDOW)
		await Promise.all(Array.from({ length: Math.min(WINDOW, runs - sent) }, () => client.startRun(chain.id, {})))
	await client.stop()
}

/** Fulfils when so many runs have ended. @param {number} runs @returns {{ ended: () => void, all: Promise<void> }} */
function countdown(runs) {
	let left = runs
	/** @type {() => void} */
	let over
	const all = new Promise((resolve) => (over = () => resolve(undefined)))
	return { ended: () => void (--left === 0 && over()), all }
}

/** The whole worker. @param {string} name @param {number} runs */
async function worker(name, runs) {
	await sendStarts(name, runs)
	const adapter = adapterOn(name)
	const { ended, all } = countdown(runs)
	onEnd = ended
	const cost = await measure(runs, async () => {
		await adapter.start()
		await all
		while (adapter.health().loadedRuns > 0) await new Promise(setImmediate)
	})
	await adapter.stop()
	return cost
}

/**
 * What crosses, counted and kept: how often each kind, and of one run what its session answered to which event.
 *
 * @typedef {{ name: string, values: any[] }} Call without the handle
 * @typedef {{ config: string, counts: Record<string, number>, opening: Call[], steps: Call[] }} Recording
 * @returns {Promise<Recording>}
 */
async function record() {
	const native = getNative()
	/** @type {Map<number, Call[]>} */
	const calls = new Map()
	/** @type {Recording} */
	const recording = { config: '', counts: { batches: 0, events: 0, calls: 0 }, opening: [], steps: [] }
	class Recorder extends native.NativeWorker {
		/** @param {string} config @param {(events: any[]) => void} onBatch */
		constructor(config, onBatch) {
			super(config, (events) => {
				recording.counts.batches++
				recording.counts.events += events.length
				onBatch(events)
			})
			if (JSON.parse(config).kafka.consume) recording.config = config
		}
	}
	for (const name of ['turn', 'refresh', 'commandDone', 'drained', 'alive', 'versions', 'timersMissing']) {
		Recorder.prototype[name] = function (...given) {
			recording.counts.calls++
			for (const { handle, ...call } of name === 'turn' ? callsOf(given[0], given[1]) : []) {
				if (call.name === 'opened') calls.set(handle, [])
				calls.get(handle)?.push(call)
			}
			return native.NativeWorker.prototype[name].apply(this, given)
		}
	}
	setNative({ ...native, NativeWorker: Recorder })
	await worker('recorded', COUNTED_RUNS)
	setNative(undefined)
	const [[opened, ...steps]] = calls.values()
	if (opened.name !== 'opened' || steps.some(({ name }) => name !== 'step') || steps.length !== jobs)
		throw new Error(`a run crosses otherwise than this program thinks: ${[opened, ...steps].map(({ name }) => name)}`)
	return { ...recording, opening: [opened], steps }
}

/** What `byTurns` was told of a turn (docs/bridge.md). @param {string} text @param {Uint32Array} layout */
function* callsOf(text, layout) {
	let [at, place] = [0, 0]
	const number = () => layout[place++]
	const part = () => {
		const from = at
		return text.slice(from, (at += number()))
	}
	const partIfAny = () => (layout[place] === ABSENT ? void place++ : part())
	const list = (/** @type {() => any} */ one) => Array.from({ length: number() }, one)
	while (place < layout.length) {
		const [kind, handle] = [number(), number()]
		const isOpening = kind === OPENED
		const values = isOpening ? [part()] : [number(), list(part), part(), list(number), part(), partIfAny(), partIfAny()]
		yield { handle, name: isOpening ? 'opened' : 'step', values }
	}
}

/** The same crossings with nobody behind them. @param {string} name @param {number} runs @param {Recording} recording */
async function crossings(name, runs, { config, opening: [opened], steps }) {
	await sendStarts(name, runs)
	const { ended, all } = countdown(runs)
	const named = JSON.parse(config.replaceAll('"recorded"', JSON.stringify(name)))
	const native = new (getNative().NativeWorker)(JSON.stringify(named), (events) => {
		for (const [kind, handle, seq] of events) {
			if (kind === OPEN) {
				said.opened(handle, ...opened.values)
				said.step(handle, ...steps[0].values)
			} else if (kind === DURABLE && seq < steps.length) said.step(handle, ...steps[seq].values)
			else if (kind === DURABLE) ended()
		}
	})
	const said = byTurns(native)
	const cost = await measure(runs, async () => {
		await native.start()
		await all
		while (JSON.parse(native.health()).loadedRuns > 0) await new Promise(setImmediate)
	})
	await native.stop(10_000)
	return cost
}

// Nothing native keeps a process alive.
const hold = setInterval(() => {}, 2 ** 30)
const runs = Number(values.runs)
const recording = await record()
await worker('warm', WARM_RUNS)
const whole = await worker('worker', runs)
await crossings('warm crossings', WARM_RUNS, recording)
const bridge = await crossings('crossings', runs, recording)
const { counts } = recording
const perJob = (/** @type {number} */ count) => count / (COUNTED_RUNS * jobs)
const result = {
	unit: values.allocations ? 'bytes' : 'microseconds',
	runs,
	whole,
	bridge,
	crossings: {
		callsOfJavaScript: perJob(counts.batches),
		eventsInThem: perJob(counts.events),
		callsOfRust: perJob(counts.calls),
	},
	payloadBytes:
		Buffer.byteLength(
			JSON.stringify(recording.steps.map((call) => call.values.filter((value) => value !== undefined))),
		) / jobs,
}
console.log(values.json ? JSON.stringify(result) : result)
clearInterval(hold)
