/** The mocks of the JavaScript package's own tests, with a memory. */

/** @returns a logger whose lines are `[level, text]`, or `[level, text, meta]` */
export const memoryLogger = () => {
	const lines = []
	const log =
		(level) =>
		(...args) =>
			lines.push([level, ...args])
	return { lines, debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
}

/** A kafkajs of which every call is written down; `failing` names calls that reject. */
export const memoryKafka = ({ failing = {} } = {}) => {
	const calls = []
	const call = (name, answer) =>
		async function (...args) {
			calls.push([name, ...args.filter((arg) => typeof arg?.eachMessage !== 'function')])
			if (failing[name]) throw failing[name]
			answer?.(...args)
		}
	const kafka = {
		calls,
		/** Hands a message to the consumer that is running. */
		deliver: undefined,
		producer: (...args) => {
			calls.push(['producer', ...args])
			return {
				connect: call('producer.connect'),
				send: call('producer.send'),
				disconnect: call('producer.disconnect'),
			}
		},
		consumer: (...args) => {
			calls.push(['consumer', ...args])
			return {
				connect: call('consumer.connect'),
				subscribe: call('consumer.subscribe'),
				disconnect: call('consumer.disconnect'),
				run: call('consumer.run', ({ partitionsConsumedConcurrently, eachMessage }) => {
					calls.push(['concurrency', partitionsConsumedConcurrently])
					kafka.deliver = (value, partition = 0) =>
						eachMessage({ topic: 'jobs', partition, message: { value: value === null ? null : Buffer.from(value) } })
				}),
			}
		},
	}
	return kafka
}

/** A Cassandra client with one document per run; `status` scripts the answers to status statements. */
export const memoryCassandra = ({ rows = {}, applied = true, failing } = {}) => {
	const calls = []
	const execute = async (query, params, options) => {
		calls.push([query, params, options])
		if (failing) throw failing
		if (query.startsWith('SELECT context_data')) {
			const has = Object.hasOwn(rows, params[0])
			return {
				first: () => (has ? { get: (column) => (column === 'context_data' ? rows[params[0]] : undefined) } : null),
			}
		}
		if (query.includes('context_data')) rows[params[0]] = params[1]
		return { wasApplied: () => applied }
	}
	return { calls, rows, execute }
}

/** A coordination store in memory. */
export const memoryStore = (entries = {}) => {
	const calls = []
	const keys = new Map(Object.entries(entries))
	return {
		calls,
		keys,
		async increment(key, ttl) {
			calls.push(['increment', key, ttl])
			keys.set(key, Number(keys.get(key) ?? 0) + 1)
			return keys.get(key)
		},
		async setIfNotExist(key, value, ttl) {
			calls.push(['setIfNotExist', key, value, ttl])
			if (keys.has(key)) return false
			keys.set(key, value)
			return true
		},
		async delete(key) {
			keys.delete(key)
		},
		async extendTTL(key) {
			return keys.has(key)
		},
		async get(key) {
			return keys.get(key)
		},
	}
}

/** A Redis client with scripted replies. */
export const scriptedRedis = (replies) => {
	const calls = []
	const answer =
		(name) =>
		async (...args) => {
			calls.push([name, ...args])
			return replies[name]
		}
	const pipeline = () => {
		const chain = {
			incr: (...args) => (calls.push(['incr', ...args]), chain),
			expire: (...args) => (calls.push(['pipeline expire', ...args]), chain),
			exec: answer('exec'),
		}
		return chain
	}
	return { calls, pipeline, set: answer('set'), del: answer('del'), expire: answer('expire'), get: answer('get') }
}

/** What an operation came to: its value, or its error. */
export const outcome = async (work) => {
	try {
		return { value: await work() }
	} catch (error) {
		return { error: error.message }
	}
}

/** What `console.error` got while `work` ran. */
export const consoleErrors = async (work) => {
	const original = console.error
	const lines = []
	console.error = (...args) => lines.push(args.map((arg) => (arg instanceof Error ? `Error: ${arg.message}` : arg)))
	try {
		await work()
	} finally {
		console.error = original
	}
	return lines
}
