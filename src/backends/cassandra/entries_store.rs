//! The `entries` layout: one row per key of a run, all in the run's partition; the checkpoint has the row of the
//! reserved key.

use std::sync::Arc;

use async_trait::async_trait;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::groups::{self, Candidate, Replicas};
use super::schema::TableName;
use super::session::SharedSession;
use super::{errors, statements};
use crate::kernel::document::RESERVED_KEY;
use crate::kernel::error::{FlowError, Retry};
use crate::ports::{ContextLayout, ContextStore, ContextWrite, StoredContext, StoredState};

/// Rows per page of a load.
const PAGE_ROWS: i32 = 1_000;
/// Keys that one statement picks; servers have limits for such lists.
const PICKED_KEYS: usize = 100;
/// How often a load of several pages is repeated when a step came in between.
const LOADS: usize = 4;

/// A statement and what it binds.
type Operation<'a> = (&'a PreparedStatement, Vec<CqlValue>);

/// A key, its raw value and its write time.
pub(super) type Row = (String, Option<String>, Option<i64>);

/// Context rows of one table.
pub(super) struct CassandraEntries {
    session: Arc<SharedSession>,
    load: PreparedStatement,
    pick: PreparedStatement,
    time: PreparedStatement,
    picked_time: PreparedStatement,
    set: PreparedStatement,
    delete: PreparedStatement,
}

impl CassandraEntries {
    pub(super) async fn prepare(session: Arc<SharedSession>, table: &TableName) -> Result<Self, FlowError> {
        let paged = |mut statement: PreparedStatement| {
            statement.set_page_size(PAGE_ROWS);
            statement
        };
        let load = paged(session.prepare(statements::load_entries(table)).await?);
        let pick = paged(session.prepare(statements::pick_entries(table)).await?);
        let time = session.prepare(statements::entries_time(table)).await?;
        let picked_time = session.prepare(statements::picked_time(table)).await?;
        let set = session.prepare(statements::set_entry(table)).await?;
        let delete = session.prepare(statements::delete_entry(table)).await?;
        Ok(Self { session, load, pick, time, picked_time, set, delete })
    }

    /// All rows of a run.
    pub(super) async fn all(&self, run: &str) -> Result<Vec<(String, Option<String>)>, FlowError> {
        Ok(self.rows(run).await?.into_iter().map(|(key, raw, _)| (key, raw)).collect())
    }

