//! The state machine of a worker: partitions, runs, visits and what to do next.
//!
//! Sans IO: events come in by methods, [`Action`]s come out of [`Machine::take_actions`]; the clock is an
//! argument. One control loop owns it (house rule 2).
//!
//! # How a message becomes complete
//!
//! Every message is an [`Anchor`]. It is held by whatever still depends on it: its place in a queue,
//! the visits (due executions of a node) that it brought about, a run's unpublished outcome. A visit
//! that is recorded hands its anchors to the visits it made due, until those have a message of their
//! own on the topic. When nobody holds an anchor any more, its offset is complete. So a run with
//! anything due always has an uncompleted message (G5), with and without successor messages.

mod commands;
mod expiry;
mod intake;
#[cfg(test)]
mod merge_tests;
mod openings;
mod partitions;
mod runs;
mod steps;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::document::Document;
use super::effects::{ContextLayout, ContextWrite, DeadLetter, OutboundJob, RawMessage, StatusRecord, ToSession};
use super::error::FlowError;
use super::lease::Window;
use super::ledger::Ledger;
use super::outcome::Outcome;
use super::time::{MICROS_PER_MS, Moment};
use super::timer::{Alarm, Parking, Timer};
use super::timestamps::WriteClock;

/// The partition of runs that do not come from a partitioned log (a JavaScript job source).
pub const VIRTUAL_PARTITION: i32 = -1;
/// A misplaced job is re-produced this often before it is taken where it lies.
const MAX_HOPS: u32 = 3;
/// How many ended runs are remembered, so that their late messages cost no read.
const REMEMBERED_RUNS: usize = 20_000;

/// Bounds and modes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Runs loaded at once.
    pub max_loaded_runs: usize,
    /// Bytes of loaded documents at which no further run is loaded.
    pub max_loaded_bytes: usize,
    /// Messages waiting for their run to be loaded at which partitions are paused.
    pub max_waiting_messages: usize,
    /// Whether a due visit starts without waiting for its message.
    pub local_starts: bool,
    /// One message after the other, in topic order.
    pub serial: bool,
    /// Whether each due visit is sent as a job message.
    pub send_successors: bool,
    /// Whether consumed messages go to a JavaScript `handleJob`.
    pub hand_over: bool,
    /// After so many openings without a recorded step a run is buried; `None` counts nothing.
    pub poison_openings: Option<u32>,
    /// An offset held longer than this is replaced by a message at the tail.
    pub refresh_after: Duration,
    /// A run open longer than this without a status row of its own making gets `running` touched, and
    /// again each time.
    pub touch_first: Duration,
    /// Pause between touches.
    pub touch_every: Duration,
    /// An open copy older than this is checked against the store before it is written over (D8).
    pub verify_after: Duration,
    /// How long rows of ended runs are kept; `None` for ever.
    pub retention: Option<Duration>,
    /// Whether there is a place for durable timers.
    pub timers: bool,
    /// How the context store lays out a run.
    pub layout: ContextLayout,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_loaded_runs: 256,
            max_loaded_bytes: 256 << 20,
            max_waiting_messages: 10_000,
            local_starts: true,
            serial: false,
            send_successors: true,
            hand_over: false,
            poison_openings: None,
            refresh_after: Duration::from_secs(60),
            touch_first: Duration::from_secs(1),
            touch_every: Duration::from_secs(30),
            verify_after: Duration::from_millis(100),
            retention: None,
            timers: false,
            layout: ContextLayout::default(),
        }
    }
}

/// The time of an event, on both clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now {
    /// Monotonic.
    pub moment: Moment,
    /// Wall clock, microseconds since the epoch.
    pub wall_micros: i64,
}

impl Now {
    /// Wall clock, milliseconds since the epoch, as timers are due.
    #[must_use]
    pub const fn wall_ms(self) -> i64 {
        self.wall_micros.div_euclid(MICROS_PER_MS)
    }
}

/// A message that something depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// A message of the log, within one assignment of its partition.
    Log {
        /// Partition.
        partition: i32,
        /// Assignment counter; anchors of an earlier assignment are void.
        epoch: u64,
        /// Offset.
        offset: i64,
    },
    /// A job handed in by JavaScript; its promise is waiting.
    Submitted(u64),
}

