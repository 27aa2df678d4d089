/** `@flowcraft/kafka-adapter`: the exports of the JavaScript package, the class of the errors, and the schema. */
export { CassandraContext } from './cassandra-context.js'
export { KafkaAdapterError } from './errors.js'
export { KafkaAdapter } from './kafka-adapter.js'
export { migrateContexts } from './migrate/migrate-contexts.js'
export { createKafkaReconciler } from './reconciler.js'
export { sweepRuns } from './retention/sweep-runs.js'
export { RedisCoordinationStore } from './redis-coordination-store.js'
export { ensureSchema, schemaStatements } from './schema.js'
