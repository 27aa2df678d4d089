//! What the engine needs from the world, as traits, each with the guarantees an implementation
//! gives. One contract suite runs against every implementation.

mod clock;
mod context_store;
mod coordination;
mod executor;
mod job_log;
mod lease_store;
mod status_store;
mod timer_store;

pub use clock::{Clock, Moment};
pub use context_store::ContextStore;
pub use coordination::Coordination;
pub use executor::{Executor, Host, LogLevel};
pub use job_log::{Delivered, JobSink, JobSource, SendDone, SourceEvent, SourceHandle, TopicFacts};
pub use lease_store::LeaseStore;
pub use status_store::StatusStore;
pub use timer_store::TimerStore;

pub use crate::kernel::effects::{ContextLayout, ContextWrite, DeadLetter, OutboundJob, RawMessage, StatusRecord, StoredContext, StoredState, ToSession};
