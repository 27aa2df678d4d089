//! Context and status rows in Apache Cassandra, through the scylla driver.

mod context_store;
mod ensure;
mod entries_store;
mod errors;
mod groups;
mod leases;
mod migration;
mod running;
mod schema;
mod session;
mod settings;
mod standalone;
mod statements;
mod status_store;
mod sweep;
mod timers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use scylla::statement::{Consistency, SerialConsistency};

pub use ensure::schema_statements;
pub use schema::StatusColumns;
pub use settings::CassandraSettings;
pub use standalone::StandaloneTables;

use crate::kernel::error::FlowError;
use crate::ports::{ContextLayout, ContextStore, LeaseStore, StatusStore, TimerStore};

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
        let context = connect_contexts(settings, keyspace, context_table, patience).await?;
        let (status, warnings) = connect_statuses(settings, keyspace, status_table, patience).await?;
        Ok(Self { context, status, warnings })
    }
}

/// The context table alone, for a worker whose status goes elsewhere.
///
/// # Errors
/// As [`CassandraStores::connect`].
pub async fn connect_contexts(settings: &CassandraSettings, keyspace: &str, table: &str, patience: Duration) -> Result<Arc<dyn ContextStore>, FlowError> {
    let name = schema::TableName::new(keyspace, table, "contextTableName")?;
    let session = session::shared(settings, Instant::now() + patience).await?;
    Ok(match schema::inspect_context(&session, &name).await? {
        ContextLayout::Entries => Arc::new(entries_store::CassandraEntries::prepare(session, &name).await?),
        layout => Arc::new(context_store::CassandraContexts::prepare(session, &name, layout).await?),
    })
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
    let session = session::shared(settings, Instant::now() + patience).await?;
    let found = schema::inspect_status(&session, &name).await?;
    let store = status_store::CassandraStatuses::prepare(session, &name, &found).await?;
    Ok((Arc::new(store), found.warnings))
}

/// Whether runs that ended can be found in a status table for as long as it takes to delete them.
///
/// # Errors
/// As [`CassandraStores::connect`]; `SchemaMissing` for a column that is needed, `Option` where status rows expire too early.
pub async fn check_retention(
    settings: &CassandraSettings,
    keyspace: &str,
    status_table: &str,
    retention: Duration,
    patience: Duration,
) -> Result<(), FlowError> {
    let name = schema::TableName::new(keyspace, status_table, "statusTableName")?;
    let session = session::shared(settings, Instant::now() + patience).await?;
    schema::check_sweep(&name, &schema::inspect_status(&session, &name).await?, retention.as_secs())
}

/// The timers beside a status table, or why there are none and what would make them.
///
/// # Errors
/// As [`CassandraStores::connect`].
pub async fn connect_timers(
    settings: &CassandraSettings,
    keyspace: &str,
    status_table: &str,
    topic: &str,
    patience: Duration,
) -> Result<Result<Arc<dyn TimerStore>, String>, FlowError> {
    let table = schema::TableName::new(keyspace, status_table, "statusTableName")?.beside("_due", "statusTableName")?;
    let session = session::shared(settings, Instant::now() + patience).await?;
    match schema::inspect_timers(&session, &table).await? {
        Ok(()) => Ok(Ok(Arc::new(timers::CassandraTimers::prepare(session, &table, topic).await?))),
        Err(missing) => Ok(Err(missing)),
    }
}

/// The leases beside a status table, `None` where there is no table for them.
///
/// # Errors
/// As [`CassandraStores::connect`].
pub async fn connect_leases(
    settings: &CassandraSettings,
    keyspace: &str,
    status_table: &str,
    topic: &str,
    patience: Duration,
) -> Result<Option<Arc<dyn LeaseStore>>, FlowError> {
    let table = schema::TableName::new(keyspace, status_table, "statusTableName")?.beside("_leases", "statusTableName")?;
    let session = session::shared(settings, Instant::now() + patience).await?;
    if !schema::has_columns(&session, &table, &schema::LEASE_COLUMNS).await? {
        return Ok(None);
    }
    let serial = match settings.serial_consistency()? {
        SerialConsistency::Serial => Consistency::Serial,
        SerialConsistency::LocalSerial => Consistency::LocalSerial,
    };
    Ok(Some(Arc::new(leases::CassandraLeases::prepare(session, &table, topic, serial).await?)))
}
