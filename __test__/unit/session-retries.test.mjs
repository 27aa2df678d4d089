/** `retryMode: 'queue'`: each attempt of a node waits for a durable timer (rows 25 to 28, 55, 57). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BaseNode, FlowcraftError } from 'flowcraft'
import { reconcileRun } from '../../src/js/adapter/reconcile.js'
import { delayAfter, planOf } from '../../src/js/session/queue-retries.js'
import { openings, wakeOf } from '../support/openings.mjs'
import { bareSessions } from '../support/worker.mjs'

const node = (/** @type {string} */ id, uses = id, /** @type {any} */ config = {}) => ({ id, uses, config })
const edge = (/** @type {string} */ path) => ({ source: path.split('>')[0], target: path.split('>')[1] })
const pass = async () => ({ output: 'passed' })
/** @type {any} */
const queue = { shouldRetryInProcess: () => false, getQueueRetryOptions: () => undefined }

/** Fails until its attempt `succeedsAt`, and notes what it is told. @param {number} succeedsAt */
function flaky(succeedsAt) {
	/** @type {any[]} */
	const told = []
	const body = async (/** @type {any} */ { dependencies }) => {
		told.push(dependencies.workflowState.isLastAttempt)
		if (told.length < succeedsAt) throw new Error(`attempt ${told.length} failed`)
		return { output: `attempt ${told.length}` }
	}
	return { body, told }
}

/** @param {any[]} nodes @param {any} registry @param {any} [more] */
const run = (nodes, registry, more) => openings(nodes, { pass, ...registry }, { retries: queue, ...more })

const RESTING = { status: 'running', payload: null }