/// What the engine has to do.
#[derive(Debug)]
pub enum Action {
    /// Read a run's state.
    Load {
        /// Answer with this handle.
        handle: u32,
        /// Run id.
        run: String,
    },
    /// Look up what the status row of a run says; answer with [`Machine::status_found`].
    FindStatus {
        /// Answer with this handle.
        handle: u32,
        /// Run id.
        run: String,
    },
    /// Look up how often a run was opened in vain; answer with [`Machine::examined`].
    Examine {
        /// Answer with this handle.
        handle: u32,
        /// Run id.
        run: String,
    },
    /// As [`Action::Load`], after its opening was counted.
    LoadCounted {
        /// Answer with this handle.
        handle: u32,
        /// Run id.
        run: String,
    },
    /// Forget the openings of a run.
    Absolve {
        /// Run id.
        run: String,
    },
    /// Tell the sessions.
    Tell(ToSession),
    /// Write a step; answer with [`Machine::written`].
    Write {
        /// Session handle.
        handle: u32,
        /// Partition whose lease must be valid.
        partition: i32,
        /// The write.
        write: ContextWrite,
        /// The write time the row must still have, to be looked up first; a different one is reported
        /// through [`Machine::foreign`] instead of writing.
        verify: Option<i64>,
    },
    /// Look whether a run's row still has this write time; answer with [`Machine::looked`].
    Look {
        /// Run handle.
        handle: u32,
        /// Run id.
        run: String,
        /// The write time as we know it.
        expected: i64,
    },
    /// Send a job; answer with [`Machine::sent`].
    Send {
        /// Answer with this token.
        token: u64,
        /// The job.
        job: OutboundJob,
    },
    /// Write the outcome; answer with [`Machine::published`].
    Publish {
        /// Run handle.
        handle: u32,
        /// Partition whose lease must be valid.
        partition: i32,
        /// The row.
        record: StatusRecord,
    },
    /// Mark a run as running.
    Touch {
        /// Run id.
        run: String,
        /// Partition whose lease must be valid.
        partition: i32,
        /// Client timestamp; below that of any outcome still to come.
        timestamp_micros: i64,
    },
    /// Send a dead letter; answer with [`Machine::buried`].
    Bury {
        /// Answer with this token.
        token: u64,
        /// The letter.
        letter: DeadLetter,
    },
    /// Give a message to JavaScript's `handleJob`; answer with [`Machine::handled`].
    HandOver {
        /// Answer with this token.
        token: u64,
        /// The job.
        job: OutboundJob,
        /// The message, for a dead letter.
        message: RawMessage,
    },
    /// Settle the promise of a submitted job.
    Settle {
        /// The submission.
        submission: u64,
        /// What it became.
        result: Result<(), FlowError>,
    },
    /// Find the end of a partition's log; answer with [`Machine::end_found`].
    FindEnd {
        /// Run handle.
        handle: u32,
        /// Partition.
        partition: i32,
    },
    /// Read the timers of a partition from one time to another (milliseconds since the epoch); answer with
    /// [`Machine::timers_found`].
    FindTimers {
        /// Partition.
        partition: i32,
        /// Its assignment, for the answer.
        epoch: u64,
        /// From this time on; 0 is the beginning.
        from_ms: i64,
        /// Before this time.
        until_ms: i64,
    },
    /// Read the runs of a partition that wait for a version of their blueprint; answer with [`Machine::parked_found`].
    FindParked {
        /// Partition.
        partition: i32,
        /// Its assignment, for the answer.
        epoch: u64,
    },
    /// Delete a timer that has done its work.
    DropTimer(Timer),
    /// Stop fetching.
    Pause(Vec<i32>),
    /// Go on fetching.
    Resume(Vec<i32>),
    /// Nothing of the partition is in work any more: commit, give back the lease, let it go.
    Drained(i32),
}

/// Counters since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Messages read from the log.
    pub received: u64,
    /// Messages that needed no work.
    pub stale: u64,
    /// Own duplicates that were complete before they came.
    pub own_duplicates: u64,
    /// Visits recorded.
    pub recorded: u64,
    /// Step commits written (several steps may share one).
    pub writes: u64,
    /// Runs loaded.
    pub loads: u64,
    /// Job messages sent.
    pub sends: u64,
    /// Outcomes published.
    pub outcomes: u64,
    /// Dead letters sent.
    pub dead_letters: u64,
    /// Messages re-produced to their home partition.
    pub rehomed: u64,
    /// Foreign changes merged into an open run.
    pub merges: u64,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum PartitionState {
    // The lease is being asked for; messages are kept aside.
    Leasing,
    Active,
    // Being given up: nothing new is begun.
    Draining,
    // And said to be free of work.
    Drained,
}

impl PartitionState {
    fn is_given_up(self) -> bool {
        matches!(self, Self::Draining | Self::Drained)
    }
}

