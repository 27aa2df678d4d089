/**
 * A TCP proxy that does to connections what networks do: latency, resets, silence, answers cut off in the middle, and a
 * port where nobody listens.
 */
import { once } from 'node:events'
import { createServer, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** @typedef {Awaited<ReturnType<typeof startFaultProxy>>} FaultProxy */

/** @param {string} target `host:port` */
export async function startFaultProxy(target) {
	const [host, port] = target.split(':')
	/** @type {Set<{ near: import('node:net').Socket, far: import('node:net').Socket }>} */
	const pairs = new Set()
	let latencyMs = 0
	let isSilent = false
	/** Answers still to be cut off in the middle. */
	let cuts = 0
	let [sent, answered] = [0, 0]

	/**
	 * @param {import('node:net').Socket} from
	 * @param {import('node:net').Socket} to
	 * @param {boolean} isAnswer
	 */
	function carry(from, to, isAnswer) {
		// One after the other: latency must not change the order.
		let last = Promise.resolve()
		from.on('data', (chunk) => {
			// What is swallowed is gone, as it is where a route is: the connection has to be given up.
			if (isSilent) return
			last = last.then(async () => {
				if (latencyMs > 0) await sleep(latencyMs)
				if (to.destroyed) return
				if (isAnswer) answered += chunk.length
				else sent += chunk.length
				if (!isAnswer || cuts === 0) return void to.write(chunk)
				cuts--
				to.end(chunk.subarray(0, Math.ceil(chunk.length / 2)), () => from.destroy())
			})
		})
		from.on('end', () => void last.then(() => to.end()))
	}

	const server = createServer((near) => {
		const far = connect(Number(port), host)
		const pair = { near, far }
		pairs.add(pair)
		for (const socket of [near, far]) {
			socket.setNoDelay(true)
			socket.on('error', () => {})
			socket.on('close', () => {
				pairs.delete(pair)
				near.destroy()
				far.destroy()
			})
		}
		carry(near, far, false)
		carry(far, near, true)
	})
	const listen = async (/** @type {number} */ at) => {
		server.listen(at, '127.0.0.1')
		await once(server, 'listening')
		return /** @type {import('node:net').AddressInfo} */ (server.address()).port
	}
	const ownPort = await listen(0)
	const reset = () => {
		for (const { near, far } of pairs) {
			near.resetAndDestroy()
			far.destroy()
		}
	}

	return {
		port: ownPort,
		address: `127.0.0.1:${ownPort}`,
		/** How much has gone through: that it is in the way at all. */
		get bytes() {
			return sent + answered
		},
		/** What has gone to the server. */
		get sentBytes() {
			return sent
		},
		/** What has come from it. */
		get answeredBytes() {
			return answered
		},
		/** Everything takes so long from now on, in each direction. @param {number} ms */
		delay(ms) {
			latencyMs = ms
		},
		/** Every connection ends with a reset. */
		reset,
		/** So many answers end in the middle, and their connections with them. @param {number} count */
		cut(count) {
			cuts = count
		},
		/** Connections stay open and new ones are taken, but nothing comes through. */
		silence() {
			isSilent = true
		},
		/** What was silent is heard again, on new connections: on the old ones bytes are missing. */
		speak() {
			isSilent = false
			reset()
		},
		/** Nobody listens. */
		async away() {
			const closed = once(server, 'close')
			server.close()
			reset()
			await closed
		},
		/** After `away`. */
		async back() {
			await listen(ownPort)
		},
		async close() {
			reset()
			if (server.listening) await new Promise((resolve) => server.close(resolve))
		},
	}
}
