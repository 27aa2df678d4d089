/**
 * What a node costs in the JavaScript sessions alone: no stores, an engine that acknowledges at once. Beside it the same
 * graph in `FlowRuntime.run`, on the same machine at the same time.
 *
 *   node bench/sessions.mjs [chain | fan] [runs] [runs in flight]
 */
import { FlowRuntime, NullLogger } from 'flowcraft'
import { createSessions } from '../src/js/bridge/sessions.js'

const [kind = 'chain', runs = '20000', inFlight = '200'] = process.argv.slice(2)
const total = Number(runs)
const ids = Array.from({ length: 10 }, (_, i) => `n${i}`)
const last = ids.length - 1
const edges =
	kind === 'chain'
		? ids.slice(1).map((target, i) => ({ source: ids[i], target }))
		: ids.slice(1, last).flatMap((id) => [
				{ source: ids[0], target: id },
				{ source: id, target: ids[last] },
			])
const blueprint = { id: kind, nodes: ids.map((id) => ({ id, uses: 'f' })), edges }
const options = {
	registry: { f: async () => ({ output: 1 }) },
	blueprints: { [kind]: blueprint },
	logger: new NullLogger(),
}

/** @param {string} name @param {() => Promise<void>} work */
async function measure(name, work) {
	const [begin, used] = [performance.now(), process.cpuUsage()]
	await work()
	const { user, system } = process.cpuUsage(used)
	const perSecond = Math.round((total * ids.length * 1000) / (performance.now() - begin))
	console.log(
		`${name} ${kind}: ${perSecond} nodes/s, ${((user + system) / (total * ids.length)).toFixed(1)} us of processor per node`,
	)
}

await measure('sessions', async () => {
	let [handle, done] = [0, 0]
	/** @type {any[][]} */
	let events = []
	/** @type {() => void} */
	let over
	const finished = new Promise((resolve) => (over = () => resolve(undefined)))
	const emit = (/** @type {any[]} */ event) => {
		if (events.push(event) > 1) return
		setImmediate(() => sessions.onBatch(events.splice(0)))
	}
	const next = () => handle < total && emit([1, ++handle, `run-${handle}`, kind, [ids[0]], [], null, false, false])
	const native = {
		opened() {},
		refuse() {},
		drained() {},
		/** @type {import('../src/js/session/run-session.js').NativeSteps['step']} */
		step(run, seq, _changes, _checkpoint, _done, _due, outcome) {
			emit([2, run, seq])
			if (!outcome) return
			emit([6, run, 'ended'])
			next()
			if (++done === total) over()
		},
	}
	const sessions = createSessions({ runtime: new FlowRuntime(options), native, logger: new NullLogger() })
	for (let i = 0; i < Number(inFlight); i++) next()
	await finished
})

await measure('memory  ', async () => {
	const runtime = new FlowRuntime(options)
	for (let i = 0; i < total; i++) await runtime.run(blueprint, {})
})
