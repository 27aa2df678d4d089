//! [`Tables`] in Cassandra: statements are prepared when a table is used first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::context_store::CassandraContexts;
use super::ensure::ensure;
use super::entries_store::CassandraEntries;
use super::migration::Migration;
use super::running::{Place, RunningIndex};
use super::schema::{self, TableName};
use super::session::{self, SharedSession};
use super::settings::CassandraSettings;
use super::status_store::CassandraStatuses;
use super::sweep::{self, Sweep};
use super::{errors, statements};
use crate::backends::clock::wall_micros;
use crate::backends::lock;
use crate::backends::schema_plan::{Ensured, SchemaPlan};
use crate::backends::tables::{CopyMode, CopyState, EndedPage, RunPage, StatusSeen, Swept, Tables};
use crate::kernel::document::{Document, Entry, Stored};
use crate::kernel::error::FlowError;
use crate::ports::{ContextLayout, ContextStore, StatusRecord, StatusStore, StoredContext, StoredState};

/// Rows per page of runs.
const PAGE_ROWS: i32 = 500;
/// Runs whose write time is remembered between a read and the write that follows it.
const REMEMBERED: usize = 10_000;

/// A session and the tables used through it.
pub struct StandaloneTables {
    session: Arc<SharedSession>,
    contexts: Mutex<HashMap<TableName, Contexts>>,
    statuses: Mutex<HashMap<TableName, Arc<CassandraStatuses>>>,
    /// Other statements, by their text.
    prepared: Mutex<HashMap<String, PreparedStatement>>,
    /// Write times seen by reads: a write must win over what it is based on, also when the worker's clock
    /// is ahead of ours (D5).
    seen: Mutex<HashMap<(TableName, String), i64>>,
}

/// A context table, by its layout.
#[derive(Clone)]
enum Contexts {
    Documents(Arc<CassandraContexts>),
    Entries(Arc<CassandraEntries>),
}

impl Contexts {
    fn store(self) -> Arc<dyn ContextStore> {
        match self {
            Self::Documents(found) => found,
            Self::Entries(found) => found,
        }
    }
}

fn known<K: Eq + Hash, V: Clone>(map: &Mutex<HashMap<K, V>>, key: &K) -> Option<V> {
    lock(map).get(key).cloned()
}

impl StandaloneTables {
    /// Connects, or shares the session of a worker with the same settings.
    ///
    /// # Errors
    /// As [`super::CassandraStores::connect`], without the schema errors: tables are looked at when used.
    pub async fn connect(settings: &CassandraSettings, patience: Duration) -> Result<Self, FlowError> {
        let session = session::shared(settings, Instant::now() + patience).await?;
        Ok(Self { session, contexts: Mutex::default(), statuses: Mutex::default(), prepared: Mutex::default(), seen: Mutex::default() })
    }

    async fn contexts(&self, table: &TableName) -> Result<Contexts, FlowError> {
        if let Some(found) = known(&self.contexts, table) {
            return Ok(found);
        }
        let session = Arc::clone(&self.session);
        let prepared = match schema::inspect_context(&session, table).await? {
            ContextLayout::Entries => Contexts::Entries(Arc::new(CassandraEntries::prepare(session, table).await?)),
            layout => Contexts::Documents(Arc::new(CassandraContexts::prepare(session, table, layout).await?)),
        };
        lock(&self.contexts).insert(table.clone(), prepared.clone());
        Ok(prepared)
    }

    async fn documents(&self, table: &TableName) -> Result<Arc<CassandraContexts>, FlowError> {
        match self.contexts(table).await? {
            Contexts::Documents(found) => Ok(found),
            Contexts::Entries(_) => Err(wrong_layout(table)),
        }
    }

    async fn entries(&self, table: &TableName) -> Result<Arc<CassandraEntries>, FlowError> {
        match self.contexts(table).await? {
            Contexts::Entries(found) => Ok(found),
            Contexts::Documents(_) => Err(wrong_layout(table)),
        }
    }

