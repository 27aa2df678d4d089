//! Writes of one turn of the loop, which share a task.

use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::backends::embedded::Cluster;
use crate::engine::{Command, Engine};
use crate::engine_commits::{Log, PATIENCE, engine_over, lock};
use crate::kernel::error::{FlowError, Retry, Service};
use crate::kernel::machine::Step;
use crate::kernel::outcome::{Outcome, Payload};
use crate::kernel::partition::home_partition;
use crate::ports::{ContextStore, ContextWrite, Executor, RawMessage, SourceEvent, StatusRecord, StatusStore, StoredContext, ToSession};

const PANICS: &str = "panics";
const NEVER_ANSWERED: &str = "never answered";
const REFUSED: &str = "refused";
const WELL: &str = "well";

/// What a store that writes all steps together says of them.
#[derive(Clone, Copy)]
enum Together {
    Written,
    Refused,
    NotNow,
    Panics,
}

/// Run, text and time of a step.
type Written = (String, Option<String>, i64);

/// A store that has a fate for each run, and one for groups if it has those.
struct Moody {
    inner: Arc<dyn ContextStore>,
    together: Option<Together>,
    groups: Mutex<Vec<Vec<Written>>>,
    alone: Mutex<Vec<Written>>,
}

impl Moody {
    fn new(inner: &Arc<dyn ContextStore>, together: Option<Together>) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), together, groups: Mutex::default(), alone: Mutex::default() })
    }
}

fn written(write: &ContextWrite) -> Written {
    (write.run.clone(), write.document.clone(), write.timestamp_micros)
}

fn failed(cause: &str, retry: Retry) -> FlowError {
    FlowError::Store { service: Service::Cassandra, operation: "writing".into(), cause: cause.into(), retry }
}

#[async_trait]
impl ContextStore for Moody {
    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        self.inner.load(run).await
    }

    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError> {
        self.inner.write_micros(run).await
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        lock(&self.alone).push(written(write));
        match write.run.as_str() {
            PANICS => panic!("a fault of the store, on purpose"),
            NEVER_ANSWERED => pending().await,
            REFUSED => Err(failed("too large", Retry::Never)),
            _ => self.inner.write(write).await,
        }
    }

    fn groups(&self, writes: &[&ContextWrite]) -> Vec<Vec<usize>> {
        let all = 0..writes.len();
        if self.together.is_some() { vec![all.collect()] } else { all.map(|index| vec![index]).collect() }
    }

    async fn write_group(&self, writes: &[&ContextWrite]) -> Result<(), FlowError> {
        lock(&self.groups).push(writes.iter().map(|write| written(write)).collect());
        match self.together {
            Some(Together::Written) | None => {
                for write in writes {
                    self.inner.write(write).await?;
                }
                Ok(())
            }
            Some(Together::Refused) => Err(failed("batch too large", Retry::Never)),
            Some(Together::NotNow) => Err(failed("timeout", Retry::Later)),
            Some(Together::Panics) => panic!("a fault of the store, on purpose"),
        }
    }
}

/// A store of outcomes that has a fate for groups.
struct Outcomes {
    inner: Arc<dyn StatusStore>,
    together: Together,
    groups: Mutex<Vec<Vec<StatusRecord>>>,
    alone: Mutex<Vec<StatusRecord>>,
}

#[async_trait]
impl StatusStore for Outcomes {
    async fn touch(&self, run: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        self.inner.touch(run, timestamp_micros).await
    }

    async fn publish(&self, record: &StatusRecord) -> Result<(), FlowError> {
        lock(&self.alone).push(record.clone());
        self.inner.publish(record).await
    }

    fn groups(&self, records: &[&StatusRecord]) -> Vec<Vec<usize>> {
        vec![(0..records.len()).collect()]
    }

