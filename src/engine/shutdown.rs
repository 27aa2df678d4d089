//! The ordered stop (G7): pause, drain, commit, give leases back, leave the group, flush the producer,
//! close the stores. A step that fails does not skip the next, and the worker always ends closed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::event::Event;
use super::worker::{Worker, set_state};
use crate::kernel::lifecycle::Lifecycle;
use crate::kernel::time::Moment;
use crate::ports::{LogLevel, SourceEvent};

/// How long each closing step may take.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// How long before the deadline running nodes get their abort signal, so that they can still record.
const ABORT_BEFORE: Duration = Duration::from_millis(500);

/// How a stop went.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether every running node finished and was recorded in time.
    pub drained: bool,
    /// Runs that were still open at the deadline; their unrecorded work is delivered again elsewhere.
    pub abandoned_runs: usize,
}

pub(super) struct Stopping {
    open: BTreeSet<i32>,
    deadline: Moment,
    aborted: bool,
    replies: Vec<oneshot::Sender<Report>>,
}

impl Stopping {
    pub(super) fn new(open: &[i32], deadline: Moment, reply: oneshot::Sender<Report>) -> Self {
        Self { open: open.iter().copied().collect(), deadline, aborted: false, replies: vec![reply] }
    }

    /// A second `stop()` waits for the first.
    pub(super) fn also(&mut self, reply: oneshot::Sender<Report>) {
        self.replies.push(reply);
    }

    pub(super) fn drained(&mut self, partition: i32) {
        self.open.remove(&partition);
    }

    pub(super) fn is_drained(&self, now: Moment) -> bool {
        self.open.is_empty() || now >= self.deadline
    }

    /// Partitions whose nodes are to be aborted now, once.
    pub(super) fn take_overdue(&mut self, now: Moment) -> Vec<i32> {
        if self.aborted || now.after(ABORT_BEFORE) < self.deadline {
            return Vec::new();
        }
        self.aborted = true;
        self.open.iter().copied().collect()
    }
}

/// Closes everything after the loop ended.
pub(super) async fn finish(mut worker: Worker, mut receiver: UnboundedReceiver<Event>) {
    let (open_runs, _) = worker.machine.load();
    let owned = worker.machine.owned();
    let positions = worker.machine.take_last_commits(&owned);
    for partition in owned.iter().chain(std::iter::once(&crate::kernel::machine::VIRTUAL_PARTITION)) {
        worker.machine.close_partition(*partition, "the worker stopped");
    }
    worker.act();
    let last = worker.tells.take();
    if !last.is_empty() {
        worker.ports.executor.deliver(last);
    }
    let source = worker.ports.source.clone();
    let leases = worker.keeper.detach(&owned);
    let failure = worker.failure();
    let closing = async {
        if failure.is_none() && !positions.is_empty() {
            let _ = tokio::time::timeout(STEP_LIMIT, source.commit_now(&positions)).await;
        }
        let _ = tokio::time::timeout(STEP_LIMIT, leases.give_back()).await;
        let _ = tokio::time::timeout(STEP_LIMIT * 2, source.close()).await;
    };
    tokio::pin!(closing);
    loop {
        tokio::select! {
            () = &mut closing => break,
            // Leaving the group revokes: nothing is in work, so it need not wait.
            Some(event) = receiver.recv() => if let Event::Source(SourceEvent::Revoking { done, .. }) = event {
                let _ = done.send(());
            },
        }
    }
    let ports = worker.ports.clone();
    let _ = tokio::time::timeout(STEP_LIMIT, ports.sink.close()).await;
    let _ = tokio::time::timeout(STEP_LIMIT, ports.direct_sink.close()).await;
    let _ = tokio::time::timeout(STEP_LIMIT, ports.contexts.close()).await;
    let _ = tokio::time::timeout(STEP_LIMIT, ports.statuses.close()).await;
    if let Some(coordination) = &ports.coordination {
        let _ = tokio::time::timeout(STEP_LIMIT, coordination.close()).await;
    }
    match &failure {
        Some(error) => {
            ports.host.log(LogLevel::Error, format!("[KafkaAdapter] the worker failed: {error}"));
            set_state(&ports, &worker.board, Lifecycle::Failed, &error.to_string());
        }
        None => set_state(&ports, &worker.board, Lifecycle::Closed, ""),
    }
    let report = Report { drained: open_runs == 0, abandoned_runs: open_runs };
    for reply in worker.stopping.map(|stopping| stopping.replies).unwrap_or_default() {
        let _ = reply.send(report.clone());
    }
}
