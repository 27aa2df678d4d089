//! Every CQL text that the engine sends. `docs/statements.md` says for each when and how often, and a test holds
//! the two together. (A client object that is driven through its own methods gets the texts of
//! `src/js/stores/statements.js`.)
//!
//! Names are put in unquoted, as the JavaScript package does, so that both mean the same table; they
//! were checked to be plain identifiers before (`schema::TableName`). Values are always bound.

use super::schema::{StatusColumns, TableName};
use crate::kernel::effects::ContextLayout;

/// What follows `USING` where a row of the status table is to expire.
const EXPIRING: &str = "TIMESTAMP ? AND TTL ?";
const LASTING: &str = "TIMESTAMP ?";

pub(super) fn load_document(table: &TableName) -> String {
    format!("SELECT context_data, WRITETIME(context_data) FROM {table} WHERE run_id = ?")
}

pub(super) fn load_document_and_checkpoint(table: &TableName) -> String {
    format!("SELECT context_data, WRITETIME(context_data), checkpoint, WRITETIME(checkpoint) FROM {table} WHERE run_id = ?")
}

pub(super) fn document_time(table: &TableName) -> String {
    format!("SELECT WRITETIME(context_data) FROM {table} WHERE run_id = ?")
}

pub(super) fn write_document(table: &TableName) -> String {
    format!("INSERT INTO {table} (run_id, context_data) VALUES (?, ?) USING TIMESTAMP ?")
}

pub(super) fn write_document_and_checkpoint(table: &TableName) -> String {
    format!("INSERT INTO {table} (run_id, context_data, checkpoint) VALUES (?, ?, ?) USING TIMESTAMP ?")
}

pub(super) fn list_documents(table: &TableName) -> String {
    format!("SELECT run_id FROM {table}")
}

/// All of a run in a table, whatever its layout. With a time: what was written later stays.
pub(super) fn delete_run(table: &TableName) -> String {
    format!("DELETE FROM {table} USING TIMESTAMP ? WHERE run_id = ?")
}

pub(super) fn load_entries(table: &TableName) -> String {
    format!("SELECT key, value, WRITETIME(value) FROM {table} WHERE run_id = ?")
}

pub(super) fn pick_entries(table: &TableName) -> String {
    format!("SELECT key, value, WRITETIME(value) FROM {table} WHERE run_id = ? AND key IN ?")
}

pub(super) fn entries_time(table: &TableName) -> String {
    format!("SELECT MAX(WRITETIME(value)) FROM {table} WHERE run_id = ?")
}

pub(super) fn picked_time(table: &TableName) -> String {
    format!("SELECT MAX(WRITETIME(value)) FROM {table} WHERE run_id = ? AND key IN ?")
}

pub(super) fn set_entry(table: &TableName) -> String {
    format!("INSERT INTO {table} (run_id, key, value) VALUES (?, ?, ?) USING TIMESTAMP ?")
}

pub(super) fn delete_entry(table: &TableName) -> String {
    format!("DELETE FROM {table} USING TIMESTAMP ? WHERE run_id = ? AND key = ?")
}

/// `None` where the table has neither column: there would be nothing to write but the key.
pub(super) fn touch_status(table: &TableName, columns: StatusColumns) -> Option<String> {
    match (columns.status, columns.updated_at) {
        (true, true) => Some(format!("INSERT INTO {table} (run_id, updated_at, status) VALUES (?, ?, 'running') USING TIMESTAMP ?")),
        (false, true) => Some(format!("INSERT INTO {table} (run_id, updated_at) VALUES (?, ?) USING TIMESTAMP ?")),
        (true, false) => Some(format!("INSERT INTO {table} (run_id, status) VALUES (?, 'running') USING TIMESTAMP ?")),
        (false, false) => None,
    }
}

/// With `expires`, one more value is bound at the end: seconds to live, 0 for ever.
pub(super) fn publish_status(table: &TableName, columns: StatusColumns, expires: bool) -> String {
    let mut names = vec!["run_id"];
    names.extend(columns.status.then_some("status"));
    names.extend(columns.status_data.then_some("status_data"));
    names.extend(columns.updated_at.then_some("updated_at"));
    let marks = vec!["?"; names.len()].join(", ");
    let names = names.join(", ");
    let using = if expires { EXPIRING } else { LASTING };
    format!("INSERT INTO {table} ({names}) VALUES ({marks}) USING {using}")
}

pub(super) fn read_status(table: &TableName, columns: StatusColumns) -> String {
    let mut names = vec!["run_id"];
    names.extend(columns.status.then_some("status"));
    names.extend(columns.status_data.then_some("status_data"));
    let names = names.join(", ");
    format!("SELECT {names} FROM {table} WHERE run_id = ?")
}

pub(super) fn find_ended(table: &TableName) -> String {
    format!("SELECT run_id, status, updated_at, WRITETIME(status) FROM {table}")
}

pub(super) fn ended_run(table: &TableName) -> String {
    format!("SELECT status, updated_at, WRITETIME(status) FROM {table} WHERE run_id = ?")
}

