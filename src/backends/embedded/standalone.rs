//! [`Tables`] in process.

use async_trait::async_trait;

use super::Cluster;
use crate::backends::clock::wall_micros;
use crate::backends::schema_plan::{Ensured, Layout, SchemaPlan};
use crate::backends::tables::{CopyMode, CopyState, EndedPage, RunPage, StatusSeen, Swept, Tables};
use crate::kernel::document::Entry;
use crate::kernel::error::FlowError;
use crate::ports::{StatusRecord, StatusStore};

fn no_entries(table: &str) -> FlowError {
    FlowError::Internal { place: "embedded tables", detail: format!("keys of \"{table}\", which keeps documents") }
}

#[async_trait]
impl Tables for Cluster {
    async fn has_entries(&self, _table: &str) -> Result<bool, FlowError> {
        Ok(false)
    }

    async fn read_keys(&self, table: &str, _run: &str, _keys: Option<Vec<String>>) -> Result<Vec<Entry>, FlowError> {
        Err(no_entries(table))
    }

    async fn write_keys(&self, table: &str, _run: &str, _changes: Vec<(String, Option<String>)>) -> Result<(), FlowError> {
        Err(no_entries(table))
    }

    // Tables in memory are there as soon as they are named.
    async fn ensure_schema(&self, _plan: &SchemaPlan) -> Result<Ensured, FlowError> {
        Ok(Ensured { layout: Layout::Document, statements: Vec::new() })
    }

    async fn read_context(&self, table: &str, run: &str) -> Result<Option<String>, FlowError> {
        Ok(self.context_row(table, run).and_then(|row| row.text))
    }

    async fn write_context(&self, table: &str, run: &str, text: &str, _keep_checkpoint: bool) -> Result<(), FlowError> {
        let after = self.context_row(table, run).map_or(i64::MIN, |row| row.write_micros.saturating_add(1));
        self.put_context(table, run, Some(text.to_owned()), wall_micros().max(after));
        Ok(())
    }

    async fn touch_status(&self, table: &str, run: &str) -> Result<(), FlowError> {
        self.status_table(table).touch(run, wall_micros()).await
    }

    async fn publish_status(&self, table: &str, run: &str, status: &str, status_data: &str) -> Result<(), FlowError> {
        let record = StatusRecord { run: run.into(), status: status.into(), status_data: status_data.into(), timestamp_micros: wall_micros() };
        self.status_table(table).publish(&record).await
    }

    async fn read_status(&self, table: &str, run: &str) -> Result<Option<StatusSeen>, FlowError> {
        Ok(self.status_row(table, run).map(|row| StatusSeen { status: row.status, status_data: row.status_data }))
    }

    async fn stalled_page(&self, table: &str, status: &str, before_ms: i64, _page: Option<&str>) -> Result<RunPage, FlowError> {
        Ok(RunPage { runs: self.stalled_runs(table, status, before_ms), next: None })
    }

    async fn context_page(&self, table: &str, _page: Option<&str>) -> Result<RunPage, FlowError> {
        Err(no_entries(table))
    }

    async fn check_sweep(&self, _contexts: &str, _statuses: &str, _retention_seconds: u64) -> Result<(), FlowError> {
        Ok(())
    }

    async fn ended_page(&self, statuses: &str, before_ms: i64, _page: Option<&str>) -> Result<EndedPage, FlowError> {
        let (runs, rows) = self.status_table(statuses).ended(before_ms);
        Ok(EndedPage { runs, rows, next: None })
    }

    async fn sweep_run(&self, contexts: &str, statuses: &str, run: &str, before_ms: i64) -> Result<Swept, FlowError> {
        let (contexts, statuses) = (self.context_table(contexts), self.status_table(statuses));
        let Some(deletable) = statuses.deletable(run, contexts.row(run).map(|row| row.write_micros), before_ms) else { return Ok(Swept::Gone) };
        let Some(micros) = deletable else { return Ok(Swept::Kept) };
        contexts.delete_until(run, micros);
        statuses.delete_until(run, micros);
        Ok(Swept::Deleted)
    }

    async fn copy_run(&self, from: &str, _to: &str, _run: &str, _mode: CopyMode) -> Result<CopyState, FlowError> {
        Err(no_entries(from))
    }
}
