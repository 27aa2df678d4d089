//! The job log on a real Kafka: the suite, and what only Kafka has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flowcraft_kafka_adapter::backends::kafka::{KafkaLog, KafkaSettings, KafkaTopics};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::job_log::{Letter, Log, PARTITIONS, Worker, job_log_suite};
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
