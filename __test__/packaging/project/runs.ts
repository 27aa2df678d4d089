/** What the worker programs share: a workflow, twenty runs of it, and a report in the file that `REPORT` names. */
import type { KafkaAdapter, KafkaAdapterOptions } from '@flowcraft/kafka-adapter'
import { writeFileSync } from 'node:fs'

const RUNS = 20

export const setting = (name: string): string => {
	const value = process.env[name]
	if (!value) throw new Error(`${name} is not set`)
	return value
}

const blueprint = {
	id: 'greeting',
	nodes: [
		{ id: 'greet', uses: 'greet' },
		{ id: 'shout', uses: 'shout' },
		{ id: 'count', uses: 'count' },
		{ id: 'join', uses: 'join', inputs: { text: 'shout', letters: 'count' } },
	],
	edges: [
		{ source: 'greet', target: 'shout' },
		{ source: 'greet', target: 'count' },
		{ source: 'shout', target: 'join' },
		{ source: 'count', target: 'join' },
	],
}

export const runtimeOptions: KafkaAdapterOptions['runtimeOptions'] = {
	blueprints: { [blueprint.id]: blueprint },
	registry: {
		greet: async ({ context }) => ({ output: `Hello, ${await context.get('name')}` }),
		shout: async ({ input }) => ({ output: input.toUpperCase() }),
		count: async ({ input }) => ({ output: input.length }),
		join: async ({ input }) => ({ output: `${input.text} ${input.letters}` }),
	},
}

/** Begins, runs, stops and reports; whatever keeps the process alive after that is the adapter's. */
export async function work(adapter: KafkaAdapter): Promise<void> {
	await adapter.start()
	const names = Array.from({ length: RUNS }, (_, index) => `run ${index}`)
	const runs = await Promise.all(names.map((name) => adapter.startRun(blueprint.id, { name })))
	const results = await Promise.all(runs.map((run) => run.result({ timeoutMs: 60_000 })))
	await adapter.stop()
	const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] }
	const report = {
		results: results.map(({ status, payload }) => `${status}: ${payload?.context.join}`),
		addons: sharedObjects.filter((path) => path.endsWith('.node')),
		stoppedAt: Date.now(),
	}
	writeFileSync(setting('REPORT'), JSON.stringify(report))
}
