//! Runs that may be the death of their owners (G6).
//!
//! Counted, in the coordination store, are openings of runs whose message lay in the log when its partition was
//! assigned: they may have been in work in a process that died. The count goes when the run records something, or is
//! closed in order. What comes in while a worker runs is not counted, so a steady state costs nothing.
//!
//! A process takes all its runs with it, so that a poisonous run makes innocent ones look like itself. From the second
//! unclean opening on they are opened few at a time, twice as many whenever one has proven harmless, and for the last
//! opening before the verdict no other counted run is open.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{Action, Anchor, Machine, Now, Phase};
use crate::kernel::error::Code;
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::time::Moment;

/// Openings from which on a run is suspected. One is what every run in work has after any crash.
const SUSPICIOUS: u32 = 2;
/// A run that has been open for so long, with the process alive, is harmless.
const HARMLESS_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Backlog {
    epoch: u64,
    // Messages below this offset were there before us.
    end: i64,
    // How many runs may still be counted: no owner had more of them in work.
    left: usize,
}

#[derive(Debug)]
struct Counted {
    run: String,
    since: Moment,
    suspect: bool,
    // One more unclean opening, and it is buried.
    last: bool,
}

#[derive(Debug)]
pub(super) struct Openings {
    backlogs: HashMap<i32, Backlog>,
    // Open runs whose opening stands in the coordination store.
    counted: HashMap<u32, Counted>,
    // Runs that wait for their turn, and their openings so far.
    waiting: VecDeque<(u32, u32)>,
    suspects_at_once: usize,
}

impl Default for Openings {
    fn default() -> Self {
        Self { backlogs: HashMap::new(), counted: HashMap::new(), waiting: VecDeque::new(), suspects_at_once: 1 }
    }
}

impl Openings {
    fn admits(&self, openings: u32, limit: u32) -> bool {
        if self.counted.values().any(|counted| counted.last) {
            return false;
        }
        if is_last(openings, limit) {
            return self.counted.is_empty();
        }
        openings < SUSPICIOUS || self.counted.values().filter(|counted| counted.suspect).count() < self.suspects_at_once
    }
}

fn is_last(openings: u32, limit: u32) -> bool {
    openings.saturating_add(1) >= limit
}

impl Machine {
    /// The assignment of a partition that waits for its lease.
    #[must_use]
    pub fn leasing(&self, partition: i32) -> Option<u64> {
        self.partitions.get(&partition).filter(|p| p.state == super::PartitionState::Leasing).map(|p| p.epoch)
    }

    /// The end of a partition's log as its lease was granted, `None` where nobody can tell. Answers whether the
    /// assignment is still that one.
    pub fn backlog(&mut self, partition: i32, epoch: u64, end: Option<i64>) -> bool {
        if self.leasing(partition) != Some(epoch) {
            return false;
        }
        self.openings.backlogs.insert(partition, Backlog { epoch, end: end.unwrap_or(0), left: self.config.max_loaded_runs });
        true
    }

    // Whether an earlier owner may have had this run in work.
    pub(super) fn is_backlog(&mut self, handle: u32) -> bool {
        if self.config.poison_openings.is_none() {
            return false;
        }
        let Some(run) = self.runs.get(&handle) else { return false };
        let Some(backlog) = self.openings.backlogs.get_mut(&run.partition).filter(|backlog| backlog.left > 0) else { return false };
        let old = |anchor: Anchor| matches!(anchor, Anchor::Log { epoch, offset, .. } if epoch == backlog.epoch && offset < backlog.end);
        let found = run.waiting.iter().any(|message| old(message.anchor));
        backlog.left -= usize::from(found);
        found
    }

