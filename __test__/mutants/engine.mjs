/**
 * Faults of the engine and of the backends, by the names of `src/kernel/mutant.rs`, and the test that has to fail for each.
 * Without a suite it is a test of Rust; what lies below `unit/` needs no services.
 *
 * @typedef {object} EngineMutant
 * @property {string} name
 * @property {string} guarantee
 * @property {string} [suite] the test file
 * @property {string} [source] the file of a test of Rust that does not stand where its path says
 * @property {string} test the name of the test, or how it begins
 */

const UNIT = '__test__/unit/engine.test.mjs'
const LEASES = '__test__/integration/leases.test.mjs'
const LEASE_HELD = 'D3: a lease is held while a worker runs, and given back for the next one'

/** @type {EngineMutant[]} */
export const ENGINE = [
	{
		name: 'revoke-at-once',
		guarantee: 'G8',
		suite: UNIT,
		test: 'G8: a partition moves when the nodes that run on it have ended and are recorded, not before',
	},
	{
		name: 'stop-at-once',
		guarantee: 'G7',
		suite: UNIT,
		test: 'G7: stop() waits for a node that runs, and what it returns is recorded',
	},
	{
		name: 'commit-once',
		guarantee: 'G5',
		source: '__test__/rust/engine_commits.rs',
		test: 'engine_commits::g5_a_commit_that_fails_is_made_again_though_the_partition_is_at_rest',
	},
	{
		name: 'group-is-written',
		guarantee: 'G2',
		source: '__test__/rust/engine_writes.rs',
		test: 'engine_writes::g6_what_a_store_refuses_of_a_group_is_the_business_of_one_run',
	},
	{ name: 'send-once', guarantee: 'G10', suite: UNIT, test: 'G10: a job that could not be sent is sent again' },
	{
		name: 'persist-once',
		guarantee: 'G10',
		suite: UNIT,
		test: 'G10: a step that could not be written is written again',
	},
	{
		name: 'publish-once',
		guarantee: 'G4',
		suite: UNIT,
		test: 'G4: an outcome whose row could not be written is written again',
	},
	{ name: 'never-renew', guarantee: 'G8', suite: LEASES, test: LEASE_HELD },
	{ name: 'keep-leases', guarantee: 'G8', suite: LEASES, test: LEASE_HELD },
	{
		name: 'deaf-to-stalls',
		guarantee: 'G6',
		suite: '__test__/e2e/hardship.test.mjs',
		test: 'loses its partitions within maxStallMs, is red meanwhile, and works again afterwards',
	},
	{
		name: 'write-now',
		guarantee: 'G8',
		suite: LEASES,
		test: 'G8: writes go above all that the owner before may still send, and what it sends loses',
	},
	{
		name: 'start-uncommitted',
		guarantee: 'G5',
		suite: '__test__/integration/kafka-settings.test.mjs',
		test: 'D4: a partition without a committed position gets one before it is read',
	},
]

/** @param {EngineMutant} mutant */
export const needsServices = ({ suite }) => suite !== undefined && !suite.startsWith('__test__/unit/')
