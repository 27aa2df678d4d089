/** Which Kafka objects are read, what is read from them, and which are left to their own methods. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Kafka, logLevel } from 'kafkajs'
import { isGenuineKafka, parseKafka, readKafka } from '../../src/js/clients/kafkajs.js'
import { defaultRoots } from '../../src/js/clients/tls.js'

const quiet = { logLevel: logLevel.NOTHING }
const client = (options) => new Kafka({ brokers: ['a:9092'], ...quiet, ...options })

describe('a genuine kafkajs client', () => {
	it('is told from what only looks like one', () => {
		class Named extends Kafka {}
		class Wrapping extends Kafka {
			producer() {
				return { ...super.producer(), send: async () => {} }
			}
		}
		const patched = client()
		patched.consumer = () => ({})
		assert.ok(isGenuineKafka(client()))
		assert.ok(isGenuineKafka(new Named({ brokers: ['a:1'], ...quiet })), 'a subclass that changes nothing we go around')
		const others = [
			new Wrapping({ brokers: ['a:1'], ...quiet }),
			patched,
			new Proxy(client(), {}),
			{ producer: () => ({}), consumer: () => ({}) },
			Object.create(client()),
			{},
			'a:9092',
			null,
			undefined,
		]
		for (const other of others) assert.ok(!isGenuineKafka(other))
	})

	it('hands out every broker of a list, in order', async () => {
		const brokers = ['a:9092', 'b:9093', 'c:9094']
		const { settings } = await readKafka(client({ brokers, clientId: 'app' }))
		assert.deepEqual(settings, { brokers, clientId: 'app' })
	})

	it('hands out what a brokers function answers', async () => {
		const { settings } = await readKafka(client({ brokers: async () => ['x:1', 'y:2'] }))
		assert.deepEqual(settings.brokers, ['x:1', 'y:2'])
	})

	it('is bounded where a brokers function never repeats itself', async () => {
		let port = 0
		const { settings } = await readKafka(client({ brokers: () => [`x:${++port}`] }))
		assert.equal(settings.brokers.length, 64)
	})

	it('passes on what its brokers function throws', async () => {
		const kafka = client({
			brokers: () => {
				throw new Error('no discovery')
			},
		})
		await assert.rejects(readKafka(kafka), /no discovery/)
	})

	it('names a broker that is no address', async () => {
		await assert.rejects(readKafka(client({ brokers: ['a:9092', 'nonsense'] })), {
			code: 'ERR_OPTION',
			message: /^options\.kafka\.brokers\[1\]: "nonsense:NaN" is not an address/,
		})
	})

	it('leaves no connection behind', async () => {
		const { token } = await readKafka(client())
		assert.equal(token, undefined)
		assert.ok(!process.getActiveResourcesInfo().includes('TCPSocketWrap'))
	})

	for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
		it(`gives its credentials for ${mechanism}`, async () => {
			const { settings } = await readKafka(client({ sasl: { mechanism, username: 'u', password: 'p' } }))
			assert.deepEqual(settings.sasl, { mechanism, username: 'u', password: 'p' })
		})
	}

	it('gives its token callback for oauthbearer', async () => {
		const sasl = { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: 'token' }) }
		const { settings, token } = await readKafka(client({ sasl }))
		assert.deepEqual(settings.sasl, { mechanism: 'oauthbearer' })
		assert.deepEqual(await token(), { value: 'token' })
	})

	it('trusts what Node trusts with ssl: true', async () => {
		const { settings } = await readKafka(client({ ssl: true }))
		assert.deepEqual(settings.tls, { ca: defaultRoots(), rejectUnauthorized: true })
		assert.match(settings.tls.ca, /BEGIN CERTIFICATE/)
	})

	it('gives its certificates, texts, buffers and lists alike', async () => {
		const ssl = { ca: [Buffer.from('CA1'), 'CA2'], cert: 'CERT', key: Buffer.from('KEY'), passphrase: 'pw' }
		const { settings } = await readKafka(client({ ssl: { ...ssl, rejectUnauthorized: false } }))
		assert.deepEqual(settings.tls, {
			ca: 'CA1\nCA2',
			cert: 'CERT',
			key: 'KEY',
			passphrase: 'pw',
			rejectUnauthorized: false,
		})
	})

	const unsupported = [
		['socketFactory', { socketFactory: () => null }],
		['ssl.pfx', { ssl: { pfx: Buffer.from('x') } }],
		['ssl.checkServerIdentity', { ssl: { checkServerIdentity: () => undefined } }],
		['ssl.servername', { ssl: { servername: 'other' } }],
		['sasl.mechanism "aws"', { sasl: { mechanism: 'aws', accessKeyId: 'x' } }],
		['sasl.mechanism "custom"', { sasl: { mechanism: 'custom', authenticationProvider: () => ({}) } }],
	]
	for (const [setting, options] of unsupported) {
		it(`names ${setting} as what cannot be honoured`, async () => {
			assert.deepEqual(await readKafka(client(options)), { unsupported: setting })
		})
	}
})

describe('plain Kafka settings', () => {
	it('are a text, a list or an object', () => {
		const two = { settings: { brokers: ['a:1', 'b:2'] } }
		assert.deepEqual(parseKafka('a:1, b:2', 'options.kafka'), two)
		assert.deepEqual(parseKafka('kafka://a:1,kafka://b:2', 'options.kafka'), two)
		assert.deepEqual(parseKafka(['a:1', 'b:2'], 'options.kafka'), two)
		assert.deepEqual(parseKafka({ brokers: 'a:1', clientId: 'x', sessionTimeoutMs: 9000 }, 'options.kafka'), {
			settings: { brokers: ['a:1'], clientId: 'x', sessionTimeoutMs: 9000 },
		})
		assert.deepEqual(parseKafka('[::1]:9092', 'options.kafka').settings.brokers, ['[::1]:9092'])
	})

	const refused = [
		['', /^options\.kafka\[0\]: "" is not an address\. Write "host:port"/],
		['a', /^options\.kafka\[0\]: "a" is not an address/],
		['a:0', /^options\.kafka\[0\]/],
		['a:70000', /^options\.kafka\[0\]/],
		[['a:1', 7], /^options\.kafka\[1\]: a number is not an address/],
		[[], /^options\.kafka: no broker is given/],
		[{}, /^options\.kafka\.brokers: no list of brokers/],
		[{ brokers: ['a:1', 'b c:2'] }, /^options\.kafka\.brokers\[1\]/],
		[{ brokers: 'a:1', sessionTimeoutMs: '9 s' }, /^options\.kafka\.sessionTimeoutMs: a string is not a whole number/],
	]
	for (const [value, message] of refused) {
		it(`refuses ${JSON.stringify(value)}`, () => {
			assert.throws(() => parseKafka(value, 'options.kafka'), { code: 'ERR_OPTION', message })
		})
	}
})
