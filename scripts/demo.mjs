/**
 * A worker on real services, at work on real text:
 *
 *   npm run demo [-- folder] [-- --limit N ...]
 *
 * Installs, builds and starts what is missing, then runs one workflow per Markdown file below the folder. Ctrl-C stops it;
 * started again, it goes on. It needs nothing but Node to begin with, hence the late import.
 */
import { constants } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT, setup, SetupError } from './setup.mjs'

const USAGE = `usage: npm run demo [-- folder] [-- options]

folder            with Markdown files, default this checkout and its packages, filled up to 300 files
--limit N         as many files
--seed N          of the generated files, default 1
--in-flight N     runs at once, default 64
--pause MS        added to each node, to have time to watch
--fresh           do not go on with a demo that was interrupted
--keep            leave the services up at the end, until Ctrl-C
--json FILE       write a summary for programs
--state FOLDER    for what outlives a start, default .cache/demo
--keyspace NAME, --topic NAME, --group NAME
--no-setup        install and build nothing
`
const DEFAULTS = { seed: 1, 'in-flight': 64, pause: 0 }
/** One Ctrl-C may arrive twice: from the terminal, and passed on by npm. */
const SAME_KEY_PRESS_MS = 1_000

async function main() {
	const options = readArguments()
	if (!options) return 2
	const interruption = interruptible()
	try {
		if (options.withSetup) await setup({ signal: interruption.signal })
		const { runDemo } = await import('./demo/main.mjs')
		const isGood = await runDemo(options, interruption.signal)
		return interruption.exitCode ?? (isGood ? 0 : 1)
	} catch (error) {
		const isUsers = error instanceof SetupError || error.code
		if (!interruption.exitCode) process.stderr.write(`${isUsers ? error.message : error.stack}\n`)
		return interruption.exitCode ?? 1
	}
}

function readArguments() {
	try {
		const { values, positionals } = parseArgs({
			allowPositionals: true,
			options: {
				limit: { type: 'string' },
				seed: { type: 'string' },
				'in-flight': { type: 'string' },
				pause: { type: 'string' },
				fresh: { type: 'boolean', default: false },
				keep: { type: 'boolean', default: false },
				json: { type: 'string' },
				state: { type: 'string', default: join(ROOT, '.cache', 'demo') },
				keyspace: { type: 'string', default: 'flowcraft_demo' },
				topic: { type: 'string' },
				group: { type: 'string' },
				'no-setup': { type: 'boolean', default: false },
			},
		})
		if (positionals.length > 1) throw new Error('one folder only')
		return toOptions(values, positionals)
	} catch (error) {
		process.stderr.write(`${error.message}\n\n${USAGE}`)
		return undefined
	}
}

function toOptions(values, [folder = ROOT]) {
	const number = (name) => wholeNumber(`--${name}`, values[name] ?? DEFAULTS[name])
	const { fresh, keep, json, keyspace, topic, group } = values
	return {
		fresh,
		keep,
		json,
		keyspace,
		topic,
		group,
		folder: resolve(folder),
		state: resolve(values.state),
		limit: number('limit'),
		seed: number('seed'),
		inFlight: number('in-flight'),
		pauseMs: number('pause'),
		withSetup: !values['no-setup'],
	}
}

function wholeNumber(name, value) {
	if (value === undefined) return undefined
	const number = Number(value)
	if (Number.isSafeInteger(number) && number >= 0) return number
	throw new Error(`${name} ${value}: not a whole number`)
}

/** The first signal ends the demo in order; one that comes later ends it at once, and the watchdog ends the services. */
function interruptible() {
	const controller = new AbortController()
	const state = { signal: controller.signal, exitCode: undefined }
	let firstAt = 0
	for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
		process.on(name, () => {
			if (state.exitCode === undefined) {
				firstAt = performance.now()
				state.exitCode = 128 + constants.signals[name]
				process.stderr.write(`\n${name}: stopping\n`)
				controller.abort(new Error(`stopped by ${name}`))
			} else if (performance.now() - firstAt > SAME_KEY_PRESS_MS) process.exit(state.exitCode)
		})
	}
	return state
}

process.exitCode = await main()
