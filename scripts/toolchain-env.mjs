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
