//! Picks the concrete backends of a worker: the only place that does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::bridge::{Bridge, BridgePort};
use super::config::{CoordinationConfig, KafkaConfig, TableConfig, Way, WorkerConfig};
use super::token::JsTokens;
use crate::backends::bystander::Bystander;
use crate::backends::cassandra;
use crate::backends::embedded::Cluster;
use crate::backends::js::{JsContexts, JsCoordination, JsSink, JsSource, JsStatuses};
use crate::backends::kafka::{KafkaLog, KafkaTopics};
use crate::backends::redis::RedisCoordination;
use crate::engine::{Ports, SystemClock};
use crate::kernel::error::FlowError;
use crate::ports::{ContextStore, Coordination, DeadLetter, JobSink, JobSource, LogLevel, OutboundJob, SendDone, StatusStore, TimerStore};

/// How long a single attempt to reach a service may take where `start()` itself may wait for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// Partitions of an embedded topic.
const EMBEDDED_PARTITIONS: i32 = 4;

/// Connects everything the configuration names.
///
/// # Errors
/// Which service or option is at fault.
pub async fn connect(config: &WorkerConfig, bridge: &Arc<Bridge>) -> Result<Ports, FlowError> {
    let patience = config.start_timeout_ms.map_or(PATIENCE, Duration::from_millis);
    let port = Arc::new(BridgePort(bridge.clone()));
    let (source, direct_sink) = job_log(config, bridge, patience)?;
    let sink = engine_sink(config, bridge, &direct_sink);
    let (contexts, statuses) = tables(config, bridge, patience).await?;
    let timers = timers(config, patience).await?;
    if let (Err(missing), TableConfig::Native { .. }) = (&timers, &config.timers) {
        bridge.log(LogLevel::Warn, format!("[KafkaAdapter] {missing}"));
    }
    let (timers, timers_missing) = timers.map_or_else(|missing| (None, missing), |timers| (Some(timers), String::new()));
    Ok(Ports {
        source,
        sink,
        direct_sink,
        contexts,
        statuses,
        timers,
        timers_missing,
        coordination: coordination(config, bridge, patience).await?,
        executor: port.clone(),
        host: port,
        clock: Arc::new(SystemClock),
    })
}

/// An overridden `enqueueJob` gets every successor; what has no place in its signature, hop counts and dead
/// letters, goes the native way.
struct SplitSink {
    jobs: Arc<JsSink>,
    rest: Arc<dyn JobSink>,
}

#[async_trait]
impl JobSink for SplitSink {
    fn send(&self, job: &OutboundJob, done: SendDone) {
        if job.hops > 0 || job.command.is_some() { self.rest.send(job, done) } else { self.jobs.send(job, done) }
    }

    fn dead_letter(&self, letter: &DeadLetter, done: SendDone) {
        self.rest.dead_letter(letter, done);
    }

    async fn close(&self) {
        self.rest.close().await;
    }
}

// Both ends of a job log.
type JobLog = (Arc<dyn JobSource>, Arc<dyn JobSink>);

fn job_log(config: &WorkerConfig, bridge: &Arc<Bridge>, patience: Duration) -> Result<JobLog, FlowError> {
    Ok(match &config.kafka {
        KafkaConfig::Js => (Arc::new(JsSource(bridge.clone())), js_sink(bridge)),
        KafkaConfig::Native { settings, consume } => {
            let topics = KafkaTopics { jobs: config.topic.clone(), dead_letters: config.dead_letter_topic.clone(), group: config.group_id.clone() };
            // `start()` gives up at its limit without knowing why; the answer that names the broker comes before it.
            let patience = patience.saturating_sub((patience / 10).min(Duration::from_secs(1)));
            let log = KafkaLog::new((**settings).clone(), topics, Some(Arc::new(JsTokens::new(bridge.clone()))), patience)?;
            (joining(log.source, *consume), log.sink)
        }
        KafkaConfig::Embedded { name, partitions, consume } => {
            let (cluster, partitions) = (Cluster::named(name), partitions.unwrap_or(EMBEDDED_PARTITIONS));
            (joining(cluster.source(&config.topic, &config.group_id, partitions), *consume), cluster.sink(&config.topic, partitions))
        }
    })
}

// A process that only starts, resumes or is handed runs is no member of the group.
fn joining(source: Arc<dyn JobSource>, consume: bool) -> Arc<dyn JobSource> {
    if consume { source } else { Arc::new(Bystander(source)) }
}

fn js_sink(bridge: &Arc<Bridge>) -> Arc<JsSink> {
    Arc::new(JsSink::new(bridge.clone(), tokio::runtime::Handle::current()))
}

fn engine_sink(config: &WorkerConfig, bridge: &Arc<Bridge>, direct: &Arc<dyn JobSink>) -> Arc<dyn JobSink> {
    let through_user = config.enqueue == Way::Js && !matches!(config.kafka, KafkaConfig::Js);
    if through_user { Arc::new(SplitSink { jobs: js_sink(bridge), rest: direct.clone() }) } else { direct.clone() }
}

async fn tables(config: &WorkerConfig, bridge: &Arc<Bridge>, patience: Duration) -> Result<(Arc<dyn ContextStore>, Arc<dyn StatusStore>), FlowError> {
    let contexts: Arc<dyn ContextStore> = match &config.context {
        TableConfig::Js => Arc::new(JsContexts(bridge.clone())),
        TableConfig::Native { settings, keyspace, table } => cassandra::connect_contexts(settings, keyspace, table, patience).await?,
        TableConfig::Embedded { name, table, .. } => Cluster::named(name).contexts(table),
    };
    let statuses: Arc<dyn StatusStore> = match &config.status {
        TableConfig::Js => Arc::new(JsStatuses(bridge.clone())),
        TableConfig::Native { settings, keyspace, table } => {
            let (statuses, warnings) = cassandra::connect_statuses(settings, keyspace, table, patience).await?;
            for warning in warnings {
                bridge.log(LogLevel::Warn, warning);
            }
            statuses
        }
        TableConfig::Embedded { name, table, .. } => Cluster::named(name).statuses(table),
    };
    Ok((contexts, statuses))
}

async fn timers(config: &WorkerConfig, patience: Duration) -> Result<Result<Arc<dyn TimerStore>, String>, FlowError> {
    Ok(match &config.timers {
        TableConfig::Js => {
            Err("Cassandra is driven through JavaScript: nodes that sleep need a client whose settings can be read, or plain settings".to_owned())
        }
        TableConfig::Native { settings, keyspace, table } => cassandra::connect_timers(settings, keyspace, table, &config.topic, patience).await?,
        TableConfig::Embedded { name, .. } => Ok(Cluster::named(name).timers(&config.topic)),
    })
}

async fn coordination(config: &WorkerConfig, bridge: &Arc<Bridge>, patience: Duration) -> Result<Option<Arc<dyn Coordination>>, FlowError> {
    Ok(match &config.coordination {
        CoordinationConfig::None => None,
        CoordinationConfig::Js => Some(Arc::new(JsCoordination(bridge.clone()))),
        CoordinationConfig::Native { settings } => Some(Arc::new(RedisCoordination::connect(settings, patience).await?)),
        CoordinationConfig::Embedded { name } => Some(Cluster::named(name).coordination(Arc::new(SystemClock))),
    })
}
