//! Commits of one group member: one at a time, in the order in which they were asked for, each with its answer.
//!
//! librdkafka tells nobody what became of an asynchronous commit unless a callback is set that the crate does not set
//! (`rd_kafka_cgrp_propagate_commit_result`; rdkafka 0.39 takes events instead). One that fails in a rebalance would be lost, and the last positions
//! of a partition at rest with it. So each commit waits for its answer, on a thread that may wait; what is asked for meanwhile goes
//! with the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::sync::oneshot;

use super::errors;
use super::group::{Group, Member};
use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::ports::SourceEvent;

type Answer = Result<(), FlowError>;

/// Finds the member; there is none before the start and after the end.
type FindMember = Box<dyn Fn() -> Option<Arc<Member>> + Send + Sync>;

pub(super) struct Commits {
    group: Arc<Group>,
    member: FindMember,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// With the assignment in which each was asked for: in a later one it may be behind what others have committed.
    positions: BTreeMap<i32, (i64, u64)>,
    waiting: Vec<oneshot::Sender<Answer>>,
    /// Whether somebody works on it.
    busy: bool,
}

impl Commits {
    pub(super) fn new(group: Arc<Group>, member: FindMember) -> Arc<Self> {
        Arc::new(Self { group, member, queue: Mutex::default() })
    }

    /// Commits these positions after all that were asked for before.
    pub(super) fn ask(self: &Arc<Self>, positions: &[(i32, i64)], answer: Option<oneshot::Sender<Answer>>) {
        let owned = positions.iter().filter_map(|(partition, offset)| Some((*partition, (*offset, self.group.assignment(*partition)?))));
        let mut queue = lock(&self.queue);
        queue.positions.extend(owned);
        queue.waiting.extend(answer);
        if !std::mem::replace(&mut queue.busy, true) {
            let commits = Arc::clone(self);
            tokio::task::spawn_blocking(move || commits.work());
        }
    }

    fn work(&self) {
        loop {
            let (positions, waiting) = {
                let mut queue = lock(&self.queue);
                if queue.positions.is_empty() && queue.waiting.is_empty() {
                    queue.busy = false;
                    return;
                }
                (std::mem::take(&mut queue.positions), std::mem::take(&mut queue.waiting))
            };
            let answer = self.commit(&positions);
            for waits in waiting {
                // Whoever gave up waiting needs no answer.
                let _ = waits.send(answer.clone());
            }
        }
    }

    /// Positions of partitions that are not ours any more are left out: their next owner reads them again.
    fn commit(&self, positions: &BTreeMap<i32, (i64, u64)>) -> Answer {
        let Some(member) = (self.member)() else { return Err(FlowError::NotRunning { state: "closed".into(), action: "committing offsets".into() }) };
        let list = self.group.still_owned(positions);
        if list.count() == 0 {
            return Ok(());
        }
        let Err(error) = member.commit(&list, CommitMode::Sync) else { return Ok(()) };
        self.failed(&error, positions.keys().copied().collect());
        Err(errors::store("committing offsets", &error))
    }

    fn failed(&self, error: &KafkaError, partitions: Vec<i32>) {
        match error.rdkafka_error_code() {
            // Part of every rebalance.
            Some(Code::IllegalGeneration | Code::UnknownMemberId | Code::RebalanceInProgress | Code::AssignmentLost) => {}
            code => self.group.trouble(code, errors::store("committing offsets", error)),
        }
        // A partition that is kept may have nothing more to commit: without this its last offsets would never be.
        self.group.emit(SourceEvent::NotCommitted(partitions));
    }
}