describe('row 25: retries by timers', () => {
	for (const schedule of ['eager', 'wave']) {
		test(`row 25: each attempt is a step of its own, in whichever worker (${schedule})`, async () => {
			const { body, told } = flaky(3)
			const nodes = [node('a', 'a', { maxRetries: 3, retryDelay: 60_000 }), node('b', 'pass')]
			const one = run(nodes, { a: body }, { edges: [edge('a>b')], sessions: { schedule } })
			const before = Date.now()
			assert.deepEqual((await one.open()).outcome, RESTING)
			assert.equal(told.length, 1)
			const [[nodeId, visit, at]] = one.timers
			assert.equal(nodeId, 'a')
			assert.ok(at >= before + 30_000 && at <= Date.now() + 60_000, `due in ${at - before} ms`)
			assert.deepEqual(one.checkpoint.attempts, [[visit, 2, at]])
			assert.deepEqual((await one.wake()).outcome, RESTING)
			const { outcome, entries } = await one.wake()
			assert.equal(outcome.status, 'completed')
			assert.deepEqual([entries.a, entries.b], ['attempt 3', 'passed'])
			assert.deepEqual(told, [false, false, true])
			assert.deepEqual(one.timers, [])
			assert.equal(one.checkpoint.attempts, undefined)
		})

		test(`row 28: the last attempt fails the node: the fallback runs, once (${schedule})`, async () => {
			const { body, told } = flaky(9)
			let fallbacks = 0
			const f = async () => ({ output: ++fallbacks })
			const nodes = [node('a', 'a', { maxRetries: 2, fallback: 'f' }), node('f')]
			const one = run(nodes, { a: body, f }, { sessions: { schedule } })
			assert.deepEqual((await one.open()).outcome, RESTING)
			assert.equal(fallbacks, 0)
			const { outcome, entries } = await one.wake()
			assert.deepEqual([outcome.status, entries.f, fallbacks], ['completed', 1, 1])
			assert.deepEqual(told, [false, true])
		})
	}

	test('row 25 (exhausted): without a fallback the run fails with the last error', async () => {
		const one = run([node('a', 'a', { maxRetries: 2 })], { a: flaky(9).body })
		await one.open()
		const { outcome } = await one.wake()
		assert.equal(outcome.status, 'failed')
		assert.equal(outcome.errors.length, 1)
		assert.equal(outcome.errors[0].cause.message, 'attempt 2 failed')
	})

	test('row 25: a node with one attempt, and one whose error is fatal, fail at once', async () => {
		const fatal = async () => {
			throw new FlowcraftError('never', { isFatal: true })
		}
		for (const [config, a] of [
			[{}, flaky(2).body],
			[{ maxRetries: 5 }, fatal],
		]) {
			const one = run([node('a', 'a', config)], { a })
			assert.equal((await one.open()).outcome.status, 'failed')
			assert.deepEqual(one.timers, [])
		}
	})

	test('row 25: what does not depend on the node goes on; the wave waits', async () => {
		for (const [schedule, isThere] of [
			['eager', true],
			['wave', false],
		]) {
			const nodes = [node('a', 'a', { maxRetries: 2 }), node('b', 'pass'), node('c', 'pass'), node('j', 'pass')]
			const edges = [edge('b>c'), edge('c>j'), edge('a>j')]
			const one = run(nodes, { a: flaky(2).body }, { edges, sessions: { schedule } })
			const { outcome, entries } = await one.open()
			assert.deepEqual(outcome, RESTING)
			assert.equal('c' in entries, isThere, String(schedule))
			assert.equal('j' in entries, false)
			const last = await one.wake()
			assert.deepEqual([last.outcome.status, last.entries.j], ['completed', 'passed'])
		}
	})

	test('row 25: a nudge does not start an attempt early, and starts one that is overdue', async () => {
		const { body, told } = flaky(2)
		const one = run([node('a', 'a', { maxRetries: 2, retryDelay: 60_000 })], { a: body })
		await one.open()
		assert.deepEqual((await one.open()).outcome, RESTING)
		assert.equal(told.length, 1)
		const soon = flaky(2)
		const other = run([node('a', 'a', { maxRetries: 2, retryDelay: 0 })], { a: soon.body })
		await other.open()
		assert.equal((await other.open()).outcome.status, 'completed')
		assert.equal(soon.told.length, 2)
	})

	test('row 25: two visits of a node that fail at once have timers of their own', async () => {
		const seen = { j: 0 }
		const j = async () => {
			if (++seen.j <= 2) throw new Error('not yet')
			return { output: seen.j }
		}
		const nodes = [node('a', 'pass'), node('b', 'pass'), node('j', 'j', { joinStrategy: 'any' })]
		const retries = {
			...queue,
			getQueueRetryOptions: () => ({ attempts: 2, backoff: { delay: 3_600_000, jitter: 0 } }),
		}
		// In waves of their own: `b` is one later.
		const edges = [edge('a>j'), edge('a>b'), edge('b>j')]
		const now = Date.now()
		const one = run(nodes, { j }, { edges, retries })
		const clock = Date.now
		Date.now = () => now
		try {
			assert.deepEqual((await one.open()).outcome, RESTING)
		} finally {
			Date.now = clock
		}
		assert.equal(new Set(one.timers.map(([, , at]) => at)).size, 2, JSON.stringify(one.timers))
		assert.deepEqual((await one.wake()).outcome, RESTING)
		assert.equal((await one.wake()).outcome.status, 'completed')
		assert.equal(seen.j, 4)
	})

	test('row 10: each visit of an any join has the input of its own wave, in whichever worker', async () => {
		/** @type {string[]} */
		const seen = []
		const j = async (/** @type {any} */ { input }) => {
			seen.push(input)
			if (seen.length <= 2) throw new Error('not yet')
			return { output: input }
		}
		const says = (/** @type {string} */ output) => async () => ({ output })
		const nodes = [node('a'), node('b'), node('j', 'j', { joinStrategy: 'any' })]
		const retries = { ...queue, getQueueRetryOptions: () => ({ attempts: 2, backoff: { delay: 3_600_000 } }) }
		const edges = [edge('a>j'), edge('a>b'), edge('b>j')]
		const one = run(nodes, { a: says('of a'), b: says('of b'), j }, { edges, retries })
		assert.deepEqual((await one.open()).outcome, RESTING)
		one.timers.sort(([, left], [, right]) => left - right)
		await one.wake()
		const { outcome, entries } = await one.wake()
		assert.equal(outcome.status, 'completed')
		assert.deepEqual(seen, ['of a', 'of b', 'of a', 'of b'])
		assert.equal(entries['_inputs.j'], 'of b')
	})

	test('row 25: a node that waits for its attempt is not begun a second time', async () => {
		const turn = () => new Promise((resolve) => setImmediate(resolve))
		let joined = 0
		const { body, told } = flaky(2)
		const j = async () => {
			// The second time `k` has failed before.
			if (++joined === 2) while (told.length === 0) await turn()
			for (let i = 0; i < 5 * joined; i++) await turn()
			return { output: joined }
		}
		const nodes = [
			node('a', 'pass'),
			node('b', 'pass'),
			node('j', 'j', { joinStrategy: 'any' }),
			node('k', 'k', { maxRetries: 2 }),
		]
		const edges = [edge('a>j'), edge('a>b'), edge('b>j'), edge('j>k')]
		const one = run(nodes, { j, k: body }, { edges, patienceMs: 2_000 })
		assert.deepEqual((await one.open()).outcome, RESTING)
		assert.deepEqual([joined, told.length, one.timers.length], [2, 1, 1])
		assert.equal((await one.wake()).outcome.status, 'completed')
		// As after any node that is slower than the join: it was asked for again while it was under way.
		assert.equal(told.length, 3)
	})

	test('row 25: the same timer twice is one attempt', async () => {
		const { body, told } = flaky(3)
		const one = run([node('a', 'a', { maxRetries: 3 })], { a: body })
		await one.open()
		const timer = wakeOf(/** @type {any} */ (one.timers.shift()))
		const { bare } = await one.open([timer, timer])
		assert.equal(told.length, 2)
		assert.deepEqual(bare.steps[0].extras.applied, [1, 2])
		assert.deepEqual((await one.open([timer])).outcome, RESTING)
		assert.equal(told.length, 2, 'nor later')
	})

	test('row 25: a run whose attempt died with its worker makes it again', async () => {
		const { body, told } = flaky(3)
		const one = run([node('a', 'a', { maxRetries: 3 })], { a: body })
		await one.open()
		const bp = { id: 'bp', nodes: [node('a', 'a', { maxRetries: 3 })], edges: [] }
		const worker = (/** @type {any} */ a) => bareSessions({ registry: { a }, blueprints: { bp } }, { retries: queue })
		const dying = worker(() => new Promise(() => {}))
		dying.open([], { checkpoint: JSON.stringify(one.checkpoint), commands: one.timers.map(wakeOf) })
		await dying.settle()
		const [began] = dying.steps
		assert.deepEqual(began.due, [[2, 'a']])
		assert.deepEqual(began.checkpoint.attempts, [[2, 2]])
		const next = worker(body)
		next.open(['a'], { checkpoint: began.text })
		await next.settle()
		assert.equal(told.length, 2)
		assert.deepEqual(
			next.steps[0].checkpoint.attempts.map((/** @type {any} */ [, attempt]) => attempt),
			[3],
		)
	})

	test('row 55: cancel ends a run that waits for an attempt; its timer then changes nothing', async () => {
		const { body, told } = flaky(2)
		const one = run([node('a', 'a', { maxRetries: 2 })], { a: body })
		await one.open()
		const { outcome } = await one.open([{ id: 'x', kind: 'cancel', reason: 'enough' }])
		assert.deepEqual([outcome.status, outcome.reason], ['cancelled', 'enough'])
		assert.equal((await one.wake()).outcome.status, 'cancelled')
		assert.equal(told.length, 1)
	})

	test('row 52: a wait beside it can be answered; the run awaits only when no attempt is to come', async () => {
		const one = run([node('a', 'a', { maxRetries: 2 }), node('w', 'wait')], { a: flaky(2).body })
		assert.deepEqual((await one.open()).outcome, RESTING)
		assert.equal((await one.wake()).outcome.status, 'awaiting')
		const { outcome } = await one.open([{ id: 'r', kind: 'resume', nodeId: 'w' }])
		assert.equal(outcome.status, 'completed')
	})

	test('row 25: children of subflows are retried in the process', async () => {
		const { body, told } = flaky(3)
		const child = { id: 'child', nodes: [node('c', 'c', { maxRetries: 3 })], edges: [] }
		const sub = { id: 'sub', uses: 'subflow', params: { blueprintId: 'child' }, config: { maxRetries: 2 } }
		const one = run([sub], { c: body }, { blueprints: { child } })
		assert.equal((await one.open()).outcome.status, 'completed')
		assert.equal(told.length, 3)
	})

	test('row 57: fallback of a class node comes with the last attempt', async () => {
		/** @type {string[]} */
		const called = []
		class Weak extends BaseNode {
			async exec() {
				called.push('exec')
				throw new Error('weak')
			}
			async fallback() {
				called.push('fallback')
				return { output: 'instead' }
			}
		}
		const one = run([node('a', 'a', { maxRetries: 2 })], { a: Weak })
		assert.deepEqual((await one.open()).outcome, RESTING)
		const { entries } = await one.wake()
		assert.deepEqual([called, entries.a], [['exec', 'exec', 'fallback'], 'instead'])
	})

	test('row 27: an attempt that enforceTimeouts ends counts, and its error says which it was', async () => {
		const never = () => new Promise(() => {})
		const options = { sessions: { enforceTimeouts: true }, patienceMs: 5_000 }
		const one = run([node('a', 'a', { maxRetries: 2, timeout: 5 })], { a: never }, options)
		assert.deepEqual((await one.open()).outcome, RESTING)
		const { outcome } = await one.wake()
		assert.equal(outcome.status, 'failed')
		assert.match(outcome.errors[0].cause.message, /attempt 2 of 2 took longer/)
	})

	test('row 25: a node that fails after it began to await is tried again, and then awaits', async () => {
		let attempts = 0
		const a = async (/** @type {any} */ { dependencies }) => {
			await dependencies.workflowState.markAsAwaiting('a')
			if (++attempts === 1) throw new Error('after all not')
			return { output: undefined }
		}
		for (const schedule of ['eager', 'wave']) {
			attempts = 0
			const one = run([node('a', 'a', { maxRetries: 2 })], { a }, { sessions: { schedule } })
			const { outcome, entries } = await one.open()
			assert.deepEqual([outcome, entries._awaitingNodeIds], [RESTING, undefined])
			assert.equal((await one.wake()).outcome.status, 'awaiting')
		}
	})
})

