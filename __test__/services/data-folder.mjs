import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { identityOf, isAlive } from './identity.mjs'
import { allFree, freePorts } from './ports.mjs'

const OWNER = 'owner.json'
const PORTS = 'ports.json'
// The watchdog of a killed owner needs its grace period to end the services.
const HANDOVER_MS = 20_000

/** The file that says who uses the folder; its removal is the last thing an owner or its watchdog does. */
export function ownerFile(dataDir) {
	return join(dataDir, OWNER)
}

/**
 * Takes the folder for this process, or rejects when another live process has it. Of an owner that was killed it awaits the
 * watchdog, so that no service of the old run still writes into the folder.
 *
 * @param {string} dataDir
 * @param {number} watchdogPid
 */
export async function takeOwnership(dataDir, watchdogPid) {
	await mkdir(dataDir, { recursive: true })
	const deadline = Date.now() + HANDOVER_MS
	for (let owner = await readJson(ownerFile(dataDir)); owner; owner = await readJson(ownerFile(dataDir))) {
		if (isAlive(owner.process))
			throw new Error(`${dataDir} is in use by process ${owner.process.split(':')[0]}, whose services write into it`)
		if (!isAlive(owner.watchdog)) break
		if (Date.now() > deadline)
			throw new Error(
				`the services of an earlier run still end in ${dataDir} (process ${owner.watchdog.split(':')[0]})`,
			)
		await delay(50)
	}
	await writeFile(
		ownerFile(dataDir),
		JSON.stringify({ process: identityOf(process.pid), watchdog: identityOf(watchdogPid) }),
	)
}

/**
 * The ports of an earlier run on the same folder where they are still free, because clients may have written them down;
 * new ones otherwise.
 *
 * @param {string} dataDir
 * @param {{ name: string, ports: string[] }[]} recipes
 * @returns {Promise<Record<string, Record<string, number>>>} by service and port name
 */
export async function choosePorts(dataDir, recipes) {
	const known = (await readJson(join(dataDir, PORTS))) ?? {}
	const missing = []
	for (const { name, ports } of recipes) {
		const usable = ports.every((port) => known[name]?.[port]) && (await allFree(Object.values(known[name])))
		if (!usable) missing.push(...ports.map((port) => [name, port]))
	}
	const fresh = await freePorts(missing.length)
	missing.forEach(([name, port], i) => (known[name] = { ...known[name], [port]: fresh[i] }))
	await writeFile(join(dataDir, PORTS), JSON.stringify(known))
	return known
}

/** Removes what runs left behind that had no chance to clean up, such as those of a machine that went down. */
export async function removeAbandoned(cacheDir) {
	for (const name of await readdir(cacheDir)) {
		// Only folders of a single run carry its number; a folder that a caller keeps is none of our business.
		const [, pid] = /^data-(\d+)-/.exec(name) ?? []
		if (!pid) continue
		const dataDir = join(cacheDir, name)
		const owner = await readJson(ownerFile(dataDir))
		const inUse = owner ? isAlive(owner.process) || isAlive(owner.watchdog) : identityOf(Number(pid)) !== undefined
		if (!inUse) await rm(dataDir, { recursive: true, force: true })
	}
}

async function readJson(path) {
	try {
		return JSON.parse(await readFile(path, 'utf8'))
	} catch {
		return undefined
	}
}
