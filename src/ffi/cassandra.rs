//! `NativeCassandra`: the tables for the exported classes that work without a worker.

use std::time::Duration;

use napi_derive::napi;
use serde::Deserialize;

use super::outcome::Outcome;
use crate::backends::cassandra::{CassandraSettings, StandaloneTables};
use crate::kernel::error::FlowError;

/// How long the first connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to Cassandra, shared with workers that have the same settings.
#[napi]
pub struct NativeCassandra {
    tables: StandaloneTables,
}

/// One page of stalled runs.
#[napi(object)]
pub struct StalledPage {
    /// Run ids.
    pub runs: Vec<String>,
    /// Where the next page begins.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Keyspace {
    keyspace: Option<String>,
}

fn settings(json: &str) -> Result<(CassandraSettings, String), FlowError> {
    let bad = |error: serde_json::Error| FlowError::Option {
        path: "client".into(),
        problem: error.to_string(),
        fix: "Give a cassandra-driver Client or an object with contactPoints".into(),
    };
    let Keyspace { keyspace } = serde_json::from_str(json).map_err(bad)?;
    Ok((serde_json::from_str(json).map_err(bad)?, keyspace.unwrap_or_default()))
}

#[napi]
impl NativeCassandra {
    /// Connects with the settings of a client.
    #[napi]
    pub async fn connect(settings_json: String) -> Outcome<NativeCassandra> {
        let connected = async {
            let (settings, keyspace) = settings(&settings_json)?;
            StandaloneTables::connect(&settings, &keyspace, PATIENCE).await
        };
        Outcome(connected.await.map(|tables| Self { tables }))
    }

    /// The context cell of a run; `table` is `keyspace.table`.
    #[napi]
    pub async fn read_context(&self, table: String, run: String) -> Outcome<Option<String>> {
        self.tables.read_context(&table, &run).await.into()
    }

    /// Replaces the context cell of a run.
    #[napi]
    pub async fn write_context(&self, table: String, run: String, text: String) -> Outcome<()> {
        self.tables.write_context(&table, &run, &text).await.into()
    }

    /// Marks a run as running now.
    #[napi]
    pub async fn touch_status(&self, table: String, run: String) -> Outcome<()> {
        self.tables.touch_status(&table, &run).await.into()
    }

    /// Writes the outcome of a run.
    #[napi]
    pub async fn publish_status(&self, table: String, run: String, status: String, status_data: String) -> Outcome<()> {
        self.tables.publish_status(&table, &run, &status, &status_data).await.into()
    }

    /// The outcome of a run as JSON `{status, statusData}`; `null` without a row.
    #[napi]
    pub async fn read_status(&self, table: String, run: String) -> Outcome<Option<String>> {
        self.tables.read_status(&table, &run).await.into()
    }

    /// Runs with a status that was last updated before `before_ms`, page by page.
    #[napi]
    pub async fn stalled_page(&self, table: String, status: String, before_ms: f64, page: Option<String>) -> Outcome<StalledPage> {
        // Milliseconds since the epoch are exact in a double.
        #[allow(clippy::cast_possible_truncation)]
        let found = self.tables.stalled_page(&table, &status, before_ms as i64, page.as_deref()).await;
        Outcome(found.map(|page| StalledPage { runs: page.runs, next: page.next }))
    }

    /// The session goes with its last user; nothing to wait for.
    #[napi]
    pub async fn close(&self) -> Outcome<()> {
        Outcome(Ok(()))
    }
}
