//! Timers of the partitions held here: found at activation, kept in memory until they are due (D5). Runs that wait for a
//! version of their blueprint are timers, too, due when this worker has that version.

use std::collections::BTreeSet;

use super::{Action, Machine, Now, PartitionState};
use crate::kernel::effects::OutboundJob;
use crate::kernel::timer::Timer;

/// How far ahead timers are read.
const HORIZON_MS: i64 = 600_000;

/// The timers of one partition. Only its owner makes new ones, so that what was read once need not be read again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    // Due before `known_until`.
    soon: BTreeSet<Timer>,
    known_until: i64,
    asking: bool,
    // Runs that wait for a version.
    parked: BTreeSet<Timer>,
    parked_asked: bool,
}

impl Machine {
    /// Timers of a partition that are due before `until_ms`, from where the last reading ended.
    pub fn timers_found(&mut self, partition: i32, epoch: u64, found: Vec<Timer>, until_ms: i64) {
        let Some(partition) = self.partitions.get_mut(&partition).filter(|partition| partition.epoch == epoch) else { return };
        partition.timers.soon.extend(found);
        partition.timers.known_until = until_ms;
        partition.timers.asking = false;
    }

    /// Runs of a partition that wait for a version of their blueprint, all of them.
    pub fn parked_found(&mut self, partition: i32, epoch: u64, found: Vec<Timer>) {
        let Some(partition) = self.partitions.get_mut(&partition).filter(|partition| partition.epoch == epoch) else { return };
        partition.timers.parked.extend(found);
        self.wake_parked();
    }

    /// The versions of blueprints that this worker has now, as parked runs name them.
    pub fn has_versions(&mut self, versions: Vec<String>) {
        self.versions = versions.into_iter().collect();
        self.wake_parked();
    }

    // Each is woken once: whoever opens it and lacks the version after all parks it anew.
    fn wake_parked(&mut self) {
        let versions = &self.versions;
        let active = self.partitions.values_mut().filter(|partition| partition.state == PartitionState::Active);
        let mut due: Vec<Timer> = Vec::new();
        for partition in active {
            let parked = std::mem::take(&mut partition.timers.parked);
            let (here, left): (BTreeSet<Timer>, BTreeSet<Timer>) = parked.into_iter().partition(|timer| versions.contains(&timer.node));
            partition.timers.parked = left;
            due.extend(here);
        }
        due.into_iter().for_each(|timer| self.send_wake(timer));
    }

    // The run is not parked any more, or in another way.
    pub(super) fn forget_parked(&mut self, timer: Timer) {
        if let Some(partition) = self.partitions.get_mut(&timer.shard) {
            partition.timers.parked.remove(&timer);
        }
        self.actions.push(Action::DropTimer(timer));
    }

    fn send_wake(&mut self, timer: Timer) {
        // Its row stays until the command is applied: what is sent twice changes nothing.
        let token = self.token();
        let command = Some(timer.wake());
        self.actions.push(Action::Send { token, job: OutboundJob { run: timer.run, command, ..OutboundJob::default() } });
    }

    // Timers that a step has made are durable.
    pub(super) fn keep_timers(&mut self, timers: Vec<Timer>) {
        let (parked, timers): (Vec<Timer>, Vec<Timer>) = timers.into_iter().partition(Timer::is_parked);
        for timer in parked {
            if self.versions.contains(&timer.node) {
                self.send_wake(timer);
            } else if let Some(partition) = self.partitions.get_mut(&timer.shard) {
                partition.timers.parked.insert(timer);
            }
        }
        for timer in timers {
            // One that lies beyond is found by a later reading; the one under way may have passed its place already.
            let Some(partition) = self.partitions.get_mut(&timer.shard) else { continue };
            if partition.timers.asking || timer.due_ms < partition.timers.known_until {
                partition.timers.soon.insert(timer);
            }
        }
    }

