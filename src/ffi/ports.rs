//! Picks the concrete backends of a worker: the only place that does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::bridge::{Bridge, BridgePort};
use super::config::{CoordinationConfig, KafkaConfig, TableConfig, Way, WorkerConfig};
use super::token::JsTokens;
use crate::backends::bystander::Bystander;
use crate::backends::cassandra;
use crate::backends::clock::SystemClock;
use crate::backends::embedded::{Cluster, Crash};
use crate::backends::js::{JsContexts, JsCoordination, JsSink, JsSource, JsStatuses};
use crate::backends::kafka::{KafkaLog, KafkaTopics};
use crate::backends::redis::RedisCoordination;
use crate::engine::{Ports, StartLimit};
use crate::kernel::error::FlowError;
use crate::ports::{ContextStore, Coordination, DeadLetter, JobSink, JobSource, LeaseStore, LogLevel, OutboundJob, SendDone, StatusStore, TimerStore};

/// The Kafka client keeps its patience for the life of the worker: a start that is nearly over leaves it this much.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
/// Partitions of an embedded topic.
const EMBEDDED_PARTITIONS: i32 = 4;

/// Connects everything the configuration names.
///
/// # Errors
/// Which service or option is at fault.
pub async fn connect(config: &WorkerConfig, bridge: &Arc<Bridge>, limit: &StartLimit) -> Result<Ports, FlowError> {
    let port = Arc::new(BridgePort(bridge.clone()));
    let cassandra = "reaching Cassandra";
    let contexts = limit.wait(port.as_ref(), cassandra, |patience| contexts(config, bridge, patience)).await?;
    let statuses = limit.wait(port.as_ref(), cassandra, |patience| statuses(config, bridge, patience)).await?;
    limit.wait(port.as_ref(), cassandra, |patience| retention(config, patience)).await?;
    let timers = limit.wait(port.as_ref(), cassandra, |patience| timers(config, patience)).await?;
    let leases = limit.wait(port.as_ref(), cassandra, |patience| leases(config, patience)).await?;
    let coordination = limit.wait(port.as_ref(), "reaching the coordination store", |patience| coordination(config, bridge, patience)).await?;
    // Kafka is reached by the engine, which gives it what is left.
    let (source, direct_sink) = job_log(config, bridge, limit.patience().max(LEAST_PATIENCE))?;
    let sink = engine_sink(config, bridge, &direct_sink);
    if let (Err(missing), TableConfig::Native { .. }) = (&timers, &config.timers) {
        bridge.log(LogLevel::Warn, format!("[KafkaAdapter] {missing}"));
    }
    let ports =
        Ports { source, sink, direct_sink, contexts, statuses, timers, leases, coordination, executor: port.clone(), host: port, clock: Arc::new(SystemClock) };
    Ok(match config.crash_after_calls {
        Some(calls) => mortal(ports, calls, bridge),
        None => ports,
    })
}

/// The ports of a worker that dies with that call of them, for tests.
fn mortal(ports: Ports, calls: u64, bridge: &Arc<Bridge>) -> Ports {
    let bridge = bridge.clone();
    let crash = Crash::after(calls, move || bridge.log(LogLevel::Warn, format!("[KafkaAdapter] the worker died with call {calls} of its stores, as asked")));
    Ports {
        source: crash.source(ports.source),
        sink: crash.port(ports.sink),
        direct_sink: crash.port(ports.direct_sink),
        contexts: crash.port(ports.contexts),
        statuses: crash.port(ports.statuses),
        timers: ports.timers.map(|timers| crash.port(timers) as Arc<dyn TimerStore>),
        leases: ports.leases.map(|leases| crash.port(leases) as Arc<dyn LeaseStore>),
        coordination: ports.coordination.map(|coordination| crash.port(coordination) as Arc<dyn Coordination>),
        ..ports
    }
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

async fn contexts(config: &WorkerConfig, bridge: &Arc<Bridge>, patience: Duration) -> Result<Arc<dyn ContextStore>, FlowError> {
    Ok(match &config.context {
        TableConfig::Js => Arc::new(JsContexts(bridge.clone())),
        TableConfig::Native { settings, keyspace, table } => cassandra::connect_contexts(settings, keyspace, table, patience).await?,
        TableConfig::Embedded { name, table, .. } => Cluster::named(name).contexts(table),
    })
}

async fn statuses(config: &WorkerConfig, bridge: &Arc<Bridge>, patience: Duration) -> Result<Arc<dyn StatusStore>, FlowError> {
    Ok(match &config.status {
        TableConfig::Js => Arc::new(JsStatuses(bridge.clone())),
        TableConfig::Native { settings, keyspace, table } => {
            let (statuses, warnings) = cassandra::connect_statuses(settings, keyspace, table, patience).await?;
            for warning in warnings {
                bridge.log(LogLevel::Warn, warning);
            }
            statuses
        }
        TableConfig::Embedded { name, table, .. } => Cluster::named(name).statuses(table),
    })
}

async fn retention(config: &WorkerConfig, patience: Duration) -> Result<(), FlowError> {
    match (&config.timers, config.oldest_status()) {
        // They stand beside the status table, whoever writes that.
        (TableConfig::Native { settings, keyspace, table }, Some(oldest)) => cassandra::check_retention(settings, keyspace, table, oldest, patience).await,
        _ => Ok(()),
    }
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

async fn leases(config: &WorkerConfig, patience: Duration) -> Result<Option<Arc<dyn LeaseStore>>, FlowError> {
    Ok(match (&config.timers, &config.coordination) {
        // They stand beside the status table, like the timers.
        (TableConfig::Native { settings, keyspace, table }, _) => cassandra::connect_leases(settings, keyspace, table, &config.topic, patience).await?,
        (TableConfig::Embedded { name, .. }, CoordinationConfig::Embedded { .. }) => Some(Cluster::named(name).leases(&config.topic)),
        _ => None,
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
