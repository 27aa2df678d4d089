use async_trait::async_trait;

use crate::kernel::effects::StatusRecord;
use crate::kernel::error::FlowError;

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
    /// Which outcomes of different runs `publish_group` should write together, by index; each is in one group. Unless overridden:
    /// each alone.
    fn groups(&self, records: &[&StatusRecord]) -> Vec<Vec<usize>> {
        (0..records.len()).map(|index| vec![index]).collect()
    }
    /// Writes the outcomes of a group, each of them as `publish` would. `Ok` when all are durable; after an error nothing is known of
    /// any of them, and the caller publishes each one again.
    async fn publish_group(&self, records: &[&StatusRecord]) -> Result<(), FlowError> {
        for record in records {
            self.publish(record).await?;
        }
        Ok(())
    }
    /// What the row of a run says: `None` where there is no row, empty where it says nothing. A store that cannot be read has no rows.
    async fn status(&self, _run: &str) -> Result<Option<String>, FlowError> {
        Ok(None)
    }
    /// Closes what this store created itself.
    async fn close(&self) {}
}