    async fn statuses(&self, table: &TableName) -> Result<Arc<CassandraStatuses>, FlowError> {
        if let Some(found) = known(&self.statuses, table) {
            return Ok(found);
        }
        let found = schema::inspect_status(&self.session, table).await?;
        let prepared = Arc::new(CassandraStatuses::prepare(Arc::clone(&self.session), table, &found).await?);
        lock(&self.statuses).insert(table.clone(), Arc::clone(&prepared));
        Ok(prepared)
    }

    /// The index of running runs beside a status table, where there is one.
    async fn running(&self, table: &str) -> Result<Option<Arc<RunningIndex>>, FlowError> {
        Ok(self.statuses(&TableName::qualified(table)?).await?.running().cloned())
    }

    /// Moves the newest known write time of a run and answers it.
    fn remember(&self, table: TableName, run: &str, next: impl FnOnce(i64) -> i64) -> i64 {
        let mut seen = lock(&self.seen);
        // Forgetting costs nothing but the guard against skewed clocks.
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        let last = seen.entry((table, run.to_owned())).or_insert(i64::MIN);
        *last = next(*last);
        *last
    }

    async fn prepared(&self, text: String) -> Result<PreparedStatement, FlowError> {
        if let Some(found) = known(&self.prepared, &text) {
            return Ok(found);
        }
        let mut prepared = self.session.prepare(text.clone()).await?;
        prepared.set_page_size(PAGE_ROWS);
        lock(&self.prepared).insert(text, prepared.clone());
        Ok(prepared)
    }

    /// One page of a statement that selects run ids.
    async fn page(&self, operation: &str, text: String, values: impl SerializeRow, page: Option<&str>) -> Result<RunPage, FlowError> {
        let (rows, next) = self.single_page(operation, text, values, page).await?;
        let rows = rows.into_rows_result().map_err(|error| errors::unexpected(operation, error))?;
        let runs: Result<Vec<_>, _> =
            rows.rows::<(String,)>().map_err(|error| errors::unexpected(operation, error))?.map(|row| row.map(|(run,)| run)).collect();
        Ok(RunPage { runs: runs.map_err(|error| errors::unexpected(operation, error))?, next })
    }

    /// One page of a statement, and the mark of the next one.
    async fn single_page(
        &self,
        operation: &str,
        text: String,
        values: impl SerializeRow,
        page: Option<&str>,
    ) -> Result<(QueryResult, Option<String>), FlowError> {
        let statement = self.prepared(text).await?;
        let from = page.map_or(Ok(PagingState::start()), decode_page)?;
        let answer = self.session.driver.execute_single_page(&statement, values, from).await;
        let (rows, next) = answer.map_err(|error| errors::store(operation, &error))?;
        Ok((rows, encode_page(&next)))
    }
}

/// The glue asks for the layout first, so this is a bug of ours.
fn wrong_layout(table: &TableName) -> FlowError {
    FlowError::Internal { place: "context table", detail: format!("\"{table}\" has the other layout") }
}

/// Text and checkpoint of a document as one text, as the reserved key of old.
fn whole_text(found: StoredContext) -> Option<String> {
    let StoredState::Document { text, checkpoint } = found.state else { return None };
    let (text, checkpoint) = (text?, checkpoint);
    match (Document::parse(&text), checkpoint) {
        (Ok(stored), Some(checkpoint)) => Some(stored.document.assemble(Some(&checkpoint))),
        _ => Some(text),
    }
}

#[async_trait]
impl Tables for StandaloneTables {
    async fn has_entries(&self, table: &str) -> Result<bool, FlowError> {
        let table = TableName::qualified(table)?;
        Ok(matches!(self.contexts(&table).await?, Contexts::Entries(_)))
    }

    async fn read_keys(&self, table: &str, run: &str, keys: Option<Vec<String>>) -> Result<Vec<Entry>, FlowError> {
        let table = TableName::qualified(table)?;
        let entries = self.entries(&table).await?;
        let rows = match keys {
            Some(keys) => entries.picked(run, &keys).await?,
            None => entries.all(run).await?,
        };
        Ok(rows.into_iter().filter_map(|(key, raw)| Some((key, raw?))).collect())
    }

