//! What the user's tables look like, read once at start.

use std::fmt;

use super::session::SharedSession;
use super::{errors, statements};
use crate::kernel::effects::ContextLayout;
use crate::kernel::error::FlowError;

/// Longest keyspace or table name that Cassandra accepts.
const MAX_NAME: usize = 48;
/// What stands before the seconds in the comment of a status table whose rows of ended runs expire.
const LIFE_MARK: &str = "flowcraft.ttlSeconds=";

pub(super) const LEASE_COLUMNS: [(&str, &str); 5] =
    [("topic", "text"), ("partition", "int"), ("epoch", "bigint"), ("holder", "text"), ("valid_until", "timestamp")];

pub(super) const RUNNING_COLUMNS: [(&str, &str); 3] = [("shard", "int"), ("bucket", "bigint"), ("run_id", "text")];

/// For the error about a missing keyspace; users choose their own.
pub(super) const EXAMPLE_REPLICATION: &str = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}";

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

    /// A table of ours beside this one.
    ///
    /// # Errors
    /// `Option` naming the option whose value leaves no room for the ending.
    pub(super) fn beside(&self, ending: &str, table_option: &str) -> Result<Self, FlowError> {
        Self::new(&self.keyspace, &format!("{}{ending}", self.table), table_option)
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
    /// How long rows of ended runs live, in seconds; `None` for ever, or as long as all rows do.
    pub(super) life: Option<i32>,
    /// How long all rows live that are written without a life, in seconds; `None` for ever.
    default_life: Option<i32>,
    pub(super) warnings: Vec<String>,
}

pub(super) struct Column {
    name: String,
    kind: String,
    cql_type: String,
}

/// Looks at the context table, and finds its layout.
///
/// # Errors
/// `SchemaMissing` for a missing keyspace or table, `SchemaUnknown` for one that cannot be worked with,
/// `Store` when the question failed.
pub(super) async fn inspect_context(session: &SharedSession, context: &TableName) -> Result<ContextLayout, FlowError> {
    check_keyspace(session, context.keyspace()).await?;
    let found = columns(session, context).await?;
    if found.is_empty() {
        return Err(missing(context, statements::create_contexts(context, ContextLayout::Document)));
    }
    context_layout(&found).ok_or_else(|| unknown_contexts(context))
}

/// The error about a context table that is neither of the two.
pub(super) fn unknown_contexts(context: &TableName) -> FlowError {
    let [document, entries] = [ContextLayout::Document, ContextLayout::Entries].map(|layout| statements::create_contexts(context, layout));
    unknown(context, format!("{document}, or {entries}"))
}

/// Looks at the status table.
///
/// # Errors
/// As [`inspect_context`].
pub(super) async fn inspect_status(session: &SharedSession, status: &TableName) -> Result<Inspection, FlowError> {
    check_keyspace(session, status.keyspace()).await?;
    let found = columns(session, status).await?;
    if found.is_empty() {
        return Err(missing(status, statements::create_statuses(status)));
    }
    let columns = status_columns(&found).ok_or_else(|| unknown(status, statements::create_statuses(status)))?;
    let (comment, default_life) = settings(session, status).await?;
    Ok(Inspection { columns, life: life_in(&comment), default_life, warnings: warnings(status, columns) })
}

/// Whether ended runs can be found in a status table when they are to be deleted, for which their rows must live longer than this.
///
/// # Errors
/// `SchemaMissing` for a column, `Option` for rows that expire too early.
pub(super) fn check_sweep(statuses: &TableName, found: &Inspection, needed_seconds: u64) -> Result<(), FlowError> {
    for (present, column, kind) in [(found.columns.status, "status", "text"), (found.columns.updated_at, "updated_at", "timestamp")] {
        if !present {
            let what = format!("column \"{column}\" of table \"{statuses}\", without which ended runs cannot be found (retentionSeconds),");
            return Err(FlowError::SchemaMissing { what, statement: statements::add_column(statuses, column, kind) });
        }
    }
    let (life, remedy) = match (found.life, found.default_life) {
        (Some(life), _) => (life, "Call ensureSchema with ttlSeconds 0, or more than"),
        (None, Some(life)) => (life, "Set its default_time_to_live to 0, or to more than"),
        (None, None) => return Ok(()),
    };
    if u64::try_from(life).is_ok_and(|life| life > needed_seconds) {
        return Ok(());
    }
    Err(FlowError::Option {
        path: "options.retentionSeconds".into(),
        problem: format!(
            "status rows expire after {life} s in table \"{statuses}\", before their runs are looked for, whose contexts would then stay for ever"
        ),
        fix: format!("{remedy} {needed_seconds}"),
    })
}

