/**
 * Faults of the kernel, by the names of `src/kernel/mutant.rs`, and the test that has to fail for each.
 *
 * @typedef {object} KernelMutant
 * @property {string} name
 * @property {string} guarantee
 * @property {string} test its path below `kernel::`
 */

const machine = (/** @type {string} */ test) => `machine::tests::${test}`
const SCHEDULES = machine('g1_g5_every_run_ends_once_under_any_schedule')
const CRASHES = machine('g2_crashes_at_any_point_lose_nothing')

/** @type {KernelMutant[]} */
export const KERNEL = [
	{ name: 'repeats-are-new', guarantee: 'G1', test: 'ledger::tests::g5_never_commits_over_an_incomplete_offset' },
	{ name: 'commit-over-gap', guarantee: 'G5', test: 'ledger::tests::g5_never_commits_over_an_incomplete_offset' },
	{ name: 'record-before-write', guarantee: 'G2', test: CRASHES },
	{ name: 'publish-before-write', guarantee: 'G2, G4', test: CRASHES },
	{ name: 'start-before-write', guarantee: 'G2', test: SCHEDULES },
	{ name: 'send-before-write', guarantee: 'G2', test: SCHEDULES },
	{ name: 'writes-overlap', guarantee: 'G2', test: SCHEDULES },
	{ name: 'forget-anchors', guarantee: 'G5', test: machine('local_dispatch_keeps_an_anchor_until_the_end') },
	{ name: 'ignore-window', guarantee: 'G8', test: CRASHES },
	{
		name: 'clock-goes-back',
		guarantee: 'G4, G8',
		test: 'timestamps::tests::always_grows_even_when_the_clock_stands_or_goes_back',
	},
	{ name: 'forget-commands', guarantee: 'row 53', test: SCHEDULES },
	{
		name: 'commands-queue',
		guarantee: 'row 55',
		test: machine('serial_mode_gives_commands_to_the_run_in_work_and_to_runs_behind_it_at_once'),
	},
	{
		name: 'foreign-overwrites',
		guarantee: 'G1',
		test: 'machine::merge_tests::a_foreign_write_is_merged_by_key_and_our_own_changes_win',
	},
	{ name: 'drop-joined-timers', guarantee: 'row 50', test: SCHEDULES },
	{ name: 'close-at-drain', guarantee: 'G7, G8', test: SCHEDULES },
	{
		name: 'never-poisonous',
		guarantee: 'G6',
		test: 'machine::openings::tests::a_run_that_was_opened_too_often_fails_and_is_buried',
	},
	{
		name: 'start-deleted',
		guarantee: 'G1',
		test: 'machine::expiry::tests::an_old_message_of_a_run_that_is_gone_goes_to_the_dead_letters_and_completes',
	},
	{
		name: 'young-at-home',
		guarantee: 'G1',
		test: 'machine::expiry::tests::a_message_that_moves_home_keeps_its_age',
	},
	{
		name: 'delete-what-goes-on',
		guarantee: 'G4',
		test: 'retention::tests::a_run_is_deleted_whole_or_not_at_all',
	},
	{
		name: 'take-held-lease',
		guarantee: 'G8',
		test: 'lease::tests::a_lease_is_free_once_given_back_or_over_and_not_while_somebody_renews_it',
	},
]
