//! Every port in process: no server, nothing durable. The reference for what each port means, and the
//! adapter's embedded mode.
//!
//! A [`Cluster`] stands for one Kafka, one Cassandra and one Redis together. Workers, tests and the
//! JavaScript side that name the same cluster see the same data, until it is removed.

mod assignment;
mod coordination;
mod crash;
mod leases;
mod log;
mod member;
mod standalone;
mod tables;
mod timers;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

pub use crash::Crash;
pub use log::{EmbeddedSink, Letter};
pub use member::EmbeddedSource;
pub use tables::{ContextRow, StatusRow};

use self::coordination::{EmbeddedCoordination, Entries};
use self::leases::EmbeddedLeases;
use self::log::Topic;
use self::tables::{ContextTable, StatusTable};
use self::timers::EmbeddedTimers;
use super::lock;
use crate::kernel::partition::home_partition;
use crate::ports::{Clock, ContextStore, Coordination, LeaseStore, RawMessage, StatusStore, TimerStore};

/// Partitions of a topic whose creator names no number.
pub const DEFAULT_PARTITIONS: i32 = 4;

static CLUSTERS: LazyLock<Mutex<HashMap<String, Arc<Cluster>>>> = LazyLock::new(Mutex::default);

/// Topics, tables and keys under one name.
#[derive(Default)]
pub struct Cluster {
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    contexts: Mutex<HashMap<String, Arc<ContextTable>>>,
    statuses: Mutex<HashMap<String, Arc<StatusTable>>>,
    entries: Arc<Entries>,
    timers: Mutex<HashMap<String, Arc<EmbeddedTimers>>>,
    leases: Mutex<HashMap<String, Arc<EmbeddedLeases>>>,
}

impl Cluster {
    /// The process-wide cluster of that name, created empty when there is none.
    #[must_use]
    pub fn named(name: &str) -> Arc<Self> {
        Arc::clone(lock(&CLUSTERS).entry(name.to_owned()).or_default())
    }

    /// Forgets the cluster of that name. Whoever still uses it keeps it; the next `named` gets a new one.
    pub fn remove(name: &str) {
        lock(&CLUSTERS).remove(name);
    }

    /// The topic, created when there is none; an existing one keeps its partitions.
    fn topic(&self, name: &str, partitions: i32) -> Arc<Topic> {
        Arc::clone(lock(&self.topics).entry(name.to_owned()).or_insert_with(|| Arc::new(Topic::new(name, partitions))))
    }

    /// A new member of a consumer group of a topic.
    #[must_use]
    pub fn source(&self, topic: &str, group: &str, partitions: i32) -> Arc<EmbeddedSource> {
        Arc::new(EmbeddedSource::new(self.topic(topic, partitions), group))
    }

    /// A producer for a topic.
    #[must_use]
    pub fn sink(&self, topic: &str, partitions: i32) -> Arc<EmbeddedSink> {
        Arc::new(EmbeddedSink::new(self.topic(topic, partitions)))
    }

    /// The context table of that name.
    #[must_use]
    pub fn contexts(&self, table: &str) -> Arc<dyn ContextStore> {
        self.context_table(table)
    }

    /// The status table of that name.
    #[must_use]
    pub fn statuses(&self, table: &str) -> Arc<dyn StatusStore> {
        self.status_table(table)
    }

    /// The timers of a topic.
    #[must_use]
    pub fn timers(&self, topic: &str) -> Arc<dyn TimerStore> {
        Arc::clone(lock(&self.timers).entry(topic.to_owned()).or_default()) as Arc<dyn TimerStore>
    }

    /// The leases of a topic's partitions.
    #[must_use]
    pub fn leases(&self, topic: &str) -> Arc<dyn LeaseStore> {
        Arc::clone(lock(&self.leases).entry(topic.to_owned()).or_default()) as Arc<dyn LeaseStore>
    }

    /// The keys, which expire by this clock.
    #[must_use]
    pub fn coordination(&self, clock: Arc<dyn Clock>) -> Arc<dyn Coordination> {
        Arc::new(EmbeddedCoordination::new(Arc::clone(&self.entries), clock))
    }

    fn context_table(&self, table: &str) -> Arc<ContextTable> {
        Arc::clone(lock(&self.contexts).entry(table.to_owned()).or_default())
    }

    fn status_table(&self, table: &str) -> Arc<StatusTable> {
        Arc::clone(lock(&self.statuses).entry(table.to_owned()).or_default())
    }

    /// A context row as stored.
    #[must_use]
    pub fn context_row(&self, table: &str, run: &str) -> Option<ContextRow> {
        self.context_table(table).row(run)
    }

    /// Writes a context row, as another program would.
    pub fn put_context(&self, table: &str, run: &str, text: Option<String>, timestamp_micros: i64) {
        self.context_table(table).put(run, text, timestamp_micros);
    }

    /// Deletes a context row and its history.
    pub fn delete_context(&self, table: &str, run: &str) {
        self.context_table(table).delete(run);
    }

    /// A status row as stored.
    #[must_use]
    pub fn status_row(&self, table: &str, run: &str) -> Option<StatusRow> {
        self.status_table(table).row(run)
    }

    /// Runs in `status` whose row was last touched before `before_ms` (milliseconds since the epoch).
    #[must_use]
    pub fn stalled_runs(&self, table: &str, status: &str, before_ms: i64) -> Vec<String> {
        self.status_table(table).stalled(status, before_ms)
    }

    /// Appends a message; without a partition to the home of its key. Answers partition and offset.
    pub fn produce(&self, topic: &str, partition: Option<i32>, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> (i32, i64) {
        let topic = self.topic(topic, DEFAULT_PARTITIONS);
        let partition = partition.unwrap_or_else(|| home_partition(key.as_deref().unwrap_or_default(), topic.partitions()));
        topic.append(partition, key, value, 0, None)
    }

    /// All messages of a topic, partition by partition.
    #[must_use]
    pub fn messages(&self, topic: &str) -> Vec<RawMessage> {
        self.topic(topic, DEFAULT_PARTITIONS).messages()
    }

    /// The dead letters of a topic, oldest first.
    #[must_use]
    pub fn dead_letters(&self, topic: &str) -> Vec<Letter> {
        self.topic(topic, DEFAULT_PARTITIONS).letters()
    }

    /// The position that a group committed.
    #[must_use]
    pub fn committed(&self, topic: &str, group: &str, partition: i32) -> Option<i64> {
        self.topic(topic, DEFAULT_PARTITIONS).committed(group, partition)
    }

    /// Adds partitions to a topic, as an operator would.
    pub fn add_partitions(&self, topic: &str, partitions: i32) {
        self.topic(topic, DEFAULT_PARTITIONS).grow(partitions);
    }
}
