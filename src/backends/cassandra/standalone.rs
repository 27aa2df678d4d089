//! Table access for the exported classes that work without a worker: `CassandraContext` and the
//! reconciler. Tables come by name with each call and are prepared on first use.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::context_store::CassandraContexts;
use super::schema::{self, TableName};
use super::session::{self, SharedSession};
use super::settings::CassandraSettings;
use super::status_store::CassandraStatuses;
use super::{errors, statements};
use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::ports::{ContextStore, StatusRecord, StatusStore};

/// Rows per page of stalled runs.
const PAGE_ROWS: i32 = 500;
/// Runs whose write time is remembered between a read and the write that follows it.
const REMEMBERED: usize = 10_000;

/// One page of stalled runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalledPage {
    /// Run ids.
    pub runs: Vec<String>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}

/// A session and the tables used through it.
pub struct StandaloneTables {
    session: Arc<SharedSession>,
    contexts: Mutex<HashMap<TableName, Arc<CassandraContexts>>>,
    statuses: Mutex<HashMap<TableName, Arc<CassandraStatuses>>>,
    stalled: Mutex<HashMap<TableName, PreparedStatement>>,
    /// Write times seen by reads: a write must win over what it is based on, also when the worker's clock
    /// is ahead of ours (D5).
    seen: Mutex<HashMap<(TableName, String), i64>>,
}

fn wall_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn known<K: Eq + Hash, V: Clone>(map: &Mutex<HashMap<K, V>>, key: &K) -> Option<V> {
    lock(map).get(key).cloned()
}

impl StandaloneTables {
    /// Connects, or shares the session of a worker with the same settings.
    ///
    /// # Errors
    /// As [`super::CassandraStores::connect`], without the schema errors: tables are looked at when used.
    pub async fn connect(settings: &CassandraSettings, keyspace: &str, patience: Duration) -> Result<Self, FlowError> {
        let session = session::shared(settings, keyspace, Instant::now() + patience).await?;
        Ok(Self { session, contexts: Mutex::default(), statuses: Mutex::default(), stalled: Mutex::default(), seen: Mutex::default() })
    }

    async fn contexts(&self, table: &TableName) -> Result<Arc<CassandraContexts>, FlowError> {
        if let Some(found) = known(&self.contexts, table) {
            return Ok(found);
        }
        let prepared = Arc::new(CassandraContexts::prepare(Arc::clone(&self.session), table).await?);
        lock(&self.contexts).insert(table.clone(), Arc::clone(&prepared));
        Ok(prepared)
    }

    async fn statuses(&self, table: &TableName) -> Result<Arc<CassandraStatuses>, FlowError> {
        if let Some(found) = known(&self.statuses, table) {
            return Ok(found);
        }
        let columns = schema::inspect_status(&self.session, table).await?.columns;
        let prepared = Arc::new(CassandraStatuses::prepare(Arc::clone(&self.session), table, columns).await?);
        lock(&self.statuses).insert(table.clone(), Arc::clone(&prepared));
        Ok(prepared)
    }

