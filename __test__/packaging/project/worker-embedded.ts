import { KafkaAdapter } from '@flowcraft/kafka-adapter'
import { runtimeOptions, work } from './runs.js'

await work(new KafkaAdapter({ backend: 'embedded', runtimeOptions }))
