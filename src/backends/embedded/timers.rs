//! Timers of a topic, by time.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::timer::Timer;
use crate::ports::TimerStore;

#[derive(Default)]
pub(super) struct EmbeddedTimers {
    timers: Mutex<BTreeSet<Timer>>,
}

#[async_trait]
impl TimerStore for EmbeddedTimers {
    async fn put(&self, timer: &Timer) -> Result<(), FlowError> {
        lock(&self.timers).insert(timer.clone());
        Ok(())
    }

    async fn delete(&self, timer: &Timer) -> Result<(), FlowError> {
        lock(&self.timers).remove(timer);
        Ok(())
    }

    async fn find(&self, shard: i32, from_ms: i64, until_ms: i64) -> Result<Vec<Timer>, FlowError> {
        let timers = lock(&self.timers);
        let found = timers.iter().filter(|timer| timer.shard == shard && !timer.is_parked() && (from_ms..until_ms).contains(&timer.due_ms));
        Ok(found.cloned().collect())
    }

    async fn parked(&self, shard: i32) -> Result<Vec<Timer>, FlowError> {
        Ok(lock(&self.timers).iter().filter(|timer| timer.shard == shard && timer.is_parked()).cloned().collect())
    }
}
