import type { NodeFunction, WorkflowBlueprint } from 'flowcraft'

export const agentNodeRegistry: Record<string, NodeFunction> = { hello: async () => ({ output: 'hello' }) }
export const blueprints: Record<string, WorkflowBlueprint> = {
	greeting: { id: 'greeting', nodes: [{ id: 'a', uses: 'hello' }], edges: [] },
}
