/**
 * Where this package and npm's 1.4.4 differ, and why. `source` is where the behaviour of 1.4.4 is called wrong: sections 2 (wire
 * and storage) and 5 (results) of the specification. What they do not treat has the place that asks for it, and `beyond` says why.
 *
 * @type {Record<string, { theirs: unknown, ours: unknown, source: string, reason: string, beyond?: string }>}
 */
export const differences = {
	'exports: resumeWithAction': {
		theirs: 'undefined',
		ours: 'function',
		source: 'spec 5, row 52',
		reason: 'promised by the documentation of Flowcraft and missing in the package',
	},
	'construction: without runtimeOptions': {
		theirs: { error: "Cannot read properties of undefined (reading 'dependencies')" },
		ours: {
			error: 'options.runtimeOptions: missing. Give the options of your FlowRuntime, for example runtime.options',
		},
		source: 'issue 3, bad input',
		reason: 'both refuse; ours says which option, and what to do',
		beyond: 'the words of an error, for an input that neither package takes',
	},
	'construction: a table name that is more than a name': {
		theirs: { value: 'a; DROP TABLE b' },
		ours: {
			error:
				'options.contextTableName: "a; DROP TABLE b" is not a CQL identifier. ' +
				'Use letters, digits and "_", beginning with a letter',
		},
		source: 'spec 2.3 (names are interpolated unquoted)',
		reason: 'the name is put into every statement as it is',
	},
	'construction: a logger without methods': {
		theirs: { error: 'this.logger.info is not a function' },
		ours: {
			error:
				'options.runtimeOptions.logger: "debug" is no method of it. ' +
				'Give a logger as FlowRuntime takes it, or leave it out',
		},
		source: 'issue 3, bad input',
		beyond: 'every option with a wrong value is refused early, with its name and the fix; no valid program meets it',
		reason: 'both refuse; ours says which option, and what to do',
	},
	'context: without a keyspace': {
		theirs: { value: 'undefined.contexts' },
		ours: { error: 'options.keyspace: missing. Give the keyspace that holds your tables' },
		source: 'issue 3, bad input',
		beyond: 'every option with a wrong value is refused early, with its name and the fix; no valid program meets it',
		reason: 'every statement of it would ask for a table in a keyspace called "undefined"',
	},
	'store: without a client': {
		theirs: { value: undefined },
		ours: { error: 'redis: undefined is no client. Give an ioredis client, settings or a Redis URL' },
		source: 'issue 3, bad input',
		beyond: 'every option with a wrong value is refused early, with its name and the fix; no valid program meets it',
		reason: 'every call of it would end in a TypeError',
	},
	'reconciler: a threshold that is no number': {
		theirs: { value: 'function' },
		ours: {
			error:
				'options.stalledThresholdSeconds: a string is not a number from 0 to 315360000. ' +
				'Give the seconds after which a run without a change counts as stalled',
		},
		source: 'issue 3, bad input',
		beyond: 'every option with a wrong value is refused early, with its name and the fix; no valid program meets it',
		reason: 'each of its runs would ask the table for rows before an invalid date',
	},
	'reconciler: without an adapter': {
		theirs: { error: "Cannot read properties of undefined (reading 'logger')" },
		ours: { error: 'options.adapter: missing. Give a KafkaAdapter' },
		source: 'issue 3, bad input',
		beyond: 'every option with a wrong value is refused early, with its name and the fix; no valid program meets it',
		reason: 'both refuse; ours says which option, and what to do',
	},
	'life cycle: what start returns': {
		theirs: undefined,
		ours: 'a promise',
		source: 'spec 1.2 (start drops its promise); issue 3, item 3',
		reason: 'the documentation awaits it, and it waited for nothing',
		beyond: 'the life cycle of the object: no format, and no result of a run',
	},
	'life cycle: two starts at once': {
		theirs: 2,
		ours: 1,
		source: 'spec 1.1 (two rapid starts both pass the check); issue 3, item 3',
		reason: 'two starts consumed twice with one consumer',
		beyond: 'the life cycle of the object: no format, and no result of a run',
	},
	'life cycle: a failed start is told': {
		theirs: { value: undefined },
		ours: { error: 'no broker' },
		source: 'spec 1.1 (any failure is swallowed); issue 3, item 3',
		reason: 'a worker that does not run looked like one that does',
		beyond: 'the life cycle of the object: no format, and no result of a run',
	},
	'messages: a handler with a bug does not end the consumer for good': {
		theirs: 'kafkajs stops for good',
		ours: 'kafkajs tries again',
		source: 'spec 2.1 (handler error policy)',
		reason:
			'kafkajs takes a TypeError of a node for a bug of its own, and the worker is dead while isRunning says true',
	},
	'messages: "" is no job': {
		theirs: { result: 'rejected: SyntaxError', handled: 0, deadLetters: [] },
		ours: { result: 'completed', handled: 0, deadLetters: ['jobs.dead-letters'] },
		source: 'spec 2.1 and 5, row 73',
		reason: 'one malformed message killed the worker',
	},
	'messages: "{" is no job': {
		theirs: { result: 'rejected: SyntaxError', handled: 0, deadLetters: [] },
		ours: { result: 'completed', handled: 0, deadLetters: ['jobs.dead-letters'] },
		source: 'spec 2.1 and 5, row 73',
		reason: 'one malformed message killed the worker',
	},
	'messages: "null" is no job': {
		theirs: { result: 'rejected: TypeError', handled: 0, deadLetters: [] },
		ours: { result: 'completed', handled: 0, deadLetters: ['jobs.dead-letters'] },
		source: 'spec 2.1 and 5, row 73',
		reason: 'one malformed message killed the worker',
	},
	'messages: "{}" is no job': {
		theirs: { result: 'completed', handled: 1, deadLetters: [] },
		ours: { result: 'completed', handled: 0, deadLetters: ['jobs.dead-letters'] },
		source: 'spec 5, row 73',
		reason: 'a job without a run wrote rows for a run called "undefined"',
	},
	'context: the key _flowcraft': {
		theirs: {
			seen: [{ v: 1 }, true, { a: 1, _flowcraft: { v: 1 } }],
			set: { value: undefined },
			kept: { a: 1, _flowcraft: 0, b: 2 },
		},
		ours: {
			seen: [undefined, false, { a: 1 }],
			set: { error: 'context key "_flowcraft" is the adapter\'s own. Use another key' },
			kept: { a: 1, b: 2, _flowcraft: { v: 1 } },
		},
		source: 'spec 5.2, D4 (a reserved envelope that CassandraContext.toJSON() hides)',
		reason: 'the run keeps its checkpoint there; users see their own keys only',
	},
	'reconciler: more than one page': {
		theirs: ['r1'],
		ours: ['r1', 'r2', 'r3'],
		source: "spec 1.5 (the driver's first page only); issue 3, item 7",
		reason: 'runs beyond the first 5000 were never found',
		beyond: 'section 2.3 has the statement (S5), which is the same; how far its answer is read is said in 1.5 only',
	},
	'reconcile: a branch that was not taken': {
		theirs: { value: ['yes', 'no'], sent: ['yes', 'no'] },
		ours: { value: ['yes'], sent: ['yes'] },
		source: 'spec 5, row 71 (with 3.4)',
		reason: 'the branch that was decided against was run, and the run declared completed',
	},
	'reconcile: a run that waits': {
		theirs: { value: ['wait'], sent: ['wait'] },
		ours: { value: [], sent: [] },
		source: 'spec 5, row 71 (with 3.4)',
		reason: 'a waiting run was pushed through its wait',
	},
	'reconcile: a fallback that is not needed': {
		theirs: { value: ['f', 'b'], sent: ['f', 'b'] },
		ours: { value: ['b'], sent: ['b'] },
		source: 'spec 5, rows 30 and 71 (with 3.4)',
		reason: 'a fallback runs when its node has failed',
	},
	'reconcile: writes nothing into the run': {
		theirs: 2,
		ours: 0,
		source: "spec 5, row 71 (re-enqueue only, with 3.4); design D12 (the reconciler never writes a run's state)",
		reason: 'a write of the whole row by somebody who does not own the run can undo a step',
	},
	'genuine clients: the line of each job that was picked up': {
		theirs: ['a', 'b'],
		ours: [],
		source: 'spec 1.1 (log lines); design F9 (what a job may cost)',
		reason:
			'one line for each job costs a tenth of what a worker can do with the default logger, which prints it; and most jobs ' +
			'are not picked up from a partition, but start where their predecessor was recorded',
		beyond:
			'the line itself is not wrong: it is too dear at the rate of this engine; events say the same to who listens',
	},
	'genuine clients: the status of a short run while it runs': {
		theirs: 'running',
		ours: 'no row',
		source: 'spec 2.3, S2 and S3 (a Paxos round and a write per job)',
		reason:
			'a run that is over within a second is not written twice; a longer one is `running` after 1 s, then every 30 s',
	},
	'genuine clients: the consistency of what is written': {
		theirs: 'LOCAL_ONE',
		ours: 'LOCAL_QUORUM',
		source: "spec 2.3 (the driver's default: read-modify-write over stale replicas)",
		reason: 'a step that a stale replica does not know would be done again, or lost',
	},
	'genuine clients: where a new group begins': {
		theirs: 'the next job',
		ours: 'the oldest job',
		source: 'spec 2.1 (a new group misses jobs produced before its first assignment)',
		reason: 'runs that were started before the first worker had joined were never worked on',
	},
	'genuine clients: the blueprint that a user has registered, after a run': {
		theirs: 'rewritten',
		ours: 'as it was',
		source: 'spec 5, rows 19 and 77 (with 3, steps 8 and 9)',
		reason: 'inputs of one run leaked into the next ones, depending on which worker had run what',
	},
}
