//! Runs that ended long ago: found by their status rows, and deleted by partition.
//!
//! Everything is deleted with the write time of the status that ended the run, so that what was written since stays, whoever
//! writes meanwhile. The status row goes last: a deletion that is cut off is found again.

use std::sync::Arc;

use scylla::response::query_result::QueryResult;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::errors;
use super::session::SharedSession;
use crate::backends::tables::Swept;
use crate::kernel::error::FlowError;
use crate::kernel::retention::Remains;
use crate::ports::ContextStore;

/// Status, `updated_at` and the write time of the status.
type Ended = (Option<String>, Option<CqlTimestamp>, Option<i64>);

/// What is needed of the two tables.
pub(super) struct Sweep {
    pub session: Arc<SharedSession>,
    pub contexts: Arc<dyn ContextStore>,
    pub read: PreparedStatement,
    pub delete_context: PreparedStatement,
    pub delete_status: PreparedStatement,
}

impl Sweep {
    /// Deletes a run that ended before `before_ms`.
    ///
    /// # Errors
    /// `Store`.
    pub(super) async fn run(&self, run: &str, before_ms: i64) -> Result<Swept, FlowError> {
        let Some(ended) = self.ended(run).await? else { return Ok(Swept::Gone) };
        let context_micros = self.contexts.write_micros(run).await?;
        let Some(micros) = remains(&ended, context_micros).deletable(before_ms) else { return Ok(Swept::Kept) };
        self.delete(&self.delete_context, run, micros).await?;
        self.delete(&self.delete_status, run, micros).await?;
        Ok(Swept::Deleted)
    }

    async fn ended(&self, run: &str) -> Result<Option<Ended>, FlowError> {
        let operation = || format!("reading the status of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&self.read, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        rows.maybe_first_row::<Ended>().map_err(|error| errors::unexpected(operation(), error))
    }

    async fn delete(&self, statement: &PreparedStatement, run: &str, micros: i64) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(statement, (micros, run)).await;
        answer.map(drop).map_err(|error| errors::store(format!("deleting run \"{run}\""), &error))
    }
}

fn remains((status, updated_at, status_micros): &Ended, context_micros: Option<i64>) -> Remains<'_> {
    Remains { status: status.as_deref(), updated_at_ms: updated_at.map(|at| at.0), status_micros: *status_micros, context_micros }
}

/// The runs of one page that ended before `before_ms`, and how many rows it has.
///
/// # Errors
/// `Store` for an answer of another shape.
pub(super) fn ended_in(page: QueryResult, before_ms: i64) -> Result<(Vec<String>, usize), FlowError> {
    const OPERATION: &str = "looking for ended runs";
    let rows = page.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
    let mut runs = Vec::new();
    for row in rows.rows::<(String, Option<String>, Option<CqlTimestamp>, Option<i64>)>().map_err(|error| errors::unexpected(OPERATION, error))? {
        let (run, status, updated_at, micros) = row.map_err(|error| errors::unexpected(OPERATION, error))?;
        if remains(&(status, updated_at, micros), None).has_ended(before_ms) {
            runs.push(run);
        }
    }
    Ok((runs, rows.rows_num()))
}
