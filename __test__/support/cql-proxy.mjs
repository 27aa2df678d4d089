/**
 * A TCP proxy before Cassandra that knows the frames of its protocol (version 4, uncompressed: what the engine speaks). It says
 * which statements pass, and can stop everything right after one of them.
 */
import { once } from 'node:events'
import { createServer, connect } from 'node:net'

const HEADER = 9
const QUERY = 0x07
const PREPARE = 0x09
const EXECUTE = 0x0a
const BATCH = 0x0d
const RESULT = 0x08
const PREPARED = 4

/** @typedef {Awaited<ReturnType<typeof startCqlProxy>>} CqlProxy */

/** @param {string} target `host:port` */
export async function startCqlProxy(target) {
	const [host, port] = target.split(':')
	/** @type {Set<import('node:net').Socket>} */
	const sockets = new Set()
	/** By the hex of their id, which is the same on all connections. @type {Map<string, string>} */
	const prepared = new Map()
	/** @type {string[]} */
	const statements = []
	/** @type {{ left: number, matches: (text: string) => boolean, answered: () => void } | undefined} */
	let stop
	/** The request after which nothing passes, and whether its answer has come. @type {{ answers: object, stream: number } | undefined} */
	let last
	let isStopped = false

	/** @param {Buffer} frame @returns {string | undefined} of a request that carries a statement */
	function statementOf(frame) {
		const body = frame.subarray(HEADER)
		if (frame[4] === QUERY) return longString(body)
		if (frame[4] === EXECUTE) return prepared.get(shortBytes(body))
		// Batches of the engine are made of one kind of statement; the type, the count and the kind come first.
		if (frame[4] === BATCH)
			return body[3] === 1 ? prepared.get(shortBytes(body.subarray(4))) : longString(body.subarray(4))
		return undefined
	}

	const server = createServer((near) => {
		const far = connect(Number(port), host)
		/** Texts that are being prepared on this connection, by stream. @type {Map<number, string>} */
		const preparing = new Map()
		for (const socket of [near, far]) {
			sockets.add(socket)
			socket.setNoDelay(true)
			socket.on('error', () => {})
			socket.on('close', () => {
				sockets.delete(socket)
				near.destroy()
				far.destroy()
			})
		}
		near.on(
			'data',
			framesOf((frame) => {
				if (last) return
				if (frame[4] === PREPARE) preparing.set(frame.readInt16BE(2), longString(frame.subarray(HEADER)))
				const text = statementOf(frame)
				if (text !== undefined) statements.push(text)
				if (text !== undefined && stop?.matches(text) && --stop.left === 0)
					last = { answers: preparing, stream: frame.readInt16BE(2) }
				far.write(frame)
			}),
		)
		far.on(
			'data',
			framesOf((frame) => {
				const stream = frame.readInt16BE(2)
				const text = preparing.get(stream)
				if (text !== undefined && frame[4] === RESULT && frame.readInt32BE(HEADER) === PREPARED) {
					prepared.set(shortBytes(frame.subarray(HEADER + 4)), text)
					preparing.delete(stream)
				}
				if (last && last.answers === preparing && last.stream === stream && !isStopped) {
					isStopped = true
					stop?.answered()
				}
				if (!isStopped) near.write(frame)
			}),
		)
	})
	server.listen(0, '127.0.0.1')
	await once(server, 'listening')
	const { port: ownPort } = /** @type {import('node:net').AddressInfo} */ (server.address())

	return {
		address: `127.0.0.1:${ownPort}`,
		/** Every statement that has passed, in order. */
		statements,
		/**
		 * Lets so many matching statements through, then nothing more, in neither direction. Fulfilled when Cassandra has answered the last
		 * of them: it has taken effect, and nobody was told.
		 *
		 * @param {number} count
		 * @param {(text: string) => boolean} matches
		 * @returns {Promise<void>}
		 */
		stopAfter: (count, matches) =>
			new Promise((resolve) => {
				stop = { left: count, matches, answered: () => resolve(undefined) }
			}),
		async close() {
			for (const socket of sockets) socket.destroy()
			await new Promise((resolve) => server.close(resolve))
		},
	}
}

/** @param {(frame: Buffer) => void} take */
function framesOf(take) {
	let rest = Buffer.alloc(0)
	return (/** @type {Buffer} */ chunk) => {
		rest = Buffer.concat([rest, chunk])
		while (rest.length >= HEADER && rest.length >= HEADER + rest.readUInt32BE(5)) {
			const size = HEADER + rest.readUInt32BE(5)
			const frame = rest.subarray(0, size)
			rest = rest.subarray(size)
			take(frame)
		}
	}
}

/** @param {Buffer} bytes */
const longString = (bytes) => bytes.toString('utf8', 4, 4 + bytes.readInt32BE(0))

/** @param {Buffer} bytes @returns {string} as hex */
const shortBytes = (bytes) => bytes.toString('hex', 2, 2 + bytes.readUInt16BE(0))
