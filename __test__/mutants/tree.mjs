/** The whole native module with all faults in it, within a copy of the tree: the one of `src/js/` stays as it is. */
import { rmSync } from 'node:fs'
import { copyFile, cp, mkdtemp, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { localBuild } from '../../src/js/native.js'
import { ROOT, builtFile, cargo } from './commands.mjs'

/** What tests read, apart from packages. */
const COPIED = ['src/js', '__test__', 'index.d.ts', 'package.json']
const LIBRARY = /\.(so|dylib|dll)$/

/** @type {Promise<string> | undefined} */
let making

/** A folder in which the tests find the module with its faults. It goes with the process. */
export function treeWithFaults() {
	return (making ??= make())
}

async function make() {
	const addon = await buildAddon()
	const tree = await mkdtemp(join(tmpdir(), 'flowcraft-mutants-'))
	process.once('exit', () => rmSync(tree, { recursive: true, force: true }))
	// Copies: a linked module would be loaded from where it lies, with the module beside it.
	for (const path of COPIED)
		await cp(join(ROOT, path), join(tree, path), { recursive: true, filter: (from) => !from.endsWith('.node') })
	await symlink(join(ROOT, 'node_modules'), join(tree, 'node_modules'), 'junction')
	await copyFile(addon, join(tree, relative(ROOT, localBuild())))
	return tree
}

async function buildAddon() {
	const command = ['build', '--lib', '--message-format=json', '--profile', 'mutants']
	return builtFile(await cargo(command, ['--features', 'mutants']), ({ target, filenames }) =>
		target?.kind.includes('cdylib') ? filenames.find((/** @type {string} */ name) => LIBRARY.test(name)) : undefined,
	)
}
