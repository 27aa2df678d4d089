//! Leases of a topic's partitions.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::lease::LeaseRow;
use crate::ports::LeaseStore;

#[derive(Default)]
pub(super) struct EmbeddedLeases {
    rows: Mutex<HashMap<i32, LeaseRow>>,
}

#[async_trait]
impl LeaseStore for EmbeddedLeases {
    async fn find(&self, partition: i32) -> Result<Option<LeaseRow>, FlowError> {
        Ok(lock(&self.rows).get(&partition).cloned())
    }

    async fn swap(&self, partition: i32, seen: Option<&LeaseRow>, row: &LeaseRow) -> Result<bool, FlowError> {
        let mut rows = lock(&self.rows);
        let is_same = rows.get(&partition) == seen;
        if is_same {
            rows.insert(partition, row.clone());
        }
        Ok(is_same)
    }
}