    /// How often a run of the backlog was opened without recording anything since.
    pub fn examined(&mut self, handle: u32, openings: u32, now: Now) {
        let Some(limit) = self.config.poison_openings else { return };
        let Some(run) = self.runs.get_mut(&handle).filter(|run| run.phase == Phase::Loading) else { return };
        if openings >= limit && !mutant(Mutant::NeverPoisonous) {
            let reason = format!(
                "its owners died {openings} times without recording a step of it (poisonOpenings). Find out which node ends the process, then replay the dead letter"
            );
            // A replay of its dead letter begins from zero.
            let counted = Counted { run: run.id.clone(), since: now.moment, suspect: false, last: false };
            self.openings.counted.insert(handle, counted);
            return self.refuse(handle, Code::RunPoison.as_str(), reason, Some("failed".into()), now);
        }
        run.phase = Phase::Waiting;
        self.loaded -= 1;
        self.openings.waiting.push_back((handle, openings));
        self.open_examined(now);
        self.pump();
    }

    /// Time passed: what has lived long enough is harmless, others get their turn.
    pub(super) fn open_examined(&mut self, now: Now) {
        let Some(limit) = self.config.poison_openings else { return };
        let harmless = |counted: &Counted| now.moment.since(counted.since) >= HARMLESS_AFTER;
        let proven: Vec<u32> = self.openings.counted.iter().filter(|(_, counted)| harmless(counted)).map(|(handle, _)| *handle).collect();
        proven.into_iter().for_each(|handle| self.absolve(handle));
        while self.has_room() {
            let admitted = self.openings.waiting.iter().position(|(_, openings)| self.openings.admits(*openings, limit));
            let Some((handle, openings)) = admitted.and_then(|at| self.openings.waiting.remove(at)) else { return };
            let Some(run) = self.begin_load(handle) else { continue };
            let (suspect, last) = (openings >= SUSPICIOUS, is_last(openings, limit));
            self.openings.counted.insert(handle, Counted { run: run.clone(), since: now.moment, suspect, last });
            self.actions.push(Action::LoadCounted { handle, run });
        }
    }

    // The run recorded something, lived long enough, or is closed in order.
    pub(super) fn absolve(&mut self, handle: u32) {
        let Some(counted) = self.openings.counted.remove(&handle) else { return };
        if counted.suspect {
            self.openings.suspects_at_once = (self.openings.suspects_at_once * 2).min(self.config.max_loaded_runs.max(1));
        }
        self.actions.push(Action::Absolve { run: counted.run });
    }

