//! Keys that expire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::backends::lock;
use crate::kernel::error::{FlowError, Retry, Service};
use crate::ports::{Clock, Coordination, Moment};

/// Expired keys are swept out when the map has grown to this many since the last sweep.
const SWEEP_EVERY: usize = 10_000;

struct Entry {
    value: String,
    expires: Moment,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    sweep_at: usize,
}

/// The keys of a cluster.
#[derive(Default)]
pub(super) struct Entries(Mutex<Table>);

/// The keys, seen by one clock.
pub(super) struct EmbeddedCoordination {
    entries: Arc<Entries>,
    clock: Arc<dyn Clock>,
    closed: AtomicBool,
}

impl EmbeddedCoordination {
    pub(super) fn new(entries: Arc<Entries>, clock: Arc<dyn Clock>) -> Self {
        Self { entries, clock, closed: AtomicBool::new(false) }
    }

    /// Works on one key, which is absent when it has expired.
    fn at<R>(&self, key: &str, work: impl FnOnce(&mut HashMap<String, Entry>, Moment) -> R) -> Result<R, FlowError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(FlowError::NotRunning { state: "closed".into(), action: format!("using key \"{key}\"") });
        }
        let now = self.clock.now();
        let mut table = lock(&self.entries.0);
        table.sweep(now);
        if table.entries.get(key).is_some_and(|entry| entry.expires <= now) {
            table.entries.remove(key);
        }
        Ok(work(&mut table.entries, now))
    }
}

impl Table {
    fn sweep(&mut self, now: Moment) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| entry.expires > now);
            self.sweep_at = self.entries.len() + SWEEP_EVERY;
        }
    }
}

fn after(now: Moment, ttl_seconds: u64) -> Moment {
    now.after(Duration::from_secs(ttl_seconds))
}

#[async_trait]
impl Coordination for EmbeddedCoordination {
    async fn increment(&self, key: &str, ttl_seconds: u64) -> Result<i64, FlowError> {
        let not_a_number = |_| FlowError::Store {
            service: Service::Embedded,
            operation: format!("incrementing \"{key}\""),
            cause: "its value is no integer".into(),
            retry: Retry::Never,
        };
        self.at(key, |entries, now| {
            let count = entries.get(key).map_or(Ok(0), |entry| entry.value.parse::<i64>()).map_err(not_a_number)? + 1;
            entries.insert(key.to_owned(), Entry { value: count.to_string(), expires: after(now, ttl_seconds) });
            Ok(count)
        })?
    }

    async fn set_if_not_exist(&self, key: &str, value: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        self.at(key, |entries, now| {
            let free = !entries.contains_key(key);
            if free {
                entries.insert(key.to_owned(), Entry { value: value.to_owned(), expires: after(now, ttl_seconds) });
            }
            free
        })
    }

    async fn delete(&self, key: &str) -> Result<(), FlowError> {
        self.at(key, |entries, _| drop(entries.remove(key)))
    }

    async fn extend_ttl(&self, key: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        self.at(key, |entries, now| match entries.get_mut(key) {
            Some(entry) => {
                entry.expires = after(now, ttl_seconds);
                true
            }
            None => false,
        })
    }

    async fn get(&self, key: &str) -> Result<Option<String>, FlowError> {
        self.at(key, |entries, _| entries.get(key).map(|entry| entry.value.clone()))
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}