/// Looks for the table of timers beside the status table.
///
/// # Errors
/// What nodes that need a timer are told, with the statement that makes the table; or `Store` when the question failed.
pub(super) async fn inspect_timers(session: &SharedSession, timers: &TableName) -> Result<Result<(), String>, FlowError> {
    const NEEDED: [&str; 7] = ["topic", "shard", "bucket", "due_at", "run_id", "node_id", "visit"];
    let example = plain(&statements::create_due(timers));
    let found = columns(session, timers).await?;
    if found.is_empty() {
        return Ok(Err(format!(
            "table \"{timers}\" is missing: without it a node that sleeps fails, retries follow each other in the process, and a run of another version goes to the dead letters. Create it with: {example}"
        )));
    }
    let usable = NEEDED.iter().all(|name| found.iter().any(|column| column.name == *name));
    Ok(usable.then_some(()).ok_or_else(|| format!("table \"{timers}\" is not the table of timers. Drop it, and create it with: {example}")))
}

/// Whether a table is there, and has these columns with these types.
pub(super) async fn has_columns(session: &SharedSession, table: &TableName, wanted: &[(&str, &str)]) -> Result<bool, FlowError> {
    Ok(has_all(&columns(session, table).await?, wanted))
}

fn missing(table: &TableName, statement: String) -> FlowError {
    FlowError::SchemaMissing { what: format!("table \"{table}\""), statement: plain(&statement) }
}

/// A statement as a person would write it who knows what is missing.
fn plain(statement: &str) -> String {
    statement.replace("IF NOT EXISTS ", "")
}

pub(super) fn unknown(table: &TableName, statement: String) -> FlowError {
    FlowError::SchemaUnknown { what: format!("table \"{table}\""), statement: plain(&statement) }
}

async fn check_keyspace(session: &SharedSession, keyspace: &str) -> Result<(), FlowError> {
    if has_keyspace(session, keyspace).await? {
        return Ok(());
    }
    let statement = statements::create_keyspace(keyspace, EXAMPLE_REPLICATION);
    Err(FlowError::SchemaMissing { what: format!("keyspace \"{keyspace}\""), statement: plain(&statement) })
}

pub(super) async fn has_keyspace(session: &SharedSession, keyspace: &str) -> Result<bool, FlowError> {
    const OPERATION: &str = "looking up the keyspace";
    let answer = session.driver.query_unpaged(statements::FIND_KEYSPACE, (keyspace.to_ascii_lowercase(),)).await;
    let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
    Ok(rows.rows_num() > 0)
}

/// The columns of a table; a table that does not exist has none.
pub(super) async fn columns(session: &SharedSession, table: &TableName) -> Result<Vec<Column>, FlowError> {
    let operation = format!("looking up the columns of {table}");
    let answer = session.driver.query_unpaged(statements::FIND_COLUMNS, table.stored()).await;
    let rows = answer.map_err(|error| errors::store(&operation, &error))?.into_rows_result().map_err(|error| errors::unexpected(&operation, error))?;
    let rows = rows.rows::<(String, String, String)>().map_err(|error| errors::unexpected(&operation, error))?;
    let found: Result<Vec<_>, _> = rows.map(|row| row.map(|(name, kind, cql_type)| Column { name, kind, cql_type })).collect();
    found.map_err(|error| errors::unexpected(&operation, error))
}

/// The comment of a table, empty where there is none, and how long rows live that are written without a life.
pub(super) async fn settings(session: &SharedSession, table: &TableName) -> Result<(String, Option<i32>), FlowError> {
    let operation = format!("looking up the settings of {table}");
    let answer = session.driver.query_unpaged(statements::FIND_SETTINGS, table.stored()).await;
    let rows = answer.map_err(|error| errors::store(&operation, &error))?.into_rows_result().map_err(|error| errors::unexpected(&operation, error))?;
    let row = rows.maybe_first_row::<(Option<String>, Option<i32>)>().map_err(|error| errors::unexpected(&operation, error))?;
    let (comment, life) = row.unwrap_or_default();
    Ok((comment.unwrap_or_default(), life.filter(|seconds| *seconds > 0)))
}

/// How long rows of ended runs live, by a comment.
pub(super) fn life_in(comment: &str) -> Option<i32> {
    let (_, behind) = comment.split_once(LIFE_MARK)?;
    let digits = behind.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|seconds| *seconds > 0)
}

