//! Every suite on the embedded backends, and what only they have.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flowcraft_kafka_adapter::backends::embedded::Cluster;
use flowcraft_kafka_adapter::ports::{Clock, ContextStore, Coordination, LeaseStore, Moment, StatusStore, TimerStore};

use super::context_store::context_store_suite;
use super::coordination::{Shared, coordination_suite};
use super::job_log::{Letter, Log, PARTITIONS, Worker, job_log_suite};
use super::lease_store::lease_store_suite;
use super::services::unique;
use super::status_store::{Row, Statuses, status_store_suite};
use super::timer_store::timer_store_suite;

const TOPIC: &str = "jobs";

struct InProcess(Arc<Cluster>);

fn log() -> Option<Arc<dyn Log>> {
    Some(Arc::new(InProcess(Cluster::named(&unique("cluster")))))
}

#[async_trait]
impl Log for InProcess {
    fn worker(&self, group: &str) -> Worker {
        Worker { source: self.0.source(TOPIC, group, PARTITIONS), sink: self.0.sink(TOPIC, PARTITIONS) }
    }

    async fn dead_letters(&self, _at_least: usize) -> Vec<Letter> {
        self.0.dead_letters(TOPIC).into_iter().map(|found| headed(found.letter)).collect()
    }

    async fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        self.0.committed(TOPIC, group, partition)
    }
}

/// The fields under the names of the Kafka headers.
fn headed(letter: flowcraft_kafka_adapter::ports::DeadLetter) -> Letter {
    let mut headers = vec![
        ("flowcraft-reason".to_owned(), letter.reason),
        ("flowcraft-code".to_owned(), letter.code.to_owned()),
        ("flowcraft-partition".to_owned(), letter.message.partition.to_string()),
        ("flowcraft-offset".to_owned(), letter.message.offset.to_string()),
        ("flowcraft-time".to_owned(), letter.message.timestamp_ms.unwrap().to_string()),
    ];
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap_or_default()).unwrap();
    headers.extend(letter.message.headers.into_iter().map(|(name, value)| (name, text(value))));
    headers.extend(letter.run.map(|run| ("flowcraft-run".to_owned(), run)));
    Letter { key: letter.message.key, value: letter.message.value, headers }
}

job_log_suite!(log());

async fn contexts() -> Option<Arc<dyn ContextStore>> {
    Some(Cluster::named(&unique("cluster")).contexts("contexts"))
}

context_store_suite!(contexts());

async fn timers() -> Option<Arc<dyn TimerStore>> {
    Some(Cluster::named(&unique("cluster")).timers(TOPIC))
}

timer_store_suite!(timers());

async fn leases() -> Option<Arc<dyn LeaseStore>> {
    Some(Cluster::named(&unique("cluster")).leases(TOPIC))
}

lease_store_suite!(leases());

#[async_trait]
impl Statuses for InProcess {
    fn store(&self) -> Arc<dyn StatusStore> {
        self.0.statuses("statuses")
    }

    async fn row(&self, run: &str) -> Option<Row> {
        self.0.status_row("statuses", run).map(|row| Row { status: row.status, status_data: row.status_data, updated_at_ms: row.updated_at_ms })
    }
}

async fn statuses() -> Option<Arc<dyn Statuses>> {
    Some(Arc::new(InProcess(Cluster::named(&unique("cluster")))))
}

/// Suites of different ports have scenarios of the same name.
mod status {
    use super::{status_store_suite, statuses};
    status_store_suite!(statuses());
}

#[derive(Default)]
struct HandClock(Mutex<Duration>);

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment(*self.0.lock().unwrap())
    }

    fn wall_micros(&self) -> i64 {
        0
    }
}

struct Timed {
    store: Arc<dyn Coordination>,
    clock: Arc<HandClock>,
}

#[async_trait]
impl Shared for Timed {
    fn store(&self) -> Arc<dyn Coordination> {
        Arc::clone(&self.store)
    }

    async fn pass(&self, span: Duration) {
        *self.clock.0.lock().unwrap() += span;
    }
}

async fn shared() -> Option<Arc<dyn Shared>> {
    let clock = Arc::new(HandClock::default());
    let store = Cluster::named(&unique("cluster")).coordination(clock.clone());
    Some(Arc::new(Timed { store, clock }))
}

mod keys {
    use super::{coordination_suite, shared};
    coordination_suite!(shared());
}

#[tokio::test]
async fn an_expelled_member_learns_of_its_loss_and_joins_again() {
    let cluster = Cluster::named(&unique("cluster"));
    let source = cluster.source(TOPIC, "g", PARTITIONS);
    let worker = Worker { source: source.clone(), sink: cluster.sink(TOPIC, PARTITIONS) };
    let inbox = worker.start(true).await;
    inbox.wait_assigned(3);
    cluster.produce(TOPIC, Some(0), None, Some(b"x".to_vec()));
    inbox.wait_messages(1);
    source.expire();
    inbox.wait("the loss", |heard| (heard.lost.len() == 3).then_some(()));
    inbox.wait_messages(2);
    assert_eq!(inbox.look(|heard| heard.joined), 1);
    worker.close().await;
}

#[tokio::test]
async fn added_partitions_are_assigned() {
    let cluster = Cluster::named(&unique("cluster"));
    let worker = Worker { source: cluster.source(TOPIC, "g", 1), sink: cluster.sink(TOPIC, 1) };
    let inbox = worker.start(true).await;
    inbox.wait_assigned(1);
    cluster.add_partitions(TOPIC, 4);
    inbox.wait_assigned(4);
    assert_eq!(worker.source.prepare().await.unwrap().partitions, 4);
    worker.close().await;
}

#[tokio::test]
async fn a_name_means_the_same_cluster_until_it_is_removed() {
    let name = unique("cluster");
    Cluster::named(&name).put_context("t", "r", Some("{}".into()), 1);
    assert!(Cluster::named(&name).context_row("t", "r").is_some());
    Cluster::remove(&name);
    assert!(Cluster::named(&name).context_row("t", "r").is_none());
}
