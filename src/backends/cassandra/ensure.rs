//! `ensureSchema`: looks what is missing and runs one statement after the other, until nothing is.
//!
//! Safe to be called by several at once: a statement that fails because somebody else was quicker is not needed any
//! more at the next look.

use super::schema::{self, EXAMPLE_REPLICATION, LEASE_COLUMNS, RUNNING_COLUMNS, TableName};
use super::session::SharedSession;
use super::{errors, statements};
use crate::backends::schema_plan::{Ensured, Layout, Replication, SchemaPlan};
use crate::kernel::error::{FlowError, Retry};

/// Replicas of a new keyspace where the data centre has so many nodes: one may be lost without loss of a step.
const REPLICAS: usize = 3;
const DUE_COLUMNS: [(&str, &str); 7] =
    [("topic", "text"), ("shard", "int"), ("bucket", "bigint"), ("due_at", "timestamp"), ("run_id", "text"), ("node_id", "text"), ("visit", "int")];

struct Names {
    contexts: TableName,
    statuses: TableName,
    due: TableName,
    leases: TableName,
    running: TableName,
}

impl Names {
    fn new(plan: &SchemaPlan) -> Result<Self, FlowError> {
        let statuses = TableName::new(&plan.keyspace, &plan.status_table, "statusTableName")?;
        Ok(Self {
            contexts: TableName::new(&plan.keyspace, &plan.context_table, "contextTableName")?,
            due: statuses.beside("_due", "statusTableName")?,
            leases: statuses.beside("_leases", "statusTableName")?,
            running: statuses.beside("_running", "statusTableName")?,
            statuses,
        })
    }
}

/// The statements that create everything, for people who run them by themselves.
///
/// # Errors
/// `Option` for a name that is no plain identifier.
pub fn schema_statements(plan: &SchemaPlan) -> Result<Vec<String>, FlowError> {
    let names = Names::new(plan)?;
    let replication = plan.replication.as_ref().map_or_else(|| EXAMPLE_REPLICATION.to_owned(), |wanted| replication_text(wanted, None));
    let layout = plan.layout.unwrap_or(Layout::Document).of_new_table();
    let mut all = vec![
        statements::create_keyspace(&plan.keyspace, &replication),
        statements::create_contexts(&names.contexts, layout),
        statements::create_statuses(&names.statuses),
    ];
    let life = plan.ttl_seconds.filter(|seconds| *seconds > 0);
    all.extend(life.map(|seconds| statements::set_comment(&names.statuses, &schema::comment_with_life("", seconds))));
    all.extend([statements::create_due(&names.due), statements::create_leases(&names.leases), statements::create_running(&names.running)]);
    Ok(all)
}

/// Creates and alters until everything is as planned.
///
/// # Errors
/// `Option` for bad names, and for a layout that an existing table does not have; `SchemaUnknown` for a table that
/// cannot become one of ours; `Store` when a statement failed and is still needed.
pub(super) async fn ensure(session: &SharedSession, plan: &SchemaPlan) -> Result<Ensured, FlowError> {
    let names = Names::new(plan)?;
    let mut executed = Vec::new();
    let mut failed: Option<(String, FlowError)> = None;
    loop {
        agree(session).await?;
        let statement = match needed(session, plan, &names).await? {
            Need::Nothing(layout) => return Ok(Ensured { layout, statements: executed }),
            Need::Statement(statement) => statement,
        };
        if let Some((before, error)) = failed
            && before == statement
        {
            return Err(error);
        }
        failed = Some(match session.driver.query_unpaged(statement.as_str(), ()).await {
            Ok(_) => {
                executed.push(statement.clone());
                let error = errors::failed(format!("running \"{statement}\""), "it was accepted, and is still needed".into(), Retry::Later);
                (statement, error)
            }
            Err(error) => {
                let error = errors::store(format!("running \"{statement}\""), &error);
                (statement, error)
            }
        });
    }
}

/// Until all nodes know the same tables, one of them may still answer of before.
async fn agree(session: &SharedSession) -> Result<(), FlowError> {
    let answer = session.driver.await_schema_agreement().await;
    answer.map(drop).map_err(|error| errors::failed("waiting until all nodes know the same tables", error.to_string(), Retry::Later))
}

enum Need {
    Nothing(Layout),
    Statement(String),
}

/// The first statement that is needed.
async fn needed(session: &SharedSession, plan: &SchemaPlan, names: &Names) -> Result<Need, FlowError> {
    if !schema::has_keyspace(session, &plan.keyspace).await? {
        return Ok(Need::Statement(statements::create_keyspace(&plan.keyspace, &replication(session, plan))));
    }
    let layout = match contexts(session, plan, names).await? {
        Need::Nothing(layout) => layout,
        statement => return Ok(statement),
    };
    if let Some(statement) = statuses(session, plan, names).await? {
        return Ok(Need::Statement(statement));
    }
    for (table, columns, create) in [
        (&names.due, &DUE_COLUMNS[..], statements::create_due(&names.due)),
        (&names.leases, &LEASE_COLUMNS[..], statements::create_leases(&names.leases)),
        (&names.running, &RUNNING_COLUMNS[..], statements::create_running(&names.running)),
    ] {
        let found = schema::columns(session, table).await?;
        if found.is_empty() {
            return Ok(Need::Statement(create));
        }
        if !schema::has_all(&found, columns) {
            return Err(schema::unknown(table, create));
        }
    }
    Ok(Need::Nothing(layout))
}

