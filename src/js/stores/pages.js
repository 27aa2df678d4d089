/** Pages of run ids, one after the other. */

/** @typedef {{ runs: string[], next: string | null }} RunPage `next`: where the page after it begins */

/**
 * @param {(page: string | null) => Promise<RunPage>} ask
 * @returns {AsyncGenerator<string[]>}
 */
export async function* pagesOf(ask) {
	/** @type {string | null} */
	let page = null
	do {
		/** @type {RunPage} */
		const { runs, next } = await ask(page)
		yield runs
		page = next
	} while (page)
}
