//! `ICoordinationStore` on Redis, command for command as in the JavaScript package, with one difference:
//! `increment` is atomic.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{FromRedisValue, Pipeline, pipe};

use super::link::{self, Link, LinkError};
use super::settings::RedisSettings;
use crate::backends::lock;
use crate::kernel::error::{FlowError, Retry, Service};
use crate::ports::Coordination;

/// Pause before a server that did not answer is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A coordination store on Redis.
pub struct RedisCoordination {
    link: Mutex<Option<Arc<Link>>>,
    prefix: String,
    limit: Duration,
}

impl RedisCoordination {
    /// Connects and makes sure that the server answers. One that does not is tried again until `patience`
    /// is over.
    ///
    /// # Errors
    /// `Option` for bad settings, `Unreachable`, `Store` when the login is refused.
    pub async fn connect(settings: &RedisSettings, patience: Duration) -> Result<Self, FlowError> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(RETRY_PAUSE);
            let cause = match tokio::time::timeout(left, open(settings)).await {
                Ok(Ok(link)) => {
                    let link = Mutex::new(Some(Arc::new(link)));
                    return Ok(Self { link, prefix: settings.key_prefix.clone().unwrap_or_default(), limit: settings.command_timeout() });
                }
                Ok(Err(LinkError::Settings(error))) => return Err(error),
                Ok(Err(LinkError::Redis(error))) if link::retry(&error) == Retry::Never => {
                    return Err(link::store(format!("connecting to {}", settings.address()), &error));
                }
                Ok(Err(LinkError::Redis(error))) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(FlowError::Unreachable { service: Service::Coordination, address: settings.address(), cause });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The key as it stands in Redis.
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn run<T: FromRedisValue>(&self, operation: &str, key: &str, pipeline: &Pipeline) -> Result<T, FlowError> {
        let operation = format!("{operation} \"{key}\"");
        let link = lock(&self.link).clone();
        let link = link.ok_or_else(|| FlowError::NotRunning { state: "closed".into(), action: operation.clone() })?;
        // The connection's own response timeout does not cover waiting for a reconnection.
        match tokio::time::timeout(self.limit, link.run(pipeline)).await {
            Ok(outcome) => outcome.map_err(|error| link::store(operation, &error)),
            Err(_) => Err(FlowError::Store {
                service: Service::Coordination,
                operation,
                cause: format!("no answer within {} ms", self.limit.as_millis()),
                retry: Retry::Later,
            }),
        }
    }
}

/// Connects and reads a key of ours: unlike PING that also works in a cluster and shows missing rights.
async fn open(settings: &RedisSettings) -> Result<Link, LinkError> {
    let link = Link::open(settings).await?;
    let key = format!("{}flowcraft:probe", settings.key_prefix.as_deref().unwrap_or_default());
    link.run::<(Option<String>,)>(pipe().cmd("GET").arg(key)).await?;
    Ok(link)
}

#[async_trait]
impl Coordination for RedisCoordination {
    /// `INCR` and `EXPIRE` in one transaction: a crash between the two would leave a counter for ever.
    async fn increment(&self, key: &str, ttl_seconds: u64) -> Result<i64, FlowError> {
        let name = self.key(key);
        let mut pipeline = pipe();
        pipeline.atomic().cmd("INCR").arg(&name).cmd("EXPIRE").arg(&name).arg(ttl_seconds).ignore();
        self.run::<(i64,)>("incrementing", key, &pipeline).await.map(|(count,)| count)
    }

    async fn set_if_not_exist(&self, key: &str, value: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        let mut pipeline = pipe();
        pipeline.cmd("SET").arg(self.key(key)).arg(value).arg("EX").arg(ttl_seconds).arg("NX");
        self.run::<(Option<String>,)>("setting", key, &pipeline).await.map(|(reply,)| reply.as_deref() == Some("OK"))
    }

    async fn delete(&self, key: &str) -> Result<(), FlowError> {
        let mut pipeline = pipe();
        pipeline.cmd("DEL").arg(self.key(key));
        self.run::<(i64,)>("deleting", key, &pipeline).await.map(drop)
    }

    async fn extend_ttl(&self, key: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        let mut pipeline = pipe();
        pipeline.cmd("EXPIRE").arg(self.key(key)).arg(ttl_seconds);
        self.run::<(i64,)>("extending", key, &pipeline).await.map(|(reply,)| reply == 1)
    }

    async fn get(&self, key: &str) -> Result<Option<String>, FlowError> {
        let mut pipeline = pipe();
        pipeline.cmd("GET").arg(self.key(key));
        self.run::<(Option<String>,)>("reading", key, &pipeline).await.map(|(value,)| value)
    }

    async fn close(&self) {
        lock(&self.link).take();
    }
}