async fn contexts(session: &SharedSession, plan: &SchemaPlan, names: &Names) -> Result<Need, FlowError> {
    let table = &names.contexts;
    let columns = schema::columns(session, table).await?;
    if columns.is_empty() {
        let layout = plan.layout.unwrap_or(Layout::Document).of_new_table();
        return Ok(Need::Statement(statements::create_contexts(table, layout)));
    }
    let found = schema::context_layout(&columns).ok_or_else(|| schema::unknown_contexts(table))?;
    let layout = Layout::of(found);
    if plan.layout.is_some_and(|wanted| wanted != layout) {
        return Err(FlowError::Option {
            path: "options.layout".into(),
            problem: format!("table \"{table}\" has another layout, which cannot be changed"),
            fix: "Leave the option out to keep the table, or name another contextTableName for new runs".into(),
        });
    }
    let lacks_column = layout.of_new_table() != found;
    Ok(if lacks_column { Need::Statement(statements::add_column(table, "checkpoint", "text")) } else { Need::Nothing(layout) })
}

async fn statuses(session: &SharedSession, plan: &SchemaPlan, names: &Names) -> Result<Option<String>, FlowError> {
    let table = &names.statuses;
    let create = statements::create_statuses(table);
    let columns = schema::columns(session, table).await?;
    if columns.is_empty() {
        return Ok(Some(create));
    }
    let found = schema::status_columns(&columns).ok_or_else(|| schema::unknown(table, create))?;
    let wanted = [(found.status, "status", "text"), (found.status_data, "status_data", "text"), (found.updated_at, "updated_at", "timestamp")];
    if let Some((_, column, kind)) = wanted.into_iter().find(|(present, ..)| !present) {
        return Ok(Some(statements::add_column(table, column, kind)));
    }
    let Some(seconds) = plan.ttl_seconds else { return Ok(None) };
    let (comment, _) = schema::settings(session, table).await?;
    let as_wanted = schema::life_in(&comment).unwrap_or(0) == seconds;
    Ok((!as_wanted).then(|| statements::set_comment(table, &schema::comment_with_life(&comment, seconds))))
}

/// Of a keyspace that has to be created. Asked for or not, it names the data centre, as servers before 4.0 want it.
fn replication(session: &SharedSession, plan: &SchemaPlan) -> String {
    let state = session.driver.get_cluster_state();
    let mut nodes: Vec<&str> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    nodes.sort_unstable();
    let local = session.data_centre.as_deref().or(nodes.first().copied());
    let count = nodes.iter().filter(|name| Some(**name) == local).count();
    let usual = || Replication::Factor(u32::try_from(count.clamp(1, REPLICAS)).unwrap_or(1));
    replication_text(&plan.replication.clone().unwrap_or_else(usual), local)
}

fn replication_text(wanted: &Replication, data_centre: Option<&str>) -> String {
    let class = || ("class".to_owned(), quoted("NetworkTopologyStrategy"));
    let options: Vec<(String, String)> = match wanted {
        Replication::Factor(count) => vec![class(), (data_centre.unwrap_or("replication_factor").to_owned(), count.to_string())],
        Replication::Options(options) => {
            let given = options.iter().map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), quoted)));
            let implied = (!options.contains_key("class")).then(class);
            implied.into_iter().chain(given).collect()
        }
    };
    let options: Vec<String> = options.into_iter().map(|(name, value)| format!("{}: {value}", quoted(&name))).collect();
    format!("{{{}}}", options.join(", "))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(more: serde_json::Value) -> SchemaPlan {
        let mut plan = serde_json::json!({ "keyspace": "ks", "contextTable": "contexts", "statusTable": "statuses" });
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(plan).unwrap()
    }

    #[test]
    fn replication_is_written_in_every_way() {
        for (given, text) in [
            (serde_json::json!(2), "{'class': 'NetworkTopologyStrategy', 'replication_factor': 2}"),
            (serde_json::json!({ "eu": 3, "us": 2 }), "{'class': 'NetworkTopologyStrategy', 'eu': 3, 'us': 2}"),
            (serde_json::json!({ "class": "SimpleStrategy", "replication_factor": 1 }), "{'class': 'SimpleStrategy', 'replication_factor': 1}"),
            (serde_json::json!({ "it's": "3" }), "{'class': 'NetworkTopologyStrategy', 'it''s': '3'}"),
        ] {
            let all = schema_statements(&plan(serde_json::json!({ "replication": given }))).unwrap();
            assert_eq!(all[0], format!("CREATE KEYSPACE IF NOT EXISTS ks WITH replication = {text}"));
        }
        assert_eq!(replication_text(&Replication::Factor(1), Some("dc1")), "{'class': 'NetworkTopologyStrategy', 'dc1': 1}");
    }

    #[test]
    fn a_status_table_whose_name_leaves_no_room_is_refused_by_its_option() {
        let error = schema_statements(&plan(serde_json::json!({ "statusTable": "x".repeat(42) }))).unwrap_err();
        assert!(error.to_string().starts_with("options.statusTableName:"), "{error}");
    }
}
