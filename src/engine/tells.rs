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
/// Between two deliveries, where there is a crowd: the granularity of the runtime's timers, which may add as much again.
const PAUSE: Duration = Duration::from_millis(1);

/// What is to be told, in its order.
#[derive(Default)]
pub(super) struct Tells {
    waiting: Vec<ToSession>,
    delivered: Option<Instant>,
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
        // Loaded runs may be at rest: what comes after a pause goes at once all the same.
        if loaded_runs > CROWD && self.waiting.len() < ENOUGH && self.due().is_some_and(|due| now < due) {
            return None;
        }
        self.delivered = Some(now);
        Some(self.take())
    }

    /// Everything, due or not.
    pub(super) fn take(&mut self) -> Vec<ToSession> {
        std::mem::take(&mut self.waiting)
    }

    /// Ends when what waits is due; where nothing waits, never.
    pub(super) async fn wait(&self) {
        match self.due() {
            Some(due) if !self.waiting.is_empty() => tokio::time::sleep_until(due).await,
            _ => std::future::pending().await,
        }
    }

    fn due(&self) -> Option<Instant> {
        self.delivered.map(|at| at + PAUSE)
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
        let now = Instant::now();
        let mut tells = tells(1);
        assert_eq!(handles(tells.take_due(CROWD, now)), [0]);
        assert!(tells.take_due(CROWD, now).is_none());
        tells.push(ToSession::Refreshed { handle: 1 });
        assert_eq!(handles(tells.take_due(CROWD, now)), [1]);
    }

    #[test]
    fn of_many_runs_what_follows_a_delivery_waits_for_company_but_not_for_long() {
        let now = Instant::now();
        let mut tells = tells(1);
        assert_eq!(handles(tells.take_due(CROWD + 1, now)), [0], "after a pause");
        tells.push(ToSession::Refreshed { handle: 1 });
        assert!(tells.take_due(CROWD + 1, now).is_none());
        tells.push(ToSession::Refreshed { handle: 2 });
        assert!(tells.take_due(CROWD + 1, now + PAUSE / 2).is_none());
        assert_eq!(handles(tells.take_due(CROWD + 1, now + PAUSE)), [1, 2]);
        tells.push(ToSession::Refreshed { handle: 3 });
        assert!(tells.take_due(CROWD + 1, now + PAUSE).is_none());
        // The crowd is gone meanwhile.
        assert_eq!(handles(tells.take_due(CROWD, now + PAUSE)), [3]);
    }

    #[test]
    fn company_ends_the_wait() {
        let now = Instant::now();
        let mut tells = tells(1);
        assert!(tells.take_due(CROWD + 1, now).is_some());
        (0..u32::try_from(ENOUGH).unwrap()).for_each(|handle| tells.push(ToSession::Refreshed { handle }));
        assert_eq!(tells.take_due(CROWD + 1, now).map(|taken| taken.len()), Some(ENOUGH));
    }

    #[tokio::test]
    async fn the_wait_ends() {
        let mut tells = tells(1);
        assert!(tells.take_due(CROWD + 1, Instant::now()).is_some());
        tells.push(ToSession::Refreshed { handle: 1 });
        tells.wait().await;
        assert_eq!(handles(tells.take_due(CROWD + 1, Instant::now())), [1]);
    }
}
