//! The outside operations of the control loop. Each runs in a task of its own (writes share one, and so do outcomes: `groups.rs`), retries what can pass,
//! and reports back as an event; none of them decides anything about runs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::Ports;
use super::event::Event;
use super::groups::{Company, Write};
use super::health::Board;
use super::leases::{LeaseTable, Permission};
use crate::kernel::error::FlowError;
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::retry::Backoff;
use crate::kernel::timer::Timer;
use crate::ports::{ContextWrite, DeadLetter, LogLevel, OutboundJob, StoredContext};

/// How often a withheld permission is looked at again.
const WITHHELD_PAUSE: Duration = Duration::from_millis(20);
/// How often brokers that could not be reached are asked again, for `health()` alone: librdkafka reconnects by itself.
const KAFKA_PAUSE: Duration = Duration::from_secs(1);

/// The place of sends in health.
const JOB_TOPIC: &str = "job topic";

/// What every IO task needs; they share one.
pub(super) struct Io {
    pub(super) ports: Ports,
    pub(super) leases: LeaseTable,
    pub(super) board: Board,
    pub(super) events: UnboundedSender<Event>,
    pub(super) topic: String,
    pub(super) log_outcomes: bool,
    pub(super) published: Arc<AtomicU64>,
    pub(super) company: Company,
}

impl Io {
    pub(super) fn report(&self, event: Event) {
        // The loop is gone only after a stop, when nothing waits for this any more.
        let _ = self.events.send(event);
    }

    // Repeats an operation until it succeeds or fails for good.
    pub(super) async fn persist<T, F, Fut>(&self, place: &str, operation: F) -> Result<T, FlowError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, FlowError>>,
    {
        self.persist_after(None, place, operation).await
    }

    // As `persist`; `failed` is what the first attempt has met, if that was made elsewhere.
    pub(super) async fn persist_after<T, F, Fut>(&self, mut failed: Option<FlowError>, place: &str, mut operation: F) -> Result<T, FlowError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, FlowError>>,
    {
        let mut attempt = 0;
        loop {
            let outcome = match failed.take() {
                Some(error) => Err(error),
                None => operation().await,
            };
            match outcome {
                Ok(value) => {
                    if attempt > 0 && self.board.well(place) {
                        self.log_recovery(place);
                    }
                    return Ok(value);
                }
                // Without a loop nobody waits for it: what failed is done again by the next owner.
                Err(error) if !error.retryable() || self.events.is_closed() || mutant(Mutant::PersistOnce) => return Err(error),
                Err(error) => {
                    attempt += 1;
                    self.note(place, &error);
                    tokio::time::sleep(Backoff::STORE.pause(attempt, jitter(attempt, self.ports.clock.wall_micros()))).await;
                }
            }
        }
    }

    pub(super) fn log_recovery(&self, place: &str) {
        self.ports.host.log(LogLevel::Info, format!("[KafkaAdapter] {place} works again"));
    }

    fn note(&self, place: &str, error: &FlowError) {
        if self.board.trouble(place, error.code().as_str(), &error.to_string()) {
            self.ports.host.log(LogLevel::Warn, format!("[KafkaAdapter] {place} does not work, retrying: {error}"));
        }
    }

    pub(super) fn load(self: &Arc<Self>, handle: u32, run: String) {
        let io = self.clone();
        tokio::spawn(async move {
            let result = io.persist("context store", || io.ports.contexts.load(&run)).await;
            io.report(Event::Loaded(handle, result));
        });
    }

    pub(super) fn find_status(self: &Arc<Self>, handle: u32, run: String) {
        let io = self.clone();
        tokio::spawn(async move {
            let result = io.persist("status store", || io.ports.statuses.status(&run)).await;
            io.report(Event::StatusFound(handle, result));
        });
    }

    pub(super) fn look_at_topic(self: &Arc<Self>) {
        let io = self.clone();
        tokio::spawn(async move {
            // Without an answer the count of before stays; jobs on new partitions then hop home a few times.
            if let Ok(facts) = io.ports.source.facts().await {
                io.report(Event::Facts(facts));
            }
        });
    }

