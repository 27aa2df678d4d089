/**
 * Real Kafka, Cassandra and Redis without containers, for the tests, the demo and the benchmarks.
 *
 *   node __test__/services/services.mjs up [kafka] [cassandra] [redis]    prints `export NAME=value` lines, runs until Ctrl-C
 *   node __test__/services/services.mjs run -- <command...>               runs the command with them, then stops them
 *
 * A service whose address is in the environment is used as it is and never started or stopped.
 */
import { spawn } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { constants } from 'node:os'
import { cassandra } from './cassandra.mjs'
import { choosePorts, ownerFile, removeAbandoned, takeOwnership } from './data-folder.mjs'
import { startGuard } from './guard.mjs'
import { ensureCacheDir, jarsOf } from './jars.mjs'
import { kafka } from './kafka.mjs'
import { redis } from './redis.mjs'
import { Service } from './service.mjs'
import { certificates } from './tls.mjs'

const CACHE_DIR = fileURLToPath(new URL('../../.cache', import.meta.url))
const RECIPES = { kafka, cassandra, redis }
const ADDRESS_VARIABLE = { kafka: 'KAFKA_BROKERS', cassandra: 'CASSANDRA_CONTACT_POINTS', redis: 'REDIS_URL' }

/**
 * @typedef {'kafka' | 'cassandra' | 'redis'} ServiceName
 *
 * @typedef {object} Services
 * @property {Record<string, string>} env KAFKA_BROKERS, CASSANDRA_CONTACT_POINTS (`host:port`), CASSANDRA_DATACENTER, REDIS_URL
 * @property {number[]} pids of everything started, the watchdog included
 * @property {Service} [kafka] undefined when it is not ours: its address was in the environment, or `only` left it out
 * @property {Service} [cassandra]
 * @property {Service} [redis]
 * @property {import('./tls.mjs').Certificates} [tls] of secured ones
 * @property {() => Promise<void>} stop ends what was started; more than one call is fine
 */

/**
 * Starts what the environment does not name, all at once, and resolves when each answers its protocol. When one fails, the
 * others are stopped and the error shows the end of its log.
 *
 * @param {object} [options]
 * @param {string} [options.dataDir] kept after `stop()`, and a later start on it goes on with its data (and its ports where they
 *   are free); without it a folder below `.cache`, removed by `stop()`
 * @param {ServiceName[]} [options.only] default all three
 * @param {boolean} [options.secured] with TLS and accounts beside the plain ports (Cassandra: on the same, with accounts alone)
 * @param {AbortSignal} [options.signal] ends the start; when the promise rejects nothing runs any more
 * @param {(line: string) => void} [options.log] progress, by default to standard error
 * @returns {Promise<Services>}
 */
export async function startServices({
	dataDir,
	only = ['kafka', 'cassandra', 'redis'],
	secured = false,
	signal,
	log = logToStderr,
} = {}) {
	const recipes = only.filter((name) => !process.env[ADDRESS_VARIABLE[name]]).map((name) => RECIPES[name])
	if (recipes.length === 0) return { env: environment(only, {}), pids: [], stop: async () => {} }

	await ensureCacheDir(CACHE_DIR)
	await removeAbandoned(CACHE_DIR)
	const folder = dataDir ? resolve(dataDir) : await mkdtemp(join(CACHE_DIR, `data-${process.pid}-`))
	const guard = startGuard()
	/** @type {Record<string, Service>} */
	const services = {}
	const made = {}
	/** What goes away with this run; empty until the folder is ours, for it may be another run's. */
	const ours = []
	const stop = once(async () => {
		await Promise.all(Object.values(services).map((service) => service.stop()))
		for (const path of ours) await rm(path, { recursive: true, force: true, maxRetries: 5 })
		await guard.end()
	})

	try {
		await takeOwnership(folder, guard.pid)
		ours.push(dataDir ? ownerFile(folder) : folder)
		guard.remove(ours[0])
		const ports = await choosePorts(folder, recipes)
		const tls = secured ? await certificates(join(folder, 'tls')) : undefined
		made.tls = tls
		const began = Date.now()
		await startAll(recipes, signal, async (recipe) => {
			const jars = recipe.jars ? await jarsOf(recipe.name, { cacheDir: CACHE_DIR, log, signal }) : undefined
			const place = { dir: join(folder, recipe.name), ports: ports[recipe.name], jars, tls }
			services[recipe.name] = new Service(recipe, place, guard)
			await services[recipe.name].start({ signal })
			log(
				`${recipe.name} answers on ${services[recipe.name].address} after ${((Date.now() - began) / 1000).toFixed(1)} s`,
			)
		})
	} catch (error) {
		await stop()
		throw error
	}
	return {
		...services,
		...made,
		env: environment(only, services),
		get pids() {
			return [...Object.values(services).map((service) => service.pid), guard.pid].filter(Boolean)
		},
		stop,
	}
}

