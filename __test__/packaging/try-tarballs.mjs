/**
 * Installs the two tarballs of a folder in an empty project and runs a worker of theirs that needs no services: what the
 * release workflow does on every platform.
 *
 *   node __test__/packaging/try-tarballs.mjs [FOLDER, default dist-packages]
 */
import assert from 'node:assert/strict'
import { realpathSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Project, ROOT, tarballs } from './project.mjs'

const project = new Project(['tsconfig.json', 'runs.ts', 'worker-embedded.ts'])
try {
	const folder = resolve(process.argv[2] ?? join(ROOT, 'dist-packages'))
	await project.install(...tarballs(folder), 'flowcraft@2.10.1', 'typescript@5', '@types/node@20')
	await project.compile()
	const { report } = await project.run('out/worker-embedded.js')
	assert.equal(report.results.length, 20)
	assert.ok(report.results.every((line) => line.startsWith('completed: HELLO, RUN ')))
	assert.equal(report.addons.length, 1)
	// The system may call the folder of temporary files by another name.
	const addon = realpathSync.native(report.addons[0])
	assert.ok(addon.startsWith(realpathSync.native(project.path('node_modules'))), addon)
	console.log(`[try] ${report.results.length} runs with ${addon}, Node ${process.version}`)
} finally {
	project.remove()
}
