/**
 * The demo's input: the Markdown files below a folder, and generated ones where there are too few.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'

export const ENOUGH_FILES = 300
const MARKDOWN = /\.(?:md|markdown)$/i
const SKIPPED = new Set(['.git', '.cache', 'target'])
const WORDS = 'adapter batch broker commit context edge engine fan flow join lease node offset run state worker'.split(
	' ',
)

/**
 * @typedef {{ path: string, name: string }} InputFile
 *
 * @param {object} wanted
 * @param {string} wanted.folder
 * @param {string} wanted.generatedFolder where generated files go
 * @param {number} [wanted.limit] at most, and at least, that many
 * @param {number} wanted.seed of the generated ones
 * @returns {Promise<InputFile[]>}
 */
export async function inputFiles({ folder, generatedFolder, limit, seed }) {
	const found = (await markdownBelow(folder)).sort().slice(0, limit)
	const missing = Math.max(0, (limit ?? ENOUGH_FILES) - found.length)
	const files = found.map((path) => ({ path, name: relative(folder, path) }))
	return [...files, ...(await generate(generatedFolder, missing, seed))]
}

/** Links are not followed: a tree of them may have no end. */
async function markdownBelow(folder) {
	const entries = await readdir(folder, { withFileTypes: true })
	const found = await Promise.all(
		entries.map(async (entry) => {
			const path = join(folder, entry.name)
			if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : markdownBelow(path)
			return entry.isFile() && MARKDOWN.test(entry.name) ? [path] : []
		}),
	)
	return found.flat()
}

async function generate(folder, count, seed) {
	if (count === 0) return []
	await mkdir(folder, { recursive: true })
	const random = randomOf(seed)
	const names = Array.from({ length: count }, (_, i) => `generated-${String(i + 1).padStart(4, '0')}.md`)
	for (const name of names) await writeFile(join(folder, name), markdown(name, names, random))
	return names.map((name) => ({ path: join(folder, name), name }))
}

/** A text with headings, paragraphs and links, of which about one in ten leads nowhere. */
function markdown(name, names, random) {
	const pick = (list) => list[Math.floor(random() * list.length)]
	const sentence = () => Array.from({ length: 5 + Math.floor(random() * 12) }, () => pick(WORDS)).join(' ')
	const link = () => `[${pick(WORDS)}](${random() < 0.1 ? `missing-${Math.floor(random() * 1000)}.md` : pick(names)})`
	const section = () => `## ${sentence()}\n\n${sentence()}, see ${link()}. ${sentence()}.\n`
	const sections = Array.from({ length: 1 + Math.floor(random() * 8) }, section)
	return `# ${name}\n\n${sections.join('\n')}`
}

/** Mulberry32: the same numbers for the same seed, everywhere. */
function randomOf(seed) {
	let state = seed >>> 0
	return () => {
		state = (state + 0x6d2b79f5) >>> 0
		let mixed = Math.imul(state ^ (state >>> 15), state | 1)
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
	}
}
