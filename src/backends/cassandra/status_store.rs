//! Status rows, with whichever of the columns the user's table has.

use std::sync::Arc;

use async_trait::async_trait;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};

use super::schema::{StatusColumns, TableName};
use super::session::SharedSession;
use super::{errors, statements};
use crate::kernel::error::FlowError;
use crate::ports::{StatusRecord, StatusStore};

/// Status rows of one table.
pub(super) struct CassandraStatuses {
    session: Arc<SharedSession>,
    columns: StatusColumns,
    touch: Option<PreparedStatement>,
    publish: PreparedStatement,
}

impl CassandraStatuses {
    pub(super) async fn prepare(session: Arc<SharedSession>, table: &TableName, columns: StatusColumns) -> Result<Self, FlowError> {
        let touch = match statements::touch_status(table, columns) {
            Some(text) => Some(session.prepare(text).await?),
            None => None,
        };
        let publish = session.prepare(statements::publish_status(table, columns)).await?;
        Ok(Self { session, columns, touch, publish })
    }

    async fn execute(&self, statement: &PreparedStatement, values: Vec<CqlValue>, operation: impl Fn() -> String) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(statement, values).await;
        answer.map(drop).map_err(|error| errors::store(operation(), &error))
    }
}

/// The row's own `updated_at`, derived from the write's timestamp so that a repeat is byte-identical (G4).
fn updated_at(timestamp_micros: i64) -> CqlValue {
    CqlValue::Timestamp(CqlTimestamp(timestamp_micros.div_euclid(1_000)))
}

#[async_trait]
impl StatusStore for CassandraStatuses {
    async fn touch(&self, run: &str, timestamp_micros: i64) -> Result<(), FlowError> {
        let Some(statement) = &self.touch else { return Ok(()) };
        let mut values = vec![CqlValue::Text(run.into())];
        values.extend(self.columns.updated_at.then(|| updated_at(timestamp_micros)));
        values.push(CqlValue::BigInt(timestamp_micros));
        self.execute(statement, values, || format!("marking run \"{run}\" as running")).await
    }

    async fn publish(&self, record: &StatusRecord) -> Result<(), FlowError> {
        let mut values = vec![CqlValue::Text(record.run.clone())];
        values.extend(self.columns.status.then(|| CqlValue::Text(record.status.clone())));
        values.extend(self.columns.status_data.then(|| CqlValue::Text(record.status_data.clone())));
        values.extend(self.columns.updated_at.then(|| updated_at(record.timestamp_micros)));
        values.push(CqlValue::BigInt(record.timestamp_micros));
        self.execute(&self.publish, values, || format!("publishing the status of run \"{}\"", record.run)).await
    }
}
