use async_trait::async_trait;

use crate::kernel::effects::{ContextLayout, ContextWrite, StoredContext};
use crate::kernel::error::FlowError;

/// Where the state of runs lives.
///
/// Guarantees: `write` answers `Ok` only when the write is durable at the configured consistency;
/// a write with a lower timestamp than what is stored never replaces it (where the store keeps
/// timestamps); writes are idempotent; `load` sees every write that answered `Ok`.
#[async_trait]
pub trait ContextStore: Send + Sync + 'static {
    /// What its writes have to carry. Asked once, at start.
    fn layout(&self) -> ContextLayout {
        ContextLayout::Document
    }
    /// Reads a run; `None` when there is no row.
    async fn load(&self, run: &str) -> Result<Option<StoredContext>, FlowError>;
    /// The newest write time of the run, microseconds, or `None` when unknown or no row. Cheaper than `load`.
    async fn write_micros(&self, run: &str) -> Result<Option<i64>, FlowError>;
    /// Writes one step.
    async fn write(&self, write: &ContextWrite) -> Result<(), FlowError>;
    /// Which steps of different runs `write_group` should write together, by index; each is in one group. Unless overridden: each
    /// alone.
    fn groups(&self, writes: &[&ContextWrite]) -> Vec<Vec<usize>> {
        (0..writes.len()).map(|index| vec![index]).collect()
    }
    /// Writes the steps of a group, each of them as `write` would. `Ok` when all are durable; after an error nothing is known of
    /// any of them, and the caller writes each one again.
    async fn write_group(&self, writes: &[&ContextWrite]) -> Result<(), FlowError> {
        for write in writes {
            self.write(write).await?;
        }
        Ok(())
    }
    /// Closes what this store created itself.
    async fn close(&self) {}
}
