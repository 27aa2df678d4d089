//! Writes of one turn of the loop, which share a task.

use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::backends::embedded::Cluster;
use crate::engine::Command;
use crate::engine_commits::{Log, PATIENCE, engine_over, lock};
use crate::kernel::error::FlowError;
use crate::kernel::machine::Step;
use crate::kernel::partition::home_partition;
use crate::ports::{ContextStore, ContextWrite, Executor, RawMessage, SourceEvent, StoredContext, ToSession};

const PANICS: &str = "panics";
const NEVER_ANSWERED: &str = "never answered";
const WELL: &str = "well";

/// A store that has a fate for each run.
struct Moody(Arc<dyn ContextStore>);

#[async_trait]
impl ContextStore for Moody {
    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        self.0.load(run).await
    }

    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError> {
        self.0.write_micros(run).await
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        match write.run.as_str() {
            PANICS => panic!("a fault of the store, on purpose"),
            NEVER_ANSWERED => pending().await,
            _ => self.0.write(write).await,
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

#[tokio::test]
async fn g6_a_write_that_panics_and_one_without_an_answer_leave_those_beside_them_alone() {
    let log = Arc::new(Log::default());
    let sessions = Arc::new(Sessions { opened: Mutex::default(), durable: Mutex::default(), log: log.clone() });
    let contexts = Cluster::default().contexts("contexts");
    let engine = engine_over(&log, Arc::new(Moody(contexts.clone())), sessions.clone()).await;
    log.emit(SourceEvent::Assigned(vec![0, 1]));
    let runs = [PANICS, NEVER_ANSWERED, WELL];
    let messages = runs.iter().zip(0..).map(|(run, offset)| job(run, home_partition(run.as_bytes(), 2), offset));
    log.emit(SourceEvent::Messages(messages.collect()));
    let opened = log.until("all are open", |_| Some(lock(&sessions.opened).clone()).filter(|opened| opened.len() == runs.len())).await;
    let handle = |run: &str| opened.iter().find(|(id, _)| id == run).unwrap().1;

    let due = vec![(0, "n".to_owned())];
    let mut said: Vec<Command> = runs.iter().map(|run| Command::Opened(handle(run), due.clone())).collect();
    said.extend(runs.iter().map(|run| Command::Step(handle(run), Box::new(first_step()))));
    engine.turn(said);
    log.until("the good write is durable", |_| lock(&sessions.durable).contains(&handle(WELL)).then_some(())).await;
    assert_eq!(*lock(&sessions.durable), [handle(WELL)]);
    assert!(contexts.load(WELL).await.unwrap().is_some());
    assert!(contexts.load(PANICS).await.unwrap().is_none());
    engine.stop(PATIENCE / 100).await;
}