#[derive(Debug)]
struct Partition {
    epoch: u64,
    state: PartitionState,
    ledger: Ledger,
    // Messages that came before the lease.
    aside: Vec<RawMessage>,
    // How many hold each incomplete offset. An own message that was acknowledged and not read yet has
    // holders, too: it may be all that brings its run back.
    holds: HashMap<i64, u32>,
    runs: HashSet<u32>,
    timers: timers::Timers,
    // Which write times its lease allows.
    window: Option<Window>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Phase {
    // In the lane, not read yet.
    Waiting,
    Loading,
    // The session was told to open and has not answered.
    Opening,
    Open,
    // The step with the outcome is on its way, then the status row.
    Ending,
}

#[derive(Debug)]
struct WaitingMessage {
    // Empty for a command.
    node: String,
    command: Option<String>,
    anchor: Anchor,
    message: Option<Box<RawMessage>>,
}

// A command that a session has not answered.
#[derive(Debug)]
struct PendingCommand {
    anchor: Anchor,
    text: String,
    message: Option<Box<RawMessage>>,
}

#[derive(Debug, Default)]
struct Visit {
    node: String,
    anchors: Vec<Anchor>,
    // The step that made it due is durable.
    durable: bool,
    // Recorded by a step that is not durable yet.
    done: bool,
    // Token of its message on the way.
    sending: Option<u64>,
    // A message asked for it before it was durable, or starts are not local.
    asked: bool,
    // Submissions that asked for this very visit; inherited ones end with the acknowledgement.
    submissions: Vec<u64>,
}

/// One step commit, as a session hands it over.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Step number, growing within a session.
    pub seq: u32,
    /// Changed keys with raw JSON values; `None` deletes.
    pub changes: Vec<(String, Option<String>)>,
    /// Raw JSON of the checkpoint.
    pub checkpoint: String,
    /// Visits recorded.
    pub done: Vec<u32>,
    /// Visits that became due.
    pub due: Vec<(u32, String)>,
    /// Tokens of commands applied.
    pub applied: Vec<u32>,
    /// Timers to be durable before the step is.
    pub timers: Vec<Alarm>,
    /// What the run waits for before anybody can go on with it, to be durable before the step is.
    pub parking: Option<Parking>,
    /// What the run waited for until now, to be forgotten once the step is durable.
    pub unparking: Option<Parking>,
    /// Set when nothing is due any more.
    pub outcome: Option<Outcome>,
}

#[derive(Debug, Default)]
struct Batch {
    seq: u32,
    // Keys that it changes, some of them twice; their values stand in the run's document.
    changed: Vec<String>,
    done: Vec<u32>,
    due: Vec<u32>,
    applied: Vec<u32>,
    timers: Vec<Timer>,
    unparked: Option<Timer>,
    outcome: Option<Outcome>,
    // Nothing differs from what is stored.
    unchanged: bool,
}

// A run without checkpoint and with outputs was begun by JavaScript workers: what is due in it stands
// in messages, of which some may lie further back (G12).
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Adoption {
    // Ours from the start.
    No,
    // The end of the log is being looked up.
    Asking,
    // Messages below this offset are still to be read.
    Until(i64),
    // Every message of before was read.
    Complete,
}

#[derive(Debug)]
struct Run {
    id: String,
    blueprint: String,
    partition: i32,
    phase: Phase,
    waiting: Vec<WaitingMessage>,
    visits: HashMap<u32, Visit>,
    commands: HashMap<u32, PendingCommand>,
    // What its read counts in the bytes that are loaded, until it is here.
    reserved: usize,
    document: Document,
    checkpoint: String,
    clock: WriteClock,
    // The write time of the row as we know it; the clock also counts touches of the status row.
    stored_micros: Option<i64>,
    // Timestamp of the write in flight.
    writing_micros: i64,
    // Steps handed over since the write in flight was taken.
    queued: Option<Batch>,
    writing: Option<Batch>,
    // Held until the outcome is published.
    anchors: Vec<Anchor>,
    outcome: Option<Outcome>,
    opened_at: Moment,
    touched_at: Option<Moment>,
    // When the copy was last known to be the stored one.
    verified_at: Moment,
    drained: bool,
    adoption: Adoption,
    // Messages to bury once the refusal is published.
    refused: Option<(&'static str, String)>,
}

#[derive(Debug)]
struct Sending {
    handle: u32,
    visit: u32,
    recorded: bool,
}

#[derive(Debug, Default)]
struct Remembered {
    order: VecDeque<String>,
    ids: HashSet<String>,
}

impl Remembered {
    fn insert(&mut self, id: String) {
        if self.ids.insert(id.clone()) {
            self.order.push_back(id);
            if self.order.len() > REMEMBERED_RUNS
                && let Some(oldest) = self.order.pop_front()
            {
                self.ids.remove(&oldest);
            }
        }
    }
}

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    partition_count: i32,
    partitions: HashMap<i32, Partition>,
    runs: HashMap<u32, Run>,
    by_id: HashMap<String, u32>,
    // Runs to be loaded, first come first served.
    lane: VecDeque<u32>,
    loaded: usize,
    loaded_bytes: usize,
    // The largest of the last reads; `None` before the first.
    expected_bytes: Option<usize>,
    waiting_messages: usize,
    paused: bool,
    // The topic takes no message: nothing more is fetched, however little waits.
    withheld: bool,
    backlog: VecDeque<RawMessage>,
    serial_current: Option<Anchor>,
    ended: Remembered,
    sending: HashMap<u64, Sending>,
    // Anchors that an outside operation completes: dead letters, re-productions, hand-overs.
    pending: HashMap<u64, Anchor>,
    // Messages that a handler of the user has, by their tokens: run, and when it was sent.
    handed: HashMap<u64, (String, Option<i64>)>,
    submissions: HashMap<u64, u32>,
    openings: openings::Openings,
    // Versions of blueprints that this worker has, as a parked run names them.
    versions: HashSet<String>,
    next_handle: u32,
    next_token: u64,
    next_command: u32,
    next_epoch: u64,
    actions: Vec<Action>,
    counters: Counters,
}

