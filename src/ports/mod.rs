//! What the engine needs from the world, as traits, each with the guarantees an implementation
//! gives. One contract suite runs against every implementation.

mod clock;
mod context_store;
mod coordination;
mod executor;
mod job_log;
mod status_store;

pub use clock::{Clock, Moment};
pub use context_store::{ContextStore, ContextWrite, StoredContext};
pub use coordination::Coordination;
pub use executor::{Executor, ToSession};
pub use job_log::{DeadLetter, Delivered, JobSink, JobSource, OutboundJob, RawMessage, SendDone, SourceEvent, SourceHandle, TopicFacts};
pub use status_store::{StatusRecord, StatusStore};
