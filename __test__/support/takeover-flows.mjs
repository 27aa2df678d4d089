/** Runs that workers of 1.4.4 begin and these end (G12). Each body says what it did to `ran`, a function. */

const ROUNDS = 3
const node = (/** @type {string} */ id, uses = 'pass', /** @type {any} */ more = {}) => ({ id, uses, ...more })
const edge = (/** @type {string} */ path, /** @type {any} */ more = {}) => ({
	source: path.split('>')[0],
	target: path.split('>')[1],
	...more,
})
const any = { config: { joinStrategy: 'any' } }

/** @type {Record<string, any>} */
export const blueprints = Object.fromEntries(
	[
		{ id: 'chain', nodes: [node('a'), node('b'), node('c')], edges: [edge('a>b'), edge('b>c')] },
		{
			id: 'diamond',
			nodes: [node('a'), node('b'), node('c'), node('d')],
			edges: [edge('a>b'), edge('a>c'), edge('b>d'), edge('c>d')],
		},
		{
			id: 'branch',
			nodes: [node('a'), node('r', 'route'), node('left'), node('left2'), node('right'), node('right2')],
			edges: [
				edge('a>r'),
				edge('r>left', { action: 'left' }),
				edge('r>right', { action: 'right' }),
				edge('left>left2'),
				edge('right>right2'),
			],
		},
		{
			id: 'any',
			nodes: [node('a'), node('b'), node('c'), node('j', 'pass', any), node('z')],
			edges: [edge('a>b'), edge('a>c'), edge('b>j'), edge('c>j'), edge('j>z')],
		},
		{
			id: 'loop',
			nodes: [
				node('a'),
				node('ctl', 'loop-controller', { ...any, params: { condition: 'again' } }),
				node('body', 'body'),
				node('more'),
				node('z'),
			],
			edges: [
				edge('a>ctl'),
				edge('ctl>body', { action: 'continue' }),
				edge('body>more'),
				edge('more>ctl'),
				edge('ctl>z', { action: 'break' }),
			],
		},
	].map((one) => [one.id, one]),
)

/**
 * @param {'left' | 'right'} side where `route` goes
 * @param {(runId: string, nodeId: string) => void} [ran]
 */
export const registryOf = (side, ran = () => {}) => {
	const body = (/** @type {(context: any) => any} */ work) => async (/** @type {any} */ context) => {
		const result = await work(context)
		ran(context.dependencies.runtime.executionId, context.params.id)
		return result
	}
	return {
		pass: body(async ({ input }) => ({ output: input ?? 'begun' })),
		route: body(async () => ({ output: 'routed', action: side })),
		body: body(async ({ context }) => {
			const rounds = ((await context.get('rounds')) ?? 0) + 1
			await context.set('rounds', rounds)
			await context.set('again', rounds < ROUNDS)
			return { output: rounds }
		}),
	}
}

for (const { nodes } of Object.values(blueprints)) {
	for (const one of nodes) one.params = { ...one.params, id: one.id }
}

export { ROUNDS }