    async fn write_keys(&self, table: &str, run: &str, changes: Vec<(String, Option<String>)>) -> Result<(), FlowError> {
        let table = TableName::qualified(table)?;
        let entries = self.entries(&table).await?;
        let keys: Vec<String> = changes.iter().map(|(key, _)| key.clone()).collect();
        // The clock of a worker may be ahead of ours.
        let newest = entries.newest_of(run, &keys).await?.unwrap_or(i64::MIN);
        let micros = self.remember(table, run, |last| wall_micros().max(last.max(newest).saturating_add(1)));
        entries.put(run, changes.iter().map(|(key, raw)| (key.as_str(), raw.as_deref())), micros).await
    }

    async fn ensure_schema(&self, plan: &SchemaPlan) -> Result<Ensured, FlowError> {
        let ensured = ensure(&self.session, plan).await?;
        // What was prepared for columns of before is prepared again.
        lock(&self.contexts).clear();
        lock(&self.statuses).clear();
        Ok(ensured)
    }

    async fn read_context(&self, table: &str, run: &str) -> Result<Option<String>, FlowError> {
        let table = TableName::qualified(table)?;
        let Some(found) = self.documents(&table).await?.load(run).await? else { return Ok(None) };
        if let Some(micros) = found.write_micros {
            self.remember(table, run, |last| last.max(micros));
        }
        Ok(whole_text(found))
    }

    async fn write_context(&self, table: &str, run: &str, text: &str, keep_checkpoint: bool) -> Result<(), FlowError> {
        let table = TableName::qualified(table)?;
        let documents = self.documents(&table).await?;
        let micros = self.remember(table, run, |last| wall_micros().max(last.saturating_add(1)));
        // One that is put back stays in the text: it may be all there is, and the column goes before it.
        let splits = documents.has_checkpoint_column() && !keep_checkpoint;
        match splits.then(|| Document::parse(text).ok()).flatten() {
            Some(Stored { document, checkpoint: Some(checkpoint) }) => documents.put_both(run, &document.assemble(None), &checkpoint, micros).await,
            _ => documents.put(run, text, micros).await,
        }
    }

    async fn touch_status(&self, table: &str, run: &str) -> Result<(), FlowError> {
        let table = TableName::qualified(table)?;
        self.statuses(&table).await?.mark(run, wall_micros()).await.0
    }

    async fn sent(&self, table: &str, run: &str) -> Result<(), FlowError> {
        let Some(running) = self.running(table).await? else { return Ok(()) };
        running.leave(run).await
    }

    async fn has_index(&self, table: &str) -> Result<bool, FlowError> {
        Ok(self.running(table).await?.is_some())
    }

    async fn indexed_page(&self, table: &str, before_ms: i64, page: Option<&str>) -> Result<RunPage, FlowError> {
        let Some(running) = self.running(table).await? else { return Ok(RunPage { runs: Vec::new(), next: None }) };
        let from = page.map(|text| Place::decode(text).ok_or_else(no_page_mark)).transpose()?;
        let (runs, next) = running.stalled(before_ms, from).await?;
        Ok(RunPage { runs, next: next.map(Place::encode) })
    }

    async fn last_full_search(&self, table: &str) -> Result<Option<i64>, FlowError> {
        let Some(running) = self.running(table).await? else { return Ok(None) };
        running.last_full_search().await
    }

    async fn note_full_search(&self, table: &str, began_ms: i64) -> Result<(), FlowError> {
        let Some(running) = self.running(table).await? else { return Ok(()) };
        running.note_full_search(began_ms).await
    }

    async fn publish_status(&self, table: &str, run: &str, status: &str, status_data: &str) -> Result<(), FlowError> {
        let table = TableName::qualified(table)?;
        let record = StatusRecord { run: run.into(), status: status.into(), status_data: status_data.into(), timestamp_micros: wall_micros() };
        self.statuses(&table).await?.publish(&record).await
    }