    /// Asks the brokers until one answers; [`Event::KafkaAnswers`] follows.
    pub(super) fn look_for_kafka(self: &Arc<Self>) {
        let io = self.clone();
        tokio::spawn(async move {
            while !io.events.is_closed() {
                tokio::time::sleep(KAFKA_PAUSE).await;
                // Whatever else it says: a broker has said it.
                if !matches!(io.ports.source.facts().await, Err(FlowError::Unreachable { .. })) {
                    return io.report(Event::KafkaAnswers);
                }
            }
        });
    }

    pub(super) fn find_end(self: &Arc<Self>, handle: u32, partition: i32) {
        let io = self.clone();
        tokio::spawn(async move {
            // Without an answer an adopted run would never end, so this is asked until there is one.
            let end = io.persist("kafka", || io.ports.source.end_offset(partition)).await.unwrap_or(None);
            io.report(Event::EndFound(handle, end));
        });
    }

    // `failed`: what an attempt has met already. `None` when the partition is gone: its run was closed, nothing is to be recorded.
    pub(super) async fn write_one(&self, Write { handle, partition, write, verify }: Write, failed: Option<FlowError>) -> Option<Event> {
        if let Some(expected) = verify
            && let Some(theirs) = self.verify(&write.run, expected).await
        {
            return Some(Event::Foreign(handle, theirs));
        }
        match self.put_timers(partition, &write).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Event::Written(handle, Err(error))),
        }
        let result = self.persist_after(failed, "context store", || self.permitted(partition, || self.ports.contexts.write(&write))).await;
        Some(Event::Written(handle, result.transpose()?.map(drop)))
    }

    // Timers come before the step that parks their run (D5). False when the partition is not ours any more.
    async fn put_timers(&self, partition: i32, write: &ContextWrite) -> Result<bool, FlowError> {
        let Ok(timers) = &self.ports.timers else { return Ok(true) };
        for timer in &write.timers {
            match self.persist("timers", || self.permitted(partition, || timers.put(timer))).await {
                Ok(Some(())) => {}
                Ok(None) => return Ok(false),
                // Nothing else would bring a parked run back.
                Err(error) if timer.is_parked() => return Err(error),
                // Nothing that a repeat can mend: the run goes on, and the operator has the log.
                Err(error) => {
                    self.ports.host.log(LogLevel::Error, format!("[KafkaAdapter] timer of node \"{}\" of run \"{}\" is lost: {error}", timer.node, timer.run));
                }
            }
        }
        Ok(true)
    }

    pub(super) fn find_timers(self: &Arc<Self>, partition: i32, epoch: u64, from_ms: i64, until_ms: i64) {
        let Ok(timers) = self.ports.timers.clone() else { return };
        let io = self.clone();
        tokio::spawn(async move {
            match io.persist("timers", || timers.find(partition, from_ms, until_ms)).await {
                Ok(found) => io.report(Event::TimersFound(partition, epoch, found, until_ms)),
                Err(error) => io.ports.host.log(LogLevel::Error, format!("[KafkaAdapter] timers of partition {partition} cannot be read: {error}")),
            }
        });
    }

    pub(super) fn find_parked(self: &Arc<Self>, partition: i32, epoch: u64) {
        let Ok(timers) = self.ports.timers.clone() else { return };
        let io = self.clone();
        tokio::spawn(async move {
            match io.persist("timers", || timers.parked(partition)).await {
                Ok(found) => io.report(Event::ParkedFound(partition, epoch, found)),
                Err(error) => io.ports.host.log(LogLevel::Error, format!("[KafkaAdapter] parked runs of partition {partition} cannot be read: {error}")),
            }
        });
    }

    /// Best effort: a timer that stays fires once more, and changes nothing.
    pub(super) fn drop_timer(self: &Arc<Self>, timer: Timer) {
        let Ok(timers) = self.ports.timers.clone() else { return };
        let io = self.clone();
        tokio::spawn(async move {
            let _ = io.persist("timers", || timers.delete(&timer)).await;
        });
    }

    /// Looks on behalf of a node that reads; [`Event::Looked`] follows.
    pub(super) fn look(self: &Arc<Self>, handle: u32, run: String, expected: i64) {
        let io = self.clone();
        tokio::spawn(async move {
            let theirs = io.verify(&run, expected).await.flatten();
            io.report(Event::Looked(handle, theirs));
        });
    }

    // Looks whether the row is still the one we know; answers with what stands there if it is not.
    async fn verify(&self, run: &str, expected: i64) -> Option<Option<StoredContext>> {
        match self.persist("context store", || self.ports.contexts.write_micros(run)).await {
            Ok(Some(micros)) if micros != expected => Some(self.persist("context store", || self.ports.contexts.load(run)).await.ok().flatten()),
            _ => None,
        }
    }

    // Runs an operation once the lease allows it; `None` when the partition is not ours any more.
    pub(super) async fn permitted<T, F, Fut>(&self, partition: i32, operation: F) -> Result<Option<T>, FlowError>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, FlowError>>,
    {
        loop {
            match self.leases.permission(partition, &self.ports) {
                Permission::Granted => return operation().await.map(Some),
                Permission::Withheld => tokio::time::sleep(WITHHELD_PAUSE).await,
                Permission::Refused => return Ok(None),
            }
        }
    }

    /// Marks a run as running, once and without patience: without the lease nobody here knows whether
    /// it still is, and `running` would stand above the outcome that the next owner has written.
    pub(super) fn touch(self: &Arc<Self>, run: String, partition: i32, timestamp_micros: i64) {
        let io = self.clone();
        tokio::spawn(async move {
            if io.leases.permission(partition, &io.ports) != Permission::Granted {
                return;
            }
            if let Err(error) = io.ports.statuses.touch(&run, timestamp_micros).await {
                io.ports.host.log(LogLevel::Error, format!("[KafkaAdapter] Failed to update updated_at timestamp for Run ID {run}: {error}"));
            }
        });
    }

    /// Sends a job; a failure is retried for as long as the worker lives, because its anchor waits.
    pub(super) fn send(self: &Arc<Self>, token: u64, job: OutboundJob, attempt: u32) {
        let io = self.clone();
        let again = job.clone();
        self.ports.sink.send(
            &job,
            Box::new(move |result| match result {
                Ok(delivered) => {
                    if attempt > 0 && io.board.well(JOB_TOPIC) {
                        io.log_recovery(JOB_TOPIC);
                    }
                    io.report(Event::Sent(token, delivered));
                }
                Err(error) => {
                    io.note(JOB_TOPIC, &error);
                    if !error.retryable() {
                        io.report(Event::TopicRefuses);
                    }
                    io.report(Event::SendAgain(token, again, attempt + 1));
                }
            }),
        );
    }

    /// Sends a dead letter; like a job, it is retried: a message is never completed unburied.
    pub(super) fn bury(self: &Arc<Self>, token: u64, letter: DeadLetter, attempt: u32) {
        let io = self.clone();
        let again = letter.clone();
        self.ports.sink.dead_letter(
            &letter,
            Box::new(move |result| match result {
                Ok(_) => {
                    if attempt > 0 {
                        io.board.well("dead letters");
                    }
                    io.report(Event::Buried(token));
                }
                Err(error) => {
                    io.note("dead letters", &error);
                    io.report(Event::BuryAgain(token, Box::new(again), attempt + 1));
                }
            }),
        );
    }

    /// Waits before another attempt of a send or burial.
    pub(super) fn later(self: &Arc<Self>, attempt: u32, event: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let io = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Backoff::STORE.pause(attempt, jitter(attempt, io.ports.clock.wall_micros()))).await;
            event(&io);
        });
    }
}

// Spread of retries over time; needs no quality, only that workers differ.
fn jitter(attempt: u32, wall_micros: i64) -> f64 {
    f64::from(u32::try_from((wall_micros.unsigned_abs() ^ u64::from(attempt).wrapping_mul(7919)) % 1_000).unwrap_or(0)) / 1_000.0
}
