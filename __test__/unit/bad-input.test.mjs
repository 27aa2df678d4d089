/**
 * Every option that `index.d.ts` tells of is refused somewhere in the table of bad input, which `bad-input.test.mjs` runs.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { OPTIONS } from '../integration/bad-input-cases.mjs'
import { DOORS } from '../integration/bad-option-cases.mjs'

const FILE = fileURLToPath(new URL('../../index.d.ts', import.meta.url))

/** What needs no row, and why. @type {Record<string, string>} */
const CANNOT_BE_WRONG = {
	'QueueRetryOptions.attempts':
		"what is no count is not used: the node's config.maxRetries is, which comes from blueprints",
}

const program = ts.createProgram([FILE], {
	module: ts.ModuleKind.NodeNext,
	moduleResolution: ts.ModuleResolutionKind.NodeNext,
	target: ts.ScriptTarget.ES2023,
	strict: true,
	skipLibCheck: true,
})
const checker = program.getTypeChecker()
const source = program.getSourceFile(FILE)
const interfaces = source.statements.filter(ts.isInterfaceDeclaration)

/** @param {ts.Symbol} property @returns where it is declared, for example `TlsOptions.ca` */
const idOf = (property) => {
	const { parent } = property.declarations[0]
	return `${parent.name?.text ?? ''}.${property.name}`
}

/** The parts of a union, without `undefined`. @param {ts.Type} type @returns {ts.Type[]} */
const parts = (type) => {
	const whole = checker.getNonNullableType(type)
	return whole.isUnion() ? whole.types : [whole]
}

/** @param {ts.Type[]} types @param {string} name */
const step = (types, name) => {
	const properties = types.flatMap((type) => checker.getPropertyOfType(type, name) ?? [])
	return { ids: properties.map(idOf), types: properties.flatMap((found) => parts(checker.getTypeOfSymbol(found))) }
}

/** @param {ts.Type[]} types */
const elements = (types) =>
	types.flatMap((type) => [
		...parts(checker.getIndexTypeOfType(type, ts.IndexKind.Number) ?? type),
		...parts(checker.getIndexTypeOfType(type, ts.IndexKind.String) ?? type),
	])

/** The members that a message names. @param {string} message @param {string} root @param {ts.Type[]} types */
const named = (message, root, types) => {
	assert.ok(message.startsWith(root), message)
	const path = message.slice(root.length).match(/^(?:\.[A-Za-z]+|\[[^\]]*\])*/)?.[0] ?? ''
	/** @type {string[]} */
	const found = []
	for (const [token] of path.matchAll(/\.[A-Za-z]+|\[[^\]]*\]/g)) {
		const { ids, types: next } = token.startsWith('.')
			? step(types, token.slice(1))
			: { ids: [], types: elements(types) }
		found.push(...ids)
		types = next
	}
	return found
}

/** @param {string} names of interfaces, with `&` between them */
const typesOf = (names) =>
	names.split(' & ').map((name) => {
		const declaration = interfaces.find((found) => found.name.text === name)
		assert.ok(declaration, name)
		return checker.getTypeAtLocation(declaration)
	})

const doors = [{ root: 'options', type: 'KafkaAdapterOptions', rows: OPTIONS }, ...DOORS]
const refused = new Set(
	doors.flatMap(({ root, type, rows }) => rows.flatMap(({ message }) => named(message, root, typesOf(type)))),
)
const members = interfaces
	.filter(({ name }) => /(Options|Settings|Tables|Limits)$/.test(name.text))
	.flatMap((declaration) => checker.getPropertiesOfType(checker.getTypeAtLocation(declaration)).map(idOf))
const distinct = [...new Set(members)].toSorted()

test('the options of index.d.ts are found', () => {
	assert.ok(distinct.length > 80, `${distinct.length}`)
	for (const id of [
		'KafkaSettings.properties',
		'TlsOptions.ca',
		'WorkerLimits.maxLoadedBytes',
		'AdapterOptions.eventBus',
	])
		assert.ok(distinct.includes(id), id)
})

for (const id of distinct) {
	test(`${id} has a row of bad input`, () => {
		assert.equal(refused.has(id), !Object.hasOwn(CANNOT_BE_WRONG, id), 'add a row to bad-option-cases.mjs')
	})
}

test('what is said to need no row is there', () => {
	for (const id of Object.keys(CANNOT_BE_WRONG)) assert.ok(distinct.includes(id), id)
})
