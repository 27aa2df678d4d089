import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'

/**
 * Makes the tools on PATH work where HOME is an empty folder: the twin of scripts/env.sh, which says why. Changes
 * `process.env`, so that every child has it.
 */
export function fixToolchainEnv() {
	if (process.env.RUSTUP_HOME || hasToolchain(join(homedir(), '.rustup'))) return
	const folder = (process.env.PATH ?? '').split(delimiter).find((entry) => existsSync(join(entry, 'cargo')))
	const besideCargo = folder && resolve(folder, '..', '..', '.rustup')
	if (besideCargo && hasToolchain(besideCargo)) process.env.RUSTUP_HOME = besideCargo
}

function hasToolchain(rustupHome) {
	try {
		return readdirSync(join(rustupHome, 'toolchains')).length > 0
	} catch {
		return false
	}
}

/**
 * Makes every cargo of this run build for the host by name, as `napi build` does. Cargo keeps what is built for a named target in
 * a folder of its own, so the tests would otherwise compile all dependencies, OpenSSL included, a second time.
 */
export function shareCargoTarget() {
	process.env.CARGO_BUILD_TARGET ??= /^host: (.+)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1]
}
