//! The consuming side: one librdkafka group member on a thread of its own.

use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::sync::{oneshot, watch};

use super::commits::Commits;
use super::config::{KafkaSettings, TokenSource, make_client};
use super::group::{Callbacks, Group, Member};
use super::{KafkaTopics, admin, errors};
use crate::backends::lock;
use crate::kernel::error::{FlowError, Retry, Service};
use crate::ports::{JobSource, RawMessage, SourceEvent, SourceHandle, TopicFacts};

/// Header that counts how often a job was sent on to its run's home partition.
pub(super) const HOPS_HEADER: &str = "flowcraft-hops";
/// Header that keeps the time of the message for which another one was sent, milliseconds since the epoch.
pub(super) const SENT_HEADER: &str = "flowcraft-sent";
/// What the names of this package's own headers begin with.
const OWN_HEADERS: &str = "flowcraft-";

/// Most messages handed over at once.
const BATCH: usize = 1_000;
/// How long a poll waits for a message. Bounds how fast a close is noticed, nothing else.
const POLL: Duration = Duration::from_millis(100);
/// Leaving the group, at the longest.
const LEAVE_LIMIT: Duration = Duration::from_secs(8);
/// How long `close` waits for the thread; beyond it the thread is left to itself.
const CLOSE_LIMIT: Duration = Duration::from_secs(12);
/// How long the thread waits for a commit on another thread to let go of the consumer.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
/// How long `commit_now` waits for the coordinator.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// A member of the consumer group.
pub struct KafkaSource {
    group: Arc<Group>,
    patience: Duration,
    tokens: Option<Arc<dyn TokenSource>>,
    state: Arc<Mutex<State>>,
    commits: Arc<Commits>,
}

#[derive(Default)]
struct State {
    /// The client, from the first `prepare` or `start` to `close`.
    running: Option<Running>,
    closed: bool,
}

#[derive(Clone)]
struct Running {
    member: Arc<Mutex<Option<Arc<Member>>>>,
    ended: watch::Receiver<bool>,
}

impl KafkaSource {
    pub(super) fn new(settings: Arc<KafkaSettings>, topics: Arc<KafkaTopics>, tokens: Option<Arc<dyn TokenSource>>, patience: Duration) -> Self {
        let group = Arc::new(Group::new(settings, topics, tokens.clone()));
        let state = Arc::new(Mutex::new(State::default()));
        let running = Arc::clone(&state);
        let commits = Commits::new(Arc::clone(&group), Box::new(move || member(&running)));
        Self { group, patience, tokens, state, commits }
    }

    /// The number of partitions now; partitions can be added while the worker runs.
    ///
    /// # Errors
    /// `Unreachable` when no broker answers in time, `NotRunning` after `close`.
    pub async fn partition_count(&self) -> Result<i32, FlowError> {
        let member = self.ensure_member()?;
        let found = admin::partitions(Arc::clone(&self.group), member, self.patience).await?;
        found.ok_or_else(|| admin::topic_missing(&self.group.topics.jobs, &self.group.settings, "it was deleted"))
    }

    fn member(&self) -> Option<Arc<Member>> {
        member(&self.state)
    }

    fn not_running(action: &str) -> FlowError {
        FlowError::NotRunning { state: "closed".into(), action: action.into() }
    }

    /// The client; created, with its thread, when there is none yet.
    fn ensure_member(&self) -> Result<Arc<Member>, FlowError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Self::not_running("using the consumer"));
        }
        if let Some(running) = &state.running {
            return lock(&running.member).clone().ok_or_else(|| Self::not_running("using the consumer"));
        }
        let config = self.group.settings.consumer(&self.group.topics.group);
        let member = Arc::new(
            make_client(|| Member::from_config_and_context(&config, Callbacks(Arc::clone(&self.group)))).map_err(|error| errors::refused_setting(&error))?,
        );
        state.running = Some(self.spawn(&member)?);
        Ok(member)
    }

    fn spawn(&self, member: &Arc<Member>) -> Result<Running, FlowError> {
        let (end, ended) = watch::channel(false);
        let slot = Arc::new(Mutex::new(Some(Arc::clone(member))));
        let thread = Thread { group: Arc::clone(&self.group), slot: Arc::clone(&slot) };
        std::thread::Builder::new()
            .name("flowcraft-kafka-consumer".into())
            .spawn(move || {
                thread.run();
                let _ = end.send(true);
            })
            .map_err(|error| FlowError::Internal { place: "kafka consumer", detail: format!("no thread: {error}") })?;
        Ok(Running { member: slot, ended })
    }
}

