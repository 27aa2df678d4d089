/** `@flowcraft/kafka-adapter`: the exports of the JavaScript package, and the class of the errors. */
export { CassandraContext } from './cassandra-context.js'
export { KafkaAdapterError } from './errors.js'
export { KafkaAdapter } from './kafka-adapter.js'
export { createKafkaReconciler } from './reconciler.js'
export { RedisCoordinationStore } from './redis-coordination-store.js'
