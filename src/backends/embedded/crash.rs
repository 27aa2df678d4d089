//! A worker that dies in the middle of its work: after so many calls of its ports no call is answered any more and
//! nothing of it reaches the cluster, as after `kill -9`. What it held is as good as expired: others get its
//! partitions at once, its leases when their time is over.
//!
//! The last call that takes effect is not answered either. So every state that a crash can leave behind is reached by
//! some number of calls. Calls wait in vain until the worker is stopped: then they fail, so that nothing of it stays in memory.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::backends::lock;
use crate::kernel::effects::{ContextLayout, ContextWrite, DeadLetter, OutboundJob, StatusRecord, StoredContext};
use crate::kernel::error::FlowError;
use crate::kernel::lease::LeaseRow;
use crate::kernel::timer::Timer;
use crate::ports::{ContextStore, Coordination, JobSink, JobSource, LeaseStore, SendDone, SourceHandle, StatusStore, TimerStore, TopicFacts};

/// What the ports of one worker share: how many calls it has left.
pub struct Crash {
    left: AtomicU64,
    dead: AtomicBool,
    source: OnceLock<Arc<dyn JobSource>>,
    died: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Whom nobody answers: dropping them would be an answer, too.
    unanswered: Mutex<Vec<SendDone>>,
    buried: watch::Sender<bool>,
}

/// What becomes of a call.
#[derive(PartialEq, Eq)]
enum Fate {
    Served,
    Last,
    Lost,
}

impl Crash {
    /// Dies with call number `calls`; `died` is told once.
    #[must_use]
    pub fn after(calls: u64, died: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let died: Box<dyn FnOnce() + Send> = Box::new(died);
        Arc::new(Self {
            left: AtomicU64::new(calls.max(1)),
            dead: AtomicBool::new(false),
            source: OnceLock::new(),
            died: Mutex::new(Some(died)),
            unanswered: Mutex::default(),
            buried: watch::Sender::new(false),
        })
    }

    fn fate(&self) -> Fate {
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match before {
            Ok(1) => Fate::Last,
            Ok(_) => Fate::Served,
            Err(_) => Fate::Lost,
        }
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        if let Some(source) = self.source.get().cloned() {
            // The group notices that a member is silent: here at once.
            tokio::spawn(async move { source.close().await });
        }
        if let Some(died) = lock(&self.died).take() {
            died();
        }
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T, FlowError>> + Send) -> Result<T, FlowError> {
        let fate = self.fate();
        if fate == Fate::Lost {
            return self.no_answer().await;
        }
        let answer = work.await;
        if fate == Fate::Last {
            self.die();
        }
        if self.is_dead() { self.no_answer().await } else { answer }
    }

    async fn no_answer<T>(&self) -> Result<T, FlowError> {
        // An error means that the sender is gone, and so is the worker.
        let _ = self.buried.subscribe().wait_for(|buried| *buried).await;
        Err(FlowError::NotRunning { state: "dead".into(), action: "a call of its stores".into() })
    }

    /// The worker was stopped: whoever still waits need not any more.
    fn bury(&self) {
        self.buried.send_replace(true);
        lock(&self.unanswered).clear();
    }

    /// Calls that are not waited for.
    fn cast(&self, work: impl FnOnce()) {
        let fate = self.fate();
        if fate != Fate::Lost {
            work();
        }
        if fate == Fate::Last {
            self.die();
        }
    }

    /// Calls that answer by a callback.
    fn send(&self, done: SendDone, work: impl FnOnce(SendDone)) {
        let fate = self.fate();
        if fate == Fate::Served {
            return work(done);
        }
        lock(&self.unanswered).push(done);
        if fate == Fate::Last {
            work(Box::new(|_| ()));
            self.die();
        }
    }

    /// The same worker's view of a store or of its producer.
    #[must_use]
    pub fn port<P: ?Sized>(self: &Arc<Self>, inner: Arc<P>) -> Arc<Mortal<P>> {
        Arc::new(Mortal { inner, crash: Arc::clone(self) })
    }

    /// Its membership of the group.
    #[must_use]
    pub fn source(self: &Arc<Self>, inner: Arc<dyn JobSource>) -> Arc<dyn JobSource> {
        let _ = self.source.set(Arc::clone(&inner));
        self.port(inner)
    }
}

/// A port whose worker dies.
pub struct Mortal<P: ?Sized> {
    crash: Arc<Crash>,
    inner: Arc<P>,
}

#[async_trait]
impl ContextStore for Mortal<dyn ContextStore> {
    fn layout(&self) -> ContextLayout {
        self.inner.layout()
    }

    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        self.crash.call(self.inner.load(run)).await
    }

    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError> {
        self.crash.call(self.inner.write_micros(run)).await
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        self.crash.call(self.inner.write(write)).await
    }
}

