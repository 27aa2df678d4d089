/** The hand-written types and the JavaScript they describe do not drift apart: compiled, never run. */
import * as declared from '@flowcraft/kafka-adapter'
import * as glue from '../../src/js/index.js'

type Public<T> = { [K in keyof T]: T[K] }

export const sameExports: [keyof typeof declared, keyof typeof glue] extends [keyof typeof glue, keyof typeof declared]
	? true
	: never = true

declare const options: declared.KafkaAdapterOptions
declare const contextOptions: declared.CassandraContextOptions
declare const reconcilerOptions: declared.KafkaReconcilerOptions

const adapter = new glue.KafkaAdapter(options)
export const asDeclaredAdapter: Public<declared.KafkaAdapter> = adapter
export const run: Promise<declared.RunHandle> = adapter.startRun('bp')
export const asDeclaredContext: Public<declared.CassandraContext> = new glue.CassandraContext('run', contextOptions)
export const asDeclaredStore: Public<declared.RedisCoordinationStore> = new glue.RedisCoordinationStore('redis://h')
export const stats: Promise<declared.ReconciliationStats> = glue.createKafkaReconciler(reconcilerOptions).run()
export const asDeclaredError: Public<declared.KafkaAdapterError> = new glue.KafkaAdapterError('ERR_OPTION', 'text')

declare const schemaOptions: declared.SchemaTables & declared.SchemaOptions
export const report: Promise<declared.SchemaReport> = glue.ensureSchema(schemaOptions)
export const statements: string[] = glue.schemaStatements(schemaOptions)
