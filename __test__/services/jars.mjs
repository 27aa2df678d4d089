import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withLock } from './lock.mjs'

const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
const ATTEMPTS = 3

/**
 * The folder with the jars named by `<name>.pom.xml`, downloaded by Maven the first time.
 * The folder's name carries a hash of the pom: another version is another folder, never a mixture.
 *
 * @param {string} name `kafka` or `cassandra`
 * @param {{ cacheDir: string, log: (line: string) => void, signal?: AbortSignal }} options
 * @returns {Promise<string>}
 */
export async function jarsOf(name, { cacheDir, log, signal }) {
	const pom = fileURLToPath(new URL(`${name}.pom.xml`, import.meta.url))
	const hash = createHash('sha256')
		.update(await readFile(pom))
		.digest('hex')
		.slice(0, 12)
	const services = join(cacheDir, 'services')
	const folder = join(services, `${name}-${hash}`)
	if (await exists(folder)) return folder

	await mkdir(services, { recursive: true })
	// Maven's local repository is not safe for two Maven processes at once, hence one download at a time.
	await withLock(join(services, 'download.lock'), signal, async () => {
		if (await exists(folder)) return
		await removeUnfinished(services)
		log(`downloading the jars of ${name} with Maven (once per checkout)`)
		await download(pom, folder, signal)
	})
	return folder
}

async function removeUnfinished(folder) {
	for (const name of await readdir(folder)) {
		if (name.endsWith('.unfinished')) await rm(join(folder, name), { recursive: true, force: true })
	}
}

async function download(pom, folder, signal) {
	const unfinished = `${folder}.${process.pid}.unfinished`
	try {
		await runMaven(pom, unfinished, signal)
		await rename(unfinished, folder)
	} finally {
		await rm(unfinished, { recursive: true, force: true })
	}
}

async function runMaven(pom, outputDirectory, signal) {
	let output = ''
	for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
		const result = await maven(
			[
				'--quiet',
				'--batch-mode',
				'-Dstyle.color=never',
				// A failed download is remembered by Maven; without -U the next attempt would not even ask.
				...(attempt > 1 ? ['--update-snapshots'] : []),
				'--file',
				pom,
				COPY_DEPENDENCIES,
				'-DincludeScope=runtime',
				`-DoutputDirectory=${outputDirectory}`,
			],
			signal,
		)
		signal?.throwIfAborted()
		if (result.code === 0) return
		output = result.output
	}
	throw new Error(
		`Maven could not fetch what ${pom} names (${ATTEMPTS} attempts). Its last lines:\n${tail(output, 30)}`,
	)
}

function maven(args, signal) {
	return new Promise((resolve, reject) => {
		const child = spawn('mvn', args, { stdio: ['ignore', 'pipe', 'pipe'], signal })
		let output = ''
		child.stdout.on('data', (chunk) => (output += chunk))
		child.stderr.on('data', (chunk) => (output += chunk))
		child.on('error', (cause) => {
			if (signal?.aborted) return
			reject(new Error('Maven (mvn) could not be run; scripts/prerequisites names what is missing', { cause }))
		})
		child.on('close', (code) => resolve({ code, output }))
	})
}

/** Makes the cache folder ignore itself, whatever the repository's own ignore file says. */
export async function ensureCacheDir(cacheDir) {
	await mkdir(cacheDir, { recursive: true })
	await writeFile(join(cacheDir, '.gitignore'), '*\n')
}

export function tail(text, lines) {
	return text.trimEnd().split('\n').slice(-lines).join('\n')
}

function exists(path) {
	return stat(path).then(
		() => true,
		() => false,
	)
}
