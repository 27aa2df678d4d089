//! What every context store promises (`ContextStore`).

use std::sync::Arc;

use flowcraft_kafka_adapter::ports::{ContextStore, ContextWrite, StoredContext};

fn step(run: &str, text: &str, timestamp_micros: i64) -> ContextWrite {
    ContextWrite { run: run.into(), document: text.into(), changes: vec![("a".into(), Some("1".into()))], checkpoint: "{}".into(), timestamp_micros }
}

pub async fn a_write_is_seen_by_the_next_read(store: Arc<dyn ContextStore>) {
    assert_eq!(store.load("r").await.unwrap(), None);
    assert_eq!(store.write_micros("r").await.unwrap(), None);
    let text = r#"{"a":1,"ü":"\"","_flowcraft":{}}"#;
    store.write(&step("r", text, 5_000_001)).await.unwrap();
    assert_eq!(store.load("r").await.unwrap(), Some(StoredContext { text: Some(text.into()), write_micros: Some(5_000_001) }));
    assert_eq!(store.write_micros("r").await.unwrap(), Some(5_000_001));
    assert_eq!(store.load("other").await.unwrap(), None);
}

pub async fn an_older_write_never_replaces_a_newer_one(store: Arc<dyn ContextStore>) {
    store.write(&step("r", "{\"v\":2}", 2_000)).await.unwrap();
    store.write(&step("r", "{\"v\":1}", 1_000)).await.unwrap();
    assert_eq!(store.load("r").await.unwrap().unwrap().text.as_deref(), Some("{\"v\":2}"));
    store.write(&step("r", "{\"v\":3}", 3_000)).await.unwrap();
    assert_eq!(store.load("r").await.unwrap().unwrap().write_micros, Some(3_000));
}

pub async fn a_repeated_write_changes_nothing(store: Arc<dyn ContextStore>) {
    for _ in 0..3 {
        store.write(&step("r", "{\"v\":1}", 1_000)).await.unwrap();
    }
    assert_eq!(store.load("r").await.unwrap(), Some(StoredContext { text: Some("{\"v\":1}".into()), write_micros: Some(1_000) }));
}

pub async fn a_megabyte_and_many_runs_at_once_are_fine(store: Arc<dyn ContextStore>) {
    let big = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
    store.write(&step("big", &big, 1)).await.unwrap();
    assert_eq!(store.load("big").await.unwrap().unwrap().text, Some(big));
    let writes: Vec<_> = (0..200)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.write(&step(&format!("r{number}"), &format!("{{\"n\":{number}}}"), 10)).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(store.load("r123").await.unwrap().unwrap().text.as_deref(), Some("{\"n\":123}"));
}

/// Every scenario as a test of one implementation.
macro_rules! context_store_suite {
    ($store:expr) => {
        $crate::ports::context_store::context_store_suite!($store;
            a_write_is_seen_by_the_next_read, an_older_write_never_replaces_a_newer_one, a_repeated_write_changes_nothing,
            a_megabyte_and_many_runs_at_once_are_fine);
    };
    ($store:expr; $($name:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(store) = $store.await {
                $crate::ports::context_store::$name(store).await;
            }
        }
    )+};
}
pub(crate) use context_store_suite;
