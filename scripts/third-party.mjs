/**
 * The licences of what is linked into the native module: every crate that cargo resolves for the platform, the C libraries
 * whose source some of them carry, and Rust's own library.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The C sources inside crates, and the files that hold their licences. Crates that link something must be listed here. */
const C_LIBRARIES = {
	'openssl-src': { name: 'OpenSSL', files: ['openssl/LICENSE.txt'] },
	// LICENSES.txt has librdkafka's own licence and those of the sources that it took over from others (lz4, snappy, ...).
	'rdkafka-sys': { name: 'librdkafka', files: ['librdkafka/LICENSES.txt'] },
	'libz-sys': { name: 'zlib', files: ['src/zlib/LICENSE'] },
	'zstd-sys': { name: 'zstd', files: ['zstd/LICENSE'] },
}
/** Links what `openssl-src` has built. */
const WITHOUT_SOURCE = ['openssl-sys']
const LICENCE_FILE = /^(un)?licen[cs]e|^copying|^copyright|^notice/i
const RULE = '='.repeat(100)

const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`

/**
 * @typedef {{ name: string, version: string, license: string | null, authors: string[], links: string | null,
 *   id: string, manifest_path: string }} Crate
 * @typedef {{ pkg: string, dep_kinds: { kind: string | null }[] }} Edge
 * @typedef {{ packages: Crate[], resolve: { root: string, nodes: { id: string, deps: Edge[] }[] } }} Metadata
 * @typedef {{ title: string, licence: string, texts: string[] }} Part
 */

/**
 * @param {Metadata} metadata
 * @returns {Crate[]} what is linked, and what brings C sources for it; by name
 */
function linked({ packages, resolve }) {
	const crates = new Map(packages.map((crate) => [crate.id, crate]))
	const edges = new Map(resolve.nodes.map(({ id, deps }) => [id, deps]))
	/** @type {Set<string>} */
	const found = new Set()
	const queue = [resolve.root]
	for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
		if (found.has(id)) continue
		found.add(id)
		const isLinked = (/** @type {Edge} */ { pkg, dep_kinds: kinds }) =>
			kinds.some(({ kind }) => kind === null) || Object.hasOwn(C_LIBRARIES, crates.get(pkg)?.name ?? '')
		queue.push(...(edges.get(id) ?? []).filter(isLinked).map(({ pkg }) => pkg))
	}
	found.delete(resolve.root)
	const byName = (/** @type {Crate} */ left, /** @type {Crate} */ right) =>
		left.name.localeCompare(right.name, 'en') || left.version.localeCompare(right.version, 'en')
	return [...found].map((id) => /** @type {Crate} */ (crates.get(id))).sort(byName)
}

/** @param {Crate} crate @returns {Part} */
function ofCrate({ name, version, license, authors, manifest_path: manifest }) {
	const folder = dirname(manifest)
	const texts = readdirSync(folder, { withFileTypes: true })
		.filter((entry) => entry.isFile() && LICENCE_FILE.test(entry.name))
		.map((entry) => readFileSync(join(folder, entry.name), 'utf8'))
	if (!license && texts.length === 0) throw new Error(`the crate ${name} ${version} names no licence`)
	if (texts.length === 0) texts.push(withoutFile(name, license ?? '', authors))
	return { title: `${name} ${version}`, licence: license ?? 'as below', texts }
}

/** Some authors keep the text in their repository only. @param {string} name @param {string} licence @param {string[]} authors */
function withoutFile(name, licence, authors) {
	if (!/\bMIT\b/.test(licence)) throw new Error(`the crate ${name} (${licence}) comes without the text of its licence`)
	return `Copyright (c) ${authors.join(', ') || `the authors of ${name}`}\n\n${MIT}\n`
}

/** @param {Crate} crate @returns {Part[]} */
function ofLibrary({ name, version, links, manifest_path: manifest }) {
	const library = Object.hasOwn(C_LIBRARIES, name)
		? C_LIBRARIES[/** @type {keyof typeof C_LIBRARIES} */ (name)]
		: undefined
	if (library) {
		const texts = library.files.map((file) => readFileSync(join(dirname(manifest), file), 'utf8'))
		return [{ title: `${library.name} (in ${name} ${version})`, licence: 'as below', texts }]
	}
	if (!links || WITHOUT_SOURCE.includes(name)) return []
	throw new Error(`the crate ${name} links "${links}": say in scripts/third-party.mjs where its licence is`)
}

/** @type {Part} */
const RUST = {
	title: "Rust's standard library",
	licence: 'MIT OR Apache-2.0',
	texts: [withoutFile('Rust', 'MIT', ['the Rust project developers'])],
}

/**
 * The text of `THIRD-PARTY-LICENSES`: a list of all parts, then each licence text once, with the parts that it is of.
 *
 * @param {Metadata} metadata what `cargo metadata` says for the platform
 */
export function thirdPartyLicences(metadata) {
	const crates = linked(metadata)
	const parts = [...crates.map(ofCrate), ...crates.flatMap(ofLibrary), RUST]
	/** @type {Map<string, { text: string, titles: string[] }>} */
	const texts = new Map()
	for (const { title, texts: own } of parts) {
		for (const text of own) {
			const same = text.replace(/\s+/g, ' ').trim()
			const entry = texts.get(same) ?? { text: text.trim(), titles: [] }
			if (!entry.titles.includes(title)) entry.titles.push(title)
			texts.set(same, entry)
		}
	}
	const list = parts.map(({ title, licence }) => `- ${title}: ${licence}`).join('\n')
	const sections = [...texts.values()].map(({ text, titles }) => `${RULE}\n${titles.join('\n')}\n${RULE}\n\n${text}\n`)
	return `The native module contains the software below, under the licences that follow.\n\n${list}\n\n${sections.join('\n')}`
}
