/**
 * What worker and client share: the workflow, and the functions behind its nodes.
 *
 *   greet --+--> shout --+--> join
 *           +--> count --+
 */

/** The graph is plain data: node ids, the function each one uses, and the edges between them. */
export const blueprint = {
	id: 'greeting',
	// A run goes on with the version that it began with; a worker that has another one parks it (see Tables), until it has that.
	metadata: { version: '1' },
	nodes: [
		{ id: 'greet', uses: 'greet' },
		{ id: 'shout', uses: 'shout' },
		{ id: 'count', uses: 'count' },
		// A node with several predecessors waits for all of them; `inputs` names what it gets of each.
		{ id: 'join', uses: 'join', inputs: { text: 'shout', letters: 'count' } },
	],
	edges: [
		{ source: 'greet', target: 'shout' },
		{ source: 'greet', target: 'count' },
		{ source: 'shout', target: 'join' },
		{ source: 'count', target: 'join' },
	],
}

/** A node gets the output of its predecessor as `input`, and the state of its run as `context`. */
export const agentNodeRegistry = {
	greet: async ({ context }) => ({ output: `Hello, ${await context.get('name')}!` }),
	shout: async ({ input }) => ({ output: input.toUpperCase() }),
	count: async ({ input }) => ({ output: input.length }),
	join: async ({ input }) => ({ output: `${input.text} (${input.letters} characters)` }),
}

export const blueprints = { [blueprint.id]: blueprint }

/** What a run starts with, unless the client says otherwise. */
export const initialContext = { name: 'world' }

/** Names of what the programs share on the services. */
export const names = {
	topicName: process.env.FLOWCRAFT_TOPIC ?? 'flowcraft-jobs',
	groupId: process.env.FLOWCRAFT_GROUP ?? 'flowcraft-worker-group',
	keyspace: process.env.FLOWCRAFT_KEYSPACE ?? 'flowcraft_ks',
	contextTableName: 'contexts',
	statusTableName: 'statuses',
}
