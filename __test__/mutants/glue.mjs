/**
 * Faults of the JavaScript glue: each replaces one fragment of one file, and one named test has to fail for it. A fragment
 * that does not occur exactly once is refused, so that a fault cannot be left behind by a change of the code.
 */
import { readFileSync } from 'node:fs'

/**
 * @typedef {object} GlueMutant
 * @property {string} name
 * @property {string} breaks what it does
 * @property {string} guarantee the guarantee or the row of the matrix that it breaks
 * @property {string} file
 * @property {string} from
 * @property {string} to
 * @property {string} suite the test file
 * @property {string} test the name of the test, or how it begins
 */

/** @type {GlueMutant[]} */
export const GLUE = [
	{
		name: 'count-in-joins',
		breaks: 'A join counts completed nodes instead of looking for its own predecessors among them.',
		guarantee: 'G3, row 16',
		file: 'src/js/session/run-graph.js',
		from: 'if (this.isCompletedAt(predecessor, moment)) continue',
		to: 'if (this.completed.size >= (this.predecessorsOf(nodeId)?.size ?? 0)) continue',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 16: a join behind a branch not taken is skipped (eager)',
	},
	{
		name: 'forget-visited-waves',
		breaks: 'A join that got its visit for a wave gets another one from each further predecessor.',
		guarantee: 'G3, row 9',
		file: 'src/js/session/schedules.js',
		from: 'if (waves?.has(wave)) return',
		to: '',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 9: any join asked for twice in one wave runs once (eager)',
	},
	{
		name: 'any-join-once',
		breaks: 'An `any` join that has run does not run again for a later wave (joinStrategy is ignored).',
		guarantee: 'row 10',
		file: 'src/js/session/schedules.js',
		from: 'graph.isAnyJoin(nodeId) ? graph.matched :',
		to: 'graph.isAnyJoin(nodeId) ? graph.matched && !graph.completed.has(nodeId) :',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 10: an any join asked for in two waves runs twice',
	},
	{
		name: 'start-beside-fallbacks',
		breaks: 'A join starts while the fallback of one of its predecessors still runs.',
		guarantee: 'G3, row 29',
		file: 'src/js/session/schedules.js',
		from: 'if ((answer || since <= wave) && graph.feeds(other, nodeId)) return true',
		to: '',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 29: an all join starts when everything of its wave has come that stands for a predecessor (eager)',
	},
	{
		name: 'start-beside-waits',
		breaks: 'A join starts while the fallback of one of its predecessors awaits.',
		guarantee: 'G3, row 48',
		file: 'src/js/session/schedules.js',
		from: 'graph.feeds(other, nodeId) && this.#session.waveOfWait(other) <= wave',
		to: 'false',
		suite: '__test__/unit/session-waits.test.mjs',
		test: 'row 48: an all join waits for a fallback that awaits (eager)',
	},
	{
		name: 'forget-fallbacks-end',
		breaks: 'A join that waits for the fallback of a predecessor is not looked at when that fails.',
		guarantee: 'row 32',
		file: 'src/js/session/schedules.js',
		from: 'graph.feeds(from, nodeId)',
		to: 'graph.predecessorsOf(nodeId)?.has(from)',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 32: an all join starts, though what stands for a predecessor has failed (eager)',
	},
	{
		name: 'share-blueprint',
		breaks: 'Runs change the nodes of the registered blueprint instead of copies of their own.',
		guarantee: 'row 19',
		file: 'src/js/session/run-graph.js',
		from: 'const nodes = dynamicBlueprint.nodes.map(copyNode)',
		to: 'const { nodes } = dynamicBlueprint',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 77: two runs on one worker are isolated',
	},
	{
		name: 'forget-conditions',
		breaks: 'Where no edge of a result matches, targets behind a condition are asked for, too.',
		guarantee: 'row 13',
		file: 'src/js/session/run-graph.js',
		from: '!this.#shape.conditional.has(target) && ',
		to: '',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 13: a join behind conditions of which none holds (eager)',
	},
	{
		name: 'complete-by-output',
		breaks: 'A node without an output does not count as completed.',
		guarantee: 'G3, row 3',
		file: 'src/js/session/run-graph.js',
		from: 'if (!this.isCompletedAt(nodeId, this.now)) this.#complete(nodeId)',
		to: 'if (!this.isCompletedAt(nodeId, this.now) && result?.output !== undefined) this.#complete(nodeId)',
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 3: a join behind a node without an output (eager)',
	},
	{
		name: 'forget-completed',
		breaks: 'A restored run does not know what it had completed.',
		guarantee: 'G2',
		file: 'src/js/session/run-progress.js',
		from: 'completed: moments(done)',
		to: 'completed: []',
		suite: '__test__/unit/session-waits.test.mjs',
		test: 'a join behind a wait does not run before the wait is over',
	},
	{
		name: 'start-before-durable',
		breaks: 'Successors start when their step is handed over.',
		guarantee: 'G2',
		file: 'src/js/session/run-session.js',
		from: '\t\tthis.live.handedOver(seq)\n',
		to: '\t\tthis.live.handedOver(seq)\n\t\tthis.#startLocally(due.splice(0))\n',
		suite: '__test__/unit/session-steps.test.mjs',
		test: 'a successor starts when the step that made it due is durable, not before',
	},
	{
		name: 'record-running-writes',
		breaks: 'What a running node has written is stored with the results of others.',
		guarantee: 'G2',
		file: 'src/js/session/run-context.js',
		from: 'draft.versions.findLastIndex(({ writer }) => writer.recorded)',
		to: 'draft.versions.length - 1',
		suite: '__test__/unit/session-steps.test.mjs',
		test: 'what a running node has written is not stored before the node is recorded',
	},
	{
		name: 'no-replay',
		breaks: 'A recorded node of a run that JavaScript workers have begun is executed again.',
		guarantee: 'G12',
		file: 'src/js/session/run-session.js',
		from: 'if (visit.replay) return\n',
		to: 'visit.replay = false\n',
		suite: '__test__/unit/session-recovery.test.mjs',
		test: 'G12: a message for a recorded node finds its successors without running it',
	},
	{
		name: 'forget-excluded-branches',
		breaks: 'What a recorded node of JavaScript workers had chosen is forgotten: all its branches run.',
		guarantee: 'G12',
		file: 'src/js/session/adoption.js',
		from: 'if (!outgoing.some(({ action }) => action)) return { output }',
		to: 'return { output }',
		suite: '__test__/unit/session-recovery.test.mjs',
		test: 'G12: the action of a recorded node is told by the successors that it had chosen',
	},
	{
		name: 'end-too-early',
		breaks: 'An adopted run ends although messages of before may still come.',
		guarantee: 'G4, G12',
		file: 'src/js/session/run-session.js',
		from: 'this.#schedule.idle && !this.#moreMayCome',
		to: 'this.#schedule.idle',
		suite: '__test__/unit/session-recovery.test.mjs',
		test: 'G12: an adopted run is not over before its partition was read to the end',
	},
	{
		name: 'await-is-the-end',
		breaks: 'A run in which a node awaits is published as completed.',
		guarantee: 'G4, row 49',
		file: 'src/js/session/outcome.js',
		from: '(state.getStatus(true))',
		to: "(state.getErrors().length > 0 ? 'failed' : 'completed')",
		suite: '__test__/unit/session-rows.test.mjs',
		test: 'row 49: wait (eager)',
	},
	{
		name: 'answer-twice',
		breaks: 'A second resume of a wait is taken as an answer, too.',
		guarantee: 'row 53',
		file: 'src/js/session/run-session.js',
		from: 'if (this.#answering === address || this.#answers.some((other) => other.nodeId === address)) return false',
		to: '',
		suite: '__test__/unit/session-waits.test.mjs',
		test: 'the first resume of a wait counts; one too many is refused',
	},
	{
		name: 'child-wait-completes',
		breaks: 'In a child of a subflow a node that begins to await counts as completed.',
		guarantee: 'row 48',
		file: 'src/js/session/child-graph.js',
		from: 'if (awaits(this.#state, nodeId)) return',
		to: '',
		suite: '__test__/unit/session-subflow-waits.test.mjs',
		test: 'row 53: a join of two waits runs once, with both answers, whichever comes first',
	},
	{
		name: 'foreign-wins',
		breaks: 'A foreign change replaces one of our own that is not durable.',
		guarantee: 'G1',
		file: 'src/js/session/run-context.js',
		from: 'if (this.#dirty.has(key) || (stored && stored.step > this.#durable) || stored?.raw === raw) return',
		to: 'if (stored?.raw === raw) return',
		suite: '__test__/unit/session-steps.test.mjs',
		test: 'foreign changes are merged by key; own uncommitted ones win',
	},
]

/** @param {string} name @returns {GlueMutant} */
export function glueMutant(name) {
	const found = GLUE.find((mutant) => mutant.name === name)
	if (!found)
		throw new Error(`there is no fault "${name}" of the glue; there are ${GLUE.map((one) => one.name).join(', ')}`)
	return found
}

/** @param {GlueMutant} mutant @param {string} source */
export function mutatedSource({ name, file, from, to }, source) {
	const parts = source.split(from)
	if (parts.length !== 2)
		throw new Error(
			`fault ${name}: ${file} has its fragment ${parts.length - 1} times. Give it one that occurs once: ${from}`,
		)
	return parts.join(to)
}

/** @param {GlueMutant} mutant */
export function sourceOf(mutant) {
	return mutatedSource(mutant, readFileSync(new URL(`../../${mutant.file}`, import.meta.url), 'utf8'))
}
