//! The configuration of a worker as the glue sends it. Same names and order as `src/js/adapter/options.js`; the
//! glue has validated what users wrote, so a failure here is a bug of ours.

use std::time::Duration;

use serde::Deserialize;

use crate::backends::cassandra::CassandraSettings;
use crate::backends::kafka::KafkaSettings;
use crate::backends::redis::RedisSettings;
use crate::engine::{Settings, StartLimit};
use crate::kernel::machine;

/// The whole configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerConfig {
    pub topic: String,
    pub group_id: String,
    pub dead_letter_topic: Option<String>,
    pub worker_id: String,
    pub kafka: KafkaConfig,
    pub context: TableConfig,
    pub status: TableConfig,
    pub timers: TableConfig,
    pub coordination: CoordinationConfig,
    #[serde(default)]
    pub enqueue: Way,
    #[serde(default)]
    pub handle: Way,
    #[serde(default)]
    pub dispatch: Dispatch,
    #[serde(default)]
    pub limits: Limits,
    pub lease_ttl_ms: Option<u64>,
    /// `null` or absent waits for ever.
    pub start_timeout_ms: Option<u64>,
    /// What the glue has used up of it.
    #[serde(default)]
    pub start_spent_ms: u64,
    pub revoke_grace_ms: Option<u64>,
    pub refresh_after_ms: Option<u64>,
    pub max_stall_ms: Option<u64>,
    /// Absent: runs are never taken for the death of their owners.
    pub poison_openings: Option<u32>,
    /// Seconds for which rows of ended runs are kept; absent for ever, and where the worker takes no jobs from the topic.
    pub retention_seconds: Option<u64>,
    /// Seconds between two sweeps; with the other one.
    pub sweep_every_seconds: Option<u64>,
    /// Of the embedded backend: the worker dies with this call of its ports.
    pub crash_after_calls: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum KafkaConfig {
    Native {
        settings: Box<KafkaSettings>,
        /// Whether to join the group; without it jobs are handed in, and sent, only.
        consume: bool,
    },
    Js,
    Embedded {
        name: String,
        partitions: Option<i32>,
        consume: bool,
    },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum TableConfig {
    Native { settings: Box<CassandraSettings>, keyspace: String, table: String },
    Js,
    Embedded { name: String, table: String },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum CoordinationConfig {
    Native { settings: Box<RedisSettings> },
    Js,
    Embedded { name: String },
    None,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    #[default]
    Native,
    Js,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "camelCase")]
pub enum Dispatch {
    #[default]
    Topic,
    Local,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    pub max_concurrent_jobs: Option<usize>,
    pub max_loaded_runs: Option<usize>,
    pub max_loaded_bytes: Option<usize>,
    pub max_waiting_messages: Option<usize>,
}

impl WorkerConfig {
    /// How old the status rows of ended runs become before a sweep finds them: those that were not old enough for one are found by the next.
    pub fn oldest_status(&self) -> Option<Duration> {
        let seconds = self.retention_seconds?.saturating_add(self.sweep_every_seconds.unwrap_or(0));
        Some(Duration::from_secs(seconds))
    }

    /// The engine's settings. The start's limit begins here.
    pub fn settings(&self) -> Settings {
        let serial = self.limits.max_concurrent_jobs == Some(1);
        // One at a time means in topic order; an overridden handleJob sees every job. `src/js/adapter/life-cycle.js` says the same.
        let local_starts = !serial && self.handle == Way::Native;
        let defaults = machine::Config::default();
        Settings {
            topic: self.topic.clone(),
            group: self.group_id.clone(),
            worker_id: self.worker_id.clone(),
            machine: machine::Config {
                max_loaded_runs: self.limits.max_loaded_runs.unwrap_or(defaults.max_loaded_runs),
                max_loaded_bytes: self.limits.max_loaded_bytes.unwrap_or(defaults.max_loaded_bytes),
                max_waiting_messages: self.limits.max_waiting_messages.unwrap_or(defaults.max_waiting_messages),
                serial,
                local_starts,
                hand_over: self.handle == Way::Js,
                // Without local starts a node has nothing but its message to start it.
                send_successors: self.dispatch == Dispatch::Topic || self.enqueue == Way::Js || !local_starts,
                refresh_after: self.refresh_after_ms.map_or(defaults.refresh_after, Duration::from_millis),
                retention: self.retention_seconds.map(Duration::from_secs),
                poison_openings: self.poison_openings.filter(|_| !matches!(self.coordination, CoordinationConfig::None)),
                ..defaults
            },
            // Coordination stores count whole seconds; a lease must not be taken for longer than its key lives.
            lease_ttl: Duration::from_secs((self.lease_ttl_ms.unwrap_or(8_000) / 1_000).max(1)),
            revoke_grace: Duration::from_millis(self.revoke_grace_ms.unwrap_or(5_000)),
            max_stall: Duration::from_millis(self.max_stall_ms.unwrap_or(60_000)),
            start_limit: StartLimit::begin(self.start_timeout_ms.map(Duration::from_millis), Duration::from_millis(self.start_spent_ms)),
            log_outcomes: !matches!(self.status, TableConfig::Js),
            virtual_source: matches!(self.kafka, KafkaConfig::Js | KafkaConfig::Native { consume: false, .. } | KafkaConfig::Embedded { consume: false, .. }),
        }
    }
}
