use crate::kernel::document::Entry;

/// What the engine tells the JavaScript sessions. Sent in batches, never awaited (design D7).
#[derive(Debug, Clone)]
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
        /// Keys and raw JSON values of the stored document, without the reserved key.
        entries: Vec<Entry>,
        /// Raw JSON of the stored checkpoint, if the run has one.
        checkpoint: Option<String>,
        /// Whether the run had a row at all.
        existed: bool,
    },
    /// Steps up to and including `seq` are durable: their successors may start.
    Durable {
        /// Session handle.
        handle: u32,
        /// Highest durable step number.
        seq: u32,
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
}

/// The JavaScript side.
pub trait Executor: Send + Sync + 'static {
    /// Hands over a batch; order within and between batches is kept. Must not block.
    fn deliver(&self, batch: Vec<ToSession>);
}