test('row 71: reconcile leaves attempts alone whose time has not come, and nudges those that are overdue', async () => {
	/** @param {any} attempts @param {any} [outcome] */
	const nudged = async (attempts, outcome) => {
		const checkpoint = {
			v: 1,
			blueprint: 'bp',
			last: 3,
			due: [
				[2, 'a', 1],
				[3, 'b', 1],
			],
			attempts,
			outcome,
		}
		/** @type {string[]} */
		const sent = []
		const host = {
			blueprint: () => ({ id: 'bp', nodes: [node('a'), node('b')], edges: [] }),
			store: undefined,
			logger: /** @type {any} */ ({ info() {} }),
			createContext: () => /** @type {any} */ ({ toJSON: async () => ({ _flowcraft: checkpoint }) }),
			enqueueJob: async (/** @type {any} */ { nodeId }) => void sent.push(nodeId),
			statusOf: async () => 'running',
		}
		await reconcileRun(host, 'run')
		return sent
	}
	const later = Date.now() + 60_000
	assert.deepEqual(await nudged([[2, 2, later]]), ['b'])
	assert.deepEqual(
		await nudged(
			[
				[2, 2, later],
				[3, 2, later],
			],
			RESTING,
		),
		[],
	)
	assert.deepEqual(
		await nudged(
			[
				[2, 2, 1],
				[3, 2, later],
			],
			RESTING,
		),
		['a'],
	)
	assert.deepEqual(await nudged([[2, 2, 1]], { status: 'failed' }), [])
})