pub(super) fn stalled_runs(table: &TableName) -> String {
    format!("SELECT run_id FROM {table} WHERE status = ? AND updated_at < ? ALLOW FILTERING")
}

pub(super) fn put_timer(table: &TableName) -> String {
    format!("INSERT INTO {table} (topic, shard, bucket, due_at, run_id, node_id, visit) VALUES (?, ?, ?, ?, ?, ?, ?)")
}

pub(super) fn delete_timer(table: &TableName) -> String {
    format!("DELETE FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? AND due_at = ? AND run_id = ? AND node_id = ?")
}

pub(super) fn find_timers(table: &TableName) -> String {
    format!("SELECT due_at, run_id, node_id, visit FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? AND due_at >= ? AND due_at < ?")
}

pub(super) fn any_timer(table: &TableName) -> String {
    format!("SELECT run_id FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? LIMIT 1")
}

pub(super) fn timer_cursor(table: &TableName) -> String {
    format!("SELECT visit FROM {table} WHERE topic = ? AND shard = ? AND bucket = ? LIMIT 1")
}

pub(super) fn keep_timer_cursor(table: &TableName) -> String {
    format!("INSERT INTO {table} (topic, shard, bucket, due_at, run_id, node_id, visit) VALUES (?, ?, ?, 0, '', '', ?)")
}

pub(super) fn find_lease(table: &TableName) -> String {
    format!("SELECT epoch, holder, valid_until FROM {table} WHERE topic = ? AND partition = ?")
}

pub(super) fn create_lease(table: &TableName) -> String {
    format!("INSERT INTO {table} (topic, partition, epoch, holder, valid_until) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS")
}

/// A renewal leaves the epoch as it is, so both are compared.
pub(super) fn swap_lease(table: &TableName) -> String {
    format!("UPDATE {table} SET epoch = ?, holder = ?, valid_until = ? WHERE topic = ? AND partition = ? IF epoch = ? AND valid_until = ?")
}

pub(super) fn put_running(table: &TableName) -> String {
    format!("INSERT INTO {table} (shard, bucket, run_id) VALUES (?, ?, ?) USING TIMESTAMP ?")
}

pub(super) fn delete_running(table: &TableName) -> String {
    format!("DELETE FROM {table} USING TIMESTAMP ? WHERE shard = ? AND bucket = ? AND run_id = ?")
}

pub(super) fn find_running(table: &TableName) -> String {
    format!("SELECT run_id FROM {table} WHERE shard = ? AND bucket = ?")
}

pub(super) fn run_state(statuses: &TableName) -> String {
    format!("SELECT status, updated_at FROM {statuses} WHERE run_id = ?")
}

pub(super) const FIND_KEYSPACE: &str = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";

pub(super) const FIND_COLUMNS: &str = "SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";

pub(super) const FIND_SETTINGS: &str = "SELECT comment, default_time_to_live FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";

pub(super) fn create_keyspace(keyspace: &str, replication: &str) -> String {
    format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}")
}

/// With the columns that a layout of ours has; the documented table has no `checkpoint`.
pub(super) fn create_contexts(table: &TableName, layout: ContextLayout) -> String {
    match layout {
        ContextLayout::Document => format!("CREATE TABLE IF NOT EXISTS {table} (run_id text PRIMARY KEY, context_data text)"),
        ContextLayout::DocumentAndCheckpoint => {
            format!("CREATE TABLE IF NOT EXISTS {table} (run_id text PRIMARY KEY, context_data text, checkpoint text)")
        }
        ContextLayout::Entries => format!("CREATE TABLE IF NOT EXISTS {table} (run_id text, key text, value text, PRIMARY KEY (run_id, key))"),
    }
}

pub(super) fn create_statuses(table: &TableName) -> String {
    format!("CREATE TABLE IF NOT EXISTS {table} (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)")
}

/// Rows live until their timer fires, and one that came back after its tombstone is gone changes nothing (the run
/// checks it again), so tombstones are kept for an hour only.
pub(super) fn create_due(table: &TableName) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (topic text, shard int, bucket bigint, due_at timestamp, run_id text, node_id text, visit int, \
         PRIMARY KEY ((topic, shard, bucket), due_at, run_id, node_id)) WITH gc_grace_seconds = 3600"
    )
}

pub(super) fn create_leases(table: &TableName) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (topic text, partition int, epoch bigint, holder text, valid_until timestamp, \
         PRIMARY KEY ((topic, partition)))"
    )
}

/// Rows that came back after their tombstones are gone are looked at once more, and go again.
pub(super) fn create_running(table: &TableName) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (shard int, bucket bigint, run_id text, PRIMARY KEY ((shard, bucket), run_id)) \
         WITH gc_grace_seconds = 3600"
    )
}

pub(super) fn add_column(table: &TableName, column: &str, kind: &str) -> String {
    format!("ALTER TABLE {table} ADD {column} {kind}")
}

/// The comment holds how long rows of ended runs live; it stands in the statement, which takes no bound values.
pub(super) fn set_comment(table: &TableName, comment: &str) -> String {
    let comment = comment.replace('\'', "''");
    format!("ALTER TABLE {table} WITH comment = '{comment}'")
}
