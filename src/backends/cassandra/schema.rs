//! What the user's tables look like, read once at start.

use std::fmt;

use super::session::SharedSession;
use super::{errors, statements};
use crate::kernel::error::FlowError;

/// Longest keyspace or table name that Cassandra accepts.
const MAX_NAME: usize = 48;

/// `keyspace.table`, both plain identifiers, so that they can stand in a statement as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TableName {
    keyspace: String,
    table: String,
}

impl TableName {
    /// # Errors
    /// `Option` naming the option whose value is no plain identifier.
    pub(super) fn new(keyspace: &str, table: &str, table_option: &str) -> Result<Self, FlowError> {
        check_name(keyspace, "keyspace")?;
        check_name(table, table_option)?;
        Ok(Self { keyspace: keyspace.into(), table: table.into() })
    }

    /// Parses `keyspace.table`.
    ///
    /// # Errors
    /// `Option` when it is not two plain identifiers with a dot between.
    pub(super) fn qualified(name: &str) -> Result<Self, FlowError> {
        let (keyspace, table) = name.split_once('.').unwrap_or((name, ""));
        Self::new(keyspace, table, "tableName")
    }

    /// The table of timers that belongs to this status table.
    pub(super) fn timers(&self) -> Self {
        Self { keyspace: self.keyspace.clone(), table: format!("{}_due", self.table) }
    }

    pub(super) fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// As it stands in the schema tables: unquoted names are folded to lower case by the server.
    fn stored(&self) -> (String, String) {
        (self.keyspace.to_ascii_lowercase(), self.table.to_ascii_lowercase())
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.keyspace, self.table)
    }
}

fn check_name(name: &str, option: &str) -> Result<(), FlowError> {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if plain && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(FlowError::Option {
        path: format!("options.{option}"),
        problem: "is not a plain Cassandra name".into(),
        fix: format!("Use a letter followed by letters, digits or underscores, at most {MAX_NAME} in all"),
    })
}

/// Which of the status table's columns exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusColumns {
    /// `status text`.
    pub status: bool,
    /// `status_data text`.
    pub status_data: bool,
    /// `updated_at timestamp`.
    pub updated_at: bool,
}

/// What was found.
pub(super) struct Inspection {
    pub(super) columns: StatusColumns,
    pub(super) warnings: Vec<String>,
}

struct Column {
    name: String,
    kind: String,
    cql_type: String,
}

/// Looks at the context table.
///
/// # Errors
/// `SchemaMissing` for a missing keyspace or table, `SchemaUnknown` for one that cannot be worked with,
/// `Store` when the question failed.
pub(super) async fn inspect_context(session: &SharedSession, context: &TableName) -> Result<(), FlowError> {
    let example = statements::example_context_table(context);
    check_keyspace(session, context.keyspace()).await?;
    if is_document(&columns(session, context, example.clone()).await?) {
        return Ok(());
    }
    Err(unknown(context, example))
}

/// Looks at the status table.
///
/// # Errors
/// As [`inspect_context`].
pub(super) async fn inspect_status(session: &SharedSession, status: &TableName) -> Result<Inspection, FlowError> {
    check_keyspace(session, status.keyspace()).await?;
    let found = columns(session, status, statements::example_status_table(status)).await?;
    let columns = status_columns(&found).ok_or_else(|| unknown(status, statements::example_status_table(status)))?;
    Ok(Inspection { columns, warnings: warnings(status, columns) })
}

/// Looks for the table of timers beside the status table.
///
/// # Errors
/// What nodes that need a timer are told, with the statement that makes the table; or `Store` when the question failed.
pub(super) async fn inspect_timers(session: &SharedSession, timers: &TableName) -> Result<Result<(), String>, FlowError> {
    let example = statements::example_timer_table(timers);
    match columns(session, timers, example.clone()).await {
        Ok(found) => {
            const NEEDED: [&str; 7] = ["topic", "shard", "bucket", "due_at", "run_id", "node_id", "visit"];
            let usable = NEEDED.iter().all(|name| found.iter().any(|column| column.name == *name));
            Ok(usable.then_some(()).ok_or_else(|| format!("table \"{timers}\" is not the table of timers. Drop it, and create it with: {example}")))
        }
        Err(FlowError::SchemaMissing { .. }) => {
            Ok(Err(format!("table \"{timers}\" is missing: nodes that sleep, and retries that survive a restart, fail without it. Create it with: {example}")))
        }
        Err(error) => Err(error),
    }
}

