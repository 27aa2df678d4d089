/** The module that worker and clients share in the public guide: a blueprint, its nodes, and what runs begin with. */

export const initialContext = { words: ['to', 'be', 'or', 'not'], suffix: '!' }

export const registry = {
	count: async ({ context }) => ({ output: (await context.get('words')).length }),
	join: async ({ context }) => ({ output: (await context.get('words')).join(' ') }),
	summarise: async ({ input, context }) => ({ output: `${input.text}${await context.get('suffix')} (${input.count})` }),
}

export const blueprint = {
	id: 'guide-workflow',
	nodes: [
		{ id: 'count', uses: 'count' },
		{ id: 'join', uses: 'join' },
		{ id: 'summarise', uses: 'summarise', inputs: { count: 'count', text: 'join' } },
	],
	edges: [
		{ source: 'count', target: 'summarise' },
		{ source: 'join', target: 'summarise' },
	],
}

/** As the guide's worker imports them. */
export const agentNodeRegistry = registry
export const blueprints = { [blueprint.id]: blueprint }
