//! Context and status stores on a real Cassandra: the suites, and what only Cassandra has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flowcraft_kafka_adapter::backends::cassandra::{CassandraSettings, CassandraStores, StandaloneTables, connect_leases, connect_timers};
use flowcraft_kafka_adapter::backends::schema_plan::SchemaPlan;
use flowcraft_kafka_adapter::backends::tables::Tables;
use flowcraft_kafka_adapter::kernel::document::Document;
use flowcraft_kafka_adapter::kernel::error::{Code, FlowError};
use flowcraft_kafka_adapter::ports::{ContextStore, ContextWrite, LeaseStore, StatusRecord, StatusStore, StoredContext, TimerStore};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlTimestamp;

use super::context_store::context_store_suite;
use super::lease_store::lease_store_suite;
use super::services::{address, unique};
use super::status_store::{Row, Statuses, status_store_suite};
use super::timer_store::timer_store_suite;

const PATIENCE: Duration = Duration::from_secs(20);
const CONTEXTS: &str = "contexts (run_id text PRIMARY KEY, context_data text)";
const BESIDE: &str = "contexts (run_id text PRIMARY KEY, context_data text, checkpoint text)";
const ENTRIES: &str = "contexts (run_id text, key text, value text, PRIMARY KEY (run_id, key))";
const TIMERS: &str = "statuses_due (topic text, shard int, bucket bigint, due_at timestamp, run_id text, node_id text, visit int, PRIMARY KEY ((topic, shard, bucket), due_at, run_id, node_id))";
const LEASES: &str = "statuses_leases (topic text, partition int, epoch bigint, holder text, valid_until timestamp, PRIMARY KEY ((topic, partition)))";
const STATUSES: &str = "statuses (run_id text PRIMARY KEY, status text, status_data text, updated_at timestamp)";

/// A keyspace of its own.
struct Keyspace {
    settings: CassandraSettings,
    name: String,
    session: Session,
}

impl Keyspace {
    async fn with(tables: &[&str]) -> Option<Self> {
        let points: Vec<String> = address("CASSANDRA_CONTACT_POINTS")?.split(',').map(str::to_owned).collect();
        let session = SessionBuilder::new().known_nodes(&points).build().await.unwrap();
        let name = unique("ks");
        session.query_unpaged(format!("CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"), ()).await.unwrap();
        for table in tables {
            session.query_unpaged(format!("CREATE TABLE {name}.{table}"), ()).await.unwrap();
        }
        let settings = CassandraSettings { local_data_center: std::env::var("CASSANDRA_DATACENTER").ok(), ..CassandraSettings::plain(points) };
        Some(Self { settings, name, session })
    }

    async fn full() -> Option<Self> {
        Self::with(&[CONTEXTS, STATUSES]).await
    }

    async fn stores(&self) -> Result<CassandraStores, FlowError> {
        CassandraStores::connect(&self.settings, &self.name, "contexts", "statuses", PATIENCE).await
    }

    async fn tables(&self) -> StandaloneTables {
        StandaloneTables::connect(&self.settings, PATIENCE).await.unwrap()
    }
}

async fn contexts(table: &str) -> Option<Arc<dyn ContextStore>> {
    Some(Keyspace::with(&[table, STATUSES]).await?.stores().await.unwrap().context)
}

mod document {
    use super::*;
    context_store_suite!(contexts(CONTEXTS));
}

mod document_and_checkpoint {
    use super::*;
    context_store_suite!(contexts(BESIDE));
}

mod entries {
    use super::*;
    context_store_suite!(contexts(ENTRIES));
}

async fn timers() -> Option<Arc<dyn TimerStore>> {
    let keyspace = Keyspace::with(&[CONTEXTS, STATUSES, TIMERS]).await?;
    Some(connect_timers(&keyspace.settings, &keyspace.name, "statuses", "jobs", PATIENCE).await.unwrap().unwrap())
}

timer_store_suite!(timers());

async fn leases() -> Option<Arc<dyn LeaseStore>> {
    let keyspace = Keyspace::with(&[CONTEXTS, STATUSES, LEASES]).await?;
    Some(connect_leases(&keyspace.settings, &keyspace.name, "statuses", "jobs", PATIENCE).await.unwrap().unwrap())
}

