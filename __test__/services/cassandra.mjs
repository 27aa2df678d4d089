import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { java, jvmFlags } from './java.mjs'
import { probeCassandra } from './probe.mjs'
import { KEYSTORE_PASSWORD } from './tls.mjs'

/** @type {import('./service.mjs').Recipe} */
export const cassandra = {
	name: 'cassandra',
	jars: true,
	ports: ['client', 'storage'],
	startTimeoutMs: 150_000,
	stopTimeoutMs: 20_000,
	probe: probeCassandra,

	async prepare({ dir, ports, tls }) {
		await writeFile(join(dir, 'cassandra.yaml'), cassandraYaml(join(dir, 'data'), ports, tls))
		await writeFile(join(dir, 'logback.xml'), LOGBACK)
	},

	command({ dir, jars }) {
		return {
			file: java(),
			args: [
				...jvmFlags(dir),
				'-Xms512m',
				'-Xmx1g',
				...MODULE_FLAGS,
				'-Djdk.attach.allowAttachSelf=true',
				'-Dio.netty.tryReflectionSetAccessible=true',
				`-Dcassandra.config=file://${join(dir, 'cassandra.yaml')}`,
				`-Dcassandra.storagedir=${join(dir, 'data')}`,
				`-Dlogback.configurationFile=file://${join(dir, 'logback.xml')}`,
				// One node has nobody to wait for.
				'-Dcassandra.skip_wait_for_gossip_to_settle=0',
				'-Dcassandra.ring_delay_ms=100',
				// The default account is there at once, where accounts are asked for.
				'-Dcassandra.superuser_setup_delay_ms=0',
				'-cp',
				`${dir}:${jars}/*`,
				'org.apache.cassandra.service.CassandraDaemon',
			],
		}
	},
}

const PARTITIONER = 'org.apache.cassandra.dht.Murmur3Partitioner'

function cassandraYaml(data, { client, storage }, tls) {
	return `cluster_name: flowcraft-kafka-adapter-test
num_tokens: 1
partitioner: ${PARTITIONER}
data_file_directories: ['${data}/data']
commitlog_directory: '${data}/commitlog'
saved_caches_directory: '${data}/saved_caches'
hints_directory: '${data}/hints'
cdc_raw_directory: '${data}/cdc_raw'
commitlog_sync: periodic
commitlog_sync_period: 10000ms
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: '127.0.0.1:${storage}'
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
start_native_transport: true
native_transport_port: ${client}
storage_port: ${storage}
endpoint_snitch: SimpleSnitch
authenticator: ${tls ? 'PasswordAuthenticator' : 'AllowAllAuthenticator'}
authorizer: AllowAllAuthorizer
${tls ? securedYaml(tls) : ''}# Tests drop what they create: no snapshot of it is kept.
auto_snapshot: false
# Two cores carry the tests, the JVMs and the builds at once; a slow answer is not the subject of a test here.
read_request_timeout: 15000ms
write_request_timeout: 15000ms
request_timeout: 20000ms
# Small caches and buffers, for a heap of one gigabyte.
memtable_heap_space: 128MiB
memtable_offheap_space: 128MiB
commitlog_total_space: 256MiB
key_cache_size: 16MiB
file_cache_size: 64MiB
`
}

// Optional: the probe asks without.
const securedYaml = ({ keystore }) => `client_encryption_options:
  enabled: true
  optional: true
  keystore: ${keystore}
  keystore_password: ${KEYSTORE_PASSWORD}
  store_type: PKCS12
`

const LOGBACK = `<configuration>
	<appender name="stdout" class="ch.qos.logback.core.ConsoleAppender">
		<encoder><pattern>%d{ISO8601} %-5level %logger{0} %msg%n</pattern></encoder>
	</appender>
	<root level="INFO"><appender-ref ref="stdout"/></root>
</configuration>
`

// What Cassandra's own jvm17-server.options opens.
const MODULE_FLAGS = [
	...[
		'java.base/jdk.internal.misc',
		'java.management.rmi/com.sun.jmx.remote.internal.rmi',
		'java.rmi/sun.rmi.registry',
		'java.rmi/sun.rmi.server',
		'java.rmi/sun.rmi.transport.tcp',
		'java.sql/java.sql',
		'java.base/java.lang.ref',
		'jdk.unsupported/sun.misc',
	].map((name) => `--add-exports=${name}=ALL-UNNAMED`),
	...[
		'java.base/java.lang.module',
		'java.base/jdk.internal.loader',
		'java.base/jdk.internal.ref',
		'java.base/jdk.internal.reflect',
		'java.base/jdk.internal.math',
		'java.base/jdk.internal.module',
		'java.base/jdk.internal.util.jar',
		'java.base/sun.nio.ch',
		'java.base/java.io',
		'java.base/java.nio',
		'java.base/java.util',
		'java.base/java.util.concurrent',
		'java.base/java.util.concurrent.atomic',
		'java.base/java.lang',
		'java.base/java.lang.reflect',
		'java.rmi/sun.rmi.transport.tcp',
		'jdk.management/com.sun.management.internal',
	].map((name) => `--add-opens=${name}=ALL-UNNAMED`),
]
