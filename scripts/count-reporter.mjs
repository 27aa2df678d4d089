/**
 * A reporter for `node --test` that writes one JSON line per event, so that a run which is killed has still said how far it came:
 * `{ kind: 'start' | 'pass' | 'fail' | 'skip' | 'empty', name, file }`. `name` is the whole path, `outer > inner`.
 *
 * Counted is what runs code of its own: tests, subtests, and a suite or test file that fails for itself (a hook that throws, a file that
 * does not load). What fails only because of something inside it is not counted a second time.
 *
 * @param {AsyncIterable<{ type: string, data: any }>} source
 */
export default async function* countReporter(source) {
	/** @type {Map<string, string[]>} names of the open tests by file, in the order of the results */
	const reported = new Map()
	/** The same in the order of execution, which runs ahead of the results. */
	const begun = new Map()
	for await (const { type, data } of source) {
		if (type === 'test:dequeue') yield line('start', pathOf(begun, data), data)
		if (type === 'test:start') pathOf(reported, data)
		const kind = kindOf(type, data)
		if (kind) yield line(kind, pathOf(reported, data), data)
	}
}

function kindOf(type, data) {
	if (type !== 'test:pass' && type !== 'test:fail') return undefined
	const isSuite = data.details?.type === 'suite'
	if (data.skip !== undefined || data.todo !== undefined) return isSuite ? undefined : 'skip'
	if (type === 'test:fail') return data.details?.error?.failureType === 'subtestsFailed' ? undefined : 'fail'
	// A file without a single test is reported as if it were one that passed.
	if (isWholeFile(data)) return 'empty'
	return isSuite ? undefined : 'pass'
}

function isWholeFile({ name, file, nesting }) {
	return nesting === 0 && Boolean(file) && (name === file || file.endsWith(`/${name}`))
}

function line(kind, path, { file }) {
	return `${JSON.stringify({ kind, name: path.join(' > '), file })}\n`
}

function pathOf(open, { name, nesting, file }) {
	const path = [...(open.get(file) ?? []).slice(0, nesting), name]
	open.set(file, path)
	return path
}
