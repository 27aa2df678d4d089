//! Timers of the partitions held here: found at activation, kept in memory until they are due (D5).

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
}

impl Machine {
    /// Timers of a partition that are due before `until_ms`, from where the last reading ended.
    pub fn timers_found(&mut self, partition: i32, epoch: u64, found: Vec<Timer>, until_ms: i64) {
        let Some(partition) = self.partitions.get_mut(&partition).filter(|partition| partition.epoch == epoch) else { return };
        partition.timers.soon.extend(found);
        partition.timers.known_until = until_ms;
        partition.timers.asking = false;
    }

    // Timers that a step has made are durable.
    pub(super) fn keep_timers(&mut self, timers: Vec<Timer>) {
        for timer in timers {
            // One that lies beyond is found by a later reading.
            if let Some(partition) = self.partitions.get_mut(&timer.shard).filter(|partition| timer.due_ms < partition.timers.known_until) {
                partition.timers.soon.insert(timer);
            }
        }
    }

    pub(super) fn tick_timers(&mut self, now: Now) {
        if !self.config.timers {
            return;
        }
        let now_ms = now.wall_micros.div_euclid(1_000);
        let mut due = Vec::new();
        for (number, partition) in self.partitions.iter_mut().filter(|(_, partition)| partition.state == PartitionState::Active) {
            let timers = &mut partition.timers;
            if !timers.asking && timers.known_until < now_ms + HORIZON_MS / 2 {
                timers.asking = true;
                let (from_ms, until_ms) = (timers.known_until, now_ms + HORIZON_MS);
                self.actions.push(Action::FindTimers { partition: *number, epoch: partition.epoch, from_ms, until_ms });
            }
            while timers.soon.first().is_some_and(|timer| timer.due_ms <= now_ms) {
                due.extend(timers.soon.pop_first());
            }
        }
        for timer in due {
            // Its row stays until the command is applied: what is sent twice changes nothing.
            let token = self.token();
            let command = Some(timer.wake());
            self.actions.push(Action::Send { token, job: OutboundJob { run: timer.run, command, ..OutboundJob::default() } });
        }
    }
}
