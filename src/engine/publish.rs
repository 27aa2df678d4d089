//! Status rows that the store refuses for a reason that does not pass by itself (G4).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::io::Io;
use crate::kernel::error::FlowError;
use crate::kernel::mutant::{Mutant, mutant};
use crate::ports::{LogLevel, StatusRecord};

const PLACE: &str = "status store";
/// Between attempts: an operator has to act.
const PAUSE: Duration = Duration::from_secs(3);
/// After so many refusals, with other rows written meanwhile, it is this row that the store does not take.
const ATTEMPTS: u32 = 5;

impl Io {
    /// Writes an outcome. A refusal holds the run, its message and its place in memory, so that nothing is lost and
    /// intake stops by itself where nothing can be written; only a row that is refused alone is given up.
    ///
    /// `failed` is what an attempt has met already. Answers whether it was written; `None` when that is the next owner's business.
    pub(super) async fn publish_or_give_up(&self, partition: i32, record: &StatusRecord, mut failed: Option<FlowError>) -> Option<bool> {
        if mutant(Mutant::PublishOnce) {
            return Some(self.permitted(partition, || self.ports.statuses.publish(record)).await.is_ok());
        }
        let others = self.published.load(Ordering::Relaxed);
        let mut attempt = 0;
        loop {
            match self.persist_after(failed.take(), PLACE, || self.permitted(partition, || self.ports.statuses.publish(record))).await {
                Ok(None) => return None,
                Ok(Some(())) => {
                    self.count_published(1);
                    if attempt > 0 && self.board.well(PLACE) {
                        self.log_recovery(PLACE);
                    }
                    return Some(true);
                }
                Err(_) if self.events.is_closed() => return None,
                Err(error) => {
                    attempt += 1;
                    self.complain(record, &error);
                    if attempt >= ATTEMPTS && self.published.load(Ordering::Relaxed) > others {
                        self.give_up(record, &error);
                        return Some(false);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    pub(super) fn count_published(&self, records: usize) {
        self.published.fetch_add(records as u64, Ordering::Relaxed);
    }

    fn complain(&self, record: &StatusRecord, error: &FlowError) {
        if self.board.trouble(PLACE, error.code().as_str(), &error.to_string()) {
            let text = format!("[KafkaAdapter] status of run {} cannot be written, retrying: {error}", record.run);
            self.ports.host.log(LogLevel::Error, text);
        }
    }

    // The outcome stands in the run's checkpoint; a job of the run publishes it again.
    fn give_up(&self, record: &StatusRecord, error: &FlowError) {
        self.board.update(|health| health.unpublished += 1);
        self.board.well(PLACE);
        let text = format!("[KafkaAdapter] status of run {} is not written: the store takes other rows and refuses this one: {error}", record.run);
        self.ports.host.log(LogLevel::Error, text);
    }
}
