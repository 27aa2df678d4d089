/** What the reconciler block of the package README takes from the block before it. */
declare const myKafkaAdapter: import('@flowcraft/kafka-adapter').KafkaAdapter
declare const myCassandraClient: import('cassandra-driver').Client