fn member(state: &Mutex<State>) -> Option<Arc<Member>> {
    let running = lock(state).running.clone()?;
    lock(&running.member).clone()
}

/// What the consumer's thread works with.
struct Thread {
    group: Arc<Group>,
    slot: Arc<Mutex<Option<Arc<Member>>>>,
}

impl Thread {
    /// Polls until the source closes or fails, then leaves the group. `Ended` is the last event.
    fn run(self) {
        let Some(member) = lock(&self.slot).clone() else { return };
        // A panic (there is no way to one that we know of) must end the source, not hang it.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.consume(&member)));
        let failure = ended.unwrap_or_else(|_| Some(FlowError::Internal { place: "kafka consumer", detail: "its thread panicked".into() }));
        self.group.set_closing();
        lock(&self.slot).take();
        leave(&member);
        release(member);
        self.group.emit(SourceEvent::Ended(failure));
        self.group.silence();
    }

    fn consume(&self, member: &Arc<Member>) -> Option<FlowError> {
        while !self.group.closing() {
            self.group.lifeline.hold(member, |member| member.client());
            if let Err(failure) = self.poll_batch(member) {
                return Some(failure);
            }
        }
        None
    }

    /// Waits for a message, then takes along what else is ready: a batch is never waited for.
    fn poll_batch(&self, member: &Member) -> Result<(), FlowError> {
        let mut wait = POLL;
        while let Some(polled) = member.poll(wait) {
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    if self.group.gather(raw(&message)) >= BATCH {
                        break;
                    }
                }
                Err(KafkaError::MessageConsumptionFatal(_)) => return Err(self.fatal(member)),
                // Every other error was told to the context already, with its reason.
                Err(_) => {}
            }
        }
        self.group.flush();
        Ok(())
    }

    fn fatal(&self, member: &Member) -> FlowError {
        let cause = member.client().fatal_error().map_or_else(|| "fatal consumer error".to_owned(), |(code, text)| format!("{code}: {text}"));
        FlowError::Store { service: Service::Kafka, operation: format!("consuming \"{}\"", self.group.topics.jobs), cause, retry: Retry::Never }
    }
}

/// Leaves the group: the queue is closed and served until librdkafka has said good-bye. Bounded, because
/// the crate's own drop would wait for ever.
fn leave(member: &Member) {
    member.unsubscribe();
    if member.close_queue().is_err() {
        return;
    }
    let deadline = Instant::now() + LEAVE_LIMIT;
    while !member.closed() && Instant::now() < deadline {
        let _ = member.poll(Duration::from_millis(10));
    }
}

