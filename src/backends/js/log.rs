use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::JsCaller;
use crate::kernel::error::FlowError;
use crate::ports::{DeadLetter, JobSink, JobSource, OutboundJob, SendDone, SourceEvent, SourceHandle, TopicFacts};

/// Jobs that JavaScript consumes itself (an overridden `processJobs`, a client object that is not genuine)
/// and hands in one by one; offsets are its business.
pub struct JsSource(pub Arc<dyn JsCaller>);

#[async_trait]
impl JobSource for JsSource {
    async fn prepare(&self) -> Result<TopicFacts, FlowError> {
        Ok(TopicFacts { partitions: 1 })
    }

    async fn start(&self, events: SourceHandle) -> Result<(), FlowError> {
        self.0.call("source.start", "{}".into()).await?;
        events(SourceEvent::Joined);
        Ok(())
    }

    fn pause(&self, _partitions: &[i32]) {}

    fn resume(&self, _partitions: &[i32]) {}

    fn commit(&self, _positions: &[(i32, i64)]) {}

    async fn commit_now(&self, _positions: &[(i32, i64)]) -> Result<(), FlowError> {
        Ok(())
    }

    async fn close(&self) {
        // Nothing can be done about a user's consumer that does not stop; its own error is logged there.
        let _ = self.0.call("source.stop", "{}".into()).await;
    }
}

/// Jobs sent through the user's `enqueueJob` or producer object.
pub struct JsSink {
    caller: Arc<dyn JsCaller>,
    runtime: tokio::runtime::Handle,
}

impl JsSink {
    /// A sink whose calls run on the given runtime.
    #[must_use]
    pub fn new(caller: Arc<dyn JsCaller>, runtime: tokio::runtime::Handle) -> Self {
        Self { caller, runtime }
    }

    fn call(&self, operation: &'static str, args: String, done: SendDone) {
        let caller = self.caller.clone();
        self.runtime.spawn(async move { done(caller.call(operation, args).await.map(|_| None)) });
    }
}

#[async_trait]
impl JobSink for JsSink {
    fn send(&self, job: &OutboundJob, done: SendDone) {
        match &job.command {
            Some(command) => self.call("sink.command", json!({ "run": job.run, "command": command }).to_string(), done),
            None => self.call("sink.send", json!({ "run": job.run, "blueprint": job.blueprint, "node": job.node }).to_string(), done),
        }
    }

    fn dead_letter(&self, letter: &DeadLetter, done: SendDone) {
        let message = &letter.message;
        let args = json!({
            "value": message.value.as_deref().map(hex), "key": message.key.as_deref().map(hex),
            "headers": message.headers.iter().map(|(name, value)| (name, value.as_deref().map(hex))).collect::<Vec<_>>(),
            "partition": message.partition, "offset": message.offset, "code": letter.code, "reason": letter.reason, "run": letter.run,
        });
        self.call("sink.deadLetter", args.to_string(), done);
    }

    async fn close(&self) {}
}

// Bytes as lower-case hexadecimal: JSON has no bytes, and a dead letter need not be text.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
