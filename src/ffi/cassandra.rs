//! `NativeCassandra`: tables for the exported classes that work without a worker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi_derive::napi;
use serde::Deserialize;

use super::changes::pairs;
use super::outcome::Outcome;
use crate::backends::cassandra::{CassandraSettings, StandaloneTables, schema_statements};
use crate::backends::embedded::Cluster;
use crate::backends::schema_plan::SchemaPlan;
use crate::backends::tables::Tables;
use crate::kernel::error::FlowError;

/// How long `connect` tries to reach the cluster.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(untagged)]
enum Settings {
    Embedded { embedded: String },
    Cassandra(Box<CassandraSettings>),
}

// The glue has validated what users wrote, so a failure here is a bug of ours.
fn read_plan(json: &str) -> Result<SchemaPlan, FlowError> {
    serde_json::from_str(json).map_err(|error| FlowError::Internal { place: "schema plan", detail: error.to_string() })
}

/// One page of stalled runs.
#[napi(object, use_nullable = true)]
pub struct StalledRuns {
    /// Run ids.
    pub runs: Vec<String>,
    /// Mark of the next page, `null` after the last.
    pub next: Option<String>,
}

/// A cluster's tables.
#[napi]
pub struct NativeCassandra {
    tables: Mutex<Option<Arc<dyn Tables>>>,
}

impl NativeCassandra {
    fn tables(&self) -> Result<Arc<dyn Tables>, FlowError> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tables.ok_or_else(|| FlowError::NotRunning { state: "closed".into(), action: "using a table".into() })
    }

    async fn open(settings_json: &str) -> Result<Self, FlowError> {
        let bad = |_| FlowError::Option {
            path: "options.cassandra".into(),
            problem: "does not describe a cluster".into(),
            fix: "Give at least contactPoints".into(),
        };
        let tables: Arc<dyn Tables> = match serde_json::from_str(settings_json).map_err(bad)? {
            Settings::Embedded { embedded } => Cluster::named(&embedded),
            Settings::Cassandra(settings) => Arc::new(StandaloneTables::connect(&settings, PATIENCE).await?),
        };
        Ok(Self { tables: Mutex::new(Some(tables)) })
    }
}

#[napi]
impl NativeCassandra {
    /// Connects by settings, or to `{ embedded: name }`.
    #[napi]
    pub async fn connect(settings_json: String) -> Outcome<NativeCassandra> {
        Self::open(&settings_json).await.into()
    }

    /// The statements that create keyspace and tables, for a plan as JSON; asks nobody.
    #[napi(catch_unwind)]
    pub fn schema_statements(plan_json: String) -> Outcome<Vec<String>> {
        read_plan(&plan_json).and_then(|plan| schema_statements(&plan)).into()
    }

    /// Creates and alters keyspace and tables; answers `{layout, statements}` as JSON.
    #[napi]
    pub async fn ensure_schema(&self, plan_json: String) -> Outcome<String> {
        let ensured = async { self.tables()?.ensure_schema(&read_plan(&plan_json)?).await };
        ensured.await.map(|ensured| serde_json::to_string(&ensured).unwrap_or_default()).into()
    }

    /// Whether a context table has a row per key.
    #[napi]
    pub async fn has_entries(&self, table: String) -> Outcome<bool> {
        let found = async { self.tables()?.has_entries(&table).await };
        found.await.into()
    }

    /// Keys of a run (`null`: all) that are there: key, raw JSON, key, raw JSON, ...
    #[napi]
    pub async fn read_keys(&self, table: String, run_id: String, keys: Option<Vec<String>>) -> Outcome<Vec<String>> {
        let read = async { self.tables()?.read_keys(&table, &run_id, keys).await };
        read.await.map(|entries| entries.into_iter().flat_map(|(key, raw)| [key, raw]).collect()).into()
    }

    /// Writes keys of a run, all or none: key, raw JSON or "" to delete, ...
    #[napi]
    pub async fn write_keys(&self, table: String, run_id: String, changes: Vec<String>) -> Outcome<()> {
        let written = async { self.tables()?.write_keys(&table, &run_id, pairs(changes)).await };
        written.await.into()
    }

    /// The text of a run's context, `null` when there is none.
    #[napi]
    pub async fn read_context(&self, table: String, run_id: String) -> Outcome<Option<String>> {
        let read = async { self.tables()?.read_context(&table, &run_id).await };
        read.await.into()
    }

    /// Replaces the text of a run's context; `keep_checkpoint` leaves a checkpoint beside it as it is.
    #[napi]
    pub async fn write_context(&self, table: String, run_id: String, text: String, keep_checkpoint: bool) -> Outcome<()> {
        let written = async { self.tables()?.write_context(&table, &run_id, &text, keep_checkpoint).await };
        written.await.into()
    }

    /// Marks a run as running now.
    #[napi]
    pub async fn touch_status(&self, table: String, run_id: String) -> Outcome<()> {
        let touched = async { self.tables()?.touch_status(&table, &run_id).await };
        touched.await.into()
    }

    /// Writes an outcome.
    #[napi]
    pub async fn publish_status(&self, table: String, run_id: String, status: String, status_data: String) -> Outcome<()> {
        let published = async { self.tables()?.publish_status(&table, &run_id, &status, &status_data).await };
        published.await.into()
    }

    /// A run's status as JSON `{status, statusData}`, `null` when there is no row.
    #[napi]
    pub async fn read_status(&self, table: String, run_id: String) -> Outcome<Option<String>> {
        let read = async { self.tables()?.read_status(&table, &run_id).await };
        let seen = read.await.map(|found| found.map(|row| serde_json::json!({ "status": row.status, "statusData": row.status_data }).to_string()));
        seen.into()
    }

    /// Runs in `status` that were last touched before `before_ms` (milliseconds since the epoch).
    #[napi]
    pub async fn stalled_page(&self, table: String, status: String, before_ms: f64, page: Option<String>) -> Outcome<StalledRuns> {
        // Beyond the range of exact integers there is no date: the cast saturates.
        #[allow(clippy::cast_possible_truncation)]
        let before_ms = before_ms as i64;
        let found = async { self.tables()?.stalled_page(&table, &status, before_ms, page.as_deref()).await };
        found.await.map(|page| StalledRuns { runs: page.runs, next: page.next }).into()
    }

    /// Lets go of the session; it closes when nobody else uses it. Twice is fine.
    #[napi]
    pub async fn close(&self) -> Outcome<()> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).take();
        Outcome(Ok(()))
    }
}
