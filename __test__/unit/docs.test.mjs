/**
 * The documents say what the code says: programs are files that run, tables list what exists, links lead somewhere.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { Code } from '../../src/js/errors.js'
import { readOptions } from '../../src/js/adapter/options.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PAGES = [
	'README.md',
	'CHANGELOG.md',
	'CONTRIBUTING.md',
	'__test__/README.md',
	...readdirSync(join(ROOT, 'docs'))
		.filter((name) => name.endsWith('.md'))
		.map((name) => `docs/${name}`),
]

/** @param {string} path */
const read = (path) => readFileSync(join(ROOT, path), 'utf8')
const readme = read('README.md')

/**
 * The rows of the first table behind a marker.
 *
 * @param {string} text
 * @param {string} marker
 * @returns {string[][]}
 */
const table = (text, marker) => {
	const behind = text.split(`<!-- ${marker} -->\n`)
	assert.equal(behind.length, 2, `one <!-- ${marker} -->`)
	const lines = behind[1].split('\n')
	const end = lines.findIndex((line) => !line.startsWith('|'))
	return lines.slice(2, end).map((line) =>
		line
			.slice(1, -1)
			.split('|')
			.map((cell) => cell.trim()),
	)
}

/** @param {string} cell */
const unquoted = (cell) => cell.replace(/^`(.*)`$/, '$1')

describe('the programs of the README', () => {
	const blocks = [...readme.matchAll(/<!-- example: (\S+) -->\n```\w+\n([\s\S]*?)\n```/g)]

	for (const [, path, block] of blocks) it(`${path} is the file`, () => assert.equal(`${block}\n`, read(path)))

	it('are all of examples/', () => {
		const files = readdirSync(join(ROOT, 'examples')).map((name) => `examples/${name}`)
		assert.deepEqual(blocks.map(([, path]) => path).sort(), files.sort())
	})

	it('are the only code with statements', () => {
		const fences = [...readme.matchAll(/^```(\w*)$/gm)].map(([, language]) => language).filter(Boolean)
		assert.equal(fences.filter((language) => language !== 'bash').length, blocks.length)
	})
})

describe('the tables of options', () => {
	const file = join(ROOT, 'index.d.ts')
	const program = ts.createProgram([file], {
		module: ts.ModuleKind.NodeNext,
		moduleResolution: ts.ModuleResolutionKind.NodeNext,
		target: ts.ScriptTarget.ES2022,
		strict: true,
		noEmit: true,
	})
	const checker = program.getTypeChecker()
	const source = /** @type {import('typescript').SourceFile} */ (program.getSourceFile(file))
	const exported = checker.getExportsOfModule(
		/** @type {import('typescript').Symbol} */ (checker.getSymbolAtLocation(source)),
	)

	/** @param {string} name */
	const members = (name) => {
		const found = exported.find((symbol) => symbol.name === name)
		assert.ok(found, `index.d.ts exports ${name}`)
		return checker.getDeclaredTypeOfSymbol(found).getProperties()
	}

	const listed = [...readme.matchAll(/<!-- options: (\w+) -->/g)].map(([, name]) => name)

	for (const name of listed) {
		it(`${name}: each member has its row, and each row its member`, () => {
			const rows = table(readme, `options: ${name}`).map(([option]) => unquoted(option))
			assert.deepEqual(
				rows.sort(),
				members(name)
					.map((member) => member.name)
					.sort(),
			)
		})

		it(`${name}: no row is without a default`, () => {
			for (const [option, type, standard] of table(readme, `options: ${name}`)) {
				assert.ok(type && standard, `${option} has a type and a default`)
			}
		})
	}

	it('are there for every interface of options', () => {
		const interfaces = exported.map(({ name }) => name).filter((name) => /(Options|Settings)$/.test(name))
		// Its three members are those of CassandraContext's constructor in 1.4.4.
		const missing = interfaces.filter((name) => !listed.includes(name) && name !== 'CassandraContextOptions')
		assert.deepEqual(missing, [])
	})

	it('KafkaAdapterOptions: the defaults are those of the code', () => {
		const settings = readOptions({ runtimeOptions: {}, kafka: 'a:1' })
		const effective = /** @type {Record<string, unknown>} */ ({
			...settings,
			...settings.limits,
			...settings.valueSizes,
			topicName: settings.topic,
		})
		const checked = []
		for (const [option, , standard] of table(readme, 'options: KafkaAdapterOptions')) {
			const [, text, number] = /^`(?:'([^<']+)'|(\d+))`$/.exec(standard) ?? []
			if (text === undefined && number === undefined) continue
			checked.push(unquoted(option))
			assert.equal(effective[unquoted(option)], text ?? Number(number), option)
		}
		assert.ok(checked.length >= 15, `defaults compared: ${checked.join(', ')}`)
	})
})