describe('the hooks', () => {
	test('row 25: are asked as documented, and decide by node', async () => {
		/** @type {string[]} */
		const asked = []
		const retries = {
			shouldRetryInProcess: (/** @type {any} */ { id }) => (asked.push(`in process ${id}`), id === 'near'),
			getQueueRetryOptions: (/** @type {any} */ { id }) => (
				asked.push(`options ${id}`),
				{ attempts: 2, backoff: { type: 'fixed', delay: 5_000, jitter: 0 } }
			),
		}
		const near = flaky(3)
		const far = flaky(2)
		const nodes = [node('near', 'near', { maxRetries: 3 }), node('far')]
		const one = run(nodes, { near: near.body, far: far.body }, { retries })
		const before = Date.now()
		assert.deepEqual((await one.open()).outcome, RESTING)
		assert.deepEqual(asked, ['in process near', 'in process far', 'options far'])
		assert.deepEqual([near.told, far.told], [[undefined, undefined, undefined], [false]])
		const [[, , at]] = one.timers
		assert.ok(at >= before + 5_000 && at <= Date.now() + 5_000)
		assert.equal((await one.wake()).outcome.status, 'completed')
	})

	test('row 25: what they throw, and a backoff that is none, fails the node', async () => {
		const getQueueRetryOptions = () => ({ backoff: { type: 'sometimes' } })
		const one = run([node('a', 'pass', { maxRetries: 2 })], {}, { retries: { ...queue, getQueueRetryOptions } })
		const { outcome } = await one.open()
		assert.equal(outcome.status, 'failed')
		assert.match(outcome.reason, /backoff.type.*"sometimes" is not known/)
	})

	test('row 25: without a place for timers attempts follow each other in the process, with one warning', async () => {
		/** @type {string[]} */
		const warnings = []
		const logger = { debug() {}, info() {}, error() {}, warn: (/** @type {string} */ text) => void warnings.push(text) }
		const { body, told } = flaky(3)
		const nodes = [node('a', 'a', { maxRetries: 3 }), node('b', 'pass', { maxRetries: 2 })]
		const one = run(nodes, { a: body }, { logger, timersMissing: 'no table' })
		assert.equal((await one.open()).outcome.status, 'completed')
		assert.equal(told.length, 3)
		assert.deepEqual(warnings, ['[KafkaAdapter] Nodes are retried in the process, without a delay: no table'])
	})

	test('row 25: node:retry is told, and the attempt is a job that failed', async () => {
		/** @type {any[]} */
		const events = []
		const adapterBus = { emit: (/** @type {any} */ { type, payload }) => void events.push([type, payload.nodeId]) }
		const eventBus = {
			emit: (/** @type {any} */ { type, payload }) => {
				if (type === 'node:retry' || type === 'workflow:finish') events.push([type, payload.attempt ?? payload.status])
			},
		}
		const one = run([node('a', 'a', { maxRetries: 2 })], { a: flaky(2).body }, { adapterBus, runtime: { eventBus } })
		await one.open()
		assert.deepEqual(events, [
			['node:retry', 1],
			['job:failed', 'a'],
		])
	})
})

