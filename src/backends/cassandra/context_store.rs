//! The `document` layout: one JSON document per run in one cell, with the checkpoint in it or in a column beside it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::groups::{self, Batches, Candidate, Replicas};
use super::schema::{self, TableName};
use super::session::SharedSession;
use super::{errors, statements};
use crate::backends::clock::wall_micros;
use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::mutant::{Mutant, mutant};
use crate::ports::{ContextLayout, ContextStore, ContextWrite, StoredContext, StoredState};

/// How often the table is looked at again while runs without a checkpoint come up.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Statements for the columns that the table has.
struct Prepared {
    load: PreparedStatement,
    write: PreparedStatement,
    batches: Batches,
    /// Whether there is a column for the checkpoint.
    beside: bool,
}

/// Context rows of one table.
pub(super) struct CassandraContexts {
    session: Arc<SharedSession>,
    table: TableName,
    /// As it was at the start; the kernel was told so.
    layout: ContextLayout,
    prepared: Mutex<Arc<Prepared>>,
    looked_at: Mutex<Instant>,
    time: PreparedStatement,
    put: PreparedStatement,
}

impl Prepared {
    async fn new(session: &SharedSession, table: &TableName, beside: bool) -> Result<Arc<Self>, FlowError> {
        let (load, write) = if beside {
            (statements::load_document_and_checkpoint(table), statements::write_document_and_checkpoint(table))
        } else {
            (statements::load_document(table), statements::write_document(table))
        };
        let (load, write) = (session.prepare(load).await?, session.prepare(write).await?);
        Ok(Arc::new(Self { load, batches: Batches::of(&write), write, beside }))
    }
}

impl CassandraContexts {
    pub(super) async fn prepare(session: Arc<SharedSession>, table: &TableName, layout: ContextLayout) -> Result<Self, FlowError> {
        let prepared = Prepared::new(&session, table, layout == ContextLayout::DocumentAndCheckpoint).await?;
        let time = session.prepare(statements::document_time(table)).await?;
        let put = session.prepare(statements::write_document(table)).await?;
        Ok(Self { session, table: table.clone(), layout, prepared: Mutex::new(prepared), looked_at: Mutex::new(Instant::now()), time, put })
    }

    fn prepared(&self) -> Arc<Prepared> {
        Arc::clone(&lock(&self.prepared))
    }

    /// Whether the checkpoint has a column of its own.
    pub(super) fn has_checkpoint_column(&self) -> bool {
        self.prepared().beside
    }

    /// Writes the text of a run's cell alone.
    pub(super) async fn put(&self, run: &str, text: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        self.send(run, &self.put, (run, text, timestamp_micros)).await
    }

    /// Writes text and checkpoint of a run, for tables where both have a column.
    pub(super) async fn put_both(&self, run: &str, text: &str, checkpoint: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        self.send(run, &self.prepared().write, (run, text, checkpoint, timestamp_micros)).await
    }

    async fn send(&self, run: &str, statement: &PreparedStatement, values: impl SerializeRow) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(statement, values).await;
        answer.map(drop).map_err(|error| errors::store(format!("writing the context of run \"{run}\""), &error))
    }

    async fn read(&self, run: &str, prepared: &Prepared) -> Result<Option<StoredContext>, FlowError> {
        let operation = || format!("reading the context of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&prepared.load, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        if !prepared.beside {
            let row = rows.maybe_first_row::<(Option<String>, Option<i64>)>().map_err(|error| errors::unexpected(operation(), error))?;
            return Ok(row.map(|(text, micros)| StoredContext::document(text, micros)));
        }
        let row = rows.maybe_first_row::<(Option<String>, Option<i64>, Option<String>, Option<i64>)>();
        let row = row.map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.map(|(text, text_micros, checkpoint, checkpoint_micros)| StoredContext {
            state: StoredState::Document { text, checkpoint },
            write_micros: text_micros.max(checkpoint_micros),
        }))
    }

    /// `ensureSchema` may have added the column since the last look, and a newer worker may have moved checkpoints
    /// there: a run without one would seem to be begun by somebody else, and its nodes would run again.
    async fn look_again(&self) -> Result<Option<Arc<Prepared>>, FlowError> {
        {
            let mut looked_at = lock(&self.looked_at);
            if looked_at.elapsed() < LOOK_AGAIN {
                return Ok(None);
            }
            *looked_at = Instant::now();
        }
        let found = schema::columns(&self.session, &self.table).await?;
        if schema::context_layout(&found) != Some(ContextLayout::DocumentAndCheckpoint) {
            return Ok(None);
        }
        let prepared = Prepared::new(&self.session, &self.table, true).await?;
        *lock(&self.prepared) = Arc::clone(&prepared);
        Ok(Some(prepared))
    }
}