    async fn read_status(&self, table: &str, run: &str) -> Result<Option<StatusSeen>, FlowError> {
        let table = TableName::qualified(table)?;
        self.statuses(&table).await?.seen(run).await
    }

    async fn stalled_page(&self, table: &str, status: &str, before_ms: i64, page: Option<&str>) -> Result<RunPage, FlowError> {
        let table = TableName::qualified(table)?;
        self.page("looking for stalled runs", statements::stalled_runs(&table), (status, CqlTimestamp(before_ms)), page).await
    }

    async fn context_page(&self, table: &str, page: Option<&str>) -> Result<RunPage, FlowError> {
        let table = TableName::qualified(table)?;
        self.documents(&table).await?;
        self.page("listing the runs", statements::list_documents(&table), (), page).await
    }

    async fn check_sweep(&self, contexts: &str, statuses: &str, retention_seconds: u64) -> Result<(), FlowError> {
        let statuses = TableName::qualified(statuses)?;
        schema::check_sweep(&statuses, &schema::inspect_status(&self.session, &statuses).await?, retention_seconds)?;
        self.contexts(&TableName::qualified(contexts)?).await.map(drop)
    }

    async fn ended_page(&self, statuses: &str, before_ms: i64, page: Option<&str>) -> Result<EndedPage, FlowError> {
        let table = TableName::qualified(statuses)?;
        let (found, next) = self.single_page("looking for ended runs", statements::find_ended(&table), (), page).await?;
        let (runs, rows) = sweep::ended_in(found, before_ms)?;
        Ok(EndedPage { runs, rows, next })
    }

    async fn sweep_run(&self, contexts: &str, statuses: &str, run: &str, before_ms: i64) -> Result<Swept, FlowError> {
        let (contexts, statuses) = (TableName::qualified(contexts)?, TableName::qualified(statuses)?);
        let sweep = Sweep {
            session: Arc::clone(&self.session),
            contexts: self.contexts(&contexts).await?.store(),
            read: self.prepared(statements::ended_run(&statuses)).await?,
            delete_context: self.prepared(statements::delete_run(&contexts)).await?,
            delete_status: self.prepared(statements::delete_run(&statuses)).await?,
        };
        sweep.run(run, before_ms).await
    }

    async fn copy_run(&self, from: &str, to: &str, run: &str, mode: CopyMode) -> Result<CopyState, FlowError> {
        let (source, target) = (TableName::qualified(from)?, TableName::qualified(to)?);
        let delete = self.prepared(statements::delete_run(&source)).await?;
        let (from, to) = (self.documents(&source).await?, self.entries(&target).await?);
        Migration { session: Arc::clone(&self.session), from, to, delete }.run(run, mode).await
    }
}

/// A page mark crosses to JavaScript as hexadecimal text.
fn encode_page(next: &PagingStateResponse) -> Option<String> {
    let PagingStateResponse::HasMorePages { state } = next else { return None };
    let bytes = state.as_bytes_slice()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn decode_page(text: &str) -> Result<PagingState, FlowError> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
    let bytes = digits
        .filter(|digits| digits.len() % 2 == 0)
        .map(|digits| digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect::<Vec<u8>>());
    bytes.map(PagingState::new_from_raw_bytes).ok_or_else(no_page_mark)
}

fn no_page_mark() -> FlowError {
    FlowError::Option { path: "page".into(), problem: "is not a page mark".into(), fix: "Pass the `next` of the page before, or null".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_marks_survive_the_crossing() {
        let state = PagingState::new_from_raw_bytes(vec![0, 255, 16]);
        let text = encode_page(&PagingStateResponse::HasMorePages { state: state.clone() }).unwrap();
        assert_eq!(text, "00ff10");
        assert_eq!(decode_page(&text).unwrap().as_bytes_slice(), state.as_bytes_slice());
        assert!(decode_page("0").is_err() && decode_page("zz").is_err());
    }
}
