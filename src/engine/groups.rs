//! Steps and outcomes of one turn of the loop, in the groups that their store would rather have together (decisions 69 and 71).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::event::Event;
use super::io::Io;
use super::leases::Permission;
use crate::kernel::error::FlowError;
use crate::kernel::mutant::{Mutant, mutant};
use crate::ports::{ContextWrite, LogLevel, StatusRecord};

/// For how long nothing goes in groups after one was refused.
const APART: Duration = Duration::from_secs(60);

/// Whether things go in groups. A server that refuses batches for good, by a limit of its own, is not to get each of them first.
#[derive(Default)]
pub(super) struct Company {
    apart_until: Mutex<Option<Instant>>,
}

impl Company {
    fn is_welcome(&self) -> bool {
        self.lock().is_none_or(|until| until <= Instant::now())
    }

    fn part(&self) {
        *self.lock() = Some(Instant::now() + APART);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.apart_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A step commit that the loop hands over.
pub(super) struct Write {
    pub(super) handle: u32,
    pub(super) partition: i32,
    pub(super) write: ContextWrite,
    /// Write time that the row must still have, if that is to be looked at first.
    pub(super) verify: Option<i64>,
}

/// The outcome of a run, or its rest, that the loop hands over.
pub(super) struct Outcome {
    pub(super) handle: u32,
    pub(super) partition: i32,
    pub(super) record: StatusRecord,
}

impl Io {
    /// Carries out the writes of one turn. They share a task, so that their requests reach the store's connection together and
    /// their answers wake one task.
    pub(super) fn write(self: &Arc<Self>, writes: Vec<Write>) {
        let io = self.clone();
        tokio::spawn(async move {
            // What has to be looked at or noted down first goes alone.
            let (plain, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(|write| write.verify.is_none() && write.write.timers.is_empty());
            let split = io.split(|| io.ports.contexts.groups(&plain.iter().map(|write| &write.write).collect::<Vec<_>>()));
            let groups = grouped(plain, split).into_iter().chain(others.into_iter().map(|write| vec![write]));
            all(groups.map(|group| io.write_group(group))).await;
        });
    }

    async fn write_group(&self, group: Vec<Write>) {
        let writes: Vec<_> = group.iter().map(|write| &write.write).collect();
        let partitions = group.iter().map(|write| write.partition);
        let failed = match self.together(partitions, || self.ports.contexts.write_group(&writes)).await {
            Ok(()) => return group.into_iter().for_each(|write| self.report(Event::Written(write.handle, Ok(())))),
            Err(failed) => failed,
        };
        all(group.into_iter().map(|write| self.write_alone(write, failed.clone()))).await;
    }

    async fn write_alone(&self, write: Write, failed: Option<FlowError>) {
        if let Some(Some(event)) = self.guarded("the write of a step", self.write_one(write, failed)).await {
            self.report(event);
        }
    }

    /// Publishes the outcomes of one turn.
    pub(super) fn publish(self: &Arc<Self>, outcomes: Vec<Outcome>) {
        let io = self.clone();
        tokio::spawn(async move {
            let split = io.split(|| io.ports.statuses.groups(&outcomes.iter().map(|outcome| &outcome.record).collect::<Vec<_>>()));
            all(grouped(outcomes, split).into_iter().map(|group| io.publish_outcomes(group))).await;
        });
    }

    async fn publish_outcomes(&self, group: Vec<Outcome>) {
        let records: Vec<_> = group.iter().map(|outcome| &outcome.record).collect();
        let partitions = group.iter().map(|outcome| outcome.partition);
        match self.together(partitions, || self.ports.statuses.publish_group(&records)).await {
            Ok(()) => {
                self.count_published(group.len());
                group.iter().for_each(|outcome| self.published(outcome, true));
            }
            Err(failed) => all(group.into_iter().map(|outcome| self.publish_alone(outcome, failed.clone()))).await,
        }
    }

    async fn publish_alone(&self, outcome: Outcome, failed: Option<FlowError>) {
        let publishing = self.publish_or_give_up(outcome.partition, &outcome.record, failed);
        // Without an answer the partition is gone, or the worker: the next owner publishes it.
        if let Some(Some(written)) = self.guarded("the publishing of a status", publishing).await {
            self.published(&outcome, written);
        }
    }

    fn published(&self, outcome: &Outcome, written: bool) {
        if written && self.log_outcomes && outcome.record.status != "running" {
            self.ports.host.log(LogLevel::Info, format!("[KafkaAdapter] Published final result for Run ID {}.", outcome.record.run));
        }
        self.report(Event::Published(outcome.handle));
    }

    // One attempt of a group of several. After it, whatever it was that failed, each member is on its own: what the store refuses of
    // one is no business of the others. The error is one that can pass.
    async fn together<F, Fut>(&self, mut partitions: impl ExactSizeIterator<Item = i32>, operation: F) -> Result<(), Option<FlowError>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<(), FlowError>>,
    {
        if partitions.len() < 2 || partitions.any(|partition| self.leases.permission(partition, &self.ports) != Permission::Granted) {
            return Err(None);
        }
        match AssertUnwindSafe(operation()).catch_unwind().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) if mutant(Mutant::GroupIsWritten) => Ok(()),
            Ok(Err(error)) if error.retryable() => Err(Some(error)),
            Ok(Err(error)) => Err(self.part(&error.to_string())),
            Err(_) => Err(self.part("a panic")),
        }
    }

    // Who sent the group has nothing to wait for.
    fn part(&self, why: &str) -> Option<FlowError> {
        self.company.part();
        self.ports.host.log(LogLevel::Warn, format!("[KafkaAdapter] writes of several runs in one request were refused; each goes alone for a minute: {why}"));
        None
    }

    // What is in no group goes alone, as `grouped` has it.
    fn split(&self, groups: impl FnOnce() -> Vec<Vec<usize>>) -> Vec<Vec<usize>> {
        if self.company.is_welcome() { catch_unwind(AssertUnwindSafe(groups)).unwrap_or_default() } else { Vec::new() }
    }

    // A panic must not take those along that share a task; the run is for the next owner of its partition.
    async fn guarded<T>(&self, what: &str, operation: impl Future<Output = T>) -> Option<T> {
        let answer = AssertUnwindSafe(operation).catch_unwind().await;
        if answer.is_err() {
            self.ports.host.log(LogLevel::Error, format!("[KafkaAdapter] {what} panicked; its run waits for a restart"));
        }
        answer.ok()
    }
}

async fn all(operations: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut open: FuturesUnordered<_> = operations.collect();
    while open.next().await.is_some() {}
}

/// Items in the groups of a store, which are indexes. What is in none of them goes alone.
fn grouped<T>(items: Vec<T>, split: Vec<Vec<usize>>) -> Vec<Vec<T>> {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let mut groups: Vec<Vec<T>> = split.into_iter().map(|group| group.into_iter().filter_map(|index| items.get_mut(index)?.take()).collect()).collect();
    groups.extend(items.into_iter().flatten().map(|item| vec![item]));
    groups
}
