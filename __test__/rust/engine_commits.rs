//! Commits that fail, and those of a partition that is handed over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::backends::clock::SystemClock;
use crate::backends::embedded::Cluster;
use crate::engine::{Engine, Ports, Settings, StartLimit, start};
use crate::kernel::error::FlowError;
use crate::kernel::lifecycle::Lifecycle;
use crate::kernel::machine;
use crate::ports::{
    ContextStore, DeadLetter, Executor, Host, JobSink, JobSource, LogLevel, OutboundJob, RawMessage, SendDone, SourceEvent, SourceHandle, StatusStore,
    ToSession, TopicFacts,
};

pub const PATIENCE: Duration = Duration::from_secs(10);
const KEPT: i32 = 1;
const MOVING: i32 = 0;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job log that does what the test says, and notes what the engine does.
#[derive(Default)]
pub struct Log {
    events: Mutex<Option<SourceHandle>>,
    pub committed: Mutex<Vec<(i32, i64)>>,
    /// Those of them that were committed in a hand-over.
    handed_over: Mutex<Vec<(i32, i64)>>,
    /// The next commit is refused.
    refuses: AtomicBool,
    /// Runs of dead letters.
    pub buried: Mutex<Vec<String>>,
    pub changed: Notify,
}

impl Log {
    pub fn emit(&self, event: SourceEvent) {
        let events = lock(&self.events).clone().unwrap();
        events(event);
    }

    pub async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let found = async {
            loop {
                let changed = self.changed.notified();
                match look(self) {
                    Some(found) => return found,
                    None => changed.await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
    }
}

#[async_trait]
impl JobSource for Log {
    async fn prepare(&self) -> Result<TopicFacts, FlowError> {
        Ok(TopicFacts { partitions: 2 })
    }

    async fn start(&self, events: SourceHandle) -> Result<(), FlowError> {
        *lock(&self.events) = Some(events);
        self.emit(SourceEvent::Joined);
        Ok(())
    }

    fn pause(&self, _partitions: &[i32]) {}

    fn resume(&self, _partitions: &[i32]) {}

    fn commit(&self, positions: &[(i32, i64)]) {
        if self.refuses.swap(false, Ordering::SeqCst) {
            return self.emit(SourceEvent::NotCommitted(positions.iter().map(|(partition, _)| *partition).collect()));
        }
        lock(&self.committed).extend_from_slice(positions);
        self.changed.notify_one();
    }

    async fn commit_now(&self, positions: &[(i32, i64)]) -> Result<(), FlowError> {
        lock(&self.handed_over).extend_from_slice(positions);
        self.commit(positions);
        Ok(())
    }

    async fn close(&self) {}
}

#[async_trait]
impl JobSink for Log {
    fn send(&self, _job: &OutboundJob, done: SendDone) {
        done(Ok(None));
    }

    fn dead_letter(&self, letter: &DeadLetter, done: SendDone) {
        lock(&self.buried).extend(letter.run.clone());
        done(Ok(None));
        self.changed.notify_one();
    }

    async fn close(&self) {}
}

struct Nobody;

impl Executor for Nobody {
    fn deliver(&self, _batch: Vec<ToSession>) {}
}

impl Host for Nobody {
    fn log(&self, _level: LogLevel, _text: String) {}
    fn state(&self, _state: Lifecycle, _detail: &str) {}
    fn ask_for_pulse(&self) {}
    fn hand_over(&self, _token: u64, _job: &OutboundJob) {}
    fn settle(&self, _submission: u64, _result: Result<(), FlowError>) {}
}

async fn engine(log: &Arc<Log>) -> Engine {
    let cluster = Cluster::default();
    engine_over(log, cluster.contexts("contexts"), cluster.statuses("statuses"), Arc::new(Nobody)).await
}

pub async fn engine_over(log: &Arc<Log>, contexts: Arc<dyn ContextStore>, statuses: Arc<dyn StatusStore>, executor: Arc<dyn Executor>) -> Engine {
    let ports = Ports {
        source: log.clone(),
        sink: log.clone(),
        direct_sink: log.clone(),
        contexts,
        statuses,
        leases: None,
        coordination: None,
        timers: Err("none".into()),
        executor,
        host: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
    };
    let settings = Settings {
        topic: "jobs".into(),
        group: "group".into(),
        worker_id: "worker".into(),
        machine: machine::Config::default(),
        lease_ttl: PATIENCE,
        revoke_grace: PATIENCE,
        max_stall: PATIENCE,
        start_limit: StartLimit::begin(Some(PATIENCE), Duration::ZERO),
        log_outcomes: false,
        virtual_source: false,
    };
    start(ports, settings, |_| ()).await.unwrap()
}

/// A message without a value, which is complete as it is read.
fn empty(partition: i32, offset: i64) -> RawMessage {
    RawMessage { partition, offset, key: None, value: None, hops: 0, headers: Vec::new(), timestamp_ms: None }
}

/// Feeds the partitions until they are worked on, and answers the position that was then committed for the kept one.
async fn at_work(log: &Log) -> i64 {
    log.emit(SourceEvent::Assigned(vec![MOVING, KEPT]));
    log.emit(SourceEvent::Messages(vec![empty(MOVING, 0), empty(KEPT, 0)]));
    for position in [(MOVING, 1), (KEPT, 1)] {
        log.until("the first messages are committed", |log| lock(&log.committed).contains(&position).then_some(())).await;
    }
    1
}

#[tokio::test]
async fn g5_a_commit_that_fails_is_made_again_though_the_partition_is_at_rest() {
    let log = Arc::new(Log::default());
    let engine = engine(&log).await;
    let offset = at_work(&log).await;
    log.refuses.store(true, Ordering::SeqCst);
    log.emit(SourceEvent::Messages(vec![empty(KEPT, offset)]));
    log.until("the commit is made again", |log| lock(&log.committed).contains(&(KEPT, offset + 1)).then_some(())).await;
    assert!(!log.refuses.load(Ordering::SeqCst), "the first one was refused");
    engine.stop(PATIENCE).await;
    assert!(lock(&log.handed_over).contains(&(KEPT, offset + 1)), "the stop commits all positions: one that is on its way may fail");
}

// One thread: what the test emits without waiting in between is taken in one turn of the loop.
#[tokio::test]
async fn g5_a_handover_commits_what_goes_and_leaves_what_stays_to_the_usual_commit() {
    let log = Arc::new(Log::default());
    let engine = engine(&log).await;
    let offset = at_work(&log).await;
    log.emit(SourceEvent::Messages(vec![empty(MOVING, offset), empty(KEPT, offset)]));
    let (done, given_up) = mpsc::channel();
    log.emit(SourceEvent::Revoking { partitions: vec![MOVING], done });
    let waiting = tokio::task::spawn_blocking(move || given_up.recv_timeout(PATIENCE));
    waiting.await.unwrap().unwrap();
    assert_eq!(*lock(&log.handed_over), [(MOVING, offset + 1)]);
    log.until("what stays is committed", |log| lock(&log.committed).contains(&(KEPT, offset + 1)).then_some(())).await;
    engine.stop(PATIENCE).await;
}
