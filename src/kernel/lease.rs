//! The lease of a partition: who may record work for its runs, until when, and with which write times (design D3).
//!
//! A row in a table of ours, changed by conditional writes alone. Where there is no such table it is a key in the
//! coordination store, with a weaker promise: it holds as far as that store keeps its keys, and bounds no write times.

use std::time::Duration;

use super::mutant::{Mutant, mutant};
use super::time::{MICROS_PER_MS, Moment};

const LEAST_WINDOW_MS: i64 = 1_000;

/// The key of a partition's lease.
#[must_use]
pub fn lease_key(topic: &str, partition: i32) -> String {
    format!("flowcraft:lease:{topic}:{partition}")
}

/// What the lease allows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Writes may be sent.
    Valid,
    /// The validity passed without a renewal: hold writes until it is renewed or lost.
    Lapsed,
}

/// The holder's view of one lease. Validity is counted from before the request that granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Until when writes may be sent.
    pub valid_until: Moment,
}

impl Lease {
    /// A grant or renewal asked for at `asked` with the store's time to live. A tenth is kept as a margin
    /// for clocks that run at different speeds.
    #[must_use]
    pub fn granted(asked: Moment, ttl: Duration) -> Self {
        Self { valid_until: asked.after(ttl.mul_f64(0.9)) }
    }

    /// Judges the lease directly before a send.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        if now < self.valid_until { Standing::Valid } else { Standing::Lapsed }
    }
}

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Grows by one with each new tenure.
    pub epoch: i64,
    /// Who holds it; empty once it was given back.
    pub holder: String,
    /// End of the holder's window of write times, in milliseconds since the epoch.
    pub valid_until_ms: i64,
}

/// The write times of one tenure, in microseconds: above `after`, where the tenure before ended, and not above
/// `until`. So whatever a former holder still sends loses in the store, whenever it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The last one that the tenure before may have used.
    pub after_micros: i64,
    /// The last one that this tenure may use.
    pub until_micros: i64,
}

impl Window {
    /// The write time nearest to the wall clock.
    #[must_use]
    pub fn place(self, wall_micros: i64) -> i64 {
        wall_micros.min(self.until_micros).max(self.after_micros.saturating_add(1))
    }
}

/// What a worker that wants a lease, or has it, does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bid {
    /// Read the row, then say so by [`Bidder::looked`].
    Look,
    /// Put `row` where `seen` stands (`None`: where no row stands), then say so by [`Bidder::won`] or, after reading
    /// the row, by [`Bidder::looked`].
    Swap {
        /// What must stand there.
        seen: Option<LeaseRow>,
        /// What is to stand there.
        row: LeaseRow,
    },
}

// What is known of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum View {
    Unknown,
    Absent,
    // Since when it has been as it is, by this worker's clock.
    Theirs(LeaseRow, Moment),
    Ours(LeaseRow, Window),
}

/// Asks for one lease and keeps it.
#[derive(Debug)]
pub struct Bidder {
    me: String,
    ttl: Duration,
    view: View,
}

impl Bidder {
    /// `me` is unique among those who bid.
    #[must_use]
    pub fn new(me: String, ttl: Duration) -> Self {
        Self { me, ttl, view: View::Unknown }
    }

    /// What to do now.
    #[must_use]
    pub fn bid(&self, now: Moment, wall_ms: i64) -> Bid {
        let until_ms = wall_ms.saturating_add(i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX));
        match &self.view {
            View::Unknown => Bid::Look,
            View::Absent => Bid::Swap { seen: None, row: self.row(1, until_ms) },
            View::Theirs(row, _) if self.other(now, wall_ms).is_none() => {
                // A clock that is behind the one before must have room for its writes all the same.
                let until_ms = until_ms.max(row.valid_until_ms.saturating_add(LEAST_WINDOW_MS));
                Bid::Swap { seen: Some(row.clone()), row: self.row(row.epoch.saturating_add(1), until_ms) }
            }
            View::Theirs(..) => Bid::Look,
            // Always another row: who looks on must see that somebody renews it, also while this clock is behind.
            View::Ours(row, _) => Bid::Swap { seen: Some(row.clone()), row: self.row(row.epoch, until_ms.max(row.valid_until_ms.saturating_add(1))) },
        }
    }

    /// Who has it, if it is not to be had. It is once it was given back, when its time is over by this worker's wall
    /// clock, or when nobody has renewed it for its whole life: clocks of different machines may differ.
    #[must_use]
    pub fn other(&self, now: Moment, wall_ms: i64) -> Option<&str> {
        let View::Theirs(row, since) = &self.view else { return None };
        let free = row.holder.is_empty() || row.holder == self.me || wall_ms > row.valid_until_ms || now.since(*since) >= self.ttl;
        (!free && !mutant(Mutant::TakeHeldLease)).then_some(row.holder.as_str())
    }

    /// The row was read.
    pub fn looked(&mut self, found: Option<LeaseRow>, now: Moment) {
        self.view = match (found, &self.view) {
            (None, _) => View::Absent,
            // A renewal whose answer was lost.
            (Some(row), View::Ours(own, window)) if row.epoch == own.epoch && row.holder == self.me => {
                let window = Window { until_micros: micros(row.valid_until_ms), ..*window };
                View::Ours(row, window)
            }
            (Some(row), View::Theirs(same, since)) if row == *same => View::Theirs(row, *since),
            (Some(row), _) => View::Theirs(row, now),
        };
    }

    /// The swap was made. Answers the window of the tenure that it began or prolonged.
    pub fn won(&mut self, seen: Option<&LeaseRow>, row: LeaseRow) -> Window {
        let after_micros = match &self.view {
            View::Ours(_, window) => window.after_micros,
            _ => seen.map_or(0, |seen| micros(seen.valid_until_ms)),
        };
        let window = Window { after_micros, until_micros: micros(row.valid_until_ms) };
        self.view = View::Ours(row, window);
        window
    }

    fn row(&self, epoch: i64, valid_until_ms: i64) -> LeaseRow {
        LeaseRow { epoch, holder: self.me.clone(), valid_until_ms }
    }
}

