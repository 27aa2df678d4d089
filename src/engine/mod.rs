//! The async engine: one control loop over the ports, and the IO tasks around it.
//!
//! | file | what it does |
//! |---|---|
//! | `worker` | the control loop that owns the kernel's machine |
//! | `event` | all that reaches the loop |
//! | `io` | loads, writes, sends: each with its retries, each checked against the lease |
//! | `groups` | which steps and outcomes go in one request, and what becomes of them where that fails |
//! | `tells` | when what sessions are told goes to JavaScript |
//! | `openings` | counts openings of runs in the coordination store |
//! | `publish` | status rows, also where the store refuses them |
//! | `leases` | asks for, renews and gives back the leases of partitions |
//! | `stall` | leaves the group while the JavaScript thread does not answer |
//! | `start_limit` | the time a start may take |
//! | `shutdown` | the ordered stop with deadlines |
//! | `health` | what `health()` answers |

mod event;
mod groups;
mod health;
mod io;
mod leases;
mod openings;
mod publish;
mod shutdown;
mod stall;
mod start_limit;
mod tells;
mod worker;

use std::sync::Arc;
use std::time::Duration;

pub use event::Command;
pub use health::Health;
pub use shutdown::Report;
pub use start_limit::StartLimit;
pub use worker::{Commands, Engine, start};

use crate::kernel::machine;
use crate::ports::{Clock, ContextStore, Coordination, Executor, Host, JobSink, JobSource, LeaseStore, StatusStore, TimerStore};

/// Everything the engine drives.
#[derive(Clone)]
pub struct Ports {
    /// Consuming side of the job log.
    pub source: Arc<dyn JobSource>,
    /// Producing side of the engine; goes through an overridden `enqueueJob`.
    pub sink: Arc<dyn JobSink>,
    /// Producing side for users' own calls, which must not come back to their hook.
    pub direct_sink: Arc<dyn JobSink>,
    /// State of runs.
    pub contexts: Arc<dyn ContextStore>,
    /// Status rows.
    pub statuses: Arc<dyn StatusStore>,
    /// Where leases are kept as rows.
    pub leases: Option<Arc<dyn LeaseStore>>,
    /// Where leases are kept otherwise; without both, partitions are worked on as soon as they are assigned.
    pub coordination: Option<Arc<dyn Coordination>>,
    /// Durable timers, or why there are none and what would make them; for nodes that need one.
    pub timers: Result<Arc<dyn TimerStore>, String>,
    /// The JavaScript sessions.
    pub executor: Arc<dyn Executor>,
    /// Logs, life cycle, hooks.
    pub host: Arc<dyn Host>,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
}

/// Settings of a worker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Job topic, for keys and messages.
    pub topic: String,
    /// Consumer group, for messages.
    pub group: String,
    /// Unique name of this worker; the holder in its leases.
    pub worker_id: String,
    /// Bounds and modes of the machine.
    pub machine: machine::Config,
    /// Time to live of a partition's lease. A crashed worker's partitions stay blocked for at most this.
    pub lease_ttl: Duration,
    /// How long running nodes may go on when a partition is taken in order, before they are aborted.
    pub revoke_grace: Duration,
    /// How long the JavaScript thread may not answer before the worker leaves its group.
    pub max_stall: Duration,
    /// How long `start` may take to reach the services; it has begun.
    pub start_limit: StartLimit,
    /// Whether published outcomes are logged here; a JavaScript hook logs its own.
    pub log_outcomes: bool,
    /// Whether jobs come from JavaScript (`processJobs` overridden) rather than from partitions.
    pub virtual_source: bool,
}
