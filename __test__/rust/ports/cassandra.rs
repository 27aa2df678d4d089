//! Context and status stores on a real Cassandra: the suites, and what only Cassandra has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flowcraft_kafka_adapter::backends::cassandra::{CassandraSettings, CassandraStores, StandaloneTables};
use flowcraft_kafka_adapter::backends::tables::Tables;
use flowcraft_kafka_adapter::kernel::error::{Code, FlowError};
use flowcraft_kafka_adapter::ports::{ContextStore, ContextWrite, StatusRecord, StatusStore};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::CqlTimestamp;

use super::context_store::context_store_suite;
use super::services::{address, unique};
use super::status_store::{Row, Statuses, status_store_suite};

const PATIENCE: Duration = Duration::from_secs(20);
const CONTEXTS: &str = "contexts (run_id text PRIMARY KEY, context_data text)";
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

async fn contexts() -> Option<Arc<dyn ContextStore>> {
    Some(Keyspace::full().await?.stores().await.unwrap().context)
}

context_store_suite!(contexts());

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
    ContextWrite { run: run.into(), document, changes: Vec::new(), checkpoint: "{}".into(), timestamp_micros }
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
        ("contexts (run_id text, key text, value text, PRIMARY KEY (run_id, key))", STATUSES),
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
    assert_eq!((found.text, found.write_micros), (None, None));
    keyspace.session.query_unpaged(format!("INSERT INTO {}.contexts (run_id, context_data) VALUES ('r', '')", keyspace.name), ()).await.unwrap();
    let found = stores.context.load("r").await.unwrap().unwrap();
    assert_eq!(found.text.as_deref(), Some(""));
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
        tables.write_context(&table, "r", text).await.unwrap();
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
    assert!(error.to_string().contains("options.cassandra.localDataCenter") && error.to_string().contains("datacenter1"), "{error}");
}
