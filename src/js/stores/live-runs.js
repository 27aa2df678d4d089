/**
 * The runs that are open in this process, by the place of their row: whoever holds a `CassandraContext` of one of them
 * finds its session here.
 *
 * A place is a store, a table and a run id. Stores are told apart by what is known of them before anything connects: the
 * contact points, the embedded backend's name, or, for objects that are driven through their own methods, the object.
 * Equal contact points are one cluster; the same cluster written in two ways is taken for two, and a context then goes
 * through the store, which is right, only later seen.
 */
import { isObject } from '../clients/genuine.js'
import { cassandraSettings, isEmbedded } from '../bridge/native-connections.js'

/** @typedef {import('../session/live-run.js').LiveRun} LiveRun */

/**
 * Where a worker's sessions enter their runs.
 * @typedef {object} LivePlace
 * @property {(runId: string, run: LiveRun) => void} enter a later session of the run takes the place of an earlier one
 * @property {(runId: string, run: LiveRun) => void} leave
 * @property {boolean} [reachesAll] whether everyone who writes the table finds the open run
 */

/** @type {Map<string, LiveRun>} */
const runs = new Map()
/** Names of stores whose client is an object. @type {WeakMap<object, string>} */
const names = new WeakMap()
let unreadable = 0

/** @param {unknown} client */
const nameOf = (client) => {
	if (isEmbedded(client)) return `embedded ${client.embedded}`
	try {
		const points = cassandraSettings(client, 'client')?.settings?.contactPoints
		if (points) return `cluster ${points.toSorted().join()}`
	} catch {
		// Settings that cannot be read are refused, in words, by the operation that needs them.
	}
	return `object ${++unreadable}`
}

/** @param {unknown} client */
const storeOf = (client) => {
	if (!isObject(client)) return nameOf(client)
	let name = names.get(client)
	if (name === undefined) names.set(client, (name = nameOf(client)))
	return name
}

/**
 * @param {unknown} client
 * @param {string} table with its keyspace; plain identifiers, whose case means nothing
 * @param {string} runId
 */
const placeOf = (client, table, runId) => JSON.stringify([storeOf(client), table.toLowerCase(), runId])

/**
 * @param {unknown} client
 * @param {string} table with its keyspace
 * @returns {LivePlace}
 */
export const livePlace = (client, table) => ({
	// The embedded tables have no writers but the contexts of this process.
	reachesAll: isEmbedded(client),
	enter: (runId, run) => void runs.set(placeOf(client, table, runId), run),
	leave(runId, run) {
		const place = placeOf(client, table, runId)
		if (runs.get(place) === run) runs.delete(place)
	},
})

/**
 * @param {unknown} client
 * @param {string} table with its keyspace
 * @param {string} runId
 * @returns {LiveRun | undefined} the run, while its session knows more than the row
 */
export const liveRun = (client, table, runId) => {
	if (runs.size === 0) return undefined
	const run = runs.get(placeOf(client, table, runId))
	return run?.isCurrent ? run : undefined
}
