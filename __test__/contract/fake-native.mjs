/** A native module that does nothing but record: for tests of the JavaScript side. */

export class FakeWorker {
	/** @type {FakeWorker[]} */
	static made = []

	calls = []
	replies = new Map()

	constructor(configJson, onBatch) {
		this.config = JSON.parse(configJson)
		this.onBatch = onBatch
		FakeWorker.made.push(this)
	}

	/** What the test wants the next `start()` to answer. */
	static startOutcome = async () => undefined

	start() {
		this.calls.push(['start'])
		return FakeWorker.startOutcome(this)
	}

	async stop(deadlineMs) {
		this.calls.push(['stop', deadlineMs])
		return '{}'
	}

	versions() {}

	health() {
		return '{"state":"running"}'
	}

	async enqueue(...job) {
		this.calls.push(['enqueue', ...job])
	}

	async submit(...job) {
		this.calls.push(['submit', ...job])
	}

	opened() {}
	refuse() {}
	step() {}

	reply(id, error, result) {
		this.replies.get(id)?.({ error, result: result === null ? undefined : JSON.parse(result) })
	}

	/** Asks JavaScript as the engine does (kind 7). */
	request(op, args = {}) {
		const id = this.replies.size + 1
		return new Promise((resolve) => {
			this.replies.set(id, resolve)
			this.onBatch([[7, id, op, JSON.stringify(args)]])
		})
	}
}

export class FakeCassandra {
	static rows = new Map()
	static connections = []
	static calls = []

	static async connect(settingsJson) {
		const connection = new FakeCassandra()
		connection.settings = JSON.parse(settingsJson)
		FakeCassandra.connections.push(connection)
		return connection
	}

	static schemaStatements() {
		return []
	}

	async ensureSchema(planJson) {
		const plan = JSON.parse(planJson)
		FakeCassandra.calls.push(['ensureSchema', plan])
		return JSON.stringify({ layout: plan.layout, statements: [] })
	}

	async hasEntries() {
		return false
	}

	async readContext(table, runId) {
		return FakeCassandra.rows.get(`${table}/${runId}`) ?? null
	}

	async writeContext(table, runId, text) {
		FakeCassandra.rows.set(`${table}/${runId}`, text)
	}

	async touchStatus(...args) {
		FakeCassandra.calls.push(['touchStatus', ...args])
	}

	async sent() {}

	async hasIndex() {
		return false
	}

	async publishStatus(...args) {
		FakeCassandra.calls.push(['publishStatus', ...args])
		const [table, runId, status, statusData] = args
		FakeCassandra.rows.set(`status/${table}/${runId}`, JSON.stringify({ status, statusData }))
	}

	async readStatus(table, runId) {
		return FakeCassandra.rows.get(`status/${table}/${runId}`) ?? null
	}

	static pages = [{ runs: [], next: null }]

	async stalledPage(...args) {
		FakeCassandra.calls.push(['stalledPage', ...args])
		return FakeCassandra.pages[Number(args[3] ?? 0)]
	}

	async close() {}
}

export class FakeRedis {
	static keys = new Map()
	static connections = []

	static async connect(settingsJson) {
		const connection = new FakeRedis()
		connection.settings = JSON.parse(settingsJson)
		FakeRedis.connections.push(connection)
		return connection
	}

	async increment(key) {
		const count = Number(FakeRedis.keys.get(key) ?? 0) + 1
		FakeRedis.keys.set(key, String(count))
		return count
	}

	async setIfNotExist(key, value) {
		if (FakeRedis.keys.has(key)) return false
		FakeRedis.keys.set(key, value)
		return true
	}

	async delete(key) {
		FakeRedis.keys.delete(key)
	}

	async extendTtl(key) {
		return FakeRedis.keys.has(key)
	}

	async get(key) {
		return FakeRedis.keys.get(key) ?? null
	}

	async close() {}
}

export const fakeNative = { NativeWorker: FakeWorker, NativeCassandra: FakeCassandra, NativeRedis: FakeRedis }

export const resetFakes = () => {
	FakeWorker.made = []
	FakeWorker.startOutcome = async () => undefined
	FakeCassandra.rows = new Map()
	FakeCassandra.connections = []
	FakeCassandra.calls = []
	FakeCassandra.pages = [{ runs: [], next: null }]
	FakeRedis.keys = new Map()
	FakeRedis.connections = []
}
