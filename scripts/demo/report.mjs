/**
 * What came out: totals, the largest files, broken links; and whether the same workflow in memory says the same.
 */
import { isDeepStrictEqual } from 'node:util'
import { FlowRuntime } from 'flowcraft'
import { BLUEPRINT, contextOf, registryOf } from './workflow.mjs'

const LARGEST = 10
const NAME_WIDTH = 70
const FIGURES = ['bytes', 'words', 'headings', 'links', 'brokenLinks', 'score']

/** @param {any[]} summaries what the summary nodes said */
export function totalsOf(summaries) {
	const totals = {
		files: summaries.length,
		filesWithBrokenLinks: summaries.filter(({ brokenLinks }) => brokenLinks).length,
	}
	for (const name of FIGURES) totals[name] = summaries.reduce((sum, summary) => sum + summary[name], 0)
	return totals
}

/**
 * @param {{ runId: string, file: import('./files.mjs').InputFile }[]} runs
 * @returns {Promise<any[]>} the summaries, as JSON would hold them
 */
export async function inMemory(runs) {
	const runtime = new FlowRuntime({ registry: registryOf(), blueprints: { [BLUEPRINT.id]: BLUEPRINT } })
	const summaries = []
	for (const { runId, file } of runs) {
		const { context } = await runtime.run(BLUEPRINT, contextOf(runId, file))
		if (context.summary) summaries.push(JSON.parse(JSON.stringify(context.summary)))
	}
	return summaries
}

/** Not only the sums: file for file. */
export const areEqual = (summaries, expected) => isDeepStrictEqual(byName(summaries), byName(expected))

const byName = (summaries) => new Map(summaries.map((summary) => [summary.name, summary]))

/** @returns {string[]} lines */
export function describe(summaries) {
	return [...largest(summaries), '', ...brokenLinks(summaries), '', ...totalLines(totalsOf(summaries))]
}

function largest(summaries) {
	const top = [...summaries].sort((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1)).slice(0, LARGEST)
	const heading = `${'bytes'.padStart(9)} ${'words'.padStart(8)} ${'headings'.padStart(9)} ${'links'.padStart(6)} ${'score'.padStart(6)}  file`
	const row = ({ bytes, words, headings, links, score, name }) =>
		`${number(bytes, 9)} ${number(words, 8)} ${number(headings, 9)} ${number(links, 6)} ${number(score, 6)}  ${shortened(name)}`
	return [`The ${top.length} largest files:`, heading, ...top.map(row)]
}

function brokenLinks(summaries) {
	const broken = summaries.flatMap((summary) => summary.broken)
	return [`Broken relative links: ${broken.length}`, ...broken.map((line) => `  ${line}`)]
}

function totalLines({ files, filesWithBrokenLinks, bytes, words, headings, links, brokenLinks, score }) {
	const average = files === 0 ? 0 : (score / files).toFixed(1)
	return [
		`Totals: ${files} files, ${bytes} bytes, ${words} words, ${headings} headings, ${links} links, ` +
			`${brokenLinks} broken in ${filesWithBrokenLinks} files, average score ${average}`,
	]
}

const number = (value, width) => String(value).padStart(width)

/** The end of a long name says more than its beginning. */
const shortened = (name) => (name.length > NAME_WIDTH ? `...${name.slice(3 - NAME_WIDTH)}` : name)
