//! What every coordination store promises (`Coordination`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flowcraft_kafka_adapter::ports::Coordination;

/// A store and the means to let its time pass.
#[async_trait]
pub trait Shared: Send + Sync {
    fn store(&self) -> Arc<dyn Coordination>;
    async fn pass(&self, span: Duration);
}

const SHORT: u64 = 1;
const LONG: u64 = 600;

pub async fn counting_adds_one_and_refreshes_the_ttl(shared: Arc<dyn Shared>) {
    let store = shared.store();
    assert_eq!(store.increment("n", SHORT).await.unwrap(), 1);
    assert_eq!(store.increment("n", LONG).await.unwrap(), 2);
    shared.pass(Duration::from_millis(1_100)).await;
    assert_eq!(store.increment("n", SHORT).await.unwrap(), 3);
    assert_eq!(store.get("n").await.unwrap().as_deref(), Some("3"));
    shared.pass(Duration::from_millis(1_100)).await;
    assert_eq!(store.increment("n", SHORT).await.unwrap(), 1, "the counter was to expire");
}

pub async fn exactly_one_of_many_writers_wins(shared: Arc<dyn Shared>) {
    let store = shared.store();
    let writers: Vec<_> = (0..50)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { (number, store.set_if_not_exist("k", &number.to_string(), LONG).await.unwrap()) })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        let (number, won) = writer.await.unwrap();
        winners.extend(won.then_some(number));
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.get("k").await.unwrap(), Some(winners[0].to_string()));
}

pub async fn concurrent_counts_are_all_different(shared: Arc<dyn Shared>) {
    let store = shared.store();
    let counters: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.increment("n", LONG).await.unwrap() })
        })
        .collect();
    let mut counts = Vec::new();
    for counter in counters {
        counts.push(counter.await.unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>());
}

pub async fn a_key_can_be_extended_deleted_and_expires(shared: Arc<dyn Shared>) {
    let store = shared.store();
    assert!(!store.extend_ttl("k", LONG).await.unwrap());
    store.delete("k").await.unwrap();
    assert_eq!(store.get("k").await.unwrap(), None);
    assert!(store.set_if_not_exist("k", "a", SHORT).await.unwrap());
    assert!(!store.set_if_not_exist("k", "b", LONG).await.unwrap());
    assert!(store.extend_ttl("k", LONG).await.unwrap());
    shared.pass(Duration::from_millis(1_100)).await;
    assert_eq!(store.get("k").await.unwrap().as_deref(), Some("a"));
    store.delete("k").await.unwrap();
    assert!(store.set_if_not_exist("k", "c", SHORT).await.unwrap());
    shared.pass(Duration::from_millis(1_100)).await;
    assert_eq!(store.get("k").await.unwrap(), None);
    assert!(!store.extend_ttl("k", LONG).await.unwrap());
}

pub async fn close_is_idempotent_and_final(shared: Arc<dyn Shared>) {
    let store = shared.store();
    store.close().await;
    store.close().await;
    assert!(store.get("k").await.is_err());
}

/// Every scenario as a test of one implementation.
macro_rules! coordination_suite {
    ($store:expr) => {
        $crate::ports::coordination::coordination_suite!($store;
            counting_adds_one_and_refreshes_the_ttl, exactly_one_of_many_writers_wins, concurrent_counts_are_all_different,
            a_key_can_be_extended_deleted_and_expires, close_is_idempotent_and_final);
    };
    ($store:expr; $($name:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(shared) = $store.await {
                $crate::ports::coordination::$name(shared).await;
            }
        }
    )+};
}
pub(crate) use coordination_suite;
