use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::kernel::lifecycle::Lifecycle;
use crate::kernel::machine::Counters;

/// What `health()` answers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Life-cycle state.
    pub state: &'static str,
    /// `false` when an operator should look: something of `troubles` has not passed.
    pub healthy: bool,
    /// Partitions assigned to this worker.
    pub partitions: Vec<i32>,
    /// Runs in memory.
    pub loaded_runs: usize,
    /// Messages whose run is not loaded yet.
    pub waiting_messages: usize,
    /// Whether fetching is paused: too much waits, or the topic takes no message.
    pub paused: bool,
    /// Problems that have not passed, newest last, one per place.
    pub troubles: Vec<Trouble>,
    /// Outcomes whose status row the store refuses for good, while it takes others. They stand in the runs' checkpoints.
    pub unpublished: u64,
    /// Counters since start.
    pub counters: Counters,
}

/// A problem that has not passed.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// Where: `kafka`, `context store`, `lease of partition 3`, ...
    pub place: String,
    /// Stable error code.
    pub code: &'static str,
    /// In words.
    pub message: String,
}

/// Shared between the loop, the IO tasks and `health()`.
#[derive(Clone)]
pub(super) struct Board(Arc<Mutex<Health>>);

impl Board {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Health {
            state: Lifecycle::Idle.as_str(),
            healthy: true,
            partitions: Vec::new(),
            loaded_runs: 0,
            waiting_messages: 0,
            paused: false,
            troubles: Vec::new(),
            unpublished: 0,
            counters: Counters::default(),
        })))
    }

    pub(super) fn read(&self) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a problem; answers whether it is new there, so that it is logged once and not per attempt.
    pub(super) fn trouble(&self, place: &str, code: &'static str, message: &str) -> bool {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        health.healthy = false;
        match health.troubles.iter_mut().find(|trouble| trouble.place == place) {
            Some(known) => {
                let new = known.code != code;
                known.code = code;
                message.clone_into(&mut known.message);
                new
            }
            None => {
                health.troubles.push(Trouble { place: place.to_owned(), code, message: message.to_owned() });
                true
            }
        }
    }

    /// Notes that a place works; answers whether it did not before.
    pub(super) fn well(&self, place: &str) -> bool {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = health.troubles.len();
        health.troubles.retain(|trouble| trouble.place != place);
        health.healthy = health.troubles.is_empty();
        health.troubles.len() != before
    }
}
