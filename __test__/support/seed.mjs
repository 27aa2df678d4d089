/**
 * Which random blueprints a test takes: always the same ones, so that a red test is one that the change has made red.
 * `SEED=random` or `SEED=<n>` looks further, as `npm run test:long` does by the hour.
 */
const { SEED } = process.env

export const seed = SEED === 'random' ? Math.floor(Math.random() * 2 ** 31) : Number(SEED ?? 20251122)
if (!Number.isInteger(seed)) throw new Error(`SEED is "${SEED}": it has to be an integer or "random"`)
