//! Table access without a worker, for the exported `CassandraContext`, the reconciler and run handles.
//! Tables come by name (`keyspace.table`) with each call.

use async_trait::async_trait;

use super::schema_plan::{Ensured, SchemaPlan};
use crate::kernel::document::Entry;
use crate::kernel::error::FlowError;

/// One page of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPage {
    /// Run ids.
    pub runs: Vec<String>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}

/// How far [`Tables::copy_run`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMode {
    /// It only looks.
    Look,
    /// It copies.
    Copy,
    /// And deletes what it has copied.
    Move,
}

/// How a run stands in the table to which it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// It is not in the source any more.
    Gone,
    /// It is there as in the source, or has gone on there.
    Same,
    /// It was copied just now, and read back.
    Copied,
    /// It has to be copied.
    Stale,
}

/// One page of runs that have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedPage {
    /// Run ids.
    pub runs: Vec<String>,
    /// Status rows that were looked at.
    pub rows: usize,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}

/// What became of a run that had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// Its rows are deleted.
    Deleted,
    /// Somebody has written to it since: it stays as it is.
    Kept,
    /// It has no status row any more.
    Gone,
}

/// A status row as a client sees it. Columns that the table lacks are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSeen {
    /// `running`, `completed`, ...
    pub status: Option<String>,
    /// JSON text of the outcome.
    pub status_data: Option<String>,
}

/// The tables of one cluster. Every method answers `Option` for a bad name, `SchemaMissing` or `SchemaUnknown` for
/// a table that cannot be used, and `Store` when the operation failed.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// Whether a context table has a row per key: its keys are then read and written by `read_keys` and `write_keys`,
    /// else all of a run by `read_context` and `write_context`.
    async fn has_entries(&self, table: &str) -> Result<bool, FlowError>;
    /// Keys of a run with their raw values, those that are there of the named ones; all without names.
    async fn read_keys(&self, table: &str, run: &str, keys: Option<Vec<String>>) -> Result<Vec<Entry>, FlowError>;
    /// Writes keys of a run, all or none; `None` deletes. Wins over what stands there.
    async fn write_keys(&self, table: &str, run: &str, changes: Vec<(String, Option<String>)>) -> Result<(), FlowError>;
    /// Creates and alters keyspace and tables until they are as planned.
    async fn ensure_schema(&self, plan: &SchemaPlan) -> Result<Ensured, FlowError>;
    /// The text of a run's context, with its checkpoint; `None` for a missing row and for a NULL cell.
    async fn read_context(&self, table: &str, run: &str) -> Result<Option<String>, FlowError>;
    /// Replaces the text of a run's context; wins over every write that a read here has seen. Where the checkpoint has
    /// a column, one in the text goes there; with `keep_checkpoint` the column is left as it is.
    async fn write_context(&self, table: &str, run: &str, text: &str, keep_checkpoint: bool) -> Result<(), FlowError>;
    /// Marks a run as running now.
    async fn touch_status(&self, table: &str, run: &str) -> Result<(), FlowError>;
    /// All start messages of a run that was marked as running are on their way.
    async fn sent(&self, _table: &str, _run: &str) -> Result<(), FlowError> {
        Ok(())
    }
    /// Writes an outcome.
    async fn publish_status(&self, table: &str, run: &str, status: &str, status_data: &str) -> Result<(), FlowError>;
    /// A run's status row.
    async fn read_status(&self, table: &str, run: &str) -> Result<Option<StatusSeen>, FlowError>;
    /// Runs in `status` whose row was last touched before `before_ms` (milliseconds since the epoch).
    async fn stalled_page(&self, table: &str, status: &str, before_ms: i64, page: Option<&str>) -> Result<RunPage, FlowError>;
    /// Whether there is an index of running runs beside a status table.
    async fn has_index(&self, _table: &str) -> Result<bool, FlowError> {
        Ok(false)
    }
    /// Running runs that were last touched before `before_ms`, by the index; none without it. May name a run twice.
    async fn indexed_page(&self, _table: &str, _before_ms: i64, _page: Option<&str>) -> Result<RunPage, FlowError> {
        Ok(RunPage { runs: Vec::new(), next: None })
    }
    /// When the last search of the whole table began that came to its end (milliseconds since the epoch), as kept in the index.
    async fn last_full_search(&self, _table: &str) -> Result<Option<i64>, FlowError> {
        Ok(None)
    }
    /// Keeps that.
    async fn note_full_search(&self, _table: &str, _began_ms: i64) -> Result<(), FlowError> {
        Ok(())
    }
    /// All runs of a context table that keeps documents.
    async fn context_page(&self, table: &str, page: Option<&str>) -> Result<RunPage, FlowError>;
    /// Whether ended runs can be deleted by these tables when they are older than that.
    async fn check_sweep(&self, contexts: &str, statuses: &str, retention_seconds: u64) -> Result<(), FlowError>;
    /// Runs that ended before `before_ms` (milliseconds since the epoch), by their status rows.
    async fn ended_page(&self, statuses: &str, before_ms: i64, page: Option<&str>) -> Result<EndedPage, FlowError>;
    /// Deletes the context of a run that ended before, and then its status row, unless something was written since.
    async fn sweep_run(&self, contexts: &str, statuses: &str, run: &str, before_ms: i64) -> Result<Swept, FlowError>;
    /// Copies a run from a table that keeps documents to one that has a row per key.
    async fn copy_run(&self, from: &str, to: &str, run: &str, mode: CopyMode) -> Result<CopyState, FlowError>;
}
