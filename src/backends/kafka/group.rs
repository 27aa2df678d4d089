//! What happens to the group member: assignments, revocations, errors and librdkafka's warnings.
//!
//! Everything here runs on the consumer's own thread, inside its poll, except where noted.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::KafkaTopics;
use super::config::{KafkaSettings, StartPosition, TokenSource, fresh_token};
use super::errors;
use super::lifeline::Lifeline;
use crate::backends::lock;
use crate::kernel::error::{FlowError, Retry, Service};
use crate::kernel::mutant::{Mutant, mutant};
use crate::ports::{RawMessage, SourceEvent, SourceHandle};

/// Longest wait for the engine to finish its work on revoked partitions. Its own grace is shorter (G8);
/// this bound only keeps a bug there from holding up the whole group. Far below `max.poll.interval.ms`.
const REVOKE_LIMIT: Duration = Duration::from_secs(60);
/// How often a wait looks whether the assignment was lost or the source is closing.
const WAIT_SLICE: Duration = Duration::from_millis(50);
/// For questions to the coordinator on assignment.
const COORDINATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts at finding and committing the start positions of new partitions.
const START_ATTEMPTS: u32 = 6;
/// The same trouble is reported again only after this time: librdkafka repeats its errors at its own pace.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);
/// That all brokers are down is reported only when nothing was told of any of them for this long.
const ALL_DOWN_PAUSE: Duration = Duration::from_secs(30);

/// The librdkafka consumer of this group member.
pub(super) type Member = BaseConsumer<Callbacks>;

/// What librdkafka calls back: the shared [`Group`].
pub(super) struct Callbacks(pub(super) Arc<Group>);

/// State that the callbacks share with the source.
pub(super) struct Group {
    pub(super) settings: Arc<KafkaSettings>,
    pub(super) topics: Arc<KafkaTopics>,
    pub(super) lifeline: Arc<Lifeline>,
    tokens: Option<Arc<dyn TokenSource>>,
    events: OnceLock<SourceHandle>,
    /// What `prepare` came upon, when nobody listens yet.
    untold: Mutex<Option<FlowError>>,
    /// Messages polled and not yet handed over.
    batch: Mutex<Vec<RawMessage>>,
    /// Partitions commits are allowed for, and the assignment in which each came.
    assigned: Mutex<BTreeMap<i32, u64>>,
    assignments: AtomicU64,
    /// Partitions that had a committed position when we held them: if it is gone later it has vanished
    /// and is not new.
    known: Mutex<HashSet<i32>>,
    joined: AtomicBool,
    closing: AtomicBool,
    silent: AtomicBool,
    /// Last trouble, for `prepare` to tell why nothing answers, and to not repeat it.
    last_trouble: Mutex<Option<(Option<Code>, FlowError, Instant)>>,
}

impl Group {
    pub(super) fn new(settings: Arc<KafkaSettings>, topics: Arc<KafkaTopics>, tokens: Option<Arc<dyn TokenSource>>) -> Self {
        Self {
            lifeline: Lifeline::new(&settings, &topics),
            settings,
            topics,
            tokens,
            events: OnceLock::new(),
            untold: Mutex::default(),
            batch: Mutex::default(),
            assigned: Mutex::default(),
            assignments: AtomicU64::new(0),
            known: Mutex::default(),
            joined: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            last_trouble: Mutex::default(),
        }
    }

    /// Where events go from now on. `false` when that was decided before.
    pub(super) fn listen(&self, events: SourceHandle) -> bool {
        let is_first = self.events.set(events).is_ok();
        let untold = lock(&self.untold).take();
        if let Some(error) = untold {
            self.trouble(None, error);
        }
        is_first
    }

