//! What every store of leases promises (`LeaseStore`).

use std::sync::Arc;

use flowcraft_kafka_adapter::kernel::lease::LeaseRow;
use flowcraft_kafka_adapter::ports::LeaseStore;

fn row(epoch: i64, holder: &str, valid_until_ms: i64) -> LeaseRow {
    LeaseRow { epoch, holder: holder.into(), valid_until_ms }
}

pub async fn a_swap_is_made_only_where_stands_what_was_seen(store: Arc<dyn LeaseStore>) {
    assert_eq!(store.find(0).await.unwrap(), None);
    let (first, renewed, second, free) = (row(1, "a", 1_000), row(1, "a", 2_000), row(2, "b", 3_000), row(2, "", 2_500));
    assert!(!store.swap(0, Some(&first), &renewed).await.unwrap(), "nothing stands there");
    assert!(store.swap(0, None, &first).await.unwrap());
    assert!(!store.swap(0, None, &second).await.unwrap(), "something stands there");
    assert!(store.swap(0, Some(&first), &renewed).await.unwrap());
    assert!(!store.swap(0, Some(&first), &second).await.unwrap(), "it was renewed since");
    assert_eq!(store.find(0).await.unwrap(), Some(renewed.clone()));
    assert!(store.swap(0, Some(&renewed), &second).await.unwrap());
    assert!(!store.swap(0, Some(&renewed), &first).await.unwrap(), "another tenure has begun");
    assert!(store.swap(0, Some(&second), &free).await.unwrap());
    assert_eq!(store.find(0).await.unwrap(), Some(free));
    assert_eq!(store.find(1).await.unwrap(), None);
}

pub async fn one_of_many_wins(store: Arc<dyn LeaseStore>) {
    let mut seen = None;
    for epoch in 1..=3 {
        let bids = (0..8).map(|bidder| {
            let (store, seen) = (store.clone(), seen.clone());
            tokio::spawn(async move {
                let own = row(epoch, &format!("bidder {bidder}"), epoch * 1_000);
                // Under contention a conditional write may end without an answer; then the row tells.
                let won = store.swap(0, seen.as_ref(), &own).await;
                (own, won)
            })
        });
        let mut winners = Vec::new();
        for bid in bids.collect::<Vec<_>>() {
            let (own, won) = bid.await.unwrap();
            if matches!(won, Ok(true)) {
                winners.push(own);
            }
        }
        let found = store.find(0).await.unwrap();
        assert!(winners.len() <= 1 && winners.iter().all(|winner| Some(winner) == found.as_ref()), "{winners:?} {found:?}");
        assert_eq!(found.as_ref().map(|row| row.epoch), Some(epoch));
        seen = found;
    }
}

/// Every scenario as a test of one implementation.
macro_rules! lease_store_suite {
    ($store:expr) => {
        $crate::ports::lease_store::lease_store_suite!($store; a_swap_is_made_only_where_stands_what_was_seen, one_of_many_wins);
    };
    ($store:expr; $($name:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(store) = $store.await {
                $crate::ports::lease_store::$name(store).await;
            }
        }
    )+};
}
pub(crate) use lease_store_suite;