describe('back-off', () => {
	const plan = { attempts: 9, type: /** @type {const} */ ('exponential'), delayMs: 1_000, jitter: 0.5 }
	test('doubles from the first delay, up to an hour, less what chance takes', () => {
		assert.deepEqual(
			[1, 2, 3, 4].map((failed) => delayAfter(plan, failed, 0)),
			[1_000, 2_000, 4_000, 8_000],
		)
		assert.deepEqual([delayAfter(plan, 1, 1), delayAfter(plan, 3, 0.5)], [500, 3_000])
		assert.equal(delayAfter(plan, 2_000, 0), 3_600_000)
		assert.equal(delayAfter({ ...plan, delayMs: 7_200_000 }, 5, 0), 7_200_000)
		assert.equal(delayAfter({ ...plan, type: 'fixed', jitter: 0 }, 5, 1), 1_000)
		assert.equal(delayAfter({ ...plan, delayMs: 0 }, 2_000, 0.5), 0)
	})

	test('what the hook leaves out comes from the config of the node, and what that has not is 1 and 1000', () => {
		const standard = { attempts: 1, type: 'exponential', delayMs: 1_000, jitter: 0.5 }
		const configured = node('a', 'a', { maxRetries: 4, retryDelay: 20 })
		assert.deepEqual(planOf(node('a')), standard)
		assert.deepEqual(planOf(configured), { ...standard, attempts: 4, delayMs: 20 })
		assert.deepEqual(planOf(configured, { attempts: 2, backoff: 7 }), {
			attempts: 2,
			type: 'fixed',
			delayMs: 7,
			jitter: 0.5,
		})
		assert.deepEqual(planOf(node('a', 'a', { maxRetries: 0, retryDelay: -1 })), standard)
		assert.throws(() => planOf(configured, { backoff: { jitter: 2 } }), { code: 'ERR_OPTION' })
	})
})