    /// Any thread: an orderly close has begun; only `Ended` is told from now on.
    pub(super) fn set_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(super) fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Any thread: no callback may happen any more.
    pub(super) fn silence(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    pub(super) fn emit(&self, event: SourceEvent) {
        if self.silent.load(Ordering::SeqCst) {
            return;
        }
        if let Some(events) = self.events.get() {
            events(event);
        }
    }

    /// Adds a message to the batch; answers how many wait.
    pub(super) fn gather(&self, message: RawMessage) -> usize {
        let mut batch = lock(&self.batch);
        batch.push(message);
        batch.len()
    }

    /// Hands the gathered messages over.
    pub(super) fn flush(&self) {
        let batch = std::mem::take(&mut *lock(&self.batch));
        if !batch.is_empty() && !self.closing() {
            self.emit(SourceEvent::Messages(batch));
        }
    }

    /// Any thread: in which assignment a partition that is ours came.
    pub(super) fn assignment(&self, partition: i32) -> Option<u64> {
        lock(&self.assigned).get(&partition).copied()
    }

    /// Any thread: the list of those positions whose partitions are still ours by the same assignment.
    pub(super) fn still_owned(&self, positions: &BTreeMap<i32, (i64, u64)>) -> TopicPartitionList {
        let assigned = lock(&self.assigned);
        let owned = positions.iter().filter(|(partition, (_, assignment))| assigned.get(partition) == Some(assignment));
        self.list(owned.map(|(partition, (offset, _))| (*partition, Offset::Offset(*offset))))
    }

    /// Any thread: the assigned ones of these partitions.
    pub(super) fn owned(&self, partitions: &[i32]) -> TopicPartitionList {
        let assigned = lock(&self.assigned);
        self.list(partitions.iter().filter(|partition| assigned.contains_key(partition)).map(|partition| (*partition, Offset::Invalid)))
    }

    fn list(&self, entries: impl Iterator<Item = (i32, Offset)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in entries {
            // Refused are negative offsets only, which are no positions to commit.
            let _ = list.add_partition_offset(&self.topics.jobs, partition, offset);
        }
        list
    }

    /// Any thread: what went wrong last, if that was within `span`.
    pub(super) fn recent_trouble(&self, span: Duration) -> Option<FlowError> {
        lock(&self.last_trouble).as_ref().filter(|(_, _, at)| at.elapsed() <= span).map(|(_, error, _)| error.clone())
    }

    /// A trouble that is no reason not to start, from before anybody listens.
    pub(super) fn trouble_at_start(&self, error: FlowError) {
        *lock(&self.untold) = Some(error);
    }

    /// Reports a problem, unless the same one was reported a moment ago. That all brokers are down only
    /// repeats, less precisely, what was told of each.
    pub(super) fn trouble(&self, code: Option<Code>, error: FlowError) {
        let fresh = {
            let mut last = lock(&self.last_trouble);
            let fresh = last.as_ref().is_none_or(|(known, _, at)| match code {
                None => true,
                Some(Code::AllBrokersDown) => at.elapsed() > ALL_DOWN_PAUSE,
                Some(_) => *known != code || at.elapsed() > TROUBLE_PAUSE,
            });
            if fresh {
                *last = Some((code, error.clone(), Instant::now()));
            }
            fresh
        };
        if fresh && !self.closing() {
            self.emit(SourceEvent::Trouble(error));
        }
    }

    fn describe(&self, code: Code, reason: &str) -> FlowError {
        match code {
            Code::InconsistentGroupProtocol => FlowError::GroupProtocol { group: self.topics.group.clone() },
            Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::SSL => errors::unreachable(&self.settings, reason),
            _ => FlowError::Store {
                service: Service::Kafka,
                operation: format!("consuming \"{}\"", self.topics.jobs),
                cause: reason.into(),
                retry: errors::retry(code),
            },
        }
    }

    fn assign(&self, consumer: &Member, list: &mut TopicPartitionList) {
        let partitions = partitions_of(list);
        if !self.closing() && !partitions.is_empty() && !mutant(Mutant::StartUncommitted) {
            self.fill_start_positions(consumer, list);
        }
        let assigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
            _ => consumer.assign(list),
        };
        if let Err(error) = assigned {
            self.trouble(None, errors::store("taking assigned partitions", &error));
            return;
        }
        let assignment = self.assignments.fetch_add(1, Ordering::Relaxed);
        lock(&self.assigned).extend(partitions.iter().map(|partition| (*partition, assignment)));
        if self.closing() {
            return;
        }
        if !self.joined.swap(true, Ordering::SeqCst) {
            self.emit(SourceEvent::Joined);
        }
        if !partitions.is_empty() {
            self.emit(SourceEvent::Assigned(partitions));
        }
    }

    /// Gives every partition without a committed position its start, committed before it is consumed
    /// (D4): otherwise a crash before the first commit would start at another place than this one did.
    fn fill_start_positions(&self, consumer: &Member, list: &mut TopicPartitionList) {
        for attempt in 1..=START_ATTEMPTS {
            match self.try_start_positions(consumer, list) {
                Ok(()) => return,
                Err(error) if attempt == START_ATTEMPTS || self.closing() => {
                    // Consumption then begins at the committed position, or at the log start where there is
                    // none: nothing is lost.
                    self.trouble(None, errors::store("committing the start position of new partitions", &error));
                }
                Err(_) => std::thread::sleep(WAIT_SLICE * attempt),
            }
        }
    }

