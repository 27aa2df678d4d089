//! All that reaches the control loop: what happens outside of it, and what JavaScript tells it.

use std::time::Duration;

use tokio::sync::oneshot;

use super::shutdown;
use crate::kernel::error::FlowError;
use crate::kernel::job::Job;
use crate::kernel::lease::Window;
use crate::kernel::machine::Step;
use crate::kernel::timer::Timer;
use crate::ports::{DeadLetter, Delivered, OutboundJob, SourceEvent, StoredContext, TopicFacts};

/// What happens to the loop.
pub(super) enum Event {
    Source(SourceEvent),
    Command(Command),
    /// What sessions have said in a turn of the event loop, or a part of it.
    Turn(Vec<Command>),
    /// Partition, turn of the keeper, window.
    Leased(i32, u64, Option<Window>),
    /// The same lease is held for longer.
    Renewed(i32, u64, Option<Window>),
    LeaseLost(i32, u64),
    BacklogSeen(i32, u64, Option<i64>),
    Examined(u32, u32),
    Loaded(u32, Result<Option<StoredContext>, FlowError>),
    StatusFound(u32, Result<Option<String>, FlowError>),
    Written(u32, Result<(), FlowError>),
    Foreign(u32, Option<StoredContext>),
    Looked(u32, Option<StoredContext>),
    Published(u32),
    EndFound(u32, Option<i64>),
    Facts(TopicFacts),
    TimersFound(i32, u64, Vec<Timer>, i64),
    ParkedFound(i32, u64, Vec<Timer>),
    KafkaAnswers,
    Sent(u64, Delivered),
    // A send failed for a reason that only an operator can mend.
    TopicRefuses,
    SendAgain(u64, OutboundJob, u32),
    Buried(u64),
    BuryAgain(u64, Box<DeadLetter>, u32),
    Released(Vec<i32>),
}

/// What JavaScript tells the loop.
pub enum Command {
    /// A session opened.
    Opened(u32, Vec<(u32, String)>),
    /// A session refused its run: code, reason, status to publish.
    Refused(u32, &'static str, String, Option<String>),
    /// A step was recorded.
    Step(u32, Box<Step>),
    /// A session has nothing running any more.
    Drained(u32),
    /// A node of a session is about to read a copy that may be old.
    Refresh(u32),
    /// A session found that a command changes nothing: handle, token.
    CommandDone(u32, u32),
    /// A session cannot make anything of a command: handle, token, code, reason.
    CommandRefused(u32, u32, &'static str, String),
    /// A job handed in, with the id of its promise.
    Submit(u64, Job),
    /// The versions of blueprints that this worker has, all of them.
    Versions(Vec<String>),
    /// The JavaScript thread answers.
    Alive,
    /// JavaScript's `handleJob` settled.
    Handled(u64, Result<(), FlowError>),
    /// Stop within the span.
    Stop(Duration, oneshot::Sender<shutdown::Report>),
}