#[async_trait]
impl StatusStore for Mortal<dyn StatusStore> {
    async fn touch(&self, run: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        self.crash.call(self.inner.touch(run, timestamp_micros)).await
    }

    async fn publish(&self, record: &StatusRecord) -> Result<(), FlowError> {
        self.crash.call(self.inner.publish(record)).await
    }

    async fn status(&self, run: &str) -> Result<Option<String>, FlowError> {
        self.crash.call(self.inner.status(run)).await
    }
}

#[async_trait]
impl TimerStore for Mortal<dyn TimerStore> {
    async fn put(&self, timer: &Timer) -> Result<(), FlowError> {
        self.crash.call(self.inner.put(timer)).await
    }

    async fn delete(&self, timer: &Timer) -> Result<(), FlowError> {
        self.crash.call(self.inner.delete(timer)).await
    }

    async fn find(&self, shard: i32, from_ms: i64, until_ms: i64) -> Result<Vec<Timer>, FlowError> {
        self.crash.call(self.inner.find(shard, from_ms, until_ms)).await
    }

    async fn parked(&self, shard: i32) -> Result<Vec<Timer>, FlowError> {
        self.crash.call(self.inner.parked(shard)).await
    }
}

#[async_trait]
impl LeaseStore for Mortal<dyn LeaseStore> {
    async fn find(&self, partition: i32) -> Result<Option<LeaseRow>, FlowError> {
        self.crash.call(self.inner.find(partition)).await
    }

    async fn swap(&self, partition: i32, seen: Option<&LeaseRow>, row: &LeaseRow) -> Result<bool, FlowError> {
        self.crash.call(self.inner.swap(partition, seen, row)).await
    }
}

#[async_trait]
impl Coordination for Mortal<dyn Coordination> {
    async fn increment(&self, key: &str, ttl_seconds: u64) -> Result<i64, FlowError> {
        self.crash.call(self.inner.increment(key, ttl_seconds)).await
    }

    async fn set_if_not_exist(&self, key: &str, value: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        self.crash.call(self.inner.set_if_not_exist(key, value, ttl_seconds)).await
    }

    async fn delete(&self, key: &str) -> Result<(), FlowError> {
        self.crash.call(self.inner.delete(key)).await
    }

    async fn extend_ttl(&self, key: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        self.crash.call(self.inner.extend_ttl(key, ttl_seconds)).await
    }

    async fn get(&self, key: &str) -> Result<Option<String>, FlowError> {
        self.crash.call(self.inner.get(key)).await
    }
}

#[async_trait]
impl JobSource for Mortal<dyn JobSource> {
    async fn prepare(&self) -> Result<TopicFacts, FlowError> {
        self.inner.prepare().await
    }

    async fn start(&self, events: SourceHandle) -> Result<(), FlowError> {
        let crash = Arc::clone(&self.crash);
        let alive: SourceHandle = Arc::new(move |event| {
            if !crash.is_dead() {
                events(event);
            }
        });
        self.inner.start(alive).await
    }

    fn pause(&self, partitions: &[i32]) {
        self.inner.pause(partitions);
    }

    fn resume(&self, partitions: &[i32]) {
        self.inner.resume(partitions);
    }

    fn commit(&self, positions: &[(i32, i64)]) {
        self.crash.cast(|| self.inner.commit(positions));
    }

    async fn commit_now(&self, positions: &[(i32, i64)]) -> Result<(), FlowError> {
        self.crash.call(self.inner.commit_now(positions)).await
    }

    fn rewind(&self, partition: i32, position: i64) {
        self.inner.rewind(partition, position);
    }

    fn leave(&self) {
        self.inner.leave();
    }

    fn rejoin(&self) {
        self.inner.rejoin();
    }

    async fn facts(&self) -> Result<TopicFacts, FlowError> {
        self.inner.facts().await
    }

    async fn keeps_beyond(&self, retention: Duration) -> Option<String> {
        self.inner.keeps_beyond(retention).await
    }

    async fn end_offset(&self, partition: i32) -> Result<Option<i64>, FlowError> {
        self.crash.call(self.inner.end_offset(partition)).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl JobSink for Mortal<dyn JobSink> {
    fn send(&self, job: &OutboundJob, done: SendDone) {
        self.crash.send(done, |done| self.inner.send(job, done));
    }

    fn dead_letter(&self, letter: &DeadLetter, done: SendDone) {
        self.crash.send(done, |done| self.inner.dead_letter(letter, done));
    }

    async fn close(&self) {
        self.crash.bury();
        self.inner.close().await;
    }
}