lease_store_suite!(leases());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_their_table_the_statement_that_makes_it_is_named() {
    let Some(keyspace) = Keyspace::with(&[CONTEXTS, STATUSES]).await else { return };
    let missing = connect_timers(&keyspace.settings, &keyspace.name, "statuses", "jobs", PATIENCE).await.unwrap().err().unwrap();
    let (_, statement) = missing.split_once("Create it with: ").unwrap();
    keyspace.session.query_unpaged(statement, ()).await.unwrap();
    assert!(connect_timers(&keyspace.settings, &keyspace.name, "statuses", "jobs", PATIENCE).await.unwrap().is_ok());
}

struct Published {
    keyspace: Keyspace,
    stores: CassandraStores,
}

#[async_trait]
impl Statuses for Published {
    fn store(&self) -> Arc<dyn StatusStore> {
        Arc::clone(&self.stores.status)
    }

    async fn row(&self, run: &str) -> Option<Row> {
        let text = format!("SELECT status, status_data, updated_at FROM {}.statuses WHERE run_id = ?", self.keyspace.name);
        let rows = self.keyspace.session.query_unpaged(text, (run,)).await.unwrap().into_rows_result().unwrap();
        let row = rows.maybe_first_row::<(Option<String>, Option<String>, Option<CqlTimestamp>)>().unwrap();
        row.map(|(status, status_data, updated_at)| Row { status, status_data, updated_at_ms: updated_at.map(|time| time.0) })
    }
}

async fn statuses() -> Option<Arc<dyn Statuses>> {
    let keyspace = Keyspace::full().await?;
    let stores = keyspace.stores().await.unwrap();
    Some(Arc::new(Published { keyspace, stores }))
}

status_store_suite!(statuses());

fn step(run: &str, document: String, timestamp_micros: i64) -> ContextWrite {
    ContextWrite { run: run.into(), document: Some(document), changes: Vec::new(), checkpoint: "{}".into(), timestamp_micros, timers: Vec::new() }
}

#[tokio::test]
async fn tables_of_the_readme_and_of_the_guide_work_with_one_warning_each() {
    for (table, warning, columns) in [
        ("statuses (run_id text PRIMARY KEY, status_data text, updated_at timestamp)", "ADD status text", "status_data, updated_at"),
        ("statuses (run_id text PRIMARY KEY, status text, updated_at timestamp)", "ADD status_data text", "status, updated_at"),
    ] {
        let Some(keyspace) = Keyspace::with(&[CONTEXTS, table]).await else { return };
        let stores = keyspace.stores().await.unwrap();
        assert_eq!(stores.warnings.len(), 1, "{:?}", stores.warnings);
        let statement = stores.warnings[0].split("Add it with: ").nth(1).unwrap();
        assert!(statement.starts_with(&format!("ALTER TABLE {}.statuses", keyspace.name)) && statement.ends_with(warning), "{statement}");
        stores.status.touch("r", 1_000).await.unwrap();
        stores
            .status
            .publish(&StatusRecord { run: "r".into(), status: "completed".into(), status_data: "{}".into(), timestamp_micros: 2_000_000 })
            .await
            .unwrap();
        let found = keyspace.session.query_unpaged(format!("SELECT {columns} FROM {}.statuses", keyspace.name), ()).await.unwrap();
        assert_eq!(found.into_rows_result().unwrap().rows_num(), 1);
        keyspace.session.query_unpaged(statement, ()).await.unwrap();
        assert_eq!(keyspace.stores().await.unwrap().warnings, Vec::<String>::new());
    }
}

#[tokio::test]
async fn each_schema_error_carries_the_statement_that_mends_it() {
    let Some(keyspace) = Keyspace::with(&[]).await else { return };
    for code in [Code::SchemaMissing, Code::SchemaMissing] {
        let error = keyspace.stores().await.err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        let (FlowError::SchemaMissing { statement, .. } | FlowError::SchemaUnknown { statement, .. }) = error else { panic!("{error}") };
        keyspace.session.query_unpaged(statement, ()).await.unwrap();
    }
    assert!(keyspace.stores().await.is_ok());

    let missing = CassandraStores::connect(&keyspace.settings, "no_such_ks", "contexts", "statuses", PATIENCE).await.err().unwrap();
    assert!(matches!(&missing, FlowError::SchemaMissing { statement, .. } if statement.starts_with("CREATE KEYSPACE no_such_ks")), "{missing}");
}

