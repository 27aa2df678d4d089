import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'

const LOWEST = 15000
const ATTEMPTS = 200

/**
 * Free loopback ports below the system's range for outgoing connections. A port of that range would be unsafe for a
 * service that restarts: a client which retries while the service is down can be given the very port as its own end,
 * connect to itself, and keep the service from coming back.
 *
 * @param {number} count
 * @returns {Promise<number[]>}
 */
export async function freePorts(count) {
	const limit = firstOutgoingPort()
	const held = []
	try {
		// All stay bound until the last is found, so that one call never names a port twice.
		for (let attempt = 0; held.length < count; attempt++) {
			if (attempt === ATTEMPTS) throw new Error(`no ${count} free ports between ${LOWEST} and ${limit}`)
			const port = LOWEST + Math.floor(Math.random() * (limit - LOWEST))
			const server = await bind(port)
			if (server) held.push({ port, server })
		}
	} finally {
		await Promise.all(held.map(({ server }) => new Promise((closed) => server.close(closed))))
	}
	return held.map(({ port }) => port)
}

/** @param {number[]} ports */
export async function allFree(ports) {
	for (const port of ports) {
		const server = await bind(port)
		if (!server) return false
		await new Promise((closed) => server.close(closed))
	}
	return true
}

function bind(port) {
	return new Promise((resolve) => {
		const server = createServer()
		server.once('error', () => resolve(undefined))
		server.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(server))
	})
}

function firstOutgoingPort() {
	try {
		const [first] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number)
		return first > LOWEST + 1000 ? first : 32768
	} catch {
		return 32768
	}
}
