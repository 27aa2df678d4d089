use crate::kernel::effects::{OutboundJob, ToSession};
use crate::kernel::error::FlowError;

/// The JavaScript side.
pub trait Executor: Send + Sync + 'static {
    /// Hands over a batch; order within and between batches is kept. Must not block.
    fn deliver(&self, batch: Vec<ToSession>);
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For developers of this package.
    Debug,
    /// Normal operation.
    Info,
    /// Works, but an operator should know.
    Warn,
    /// Does not work.
    Error,
}

/// The process around the engine.
pub trait Host: Send + Sync + 'static {
    /// Writes a log line. Must not block.
    fn log(&self, level: LogLevel, text: String);
    /// The worker's life cycle changed.
    fn state(&self, state: crate::kernel::lifecycle::Lifecycle, detail: &str);
    /// Asks the JavaScript thread whether it answers; the engine's `Alive` follows.
    fn ask_for_pulse(&self);
    /// Gives a consumed job to JavaScript's `handleJob`; answered by the engine's `handled`.
    fn hand_over(&self, token: u64, job: &OutboundJob);
    /// Settles the promise of a submitted job.
    fn settle(&self, submission: u64, result: Result<(), FlowError>);
}
