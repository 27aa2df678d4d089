use async_trait::async_trait;

use crate::kernel::error::FlowError;
use crate::kernel::timer::Timer;

/// Where durable timers live.
///
/// Guarantees: `put` and `delete` are idempotent and answer `Ok` only when durable; `find` sees every timer whose
/// `put` answered `Ok` and that was not deleted since, as long as no clock of the group is an hour ahead of another.
#[async_trait]
pub trait TimerStore: Send + Sync + 'static {
    /// Keeps a timer.
    async fn put(&self, timer: &Timer) -> Result<(), FlowError>;
    /// Forgets a timer.
    async fn delete(&self, timer: &Timer) -> Result<(), FlowError>;
    /// Timers of a shard due at or after `from_ms` and before `until_ms` (milliseconds since the epoch). 0 is the
    /// beginning: everything that is overdue, however long.
    async fn find(&self, shard: i32, from_ms: i64, until_ms: i64) -> Result<Vec<Timer>, FlowError>;
    /// The runs of a shard that wait for a version of their blueprint (`Timer::parked`); `find` does not see them.
    async fn parked(&self, shard: i32) -> Result<Vec<Timer>, FlowError>;
}
