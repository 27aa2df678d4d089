//! What every store of timers promises (`TimerStore`).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use flowcraft_kafka_adapter::kernel::timer::{Alarm, Parking, Timer};
use flowcraft_kafka_adapter::ports::TimerStore;

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn timer(shard: i32, run: &str, due_ms: i64) -> Timer {
    Timer::new(shard, run, Alarm("nap".into(), 3, due_ms), now_ms())
}

pub async fn timers_are_found_in_their_shard_and_time(store: Arc<dyn TimerStore>) {
    let now = now_ms();
    assert_eq!(store.find(0, 0, now + HOUR_MS).await.unwrap(), []);
    let (soon, later, other) = (timer(0, "soon", now + 10), timer(0, "later", now + 3 * HOUR_MS), timer(1, "other", now + 10));
    for timer in [&soon, &later, &other, &soon] {
        store.put(timer).await.unwrap();
    }
    assert_eq!(store.find(0, 0, now + HOUR_MS).await.unwrap(), std::slice::from_ref(&soon));
    assert_eq!(store.find(1, 0, now + HOUR_MS).await.unwrap(), [other]);
    // From where the last reading ended: what was found is not found again.
    assert_eq!(store.find(0, now + HOUR_MS, now + 4 * HOUR_MS).await.unwrap(), std::slice::from_ref(&later));
    store.delete(&soon).await.unwrap();
    store.delete(&soon).await.unwrap();
    assert_eq!(store.find(0, 0, now + 4 * HOUR_MS).await.unwrap(), [later]);
}

pub async fn what_is_overdue_is_found(store: Arc<dyn TimerStore>) {
    let now = now_ms();
    let overdue = timer(2, "overdue", now - 5 * HOUR_MS);
    store.put(&overdue).await.unwrap();
    let found = store.find(2, 0, now + 1).await.unwrap();
    assert_eq!(found, [overdue]);
}

pub async fn parked_runs_are_found_in_their_shard_and_by_no_time(store: Arc<dyn TimerStore>) {
    let now = now_ms();
    assert_eq!(store.parked(3).await.unwrap(), []);
    let parked = |shard: i32, run: &str, since: i64| Timer::parked(shard, run, Parking(r#"["bp","1"]"#.into(), since));
    let (first, second, other) = (parked(3, "first", now - 400 * HOUR_MS), parked(3, "second", now), parked(4, "other", now));
    for timer in [&first, &second, &other, &timer(3, "nap", now)] {
        store.put(timer).await.unwrap();
    }
    assert_eq!(store.parked(3).await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(store.find(3, 0, now + HOUR_MS).await.unwrap().len(), 1, "only the nap");
    store.delete(&first).await.unwrap();
    assert_eq!(store.parked(3).await.unwrap(), [second]);
}

/// Every scenario as a test of one implementation.
macro_rules! timer_store_suite {
    ($store:expr) => {
        $crate::ports::timer_store::timer_store_suite!($store; timers_are_found_in_their_shard_and_time, what_is_overdue_is_found, parked_runs_are_found_in_their_shard_and_by_no_time);
    };
    ($store:expr; $($name:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(store) = $store.await {
                $crate::ports::timer_store::$name(store).await;
            }
        }
    )+};
}
pub(crate) use timer_store_suite;