/// The row that gives a lease back, with a window that ends now: the next one need not begin ahead of its clock.
#[must_use]
pub fn given_back(row: &LeaseRow, window: Window, wall_micros: i64) -> LeaseRow {
    LeaseRow { epoch: row.epoch, holder: String::new(), valid_until_ms: window.place(wall_micros) / MICROS_PER_MS + 1 }
}

fn micros(ms: i64) -> i64 {
    ms.saturating_mul(MICROS_PER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_valid_from_before_it_was_asked_for_and_not_at_its_end() {
        let asked = Moment(Duration::from_secs(100));
        let lease = Lease::granted(asked, Duration::from_secs(10));
        assert_eq!(lease.standing(asked.after(Duration::from_millis(8_999))), Standing::Valid);
        assert_eq!(lease.standing(asked.after(Duration::from_secs(9))), Standing::Lapsed);
    }

    const TTL: Duration = Duration::from_secs(8);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn row(epoch: i64, holder: &str, valid_until_ms: i64) -> LeaseRow {
        LeaseRow { epoch, holder: holder.into(), valid_until_ms }
    }

    fn bidder(found: Option<LeaseRow>) -> Bidder {
        let mut bidder = Bidder::new("me".into(), TTL);
        assert_eq!(bidder.bid(at(0), 0), Bid::Look);
        bidder.looked(found, at(0));
        bidder
    }

    fn swap(bidder: &mut Bidder, now: Moment, wall_ms: i64) -> (LeaseRow, Window) {
        let Bid::Swap { seen, row } = bidder.bid(now, wall_ms) else { panic!("it does not bid") };
        let window = bidder.won(seen.as_ref(), row.clone());
        (row, window)
    }

    #[test]
    fn g8_the_windows_of_tenures_do_not_overlap_whatever_the_clocks_say() {
        // The clock of the second one is 20 s behind: it begins where the first one's window ended all the same.
        let (first, window) = swap(&mut bidder(None), at(0), 100_000);
        assert_eq!((first.epoch, window), (1, Window { after_micros: 0, until_micros: 108_000_000 }));
        let mut second = Bidder::new("other".into(), TTL);
        second.looked(Some(first.clone()), at(0));
        assert_eq!(second.other(at(7), 87_000), Some("me"));
        assert_eq!(second.other(at(8), 88_000), None, "nobody has renewed it for its whole life");
        let (taken, window) = swap(&mut second, at(8), 88_000);
        assert_eq!((taken.epoch, window.after_micros), (2, 108_000_000));
        assert!(window.until_micros > window.after_micros);
        assert_eq!(window.place(88_000_000), 108_000_001);
        assert_eq!(window.place(i64::MAX), window.until_micros);
    }

    #[test]
    fn a_lease_is_free_once_given_back_or_over_and_not_while_somebody_renews_it() {
        assert_eq!(bidder(Some(row(4, "", 90_000))).other(at(0), 80_000), None);
        assert_eq!(bidder(Some(row(4, "me", 90_000))).other(at(0), 80_000), None, "a tenure of ours that was not given back");
        let mut waiting = bidder(Some(row(4, "they", 90_000)));
        assert_eq!(waiting.other(at(0), 90_000), Some("they"));
        assert_eq!(waiting.other(at(0), 90_001), None);
        waiting.looked(Some(row(4, "they", 93_000)), at(7));
        assert_eq!(waiting.other(at(14), 85_000), Some("they"));
    }

    #[test]
    fn a_renewal_keeps_the_beginning_of_the_window_and_never_shortens_it() {
        let mut holder = bidder(Some(row(2, "", 50_000)));
        swap(&mut holder, at(0), 60_000);
        let (renewed, window) = swap(&mut holder, at(3), 63_000);
        assert_eq!((renewed.epoch, window), (3, Window { after_micros: 50_000_000, until_micros: 71_000_000 }));
        // The wall clock was set back.
        let (_, window) = swap(&mut holder, at(6), 10_000);
        assert_eq!(window.until_micros, 71_001_000);
    }

    #[test]
    fn a_renewal_whose_answer_was_lost_is_ours_and_a_tenure_of_another_is_not() {
        let mut holder = bidder(None);
        let (held, _) = swap(&mut holder, at(0), 60_000);
        holder.looked(Some(row(held.epoch, "me", 99_000)), at(1));
        assert_eq!(swap(&mut holder, at(1), 60_000).1, Window { after_micros: 0, until_micros: 99_001_000 });
        holder.looked(Some(row(held.epoch + 1, "they", 99_000)), at(2));
        assert_eq!(holder.other(at(2), 60_000), Some("they"));
    }

    #[test]
    fn a_lease_given_back_ends_now_but_not_before_its_last_write() {
        let window = Window { after_micros: 5_000_000, until_micros: 9_000_000 };
        assert_eq!(given_back(&row(3, "me", 9_000), window, 7_000_500), row(3, "", 7_001));
        assert_eq!(given_back(&row(3, "me", 9_000), window, 1_000_000), row(3, "", 5_001));
    }
}
