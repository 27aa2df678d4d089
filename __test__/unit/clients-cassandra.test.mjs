/** Which Cassandra objects are read, what is read from them, and which are left to their own methods. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import cassandra from 'cassandra-driver'
import { isGenuineCassandra, parseCassandra, readCassandra } from '../../src/js/clients/cassandra-driver.js'
import { defaultRoots } from '../../src/js/clients/tls.js'

const { consistencies } = cassandra.types
const { addressResolution, loadBalancing } = cassandra.policies
const client = (options) => new cassandra.Client({ contactPoints: ['h1'], localDataCenter: 'dc1', ...options })
const read = (options) => readCassandra(client(options))

describe('a genuine cassandra-driver client', () => {
	it('is told from what only looks like one', () => {
		class Named extends cassandra.Client {}
		class Counting extends cassandra.Client {
			execute(...args) {
				return super.execute(...args)
			}
		}
		const options = { contactPoints: ['h'], localDataCenter: 'dc1' }
		const patched = client()
		patched.execute = async () => ({ rows: [] })
		assert.ok(isGenuineCassandra(client()))
		assert.ok(isGenuineCassandra(new Named(options)))
		for (const other of [new Counting(options), patched, new Proxy(client(), {}), { execute() {} }, options, null]) {
			assert.ok(!isGenuineCassandra(other))
		}
	})

	it('gives addresses with ports, data centre and timeouts', () => {
		const { settings, raised } = read({
			contactPoints: ['h1', 'h2:9999', '::1', '[::2]:7'],
			protocolOptions: { port: 9142 },
			socketOptions: { connectTimeout: 11, readTimeout: 12 },
		})
		assert.deepEqual(settings, {
			contactPoints: ['h1:9142', 'h2:9999', '[::1]:9142', '[::2]:7'],
			localDataCenter: 'dc1',
			consistency: 'LOCAL_QUORUM',
			connectTimeoutMs: 11,
			requestTimeoutMs: 12,
		})
		assert.equal(raised, undefined)
	})

	it('gives plain credentials, however they were passed', () => {
		const expected = { username: 'u', password: 'p' }
		const { PlainTextAuthProvider, DsePlainTextAuthProvider } = cassandra.auth
		const ways = [
			{ credentials: expected },
			{ authProvider: new PlainTextAuthProvider('u', 'p') },
			{ authProvider: new DsePlainTextAuthProvider('u', 'p') },
		]
		for (const way of ways) {
			const { username, password } = read(way).settings
			assert.deepEqual({ username, password }, expected)
		}
	})

	it('gives a level that is durable as it is, and raises one that is not', () => {
		const level = (consistency) => read({ queryOptions: { consistency } })
		assert.equal(level(consistencies.quorum).settings.consistency, 'QUORUM')
		assert.equal(level(consistencies.all).settings.consistency, 'ALL')
		for (const weak of ['any', 'one', 'localOne']) {
			const reading = level(consistencies[weak])
			assert.equal(reading.settings.consistency, 'LOCAL_QUORUM')
			assert.ok(reading.raised)
		}
	})

	it('gives the level of conditional statements', () => {
		const queryOptions = { serialConsistency: consistencies.serial }
		assert.equal(read({ queryOptions }).settings.serialConsistency, 'SERIAL')
	})

	it('gives the level and the data centre of its default profile', () => {
		const profiles = [new cassandra.ExecutionProfile('default', { consistency: consistencies.eachQuorum })]
		assert.equal(read({ profiles }).settings.consistency, 'EACH_QUORUM')
		const policy = new loadBalancing.TokenAwarePolicy(new loadBalancing.DCAwareRoundRobinPolicy('dc9'))
		const { settings } = read({ localDataCenter: undefined, policies: { loadBalancing: policy } })
		assert.equal(settings.localDataCenter, 'dc9')
	})

	it("checks certificates only where it is told to, as the driver's rule is", () => {
		assert.deepEqual(read({ sslOptions: {} }).settings.tls, { ca: defaultRoots(), rejectUnauthorized: false })
		const sslOptions = { ca: ['CA'], rejectUnauthorized: true, servername: 'node' }
		assert.deepEqual(read({ sslOptions }).settings.tls, { ca: 'CA', rejectUnauthorized: true, servername: 'node' })
	})

	class OwnAuth extends cassandra.auth.AuthProvider {}
	const unsupported = [
		[
			'cloud.secureConnectBundle',
			{ cloud: { secureConnectBundle: 'x.zip' }, contactPoints: undefined, localDataCenter: undefined },
		],
		['authProvider (OwnAuth)', { authProvider: new OwnAuth() }],
		[
			'authProvider (DsePlainTextAuthProvider)',
			{ authProvider: new cassandra.auth.DsePlainTextAuthProvider('u', 'p', 'someone else') },
		],
		[
			'policies.addressResolution (EC2MultiRegionTranslator)',
			{ policies: { addressResolution: new addressResolution.EC2MultiRegionTranslator() } },
		],
		[
			'policies.loadBalancing (AllowListPolicy)',
			{
				policies: {
					loadBalancing: new loadBalancing.AllowListPolicy(new loadBalancing.DCAwareRoundRobinPolicy('dc1'), [
						'h1:9042',
					]),
				},
			},
		],
		['sslOptions.checkServerIdentity', { sslOptions: { checkServerIdentity: () => undefined } }],
	]
	for (const [setting, options] of unsupported) {
		it(`names ${setting} as what cannot be honoured`, () => {
			assert.deepEqual(read(options), { unsupported: setting })
		})
	}
})

describe('plain Cassandra settings', () => {
	it("are a text, a list or an object in the driver's words", () => {
		const points = (value) => parseCassandra(value, 'options.cassandraClient').settings.contactPoints
		assert.deepEqual(points('a, b:1'), ['a:9042', 'b:1'])
		assert.deepEqual(points(['a', 'b:1']), ['a:9042', 'b:1'])
		const { settings } = parseCassandra(
			{
				contactPoints: 'a',
				port: 1234,
				localDataCenter: 'dc1',
				credentials: { username: 'u', password: 'p' },
				consistency: 'QUORUM',
			},
			'options.cassandraClient',
		)
		assert.deepEqual(settings, {
			contactPoints: ['a:1234'],
			localDataCenter: 'dc1',
			username: 'u',
			password: 'p',
			consistency: 'QUORUM',
		})
	})

	const refused = [
		[[], /^options\.cassandraClient: no contact point is given/],
		[['a', 7], /^options\.cassandraClient\[1\]: a number is not an address/],
		[{ contactPoints: ['a b'] }, /^options\.cassandraClient\.contactPoints\[0\]: "a b" is not an address/],
		[{ contactPoints: 5 }, /^options\.cassandraClient\.contactPoints: no list/],
		[{ contactPoints: 'a', credentials: { username: 'u' } }, /^options\.cassandraClient\.credentials/],
	]
	for (const [value, message] of refused) {
		it(`refuses ${JSON.stringify(value)}`, () => {
			assert.throws(() => parseCassandra(value, 'options.cassandraClient'), { code: 'ERR_OPTION', message })
		})
	}
})
