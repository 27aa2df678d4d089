//! What every context store promises (`ContextStore`), whatever its layout.

use std::sync::Arc;

use flowcraft_kafka_adapter::kernel::document::Document;
use flowcraft_kafka_adapter::ports::{ContextStore, ContextWrite};

/// A step of a run that holds nothing but what it writes.
fn step(store: &dyn ContextStore, run: &str, keys: &[(&str, &str)], timestamp_micros: i64) -> ContextWrite {
    let checkpoint = format!("{{\"at\":{timestamp_micros}}}");
    let mut document = Document::default();
    keys.iter().for_each(|(key, raw)| document.set((*key).into(), (*raw).into()));
    ContextWrite {
        run: run.into(),
        document: store.layout().text(&document, &checkpoint),
        changes: keys.iter().map(|(key, raw)| ((*key).into(), Some((*raw).into()))).collect(),
        checkpoint,
        timestamp_micros,
        timers: Vec::new(),
    }
}

/// A run as a text with its checkpoint, its keys in order.
async fn text(store: &dyn ContextStore, run: &str) -> Option<String> {
    let stored = store.load(run).await.unwrap()?.read().unwrap();
    let mut sorted = Document::default();
    let mut entries: Vec<_> = stored.document.entries().collect();
    entries.sort_unstable();
    entries.into_iter().for_each(|(key, raw)| sorted.set(key.into(), raw.into()));
    Some(sorted.assemble(stored.checkpoint.as_deref()))
}

async fn micros(store: &dyn ContextStore, run: &str) -> Option<i64> {
    let loaded = store.load(run).await.unwrap().and_then(|stored| stored.write_micros);
    assert_eq!(store.write_micros(run).await.unwrap(), loaded);
    loaded
}

pub async fn a_write_is_seen_by_the_next_read(store: Arc<dyn ContextStore>) {
    assert_eq!((text(&*store, "r").await, micros(&*store, "r").await), (None, None));
    store.write(&step(&*store, "r", &[("a", "1"), ("ü", "\"\\\"\"")], 5_000_001)).await.unwrap();
    assert_eq!(text(&*store, "r").await.as_deref(), Some(r#"{"a":1,"ü":"\"","_flowcraft":{"at":5000001}}"#));
    assert_eq!(micros(&*store, "r").await, Some(5_000_001));
    assert_eq!(text(&*store, "other").await, None);
}

pub async fn a_key_that_is_deleted_is_gone(store: Arc<dyn ContextStore>) {
    store.write(&step(&*store, "r", &[("a", "1"), ("b", "2")], 1_000)).await.unwrap();
    let mut next = step(&*store, "r", &[("b", "3")], 2_000);
    next.changes.push(("a".into(), None));
    store.write(&next).await.unwrap();
    assert_eq!(text(&*store, "r").await.as_deref(), Some(r#"{"b":3,"_flowcraft":{"at":2000}}"#));
}

pub async fn an_older_write_never_replaces_a_newer_one(store: Arc<dyn ContextStore>) {
    store.write(&step(&*store, "r", &[("v", "2")], 2_000)).await.unwrap();
    store.write(&step(&*store, "r", &[("v", "1")], 1_000)).await.unwrap();
    assert_eq!(text(&*store, "r").await.as_deref(), Some(r#"{"v":2,"_flowcraft":{"at":2000}}"#));
    store.write(&step(&*store, "r", &[("v", "3")], 3_000)).await.unwrap();
    assert_eq!(micros(&*store, "r").await, Some(3_000));
}

pub async fn a_repeated_write_changes_nothing(store: Arc<dyn ContextStore>) {
    for _ in 0..3 {
        store.write(&step(&*store, "r", &[("v", "1")], 1_000)).await.unwrap();
    }
    assert_eq!(text(&*store, "r").await.as_deref(), Some(r#"{"v":1,"_flowcraft":{"at":1000}}"#));
    assert_eq!(micros(&*store, "r").await, Some(1_000));
}

pub async fn a_step_without_changes_still_writes_its_checkpoint(store: Arc<dyn ContextStore>) {
    store.write(&step(&*store, "r", &[], 1_000)).await.unwrap();
    assert_eq!(text(&*store, "r").await.as_deref(), Some(r#"{"_flowcraft":{"at":1000}}"#));
}

pub async fn a_megabyte_and_many_runs_at_once_are_fine(store: Arc<dyn ContextStore>) {
    let big = format!("\"{}\"", "y".repeat(1 << 20));
    store.write(&step(&*store, "big", &[("x", &big)], 1)).await.unwrap();
    assert_eq!(text(&*store, "big").await, Some(format!(r#"{{"x":{big},"_flowcraft":{{"at":1}}}}"#)));
    let writes: Vec<_> = (0..200)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.write(&step(&*store, &format!("r{number}"), &[("n", &number.to_string())], 10)).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(text(&*store, "r123").await.as_deref(), Some(r#"{"n":123,"_flowcraft":{"at":10}}"#));
}

pub async fn groups_of_steps_are_written_as_if_they_had_come_alone(store: Arc<dyn ContextStore>) {
    let big = format!("\"{}\"", "z".repeat(20_000));
    let runs: Vec<String> = (0..25).map(|number| format!("g{number}")).collect();
    let steps_at = |time: i64| -> Vec<ContextWrite> {
        let value = |number: usize| if number == 7 { big.clone() } else { format!("{{\"at\":{time}}}") };
        runs.iter().enumerate().map(|(number, run)| step(&*store, run, &[("a", &value(number)), ("b", "2")], time)).collect()
    };
    // The third time is an old one.
    for time in [2_000, 3_000, 1_000] {
        let steps = steps_at(time);
        let all: Vec<&ContextWrite> = steps.iter().collect();
        let groups = store.groups(&all);
        let mut seen = groups.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..runs.len()).collect::<Vec<_>>());
        for group in groups {
            store.write_group(&group.into_iter().map(|index| all[index]).collect::<Vec<_>>()).await.unwrap();
        }
    }
    for (expected, run) in steps_at(3_000).iter().zip(&runs) {
        let a = expected.changes[0].1.as_deref().unwrap();
        assert_eq!(text(&*store, run).await, Some(format!(r#"{{"a":{a},"b":2,"_flowcraft":{{"at":3000}}}}"#)));
        assert_eq!(micros(&*store, run).await, Some(3_000));
    }
}

/// Every scenario as a test of one implementation.
macro_rules! context_store_suite {
    ($store:expr) => {
        $crate::ports::context_store::context_store_suite!($store;
            a_write_is_seen_by_the_next_read, a_key_that_is_deleted_is_gone, an_older_write_never_replaces_a_newer_one,
            a_repeated_write_changes_nothing, a_step_without_changes_still_writes_its_checkpoint,
            a_megabyte_and_many_runs_at_once_are_fine, groups_of_steps_are_written_as_if_they_had_come_alone);
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