    /// Some rows of a run; keys that are not there are left out.
    pub(super) async fn picked(&self, run: &str, keys: &[String]) -> Result<Vec<(String, Option<String>)>, FlowError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PICKED_KEYS) {
            let (rows, _) = self.pages(run, &self.pick, (run, keys)).await?;
            found.extend(rows.into_iter().map(|(key, raw, _)| (key, raw)));
        }
        Ok(found)
    }

    /// The newest write time of these keys.
    pub(super) async fn newest_of(&self, run: &str, keys: &[String]) -> Result<Option<i64>, FlowError> {
        let mut newest = None;
        for keys in keys.chunks(PICKED_KEYS) {
            newest = newest.max(self.newest(run, &self.picked_time, (run, keys)).await?);
        }
        Ok(newest)
    }

    async fn newest(&self, run: &str, statement: &PreparedStatement, values: impl SerializeRow) -> Result<Option<i64>, FlowError> {
        let operation = || format!("reading the write times of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(statement, values).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        let row = rows.maybe_first_row::<(Option<i64>,)>().map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.and_then(|(micros,)| micros))
    }

    /// All rows of a run, of one moment. A step that is written between two pages would show in the second only. Each step writes the checkpoint, so
    /// that its write time tells.
    pub(super) async fn rows(&self, run: &str) -> Result<Vec<Row>, FlowError> {
        for _ in 0..LOADS {
            let (rows, pages) = self.pages(run, &self.load, (run,)).await?;
            let seen = rows.iter().find(|(key, ..)| key == RESERVED_KEY).and_then(|(.., micros)| *micros);
            if pages == 1 || self.newest_of(run, &[RESERVED_KEY.to_owned()]).await? == seen {
                return Ok(rows);
            }
        }
        Err(errors::failed(format!("reading the context of run \"{run}\""), "it kept changing meanwhile".into(), Retry::Later))
    }

    async fn pages(&self, run: &str, statement: &PreparedStatement, values: impl SerializeRow) -> Result<(Vec<Row>, usize), FlowError> {
        let operation = || format!("reading the context of run \"{run}\"");
        let (mut found, mut pages, mut from) = (Vec::new(), 0, PagingState::start());
        loop {
            let answer = self.session.driver.execute_single_page(statement, &values, from).await;
            let (page, next) = answer.map_err(|error| errors::store(operation(), &error))?;
            let rows = page.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
            for row in rows.rows::<Row>().map_err(|error| errors::unexpected(operation(), error))? {
                found.push(row.map_err(|error| errors::unexpected(operation(), error))?);
            }
            pages += 1;
            match next {
                PagingStateResponse::HasMorePages { state } => from = state,
                PagingStateResponse::NoMorePages => return Ok((found, pages)),
            }
        }
    }

    /// Writes keys of one run, all or none; `None` deletes. One operation per key: with equal timestamps a
    /// deletion would win over a value, whatever the order.
    pub(super) async fn put<'a>(&self, run: &str, changes: impl Iterator<Item = (&'a str, Option<&'a str>)>, timestamp_micros: i64) -> Result<(), FlowError> {
        let mut operations: Vec<Operation<'_>> = changes.map(|(key, raw)| self.operation(run, key, raw, timestamp_micros)).collect();
        let operation = || format!("writing the context of run \"{run}\"");
        let answer = match operations.len() {
            0 => return Ok(()),
            1 => {
                let (statement, values) = operations.swap_remove(0);
                self.session.driver.execute_unpaged(statement, values).await
            }
            _ => {
                // One partition, so that the server applies it as one mutation: no batch log is needed for all or none.
                self.batch(operations).await
            }
        };
        answer.map(drop).map_err(|error| errors::store(operation(), &error))
    }

    async fn batch(&self, operations: Vec<Operation<'_>>) -> Result<QueryResult, ExecutionError> {
        let (statements, values): (Vec<_>, Vec<_>) = operations.into_iter().unzip();
        self.session.driver.batch(&groups::unlogged(statements.into_iter()), values).await
    }

    fn operation(&self, run: &str, key: &str, raw: Option<&str>, timestamp_micros: i64) -> Operation<'_> {
        let (run, key, at) = (CqlValue::Text(run.into()), CqlValue::Text(key.into()), CqlValue::BigInt(timestamp_micros));
        match raw {
            Some(raw) => (&self.set, vec![run, key, CqlValue::Text(raw.into()), at]),
            None => (&self.delete, vec![at, run, key]),
        }
    }
}

/// The keys that a step writes: what it changes, and the checkpoint.
fn keys_of(write: &ContextWrite) -> impl Iterator<Item = (&str, Option<&str>)> {
    let changes = write.changes.iter().map(|(key, raw)| (key.as_str(), raw.as_deref()));
    changes.chain([(RESERVED_KEY, Some(write.checkpoint.as_str()))])
}

#[async_trait]
impl ContextStore for CassandraEntries {
    fn layout(&self) -> ContextLayout {
        ContextLayout::Entries
    }

    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        let rows = self.rows(run).await?;
        let write_micros = rows.iter().filter_map(|(.., micros)| *micros).max();
        let rows: Vec<_> = rows.into_iter().map(|(key, raw, _)| (key, raw)).collect();
        Ok((!rows.is_empty()).then_some(StoredContext { state: StoredState::Entries(rows), write_micros }))
    }

    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError> {
        self.newest(run, &self.time, (run,)).await
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        self.put(&write.run, keys_of(write), write.timestamp_micros).await
    }

    fn groups(&self, writes: &[&ContextWrite]) -> Vec<Vec<usize>> {
        groups::groups(writes.iter().map(|write| Candidate {
            replicas: Replicas::of(&self.session, &self.time, &write.run),
            bytes: keys_of(write).map(|(key, raw)| write.run.len() + key.len() + raw.map_or(0, str::len)).sum(),
            rows: write.changes.len() + 1,
            cells: write.changes.len() + 1,
        }))
    }

    async fn write_group(&self, writes: &[&ContextWrite]) -> Result<(), FlowError> {
        let operations = writes.iter().flat_map(|write| keys_of(write).map(|(key, raw)| self.operation(&write.run, key, raw, write.timestamp_micros)));
        self.batch(operations.collect()).await.map(drop).map_err(|error| errors::store(format!("writing the contexts of {} runs", writes.len()), &error))
    }
}