    // A run was closed; whether it waited for its turn does not matter any more.
    pub(super) fn forget_opening(&mut self, handle: u32) {
        self.absolve(handle);
        self.openings.waiting.retain(|(waiting, _)| *waiting != handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::effects::OutboundJob;
    use crate::kernel::effects::RawMessage;
    use crate::kernel::job;
    use crate::kernel::machine::{Config, Step};

    const LIMIT: u32 = 4;

    // One life of a worker with `runs` in its backlog, each opened `before` times.
    struct Life(Machine, Now);

    impl Life {
        fn begin(runs: i64, before: impl Fn(i64) -> u32) -> Self {
            let config = Config { poison_openings: Some(LIMIT), ..Config::default() };
            let mut life = Self(Machine::new(config, 1), Now::default());
            // Runs are weighed elsewhere.
            life.0.expected_bytes = Some(0);
            life.0.assign(0);
            let epoch = life.0.leasing(0).unwrap();
            assert!(life.0.backlog(0, epoch, Some(runs)));
            life.0.activate(0, life.1);
            life.0.messages((0..=runs).map(message).collect(), life.1);
            for action in life.0.take_actions() {
                if let Action::Examine { handle, run } = action {
                    life.0.examined(handle, before(run.parse().unwrap()), life.1);
                }
            }
            life
        }

        fn opened(&mut self) -> Vec<(u32, String)> {
            let loads = self.0.take_actions().into_iter().filter_map(|action| match action {
                Action::LoadCounted { handle, run } => Some((handle, run)),
                _ => None,
            });
            loads.collect()
        }

        fn wait(&mut self, seconds: u64) {
            self.1.moment = self.1.moment.after(Duration::from_secs(seconds));
            self.0.tick(self.1);
        }

        fn record(&mut self, handle: u32) {
            self.0.loaded(handle, Ok(None), self.1);
            self.0.opened(handle, vec![(1, "n".into()), (2, "n".into())]);
            self.0.step(handle, Step { seq: 1, checkpoint: "{}".into(), done: vec![1], ..Step::default() }, self.1);
            self.0.written(handle, Ok(()), self.1);
        }
    }

    fn message(offset: i64) -> RawMessage {
        let run = offset.to_string();
        RawMessage {
            offset,
            key: Some(run.clone().into_bytes()),
            value: Some(job::encode(&OutboundJob { run: run.clone(), blueprint: "b".into(), node: "n".into(), ..OutboundJob::default() }).into_bytes()),
            ..RawMessage::default()
        }
    }

    fn names(opened: &[(u32, String)]) -> Vec<&str> {
        opened.iter().map(|(_, run)| run.as_str()).collect()
    }

    #[test]
    fn what_comes_after_the_assignment_is_not_counted() {
        let mut life = Life::begin(2, |_| 0);
        assert_eq!(names(&life.opened()), ["0", "1"]);
        let mut machine = Life::begin(0, |_| 0).0;
        assert!(!machine.take_actions().iter().any(|action| matches!(action, Action::Examine { .. } | Action::LoadCounted { .. })));
    }

    #[test]
    fn suspects_are_opened_one_by_one_and_twice_as_many_when_one_is_harmless() {
        let mut life = Life::begin(6, |_| 2);
        let first = life.opened();
        assert_eq!(names(&first), ["0"]);
        life.wait(1);
        assert_eq!(life.opened(), []);
        life.record(first[0].0);
        life.wait(1);
        assert_eq!(names(&life.opened()), ["1", "2"]);
        life.wait(30);
        assert_eq!(names(&life.opened()), ["3", "4", "5"]);
    }

    #[test]
    fn the_last_opening_before_the_verdict_is_a_runs_alone() {
        let mut life = Life::begin(3, |run| if run == 1 { LIMIT - 1 } else { 2 });
        assert_eq!(names(&life.opened()), ["0"]);
        life.wait(30);
        assert_eq!(names(&life.opened()), ["1"]);
        life.wait(1);
        assert_eq!(life.opened(), []);
        life.wait(30);
        assert_eq!(names(&life.opened()), ["2"]);
    }

    #[test]
    fn a_last_opening_waits_for_all_that_could_be_the_death_of_it() {
        let mut life = Life::begin(3, |run| if run == 1 { LIMIT - 1 } else { 0 });
        let opened = life.opened();
        assert_eq!(names(&opened), ["0", "2"]);
        life.record(opened[0].0);
        life.wait(1);
        assert_eq!(life.opened(), []);
        life.record(opened[1].0);
        life.wait(1);
        assert_eq!(names(&life.opened()), ["1"]);
    }

    #[test]
    fn a_run_that_was_opened_too_often_fails_and_is_buried() {
        let mut life = Life::begin(2, |run| if run == 0 { LIMIT } else { 0 });
        let actions = life.0.take_actions();
        let published = actions.iter().find_map(|action| match action {
            Action::Publish { handle, record, .. } => Some((*handle, record.clone())),
            _ => None,
        });
        let (handle, record) = published.unwrap();
        assert_eq!((record.run.as_str(), record.status.as_str()), ("0", "failed"));
        life.0.published(handle, life.1);
        assert!(life.0.take_actions().iter().any(|action| matches!(action, Action::Bury { letter, .. } if letter.code == "ERR_RUN_POISON")));
    }

    #[test]
    fn the_count_goes_with_the_first_step_and_with_an_orderly_end() {
        let mut life = Life::begin(2, |_| 0);
        let opened = life.opened();
        let absolved = |actions: Vec<Action>| {
            let runs = actions.into_iter().filter_map(|action| match action {
                Action::Absolve { run } => Some(run),
                _ => None,
            });
            runs.collect::<Vec<_>>()
        };
        life.record(opened[0].0);
        assert_eq!(absolved(life.0.take_actions()), ["0"]);
        life.0.close_partition(0, "the worker stops");
        assert_eq!(absolved(life.0.take_actions()), ["1"]);
    }
}