fn unknown(table: &TableName, statement: String) -> FlowError {
    FlowError::SchemaUnknown { what: format!("table \"{table}\""), statement }
}

async fn check_keyspace(session: &SharedSession, keyspace: &str) -> Result<(), FlowError> {
    const OPERATION: &str = "looking up the keyspace";
    let answer = session.driver.query_unpaged(statements::FIND_KEYSPACE, (keyspace.to_ascii_lowercase(),)).await;
    let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
    if rows.rows_num() > 0 {
        return Ok(());
    }
    Err(FlowError::SchemaMissing { what: format!("keyspace \"{keyspace}\""), statement: statements::example_keyspace(keyspace) })
}

async fn columns(session: &SharedSession, table: &TableName, statement: String) -> Result<Vec<Column>, FlowError> {
    let operation = format!("looking up the columns of {table}");
    let answer = session.driver.query_unpaged(statements::FIND_COLUMNS, table.stored()).await;
    let rows = answer.map_err(|error| errors::store(&operation, &error))?.into_rows_result().map_err(|error| errors::unexpected(&operation, error))?;
    let rows = rows.rows::<(String, String, String)>().map_err(|error| errors::unexpected(&operation, error))?;
    let found: Result<Vec<_>, _> = rows.map(|row| row.map(|(name, kind, cql_type)| Column { name, kind, cql_type })).collect();
    let found = found.map_err(|error| errors::unexpected(&operation, error))?;
    if found.is_empty() {
        return Err(FlowError::SchemaMissing { what: format!("table \"{table}\""), statement });
    }
    Ok(found)
}

/// One row per run: the key is `run_id text` and nothing else.
fn keyed_by_run(columns: &[Column]) -> bool {
    columns
        .iter()
        .filter(|column| column.kind == "partition_key" || column.kind == "clustering")
        .all(|column| column.name == "run_id" && column.cql_type == "text")
}

fn is_document(columns: &[Column]) -> bool {
    keyed_by_run(columns) && columns.iter().any(|column| column.name == "context_data" && column.cql_type == "text")
}

/// `None` when the table is keyed otherwise, or a column has another type than ours.
fn status_columns(columns: &[Column]) -> Option<StatusColumns> {
    let has = |name: &str, cql_type: &str| match columns.iter().find(|column| column.name == name) {
        None => Some(false),
        Some(column) => (column.cql_type == cql_type).then_some(true),
    };
    let found = StatusColumns { status: has("status", "text")?, status_data: has("status_data", "text")?, updated_at: has("updated_at", "timestamp")? };
    keyed_by_run(columns).then_some(found)
}

fn warnings(table: &TableName, columns: StatusColumns) -> Vec<String> {
    let wanted = [
        (columns.status, "status", "text", "clients cannot see a run's state at a glance, and the reconciler finds no stalled runs"),
        (columns.status_data, "status_data", "text", "results of runs are not published"),
        (columns.updated_at, "updated_at", "timestamp", "the reconciler finds no stalled runs"),
    ];
    let missing = wanted.into_iter().filter(|(present, ..)| !present);
    missing
        .map(|(_, name, kind, loss)| {
            format!("table \"{table}\" has no column \"{name}\": {loss}. Add it with: {}", statements::example_column(table, name, kind))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_identifiers_or_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", "1a", "a-b", "a b", "a;DROP TABLE x", "ä", "\"a\"", &long] {
            assert!(TableName::new(bad, "t", "x").unwrap_err().to_string().starts_with("options.keyspace:"), "{bad}");
            assert!(TableName::new("k", bad, "contextTableName").unwrap_err().to_string().starts_with("options.contextTableName:"), "{bad}");
        }
        assert_eq!(TableName::qualified("Ks.T_1").unwrap().to_string(), "Ks.T_1");
        for bad in ["ks", "ks.t.x", ".t", "ks."] {
            assert!(TableName::qualified(bad).is_err(), "{bad}");
        }
    }
}
