//! Context and status rows in Apache Cassandra, through the scylla driver.

mod context_store;
mod errors;
mod schema;
mod session;
mod settings;
mod standalone;
mod statements;
mod status_store;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use schema::StatusColumns;
pub use settings::CassandraSettings;
pub use standalone::{StalledPage, StandaloneTables};

use crate::kernel::error::FlowError;
use crate::ports::{ContextStore, StatusStore};

/// Both stores of a worker, on one session.
pub struct CassandraStores {
    /// State of runs.
    pub context: Arc<dyn ContextStore>,
    /// Outcomes of runs.
    pub status: Arc<dyn StatusStore>,
    /// What the tables lack, each with the `ALTER TABLE` that adds it. For one log line each.
    pub warnings: Vec<String>,
}

impl CassandraStores {
    /// Connects (or shares a session that is open already), checks the tables and prepares the
    /// statements. A cluster that does not answer yet is tried again until `patience` is over.
    ///
    /// # Errors
    /// `Option` for bad settings or names, `Unreachable`, `SchemaMissing`, `SchemaUnknown`, `Store`.
    pub async fn connect(settings: &CassandraSettings, keyspace: &str, context_table: &str, status_table: &str, patience: Duration) -> Result<Self, FlowError> {
        let context_name = schema::TableName::new(keyspace, context_table, "contextTableName")?;
        let status_name = schema::TableName::new(keyspace, status_table, "statusTableName")?;
        let shared = session::shared(settings, keyspace, Instant::now() + patience).await?;
        let found = schema::inspect(&shared, &context_name, &status_name).await?;
        let context = context_store::CassandraContexts::prepare(Arc::clone(&shared), &context_name).await?;
        let status = status_store::CassandraStatuses::prepare(shared, &status_name, found.columns).await?;
        Ok(Self { context: Arc::new(context), status: Arc::new(status), warnings: found.warnings })
    }
}

/// Connects (or shares a session) and prepares the context table alone, for workers whose status rows are
/// written by the user's own code.
///
/// # Errors
/// As [`CassandraStores::connect`].
pub async fn connect_contexts(settings: &CassandraSettings, keyspace: &str, table: &str, patience: Duration) -> Result<Arc<dyn ContextStore>, FlowError> {
    let name = schema::TableName::new(keyspace, table, "contextTableName")?;
    let shared = session::shared(settings, keyspace, Instant::now() + patience).await?;
    schema::inspect_context(&shared, &name).await?;
    Ok(Arc::new(context_store::CassandraContexts::prepare(shared, &name).await?))
}

/// The status table alone, with what it lacks.
///
/// # Errors
/// As [`CassandraStores::connect`].
pub async fn connect_statuses(
    settings: &CassandraSettings,
    keyspace: &str,
    table: &str,
    patience: Duration,
) -> Result<(Arc<dyn StatusStore>, Vec<String>), FlowError> {
    let name = schema::TableName::new(keyspace, table, "statusTableName")?;
    let shared = session::shared(settings, keyspace, Instant::now() + patience).await?;
    let found = schema::inspect_status(&shared, &name).await?;
    let statuses = status_store::CassandraStatuses::prepare(shared, &name, found.columns).await?;
    Ok((Arc::new(statuses), found.warnings))
}
