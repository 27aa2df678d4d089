/**
 * Faults: addresses where nobody answers, a TCP forwarder that can come up later, services of one's own to restart.
 */
import { createServer, connect } from 'node:net'
import { startServices } from '../services/services.mjs'
import { addresses, openCluster } from './cluster.mjs'

/** @returns {Promise<number>} a port of this machine where nobody listens */
export async function closedPort() {
	const server = createServer()
	await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
	const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
	await new Promise((resolve) => server.close(resolve))
	return port
}

/**
 * Forwards a port of this machine to an address.
 *
 * @param {number} port
 * @param {string} target `host:port`
 */
export async function forward(port, target) {
	const [host, targetPort] = target.split(':')
	const sockets = new Set()
	const server = createServer((near) => {
		const far = connect(Number(targetPort), host)
		for (const socket of [near, far]) {
			sockets.add(socket)
			socket.on('close', () => sockets.delete(socket))
			socket.on('error', () => {
				near.destroy()
				far.destroy()
			})
		}
		near.pipe(far).pipe(near)
	})
	await new Promise((resolve, reject) => {
		server.once('error', reject)
		server.listen(port, '127.0.0.1', () => resolve(undefined))
	})
	return {
		async close() {
			for (const socket of sockets) socket.destroy()
			await new Promise((resolve) => server.close(resolve))
		},
	}
}

/** Kafka, Cassandra and Redis for a test that breaks them, and clients for them. */
export async function openOwnCluster() {
	// Those of the environment are everybody's.
	for (const name of ['KAFKA_BROKERS', 'CASSANDRA_CONTACT_POINTS', 'REDIS_URL']) delete process.env[name]
	const services = await startServices({ log: () => {} })
	try {
		const cluster = await openCluster(addresses(services.env))
		return { services, cluster }
	} catch (error) {
		await services.stop()
		throw error
	}
}