/// What a step writes: its text and its time.
fn values_of(write: &ContextWrite) -> Result<(&str, i64), FlowError> {
    let text = write.document.as_deref().ok_or_else(|| FlowError::Internal { place: "document layout", detail: "a step without its document".into() })?;
    Ok((text, if mutant(Mutant::WriteNow) { wall_micros() } else { write.timestamp_micros }))
}

/// Whether a text has no checkpoint in it. A false alarm costs a look at the table's columns, once a second.
fn lacks_checkpoint(found: Option<&StoredContext>) -> bool {
    let text = found.map(|stored| &stored.state);
    matches!(text, Some(StoredState::Document { text: Some(text), checkpoint: None }) if !text.contains("\"_flowcraft\""))
}

#[async_trait]
impl ContextStore for CassandraContexts {
    fn layout(&self) -> ContextLayout {
        self.layout
    }

    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        let prepared = self.prepared();
        let found = self.read(run, &prepared).await?;
        if prepared.beside || !lacks_checkpoint(found.as_ref()) {
            return Ok(found);
        }
        match self.look_again().await? {
            Some(prepared) => self.read(run, &prepared).await,
            None => Ok(found),
        }
    }

    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError> {
        let operation = || format!("reading the write time of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&self.time, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        let row = rows.maybe_first_row::<(Option<i64>,)>().map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.and_then(|(micros,)| micros))
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        let (text, timestamp_micros) = values_of(write)?;
        if self.prepared().beside {
            return self.put_both(&write.run, text, &write.checkpoint, timestamp_micros).await;
        }
        self.put(&write.run, text, timestamp_micros).await
    }

    fn groups(&self, writes: &[&ContextWrite]) -> Vec<Vec<usize>> {
        let beside = self.prepared().beside;
        groups::groups(writes.iter().map(|write| Candidate {
            replicas: Replicas::of(&self.session, &self.time, &write.run),
            bytes: write.document.as_ref().map_or(0, String::len) + if beside { write.checkpoint.len() } else { 0 } + write.run.len(),
            rows: 1,
            cells: 1 + usize::from(beside),
        }))
    }

    async fn write_group(&self, writes: &[&ContextWrite]) -> Result<(), FlowError> {
        let prepared = self.prepared();
        let Some(batch) = prepared.batches.for_runs(writes.len()) else {
            for write in writes {
                self.write(write).await?;
            }
            return Ok(());
        };
        let answer = if prepared.beside {
            let values: Result<Vec<_>, _> = writes.iter().map(|write| values_of(write).map(|(text, at)| (&write.run, text, &write.checkpoint, at))).collect();
            self.session.driver.batch(batch, values?).await
        } else {
            let values: Result<Vec<_>, _> = writes.iter().map(|write| values_of(write).map(|(text, at)| (&write.run, text, at))).collect();
            self.session.driver.batch(batch, values?).await
        };
        answer.map(drop).map_err(|error| errors::store(format!("writing the contexts of {} runs", writes.len()), &error))
    }
}
