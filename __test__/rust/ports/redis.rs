//! The coordination store on a real Redis: the suite, and what only Redis has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flowcraft_kafka_adapter::backends::redis::{RedisCoordination, RedisSettings};
use flowcraft_kafka_adapter::kernel::error::FlowError;
use flowcraft_kafka_adapter::ports::Coordination;

use super::coordination::{Shared, coordination_suite};
use super::services::{address, unique};

const PATIENCE: Duration = Duration::from_secs(10);

struct Prefixed(Arc<RedisCoordination>);

#[async_trait]
impl Shared for Prefixed {
    fn store(&self) -> Arc<dyn Coordination> {
        Arc::clone(&self.0) as Arc<dyn Coordination>
    }

    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

fn settings() -> Option<RedisSettings> {
    Some(RedisSettings { key_prefix: Some(format!("{}:", unique("test"))), ..RedisSettings::from_url(&address("REDIS_URL")?) })
}

async fn shared() -> Option<Arc<dyn Shared>> {
    let store = RedisCoordination::connect(&settings()?, PATIENCE).await.unwrap();
    Some(Arc::new(Prefixed(Arc::new(store))))
}

coordination_suite!(shared());

#[tokio::test]
async fn the_prefix_stands_before_every_key() {
    let Some(settings) = settings() else { return };
    let store = RedisCoordination::connect(&settings, PATIENCE).await.unwrap();
    assert!(store.set_if_not_exist("k", "v", 60).await.unwrap());
    let bare = RedisCoordination::connect(&RedisSettings { key_prefix: None, ..settings.clone() }, PATIENCE).await.unwrap();
    let name = format!("{}k", settings.key_prefix.unwrap());
    assert_eq!(bare.get(&name).await.unwrap().as_deref(), Some("v"));
    bare.delete(&name).await.unwrap();
    assert_eq!(store.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn nobody_there_is_told_within_the_patience() {
    let began = Instant::now();
    let settings = RedisSettings { host: Some("127.0.0.1".into()), port: Some(1), ..RedisSettings::default() };
    let error = RedisCoordination::connect(&settings, Duration::from_millis(700)).await.err().unwrap();
    assert!(matches!(&error, FlowError::Unreachable { address, .. } if address == "127.0.0.1:1"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_refused_login_is_told_at_once_and_without_the_password() {
    let Some(settings) = settings() else { return };
    let settings =
        RedisSettings { username: Some("nobody".into()), password: Some(flowcraft_kafka_adapter::backends::secret::Secret::new("hunter2")), ..settings };
    let began = Instant::now();
    let error = RedisCoordination::connect(&settings, PATIENCE).await.err().unwrap();
    assert!(matches!(error, FlowError::Store { .. }) && !error.retryable(), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}
