//! The job log on a real Kafka: the suite, and what only Kafka has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flowcraft_kafka_adapter::backends::kafka::{KafkaLog, KafkaSettings, KafkaTopics, StartPosition};
use flowcraft_kafka_adapter::kernel::error::{Code, FlowError};
use flowcraft_kafka_adapter::ports::{DeadLetter, JobSink, JobSource, RawMessage};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::job_log::{Letter, Log, PARTITIONS, Worker, job_log_suite, key_of, outbound, send};
use super::services::{address, unique};

struct Topic {
    brokers: String,
    name: String,
}

fn topic() -> Option<Arc<dyn Log>> {
    Some(Arc::new(fresh()?))
}

fn fresh() -> Option<Topic> {
    Some(Topic { brokers: address("KAFKA_BROKERS")?, name: unique("jobs") })
}

impl Topic {
    fn settings(&self) -> KafkaSettings {
        KafkaSettings { topic_partitions: Some(PARTITIONS), ..KafkaSettings::plain(self.brokers.split(',').map(str::to_owned).collect()) }
    }

    fn topics(&self, group: &str) -> KafkaTopics {
        KafkaTopics { jobs: self.name.clone(), dead_letters: None, group: format!("{}-{group}", self.name) }
    }

    fn log(&self, group: &str, settings: KafkaSettings) -> KafkaLog {
        KafkaLog::new(settings, self.topics(group), None, Duration::from_secs(15)).unwrap()
    }

    fn reader(&self, group: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", self.topics(group).group)
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap()
    }
}

#[async_trait]
impl Log for Topic {
    fn worker(&self, group: &str) -> Worker {
        let log = self.log(group, self.settings());
        Worker { source: log.source, sink: log.sink }
    }

    async fn dead_letters(&self, at_least: usize) -> Vec<Letter> {
        let reader = self.reader("letters");
        reader.subscribe(&[&format!("{}.dead-letters", self.name)]).unwrap();
        let mut letters = Vec::new();
        for _ in 0..300 {
            if letters.len() >= at_least {
                break;
            }
            if let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) {
                let headers = message.headers().map(|headers| {
                    headers.iter().map(|header| (header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())).collect()
                });
                letters.push(Letter {
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers.unwrap_or_default(),
                });
            }
        }
        letters
    }

    async fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.name, partition);
        match self.reader(group).committed_offsets(list, Duration::from_secs(10)).unwrap().elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

job_log_suite!(topic());

fn patience() -> Duration {
    Duration::from_secs(15)
}

/// A member that speaks another assignment protocol, as kafkajs does.
fn round_robin_member(topic: &Topic, group: &str) -> BaseConsumer {
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &topic.brokers)
        .set("group.id", topic.topics(group).group)
        .set("partition.assignment.strategy", "roundrobin")
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    member.subscribe(&[&topic.name]).unwrap();
    member
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_another_protocol_is_named() {
    let Some(topic) = fresh() else { return };
    topic.worker("g").source.prepare().await.unwrap();
    let other = round_robin_member(&topic, "g");
    let joined = (0..300).any(|_| {
        let _ = other.poll(Duration::from_millis(100));
        other.assignment().is_ok_and(|list| list.count() > 0)
    });
    assert!(joined);
    let worker = topic.worker("g");
    let inbox = worker.start(true).await;
    let error = inbox.wait("the protocol conflict", |heard| heard.troubles.iter().find(|error| error.code() == Code::GroupProtocol).cloned());
    assert!(error.to_string().contains("Stop them first"), "{error}");
    assert!(inbox.look(|heard| heard.joined == 0 && heard.ended.is_empty()));
    // Once the other is gone the group is joined without a restart.
    drop(other);
    inbox.wait_assigned(3);
    worker.close().await;
}

