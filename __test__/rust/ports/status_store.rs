//! What every status store promises (`StatusStore`).

use std::sync::Arc;

use async_trait::async_trait;
use flowcraft_kafka_adapter::ports::{StatusRecord, StatusStore};

/// A status row as a client would read it.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub status: Option<String>,
    pub status_data: Option<String>,
    pub updated_at_ms: Option<i64>,
}

/// A store whose rows can be read.
#[async_trait]
pub trait Statuses: Send + Sync {
    fn store(&self) -> Arc<dyn StatusStore>;
    async fn row(&self, run: &str) -> Option<Row>;
}

fn outcome(status: &str, timestamp_micros: i64) -> StatusRecord {
    StatusRecord { run: "r".into(), status: status.into(), status_data: format!("{{\"status\":\"{status}\"}}"), timestamp_micros }
}

fn row(status: &str, data: Option<&str>, updated_at_ms: i64) -> Option<Row> {
    Some(Row { status: Some(status.into()), status_data: data.map(str::to_owned), updated_at_ms: Some(updated_at_ms) })
}

pub async fn an_outcome_follows_a_touch(statuses: Arc<dyn Statuses>) {
    let store = statuses.store();
    assert_eq!(statuses.row("r").await, None);
    store.touch("r", 1_000_999).await.unwrap();
    assert_eq!(statuses.row("r").await, row("running", None, 1_000));
    store.publish(&outcome("completed", 2_000_000)).await.unwrap();
    assert_eq!(statuses.row("r").await, row("completed", Some("{\"status\":\"completed\"}"), 2_000));
}

pub async fn an_older_record_never_replaces_a_newer_one(statuses: Arc<dyn Statuses>) {
    let store = statuses.store();
    store.publish(&outcome("completed", 2_000_000)).await.unwrap();
    store.publish(&outcome("failed", 1_000_000)).await.unwrap();
    store.touch("r", 1_500_000).await.unwrap();
    assert_eq!(statuses.row("r").await, row("completed", Some("{\"status\":\"completed\"}"), 2_000));
    store.publish(&outcome("failed", 3_000_000)).await.unwrap();
    assert_eq!(statuses.row("r").await, row("failed", Some("{\"status\":\"failed\"}"), 3_000));
}

pub async fn what_a_row_says_can_be_asked(statuses: Arc<dyn Statuses>) {
    let store = statuses.store();
    assert_eq!(store.status("r").await.unwrap(), None);
    store.touch("r", 1_000_000).await.unwrap();
    assert_eq!(store.status("r").await.unwrap().as_deref(), Some("running"));
    store.publish(&outcome("cancelled", 2_000_000)).await.unwrap();
    assert_eq!(store.status("r").await.unwrap().as_deref(), Some("cancelled"));
    assert_eq!(store.status("another").await.unwrap(), None);
}

pub async fn a_repeat_is_byte_identical(statuses: Arc<dyn Statuses>) {
    let store = statuses.store();
    for _ in 0..3 {
        store.publish(&outcome("completed", 2_000_000)).await.unwrap();
        assert_eq!(statuses.row("r").await, row("completed", Some("{\"status\":\"completed\"}"), 2_000));
    }
}

pub async fn groups_of_outcomes_are_written_as_if_they_had_come_alone(statuses: Arc<dyn Statuses>) {
    let store = statuses.store();
    // The third time is an old one.
    for (status, time) in [("awaiting", 2_000_000), ("completed", 3_000_000), ("failed", 1_000_000)] {
        let records: Vec<_> = (0..25).map(|number| StatusRecord { run: format!("g{number}"), ..outcome(status, time) }).collect();
        let all: Vec<&StatusRecord> = records.iter().collect();
        let groups = store.groups(&all);
        let mut seen = groups.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..all.len()).collect::<Vec<_>>());
        for group in groups {
            store.publish_group(&group.into_iter().map(|index| all[index]).collect::<Vec<_>>()).await.unwrap();
        }
    }
    for number in 0..25 {
        assert_eq!(statuses.row(&format!("g{number}")).await, row("completed", Some("{\"status\":\"completed\"}"), 3_000));
    }
}

/// Every scenario as a test of one implementation.
macro_rules! status_store_suite {
    ($store:expr) => {
        $crate::ports::status_store::status_store_suite!($store; an_outcome_follows_a_touch, an_older_record_never_replaces_a_newer_one, what_a_row_says_can_be_asked, a_repeat_is_byte_identical, groups_of_outcomes_are_written_as_if_they_had_come_alone);
    };
    ($store:expr; $($name:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(statuses) = $store.await {
                $crate::ports::status_store::$name(statuses).await;
            }
        }
    )+};
}
pub(crate) use status_store_suite;