    fn try_start_positions(&self, consumer: &Member, list: &mut TopicPartitionList) -> KafkaResult<()> {
        let committed = consumer.committed_offsets(list.clone(), COORDINATOR_TIMEOUT)?;
        let mut starts = Vec::new();
        for element in committed.elements() {
            element.error()?;
            if matches!(element.offset(), Offset::Offset(_)) {
                lock(&self.known).insert(element.partition());
            } else {
                starts.push((element.partition(), self.start_of(consumer, element.partition())?));
            }
        }
        if starts.is_empty() {
            return Ok(());
        }
        let positions = self.list(starts.iter().map(|(partition, offset)| (*partition, Offset::Offset(*offset))));
        consumer.commit(&positions, CommitMode::Sync)?;
        for (partition, offset) in starts {
            lock(&self.known).insert(partition);
            list.set_partition_offset(&self.topics.jobs, partition, Offset::Offset(offset))?;
        }
        Ok(())
    }

    fn start_of(&self, consumer: &Member, partition: i32) -> KafkaResult<i64> {
        let (low, high) = consumer.fetch_watermarks(&self.topics.jobs, partition, COORDINATOR_TIMEOUT)?;
        let vanished = lock(&self.known).contains(&partition);
        if vanished {
            self.vanished(partition, "its committed position is gone");
        }
        Ok(if vanished || self.settings.start_position == StartPosition::Earliest { low } else { high })
    }

    fn vanished(&self, partition: i32, cause: &str) {
        let operation = format!("reading \"{}\" partition {partition} from its position", self.topics.jobs);
        let cause = format!("{cause}; it is read again from the start of the log");
        self.trouble(None, FlowError::Store { service: Service::Kafka, operation, cause, retry: Retry::Later });
    }

    fn revoke(&self, consumer: &Member, list: &TopicPartitionList) {
        let partitions = partitions_of(list);
        if !partitions.is_empty() && !self.closing() {
            if consumer.assignment_lost() {
                self.lose(&partitions);
            } else {
                self.hand_back(consumer, &partitions);
            }
        }
        self.forget(&partitions);
        let given_up = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        if let Err(error) = given_up {
            self.trouble(None, errors::store("giving up revoked partitions", &error));
        }
    }

    fn forget(&self, partitions: &[i32]) {
        let mut assigned = lock(&self.assigned);
        for partition in partitions {
            assigned.remove(partition);
        }
    }

    fn lose(&self, partitions: &[i32]) {
        self.forget(partitions);
        self.emit(SourceEvent::Lost(partitions.to_vec()));
    }

    /// Tells the engine and waits for it. Heartbeats go on meanwhile, in librdkafka's own thread.
    fn hand_back(&self, consumer: &Member, partitions: &[i32]) {
        let (done, finished) = mpsc::channel();
        self.emit(SourceEvent::Revoking { partitions: partitions.to_vec(), done });
        let deadline = Instant::now() + REVOKE_LIMIT;
        // A message or a dropped sender both end the wait.
        while let Err(mpsc::RecvTimeoutError::Timeout) = finished.recv_timeout(WAIT_SLICE) {
            if consumer.assignment_lost() {
                self.lose(partitions);
                return;
            }
            if self.closing() || Instant::now() >= deadline {
                return;
            }
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

/// The partition of a warning `<topic> [<partition>]: offset reset (at ...) to ...: <reason>`, which is
/// the only way librdkafka tells of it (`rd_kafka_offset_reset`).
fn reset_partition(facility: &str, text: &str, topic: &str) -> Option<i32> {
    let at = text.find(&format!("{topic} ["))?;
    let rest = text.get(at + topic.len() + 2..)?;
    let (partition, rest) = rest.split_once("]: offset reset")?;
    (facility.contains("OFFSET") && !rest.is_empty()).then(|| partition.parse().ok())?
}

impl ClientContext for Callbacks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if let Some(partition) = reset_partition(facility, text, &self.0.topics.jobs) {
            self.0.vanished(partition, "the offset is no longer in the log");
        }
        tracing::debug!(target: "librdkafka", ?level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.0.lifeline.shaken(code);
            self.0.trouble(Some(code), self.0.describe(code, reason));
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        fresh_token(self.0.tokens.as_ref())
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &Member, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // Messages polled before this belong to the assignment that ends or grows here.
        self.0.flush();
        match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.0.assign(consumer, list),
            _ => self.0.revoke(consumer, list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_the_reset_warning() {
        let text =
            "[thrd:main]: jobs [3]: offset reset (at offset 5 (leader epoch 0), broker 1) to offset BEGINNING (leader epoch -1): fetch failed: out of range";
        assert_eq!(reset_partition("OFFSET", text, "jobs"), Some(3));
        assert_eq!(reset_partition("FAIL", text, "jobs"), None);
        assert_eq!(reset_partition("OFFSET", "jobs [3]: offset commit", "jobs"), None);
    }
}
