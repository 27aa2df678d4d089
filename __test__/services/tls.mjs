import { spawn } from 'node:child_process'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Certificates for services on this machine, of an authority made for them.
 *
 * @typedef {object} Certificates
 * @property {string} ca the authority, PEM file
 * @property {string} strangerCa another authority, which has signed none of them
 * @property {string} cert of 127.0.0.1, PEM file
 * @property {string} key of `cert`, PEM file
 * @property {string} keystore both, PKCS#12
 */

/** Whom the secured services let in. */
export const ACCOUNT = { username: 'flowcraft', password: 'kept-from-logs-7f3a' }
export const KEYSTORE_PASSWORD = 'changeit'

/** @param {string} dir @returns {Promise<Certificates>} those that are there, or new ones */
export async function certificates(dir) {
	await mkdir(dir, { recursive: true })
	const file = (/** @type {string} */ name) => join(dir, name)
	const made = {
		ca: file('ca.pem'),
		strangerCa: file('stranger.pem'),
		cert: file('cert.pem'),
		key: file('key.pem'),
		keystore: file('keystore.p12'),
	}
	if (await isThere(made.keystore)) return made
	for (const name of ['ca', 'stranger'])
		await openssl(
			['req', '-x509', ...NEW_KEY, file(`${name}.key`), '-out', file(`${name}.pem`), '-days', '3650'],
			['-subj', `/CN=flowcraft test ${name}`],
		)
	await openssl(
		['req', '-x509', ...NEW_KEY, made.key, '-out', made.cert, '-days', '3650', '-subj', '/CN=flowcraft test service'],
		['-CA', made.ca, '-CAkey', file('ca.key'), '-addext', 'basicConstraints=CA:FALSE'],
		['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
	)
	await openssl(
		['pkcs12', '-export', '-in', made.cert, '-inkey', made.key, '-certfile', made.ca, '-name', 'service'],
		['-passout', `pass:${KEYSTORE_PASSWORD}`, '-out', made.keystore],
	)
	return made
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout']

const isThere = (/** @type {string} */ path) =>
	stat(path).then(
		() => true,
		() => false,
	)

/** @param {string[][]} args @returns {Promise<void>} */
function openssl(...args) {
	return new Promise((resolve, reject) => {
		const child = spawn('openssl', args.flat(), { stdio: ['ignore', 'ignore', 'pipe'] })
		let output = ''
		child.stderr.on('data', (chunk) => (output += chunk))
		child.on('error', (cause) =>
			reject(new Error('openssl could not be run; scripts/prerequisites names what is missing', { cause })),
		)
		child.on('close', (code) =>
			code === 0 ? resolve() : reject(new Error(`openssl ${args[0][0]} failed:\n${output}`)),
		)
	})
}