    pub(super) fn tick_timers(&mut self, now: Now) {
        if !self.config.timers {
            return;
        }
        let now_ms = now.wall_ms();
        let mut due = Vec::new();
        for (number, partition) in self.partitions.iter_mut().filter(|(_, partition)| partition.state == PartitionState::Active) {
            let timers = &mut partition.timers;
            if !std::mem::replace(&mut timers.parked_asked, true) {
                self.actions.push(Action::FindParked { partition: *number, epoch: partition.epoch });
            }
            if !timers.asking && timers.known_until < now_ms + HORIZON_MS / 2 {
                timers.asking = true;
                let (from_ms, until_ms) = (timers.known_until, now_ms + HORIZON_MS);
                self.actions.push(Action::FindTimers { partition: *number, epoch: partition.epoch, from_ms, until_ms });
            }
            while timers.soon.first().is_some_and(|timer| timer.due_ms <= now_ms) {
                due.extend(timers.soon.pop_first());
            }
        }
        due.into_iter().for_each(|timer| self.send_wake(timer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::effects::RawMessage;
    use crate::kernel::job;
    use crate::kernel::machine::{Adoption, Config, Step};
    use crate::kernel::outcome::Outcome;
    use crate::kernel::time::Moment;
    use crate::kernel::timer::{Alarm, Parking};

    const OLD: &str = r#"["bp","1"]"#;

    fn parked(run: &str) -> Timer {
        Timer::parked(0, run, Parking(OLD.into(), 5))
    }

    fn sent(machine: &mut Machine) -> Vec<String> {
        let actions = machine.take_actions().into_iter();
        actions.filter_map(|action| if let Action::Send { job, .. } = action { Some(job.run) } else { None }).collect()
    }

    #[test]
    fn parked_runs_cost_nothing_until_their_version_is_there_and_wake_once() {
        let mut machine = Machine::new(Config { timers: true, ..Config::default() }, 1);
        let mut now = Now::default();
        machine.assign(0);
        machine.activate(0, now);
        machine.tick(now);
        let asked = machine.take_actions();
        let epoch = asked.iter().find_map(|action| if let Action::FindParked { epoch, .. } = action { Some(*epoch) } else { None });
        machine.parked_found(0, epoch.unwrap(), vec![parked("a"), parked("b")]);
        machine.timers_found(0, epoch.unwrap(), Vec::new(), i64::MAX);
        for second in 1..=3_600 {
            now.moment = Moment(std::time::Duration::from_secs(second));
            machine.tick(now);
        }
        machine.has_versions(vec![r#"["bp","2"]"#.into()]);
        assert!(machine.take_actions().is_empty(), "an hour without a statement or a message");
        machine.has_versions(vec![OLD.into()]);
        assert_eq!(sent(&mut machine), ["a", "b"]);
        machine.has_versions(vec![OLD.into()]);
        machine.tick(now);
        assert_eq!(sent(&mut machine), Vec::<String>::new());
        // Parked here while its version was on its way.
        machine.keep_timers(vec![parked("c")]);
        assert_eq!(sent(&mut machine), ["c"]);
    }

    #[test]
    fn a_partition_without_timers_is_read_once_in_five_minutes() {
        const PARTITIONS: i32 = 8;
        let mut machine = Machine::new(Config { timers: true, ..Config::default() }, PARTITIONS);
        let mut now = Now::default();
        for partition in 0..PARTITIONS {
            machine.assign(partition);
            machine.activate(partition, now);
        }
        let (mut readings, mut others) = (0, 0);
        for quarter in 1..=4 * 3_600 {
            now.moment = Moment(std::time::Duration::from_millis(quarter * 250));
            now.wall_micros += 250_000;
            machine.tick(now);
            for action in machine.take_actions() {
                match action {
                    Action::FindTimers { partition, epoch, until_ms, .. } => {
                        readings += 1;
                        machine.timers_found(partition, epoch, Vec::new(), until_ms);
                    }
                    Action::FindParked { partition, epoch } => machine.parked_found(partition, epoch, Vec::new()),
                    _ => others += 1,
                }
            }
        }
        assert_eq!((readings, others), (PARTITIONS * 12, 0), "in an hour");
    }

    #[test]
    fn a_timer_made_while_its_hour_is_being_read_is_not_missed() {
        let mut machine = Machine::new(Config { timers: true, ..Config::default() }, 1);
        let now = Now { moment: Moment::default(), wall_micros: 1_000_000 };
        machine.assign(0);
        machine.activate(0, now);
        machine.tick(now);
        let asked = machine.take_actions();
        let (epoch, until) =
            asked.iter().find_map(|action| if let Action::FindTimers { epoch, until_ms, .. } = action { Some((*epoch, *until_ms)) } else { None }).unwrap();
        machine.keep_timers(vec![Timer::new(0, "r", Alarm("n".into(), 1, 900), 1_000)]);
        // Read before the row was there.
        machine.timers_found(0, epoch, Vec::new(), until);
        machine.tick(now);
        assert_eq!(sent(&mut machine), ["r"]);
        machine.tick(now);
        assert_eq!(sent(&mut machine), Vec::<String>::new());
    }

    // What is committed, and how often the run is loaded again, when a message comes while an outcome of it is on its way.
    fn while_ending(status: &str, adopted: bool) -> (usize, Vec<(i32, i64)>) {
        let mut machine = Machine::new(Config::default(), 1);
        let now = Now::default();
        let message = |offset: i64, node: &str| {
            let job = OutboundJob { run: "r".into(), blueprint: "bp".into(), node: node.into(), ..OutboundJob::default() };
            RawMessage { offset, value: Some(job::encode(&job).into_bytes()), ..RawMessage::default() }
        };
        let loads = |machine: &mut Machine| {
            let actions = machine.take_actions().into_iter();
            actions.filter_map(|action| if let Action::Load { handle, .. } = action { Some(handle) } else { None }).collect::<Vec<u32>>()
        };
        machine.assign(0);
        machine.activate(0, now);
        machine.messages(vec![message(0, "a")], now);
        let handle = loads(&mut machine)[0];
        machine.loaded(handle, Ok(None), now);
        machine.opened(handle, Vec::new());
        if adopted {
            machine.runs.get_mut(&handle).unwrap().adoption = Adoption::Complete;
        }
        let outcome = Some(Outcome::bare(status, "a reason"));
        machine.step(handle, Step { seq: 1, checkpoint: "{}".into(), outcome, ..Step::default() }, now);
        machine.messages(vec![message(1, "b")], now);
        machine.written(handle, Ok(()), now);
        machine.published(handle, now);
        (loads(&mut machine).len(), machine.take_commits())
    }

    #[test]
    fn messages_that_come_while_a_run_is_being_parked_open_it_again() {
        assert_eq!(while_ending("parked", false), (1, vec![(0, 1)]), "the second message is not done with");
    }

    #[test]
    fn messages_that_come_while_an_adopted_run_begins_to_wait_open_it_again() {
        assert_eq!(while_ending("awaiting", true), (1, vec![(0, 1)]));
        assert_eq!(while_ending("awaiting", false), (0, vec![(0, 2)]), "a run of ours knows what is due");
        assert_eq!(while_ending("completed", true), (0, vec![(0, 2)]), "and one that has ended wants nothing");
    }
}
