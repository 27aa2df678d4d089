//! The `document` layout: one JSON document per run in one cell.

use std::sync::Arc;

use async_trait::async_trait;
use scylla::statement::prepared::PreparedStatement;

use super::schema::TableName;
use super::session::SharedSession;
use super::{errors, statements};
use crate::kernel::error::FlowError;
use crate::ports::{ContextStore, ContextWrite, StoredContext};

/// Context rows of one table.
pub(super) struct CassandraContexts {
    session: Arc<SharedSession>,
    load: PreparedStatement,
    time: PreparedStatement,
    write: PreparedStatement,
}

impl CassandraContexts {
    pub(super) async fn prepare(session: Arc<SharedSession>, table: &TableName) -> Result<Self, FlowError> {
        let load = session.prepare(statements::load_context(table)).await?;
        let time = session.prepare(statements::context_time(table)).await?;
        let write = session.prepare(statements::write_context(table)).await?;
        Ok(Self { session, load, time, write })
    }

    /// Writes the text of a run's cell.
    pub(super) async fn put(&self, run: &str, text: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(&self.write, (run, text, timestamp_micros)).await;
        answer.map(drop).map_err(|error| errors::store(format!("writing the context of run \"{run}\""), &error))
    }
}

#[async_trait]
impl ContextStore for CassandraContexts {
    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        let operation = || format!("reading the context of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&self.load, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        let row = rows.maybe_first_row::<(Option<String>, Option<i64>)>().map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.map(|(text, write_micros)| StoredContext { text, write_micros }))
    }

    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError> {
        let operation = || format!("reading the write time of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&self.time, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        let row = rows.maybe_first_row::<(Option<i64>,)>().map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.and_then(|(micros,)| micros))
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        self.put(&write.run, &write.document, write.timestamp_micros).await
    }
}
