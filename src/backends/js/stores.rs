use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::{JsCaller, unexpected};
use crate::kernel::error::FlowError;
use crate::ports::{ContextStore, ContextWrite, Coordination, StatusRecord, StatusStore, StoredContext};

/// Contexts through the user's `createContext(runId)` or client object. Knows no write times, so writes of
/// two owners are ordered by the store alone.
pub struct JsContexts(pub Arc<dyn JsCaller>);

#[derive(Deserialize)]
struct Loaded {
    text: Option<String>,
}

#[async_trait]
impl ContextStore for JsContexts {
    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError> {
        let answer = self.0.call("context.load", json!({ "run": run }).to_string()).await?;
        let loaded: Loaded = serde_json::from_str(&answer).map_err(|error| unexpected("context.load", &error))?;
        Ok(loaded.text.map(|text| StoredContext::document(Some(text), None)))
    }

    async fn write_micros(&self, _run: &str) -> Result<Option<i64>, FlowError> {
        Ok(None)
    }

    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError> {
        let args = json!({ "run": write.run, "changes": write.changes, "checkpoint": write.checkpoint });
        self.0.call("context.write", args.to_string()).await.map(|_| ())
    }
}

/// Status rows through `onJobStart`, `publishFinalResult` or the client object.
pub struct JsStatuses(pub Arc<dyn JsCaller>);

#[async_trait]
impl StatusStore for JsStatuses {
    async fn touch(&self, run: &str, _timestamp_micros: i64) -> Result<(), FlowError> {
        self.0.call("status.touch", json!({ "run": run }).to_string()).await.map(|_| ())
    }

    async fn publish(&self, record: &StatusRecord) -> Result<(), FlowError> {
        let args = json!({ "run": record.run, "status": record.status, "data": record.status_data });
        self.0.call("status.publish", args.to_string()).await.map(|_| ())
    }
}

/// The user's own coordination store.
pub struct JsCoordination(pub Arc<dyn JsCaller>);

impl JsCoordination {
    async fn ask<T: for<'de> Deserialize<'de>>(&self, operation: &'static str, args: serde_json::Value) -> Result<T, FlowError> {
        let answer = self.0.call(operation, args.to_string()).await?;
        serde_json::from_str(&answer).map_err(|error| unexpected(operation, &error))
    }
}

#[async_trait]
impl Coordination for JsCoordination {
    async fn increment(&self, key: &str, ttl_seconds: u64) -> Result<i64, FlowError> {
        self.ask("coordination.increment", json!({ "key": key, "ttl": ttl_seconds })).await
    }

    async fn set_if_not_exist(&self, key: &str, value: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        self.ask("coordination.setIfNotExist", json!({ "key": key, "value": value, "ttl": ttl_seconds })).await
    }

    async fn delete(&self, key: &str) -> Result<(), FlowError> {
        self.0.call("coordination.delete", json!({ "key": key }).to_string()).await.map(|_| ())
    }

    async fn extend_ttl(&self, key: &str, ttl_seconds: u64) -> Result<bool, FlowError> {
        self.ask("coordination.extendTTL", json!({ "key": key, "ttl": ttl_seconds })).await
    }

    async fn get(&self, key: &str) -> Result<Option<String>, FlowError> {
        self.ask("coordination.get", json!({ "key": key })).await
    }
}
