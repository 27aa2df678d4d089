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

/// When a client asks how a run stands, through a run handle; never by workers.
pub(super) fn read_status(table: &TableName, columns: StatusColumns) -> String {
    let mut names = vec!["run_id"];
    names.extend(columns.status.then_some("status"));
    names.extend(columns.status_data.then_some("status_data"));
    format!("SELECT {} FROM {table} WHERE run_id = ?", names.join(", "))
}

/// Per page of a reconciler's run on tables without an index of stalled runs; a full scan on the server,
/// as in the JavaScript package.
pub(super) fn stalled_runs(table: &TableName) -> String {
    format!("SELECT run_id FROM {table} WHERE status = ? AND updated_at < ? ALLOW FILTERING")
}

/// Once per sleep, long back-off or other alarm of a node, before the step that parks its run.
pub(super) fn put_timer(table: &TableName) -> String {
    format!("INSERT INTO {table} (topic, shard, bucket, due_at, run_id, node_id, visit) VALUES (?, ?, ?, ?, ?, ?, ?)")
}

/// Once per timer, after the step that it led to.
pub(super) fn delete_timer(table: &TableName) -> String {
    format!("DELETE FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? AND due_at = ? AND run_id = ? AND node_id = ?")
}

/// Per assigned partition and hour with timers; then about twice in ten minutes for each partition.
pub(super) fn find_timers(table: &TableName) -> String {
    format!("SELECT due_at, run_id, node_id, visit FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? AND due_at >= ? AND due_at < ?")
}

/// Per hour that has passed since a partition's timers were read last.
pub(super) fn any_timer(table: &TableName) -> String {
    format!("SELECT run_id FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? LIMIT 1")
}

/// With each reading of a partition's timers: where it begins.
pub(super) fn timer_cursor(table: &TableName) -> String {
    format!("SELECT visit FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? LIMIT 1")
}

/// When the reading of a partition's timers moved on by an hour.
pub(super) fn keep_timer_cursor(table: &TableName) -> String {
    format!("INSERT INTO {table} (topic, shard, bucket, due_at, run_id, node_id, visit) VALUES (?, ?, ?, 0, '', '', ?)")
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

/// Never sent by workers: for the warning about a missing table of timers.
pub(super) fn example_timer_table(table: &TableName) -> String {
    format!(
        "CREATE TABLE {table} (topic text, shard int, bucket bigint, due_at timestamp, run_id text, node_id text, visit int, \
         PRIMARY KEY ((topic, shard, bucket), due_at, run_id, node_id))"
    )
}

/// Never sent: for the warning about a missing column.
pub(super) fn example_column(table: &TableName, column: &str, kind: &str) -> String {
    format!("ALTER TABLE {table} ADD {column} {kind}")
}