impl Machine {
    /// A machine without partitions.
    #[must_use]
    pub fn new(config: Config, partition_count: i32) -> Self {
        Self {
            config,
            partition_count,
            partitions: HashMap::new(),
            runs: HashMap::new(),
            by_id: HashMap::new(),
            lane: VecDeque::new(),
            loaded: 0,
            loaded_bytes: 0,
            expected_bytes: None,
            waiting_messages: 0,
            paused: false,
            withheld: false,
            backlog: VecDeque::new(),
            serial_current: None,
            ended: Remembered::default(),
            sending: HashMap::new(),
            pending: HashMap::new(),
            handed: HashMap::new(),
            submissions: HashMap::new(),
            openings: openings::Openings::default(),
            versions: HashSet::new(),
            next_handle: 1,
            next_token: 1,
            next_command: 1,
            next_epoch: 1,
            actions: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// What is to be done, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Counters since start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Runs in memory, and messages waiting for theirs to be loaded.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.loaded, self.waiting_messages + self.backlog.len())
    }

    /// Notes the current number of partitions of the topic.
    pub fn set_partition_count(&mut self, count: i32) {
        self.partition_count = count;
    }

    /// The handle of a run that is open here.
    #[must_use]
    pub fn open_handle(&self, run: &str) -> Option<u32> {
        let handle = *self.by_id.get(run)?;
        self.runs.get(&handle).filter(|run| matches!(run.phase, Phase::Open | Phase::Ending)).map(|_| handle)
    }

    fn token(&mut self) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    fn tell(&mut self, event: ToSession) {
        self.actions.push(Action::Tell(event));
    }

    fn hold(&mut self, anchor: Anchor) {
        match anchor {
            Anchor::Log { partition, epoch, offset } => {
                if let Some(partition) = self.partitions.get_mut(&partition).filter(|p| p.epoch == epoch) {
                    *partition.holds.entry(offset).or_default() += 1;
                }
            }
            Anchor::Submitted(submission) => *self.submissions.entry(submission).or_default() += 1,
        }
    }

    fn release(&mut self, anchor: Anchor) {
        match anchor {
            Anchor::Log { partition, epoch, offset } => {
                let Some(partition) = self.partitions.get_mut(&partition).filter(|p| p.epoch == epoch) else { return };
                let left = partition.holds.get_mut(&offset).map(|count| {
                    *count -= 1;
                    *count
                });
                if left == Some(0) {
                    partition.holds.remove(&offset);
                    // An own message may be done with before it was read.
                    if !partition.ledger.complete_ahead(offset) {
                        partition.ledger.complete(offset);
                    }
                    self.serial_done(anchor);
                }
            }
            Anchor::Submitted(submission) => {
                let left = self.submissions.get_mut(&submission).map(|count| {
                    *count -= 1;
                    *count
                });
                if left == Some(0) {
                    self.submissions.remove(&submission);
                    self.actions.push(Action::Settle { submission, result: Ok(()) });
                }
            }
        }
    }

    fn release_all(&mut self, anchors: Vec<Anchor>) {
        for anchor in anchors {
            self.release(anchor);
        }
    }

    // Gives a submission up: its promise rejects.
    fn reject(&mut self, anchor: Anchor, error: &FlowError) {
        if let Anchor::Submitted(submission) = anchor
            && self.submissions.remove(&submission).is_some()
        {
            self.actions.push(Action::Settle { submission, result: Err(error.clone()) });
        }
    }
}
