//! A member of a consumer group, on a thread of its own like the Kafka one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;

use super::assignment::MemberId;
use super::log::{Task, Topic};
use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::retention::Keeps;
use crate::ports::{JobSource, SourceEvent, SourceHandle, TopicFacts};

/// Longest wait for the engine to finish its work on revoked partitions.
const REVOKE_LIMIT: Duration = Duration::from_secs(60);
/// How often a wait looks whether the member is closing or was expelled.
const WAIT_SLICE: Duration = Duration::from_millis(20);
/// A sleeping member is woken by changes; this only bounds a wake-up that was missed.
const SLEEP: Duration = Duration::from_millis(500);
/// How long `close` waits for the thread.
const CLOSE_LIMIT: Duration = Duration::from_secs(12);

/// One member.
pub struct EmbeddedSource {
    shared: Arc<Shared>,
    running: Mutex<Option<watch::Receiver<bool>>>,
}

struct Shared {
    topic: Arc<Topic>,
    group: String,
    paused: Mutex<BTreeSet<i32>>,
    /// Our id while we are in the group.
    member: Mutex<Option<MemberId>>,
    closing: AtomicBool,
    expelled: AtomicBool,
}

impl EmbeddedSource {
    pub(super) fn new(topic: Arc<Topic>, group: &str) -> Self {
        let shared = Shared {
            topic,
            group: group.into(),
            paused: Mutex::default(),
            member: Mutex::default(),
            closing: AtomicBool::new(false),
            expelled: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), running: Mutex::default() }
    }

    /// Expels the member from its group as an expired session would: its partitions are gone at once and
    /// it learns of that afterwards; then it joins again.
    pub fn expire(&self) {
        self.shared.expelled.store(true, Ordering::SeqCst);
        self.shared.topic.wake();
    }

    fn closed(&self) -> bool {
        self.shared.closing.load(Ordering::SeqCst)
    }

    fn refuse_when_closed(&self, action: &str) -> Result<(), FlowError> {
        if self.closed() {
            return Err(FlowError::NotRunning { state: "closed".into(), action: action.into() });
        }
        Ok(())
    }
}

#[async_trait]
impl JobSource for EmbeddedSource {
    async fn prepare(&self) -> Result<TopicFacts, FlowError> {
        self.refuse_when_closed("preparing")?;
        Ok(TopicFacts { partitions: self.shared.topic.partitions() })
    }

    async fn start(&self, events: SourceHandle) -> Result<(), FlowError> {
        self.refuse_when_closed("starting")?;
        let mut running = lock(&self.running);
        if running.is_some() {
            return Err(FlowError::Internal { place: "embedded consumer", detail: "started twice".into() });
        }
        let (end, ended) = watch::channel(false);
        let thread = Thread { shared: Arc::clone(&self.shared), events, positions: BTreeMap::new(), joined: false };
        std::thread::Builder::new()
            .name("flowcraft-embedded-consumer".into())
            .spawn(move || {
                thread.run();
                let _ = end.send(true);
            })
            .map_err(|error| FlowError::Internal { place: "embedded consumer", detail: format!("no thread: {error}") })?;
        *running = Some(ended);
        Ok(())
    }

    fn pause(&self, partitions: &[i32]) {
        lock(&self.shared.paused).extend(partitions);
    }

    fn resume(&self, partitions: &[i32]) {
        lock(&self.shared.paused).retain(|partition| !partitions.contains(partition));
        self.shared.topic.wake();
    }

    fn commit(&self, positions: &[(i32, i64)]) {
        if let Some(member) = *lock(&self.shared.member) {
            self.shared.topic.commit(&self.shared.group, member, positions);
        }
    }

    async fn commit_now(&self, positions: &[(i32, i64)]) -> Result<(), FlowError> {
        self.refuse_when_closed("committing offsets")?;
        self.commit(positions);
        Ok(())
    }

    async fn keeps_beyond(&self, retention: Duration) -> Option<String> {
        let Shared { topic, .. } = &*self.shared;
        Keeps::Unknown("the embedded one keeps them as long as its process lives".into()).warning(topic.name(), "", retention)
    }

