/** A relay in front of a server that counts what goes to it. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** @param {string} target `host:port` */
export async function startRelay(target) {
	const [host, port] = target.split(':')
	/** @type {Set<import('node:net').Socket>} */
	const sockets = new Set()
	let sentBytes = 0
	const server = createServer((near) => {
		const far = connect(Number(port), host)
		near.on('data', (chunk) => (sentBytes += chunk.length))
		near.pipe(far)
		far.pipe(near)
		for (const socket of [near, far]) {
			socket.setNoDelay(true)
			sockets.add(socket)
			socket.on('error', () => {})
			socket.on('close', () => {
				sockets.delete(socket)
				near.destroy()
				far.destroy()
			})
		}
	})
	server.listen(0, '127.0.0.1')
	await once(server, 'listening')
	return {
		address: `127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`,
		get sentBytes() {
			return sentBytes
		},
		async close() {
			for (const socket of sockets) socket.destroy()
			await new Promise((resolve) => server.close(resolve))
		},
	}
}
