//! Leases as rows that only conditional writes change.

use std::sync::Arc;

use async_trait::async_trait;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue, Row};

use super::schema::TableName;
use super::session::SharedSession;
use super::{errors, statements};
use crate::kernel::error::FlowError;
use crate::kernel::lease::LeaseRow;
use crate::ports::LeaseStore;

pub(super) struct CassandraLeases {
    session: Arc<SharedSession>,
    topic: String,
    find: PreparedStatement,
    create: PreparedStatement,
    swap: PreparedStatement,
}

impl CassandraLeases {
    /// `serial` is the level at which conditional writes agree; reads at it see them all.
    pub(super) async fn prepare(session: Arc<SharedSession>, table: &TableName, topic: &str, serial: Consistency) -> Result<Self, FlowError> {
        let mut find = session.prepare(statements::find_lease(table)).await?;
        find.set_consistency(serial);
        Ok(Self {
            find,
            create: session.prepare(statements::create_lease(table)).await?,
            swap: session.prepare(statements::swap_lease(table)).await?,
            topic: topic.to_owned(),
            session,
        })
    }
}

#[async_trait]
impl LeaseStore for CassandraLeases {
    async fn find(&self, partition: i32) -> Result<Option<LeaseRow>, FlowError> {
        const OPERATION: &str = "reading a lease";
        let answer = self.session.driver.execute_unpaged(&self.find, (&self.topic, partition)).await;
        let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        let row = rows.maybe_first_row::<(i64, String, CqlTimestamp)>().map_err(|error| errors::unexpected(OPERATION, error))?;
        Ok(row.map(|(epoch, holder, CqlTimestamp(valid_until_ms))| LeaseRow { epoch, holder, valid_until_ms }))
    }

    async fn swap(&self, partition: i32, seen: Option<&LeaseRow>, row: &LeaseRow) -> Result<bool, FlowError> {
        const OPERATION: &str = "asking for a lease";
        let until = CqlTimestamp(row.valid_until_ms);
        let driver = &self.session.driver;
        let answer = match seen {
            None => driver.execute_unpaged(&self.create, (&self.topic, partition, row.epoch, &row.holder, until)).await,
            Some(seen) => {
                let values = (row.epoch, &row.holder, until, &self.topic, partition, seen.epoch, CqlTimestamp(seen.valid_until_ms));
                driver.execute_unpaged(&self.swap, values).await
            }
        };
        let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        // What follows `[applied]` depends on the outcome.
        let row = rows.first_row::<Row>().map_err(|error| errors::unexpected(OPERATION, error))?;
        Ok(matches!(row.columns.first(), Some(Some(CqlValue::Boolean(true)))))
    }
}
