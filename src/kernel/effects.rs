//! The values the kernel is told and the values it asks for. The port traits speak in them.

use super::document::Entry;
pub use super::stored::{ContextLayout, StoredContext, StoredState};
use super::timer::Timer;

/// A consumed message, undecoded.
#[derive(Debug, Clone, Default)]
pub struct RawMessage {
    /// Partition it was read from.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Message key bytes.
    pub key: Option<Vec<u8>>,
    /// Message value bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// How often this job was re-produced because it lay in a partition that is not its run's home
    /// (header `flowcraft-hops`).
    pub hops: u32,
    /// Its headers, in their order, apart from those that this package writes (`flowcraft-*`).
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When it was sent, milliseconds since the epoch, where known: by the log, or by what was re-produced (header `flowcraft-sent`).
    pub timestamp_ms: Option<i64>,
}

/// A job or a command to be sent to the topic; the key is the run id ([`crate::kernel::job`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboundJob {
    /// Run id.
    pub run: String,
    /// Blueprint id.
    pub blueprint: String,
    /// Node id.
    pub node: String,
    /// Raw JSON of a command (D12); blueprint and node are then empty.
    pub command: Option<String>,
    /// Hops so far; 0 sends no header.
    pub hops: u32,
    /// When the message was sent for which this one stands, milliseconds since the epoch. Goes with hops.
    pub sent_ms: Option<i64>,
}

/// A message that nobody can process, with the reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The original message.
    pub message: RawMessage,
    /// Error code of the reason.
    pub code: &'static str,
    /// The reason in words.
    pub reason: String,
    /// Run id, where it could be read.
    pub run: Option<String>,
}

/// One step commit: everything that changed, as one single-partition write.
#[derive(Debug, Clone)]
pub struct ContextWrite {
    /// Run id, the partition key.
    pub run: String,
    /// The whole document as the store's layout wants it ([`ContextLayout::text`]); `None` where keys are written.
    pub document: Option<String>,
    /// The changed keys in order, last value per key (`None` deletes), raw JSON values. For layouts
    /// that write keys, and for user contexts driven through `patch`. Does not include `_flowcraft`.
    pub changes: Vec<(String, Option<String>)>,
    /// The raw JSON of the `_flowcraft` key.
    pub checkpoint: String,
    /// Client timestamp of the write, microseconds since the epoch. A repeat of the write carries
    /// the same one.
    pub timestamp_micros: i64,
    /// Timers that must be durable before this write is: it parks what they wake.
    pub timers: Vec<Timer>,
}

/// A status row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRecord {
    /// Run id, the partition key.
    pub run: String,
    /// `completed`, `failed`, `awaiting`, `cancelled` or `parked`; `running` while nodes wait for their next attempt.
    pub status: String,
    /// JSON text `{"status","payload"?,"reason"?}`.
    pub status_data: String,
    /// Client timestamp, microseconds; also the row's `updated_at` (in milliseconds). A repeat of the
    /// record is byte-identical.
    pub timestamp_micros: i64,
}

/// What the engine tells the JavaScript sessions. Sent in batches, never awaited (design D7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSession {
    /// Open a session for a run that was loaded from the store.
    Open {
        /// Handle for the life of the session.
        handle: u32,
        /// Run id.
        run: String,
        /// Blueprint id of the message that brought the run here.
        blueprint: String,
        /// Node ids of the messages that wait for this run.
        nodes: Vec<String>,
        /// Commands that wait for this run: token and raw JSON.
        commands: Vec<(u32, String)>,
        /// Keys and raw JSON values of the stored document, without the reserved key.
        entries: Vec<Entry>,
        /// Raw JSON of the stored checkpoint, if the run has one.
        checkpoint: Option<String>,
        /// Whether the run had a row at all.
        existed: bool,
        /// Whether messages of this run may lie further back in its partition: a run that JavaScript
        /// workers began is known by its messages alone (G12). [`ToSession::AllSeen`] follows.
        more_may_come: bool,
    },
    /// Steps up to and including `seq` are durable: their successors may start (with local starts).
    Durable {
        /// Session handle.
        handle: u32,
        /// Highest durable step number.
        seq: u32,
    },
    /// What a session has asked for is done: its copy is as the store has it.
    Refreshed {
        /// Session handle.
        handle: u32,
    },
    /// Keys changed by somebody else since they were read (merge by key; uncommitted changes win).
    Merge {
        /// Session handle.
        handle: u32,
        /// Foreign changes.
        changes: Vec<(String, Option<String>)>,
    },
    /// A message for a node arrived at an open session that has no such visit due.
    Stray {
        /// Session handle.
        handle: u32,
        /// Node id.
        node: String,
    },
    /// A command for an open session; it answers by a step that applies it, or that it changes nothing.
    Command {
        /// Session handle.
        handle: u32,
        /// To be named in the answer.
        token: u32,
        /// Raw JSON.
        command: String,
    },
    /// Nodes get their abort signal; what they return is recorded if it still can be.
    Abort {
        /// Session handle.
        handle: u32,
        /// Why, for the signal's reason.
        reason: String,
    },
    /// The session is over for this worker: abort what runs, record nothing more.
    Close {
        /// Session handle.
        handle: u32,
        /// Why.
        reason: String,
    },
    /// Start these visits now; only sent where local starts are off.
    Start {
        /// Session handle.
        handle: u32,
        /// Visits whose job message arrived.
        visits: Vec<u32>,
    },
    /// The partition was read to the end seen when the run was adopted.
    AllSeen {
        /// Session handle.
        handle: u32,
    },
    /// Start nothing new; answer `drained` when no node runs and every result was handed over.
    Drain {
        /// Session handle.
        handle: u32,
    },
}
