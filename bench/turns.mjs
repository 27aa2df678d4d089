/**
 * One after the other in each round, and not always the same one first: the machine's speed drifts.
 *
 * @template T
 * @param {T[]} all
 * @param {number} rounds
 * @param {(one: T) => Promise<void>} work
 */
export async function inTurn(all, rounds, work) {
	for (let round = 0; round < rounds; round++) for (const one of round % 2 ? all.toReversed() : all) await work(one)
}
