import { probeRedis } from './probe.mjs'

/** @type {import('./service.mjs').Recipe} */
export const redis = {
	name: 'redis',
	jars: false,
	ports: ['client'],
	startTimeoutMs: 20_000,
	stopTimeoutMs: 10_000,
	probe: probeRedis,

	async prepare() {},

	command({ dir, ports }) {
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
			],
		}
	},
}
