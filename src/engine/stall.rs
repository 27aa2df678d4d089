//! A JavaScript thread that does not answer (G6): the worker leaves its group, and comes back with the thread.

use super::worker::Worker;
use crate::kernel::error::FlowError;
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::pulse::Beat;
use crate::kernel::time::Moment;
use crate::ports::LogLevel;

const PLACE: &str = "javascript thread";

impl Worker {
    /// Looks after the thread. One that is stalled cannot record: others take its partitions over.
    pub(super) fn feel_pulse(&mut self, now: Moment) {
        // A stop has its own deadline.
        if self.stopping.is_some() || mutant(Mutant::DeafToStalls) {
            return;
        }
        let (loaded, waiting) = self.machine.load();
        match self.pulse.look(now, loaded + waiting > 0) {
            Beat::Rest => {}
            Beat::Ask => self.ports.host.ask_for_pulse(),
            Beat::Stalled => {
                let error = FlowError::Stalled { limit_ms: u64::try_from(self.settings.max_stall.as_millis()).unwrap_or(u64::MAX) };
                self.board.trouble(PLACE, error.code().as_str(), &error.to_string());
                self.ports.host.log(LogLevel::Error, format!("[KafkaAdapter] {error}"));
                // The partitions are taken as in any rebalance, without a grace for nodes: none of them can end.
                self.ports.source.leave();
            }
        }
    }

    /// The thread answered.
    pub(super) fn thread_answered(&mut self) {
        if !self.pulse.answered() {
            return;
        }
        self.board.well(PLACE);
        self.ports.host.log(LogLevel::Info, "[KafkaAdapter] the JavaScript thread answers again; the worker joins its group again".to_owned());
        if self.stopping.is_none() {
            self.ports.source.rejoin();
        }
    }
}