    /// The text of a run's context cell; `None` for a missing row and for a NULL cell.
    ///
    /// # Errors
    /// `Option` for a bad table name, `Store` when the read failed.
    pub async fn read_context(&self, table: &str, run: &str) -> Result<Option<String>, FlowError> {
        let table = TableName::qualified(table)?;
        let Some(found) = self.contexts(&table).await?.load(run).await? else { return Ok(None) };
        if let Some(micros) = found.write_micros {
            self.remember(table, run, |last| last.max(micros));
        }
        Ok(found.text)
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

    /// Replaces the text of a run's context cell.
    ///
    /// # Errors
    /// As [`Self::read_context`].
    pub async fn write_context(&self, table: &str, run: &str, text: &str) -> Result<(), FlowError> {
        let table = TableName::qualified(table)?;
        let contexts = self.contexts(&table).await?;
        let micros = self.remember(table, run, |last| wall_micros().max(last.saturating_add(1)));
        contexts.put(run, text, micros).await
    }

    /// Marks a run as running now.
    ///
    /// # Errors
    /// As [`Self::read_context`], and the schema errors.
    pub async fn touch_status(&self, table: &str, run: &str) -> Result<(), FlowError> {
        let table = TableName::qualified(table)?;
        self.statuses(&table).await?.touch(run, wall_micros()).await
    }

    /// Writes an outcome.
    ///
    /// # Errors
    /// As [`Self::touch_status`].
    pub async fn publish_status(&self, table: &str, run: &str, status: &str, status_data: &str) -> Result<(), FlowError> {
        let table = TableName::qualified(table)?;
        let record = StatusRecord { run: run.into(), status: status.into(), status_data: status_data.into(), timestamp_micros: wall_micros() };
        self.statuses(&table).await?.publish(&record).await
    }

    /// The outcome row of a run as JSON `{"status","statusData"}`; `None` without a row.
    ///
    /// # Errors
    /// As [`Self::read_context`].
    pub async fn read_status(&self, table: &str, run: &str) -> Result<Option<String>, FlowError> {
        const OPERATION: &str = "reading a status";
        let table = TableName::qualified(table)?;
        let columns = schema::inspect_status(&self.session, &table).await?.columns;
        let Some(text) = statements::read_status(&table, columns) else { return Ok(None) };
        let statement = self.session.prepare(text).await?;
        let answer = self.session.driver.execute_unpaged(&statement, (run,)).await.map_err(|error| errors::store(OPERATION, &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        let found = match (columns.status, columns.status_data) {
            (true, true) => rows.maybe_first_row::<(Option<String>, Option<String>)>().map_err(|error| errors::unexpected(OPERATION, error))?,
            (true, false) => rows.maybe_first_row::<(Option<String>,)>().map_err(|error| errors::unexpected(OPERATION, error))?.map(|(status,)| (status, None)),
            _ => rows.maybe_first_row::<(Option<String>,)>().map_err(|error| errors::unexpected(OPERATION, error))?.map(|(data,)| (None, data)),
        };
        Ok(found.map(|(status, data)| serde_json::json!({ "status": status, "statusData": data }).to_string()))
    }

    /// Runs in `status` whose row was last touched before `before_ms` (milliseconds since the epoch).
    ///
    /// # Errors
    /// As [`Self::read_context`]; `Option` for a page mark that is not ours.
    pub async fn stalled_page(&self, table: &str, status: &str, before_ms: i64, page: Option<&str>) -> Result<StalledPage, FlowError> {
        const OPERATION: &str = "looking for stalled runs";
        let table = TableName::qualified(table)?;
        let statement = self.stalled(&table).await?;
        let from = page.map_or(Ok(PagingState::start()), decode_page)?;
        let answer = self.session.driver.execute_single_page(&statement, (status, CqlTimestamp(before_ms)), from).await;
        let (rows, next) = answer.map_err(|error| errors::store(OPERATION, &error))?;
        let rows = rows.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        let runs: Result<Vec<_>, _> = rows.rows::<(String,)>().map_err(|error| errors::unexpected(OPERATION, error))?.map(|row| row.map(|(run,)| run)).collect();
        Ok(StalledPage { runs: runs.map_err(|error| errors::unexpected(OPERATION, error))?, next: encode_page(&next) })
    }

    async fn stalled(&self, table: &TableName) -> Result<PreparedStatement, FlowError> {
        if let Some(found) = known(&self.stalled, table) {
            return Ok(found);
        }
        let mut prepared = self.session.prepare(statements::stalled_runs(table)).await?;
        prepared.set_page_size(PAGE_ROWS);
        lock(&self.stalled).insert(table.clone(), prepared.clone());
        Ok(prepared)
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
    let bytes = digits.filter(|digits| digits.len() % 2 == 0).map(|digits| digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect::<Vec<u8>>());
    let bad = || FlowError::Option { path: "page".into(), problem: "is not a page mark".into(), fix: "Pass the `next` of the page before, or null".into() };
    bytes.map(PagingState::new_from_raw_bytes).ok_or_else(bad)
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
