//! Status rows, with whichever of the columns the user's table has.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue, Row};

use super::groups::{self, Batches, Candidate, Replicas};
use super::running::RunningIndex;
use super::schema::{self, Inspection, StatusColumns, TableName};
use super::session::SharedSession;
use super::{errors, statements};
use crate::backends::tables::StatusSeen;
use crate::kernel::error::FlowError;
use crate::ports::{StatusRecord, StatusStore};

/// Of a run that goes on, or rests between two attempts.
const RUNNING: &str = "running";
/// Time to live of a row that does not expire.
const FOR_EVER: i32 = 0;

/// Status rows of one table.
pub(super) struct CassandraStatuses {
    session: Arc<SharedSession>,
    columns: StatusColumns,
    // How long rows of ended runs live, in seconds; `None` for ever.
    life: Option<i32>,
    touch: Option<PreparedStatement>,
    publish: PreparedStatement,
    batches: Batches,
    read: PreparedStatement,
    /// Absent where there is no table for it, or the status rows do not tell who is running.
    running: Option<Arc<RunningIndex>>,
}

impl CassandraStatuses {
    pub(super) async fn prepare(session: Arc<SharedSession>, table: &TableName, found: &Inspection) -> Result<Self, FlowError> {
        let (columns, life) = (found.columns, found.life);
        let touch = match statements::touch_status(table, columns) {
            Some(text) => Some(session.prepare(text).await?),
            None => None,
        };
        let publish = session.prepare(statements::publish_status(table, columns, life.is_some())).await?;
        let read = session.prepare(statements::read_status(table, columns)).await?;
        let running = running(&session, table, columns).await?;
        Ok(Self { session, columns, life, touch, batches: Batches::of(&publish), publish, read, running })
    }

    /// The index of running runs, where there is one.
    pub(super) fn running(&self) -> Option<&Arc<RunningIndex>> {
        self.running.as_ref()
    }

    /// Marks a run as running, and enters it into the index. What became of the second is told apart: it is a help to find the
    /// run, and nothing that the run needs.
    pub(super) async fn mark(&self, run: &str, timestamp_micros: i64) -> (Result<(), FlowError>, Result<(), FlowError>) {
        let enter = async {
            match &self.running {
                Some(running) => running.enter(run).await,
                None => Ok(()),
            }
        };
        tokio::join!(self.mark_row(run, timestamp_micros), enter)
    }

    async fn mark_row(&self, run: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        let Some(statement) = &self.touch else { return Ok(()) };
        let mut values = vec![CqlValue::Text(run.into())];
        values.extend(self.columns.updated_at.then(|| updated_at(timestamp_micros)));
        values.push(CqlValue::BigInt(timestamp_micros));
        self.execute(statement, values, || format!("marking run \"{run}\" as running")).await
    }

    /// A run's row, as far as the table has the columns.
    pub(super) async fn seen(&self, run: &str) -> Result<Option<StatusSeen>, FlowError> {
        let operation = || format!("reading the status of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&self.read, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        let row = rows.maybe_first_row::<Row>().map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.map(|row| StatusSeen {
            status: self.text_at(&row, self.columns.status, 1),
            status_data: self.text_at(&row, self.columns.status_data, 1 + usize::from(self.columns.status)),
        }))
    }

    fn text_at(&self, row: &Row, present: bool, at: usize) -> Option<String> {
        let value = row.columns.get(at).filter(|_| present)?.as_ref()?;
        value.as_text().cloned()
    }

    fn values_of(&self, record: &StatusRecord) -> Vec<CqlValue> {
        let mut values = vec![CqlValue::Text(record.run.clone())];
        values.extend(self.columns.status.then(|| CqlValue::Text(record.status.clone())));
        values.extend(self.columns.status_data.then(|| CqlValue::Text(record.status_data.clone())));
        values.extend(self.columns.updated_at.then(|| updated_at(record.timestamp_micros)));
        values.push(CqlValue::BigInt(record.timestamp_micros));
        values.extend(self.life.map(|seconds| CqlValue::Int(if is_final(&record.status) { seconds } else { FOR_EVER })));
        values
    }

    /// After the row, so that nobody misses a run that is running. One that stays in the index is looked at once more.
    async fn leave_index(&self, record: &StatusRecord) {
        if let (Some(running), false) = (&self.running, record.status == RUNNING) {
            drop(running.leave(&record.run).await);
        }
    }

    async fn execute(&self, statement: &PreparedStatement, values: Vec<CqlValue>, operation: impl Fn() -> String) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(statement, values).await;
        answer.map(drop).map_err(|error| errors::store(operation(), &error))
    }
}

async fn running(session: &Arc<SharedSession>, statuses: &TableName, columns: StatusColumns) -> Result<Option<Arc<RunningIndex>>, FlowError> {
    // A name that leaves no room for the ending has no such table beside it.
    let Ok(table) = statuses.beside("_running", "statusTableName") else { return Ok(None) };
    if columns.status && columns.updated_at && schema::has_columns(session, &table, &schema::RUNNING_COLUMNS).await? {
        return Ok(Some(Arc::new(RunningIndex::prepare(Arc::clone(session), statuses, &table).await?)));
    }
    Ok(None)
}

/// The row's own `updated_at`, derived from the write's timestamp so that a repeat is byte-identical (G4).
fn updated_at(timestamp_micros: i64) -> CqlValue {
    CqlValue::Timestamp(CqlTimestamp(timestamp_micros.div_euclid(1_000)))
}

/// A run that waits may wait for longer than ended ones are kept.
fn is_final(status: &str) -> bool {
    !matches!(status, RUNNING | "awaiting" | "parked")
}

#[async_trait]
impl StatusStore for CassandraStatuses {
    async fn status(&self, run: &str) -> Result<Option<String>, FlowError> {
        Ok(self.seen(run).await?.map(|seen| seen.status.unwrap_or_default()))
    }

    async fn touch(&self, run: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        let (row, entry) = self.mark(run, timestamp_micros).await;
        row.and(entry)
    }

    async fn publish(&self, record: &StatusRecord) -> Result<(), FlowError> {
        self.execute(&self.publish, self.values_of(record), || format!("publishing the status of run \"{}\"", record.run)).await?;
        self.leave_index(record).await;
        Ok(())
    }

    fn groups(&self, records: &[&StatusRecord]) -> Vec<Vec<usize>> {
        groups::groups(records.iter().map(|record| Candidate {
            replicas: Replicas::of(&self.session, &self.read, &record.run),
            bytes: record.run.len() + record.status.len() + record.status_data.len(),
            rows: 1,
            cells: 3,
        }))
    }

    async fn publish_group(&self, records: &[&StatusRecord]) -> Result<(), FlowError> {
        let Some(batch) = self.batches.for_runs(records.len()) else {
            for record in records {
                self.publish(record).await?;
            }
            return Ok(());
        };
        let values: Vec<_> = records.iter().map(|record| self.values_of(record)).collect();
        let answer = self.session.driver.batch(batch, values).await;
        answer.map_err(|error| errors::store(format!("publishing the status of {} runs", records.len()), &error))?;
        join_all(records.iter().map(|record| self.leave_index(record))).await;
        Ok(())
    }
}
