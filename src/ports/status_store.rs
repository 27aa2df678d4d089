use async_trait::async_trait;

use crate::kernel::error::FlowError;

/// A status row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRecord {
    /// Run id, the partition key.
    pub run: String,
    /// `completed`, `failed`, `awaiting`, `cancelled` or `parked`.
    pub status: String,
    /// JSON text `{"status","payload"?,"reason"?}`.
    pub status_data: String,
    /// Client timestamp, microseconds; also the row's `updated_at` (in milliseconds). A repeat of the
    /// record is byte-identical.
    pub timestamp_micros: i64,
}

/// Where clients look up how a run ended.
///
/// Guarantees: `publish` answers `Ok` only when durable; a record with an older timestamp never
/// replaces a newer one (where the store keeps timestamps); both operations are idempotent.
#[async_trait]
pub trait StatusStore: Send + Sync + 'static {
    /// Marks the run as `running` now: `status` and `updated_at` only, never a conditional write.
    async fn touch(&self, run: &str, timestamp_micros: i64) -> Result<(), FlowError>;
    /// Writes an outcome.
    async fn publish(&self, record: &StatusRecord) -> Result<(), FlowError>;
    /// Closes what this store created itself.
    async fn close(&self) {}
}
