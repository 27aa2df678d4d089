import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { java, jvmFlags } from './java.mjs'
import { probeKafka } from './probe.mjs'
import { ACCOUNT, KEYSTORE_PASSWORD } from './tls.mjs'

/** @type {import('./service.mjs').Recipe} */
export const kafka = {
	name: 'kafka',
	jars: true,
	ports: ['client', 'controller', 'secured'],
	startTimeoutMs: 90_000,
	stopTimeoutMs: 15_000,
	probe: probeKafka,

	async prepare({ dir, ports, jars, tls }) {
		const data = join(dir, 'data')
		await writeFile(join(dir, 'server.properties'), serverProperties(data, ports, tls))
		await writeFile(join(dir, 'log4j.properties'), LOG4J)
		const formatted = await stat(join(data, 'meta.properties')).then(
			() => true,
			() => false,
		)
		if (!formatted) await format(dir, jars, tls)
	},

	command({ dir, jars }) {
		return {
			file: java(),
			args: [...flags(dir), '-cp', `${jars}/*`, 'kafka.Kafka', join(dir, 'server.properties')],
		}
	},
}

function flags(dir) {
	return [...jvmFlags(dir), '-Xmx512m', `-Dlog4j.configuration=file:${join(dir, 'log4j.properties')}`]
}

function format(dir, jars, tls) {
	// An id may begin with a dash, hence the one-word form of the option below.
	const clusterId = randomBytes(16).toString('base64url')
	const args = [
		...jvmFlags(dir),
		'-Xmx128m',
		'-XX:TieredStopAtLevel=1',
		'-cp',
		`${jars}/*`,
		'kafka.tools.StorageTool',
		'format',
		`--cluster-id=${clusterId}`,
		'-c',
		join(dir, 'server.properties'),
		...(tls ? SCRAM.flatMap((mechanism) => ['--add-scram', scramAccount(mechanism)]) : []),
	]
	return new Promise((resolve, reject) => {
		const child = spawn(java(), args, { stdio: ['ignore', 'pipe', 'pipe'] })
		let output = ''
		child.stdout.on('data', (chunk) => (output += chunk))
		child.stderr.on('data', (chunk) => (output += chunk))
		child.on('error', (cause) =>
			reject(new Error('java could not be run; scripts/prerequisites names what is missing', { cause })),
		)
		child.on('close', (code, signal) => {
			if (code === 0) resolve()
			else reject(new Error(`Kafka's storage could not be formatted (${signal ?? `exit code ${code}`}):\n${output}`))
		})
	})
}

function serverProperties(data, { client, controller, secured }, tls) {
	const more = tls ? `,SASL_SSL://127.0.0.1:${secured}` : ''
	return `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${client},CONTROLLER://127.0.0.1:${controller}${more}
advertised.listeners=PLAINTEXT://127.0.0.1:${client}${more}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
log.dirs=${data}

auto.create.topics.enable=true
num.partitions=4
default.replication.factor=1
offsets.topic.num.partitions=5
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1

# A test waits for neither a full house nor a long session: a killed worker is noticed as fast as the client allows.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# A broker that was killed is let in again only after its old session has ended.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000

# The cleaner's default buffer is a quarter of the heap this broker is given.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
${tls ? securedProperties(tls) : ''}`
}

const SCRAM = ['SCRAM-SHA-256', 'SCRAM-SHA-512']
const MODULES = 'org.apache.kafka.common.security'

const scramAccount = (mechanism) => `${mechanism}=[name=${ACCOUNT.username},password=${ACCOUNT.password}]`

const securedProperties = ({ keystore }) => `
ssl.keystore.type=PKCS12
ssl.keystore.location=${keystore}
ssl.keystore.password=${KEYSTORE_PASSWORD}
ssl.key.password=${KEYSTORE_PASSWORD}
sasl.enabled.mechanisms=PLAIN,OAUTHBEARER,${SCRAM}
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=${MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.sasl_ssl.plain.sasl.jaas.config=${MODULES}.plain.PlainLoginModule required user_${ACCOUNT.username}="${ACCOUNT.password}";
${SCRAM.map((mechanism) => `listener.name.sasl_ssl.${mechanism.toLowerCase()}.sasl.jaas.config=${MODULES}.scram.ScramLoginModule required;`).join('\n')}
`

const LOG4J = `log4j.rootLogger=WARN, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{ISO8601} %p %c{1} %m%n
log4j.logger.kafka.server=INFO
log4j.logger.org.apache.kafka.coordinator.group=INFO
`
