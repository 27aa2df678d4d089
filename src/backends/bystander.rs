//! A job source that checks its topic and never joins the group.

use std::sync::Arc;

use async_trait::async_trait;

use crate::kernel::error::FlowError;
use crate::ports::{JobSource, SourceEvent, SourceHandle, TopicFacts};

/// For a process that sends jobs and takes none.
pub struct Bystander(pub Arc<dyn JobSource>);

#[async_trait]
impl JobSource for Bystander {
    async fn prepare(&self) -> Result<TopicFacts, FlowError> {
        self.0.prepare().await
    }

    async fn start(&self, events: SourceHandle) -> Result<(), FlowError> {
        events(SourceEvent::Joined);
        Ok(())
    }

    fn pause(&self, _partitions: &[i32]) {}

    fn resume(&self, _partitions: &[i32]) {}

    fn commit(&self, _positions: &[(i32, i64)]) {}

    async fn commit_now(&self, _positions: &[(i32, i64)]) -> Result<(), FlowError> {
        Ok(())
    }

    async fn facts(&self) -> Result<TopicFacts, FlowError> {
        self.0.facts().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
