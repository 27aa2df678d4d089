//! Every CQL text that this package sends, and when.
//!
//! Names are put in unquoted, as the JavaScript package does, so that both mean the same table; they
//! were checked to be plain identifiers before (`schema::TableName`). Values are always bound.

use super::schema::{StatusColumns, TableName};

/// Once per run that is opened by a worker, and when a foreign write is to be merged.
pub(super) fn load_context(table: &TableName) -> String {
    format!("SELECT context_data, WRITETIME(context_data) FROM {table} WHERE run_id = ?")
}

/// Before a node's read or a commit that rests on a copy older than 100 ms (D8); never for runs that
/// go on faster than that.
pub(super) fn context_time(table: &TableName) -> String {
    format!("SELECT WRITETIME(context_data) FROM {table} WHERE run_id = ?")
}

/// Once per step commit: the only write on the way of a job.
pub(super) fn write_context(table: &TableName) -> String {
    format!("INSERT INTO {table} (run_id, context_data) VALUES (?, ?) USING TIMESTAMP ?")
}

/// Once when a run is opened, if the worker marks runs as running. `None` where the table has neither
/// column: there would be nothing to write but the key.
pub(super) fn touch_status(table: &TableName, columns: StatusColumns) -> Option<String> {
    match (columns.status, columns.updated_at) {
        (true, true) => Some(format!("INSERT INTO {table} (run_id, updated_at, status) VALUES (?, ?, 'running') USING TIMESTAMP ?")),
        (false, true) => Some(format!("INSERT INTO {table} (run_id, updated_at) VALUES (?, ?) USING TIMESTAMP ?")),
        (true, false) => Some(format!("INSERT INTO {table} (run_id, status) VALUES (?, 'running') USING TIMESTAMP ?")),
        (false, false) => None,
    }
}

/// Once per outcome of a run.
pub(super) fn publish_status(table: &TableName, columns: StatusColumns) -> String {
    let mut names = vec!["run_id"];
    names.extend(columns.status.then_some("status"));
    names.extend(columns.status_data.then_some("status_data"));
    names.extend(columns.updated_at.then_some("updated_at"));
    let marks = vec!["?"; names.len()].join(", ");
    format!("INSERT INTO {table} ({}) VALUES ({marks}) USING TIMESTAMP ?", names.join(", "))
}

/// Per look of a client at a run it started through `startRun`. `None` where the table has no outcome column.
pub(super) fn read_status(table: &TableName, columns: StatusColumns) -> Option<String> {
    let mut names = Vec::new();
    names.extend(columns.status.then_some("status"));
    names.extend(columns.status_data.then_some("status_data"));
    (!names.is_empty()).then(|| format!("SELECT {} FROM {table} WHERE run_id = ?", names.join(", ")))
}

/// Per page of a reconciler's run on tables without an index of stalled runs; a full scan on the server,
/// as in the JavaScript package.
pub(super) fn stalled_runs(table: &TableName) -> String {
    format!("SELECT run_id FROM {table} WHERE status = ? AND updated_at < ? ALLOW FILTERING")
}

/// Once per start: does the keyspace exist?
pub(super) const FIND_KEYSPACE: &str = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";

/// Once per table and start: its columns. A table that does not exist has none.
pub(super) const FIND_COLUMNS: &str = "SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";

/// Never sent: for the error about a missing keyspace.
pub(super) fn example_keyspace(keyspace: &str) -> String {
    format!("CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}}")
}

/// Never sent: for the error about a missing or unusable context table.
pub(super) fn example_context_table(table: &TableName) -> String {
    format!("CREATE TABLE {table} (run_id text PRIMARY KEY, context_data text)")
}

/// Never sent: for the error about a missing or unusable status table.
pub(super) fn example_status_table(table: &TableName) -> String {
    format!("CREATE TABLE {table} (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)")
}

/// Never sent: for the warning about a missing column.
pub(super) fn example_column(table: &TableName, column: &str, kind: &str) -> String {
    format!("ALTER TABLE {table} ADD {column} {kind}")
}
