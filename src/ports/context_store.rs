use async_trait::async_trait;

use crate::kernel::error::FlowError;

/// A run's row as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContext {
    /// The JSON text of the cell, or `None` where the row exists with a NULL cell.
    pub text: Option<String>,
    /// Write time of the cell in microseconds since the epoch, where the store knows it.
    pub write_micros: Option<i64>,
}

/// One step commit: everything that changed, as one single-partition write.
#[derive(Debug, Clone)]
pub struct ContextWrite {
    /// Run id, the partition key.
    pub run: String,
    /// The whole document, for the `document` layout. Includes the reserved `_flowcraft` key.
    pub document: String,
    /// The changed keys in order, last value per key (`None` deletes), raw JSON values. For layouts
    /// that write keys, and for user contexts driven through `patch`. Does not include `_flowcraft`.
    pub changes: Vec<(String, Option<String>)>,
    /// The raw JSON of the `_flowcraft` key.
    pub checkpoint: String,
    /// Client timestamp of the write, microseconds since the epoch. A repeat of the write carries
    /// the same one.
    pub timestamp_micros: i64,
}

/// Where the state of runs lives.
///
/// Guarantees: `write` answers `Ok` only when the write is durable at the configured consistency;
/// a write with a lower timestamp than what is stored never replaces it (where the store keeps
/// timestamps); writes are idempotent; `load` sees every write that answered `Ok`.
#[async_trait]
pub trait ContextStore: Send + Sync + 'static {
    /// Reads a run; `None` when there is no row.
    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError>;
    /// The write time of the run's row, microseconds, or `None` when unknown or no row. Cheaper than `load`.
    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError>;
    /// Writes one step.
    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError>;
    /// Closes what this store created itself.
    async fn close(&self) {}
}