describe('the table of error codes', () => {
	it('has every code of the engine and of the glue, and no other', () => {
		const ofEngine = [...read('src/kernel/error.rs').matchAll(/^ {4}\w+ = "(ERR_\w+)",$/gm)].map(([, code]) => code)
		assert.ok(ofEngine.length > 20, 'the codes of error.rs are found')
		const codes = new Set([...ofEngine, ...Object.values(Code)])
		const rows = table(readme, 'errors').map(([code]) => unquoted(code))
		assert.deepEqual(rows.sort(), [...codes].sort())
	})

	it('knows every code that a document names', () => {
		const known = new Set(table(readme, 'errors').map(([code]) => unquoted(code)))
		for (const page of PAGES) {
			for (const [code] of read(page).matchAll(/\bERR_[A-Z_]*[A-Z]\b(?!_)/g)) {
				assert.ok(known.has(code), `${page}: ${code}`)
			}
		}
	})
})

describe('the documents', () => {
	for (const page of PAGES) {
		it(`${page}: links lead to files and headings`, () => {
			for (const [, target] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
				if (/^[a-z]+:/.test(target)) continue
				const [path, anchor] = target.split('#')
				const file = path ? resolve(ROOT, dirname(page), path) : join(ROOT, page)
				assert.ok(existsSync(file), `${page}: ${target}`)
				if (anchor) assert.ok(headings(file).includes(anchor), `${page}: ${target}`)
			}
		})
	}

	for (const page of [
		'docs/architecture.md',
		'docs/guarantees.md',
		'docs/decisions.md',
		'CONTRIBUTING.md',
		'__test__/README.md',
	]) {
		it(`${page}: the files it names exist`, () => {
			for (const [, path] of read(page).matchAll(/`((?:src|__test__|scripts|examples|docs)\/[^`\s:]*)`/g)) {
				if (/[*<>]/.test(path)) continue
				assert.ok(existsSync(join(ROOT, path)), `${page}: ${path}`)
			}
		})
	}

	it('docs/architecture.md: what to look for is in the file', () => {
		const rows = table(read('docs/architecture.md'), 'steps')
		assert.ok(rows.length >= 12)
		for (const [step, files, names] of rows) {
			const text = [...files.matchAll(/`([^`]+)`/g)].map(([, path]) => read(path)).join('\n')
			for (const [, name] of names.matchAll(/`([^`]+)`/g)) {
				assert.ok(text.includes(name.split('::').at(-1) ?? name), `${step}: ${name} in ${files}`)
			}
		}
	})

	it('docs/guarantees.md: has G1 to G12, and the tests it names exist', () => {
		const rows = table(read('docs/guarantees.md'), 'guarantees')
		assert.deepEqual(
			rows.map(([name]) => name),
			Array.from({ length: 12 }, (_, at) => `G${at + 1}`),
		)
		for (const [name, , state] of rows) assert.match(state, /^(holds|partly|not yet)$/, name)
		const [, ...sections] = read('docs/guarantees.md').split(/^## (?=G\d+)/m)
		assert.deepEqual(
			sections.map((section) => /^G\d+/.exec(section)?.[0]),
			rows.map(([name]) => name),
		)
		for (const [at, section] of sections.entries()) {
			const named = [...section.matchAll(/`([^`\s]+\.(?:rs|mjs))`: `([^`]+)`/g)]
			const [name, , state] = rows[at]
			assert.ok(state === 'not yet' || named.length > 0, `${name} names the tests that show it`)
			for (const [, path, test] of named) assert.ok(isTest(path, test), `${name}: ${path}: ${test}`)
		}
	})

	it('name no address of a machine', () => {
		for (const page of PAGES) assert.doesNotMatch(read(page), /\/(?:root|home|tmp|work)\//, page)
	})
})

/**
 * Whether a file has a test of this name: a function in Rust; in JavaScript a title, of which a part may be computed.
 *
 * @param {string} path
 * @param {string} name
 */
function isTest(path, name) {
	const text = read(path)
	if (path.endsWith('.rs')) return new RegExp(`\\bfn ${name}\\(`).test(text)
	const literal = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
	return new RegExp(`^\\s*(?:(?:test|it|describe)\\(|name: )?['"\`][^'"\`\\n]*${literal}`, 'm').test(text)
}

/** @param {string} file */
function headings(file) {
	const lines = readFileSync(file, 'utf8').match(/^#+ .*$/gm) ?? []
	return lines.map((line) =>
		line
			.replace(/^#+ /, '')
			.toLowerCase()
			.replace(/[^\p{L}\p{N} _-]/gu, '')
			.replaceAll(' ', '-'),
	)
}