    async fn end_offset(&self, partition: i32) -> Result<Option<i64>, FlowError> {
        self.refuse_when_closed("looking up the end of the log")?;
        Ok(self.shared.topic.end(partition))
    }

    async fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.topic.wake();
        let running = lock(&self.running).clone();
        if let Some(mut ended) = running {
            let _ = tokio::time::timeout(CLOSE_LIMIT, ended.wait_for(|ended| *ended)).await;
        }
    }
}

impl Drop for EmbeddedSource {
    /// Only signals: the thread leaves the group by itself.
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.topic.wake();
    }
}

struct Thread {
    shared: Arc<Shared>,
    events: SourceHandle,
    /// Next offset to deliver of each partition we hold.
    positions: BTreeMap<i32, i64>,
    joined: bool,
}

impl Thread {
    fn run(mut self) {
        let mut member = self.join();
        while !self.closing() {
            if self.shared.expelled.swap(false, Ordering::SeqCst) {
                self.lose(member);
                member = self.join();
            }
            self.follow_assignment(member);
            if !self.deliver() {
                self.sleep(member);
            }
        }
        lock(&self.shared.member).take();
        self.shared.topic.leave(&self.shared.group, member);
        (self.events)(SourceEvent::Ended(None));
    }

    fn closing(&self) -> bool {
        self.shared.closing.load(Ordering::SeqCst)
    }

    fn join(&self) -> MemberId {
        let member = self.shared.topic.join(&self.shared.group);
        *lock(&self.shared.member) = Some(member);
        member
    }

    fn lose(&mut self, member: MemberId) {
        lock(&self.shared.member).take();
        let held = self.shared.topic.leave(&self.shared.group, member);
        self.positions.clear();
        if !held.is_empty() {
            (self.events)(SourceEvent::Lost(held));
        }
    }

    fn follow_assignment(&mut self, member: MemberId) {
        let task = self.shared.topic.next_task(&self.shared.group, member);
        if !self.joined {
            self.joined = true;
            (self.events)(SourceEvent::Joined);
        }
        match task {
            Task::Stay => {}
            Task::Release(partitions) => {
                self.hand_back(&partitions);
                if !self.shared.expelled.load(Ordering::SeqCst) {
                    self.positions.retain(|partition, _| !partitions.contains(partition));
                    self.shared.topic.release(&self.shared.group, member, &partitions);
                }
            }
            Task::Take(taken) => {
                // Pausing belongs to an assignment and ends with it.
                lock(&self.shared.paused).retain(|partition| !taken.iter().any(|(new, _)| new == partition));
                (self.events)(SourceEvent::Assigned(taken.iter().map(|(partition, _)| *partition).collect()));
                self.positions.extend(taken);
            }
        }
    }

    fn hand_back(&self, partitions: &[i32]) {
        let (done, finished) = mpsc::channel();
        (self.events)(SourceEvent::Revoking { partitions: partitions.to_vec(), done });
        let deadline = Instant::now() + REVOKE_LIMIT;
        // A message or a dropped sender both end the wait.
        while let Err(mpsc::RecvTimeoutError::Timeout) = finished.recv_timeout(WAIT_SLICE) {
            if self.closing() || self.shared.expelled.load(Ordering::SeqCst) || Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Whether there was something to deliver.
    fn deliver(&mut self) -> bool {
        let paused = lock(&self.shared.paused).clone();
        let batch = self.shared.topic.read(&mut self.positions, |partition| paused.contains(&partition));
        let any = !batch.is_empty();
        if any {
            (self.events)(SourceEvent::Messages(batch));
        }
        any
    }

    fn sleep(&self, member: MemberId) {
        let called = || self.closing() || self.shared.expelled.load(Ordering::SeqCst);
        let paused = &self.shared.paused;
        self.shared.topic.wait(SLEEP, called, |topic| {
            let paused = lock(paused);
            let message = self.positions.iter().any(|(partition, position)| !paused.contains(partition) && topic.has(*partition, *position));
            message || topic.has_task(&self.shared.group, member)
        });
    }
}
