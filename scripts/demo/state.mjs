/**
 * What a demo has to remember between two starts: its id, its files, and whether it is done.
 *
 *   <state folder>/current.json        the demo that is under way, or was last
 *   <state folder>/<id>/executions.log which node bodies have run
 *   <state folder>/<id>/generated/     generated input
 *   <state folder>/<id>/services/      data of the services, unless the environment names others
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ownerFile, takeOwnership } from '../../__test__/services/data-folder.mjs'
import { inputFiles } from './files.mjs'

const ID = /^[a-z0-9-]+$/

/**
 * @typedef {object} Demo
 * @property {string} id
 * @property {string} wanted what it was asked for; a start that asks for something else is another demo
 * @property {import('./files.mjs').InputFile[]} files
 * @property {boolean} isCompleted
 * @property {boolean} [isResumed]
 */

/** Rejects while another demo uses the folder. */
export async function lockState(folder) {
	await takeOwnership(folder, process.pid)
	return () => rm(ownerFile(folder), { force: true })
}

/**
 * The demo that was not completed, if it was asked for the same; otherwise a new one.
 *
 * @param {string} stateFolder
 * @param {{ folder: string, limit?: number, seed: number, services: string, fresh?: boolean }} options
 * @returns {Promise<Demo>}
 */
export async function openDemo(stateFolder, { fresh, ...wish }) {
	const wanted = JSON.stringify(wish)
	const last = await readCurrent(stateFolder)
	if (last && !fresh && !last.isCompleted && last.wanted === wanted) return { ...last, isResumed: true }
	if (last) await discard(stateFolder, last.id)
	const id = `${Date.now().toString(36)}-${randomBytes(3).toString('hex')}`
	const folder = folderOf(stateFolder, id)
	await mkdir(folder, { recursive: true })
	const files = await inputFiles({ ...wish, generatedFolder: join(folder, 'generated') })
	const demo = { id, wanted, files, isCompleted: false }
	await writeCurrent(stateFolder, demo)
	return demo
}

export const complete = (stateFolder, demo) => writeCurrent(stateFolder, { ...demo, isCompleted: true })

export const folderOf = (stateFolder, id) => join(stateFolder, id)

/** The same file of the same demo is the same run, whoever starts it and how often. */
export function runIdOf(demo, file) {
	const hash = createHash('sha256').update(`${demo.id}\0${file.name}`).digest('hex').slice(0, 16)
	return `demo-${demo.id}-${hash}`
}

/** The services of a demo that was killed may still be on their way out; their folder is not taken from under them. */
async function discard(stateFolder, id) {
	const folder = folderOf(stateFolder, id)
	await takeOwnership(join(folder, 'services'), process.pid)
	await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}

/** @returns {Promise<Demo | undefined>} */
async function readCurrent(stateFolder) {
	try {
		const demo = JSON.parse(await readFile(join(stateFolder, 'current.json'), 'utf8'))
		return ID.test(demo.id) && Array.isArray(demo.files) ? demo : undefined
	} catch {
		return undefined
	}
}

/** By renaming: a start that is killed here leaves the old file or the new one, not half of it. */
async function writeCurrent(stateFolder, { isResumed: _isResumed, ...demo }) {
	const path = join(stateFolder, 'current.json')
	await writeFile(`${path}.new`, JSON.stringify(demo))
	await rename(`${path}.new`, path)
}
