// Builds the native module for this machine and puts it beside the glue.
//
// Plain cargo rather than `napi build`: the latter passes `--target`, which gives it a target folder of its
// own, so OpenSSL, librdkafka and every crate would be built once for the addon and once more for the Rust tests.
import { spawnSync } from 'node:child_process'
import { copyFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { localBuild } from '../src/js/native.js'
import { fixToolchainEnv } from './toolchain-env.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const library = {
	linux: 'libflowcraft_kafka_adapter.so',
	darwin: 'libflowcraft_kafka_adapter.dylib',
	win32: 'flowcraft_kafka_adapter.dll',
}[process.platform]
if (!library) {
	console.error(`[build] no native module can be built on ${process.platform}`)
	process.exit(1)
}
fixToolchainEnv()
const cargo = spawnSync('cargo', ['build', '--release', '--lib', ...process.argv.slice(2)], {
	cwd: root,
	stdio: 'inherit',
})
if (cargo.status !== 0) process.exit(cargo.status ?? 1)
const addon = localBuild()
// Copied beside and renamed: a process that has the old one mapped keeps it.
copyFileSync(join(root, 'target', process.env.CARGO_BUILD_TARGET ?? '', 'release', library), `${addon}.new`)
renameSync(`${addon}.new`, addon)
console.log(`[build] ${addon}`)