/// The comment with another life in it; what else stands in it is the user's.
pub(super) fn comment_with_life(comment: &str, seconds: i32) -> String {
    let mut words: Vec<&str> = comment.split_whitespace().filter(|word| !word.starts_with(LIFE_MARK)).collect();
    let mark = format!("{LIFE_MARK}{seconds}");
    if seconds > 0 {
        words.push(&mark);
    }
    words.join(" ")
}

/// Whether exactly these columns are the key, all of them text, in this order of kinds.
fn keyed_by(columns: &[Column], wanted: &[(&str, &str)]) -> bool {
    let keys: Vec<&Column> = columns.iter().filter(|column| column.kind == "partition_key" || column.kind == "clustering").collect();
    let is = |(name, kind): &(&str, &str)| keys.iter().any(|column| column.name == *name && column.kind == *kind && column.cql_type == "text");
    keys.len() == wanted.len() && wanted.iter().all(is)
}

/// One row per run: the key is `run_id text` and nothing else.
fn keyed_by_run(columns: &[Column]) -> bool {
    keyed_by(columns, &[("run_id", "partition_key")])
}

/// `None` for a table that is neither of the two.
pub(super) fn context_layout(columns: &[Column]) -> Option<ContextLayout> {
    let has = |name: &str| columns.iter().any(|column| column.name == name && column.kind == "regular" && column.cql_type == "text");
    if keyed_by_run(columns) && has("context_data") {
        return Some(if has("checkpoint") { ContextLayout::DocumentAndCheckpoint } else { ContextLayout::Document });
    }
    (keyed_by(columns, &[("run_id", "partition_key"), ("key", "clustering")]) && has("value")).then_some(ContextLayout::Entries)
}

/// Whether all these columns are there, with these types.
pub(super) fn has_all(columns: &[Column], wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, cql_type)| columns.iter().any(|column| column.name == *name && column.cql_type == *cql_type))
}

/// `None` when the table is keyed otherwise, or a column has another type than ours.
pub(super) fn status_columns(columns: &[Column]) -> Option<StatusColumns> {
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
        .map(|(_, name, kind, loss)| format!("table \"{table}\" has no column \"{name}\": {loss}. Add it with: {}", statements::add_column(table, name, kind)))
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

    #[test]
    fn status_rows_must_outlive_the_retention() {
        let table = TableName::new("ks", "statuses", "x").unwrap();
        let all = StatusColumns { status: true, status_data: false, updated_at: true };
        let check = |columns, life, default_life| check_sweep(&table, &Inspection { columns, life, default_life, warnings: Vec::new() }, 60);
        for (life, default_life) in [(None, None), (Some(61), None), (None, Some(61)), (Some(61), Some(1))] {
            assert!(check(all, life, default_life).is_ok(), "{life:?} {default_life:?}");
        }
        let refusal = |life, default_life| check(all, life, default_life).unwrap_err().to_string();
        assert!(refusal(Some(60), None).starts_with("options.retentionSeconds: status rows expire after 60 s in table \"ks.statuses\""));
        assert!(refusal(Some(60), None).ends_with("Call ensureSchema with ttlSeconds 0, or more than 60"));
        assert!(refusal(None, Some(60)).ends_with("Set its default_time_to_live to 0, or to more than 60"));
        for (columns, statement) in [
            (StatusColumns { status: false, ..all }, "ALTER TABLE ks.statuses ADD status text"),
            (StatusColumns { updated_at: false, ..all }, "ALTER TABLE ks.statuses ADD updated_at timestamp"),
        ] {
            assert!(check(columns, None, None).unwrap_err().to_string().ends_with(statement));
        }
    }

    #[test]
    fn a_life_is_kept_in_the_comment_beside_the_words_of_others() {
        let set = comment_with_life("runs of team A", 60);
        assert_eq!((set.as_str(), life_in(&set)), ("runs of team A flowcraft.ttlSeconds=60", Some(60)));
        let changed = comment_with_life(&set, 7);
        assert_eq!((changed.as_str(), life_in(&changed)), ("runs of team A flowcraft.ttlSeconds=7", Some(7)));
        assert_eq!(comment_with_life(&changed, 0), "runs of team A");
        for none in ["", "flowcraft.ttlSeconds=", "flowcraft.ttlSeconds=0", "flowcraft.ttlSeconds=99999999999"] {
            assert_eq!(life_in(none), None, "{none}");
        }
    }
}
