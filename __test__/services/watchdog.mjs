/**
 * Outlives the process that started the services by a few seconds: when the pipe on standard input closes, whatever the
 * reason (a normal end, `kill -9`, a crash), it ends the process groups still on its list and removes the folders still on it.
 *
 * Lines on standard input: `group <pid>`, `gone <pid>`, `remove <path>`.
 */
import { rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { readStat } from './identity.mjs'

const GRACE_MS = 8000
const AFTER_KILL_MS = 5000

const groups = new Set()
const folders = new Set()
const commands = {
	group: (pid) => groups.add(Number(pid)),
	gone: (pid) => groups.delete(Number(pid)),
	remove: (path) => folders.add(path),
}

// A terminal's Ctrl-C and a shell's hang-up are for the parent; it decides, we follow when it is gone.
for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM']) process.on(signal, () => {})

for await (const line of createInterface({ input: process.stdin })) {
	const blank = line.indexOf(' ')
	commands[line.slice(0, blank)]?.(line.slice(blank + 1))
}

for (const group of groups) {
	signalGroup(group, 'SIGTERM')
	// A stopped process takes its SIGTERM only after it goes on.
	signalGroup(group, 'SIGCONT')
}
await ended(GRACE_MS)
for (const group of groups) signalGroup(group, 'SIGKILL')
await ended(AFTER_KILL_MS)
for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })

async function ended(withinMs) {
	const deadline = Date.now() + withinMs
	while ([...groups].some(isRunning) && Date.now() < deadline) await delay(50)
}

function isRunning(group) {
	// Where nobody collects orphans (a container without an init) a dead leader stays in the table as a zombie.
	return signalGroup(group, 0) && readStat(group)?.state !== 'Z'
}

function signalGroup(group, signal) {
	try {
		process.kill(-group, signal)
		return true
	} catch {
		return false
	}
}
