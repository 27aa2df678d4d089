/** Projects of users in folders of their own, as far from this repository and its tools as one machine allows. */
import { execFile } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync } from 'node:fs'
import { rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const SOURCES = fileURLToPath(new URL('project/', import.meta.url))
const NPM_FLAGS = ['--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts', '--loglevel=error']
/** Longer than any program here takes, shorter than a suite. */
const LIMIT_MS = 120_000

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** The two tarballs in a folder, as `npm run package` leaves them: the package and the platform package. */
export function tarballs(folder) {
	const names = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
	const found = names.map((name) => join(folder, name))
	if (found.length !== 2) throw new Error(`${folder} is to hold two tarballs: ${names.join(', ')}`)
	return found
}

export class Project {
	folder = realpathSync(mkdtempSync(join(tmpdir(), 'flowcraft-project-')))
	#bin = join(this.folder, '.bin')

	/** @param {string[]} [sources] names of files in `project/` */
	constructor(sources = []) {
		mkdirSync(this.#bin)
		if (process.platform !== 'win32') symlinkSync(process.execPath, join(this.#bin, 'node'))
		this.write('package.json', '{ "name": "a-users-project", "private": true, "type": "module" }\n')
		for (const name of sources) copyFileSync(join(SOURCES, name), this.path(name))
	}

	/** @param {string[]} parts */
	path(...parts) {
		return join(this.folder, ...parts)
	}

	/** @param {string} name @param {string | Buffer} content */
	write(name, content) {
		mkdirSync(dirname(this.path(name)), { recursive: true })
		writeFileSync(this.path(name), content)
	}

	/** Nothing but Node is on PATH, and nothing tells npm that it was started by another. */
	get env() {
		const kept = Object.entries(process.env).filter(
			([name]) => name === 'npm_config_cache' || !/^(npm_|NODE_|INIT_CWD)/i.test(name),
		)
		const path = process.platform === 'win32' ? process.env.PATH : this.#bin
		return { ...Object.fromEntries(kept), PATH: path }
	}

	/** @param {string[]} packages names with versions, or tarballs */
	install(...packages) {
		return this.#node([npmCli(), 'install', ...NPM_FLAGS, ...packages])
	}

	/** With the compiler and the settings of the project. */
	compile() {
		return this.#node(['node_modules/typescript/bin/tsc', '-p', '.'])
	}

	/** Takes the types off, in a project without a compiler. */
	async transpile() {
		const { default: ts } = await import('typescript')
		const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
		for (const name of readdirSync(this.folder).filter((path) => path.endsWith('.ts'))) {
			const { outputText } = ts.transpileModule(readFileSync(this.path(name), 'utf8'), { compilerOptions })
			this.write(join('out', name.replace(/ts$/, 'js')), outputText)
		}
	}

	/**
	 * @param {string} program
	 * @param {Record<string, string>} [env]
	 * @returns {Promise<{ report: any, exitedAt: number, output: string }>}
	 */
	async run(program, env = {}) {
		const report = this.path('report.json')
		rmSync(report, { force: true })
		const output = await this.#node([program], { REPORT: report, ...env })
		const exitedAt = Date.now()
		return { report: existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : undefined, exitedAt, output }
	}

	/** Which of the packages a program of this project can import. @param {string[]} names */
	async importable(names) {
		const program = `
			for (const name of ${JSON.stringify(names)}) await import(name).then(() => console.log(name), (error) => {
				if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
			})`
		this.write('importable.mjs', program)
		return (await this.#node(['importable.mjs'])).split('\n').filter(Boolean)
	}

	/** @param {string[]} args @param {Record<string, string>} [env] */
	async #node(args, env = {}) {
		try {
			const options = { cwd: this.folder, env: { ...this.env, ...env }, timeout: LIMIT_MS, maxBuffer: 2 ** 24 }
			return (await promisify(execFile)(process.execPath, args, options)).stdout
		} catch (error) {
			const { stdout, stderr, signal, code } = /** @type {any} */ (error)
			throw new Error(`node ${args.join(' ')} ended with ${signal ?? code}:\n${stdout}${stderr}`, { cause: error })
		}
	}

	remove() {
		rmSync(this.folder, { recursive: true, force: true })
	}
}

/** npm as a program of Node: started by name it would need a shell on Windows, and PATH elsewhere. */
function npmCli() {
	const { npm_execpath: running, PATH = '' } = process.env
	if (running?.endsWith('npm-cli.js')) return running
	const candidates = PATH.split(delimiter).flatMap((folder) => [
		join(folder, 'npm'),
		join(folder, 'node_modules/npm/bin/npm-cli.js'),
	])
	const found = candidates.filter(existsSync).map((path) => realpathSync(path))
	const cli = found.find((path) => path.endsWith('npm-cli.js'))
	if (!cli) throw new Error('npm is not on PATH')
	return cli
}
