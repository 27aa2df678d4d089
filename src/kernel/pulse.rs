//! Whether the JavaScript thread still answers (G6).

use std::time::Duration;

use super::time::Moment;

/// A pause between two looks that is longer than this was the machine's or the process' own (suspended, stopped by a
/// signal): the JavaScript thread did not run either, and is not blamed for it.
const OWN_PAUSE: Duration = Duration::from_secs(2);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Rest,
    /// Ask the thread; [`Pulse::answered`] follows.
    Ask,
    /// It has not answered for the limit: told once per stall.
    Stalled,
}

/// Asks from time to time, while there is work.
#[derive(Debug)]
pub struct Pulse {
    limit: Duration,
    asked: Option<Moment>,
    next: Moment,
    looked: Moment,
    stalled: bool,
}

impl Pulse {
    /// A thread that does not answer for `limit` counts as stalled.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, asked: None, next: Moment::default(), looked: Moment::default(), stalled: false }
    }

    /// Time passed. An idle worker asks nothing: nobody waits for its thread.
    pub fn look(&mut self, now: Moment, busy: bool) -> Beat {
        let slept = now.since(self.looked) > OWN_PAUSE;
        self.looked = now;
        match &mut self.asked {
            Some(asked) if slept => *asked = now,
            Some(asked) if !self.stalled && now.since(*asked) >= self.limit => {
                self.stalled = true;
                return Beat::Stalled;
            }
            None if busy && now >= self.next => {
                self.asked = Some(now);
                self.next = now.after(self.limit / 4);
                return Beat::Ask;
            }
            _ => {}
        }
        Beat::Rest
    }

    /// The thread answered; `true` when it was stalled until now.
    pub fn answered(&mut self) -> bool {
        self.asked = None;
        std::mem::take(&mut self.stalled)
    }

    /// Whether the thread is stalled.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn asks_four_times_within_the_limit_and_only_while_busy() {
        let mut pulse = Pulse::new(LIMIT);
        assert_eq!(pulse.look(at(100), false), Beat::Rest);
        assert_eq!(pulse.look(at(101), true), Beat::Ask);
        assert!(!pulse.answered());
        assert_eq!(pulse.look(at(102), true), Beat::Rest);
        assert_eq!(pulse.look(at(103), true), Beat::Ask);
    }

    #[test]
    fn tells_a_stall_once_and_its_end() {
        let mut pulse = Pulse::new(LIMIT);
        assert_eq!(pulse.look(at(100), true), Beat::Ask);
        for second in 101..108 {
            assert_eq!(pulse.look(at(second), true), Beat::Rest);
        }
        assert_eq!(pulse.look(at(108), true), Beat::Stalled);
        assert_eq!(pulse.look(at(109), true), Beat::Rest);
        assert!(pulse.is_stalled());
        assert!(pulse.answered());
        assert!(!pulse.is_stalled());
        assert_eq!(pulse.look(at(110), true), Beat::Ask);
    }

    #[test]
    fn does_not_blame_the_thread_for_a_nap_of_the_machine() {
        let mut pulse = Pulse::new(LIMIT);
        assert_eq!(pulse.look(at(100), true), Beat::Ask);
        assert_eq!(pulse.look(at(4_000), true), Beat::Rest);
        assert_eq!(pulse.look(at(4_001), true), Beat::Rest);
        assert!(!pulse.answered());
    }
}
