//! `NativeRedis`: the exported `RedisCoordinationStore`.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use serde::Deserialize;

use super::outcome::Outcome;
use crate::backends::embedded::Cluster;
use crate::backends::redis::{RedisCoordination, RedisSettings};
use crate::engine::SystemClock;
use crate::kernel::error::FlowError;
use crate::ports::Coordination;

/// How long `connect` tries to reach the server.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(untagged)]
enum Settings {
    Embedded { embedded: String },
    Redis(Box<RedisSettings>),
}

/// A coordination store.
#[napi]
pub struct NativeRedis {
    store: Arc<dyn Coordination>,
}

/// Whole seconds, as Redis wants them.
fn seconds(ttl: f64) -> Result<u64, FlowError> {
    if !(0.0..=1e12).contains(&ttl) {
        return Err(FlowError::Option {
            path: "ttlSeconds".into(),
            problem: "is no number of seconds".into(),
            fix: "Give seconds as a number of at least 1".into(),
        });
    }
    // In range by the check above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(ttl as u64)
}

impl NativeRedis {
    async fn open(settings_json: &str) -> Result<Self, FlowError> {
        let bad = |_| FlowError::Option { path: "options.redis".into(), problem: "does not describe a server".into(), fix: "Give a url or a host".into() };
        let store: Arc<dyn Coordination> = match serde_json::from_str(settings_json).map_err(bad)? {
            Settings::Embedded { embedded } => Cluster::named(&embedded).coordination(Arc::new(SystemClock)),
            Settings::Redis(settings) => Arc::new(RedisCoordination::connect(&settings, PATIENCE).await?),
        };
        Ok(Self { store })
    }
}

#[napi]
impl NativeRedis {
    /// Connects by settings, or to `{ embedded: name }`.
    #[napi]
    pub async fn connect(settings_json: String) -> Outcome<NativeRedis> {
        Self::open(&settings_json).await.into()
    }

    /// Adds one and refreshes the TTL; answers the count.
    #[napi]
    pub async fn increment(&self, key: String, ttl: f64) -> Outcome<i64> {
        let counted = async { self.store.increment(&key, seconds(ttl)?).await };
        counted.await.into()
    }

    /// Writes unless the key exists; `true` when written.
    #[napi]
    pub async fn set_if_not_exist(&self, key: String, value: String, ttl: f64) -> Outcome<bool> {
        let written = async { self.store.set_if_not_exist(&key, &value, seconds(ttl)?).await };
        written.await.into()
    }

    /// Removes the key.
    #[napi]
    pub async fn delete(&self, key: String) -> Outcome<()> {
        self.store.delete(&key).await.into()
    }

    /// Renews the TTL; `false` when the key is gone.
    #[napi]
    pub async fn extend_ttl(&self, key: String, ttl: f64) -> Outcome<bool> {
        let extended = async { self.store.extend_ttl(&key, seconds(ttl)?).await };
        extended.await.into()
    }

    /// The key's value, `null` when it is gone.
    #[napi]
    pub async fn get(&self, key: String) -> Outcome<Option<String>> {
        self.store.get(&key).await.into()
    }

    /// Disconnects. Twice is fine.
    #[napi]
    pub async fn close(&self) -> Outcome<()> {
        self.store.close().await;
        Outcome(Ok(()))
    }
}
