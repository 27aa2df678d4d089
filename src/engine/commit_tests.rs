//! Commits that fail while a partition is handed over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{Engine, Ports, Settings, StartLimit, start};
use crate::backends::clock::SystemClock;
use crate::backends::embedded::Cluster;
use crate::kernel::error::{FlowError, Retry, Service};
use crate::kernel::lifecycle::Lifecycle;
use crate::kernel::machine;
use crate::ports::{
    DeadLetter, Executor, Host, JobSink, JobSource, LogLevel, OutboundJob, RawMessage, SendDone, SourceEvent, SourceHandle, ToSession, TopicFacts,
};

const PATIENCE: Duration = Duration::from_secs(10);
const KEPT: i32 = 1;
const MOVING: i32 = 0;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job log that does what the test says, and notes what the engine does.
#[derive(Default)]
struct Log {
    events: Mutex<Option<SourceHandle>>,
    committed: Mutex<Vec<(i32, i64)>>,
    /// Positions whose commit was refused.
    refused: Mutex<Vec<(i32, i64)>>,
    refuses: AtomicBool,
    changed: Notify,
}

impl Log {
    fn emit(&self, event: SourceEvent) {
        let events = lock(&self.events).clone().unwrap();
        events(event);
    }

    async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
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
        lock(&self.committed).extend_from_slice(positions);
        self.changed.notify_one();
    }

    async fn commit_now(&self, positions: &[(i32, i64)]) -> Result<(), FlowError> {
        if self.refuses.load(Ordering::SeqCst) {
            lock(&self.refused).extend_from_slice(positions);
            return Err(FlowError::Store {
                service: Service::Kafka,
                operation: "committing offsets".into(),
                cause: "no coordinator".into(),
                retry: Retry::Later,
            });
        }
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

    fn dead_letter(&self, _letter: &DeadLetter, done: SendDone) {
        done(Ok(None));
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
    let ports = Ports {
        source: log.clone(),
        sink: log.clone(),
        direct_sink: log.clone(),
        contexts: cluster.contexts("contexts"),
        statuses: cluster.statuses("statuses"),
        leases: None,
        coordination: None,
        timers: Err("none".into()),
        executor: Arc::new(Nobody),
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
fn empty(offset: i64) -> RawMessage {
    RawMessage { partition: KEPT, offset, key: None, value: None, hops: 0, headers: Vec::new(), timestamp_ms: None }
}

// One thread: what the test emits without waiting in between is taken in one turn of the loop.
#[tokio::test]
async fn g5_a_commit_that_fails_in_a_handover_is_made_again_for_partitions_that_stay() {
    let log = Arc::new(Log::default());
    let engine = engine(&log).await;
    log.emit(SourceEvent::Assigned(vec![MOVING, KEPT]));
    log.refuses.store(true, Ordering::SeqCst);
    // The usual commit may come first, ten times a second, or the partition is not worked on yet: then there is another round.
    for offset in 0.. {
        log.emit(SourceEvent::Messages(vec![empty(offset)]));
        let (done, given_up) = mpsc::channel();
        log.emit(SourceEvent::Revoking { partitions: vec![MOVING], done });
        let position = (KEPT, offset + 1);
        let waiting = tokio::task::spawn_blocking(move || given_up.recv_timeout(PATIENCE));
        waiting.await.unwrap().unwrap();
        if lock(&log.refused).contains(&position) {
            log.until("the commit is made again", |log| lock(&log.committed).contains(&position).then_some(())).await;
            break;
        }
        log.emit(SourceEvent::Assigned(vec![MOVING]));
    }
    engine.stop(PATIENCE).await;
}
