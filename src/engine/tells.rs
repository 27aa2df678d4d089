//! When what sessions are told goes to JavaScript.
//!
//! Each delivery wakes the JavaScript thread, and what it says in answer is a turn of its own: with many runs at work, deliveries
//! of two or three events each cost more than the events do (decision 70).

use std::time::Duration;

use tokio::time::Instant;

use crate::ports::ToSession;

/// With more loaded runs than this, what is told waits for company; with fewer, each step's latency is what counts.
const CROWD: usize = 32;
/// So many go without waiting for more.
const ENOUGH: usize = 64;
/// How long the first of them waits, at most: the granularity of the runtime's timers, which may add as much again.
const PATIENCE: Duration = Duration::from_millis(1);

/// What is to be told, in its order.
#[derive(Default)]
pub(super) struct Tells {
    waiting: Vec<ToSession>,
    due: Option<Instant>,
}

impl Tells {
    pub(super) fn push(&mut self, event: ToSession) {
        self.waiting.push(event);
    }

    /// What is to be delivered now, if anything is.
    pub(super) fn take_due(&mut self, loaded_runs: usize, now: Instant) -> Option<Vec<ToSession>> {
        if self.waiting.is_empty() {
            return None;
        }
        let due = *self.due.get_or_insert(now + PATIENCE);
        if loaded_runs > CROWD && self.waiting.len() < ENOUGH && now < due {
            return None;
        }
        self.due = None;
        Some(std::mem::take(&mut self.waiting))
    }

    /// Everything, due or not.
    pub(super) fn take(&mut self) -> Vec<ToSession> {
        self.due = None;
        std::mem::take(&mut self.waiting)
    }

    /// Ends when what waits is due; where nothing waits, never.
    pub(super) async fn wait(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tells(count: u32) -> Tells {
        let mut tells = Tells::default();
        (0..count).for_each(|handle| tells.push(ToSession::Refreshed { handle }));
        tells
    }

    fn handles(taken: Option<Vec<ToSession>>) -> Vec<u32> {
        taken
            .unwrap_or_default()
            .into_iter()
            .map(|event| match event {
                ToSession::Refreshed { handle } => handle,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_few_runs_are_told_at_once() {
        assert_eq!(handles(tells(1).take_due(CROWD, Instant::now())), [0]);
        assert!(Tells::default().take_due(CROWD, Instant::now()).is_none());
    }

    #[test]
    fn of_many_runs_the_first_waits_for_others_but_not_for_long() {
        let now = Instant::now();
        let mut tells = tells(2);
        assert!(tells.take_due(CROWD + 1, now).is_none());
        tells.push(ToSession::Refreshed { handle: 2 });
        // The first has waited, whatever came after it.
        assert!(tells.take_due(CROWD + 1, now + PATIENCE / 2).is_none());
        assert_eq!(handles(tells.take_due(CROWD + 1, now + PATIENCE)), [0, 1, 2]);
        // The next wait is one of its own.
        tells.push(ToSession::Refreshed { handle: 3 });
        assert!(tells.take_due(CROWD + 1, now + PATIENCE).is_none());
    }

    #[test]
    fn company_ends_the_wait() {
        let mut tells = tells(u32::try_from(ENOUGH).unwrap());
        assert_eq!(tells.take_due(CROWD + 1, Instant::now()).map(|taken| taken.len()), Some(ENOUGH));
    }

    #[tokio::test]
    async fn the_wait_ends() {
        let mut tells = tells(1);
        assert!(tells.take_due(CROWD + 1, Instant::now()).is_none());
        tells.wait().await;
        assert_eq!(handles(tells.take_due(CROWD + 1, Instant::now())), [0]);
    }
}
