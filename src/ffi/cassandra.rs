//! `NativeCassandra`: tables for the exported classes that work without a worker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::PromiseRaw;
use napi_derive::napi;
use serde::Deserialize;

use super::changes::pairs;
use super::json::read;
use super::outcome::Outcome;
use super::runtime::promise;
use crate::backends::cassandra::{CassandraSettings, StandaloneTables, schema_statements};
use crate::backends::clock::wall_micros;
use crate::backends::embedded::Cluster;
use crate::backends::schema_plan::SchemaPlan;
use crate::backends::tables::{CopyMode, CopyState, Swept, Tables};
use crate::kernel::error::FlowError;
use crate::kernel::retention::ended_before_ms;

type Promised<'env, T> = PromiseRaw<'env, Outcome<T>>;

/// How long `connect` tries to reach the cluster.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(untagged)]
enum Settings {
    Embedded { embedded: String },
    Cassandra(Box<CassandraSettings>),
}

/// Beyond the range of exact integers there is no date: the cast saturates.
#[allow(clippy::cast_possible_truncation)]
fn whole_ms(ms: f64) -> i64 {
    ms as i64
}

fn read_plan(json: &str) -> Result<SchemaPlan, FlowError> {
    read("schema plan", json)
}

/// One page of runs.
#[napi(object, use_nullable = true)]
pub struct RunIds {
    /// Run ids.
    pub runs: Vec<String>,
    /// Mark of the next page, `null` after the last.
    pub next: Option<String>,
}

/// One page of runs that have ended.
#[napi(object, use_nullable = true)]
pub struct EndedRuns {
    /// Run ids.
    pub runs: Vec<String>,
    /// Status rows that were looked at.
    pub rows: u32,
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
        let tables: Arc<dyn Tables> = match read("Cassandra settings", settings_json)? {
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
    pub fn connect(env: &Env, settings_json: String) -> napi::Result<Promised<'_, NativeCassandra>> {
        promise(env, async move { Self::open(&settings_json).await })
    }

    /// The statements that create keyspace and tables, for a plan as JSON; asks nobody.
    #[napi(catch_unwind)]
    pub fn schema_statements(plan_json: String) -> Outcome<Vec<String>> {
        read_plan(&plan_json).and_then(|plan| schema_statements(&plan)).into()
    }

