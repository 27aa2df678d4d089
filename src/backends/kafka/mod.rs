//! The job log on Apache Kafka, through librdkafka.

mod admin;
mod commits;
#[cfg(test)]
mod commits_tests;
mod config;
mod consumer;
mod errors;
mod group;
mod lifeline;
#[cfg(test)]
mod lifeline_tests;
mod producer;

use std::sync::Arc;
use std::time::Duration;

pub use config::{KafkaSettings, SaslMechanism, SaslSettings, StartPosition, Token, TokenSource};
pub use consumer::KafkaSource;
pub use producer::KafkaSink;

use crate::kernel::error::FlowError;

/// Appended to the job topic's name where no dead-letter topic is named.
const DEAD_LETTER_SUFFIX: &str = ".dead-letters";

/// Which topics and which group.
#[derive(Debug, Clone)]
pub struct KafkaTopics {
    /// Job topic.
    pub jobs: String,
    /// Topic for messages nobody can process; `None` is `<jobs>.dead-letters`.
    pub dead_letters: Option<String>,
    /// Consumer group.
    pub group: String,
}

impl KafkaTopics {
    /// The dead-letter topic's name.
    #[must_use]
    pub fn dead_letter_name(&self) -> String {
        self.dead_letters.clone().unwrap_or_else(|| format!("{}{DEAD_LETTER_SUFFIX}", self.jobs))
    }
}

/// Both ends of the job log.
pub struct KafkaLog {
    /// Member of the consumer group.
    pub source: Arc<KafkaSource>,
    /// Producer of jobs and dead letters.
    pub sink: Arc<KafkaSink>,
}

impl KafkaLog {
    /// Checks the settings and starts the producer. Nothing is awaited: connections are made in the
    /// background, and `JobSource::prepare` reports whether a broker answers within `patience`.
    ///
    /// # Errors
    /// `Option` when librdkafka refuses a setting.
    pub fn new(settings: KafkaSettings, topics: KafkaTopics, tokens: Option<Arc<dyn TokenSource>>, patience: Duration) -> Result<Self, FlowError> {
        // Before librdkafka does it: without an exit handler, which would free what its threads still use.
        openssl::init();
        settings.check()?;
        let settings = Arc::new(settings);
        let topics = Arc::new(topics);
        let sink = KafkaSink::new(Arc::clone(&settings), Arc::clone(&topics), tokens.clone())?;
        let source = KafkaSource::new(settings, topics, tokens, patience);
        Ok(Self { source: Arc::new(source), sink: Arc::new(sink) })
    }
}
