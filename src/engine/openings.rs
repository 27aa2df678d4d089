//! Openings of runs, counted in the coordination store (G6). A hint: whatever the store cannot tell counts as none, and
//! nothing waits for it for long.

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::io::Io;
use super::worker::Worker;
use crate::kernel::error::FlowError;

/// How long a count is kept, in seconds. A run that is tried less often than daily is left alone.
const KEPT_SECONDS: u64 = 86_400;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

impl Worker {
    /// Whether openings are counted at all.
    pub(super) fn counts_openings(&self) -> bool {
        self.settings.machine.poison_openings.is_some() && self.ports.coordination.is_some()
    }
}

impl Io {
    /// Looks where the log ends as a partition becomes ours.
    pub(super) fn see_backlog(self: &Arc<Self>, partition: i32, epoch: u64) {
        let io = self.clone();
        tokio::spawn(async move {
            let end = soon(io.ports.source.end_offset(partition)).await.flatten();
            io.report(Event::BacklogSeen(partition, epoch, end));
        });
    }

    /// Asks how often a run was opened.
    pub(super) fn examine(self: &Arc<Self>, handle: u32, run: String) {
        let io = self.clone();
        tokio::spawn(async move {
            let count = match &io.ports.coordination {
                Some(coordination) => soon(coordination.get(&io.openings_key(&run))).await.flatten(),
                None => None,
            };
            io.report(Event::Examined(handle, count.and_then(|text| text.parse().ok()).unwrap_or(0)));
        });
    }

    /// Counts an opening, then loads the run: no node runs before the count stands.
    pub(super) fn load_counted(self: &Arc<Self>, handle: u32, run: String) {
        let io = self.clone();
        tokio::spawn(async move {
            if let Some(coordination) = &io.ports.coordination {
                soon(coordination.increment(&io.openings_key(&run), KEPT_SECONDS)).await;
            }
            io.load(handle, run);
        });
    }

    /// Forgets the openings of a run.
    pub(super) fn absolve(self: &Arc<Self>, run: String) {
        let io = self.clone();
        tokio::spawn(async move {
            if let Some(coordination) = &io.ports.coordination {
                soon(coordination.delete(&io.openings_key(&run))).await;
            }
        });
    }

    fn openings_key(&self, run: &str) -> String {
        format!("flowcraft:openings:{}:{run}", self.topic)
    }
}

async fn soon<T>(question: impl Future<Output = Result<T, FlowError>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, question).await.ok()?.ok()
}
