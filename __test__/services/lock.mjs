import { open, readFile, unlink } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { identityOf, isAlive } from './identity.mjs'

/**
 * Runs the action while no other process holds the lock of that name. A lock whose owner is gone counts for nothing.
 *
 * @template T
 * @param {string} path a file that exists as long as the lock is held
 * @param {AbortSignal | undefined} signal ends the waiting
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
export async function withLock(path, signal, action) {
	await acquire(path, signal)
	try {
		return await action()
	} finally {
		await unlink(path).catch(() => {})
	}
}

async function acquire(path, signal) {
	const me = identityOf(process.pid)
	for (;;) {
		signal?.throwIfAborted()
		try {
			const file = await open(path, 'wx')
			await file.writeFile(me)
			await file.close()
			return
		} catch (error) {
			if (error.code !== 'EEXIST') throw error
		}
		const owner = await readFile(path, 'utf8').catch(() => undefined)
		// An empty file is a lock whose owner is just about to write its name.
		if (owner && !isAlive(owner)) await unlink(path).catch(() => {})
		else await delay(200)
	}
}
