//! `NativeRedis`: the exported `RedisCoordinationStore`.

use std::sync::Arc;
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::PromiseRaw;
use napi_derive::napi;
use serde::Deserialize;

use super::json::read;
use super::outcome::Outcome;
use super::runtime::promise;
use crate::backends::clock::SystemClock;
use crate::backends::embedded::Cluster;
use crate::backends::redis::{RedisCoordination, RedisSettings};
use crate::kernel::error::FlowError;
use crate::ports::Coordination;

type Promised<'env, T> = PromiseRaw<'env, Outcome<T>>;

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
        let store: Arc<dyn Coordination> = match read("Redis settings", settings_json)? {
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
    pub fn connect(env: &Env, settings_json: String) -> napi::Result<Promised<'_, NativeRedis>> {
        promise(env, async move { Self::open(&settings_json).await })
    }

    /// Adds one and refreshes the TTL; answers the count.
    #[napi]
    pub fn increment<'env>(&self, env: &'env Env, key: String, ttl: f64) -> napi::Result<Promised<'env, i64>> {
        let store = self.store.clone();
        promise(env, async move { store.increment(&key, seconds(ttl)?).await })
    }

    /// Writes unless the key exists; `true` when written.
    #[napi]
    pub fn set_if_not_exist<'env>(&self, env: &'env Env, key: String, value: String, ttl: f64) -> napi::Result<Promised<'env, bool>> {
        let store = self.store.clone();
        promise(env, async move { store.set_if_not_exist(&key, &value, seconds(ttl)?).await })
    }

    /// Removes the key.
    #[napi]
    pub fn delete<'env>(&self, env: &'env Env, key: String) -> napi::Result<Promised<'env, ()>> {
        let store = self.store.clone();
        promise(env, async move { store.delete(&key).await })
    }

    /// Renews the TTL; `false` when the key is gone.
    #[napi]
    pub fn extend_ttl<'env>(&self, env: &'env Env, key: String, ttl: f64) -> napi::Result<Promised<'env, bool>> {
        let store = self.store.clone();
        promise(env, async move { store.extend_ttl(&key, seconds(ttl)?).await })
    }

    /// The key's value, `null` when it is gone.
    #[napi]
    pub fn get<'env>(&self, env: &'env Env, key: String) -> napi::Result<Promised<'env, Option<String>>> {
        let store = self.store.clone();
        promise(env, async move { store.get(&key).await })
    }

    /// Disconnects. Twice is fine.
    #[napi]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<Promised<'env, ()>> {
        let store = self.store.clone();
        promise(env, async move {
            store.close().await;
            Ok(())
        })
    }
}
