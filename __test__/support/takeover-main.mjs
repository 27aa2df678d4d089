/**
 * Workers of npm's 1.4.4, one for each run and partition, that stop for good after so many calls to the services. In one
 * process: what they leave behind is what a killed process leaves, since nothing of a stopped one reaches the services any more. Driven by
 * messages of its parent, which kills it at the end.
 *
 * The messages come by a consumer of another group, and the parent commits the offsets that it is told: a member of the group itself
 * loses its place on a busy machine, or keeps it for long after its end.
 *
 * A call is a statement, a command of the coordination store, a message that is sent, or the end of a job before its offset is committed. To be
 * stopped after one that only reads is to be stopped before it, so those of a whole run that change something are told.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { FlowRuntime, NullLogger } from 'flowcraft'
import * as theirs from 'kafka-adapter-js'
import { openCluster } from './cluster.mjs'
import { blueprints, registryOf } from './takeover-flows.mjs'

const { topic, group, tables } = JSON.parse(process.argv[2])
const cluster = await openCluster()
const consumer = cluster.kafka.consumer({ groupId: `${group}-before` })
const never = () => new Promise(() => {})

/** @typedef {{ calls: number, changes: number[], cut: number, open: number, offset: number, stopped: boolean, handle: (message: any) => Promise<void> }} Life */
/** @type {Map<number, Life>} by partition */
const lives = new Map()

/** @param {Life} life @param {() => any} work @param {boolean} [changes] */
const counted = async (life, work, changes = true) => {
	if (life.calls >= life.cut) {
		life.stopped = true
		return never()
	}
	life.calls++
	if (changes) life.changes.push(life.calls)
	return work()
}

/** @param {string} name @param {any[]} args */
const isChange = (name, [query]) => (name === 'execute' ? !query.startsWith('SELECT') : name !== 'get')

/** @param {Life} life @param {any} target @param {string[]} names */
const counting = (life, target, names) =>
	Object.fromEntries(
		names.map((name) => [
			name,
			(/** @type {any[]} */ ...args) => counted(life, () => target[name](...args), isChange(name, args)),
		]),
	)

/** @param {{ partition: number, cut: number | null, open: number }} plan */
async function begin({ partition, cut, open }) {
	/** @type {Life} */
	const life = { calls: 0, changes: [], cut: cut ?? Infinity, open, offset: 0, stopped: false, handle: never }
	lives.set(partition, life)
	const send = (/** @type {any} */ batch) =>
		counted(life, async () => {
			life.open++
			return cluster.producer.send(batch)
		})
	const idle = async () => {}
	const kafka = {
		producer: () => ({ connect: idle, disconnect: idle, send }),
		consumer: () => ({
			connect: idle,
			disconnect: idle,
			subscribe: idle,
			run: async (/** @type {any} */ { eachMessage }) => void (life.handle = eachMessage),
		}),
	}
	const store = new theirs.RedisCoordinationStore(cluster.redis)
	const runtime = new FlowRuntime({ blueprints, registry: registryOf('left'), logger: new NullLogger() })
	const adapter = new theirs.KafkaAdapter(
		/** @type {any} */ ({
			kafka,
			cassandraClient: counting(life, cluster.cassandra, ['execute']),
			coordinationStore: counting(life, store, ['increment', 'setIfNotExist', 'delete', 'extendTTL', 'get']),
			topicName: topic,
			groupId: group,
			keyspace: tables.keyspace,
			contextTableName: tables.contexts,
			statusTableName: tables.statuses,
			runtimeOptions: runtime.options,
		}),
	)
	adapter.logger = new NullLogger()
	await adapter.start()
}

/** @type {Map<number, Promise<void>>} The jobs of a partition, one after the other. */
const queues = new Map()
/** @type {Map<number, number>} Offset of the next message, by partition: what is fetched again is not a message of its own. */
const next = new Map()

/** @param {import('kafkajs').EachMessagePayload} payload */
async function handle({ partition, message }) {
	const life = /** @type {Life} */ (lives.get(partition))
	await life.handle({ topic, partition, message })
	await counted(life, async () => {})
	life.offset = Number(message.offset) + 1
	life.open--
}

await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
consumer.on(consumer.events.GROUP_JOIN, () => process.send?.({ type: 'joined' }))
await consumer.run({
	autoCommit: false,
	partitionsConsumedConcurrently: 8,
	// A stopped worker must not keep the member from fetching for the others.
	eachMessage: async (payload) => {
		const { partition, message } = payload
		if (Number(message.offset) < (next.get(partition) ?? 0)) return
		next.set(partition, Number(message.offset) + 1)
		const before = queues.get(partition) ?? Promise.resolve()
		queues.set(
			partition,
			before.then(() => handle(payload)),
		)
	},
})

process.on('message', async (/** @type {any} */ { plans }) => {
	for (const plan of plans) await begin(plan)
	process.send?.({ type: 'ready' })
	const mine = plans.map((/** @type {any} */ { partition }) => /** @type {Life} */ (lives.get(partition)))
	while (!mine.every((/** @type {Life} */ { stopped, open }) => stopped || open <= 0)) await sleep(20)
	process.send?.({
		type: 'quiet',
		left: mine.map((/** @type {Life} */ { changes, offset, open }) => ({ changes, offset, open })),
	})
})
process.on('disconnect', () => process.exit(3))
