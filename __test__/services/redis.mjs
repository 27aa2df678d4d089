import { probeRedis } from './probe.mjs'
import { ACCOUNT } from './tls.mjs'

/** @type {import('./service.mjs').Recipe} */
export const redis = {
	name: 'redis',
	jars: false,
	ports: ['client', 'secured'],
	startTimeoutMs: 20_000,
	stopTimeoutMs: 10_000,
	probe: probeRedis,

	async prepare() {},

	command({ dir, ports, tls }) {
		return {
			file: 'redis-server',
			args: [
				'--port',
				String(ports.client),
				'--bind',
				'127.0.0.1',
				'--dir',
				dir,
				'--daemonize',
				'no',
				// The append-only file makes a restart, even after a kill, come back with its data like the other two.
				'--save',
				'',
				'--appendonly',
				'yes',
				'--appendfsync',
				'everysec',
				...(tls ? securedArgs(ports, tls) : []),
			],
		}
	},
}

const securedArgs = ({ secured }, { ca, cert, key }) =>
	[
		['--tls-port', String(secured), '--tls-auth-clients', 'no'],
		['--tls-ca-cert-file', ca, '--tls-cert-file', cert, '--tls-key-file', key],
		['--user', ACCOUNT.username, 'on', `>${ACCOUNT.password}`, '~*', '&*', '+@all'],
	].flat()