#[tokio::test]
async fn tables_of_another_shape_are_refused() {
    for (contexts, statuses) in [
        ("contexts (run_id text, key text, value blob, PRIMARY KEY (run_id, key))", STATUSES),
        ("contexts (run_id text, key text, part int, value text, PRIMARY KEY (run_id, key, part))", STATUSES),
        ("contexts (run_id text, key text, value text, PRIMARY KEY ((run_id, key)))", STATUSES),
        ("contexts (run_id uuid PRIMARY KEY, context_data text)", STATUSES),
        (CONTEXTS, "statuses (run_id text PRIMARY KEY, status int)"),
        (CONTEXTS, "statuses (id text PRIMARY KEY, status text)"),
    ] {
        let Some(keyspace) = Keyspace::with(&[contexts, statuses]).await else { return };
        let error = keyspace.stores().await.err().unwrap();
        assert_eq!(error.code(), Code::SchemaUnknown, "{error}");
    }
}

#[tokio::test]
async fn a_table_of_unknown_layout_is_refused_with_both_that_would_work() {
    let Some(keyspace) = Keyspace::with(&["contexts (id text PRIMARY KEY)", STATUSES]).await else { return };
    let Err(FlowError::SchemaUnknown { statement, .. }) = keyspace.stores().await else { panic!("not refused") };
    let statements: Vec<&str> = statement.split(", or ").collect();
    assert_eq!(statements.len(), 2, "{statement}");
    for statement in statements {
        keyspace.session.query_unpaged(format!("DROP TABLE {}.contexts", keyspace.name), ()).await.unwrap();
        keyspace.session.query_unpaged(statement, ()).await.unwrap();
        assert!(keyspace.stores().await.is_ok(), "{statement}");
    }
}

