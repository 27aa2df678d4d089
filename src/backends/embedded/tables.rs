//! Context and status tables: cells with write times, where an older write loses.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::retention::Remains;
use crate::ports::{ContextStore, ContextWrite, StatusRecord, StatusStore, StoredContext};

/// One cell. Equal write times are decided as Cassandra does: the greater value wins, nothing wins least.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell<T> {
    value: Option<T>,
    micros: i64,
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self { value: None, micros: i64::MIN }
    }
}

impl<T: Ord> Cell<T> {
    fn write(&mut self, value: Option<T>, micros: i64) {
        if micros > self.micros || micros == self.micros && value > self.value {
            *self = Self { value, micros };
        }
    }
}

/// A context row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRow {
    /// The document's text, or `None` for a NULL cell.
    pub text: Option<String>,
    /// Write time, microseconds since the epoch.
    pub write_micros: i64,
}

/// A context table.
#[derive(Default)]
pub(super) struct ContextTable {
    rows: Mutex<HashMap<String, Cell<String>>>,
}

impl ContextTable {
    pub(super) fn put(&self, run: &str, text: Option<String>, micros: i64) {
        lock(&self.rows).entry(run.to_owned()).or_default().write(text, micros);
    }

    pub(super) fn delete(&self, run: &str) {
        lock(&self.rows).remove(run);
    }

    /// Deletes what was written up to a time.
    pub(super) fn delete_until(&self, run: &str, micros: i64) {
        let mut rows = lock(&self.rows);
        if rows.get(run).is_some_and(|cell| cell.micros <= micros) {
            rows.remove(run);
        }
    }

    pub(super) fn row(&self, run: &str) -> Option<ContextRow> {
        lock(&self.rows).get(run).map(|cell| ContextRow { text: cell.value.clone(), write_micros: cell.micros })
    }
}

#[async_trait]
impl ContextStore for ContextTable {
    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        // A NULL cell has no write time, as in Cassandra.
        Ok(self.row(run).map(|row| {
            let write_micros = row.text.is_some().then_some(row.write_micros);
            StoredContext::document(row.text, write_micros)
        }))
    }

    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError> {
        Ok(self.load(run).await?.and_then(|stored| stored.write_micros))
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        self.put(&write.run, write.document.clone(), write.timestamp_micros);
        Ok(())
    }
}

/// A status row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// `running`, `completed`, ...
    pub status: Option<String>,
    /// The JSON text of the outcome.
    pub status_data: Option<String>,
    /// Milliseconds since the epoch.
    pub updated_at_ms: Option<i64>,
}

#[derive(Default)]
struct StatusCells {
    status: Cell<String>,
    status_data: Cell<String>,
    updated_at_ms: Cell<i64>,
}

impl StatusCells {
    fn write(&mut self, status: &str, micros: i64) {
        self.status.write(Some(status.to_owned()), micros);
        self.updated_at_ms.write(Some(micros.div_euclid(1_000)), micros);
    }

    fn remains(&self, context_micros: Option<i64>) -> Remains<'_> {
        Remains { status: self.status.value.as_deref(), updated_at_ms: self.updated_at_ms.value, status_micros: Some(self.status.micros), context_micros }
    }
}

/// A status table.
#[derive(Default)]
pub(super) struct StatusTable {
    rows: Mutex<HashMap<String, StatusCells>>,
}

impl StatusTable {
    pub(super) fn row(&self, run: &str) -> Option<StatusRow> {
        lock(&self.rows).get(run).map(|row| StatusRow {
            status: row.status.value.clone(),
            status_data: row.status_data.value.clone(),
            updated_at_ms: row.updated_at_ms.value,
        })
    }

    /// Runs that ended before, by their rows alone, and how many rows there are.
    pub(super) fn ended(&self, before_ms: i64) -> (Vec<String>, usize) {
        let rows = lock(&self.rows);
        let ended = rows.iter().filter(|(_, row)| row.remains(None).has_ended(before_ms)).map(|(run, _)| run.clone());
        (ended.collect(), rows.len())
    }

    /// Up to which write time a run may be deleted, if it may; `None` for one that has no row.
    pub(super) fn deletable(&self, run: &str, context_micros: Option<i64>, before_ms: i64) -> Option<Option<i64>> {
        lock(&self.rows).get(run).map(|row| row.remains(context_micros).deletable(before_ms))
    }

    /// Deletes a row, unless it was written later.
    pub(super) fn delete_until(&self, run: &str, micros: i64) {
        let mut rows = lock(&self.rows);
        if rows.get(run).is_some_and(|row| row.status.micros <= micros) {
            rows.remove(run);
        }
    }

    pub(super) fn stalled(&self, status: &str, before_ms: i64) -> Vec<String> {
        let stalled = |row: &StatusCells| row.status.value.as_deref() == Some(status) && row.updated_at_ms.value.is_some_and(|at| at < before_ms);
        lock(&self.rows).iter().filter(|(_, row)| stalled(row)).map(|(run, _)| run.clone()).collect()
    }
}

#[async_trait]
impl StatusStore for StatusTable {
    async fn touch(&self, run: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        lock(&self.rows).entry(run.to_owned()).or_default().write("running", timestamp_micros);
        Ok(())
    }

    async fn publish(&self, record: &StatusRecord) -> Result<(), FlowError> {
        let mut rows = lock(&self.rows);
        let row = rows.entry(record.run.clone()).or_default();
        row.write(&record.status, record.timestamp_micros);
        row.status_data.write(Some(record.status_data.clone()), record.timestamp_micros);
        Ok(())
    }

    async fn status(&self, run: &str) -> Result<Option<String>, FlowError> {
        Ok(self.row(run).map(|row| row.status.unwrap_or_default()))
    }
}
