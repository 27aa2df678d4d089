/** `docs/statements.md` lists what the two files of statements hold, word for word, and no other file holds any. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ENGINE = 'src/backends/cassandra/statements.rs'
const CLIENT = 'src/js/stores/statements.js'

/** @param {string} path */
const read = (path) => readFileSync(join(ROOT, path), 'utf8')

/**
 * Names with their texts, as the document has them.
 *
 * @param {string} marker
 * @returns {Record<string, string[]>}
 */
const documented = (marker) => {
	const [, behind] = read('docs/statements.md').split(`<!-- statements: ${marker} -->\n`)
	const rows = behind
		.split('\n\n')[0]
		.split('\n')
		.slice(2)
		.filter((line) => line.startsWith('|'))
	return Object.fromEntries(
		rows.map((row) => {
			const [, name, texts] = /** @type {RegExpMatchArray} */ (row.match(/^\| `(\w+)`\s*\| (.*?) \| /))
			return [name, [...texts.matchAll(/`([^`]+)`/g)].map(([, text]) => text).toSorted()]
		}),
	)
}

/** Fills of a template are written `<name>` in the document. @param {string} text */
const asDocumented = (text) => text.replace(/\$?\{(\w+)\}/g, '<$1>')

/** String literals of Rust, with the line breaks that a backslash takes out. @param {string} code */
const rustLiterals = (code) =>
	[...code.matchAll(/"((?:[^"\\]|\\[^])*)"/g)].map(([, text]) => text.replace(/\\\n\s*/g, ''))

const CQL = /^(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|TRUNCATE|BEGIN|TIMESTAMP)\s/

/** @returns {Record<string, string[]>} */
const ofEngine = () => {
	const code = read(ENGINE).replace(/^\s*\/\/.*$/gm, '')
	const constants = Object.fromEntries(
		[...code.matchAll(/^const (\w+): &str = "(.*)";$/gm)].map(([, name, text]) => [name, text]),
	)
	const items = code.split(/^pub\(super\) /m).slice(1)
	return Object.fromEntries(
		items.map((item) => {
			const [, name] = /** @type {RegExpMatchArray} */ (item.match(/^(?:fn|const) (\w+)/))
			const parts = Object.keys(constants).filter((constant) => item.includes(constant))
			const texts = [...rustLiterals(item), ...parts.map((part) => constants[part])]
			return [
				name,
				texts
					.filter((text) => CQL.test(text))
					.map(asDocumented)
					.toSorted(),
			]
		}),
	)
}

/** @returns {Record<string, string[]>} */
const ofClient = () =>
	Object.fromEntries(
		[...read(CLIENT).matchAll(/^export const (\w+) = \(table\) =>\s+`([^`]*)`/gm)].map(([, name, text]) => [
			name,
			[asDocumented(text)],
		]),
	)

/** @param {string} folder @param {string[]} endings @returns {string[]} */
const sources = (folder, endings) =>
	readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
		.filter((path) => endings.some((ending) => path.endsWith(ending)))
		.map((path) => join(folder, path))

describe('docs/statements.md', () => {
	it('has every statement of the engine, as it is sent', () => {
		const found = ofEngine()
		assert.ok(Object.keys(found).length > 20 && Object.values(found).every((texts) => texts.length > 0))
		assert.deepEqual(documented('engine'), found)
	})

	it('has every statement that goes through a client object, as it is sent', () => {
		assert.ok(Object.keys(ofClient()).length > 5)
		assert.deepEqual(documented('client'), ofClient())
	})

	it('is about all there are: no other file of the source holds CQL', () => {
		const cql =
			/["'`](?:SELECT\s[^"'`]*\sFROM|INSERT INTO|UPDATE\s\S+\sSET|DELETE\s[^"'`]*FROM|(?:CREATE|ALTER|DROP)\s+(?:TABLE|KEYSPACE)|TRUNCATE)\s/
		for (const path of [...sources('src', ['.rs']), ...sources('src/js', ['.js'])]) {
			const isOurs = path === ENGINE || path === CLIENT
			// What comes with tests of the same file is not sent.
			const [code] = read(path).split('#[cfg(test)]')
			assert.equal(cql.test(code), isOurs, path)
		}
	})
})
