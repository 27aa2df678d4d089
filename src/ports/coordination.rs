use async_trait::async_trait;

use crate::kernel::error::FlowError;

/// Flowcraft's `ICoordinationStore`; TTLs are seconds, as there. Nothing more may be relied on, because
/// users bring stores of their own.
///
/// Guarantees: `set_if_not_exist` lets exactly one of several concurrent callers win.
#[async_trait]
pub trait Coordination: Send + Sync + 'static {
    /// Adds one and refreshes the TTL; answers the new count.
    async fn increment(&self, key: &str, ttl_seconds: u64) -> Result<i64, FlowError>;
    /// Writes unless the key exists; `true` when written.
    async fn set_if_not_exist(&self, key: &str, value: &str, ttl_seconds: u64) -> Result<bool, FlowError>;
    /// Removes the key, whether or not it exists.
    async fn delete(&self, key: &str) -> Result<(), FlowError>;
    /// Renews the TTL; `false` when the key is gone.
    async fn extend_ttl(&self, key: &str, ttl_seconds: u64) -> Result<bool, FlowError>;
    /// Reads the key.
    async fn get(&self, key: &str) -> Result<Option<String>, FlowError>;
    /// Closes what this store created itself.
    async fn close(&self) {}
}
