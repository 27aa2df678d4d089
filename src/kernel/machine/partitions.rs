//! Partitions come and go.

use std::collections::{HashMap, HashSet};

use super::{Action, Machine, Now, Partition, PartitionState, Phase, VIRTUAL_PARTITION};
use crate::kernel::effects::ToSession;
use crate::kernel::lease::Window;
use crate::kernel::ledger::Ledger;
use crate::kernel::mutant::{Mutant, mutant};

impl Machine {
    /// A partition was assigned; its messages wait until [`Machine::activate`].
    pub fn assign(&mut self, partition: i32) {
        self.forget_partition(partition, "reassigned");
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        self.partitions.insert(
            partition,
            Partition {
                epoch,
                state: PartitionState::Leasing,
                ledger: Ledger::default(),
                aside: Vec::new(),
                holds: HashMap::new(),
                runs: HashSet::new(),
                timers: super::timers::Timers::default(),
                window: None,
            },
        );
        if self.paused && partition != VIRTUAL_PARTITION {
            self.actions.push(Action::Pause(vec![partition]));
        }
    }

    /// Which write times the lease of a partition allows; `None` where leases bound none.
    pub fn set_window(&mut self, partition: i32, window: Option<Window>) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.window = window;
        }
    }

    /// The lease of a partition is held: its messages may be worked on.
    pub fn activate(&mut self, partition: i32, now: Now) {
        let Some(state) = self.partitions.get_mut(&partition).filter(|p| p.state == PartitionState::Leasing) else { return };
        state.state = PartitionState::Active;
        let aside = std::mem::take(&mut state.aside);
        for message in aside {
            self.receive(message, now);
        }
        self.regulate();
        self.pump();
    }

    /// Where a partition would have to be read again from, to see everything that is incomplete.
    #[must_use]
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition)?.ledger.position()
    }

    /// A partition is to be given up in order: running nodes finish and record, nothing new begins.
    /// [`Action::Drained`] follows when nothing is in work any more.
    pub fn drain(&mut self, partition: i32) {
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        state.state = PartitionState::Draining;
        state.aside.clear();
        let handles: Vec<u32> = state.runs.iter().copied().collect();
        self.serial_forget(partition);
        for handle in handles {
            match self.runs.get(&handle).map(|run| run.phase) {
                Some(Phase::Opening | Phase::Open) if mutant(Mutant::CloseAtDrain) => self.close(handle, "partition given up"),
                Some(Phase::Waiting | Phase::Loading) => self.close(handle, "partition given up"),
                // A session that is opening may have started its nodes already: what they do is recorded.
                Some(Phase::Opening | Phase::Open) => self.tell(ToSession::Drain { handle }),
                Some(Phase::Ending) | None => {}
            }
        }
        self.check_drained(partition);
    }

    /// A session that was told to drain has nothing running any more.
    pub fn session_drained(&mut self, handle: u32) {
        if let Some(run) = self.runs.get_mut(&handle) {
            run.drained = true;
        }
        self.close_if_drained(handle);
    }

    pub(super) fn close_if_drained(&mut self, handle: u32) {
        let idle = |run: &super::Run| run.drained && run.phase == Phase::Open && run.writing.is_none() && run.queued.is_none();
        if self.runs.get(&handle).is_some_and(idle) {
            self.close(handle, "partition given up");
        }
    }

    pub(super) fn check_drained(&mut self, partition: i32) {
        let drained = self.partitions.get_mut(&partition).filter(|p| p.state == PartitionState::Draining && p.runs.is_empty());
        if let Some(state) = drained {
            state.state = PartitionState::Drained;
            self.actions.push(Action::Drained(partition));
        }
    }

    /// Nodes that outlived the grace get their abort signal; what they return in time still counts.
    pub fn abort(&mut self, partition: i32, reason: &str) {
        let handles: Vec<u32> = self.partitions.get(&partition).map(|p| p.runs.iter().copied().collect()).unwrap_or_default();
        for handle in handles {
            self.tell(ToSession::Abort { handle, reason: reason.to_owned() });
        }
    }

    /// A partition is gone. Returns whether it was known.
    pub fn forget_partition(&mut self, partition: i32, reason: &str) -> bool {
        self.serial_forget(partition);
        self.close_runs(partition, reason);
        self.partitions.remove(&partition).is_some()
    }

    /// Drops what is in work on a partition; completed offsets can still be committed.
    pub fn close_partition(&mut self, partition: i32, reason: &str) {
        self.close_runs(partition, reason);
    }

    /// Whether the partition is assigned here.
    #[must_use]
    pub fn is_known(&self, partition: i32) -> bool {
        self.partitions.contains_key(&partition)
    }

    fn close_runs(&mut self, partition: i32, reason: &str) {
        let handles: Vec<u32> = self.partitions.get(&partition).map(|p| p.runs.iter().copied().collect()).unwrap_or_default();
        for handle in handles {
            self.close(handle, reason);
        }
        self.lane.retain(|handle| self.runs.contains_key(handle));
    }

    /// Positions of these partitions that were taken did not arrive. Without this, the last ones of a partition at rest would
    /// never be committed.
    pub fn commit_again(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(state) = self.partitions.get_mut(partition) {
                state.ledger.commit_again();
            }
        }
    }

    /// Positions to commit that lie beyond what was taken before.
    pub fn take_commits(&mut self) -> Vec<(i32, i64)> {
        let owned = self.owned();
        self.take_commits_of(&owned)
    }

    /// Every position of partitions that are given up, also those taken before: one that is on its way may still fail.
    pub fn take_last_commits(&mut self, partitions: &[i32]) -> Vec<(i32, i64)> {
        self.commit_again(partitions);
        self.take_commits_of(partitions)
    }

    fn take_commits_of(&mut self, partitions: &[i32]) -> Vec<(i32, i64)> {
        let known = partitions.iter().filter(|number| **number != VIRTUAL_PARTITION);
        known.filter_map(|number| Some((*number, self.partitions.get_mut(number)?.ledger.take_commit()?))).collect()
    }

    /// Partitions held now.
    #[must_use]
    pub fn owned(&self) -> Vec<i32> {
        let mut owned: Vec<i32> = self.partitions.keys().copied().filter(|p| *p != VIRTUAL_PARTITION).collect();
        owned.sort_unstable();
        owned
    }

    /// Whether a partition is being worked on.
    #[must_use]
    pub fn is_active(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_some_and(|p| p.state == PartitionState::Active)
    }
}

/// The time that writes of a partition's runs may carry now. A run that was written with a later one elsewhere still
/// goes above that: a step that hides behind an older one would be lost.
pub(super) fn wall(partitions: &HashMap<i32, Partition>, partition: i32, now: Now) -> i64 {
    partitions
        .get(&partition)
        .and_then(|state| state.window)
        .filter(|_| !mutant(Mutant::IgnoreWindow))
        .map_or(now.wall_micros, |window| window.place(now.wall_micros))
}
