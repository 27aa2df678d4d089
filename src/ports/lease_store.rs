use async_trait::async_trait;

use crate::kernel::error::FlowError;
use crate::kernel::lease::LeaseRow;

/// Where the leases of a topic's partitions stand.
///
/// Guarantees: `swap` is one atomic step among all who use the store, and `find` sees every swap that was answered.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// The lease of a partition, if there ever was one.
    async fn find(&self, partition: i32) -> Result<Option<LeaseRow>, FlowError>;
    /// Puts `row` where `seen` stands, or where nothing stands; `false` where something else does. After an error the
    /// outcome is unknown.
    async fn swap(&self, partition: i32, seen: Option<&LeaseRow>, row: &LeaseRow) -> Result<bool, FlowError>;
}
