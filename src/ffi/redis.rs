//! `NativeRedis`: the coordination store on its own.

use std::time::Duration;

use napi_derive::napi;

use super::outcome::Outcome;
use crate::backends::redis::{RedisCoordination, RedisSettings};
use crate::kernel::error::FlowError;
use crate::ports::Coordination;

/// How long the first connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to Redis; operations in flight share one pipeline.
#[napi]
pub struct NativeRedis {
    store: RedisCoordination,
}

#[napi]
impl NativeRedis {
    /// Connects with the settings of a client.
    #[napi]
    pub async fn connect(settings_json: String) -> Outcome<NativeRedis> {
        let connected = async {
            let settings: RedisSettings = serde_json::from_str(&settings_json).map_err(|error| FlowError::Option {
                path: "redis".into(),
                problem: error.to_string(),
                fix: "Give an ioredis client, a URL or an object with host and port".into(),
            })?;
            RedisCoordination::connect(&settings, PATIENCE).await
        };
        Outcome(connected.await.map(|store| Self { store }))
    }

    /// Adds one and renews the life of the key, seconds.
    #[napi]
    pub async fn increment(&self, key: String, ttl: f64) -> Outcome<i64> {
        self.store.increment(&key, seconds(ttl)).await.into()
    }

    /// Writes unless the key exists.
    #[napi]
    pub async fn set_if_not_exist(&self, key: String, value: String, ttl: f64) -> Outcome<bool> {
        self.store.set_if_not_exist(&key, &value, seconds(ttl)).await.into()
    }

    /// Removes the key.
    #[napi]
    pub async fn delete(&self, key: String) -> Outcome<()> {
        self.store.delete(&key).await.into()
    }

    /// Renews the life of the key, seconds.
    #[napi]
    pub async fn extend_ttl(&self, key: String, ttl: f64) -> Outcome<bool> {
        self.store.extend_ttl(&key, seconds(ttl)).await.into()
    }

    /// Reads the key.
    #[napi]
    pub async fn get(&self, key: String) -> Outcome<Option<String>> {
        self.store.get(&key).await.into()
    }

    /// Closes the connection.
    #[napi]
    pub async fn close(&self) -> Outcome<()> {
        self.store.close().await;
        Outcome(Ok(()))
    }
}

// The glue has checked the range; Redis takes whole seconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn seconds(ttl: f64) -> u64 {
    ttl.max(0.0) as u64
}
