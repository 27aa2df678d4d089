//! Commits against librdkafka's mock cluster, which answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{KafkaLog, KafkaSettings, KafkaTopics};
use crate::ports::{JobSource, SourceEvent};

const PATIENCE: Duration = Duration::from_secs(20);
const JOBS: &str = "jobs";

async fn until<T>(events: &mut UnboundedReceiver<SourceEvent>, what: &str, look: impl Fn(SourceEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look(events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g5_a_commit_that_the_group_refuses_is_told_and_the_next_one_counts() {
    let cluster: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    cluster.create_topic(JOBS, 1, 1).unwrap();
    let settings: KafkaSettings = serde_json::from_value(serde_json::json!({ "brokers": [cluster.bootstrap_servers()] })).unwrap();
    let topics = KafkaTopics { jobs: JOBS.into(), dead_letters: Some(JOBS.into()), group: "group".into() };
    let log = KafkaLog::new(settings, topics, None, PATIENCE).unwrap();
    let (sink, mut events) = unbounded_channel();
    let sink = Mutex::new(sink);
    log.source.prepare().await.unwrap();
    log.source.start(Arc::new(move |event| drop(crate::backends::lock(&sink).send(event)))).await.unwrap();
    until(&mut events, "the partition is assigned", |event| matches!(event, SourceEvent::Assigned(_)).then_some(())).await;

    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    log.source.commit(&[(0, 7)]);
    let told = |event| if let SourceEvent::NotCommitted(partitions) = event { Some(partitions) } else { None };
    assert_eq!(until(&mut events, "the refusal is told", told).await, [0]);

    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    assert!(log.source.commit_now(&[(0, 7)]).await.is_err());
    assert_eq!(until(&mut events, "the refusal is told", told).await, [0]);

    log.source.commit_now(&[(0, 7)]).await.unwrap();
    log.source.close().await;
}
