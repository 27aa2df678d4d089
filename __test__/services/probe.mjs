import { connect } from 'node:net'

const HOST = '127.0.0.1'

/**
 * Each probe speaks the service's own protocol, because an open port only says that somebody listens.
 * It rejects with the reason as long as the service is not ready.
 *
 * @typedef {(port: number, timeoutMs: number) => Promise<void>} Probe
 */

const KAFKA_METADATA = 3
const KAFKA_FIND_COORDINATOR = 10
const KAFKA_API_VERSIONS = 18

/** @type {Probe} Ready: the API answers, a controller is known, and groups have a coordinator. */
export function probeKafka(port, timeoutMs) {
	return converse(port, timeoutMs, async (ask) => {
		const versions = await ask(kafkaRequest(KAFKA_API_VERSIONS, 0), kafkaFrameLength)
		expectThat(versions.readInt16BE(8) === 0, `ApiVersions answered error ${versions.readInt16BE(8)}`)

		// No topic is asked for: an empty list means "none" from version 1 on.
		const metadata = await ask(kafkaRequest(KAFKA_METADATA, 1, int32(0)), kafkaFrameLength)
		const { brokers, controllerId } = readMetadata(metadata)
		expectThat(brokers > 0 && controllerId >= 0, 'no broker or no controller in the metadata yet')

		// The first question after a coordinator creates the offsets topic; the first consumer would otherwise meet
		// "coordinator is not available" for the seconds that takes.
		const coordinator = await ask(
			kafkaRequest(KAFKA_FIND_COORDINATOR, 0, shortString('services-probe')),
			kafkaFrameLength,
		)
		expectThat(coordinator.readInt16BE(8) === 0, `FindCoordinator answered error ${coordinator.readInt16BE(8)}`)
	})
}

const CQL_STARTUP = 0x01
const CQL_READY = 0x02
const CQL_AUTHENTICATE = 0x03
const CQL_AUTH_RESPONSE = 0x0f
const CQL_AUTH_SUCCESS = 0x10
const CQL_VERSION = '3.0.0'
/** The account that Cassandra makes by itself, some time after it begins to answer. */
const CQL_FIRST_ACCOUNT = Buffer.from('\0cassandra\0cassandra')

/** @type {Probe} Ready: the native protocol lets in, where accounts are asked for with the first one. */
export function probeCassandra(port, timeoutMs) {
	return converse(port, timeoutMs, async (ask) => {
		const opcode = async (/** @type {number} */ question, /** @type {Buffer} */ body) =>
			(await ask(cqlFrame(question, body), cqlFrameLength))[4]
		const one = Buffer.from([0, 1])
		const started = await opcode(
			CQL_STARTUP,
			Buffer.concat([one, shortString('CQL_VERSION'), shortString(CQL_VERSION)]),
		)
		if (started === CQL_READY) return
		expectThat(started === CQL_AUTHENTICATE, `STARTUP was answered with opcode ${started}`)
		const account = Buffer.concat([int32(CQL_FIRST_ACCOUNT.length), CQL_FIRST_ACCOUNT])
		const answer = await opcode(CQL_AUTH_RESPONSE, account)
		expectThat(answer === CQL_AUTH_SUCCESS, `the first account is not there yet: opcode ${answer}`)
	})
}

/** @param {number} opcode @param {Buffer} body */
function cqlFrame(opcode, body) {
	return Buffer.concat([Buffer.from([0x04, 0, 0, 0, opcode]), int32(body.length), body])
}

/** @param {Buffer} bytes */
function cqlFrameLength(bytes) {
	return bytes.length < 9 ? undefined : 9 + bytes.readInt32BE(5)
}

/** @type {Probe} Ready: PING is answered with PONG (a server that still loads its data answers -LOADING). */
export function probeRedis(port, timeoutMs) {
	return converse(port, timeoutMs, async (ask) => {
		const answer = await ask(Buffer.from('PING\r\n'), (bytes) => {
			const end = bytes.indexOf('\r\n')
			return end < 0 ? undefined : end + 2
		})
		expectThat(answer.toString() === '+PONG\r\n', `PING was answered with ${JSON.stringify(answer.toString())}`)
	})
}

/**
 * @param {number} port
 * @param {number} timeoutMs for the whole conversation
 * @param {(ask: (request: Buffer, frameLength: (bytes: Buffer) => number | undefined) => Promise<Buffer>) => Promise<void>} script
 */
async function converse(port, timeoutMs, script) {
	const socket = connect({ host: HOST, port })
	let received = Buffer.alloc(0)
	let wake = () => {}
	let failure
	const fail = (error) => {
		failure ??= error
		wake()
	}
	const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
	socket.on('error', fail)
	socket.on('close', () => fail(new Error('the connection was closed')))
	socket.on('data', (chunk) => {
		received = Buffer.concat([received, chunk])
		wake()
	})
	const ask = async (request, frameLength) => {
		socket.write(request)
		for (;;) {
			const length = frameLength(received)
			if (length !== undefined && received.length >= length) {
				const frame = received.subarray(0, length)
				received = received.subarray(length)
				return frame
			}
			if (failure) throw failure
			await new Promise((resolve) => (wake = resolve))
		}
	}
	try {
		await script(ask)
	} finally {
		clearTimeout(timer)
		socket.destroy()
	}
}

function kafkaRequest(apiKey, version, ...body) {
	const header = Buffer.alloc(8)
	header.writeInt16BE(apiKey, 0)
	header.writeInt16BE(version, 2)
	header.writeInt32BE(1, 4)
	const message = Buffer.concat([header, shortString('services-probe'), ...body])
	return Buffer.concat([int32(message.length), message])
}

function kafkaFrameLength(bytes) {
	return bytes.length < 4 ? undefined : 4 + bytes.readInt32BE(0)
}

function readMetadata(frame) {
	let at = 8 // size and correlation id
	const brokers = frame.readInt32BE(at)
	at += 4
	for (let i = 0; i < brokers; i++) {
		at += 4 // node id
		at += 2 + frame.readInt16BE(at) // host
		at += 4 // port
		at += 2 + Math.max(0, frame.readInt16BE(at)) // rack, -1 for null
	}
	return { brokers, controllerId: frame.readInt32BE(at) }
}

function shortString(text) {
	const bytes = Buffer.from(text)
	const length = Buffer.alloc(2)
	length.writeInt16BE(bytes.length)
	return Buffer.concat([length, bytes])
}

function int32(value) {
	const bytes = Buffer.alloc(4)
	bytes.writeInt32BE(value)
	return bytes
}

function expectThat(condition, reason) {
	if (!condition) throw new Error(reason)
}