    /// Creates and alters keyspace and tables; answers `{layout, statements}` as JSON.
    #[napi]
    pub fn ensure_schema<'env>(&self, env: &'env Env, plan_json: String) -> napi::Result<Promised<'env, String>> {
        let tables = self.tables();
        promise(env, async move {
            let ensured = tables?.ensure_schema(&read_plan(&plan_json)?).await?;
            Ok(serde_json::to_string(&ensured).unwrap_or_default())
        })
    }

    /// Whether a context table has a row per key.
    #[napi]
    pub fn has_entries<'env>(&self, env: &'env Env, table: String) -> napi::Result<Promised<'env, bool>> {
        let tables = self.tables();
        promise(env, async move { tables?.has_entries(&table).await })
    }

    /// Keys of a run (`null`: all) that are there: key, raw JSON, key, raw JSON, ...
    #[napi]
    pub fn read_keys<'env>(&self, env: &'env Env, table: String, run_id: String, keys: Option<Vec<String>>) -> napi::Result<Promised<'env, Vec<String>>> {
        let tables = self.tables();
        promise(env, async move {
            let entries = tables?.read_keys(&table, &run_id, keys).await?;
            Ok(entries.into_iter().flat_map(|(key, raw)| [key, raw]).collect())
        })
    }

    /// Writes keys of a run, all or none: key, raw JSON or "" to delete, ...
    #[napi]
    pub fn write_keys<'env>(&self, env: &'env Env, table: String, run_id: String, changes: Vec<String>) -> napi::Result<Promised<'env, ()>> {
        let tables = self.tables();
        promise(env, async move { tables?.write_keys(&table, &run_id, pairs(changes)).await })
    }

    /// The text of a run's context, `null` when there is none.
    #[napi]
    pub fn read_context<'env>(&self, env: &'env Env, table: String, run_id: String) -> napi::Result<Promised<'env, Option<String>>> {
        let tables = self.tables();
        promise(env, async move { tables?.read_context(&table, &run_id).await })
    }

    /// Replaces the text of a run's context; `keep_checkpoint` leaves a checkpoint beside it as it is.
    #[napi]
    pub fn write_context<'env>(&self, env: &'env Env, table: String, run_id: String, text: String, keep_checkpoint: bool) -> napi::Result<Promised<'env, ()>> {
        let tables = self.tables();
        promise(env, async move { tables?.write_context(&table, &run_id, &text, keep_checkpoint).await })
    }

    /// Marks a run as running now.
    #[napi]
    pub fn touch_status<'env>(&self, env: &'env Env, table: String, run_id: String) -> napi::Result<Promised<'env, ()>> {
        let tables = self.tables();
        promise(env, async move { tables?.touch_status(&table, &run_id).await })
    }

    /// All start messages of a run that was marked as running are on their way.
    #[napi]
    pub fn sent<'env>(&self, env: &'env Env, table: String, run_id: String) -> napi::Result<Promised<'env, ()>> {
        let tables = self.tables();
        promise(env, async move { tables?.sent(&table, &run_id).await })
    }

    /// Writes an outcome.
    #[napi]
    pub fn publish_status<'env>(&self, env: &'env Env, table: String, run_id: String, status: String, status_data: String) -> napi::Result<Promised<'env, ()>> {
        let tables = self.tables();
        promise(env, async move { tables?.publish_status(&table, &run_id, &status, &status_data).await })
    }

    /// A run's status as JSON `{status, statusData}`, `null` when there is no row.
    #[napi]
    pub fn read_status<'env>(&self, env: &'env Env, table: String, run_id: String) -> napi::Result<Promised<'env, Option<String>>> {
        let tables = self.tables();
        promise(env, async move {
            let found = tables?.read_status(&table, &run_id).await?;
            Ok(found.map(|row| serde_json::json!({ "status": row.status, "statusData": row.status_data }).to_string()))
        })
    }

    /// Runs in `status` that were last touched before `before_ms` (milliseconds since the epoch).
    #[napi]
    pub fn stalled_page<'env>(
        &self,
        env: &'env Env,
        table: String,
        status: String,
        before_ms: f64,
        page: Option<String>,
    ) -> napi::Result<Promised<'env, RunIds>> {
        let tables = self.tables();
        promise(env, async move {
            let page = tables?.stalled_page(&table, &status, whole_ms(before_ms), page.as_deref()).await?;
            Ok(RunIds { runs: page.runs, next: page.next })
        })
    }

    /// Whether there is an index of running runs beside a status table.
    #[napi]
    pub fn has_index<'env>(&self, env: &'env Env, table: String) -> napi::Result<Promised<'env, bool>> {
        let tables = self.tables();
        promise(env, async move { tables?.has_index(&table).await })
    }

    /// Running runs that were last touched before `before_ms` (milliseconds since the epoch), by the index.
    #[napi]
    pub fn indexed_page<'env>(&self, env: &'env Env, table: String, before_ms: f64, page: Option<String>) -> napi::Result<Promised<'env, RunIds>> {
        let tables = self.tables();
        promise(env, async move {
            let page = tables?.indexed_page(&table, whole_ms(before_ms), page.as_deref()).await?;
            Ok(RunIds { runs: page.runs, next: page.next })
        })
    }

    /// When the last full search of a status table began (milliseconds since the epoch), `null` where the index knows of none.
    #[napi]
    pub fn last_full_search<'env>(&self, env: &'env Env, table: String) -> napi::Result<Promised<'env, Option<f64>>> {
        let tables = self.tables();
        // Exact for the next 280,000 years.
        #[allow(clippy::cast_precision_loss)]
        promise(env, async move { Ok(tables?.last_full_search(&table).await?.map(|ms| ms as f64)) })
    }

    /// Notes a full search that came to its end, by its beginning.
    #[napi]
    pub fn note_full_search<'env>(&self, env: &'env Env, table: String, began_ms: f64) -> napi::Result<Promised<'env, ()>> {
        let tables = self.tables();
        promise(env, async move { tables?.note_full_search(&table, whole_ms(began_ms)).await })
    }

    /// All runs of a context table that keeps documents.
    #[napi]
    pub fn context_page<'env>(&self, env: &'env Env, table: String, page: Option<String>) -> napi::Result<Promised<'env, RunIds>> {
        let tables = self.tables();
        promise(env, async move {
            let page = tables?.context_page(&table, page.as_deref()).await?;
            Ok(RunIds { runs: page.runs, next: page.next })
        })
    }

    /// Whether ended runs can be deleted by these tables when they are older than that; answers the time before which they must have
    /// ended, milliseconds since the epoch.
    #[napi]
    pub fn check_sweep<'env>(&self, env: &'env Env, contexts: String, statuses: String, retention_seconds: f64) -> napi::Result<Promised<'env, f64>> {
        let tables = self.tables();
        let seconds = u64::try_from(whole_ms(retention_seconds)).unwrap_or(u64::MAX);
        // Exact for the next 280,000 years.
        #[allow(clippy::cast_precision_loss)]
        promise(env, async move {
            tables?.check_sweep(&contexts, &statuses, seconds).await?;
            Ok(ended_before_ms(wall_micros(), seconds) as f64)
        })
    }

    /// Runs that ended before `before_ms` (milliseconds since the epoch).
    #[napi]
    pub fn ended_page<'env>(&self, env: &'env Env, statuses: String, before_ms: f64, page: Option<String>) -> napi::Result<Promised<'env, EndedRuns>> {
        let tables = self.tables();
        promise(env, async move {
            let page = tables?.ended_page(&statuses, whole_ms(before_ms), page.as_deref()).await?;
            Ok(EndedRuns { runs: page.runs, rows: u32::try_from(page.rows).unwrap_or(u32::MAX), next: page.next })
        })
    }

    /// Deletes a run that ended before `before_ms`, unless it was written to since; answers `deleted`, `kept` or `gone`.
    #[napi]
    pub fn sweep_run<'env>(&self, env: &'env Env, contexts: String, statuses: String, run_id: String, before_ms: f64) -> napi::Result<Promised<'env, String>> {
        let tables = self.tables();
        promise(env, async move {
            let swept = match tables?.sweep_run(&contexts, &statuses, &run_id, whole_ms(before_ms)).await? {
                Swept::Deleted => "deleted",
                Swept::Kept => "kept",
                Swept::Gone => "gone",
            };
            Ok(swept.to_owned())
        })
    }

    /// Copies a run to a table that has a row per key (`mode`: `look`, `copy`, `move`); answers `gone`, `same`, `copied` or `stale`.
    #[napi]
    pub fn copy_run<'env>(&self, env: &'env Env, from: String, to: String, run_id: String, mode: String) -> napi::Result<Promised<'env, String>> {
        let tables = self.tables();
        promise(env, async move {
            let mode = match mode.as_str() {
                "move" => CopyMode::Move,
                "copy" => CopyMode::Copy,
                _ => CopyMode::Look,
            };
            let state = match tables?.copy_run(&from, &to, &run_id, mode).await? {
                CopyState::Gone => "gone",
                CopyState::Same => "same",
                CopyState::Copied => "copied",
                CopyState::Stale => "stale",
            };
            Ok(state.to_owned())
        })
    }

    /// Lets go of the session; it closes when nobody else uses it. Twice is fine.
    #[napi]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<Promised<'env, ()>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).take();
        promise(env, std::future::ready(Ok(())))
    }
}