/** Like Promise.all, but nothing is left half started behind a rejection. */
async function startAll(recipes, signal, start) {
	const results = await Promise.allSettled(recipes.map(start))
	const failed = results.filter(({ status }) => status === 'rejected').map(({ reason }) => reason)
	if (failed.length === 1) throw failed[0]
	signal?.throwIfAborted()
	if (failed.length > 1) throw new AggregateError(failed, failed.map(({ message }) => message).join('\n\n'))
}

function environment(only, services) {
	const address = (name, format = (text) => text) =>
		process.env[ADDRESS_VARIABLE[name]] || format(services[name].address)
	const env = {}
	if (only.includes('kafka')) env.KAFKA_BROKERS = address('kafka')
	if (only.includes('cassandra')) {
		env.CASSANDRA_CONTACT_POINTS = address('cassandra')
		env.CASSANDRA_DATACENTER = process.env.CASSANDRA_DATACENTER || 'datacenter1'
	}
	if (only.includes('redis')) env.REDIS_URL = address('redis', (text) => `redis://${text}`)
	return env
}

function once(action) {
	let result
	return () => (result ??= action())
}

function logToStderr(line) {
	process.stderr.write(`[services] ${line}\n`)
}

async function up(names) {
	const unknown = names.filter((name) => !(name in RECIPES))
	if (unknown.length > 0)
		throw new Error(`no such service: ${unknown.join(', ')}; there are ${Object.keys(RECIPES).join(', ')}`)
	const interruption = onSignal()
	const services = await startServices({ signal: interruption.signal, ...(names.length > 0 && { only: names }) })
	for (const [name, value] of Object.entries(services.env)) process.stdout.write(`export ${name}=${value}\n`)
	await interruption.happened
	await services.stop()
	return 0
}

async function run(command) {
	if (command.length === 0) throw new Error('run needs a command: run -- <command...>')
	const services = await startServices({ signal: onSignal().signal })
	try {
		return await runCommand(command, services.env)
	} finally {
		await services.stop()
	}
}

function runCommand([file, ...args], env) {
	return new Promise((ended, reject) => {
		const child = spawn(file, args, { stdio: 'inherit', env: { ...process.env, ...env } })
		// A Ctrl-C reaches the command by itself; what is sent to us alone is passed on.
		process.on('SIGTERM', () => child.kill('SIGTERM'))
		child.once('error', reject)
		child.once('exit', (code, signal) => ended(code ?? exitCodeOf(signal)))
	})
}

/** The first signal that asks to stop, as an abort signal and as a promise; keeps the process alive until then. */
function onSignal() {
	const controller = new AbortController()
	const alive = setInterval(() => {}, 1 << 30)
	const happened = new Promise((resolve) => {
		for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
			process.on(name, () => {
				clearInterval(alive)
				controller.abort(Object.assign(new Error(`stopped by ${name}`), { exitCode: exitCodeOf(name) }))
				resolve()
			})
		}
	})
	return { signal: controller.signal, happened }
}

function exitCodeOf(signal) {
	return 128 + constants.signals[signal]
}

async function main([verb, ...rest]) {
	if (verb === 'up') return up(rest)
	if (verb === 'run') return run(rest[0] === '--' ? rest.slice(1) : rest)
	process.stderr.write('usage: services.mjs up [kafka] [cassandra] [redis] | run -- <command...>\n')
	return 2
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
	main(process.argv.slice(2)).then(
		(code) => process.exit(code),
		(error) => {
			process.stderr.write(`${error.message}\n`)
			process.exit(error.exitCode ?? 1)
		},
	)
}
