/** A node whose attempts all fail but the last one, whichever process makes it. */

/** @param {(what: string, run: string, node: string) => void} journal @param {{ maxRetries: number, retryDelay: number }} config */
export const flows = (journal, config) => ({
	blueprints: { flaky: { id: 'flaky', nodes: [{ id: 'a', uses: 'flaky', config }], edges: [] } },
	registry: {
		flaky: async (/** @type {any} */ { dependencies }) => {
			const { workflowState, runtime } = dependencies
			journal('begin', runtime.executionId, 'a')
			if (workflowState.isLastAttempt === false) throw new Error('not the last one')
			return { output: 'done' }
		},
	},
})
