/**
 * The workflow of the demo: what is to be done with one Markdown file.
 *
 *          +-> headings -+
 *   read --+-> links ----+--> join --> score --(broken links)--> report --> summary
 *          +-> words ----+               +-----(none)-----------------------^
 */
import { access, readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Texts up to this size travel in the run's context; of a larger file only its figures do, and it is read again. */
const TEXT_IN_CONTEXT_BYTES = 16 * 1024
const SHORT_TEXT_WORDS = 50

const HEADING = /^ {0,3}(#{1,6})[ \t]+\S/gm
const INLINE_LINK = /\]\(\s*<?([^\s()<>]+(?:\([^\s()<>]*\)[^\s()<>]*)*)>?(?:\s+["'(][^)]*)?\s*\)/g
const LINK_DEFINITION = /^ {0,3}\[[^\]]+\]:[ \t]+<?([^\s<>]+)>?/gm
const CODE = /^ {0,3}(`{3,}|~{3,})[^\n]*\n[\s\S]*?(?:^ {0,3}\1[`~]*[ \t]*$|(?![\s\S]))|(`+)[^`\n]+\2/gm
const WORD = /\p{L}[\p{L}\p{N}'’-]*/gu
/** With a scheme, or from the root of a site: nothing that can be looked up beside the file. */
const NOT_RELATIVE = /^(?:[a-z][a-z0-9+.-]*:|[/#?]|mailto)/i

export const BLUEPRINT = {
	id: 'markdown-file',
	metadata: { version: '1' },
	nodes: [
		{ id: 'read', uses: 'read' },
		{ id: 'headings', uses: 'headings' },
		{ id: 'links', uses: 'links' },
		{ id: 'words', uses: 'words' },
		{
			id: 'join',
			uses: 'join',
			inputs: { read: 'read', headings: 'headings', links: 'links', words: 'words' },
		},
		{ id: 'score', uses: 'score' },
		{ id: 'report', uses: 'report', inputs: 'links' },
		// Only one of its two ways is taken.
		{
			id: 'summary',
			uses: 'summary',
			inputs: { figures: 'join', score: 'score', report: 'report' },
			config: { joinStrategy: 'any' },
		},
	],
	edges: [
		{ source: 'read', target: 'headings' },
		{ source: 'read', target: 'links' },
		{ source: 'read', target: 'words' },
		{ source: 'headings', target: 'join' },
		{ source: 'links', target: 'join' },
		{ source: 'words', target: 'join' },
		{ source: 'join', target: 'score' },
		{ source: 'score', target: 'report', condition: 'result.output.hasBrokenLinks' },
		{ source: 'score', target: 'summary', condition: 'result.output.isSound' },
		{ source: 'report', target: 'summary' },
	],
}

const BODIES = { read, headings, links, words, join, score, report, summary }

export const NODE_IDS = Object.keys(BODIES)

/**
 * @param {(nodeId: string, body: Function) => Function} [wrap] put around every node
 * @returns {Record<string, Function>} the registry for a runtime
 */
export function registryOf(wrap = (_nodeId, body) => body) {
	return Object.fromEntries(Object.entries(BODIES).map(([nodeId, body]) => [nodeId, wrap(nodeId, body)]))
}

/** What a run starts with. */
export const contextOf = (runId, { path, name }) => ({ run: runId, path, name })

async function read({ context }) {
	const text = await readFile(await context.get('path'), 'utf8')
	const bytes = Buffer.byteLength(text)
	return { output: { bytes, text: bytes <= TEXT_IN_CONTEXT_BYTES ? text : null } }
}

async function textOf({ input, context }) {
	return input.text ?? readFile(await context.get('path'), 'utf8')
}

async function headings(node) {
	const levels = [...withoutCode(await textOf(node)).matchAll(HEADING)].map(([, marks]) => marks.length)
	return { output: { count: levels.length, deepest: Math.max(0, ...levels) } }
}

async function links(node) {
	const text = withoutCode(await textOf(node))
	const targets = [INLINE_LINK, LINK_DEFINITION].flatMap((form) => [...text.matchAll(form)].map(([, target]) => target))
	const folder = dirname(await node.context.get('path'))
	const relative = [...new Set(targets.filter((target) => !NOT_RELATIVE.test(target)))]
	const found = await Promise.all(relative.map((target) => isThere(folder, target)))
	const broken = relative.filter((_, i) => !found[i])
	return { output: { count: targets.length, broken } }
}

async function words(node) {
	return { output: { count: (await textOf(node)).match(WORD)?.length ?? 0 } }
}

async function join({ input: { read, headings, links, words } }) {
	return {
		output: {
			bytes: read.bytes,
			headings: headings.count,
			words: words.count,
			links: links.count,
			brokenLinks: links.broken.length,
		},
	}
}

/** 100 for a text without a fault that this workflow can see. */
async function score({ input: { headings, words, brokenLinks } }) {
	const faults = 10 * brokenLinks + (headings === 0 ? 20 : 0) + (words < SHORT_TEXT_WORDS ? 10 : 0)
	const hasBrokenLinks = brokenLinks > 0
	return { output: { points: Math.max(0, 100 - faults), hasBrokenLinks, isSound: !hasBrokenLinks } }
}

async function report({ input, context }) {
	const name = await context.get('name')
	return { output: input.broken.map((target) => `${name} -> ${target}`) }
}

async function summary({ input: { figures, score, report }, context }) {
	return { output: { name: await context.get('name'), ...figures, score: score.points, broken: report ?? [] } }
}

const withoutCode = (text) => text.replace(CODE, '')

async function isThere(folder, target) {
	const path = target.replace(/[?#].*$/s, '')
	return access(resolve(folder, decoded(path))).then(
		() => true,
		() => false,
	)
}

function decoded(path) {
	try {
		return decodeURIComponent(path)
	} catch {
		return path
	}
}