/// Deletes everything before the offset.
async fn truncate(topic: &Topic, partition: i32, before: i64) {
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &topic.brokers).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic.name, partition, Offset::Offset(before)).unwrap();
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_is_gone_resumes_at_the_log_start_and_is_told() {
    let Some(topic) = fresh() else { return };
    let first = topic.worker("g");
    let inbox = first.start(true).await;
    for number in 0..10 {
        send(&first.sink, &outbound(&key_of(0), &format!("n{number}"), 0)).await.unwrap();
    }
    inbox.wait_messages(10);
    first.source.commit_now(&[(0, 2)]).await.unwrap();
    first.close().await;
    truncate(&topic, 0, 6).await;
    let second = topic.worker("g");
    let inbox = second.start(true).await;
    let offsets: Vec<_> = inbox.wait_messages(4).iter().map(|message| message.offset).collect();
    assert_eq!(offsets, [6, 7, 8, 9]);
    inbox.wait("the trouble", |heard| {
        heard.troubles.iter().any(|error| error.to_string().contains("partition 0") && error.to_string().contains("start of the log")).then_some(())
    });
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_beyond_the_end_resumes_at_the_log_start() {
    let Some(topic) = fresh() else { return };
    let first = topic.worker("g");
    let inbox = first.start(true).await;
    inbox.wait_assigned(3);
    send(&first.sink, &outbound(&key_of(0), "n", 0)).await.unwrap();
    // As after a topic was deleted and created again.
    first.source.commit_now(&[(0, 1_000)]).await.unwrap();
    first.close().await;
    let second = topic.worker("g");
    let inbox = second.start(true).await;
    assert_eq!(inbox.wait_messages(1)[0].offset, 0);
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_skips_old_jobs_and_keeps_its_place() {
    let Some(topic) = fresh() else { return };
    let early = topic.worker("unused");
    early.source.prepare().await.unwrap();
    send(&early.sink, &outbound(&key_of(0), "old", 0)).await.unwrap();
    let settings = KafkaSettings { start_position: StartPosition::Latest, ..topic.settings() };
    let log = topic.log("late", settings.clone());
    let worker = Worker { source: log.source, sink: log.sink };
    worker.start(true).await.wait_assigned(3);
    worker.close().await;
    assert_eq!(topic.committed("late", 0).await, Some(1));
    // Sent while nobody was there: the committed start makes it count.
    send(&early.sink, &outbound(&key_of(0), "new", 0)).await.unwrap();
    let log = topic.log("late", settings);
    let worker = Worker { source: log.source, sink: log.sink };
    let inbox = worker.start(true).await;
    assert_eq!(inbox.wait_messages(1)[0].offset, 1);
    worker.close().await;
    early.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_within_the_patience_and_closes_at_once() {
    let settings = KafkaSettings::plain(vec!["127.0.0.1:1".into()]);
    let topics = KafkaTopics { jobs: "jobs".into(), dead_letters: None, group: "g".into() };
    let log = KafkaLog::new(settings, topics, None, Duration::from_millis(900)).unwrap();
    let began = Instant::now();
    let error = log.source.prepare().await.unwrap_err();
    assert!(matches!(&error, FlowError::Unreachable { address, .. } if address == "127.0.0.1:1"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let began = Instant::now();
    log.source.close().await;
    log.sink.close().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_created_comes_with_the_command() {
    let Some(topic) = fresh() else { return };
    let settings = KafkaSettings { topic_partitions: Some(0), ..topic.settings() };
    let error = topic.log("g", settings).source.prepare().await.unwrap_err();
    let FlowError::TopicMissing { command, .. } = &error else { panic!("{error}") };
    assert_eq!(
        *command,
        format!("kafka-topics.sh --create --bootstrap-server {} --topic {} --partitions 0", topic.brokers.split(',').next().unwrap(), topic.name)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_fails_for_good() {
    let Some(topic) = fresh() else { return };
    let worker = topic.worker("g");
    worker.source.prepare().await.unwrap();
    let message = RawMessage { value: Some(vec![b'x'; 3 << 20]), ..RawMessage::default() };
    let (done, outcome) = tokio::sync::oneshot::channel();
    worker.sink.dead_letter(&DeadLetter { message, code: "ERR_X", reason: "r".into(), run: None }, Box::new(move |result| drop(done.send(result))));
    let error = outcome.await.unwrap().unwrap_err();
    assert!(!error.retryable() && error.code() == Code::Kafka, "{error}");
    worker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_late_is_waited_for() {
    let Some(topic) = fresh() else { return };
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap().to_string();
    drop(door);
    let settings = KafkaSettings { brokers: vec![address.clone()], ..topic.settings() };
    let source = topic.log("g", settings).source;
    let broker = topic.brokers.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let door = tokio::net::TcpListener::bind(address).await.unwrap();
        while let Ok((mut client, _)) = door.accept().await {
            let broker = broker.clone();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(broker).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    assert_eq!(source.prepare().await.unwrap().partitions, PARTITIONS);
    assert_eq!(source.partition_count().await.unwrap(), PARTITIONS);
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_a_revocation_that_nobody_answers() {
    let Some(topic) = fresh() else { return };
    let first = topic.worker("g");
    let before = first.start(false).await;
    before.wait_assigned(3);
    let second = topic.worker("g");
    let after = second.start(true).await;
    let _unanswered = before.wait("a revocation", |heard| heard.revoking.pop());
    let began = Instant::now();
    first.close().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    after.wait_assigned(3);
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_many_times_without_a_hang() {
    let Some(topic) = fresh() else { return };
    topic.worker("g").source.prepare().await.unwrap();
    for round in 0..25 {
        let worker = topic.worker(&format!("g{}", round % 5));
        let _inbox = worker.start(true).await;
        tokio::time::sleep(Duration::from_millis(round * 17 % 200)).await;
        tokio::time::timeout(patience(), worker.close()).await.expect("close hangs");
    }
}