#[tokio::test]
async fn a_checkpoint_moves_from_the_text_to_its_column() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let began = std::time::Instant::now();
    let old = keyspace.stores().await.unwrap().context;
    old.write(&step("r", r#"{"a":1,"_flowcraft":{"v":1}}"#.into(), 1_000)).await.unwrap();
    keyspace.session.query_unpaged(format!("ALTER TABLE {}.contexts ADD checkpoint text", keyspace.name), ()).await.unwrap();
    let new = keyspace.stores().await.unwrap().context;
    assert_eq!(new.load("r").await.unwrap().unwrap().read().unwrap().checkpoint.as_deref(), Some("{\"v\":1}"));

    let document = new.layout().text(&Document::parse(r#"{"a":2}"#).unwrap().document, "{\"v\":2}");
    let write = ContextWrite { run: "r".into(), document, changes: Vec::new(), checkpoint: "{\"v\":2}".into(), timestamp_micros: 2_000, timers: Vec::new() };
    new.write(&write).await.unwrap();
    let query = format!("SELECT context_data, checkpoint FROM {}.contexts", keyspace.name);
    let rows = keyspace.session.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    assert_eq!(rows.single_row::<(String, String)>().unwrap(), (r#"{"a":2}"#.into(), r#"{"v":2}"#.into()));

    // A worker that started before the column was there finds the checkpoint all the same, and keeps both in step.
    let found = loop {
        let found = old.load("r").await.unwrap().unwrap();
        if found.clone().read().unwrap().checkpoint.is_some() {
            break found;
        }
        assert!(began.elapsed() < PATIENCE, "it never looks again");
    };
    assert_eq!(found.clone().read().unwrap().checkpoint.as_deref(), Some("{\"v\":2}"));
    let text = old.layout().text(&found.read().unwrap().document, "{\"v\":3}");
    old.write(&ContextWrite { document: text, checkpoint: "{\"v\":3}".into(), timestamp_micros: 3_000, ..write }).await.unwrap();
    assert_eq!(new.load("r").await.unwrap().unwrap().read().unwrap().checkpoint.as_deref(), Some("{\"v\":3}"));
}

#[tokio::test]
async fn a_client_keeps_the_checkpoint_wherever_it_stands() {
    let Some(keyspace) = Keyspace::with(&[BESIDE, STATUSES]).await else { return };
    let (stores, tables) = (keyspace.stores().await.unwrap(), keyspace.tables().await);
    let table = format!("{}.contexts", keyspace.name);
    let checkpoint_of = async |run: &str| stores.context.load(run).await.unwrap().unwrap().read().unwrap().checkpoint;
    // In the text only, as a worker of before left it.
    stores.context.write(&step("r", "{\"a\":1}".into(), 1_000)).await.unwrap();
    keyspace.session.query_unpaged(format!("DELETE checkpoint FROM {table} WHERE run_id = 'r'"), ()).await.unwrap();
    keyspace.session.query_unpaged(format!("UPDATE {table} SET context_data = '{{\"a\":1,\"_flowcraft\":{{\"v\":1}}}}' WHERE run_id = 'r'"), ()).await.unwrap();
    let text = tables.read_context(&table, "r").await.unwrap().unwrap();
    tables.write_context(&table, "r", &text.replace("\"a\":1", "\"a\":2"), true).await.unwrap();
    assert_eq!(checkpoint_of("r").await.as_deref(), Some("{\"v\":1}"));
    // In the column: what the engine writes through a client's object goes there, what a client puts back does not.
    tables.write_context(&table, "r", r#"{"a":3,"_flowcraft":{"v":2}}"#, false).await.unwrap();
    tables.write_context(&table, "r", r#"{"a":4,"_flowcraft":{"v":1}}"#, true).await.unwrap();
    assert_eq!(checkpoint_of("r").await.as_deref(), Some("{\"v\":2}"));
    assert_eq!(tables.read_context(&table, "r").await.unwrap().as_deref(), Some(r#"{"a":4,"_flowcraft":{"v":2}}"#));
}

#[tokio::test]
async fn many_pages_of_keys_are_one_run() {
    let Some(keyspace) = Keyspace::with(&[ENTRIES, STATUSES]).await else { return };
    let (store, tables) = (keyspace.stores().await.unwrap().context, keyspace.tables().await);
    let table = format!("{}.contexts", keyspace.name);
    let changes: Vec<_> = (0..2_500).map(|number| (format!("k{number:04}"), Some(number.to_string()))).collect();
    let write = ContextWrite { run: "r".into(), document: None, changes, checkpoint: "{\"v\":1}".into(), timestamp_micros: 7, timers: Vec::new() };
    store.write(&write).await.unwrap();
    let found = store.load("r").await.unwrap().unwrap();
    assert_eq!(found.write_micros, Some(7));
    assert_eq!(found.read().unwrap().document.entries().count(), 2_500);
    let named = Some((0..250).map(|number| format!("k{:04}", number * 11)).collect());
    let picked = tables.read_keys(&table, "r", named).await.unwrap();
    assert_eq!(picked.len(), 228, "those that are not there are left out");
    assert!(picked.contains(&("k2497".into(), "2497".into())));
}

#[tokio::test]
async fn a_key_is_written_over_what_stands_there_whatever_the_clocks() {
    let Some(keyspace) = Keyspace::with(&[ENTRIES, STATUSES]).await else { return };
    let (store, tables) = (keyspace.stores().await.unwrap().context, keyspace.tables().await);
    let table = format!("{}.contexts", keyspace.name);
    let ahead = 1_000_000 * (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64 + 365 * 86_400);
    let changes = vec![("a".into(), Some("1".into())), ("b".into(), Some("1".into()))];
    store
        .write(&ContextWrite { run: "r".into(), document: None, changes, checkpoint: "{}".into(), timestamp_micros: ahead, timers: Vec::new() })
        .await
        .unwrap();
    tables.write_keys(&table, "r", vec![("a".into(), Some("2".into()))]).await.unwrap();
    tables.write_keys(&table, "r", vec![("b".into(), None)]).await.unwrap();
    let found = tables.read_keys(&table, "r", None).await.unwrap();
    assert_eq!(found, [("_flowcraft".into(), "{}".into()), ("a".into(), "2".into())]);
    assert!(!tables.has_entries(&format!("{}.missing", keyspace.name)).await.err().unwrap().retryable());
}

fn plan(keyspace: &str, more: serde_json::Value) -> SchemaPlan {
    let mut plan = serde_json::json!({ "keyspace": keyspace, "contextTable": "contexts", "statusTable": "statuses" });
    plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(plan).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_at_once_make_one_schema_and_nobody_needs_a_statement_after_it() {
    let Some(own) = Keyspace::with(&[]).await else { return };
    for layout in ["document", "entries"] {
        let name = unique("made");
        let wanted = plan(&name, serde_json::json!({ "layout": layout, "replication": { "class": "SimpleStrategy", "replication_factor": 1 } }));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (settings, wanted) = (own.settings.clone(), wanted.clone());
                tokio::spawn(async move { StandaloneTables::connect(&settings, PATIENCE).await.unwrap().ensure_schema(&wanted).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(serde_json::to_value(task.await.unwrap().unwrap()).unwrap()["layout"], layout);
        }
        assert!(own.tables().await.ensure_schema(&wanted).await.unwrap().statements.is_empty());
        let stores = CassandraStores::connect(&own.settings, &name, "contexts", "statuses", PATIENCE).await.unwrap();
        assert_eq!(stores.warnings, Vec::<String>::new());
        for table in ["statuses_due", "statuses_leases"] {
            own.session.query_unpaged(format!("SELECT * FROM {name}.{table}"), ()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn documented_tables_are_upgraded_and_keep_their_rows() {
    for (statuses, added) in [("statuses (run_id text PRIMARY KEY, status_data text, updated_at timestamp)", "status"), (STATUSES, "")] {
        let Some(keyspace) = Keyspace::with(&[CONTEXTS, statuses]).await else { return };
        let before = keyspace.stores().await.unwrap().context;
        before.write(&step("r", r#"{"a":1,"_flowcraft":{"v":1}}"#.into(), 1_000)).await.unwrap();
        let made = keyspace.tables().await.ensure_schema(&plan(&keyspace.name, serde_json::json!({}))).await.unwrap();
        assert!(made.statements[0].ends_with("ADD checkpoint text"), "{:?}", made.statements);
        assert_eq!(made.statements.len(), if added.is_empty() { 4 } else { 5 }, "{:?}", made.statements);
        let stores = keyspace.stores().await.unwrap();
        assert_eq!(stores.warnings, Vec::<String>::new());
        assert_eq!(stores.context.load("r").await.unwrap().unwrap().read().unwrap().checkpoint.as_deref(), Some("{\"v\":1}"));
    }
}

#[tokio::test]
async fn a_table_keeps_its_layout_and_one_of_another_shape_is_left_alone() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let error = keyspace.tables().await.ensure_schema(&plan(&keyspace.name, serde_json::json!({ "layout": "entries" }))).await.err().unwrap();
    assert!(error.to_string().starts_with("options.layout:"), "{error}");
    for bad in ["contexts (id text PRIMARY KEY)", "statuses (run_id text PRIMARY KEY, status int)", "statuses_due (id text PRIMARY KEY)"] {
        let Some(keyspace) = Keyspace::with(&[bad]).await else { return };
        let error = keyspace.tables().await.ensure_schema(&plan(&keyspace.name, serde_json::json!({}))).await.err().unwrap();
        assert_eq!(error.code(), Code::SchemaUnknown, "{bad}: {error}");
    }
}

#[tokio::test]
async fn rows_of_ended_runs_expire_and_others_do_not() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let comment = format!("ALTER TABLE {}.statuses WITH comment = 'of team A'", keyspace.name);
    keyspace.session.query_unpaged(comment, ()).await.unwrap();
    for (seconds, life) in [(0, None), (1_000, Some(1_000)), (0, None)] {
        keyspace.tables().await.ensure_schema(&plan(&keyspace.name, serde_json::json!({ "ttlSeconds": seconds }))).await.unwrap();
        let statuses = keyspace.stores().await.unwrap().status;
        let again = keyspace.tables().await.ensure_schema(&plan(&keyspace.name, serde_json::json!({}))).await.unwrap();
        assert!(again.statements.is_empty(), "{:?}", again.statements);
        let now = 1_000 * i64::from(seconds + 1);
        for (run, status) in [("ended", "completed"), ("waits", "awaiting")] {
            statuses.touch(run, now).await.unwrap();
            let record = StatusRecord { run: run.into(), status: status.into(), status_data: "{}".into(), timestamp_micros: now + 1 };
            statuses.publish(&record).await.unwrap();
        }
        if seconds > 0 {
            assert_eq!(ttl(&keyspace, "waits").await, None);
            assert!(ttl(&keyspace, "ended").await.is_some_and(|left| left > 900 && Some(left) <= life));
        }
    }
}

async fn ttl(keyspace: &Keyspace, run: &str) -> Option<i32> {
    let text = format!("SELECT TTL(status_data) FROM {}.statuses WHERE run_id = ?", keyspace.name);
    let rows = keyspace.session.query_unpaged(text, (run,)).await.unwrap().into_rows_result().unwrap();
    rows.single_row::<(Option<i32>,)>().unwrap().0
}

#[tokio::test]
async fn names_are_folded_as_the_server_does() {
    let Some(keyspace) = Keyspace::with(&["MyContexts (run_id text PRIMARY KEY, context_data text)", STATUSES]).await else { return };
    CassandraStores::connect(&keyspace.settings, &keyspace.name.to_uppercase(), "MyContexts", "STATUSES", PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_null_cell_and_the_driver_default_timestamp_are_told_as_they_are() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let stores = keyspace.stores().await.unwrap();
    keyspace.session.query_unpaged(format!("INSERT INTO {}.contexts (run_id, context_data) VALUES ('r', null)", keyspace.name), ()).await.unwrap();
    let found = stores.context.load("r").await.unwrap().unwrap();
    assert_eq!(found, StoredContext::document(None, None));
    keyspace.session.query_unpaged(format!("INSERT INTO {}.contexts (run_id, context_data) VALUES ('r', '')", keyspace.name), ()).await.unwrap();
    let found = stores.context.load("r").await.unwrap().unwrap();
    assert_eq!(found.state, StoredContext::document(Some(String::new()), None).state);
    assert!(found.write_micros.unwrap() > 1_700_000_000_000_000);
}

#[tokio::test]
async fn a_document_above_the_servers_limit_is_refused_for_good() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let stores = keyspace.stores().await.unwrap();
    let error = stores.context.write(&step("r", "x".repeat(17 << 20), 1)).await.err().unwrap();
    assert!(!error.retryable(), "{error}");
    assert!(error.to_string().len() < 1_000, "the document is not to be quoted");
    stores.context.write(&step("r", "{}".into(), 2)).await.unwrap();
}

#[tokio::test]
async fn a_standalone_write_wins_over_what_was_read() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let (stores, tables) = (keyspace.stores().await.unwrap(), keyspace.tables().await);
    let table = format!("{}.contexts", keyspace.name);
    assert_eq!(tables.read_context(&table, "r").await.unwrap(), None);
    // A worker whose clock is a year ahead.
    let ahead = 1_000_000 * (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64 + 365 * 86_400);
    stores.context.write(&step("r", "{\"a\":1}".into(), ahead)).await.unwrap();
    assert_eq!(tables.read_context(&table, "r").await.unwrap().as_deref(), Some("{\"a\":1}"));
    for text in ["{\"a\":2}", "{\"a\":3}"] {
        tables.write_context(&table, "r", text, true).await.unwrap();
        assert_eq!(tables.read_context(&table, "r").await.unwrap().as_deref(), Some(text));
    }
    assert!(tables.read_context("no_dot", "r").await.is_err());
    assert!(!tables.read_context(&format!("{}.missing", keyspace.name), "r").await.err().unwrap().retryable());
}

#[tokio::test]
async fn stalled_runs_come_page_by_page() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let tables = keyspace.tables().await;
    let (table, insert) = (format!("{}.statuses", keyspace.name), keyspace.stores().await.unwrap().status);
    for number in 0..1_100 {
        insert.touch(&format!("r{number}"), 1_000_000).await.unwrap();
    }
    tables.touch_status(&table, "fresh").await.unwrap();
    tables.publish_status(&table, "r0", "completed", "{}").await.unwrap();
    let seen = tables.read_status(&table, "r0").await.unwrap().unwrap();
    assert_eq!((seen.status.as_deref(), seen.status_data.as_deref()), (Some("completed"), Some("{}")));
    assert_eq!(tables.read_status(&table, "nobody").await.unwrap(), None);
    let (mut runs, mut page, mut pages) = (Vec::new(), None, 0);
    loop {
        let found = tables.stalled_page(&table, "running", 2_000, page.as_deref()).await.unwrap();
        runs.extend(found.runs);
        pages += 1;
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len(), 1_099);
    assert!(pages > 2 && !runs.contains(&"fresh".to_owned()));
}

#[tokio::test]
async fn nobody_there_is_told_within_the_patience() {
    let settings = CassandraSettings::plain(vec!["127.0.0.1:1".into()]);
    let began = std::time::Instant::now();
    let error = CassandraStores::connect(&settings, "ks", "a", "b", Duration::from_millis(800)).await.err().unwrap();
    assert!(matches!(&error, FlowError::Unreachable { address, cause, .. } if address == "127.0.0.1:1" && cause.to_lowercase().contains("refused")), "{error}");
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_wrong_data_centre_is_named_with_the_right_ones() {
    let Some(keyspace) = Keyspace::full().await else { return };
    let settings = CassandraSettings { local_data_center: Some("dc_typo".into()), ..keyspace.settings.clone() };
    let error = CassandraStores::connect(&settings, &keyspace.name, "contexts", "statuses", PATIENCE).await.err().unwrap();
    assert!(error.to_string().contains("options.cassandraClient.localDataCenter") && error.to_string().contains("datacenter1"), "{error}");
}