    async fn publish_group(&self, records: &[&StatusRecord]) -> Result<(), FlowError> {
        lock(&self.groups).push(records.iter().map(|record| (*record).clone()).collect());
        match self.together {
            Together::Written => {
                for record in records {
                    self.inner.publish(record).await?;
                }
                Ok(())
            }
            Together::Refused => Err(failed("batch too large", Retry::Never)),
            Together::NotNow => Err(failed("timeout", Retry::Later)),
            Together::Panics => panic!("a fault of the store, on purpose"),
        }
    }
}

/// Sessions that note what they are told.
struct Sessions {
    opened: Mutex<Vec<(String, u32)>>,
    durable: Mutex<Vec<u32>>,
    log: Arc<Log>,
}

impl Executor for Sessions {
    fn deliver(&self, batch: Vec<ToSession>) {
        for event in batch {
            match event {
                ToSession::Open { handle, run, .. } => lock(&self.opened).push((run, handle)),
                ToSession::Durable { handle, .. } => lock(&self.durable).push(handle),
                _ => {}
            }
        }
        self.log.changed.notify_one();
    }
}

fn job(run: &str, partition: i32, offset: i64) -> RawMessage {
    let value = format!(r#"{{"runId":"{run}","blueprintId":"b","nodeId":"n"}}"#);
    RawMessage { partition, offset, key: None, value: Some(value.into_bytes()), hops: 0, headers: Vec::new(), timestamp_ms: None }
}

fn first_step() -> Step {
    Step { seq: 1, changes: vec![("key".into(), Some("1".into()))], checkpoint: "{}".into(), ..Step::default() }
}

/// A worker whose runs have each done a step, in one turn of the loop.
struct Worker {
    log: Arc<Log>,
    sessions: Arc<Sessions>,
    engine: Engine,
    opened: Vec<(String, u32)>,
}

impl Worker {
    async fn with_steps(contexts: Arc<Moody>, runs: &[&str]) -> Self {
        Self::with(contexts, Cluster::default().statuses("statuses"), runs, first_step).await
    }

    async fn with(contexts: Arc<Moody>, statuses: Arc<dyn StatusStore>, runs: &[&str], step: impl Fn() -> Step) -> Self {
        let log = Arc::new(Log::default());
        let sessions = Arc::new(Sessions { opened: Mutex::default(), durable: Mutex::default(), log: log.clone() });
        let engine = engine_over(&log, contexts, statuses, sessions.clone()).await;
        log.emit(SourceEvent::Assigned(vec![0, 1]));
        let messages = runs.iter().zip(0..).map(|(run, offset)| job(run, home_partition(run.as_bytes(), 2), offset));
        log.emit(SourceEvent::Messages(messages.collect()));
        let opened = log.until("all are open", |_| Some(lock(&sessions.opened).clone()).filter(|opened| opened.len() == runs.len())).await;
        let worker = Self { log, sessions, engine, opened };
        let due = vec![(0, "n".to_owned())];
        let mut said: Vec<Command> = runs.iter().map(|run| Command::Opened(worker.handle(run), due.clone())).collect();
        said.extend(runs.iter().map(|run| Command::Step(worker.handle(run), Box::new(step()))));
        worker.engine.turn(said);
        worker
    }

    fn handle(&self, run: &str) -> u32 {
        self.opened.iter().find(|(id, _)| id == run).unwrap().1
    }

    async fn until_durable(&self, run: &str) {
        self.log.until("the step is durable", |_| lock(&self.sessions.durable).contains(&self.handle(run)).then_some(())).await;
    }
}

#[tokio::test]
async fn g6_a_write_that_panics_and_one_without_an_answer_leave_those_beside_them_alone() {
    let contexts = Cluster::default().contexts("contexts");
    let worker = Worker::with_steps(Moody::new(&contexts, None), &[PANICS, NEVER_ANSWERED, WELL]).await;
    worker.until_durable(WELL).await;
    assert_eq!(*lock(&worker.sessions.durable), [worker.handle(WELL)]);
    assert!(contexts.load(WELL).await.unwrap().is_some());
    assert!(contexts.load(PANICS).await.unwrap().is_none());
    worker.engine.stop(PATIENCE / 100).await;
}

#[tokio::test]
async fn g2_steps_that_are_written_together_are_each_durable() {
    let contexts = Cluster::default().contexts("contexts");
    let store = Moody::new(&contexts, Some(Together::Written));
    let worker = Worker::with_steps(store.clone(), &[WELL, "also well"]).await;
    worker.until_durable(WELL).await;
    worker.until_durable("also well").await;
    assert_eq!(lock(&store.groups).iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    assert!(lock(&store.alone).is_empty());
    assert!(contexts.load("also well").await.unwrap().is_some());
    worker.engine.stop(PATIENCE / 100).await;
}

#[tokio::test]
async fn g6_what_a_store_refuses_of_a_group_is_the_business_of_one_run() {
    for together in [Together::Refused, Together::NotNow, Together::Panics] {
        let contexts = Cluster::default().contexts("contexts");
        let store = Moody::new(&contexts, Some(together));
        let worker = Worker::with_steps(store.clone(), &[REFUSED, WELL, "also well"]).await;
        worker.until_durable(WELL).await;
        worker.until_durable("also well").await;
        worker.log.until("it is a dead letter", |log| (lock(&log.buried).as_slice() == [REFUSED]).then_some(())).await;
        assert!(contexts.load(REFUSED).await.unwrap().is_none());
        let groups = lock(&store.groups).clone();
        assert_eq!(groups.len(), 1, "one attempt together");
        let mut alone = lock(&store.alone).clone();
        let mut offered = groups.concat();
        alone.sort_unstable();
        offered.sort_unstable();
        assert_eq!(alone, offered, "each one again, with the same text and time");

        let second_step = || Step { seq: 2, ..first_step() };
        worker.engine.turn([WELL, "also well"].map(|run| Command::Step(worker.handle(run), Box::new(second_step()))).into());
        worker.log.until("both are durable", |_| (lock(&worker.sessions.durable).len() == 4).then_some(())).await;
        let tried_again = matches!(together, Together::NotNow);
        assert_eq!(lock(&store.groups).len(), if tried_again { 2 } else { 1 }, "what was refused together is not offered together again");
        worker.engine.stop(PATIENCE / 100).await;
    }
}

#[tokio::test]
async fn g4_outcomes_that_are_published_together_or_cannot_be_are_each_written() {
    let completed = Outcome { status: "completed".into(), reason: None, errors: None, hidden: Vec::new(), payload: Payload::Assemble };
    let last_step = || Step { done: vec![0], outcome: Some(completed.clone()), ..first_step() };
    let runs = [WELL, "also well"];
    for together in [Together::Written, Together::Refused, Together::NotNow, Together::Panics] {
        let inner = Cluster::default().statuses("statuses");
        let statuses = Arc::new(Outcomes { inner: inner.clone(), together, groups: Mutex::default(), alone: Mutex::default() });
        let contexts = Moody::new(&Cluster::default().contexts("contexts"), Some(Together::Written));
        let worker = Worker::with(contexts, statuses.clone(), &runs, last_step).await;
        for (run, offset) in runs.iter().zip(0..) {
            let partition = home_partition(run.as_bytes(), 2);
            let complete = |log: &Log| lock(&log.committed).iter().any(|(of, position)| *of == partition && *position > offset).then_some(());
            worker.log.until("the message is complete", complete).await;
            assert_eq!(inner.status(run).await.unwrap().as_deref(), Some("completed"));
        }
        let offered = lock(&statuses.groups).concat();
        assert_eq!(offered.len(), runs.len(), "one attempt together");
        let alone = lock(&statuses.alone).clone();
        assert_eq!(alone.len(), if matches!(together, Together::Written) { 0 } else { runs.len() });
        assert!(alone.iter().all(|record| offered.contains(record)), "with the same bytes and time");
        worker.engine.stop(PATIENCE / 100).await;
    }
}
