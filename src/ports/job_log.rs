use std::time::Duration;

use async_trait::async_trait;

use crate::kernel::effects::{DeadLetter, OutboundJob, RawMessage};
use crate::kernel::error::FlowError;

/// What a job source tells the engine.
pub enum SourceEvent {
    /// Messages, in offset order within each partition.
    Messages(Vec<RawMessage>),
    /// Partitions were given to this worker. Consumption starts at the committed position, or at
    /// the configured start where there is none (which is then committed first).
    Assigned(Vec<i32>),
    /// Partitions are being taken in an orderly way. The source waits for `done` (bounded by the
    /// engine's own deadline) before it gives them up; offsets committed meanwhile count.
    Revoking {
        /// Which.
        partitions: Vec<i32>,
        /// Signalled by the engine when its work on them is recorded or given up.
        done: std::sync::mpsc::Sender<()>,
    },
    /// Partitions are gone already (session expired): nothing may be recorded or committed for them.
    Lost(Vec<i32>),
    /// Positions of these partitions were not committed, or perhaps not: they are to be committed again.
    NotCommitted(Vec<i32>),
    /// The group was joined for the first time (also when no partition was assigned).
    Joined,
    /// A problem that passes by itself or needs an operator; for health and logs.
    Trouble(FlowError),
    /// The source ended and will deliver nothing more. `None` after an orderly close.
    Ended(Option<FlowError>),
}

/// Where the source puts its events; must not block for long.
pub type SourceHandle = std::sync::Arc<dyn Fn(SourceEvent) + Send + Sync>;

/// Facts about the topic, read at start and after each assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicFacts {
    /// Number of partitions of the job topic.
    pub partitions: i32,
}

/// The consuming side of the job log, a member of a consumer group.
///
/// Guarantees: at-least-once delivery; a message is delivered again after a restart unless an offset
/// beyond it was committed; at most one member of the group holds a partition.
#[async_trait]
pub trait JobSource: Send + Sync + 'static {
    /// Checks that the log is reachable and the topic exists (creates it where allowed).
    async fn prepare(&self) -> Result<TopicFacts, FlowError>;
    /// Joins the group and begins to deliver.
    async fn start(&self, events: SourceHandle) -> Result<(), FlowError>;
    /// Stops fetching a partition; already delivered messages stay delivered.
    fn pause(&self, partitions: &[i32]);
    /// Goes on fetching.
    fn resume(&self, partitions: &[i32]);
    /// Commits positions (next offset to read) without waiting. Those that did not arrive come back as
    /// [`SourceEvent::NotCommitted`].
    fn commit(&self, positions: &[(i32, i64)]);
    /// Commits positions and waits for the answer.
    async fn commit_now(&self, positions: &[(i32, i64)]) -> Result<(), FlowError>;
    /// Reads a partition again from a position: what was delivered since is delivered anew. A source that
    /// cannot go back ignores it; the messages then come again with the next assignment.
    fn rewind(&self, _partition: i32, _position: i64) {}
    /// Leaves the group and stays ready to join it again: what is assigned is revoked in order. A source that is no
    /// group of several processes ignores it.
    fn leave(&self) {}
    /// Joins the group again after [`JobSource::leave`].
    fn rejoin(&self) {}
    /// The facts as they are now: partitions can be added while a worker runs.
    async fn facts(&self) -> Result<TopicFacts, FlowError> {
        self.prepare().await
    }
    /// The offset after the last message of a partition now, `None` where the source cannot tell.
    async fn end_offset(&self, _partition: i32) -> Result<Option<i64>, FlowError> {
        Ok(None)
    }
    /// What an operator is told where messages may be read that are older than this; `None` where there are none.
    async fn keeps_beyond(&self, _retention: Duration) -> Option<String> {
        None
    }
    /// Leaves the group and releases everything. Idempotent.
    async fn close(&self);
}

/// Where a sent message lies, when the log tells.
pub type Delivered = Option<(i32, i64)>;
/// Called once with the outcome of a send, from any thread; must not block.
pub type SendDone = Box<dyn FnOnce(Result<Delivered, FlowError>) + Send>;

/// The producing side of the job log.
///
/// Guarantees: `Ok` only when acknowledged by all in-sync replicas; retries do not duplicate within
/// one producer's life; jobs of one run go to its home partition in sending order.
#[async_trait]
pub trait JobSink: Send + Sync + 'static {
    /// Sends a job. Retries transient errors itself; what it reports is final for this call.
    fn send(&self, job: &OutboundJob, done: SendDone);
    /// Sends a dead letter to the dead-letter topic (original bytes; reason and coordinates as headers).
    fn dead_letter(&self, letter: &DeadLetter, done: SendDone);
    /// Sends what is buffered, then releases everything. Idempotent.
    async fn close(&self);
}