/// Destroys the client on this thread. A client that did not close, or that somebody still holds, is
/// left in memory: destroying it would block.
fn release(member: Arc<Member>) {
    let closed = member.closed();
    let deadline = Instant::now() + RELEASE_LIMIT;
    let mut member = member;
    while closed && Instant::now() < deadline {
        match Arc::try_unwrap(member) {
            Ok(last) => return drop(last),
            Err(shared) => member = shared,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    std::mem::forget(member);
}

fn raw(message: &BorrowedMessage<'_>) -> RawMessage {
    RawMessage {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        hops: number(message, HOPS_HEADER).unwrap_or(0),
        headers: foreign_headers(message),
        timestamp_ms: number(message, SENT_HEADER).or_else(|| message.timestamp().to_millis()),
    }
}

/// The headers that others gave the message: ours are written anew where they are needed.
fn foreign_headers(message: &BorrowedMessage<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let foreign = headers.iter().filter(|header| !header.key.starts_with(OWN_HEADERS));
    foreign.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
}

/// What one of our headers says; one that nobody of ours wrote counts as none.
fn number<T: FromStr>(message: &BorrowedMessage<'_>, name: &str) -> Option<T> {
    let found = message.headers()?.iter().find(|header| header.key == name)?.value?;
    std::str::from_utf8(found).ok()?.parse().ok()
}

#[async_trait]
impl JobSource for KafkaSource {
    async fn prepare(&self) -> Result<TopicFacts, FlowError> {
        let member = self.ensure_member()?;
        let partitions = admin::prepare(Arc::clone(&self.group), member, self.tokens.clone(), self.patience).await?;
        Ok(TopicFacts { partitions })
    }

    async fn start(&self, events: SourceHandle) -> Result<(), FlowError> {
        let member = self.ensure_member()?;
        if !self.group.listen(events) {
            return Err(FlowError::Internal { place: "kafka consumer", detail: "started twice".into() });
        }
        let topic = self.group.topics.jobs.as_str();
        member.subscribe(&[topic]).map_err(|error| errors::store(format!("subscribing to \"{topic}\""), &error))
    }

    fn pause(&self, partitions: &[i32]) {
        if let Some(member) = self.member() {
            // Refused are partitions that were revoked meanwhile.
            let _ = member.pause(&self.group.owned(partitions));
        }
    }

    fn resume(&self, partitions: &[i32]) {
        if let Some(member) = self.member() {
            let _ = member.resume(&self.group.owned(partitions));
        }
    }

    fn commit(&self, positions: &[(i32, i64)]) {
        self.commits.ask(positions, None);
    }

    async fn commit_now(&self, positions: &[(i32, i64)]) -> Result<(), FlowError> {
        let (answer, answered) = oneshot::channel();
        self.commits.ask(positions, Some(answer));
        match tokio::time::timeout(COMMIT_LIMIT, answered).await {
            Ok(Ok(committed)) => committed,
            Ok(Err(_)) => Err(FlowError::Internal { place: "kafka consumer", detail: "the commit panicked".into() }),
            Err(_) => Err(errors::store("committing offsets", &KafkaError::ConsumerCommit(rdkafka::error::RDKafkaErrorCode::OperationTimedOut))),
        }
    }

    async fn facts(&self) -> Result<TopicFacts, FlowError> {
        Ok(TopicFacts { partitions: self.partition_count().await? })
    }

    async fn keeps_beyond(&self, retention: Duration) -> Option<String> {
        let (topic, settings) = (&self.group.topics.jobs, &self.group.settings);
        let keeps = admin::keeps(settings, self.tokens.clone(), topic, self.patience).await;
        keeps.warning(topic, settings.first_broker(), retention)
    }

    async fn end_offset(&self, partition: i32) -> Result<Option<i64>, FlowError> {
        let member = self.member().ok_or_else(|| Self::not_running("looking up the end of the log"))?;
        let (topic, limit) = (self.group.topics.jobs.clone(), self.patience);
        // The client asks the broker and waits: not on a thread of the runtime.
        let asked = tokio::task::spawn_blocking(move || member.fetch_watermarks(&topic, partition, limit)).await;
        let failed =
            |cause: String| FlowError::Store { service: Service::Kafka, operation: "looking up the end of the log".into(), cause, retry: Retry::Later };
        let (_, end) = asked.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        Ok(Some(end))
    }

    fn rewind(&self, partition: i32, position: i64) {
        if let Some(member) = self.member() {
            // A seek that fails is a partition that is being taken away: the next owner reads it again.
            let _ = member.seek(&self.group.topics.jobs, partition, rdkafka::Offset::Offset(position), Duration::ZERO);
        }
    }

    fn leave(&self) {
        if let Some(member) = self.member() {
            member.unsubscribe();
        }
    }

    fn rejoin(&self) {
        let Some(member) = self.member() else { return };
        let topic = self.group.topics.jobs.as_str();
        if let Err(error) = member.subscribe(&[topic]) {
            self.group.trouble(None, errors::store(format!("subscribing to \"{topic}\""), &error));
        }
    }

    async fn close(&self) {
        self.group.set_closing();
        let running = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.running.clone()
        };
        if let Some(mut running) = running {
            let _ = tokio::time::timeout(CLOSE_LIMIT, running.ended.wait_for(|ended| *ended)).await;
        }
        self.group.silence();
    }
}

impl Drop for KafkaSource {
    /// Only signals: the thread closes the client by itself.
    fn drop(&mut self) {
        self.group.set_closing();
        self.group.silence();
    }
}
