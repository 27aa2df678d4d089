//! Which offsets of one partition are complete, and how far may be committed.
//!
//! The committed position is the lowest incomplete offset (G5): never over a gap, never backwards.

use std::collections::BTreeMap;

use super::mutant::{Mutant, mutant};
use super::time::Moment;

/// A set of offsets kept as ranges: own duplicates lie densely, and there may be a million of them
/// behind a long backlog.
#[derive(Debug, Default, Clone)]
pub struct OffsetRanges {
    // start -> end (exclusive); ranges neither touch nor overlap.
    ranges: BTreeMap<i64, i64>,
}

impl OffsetRanges {
    /// Adds one offset; `false` when it was there already.
    pub fn insert(&mut self, offset: i64) -> bool {
        let before = self.ranges.range(..=offset).next_back().map(|(start, end)| (*start, *end));
        if let Some((start, end)) = before {
            if offset < end {
                return false;
            }
            if offset == end {
                let merged = self.ranges.remove(&(offset + 1)).unwrap_or(offset + 1);
                self.ranges.insert(start, merged);
                return true;
            }
        }
        let end = self.ranges.remove(&(offset + 1)).unwrap_or(offset + 1);
        self.ranges.insert(offset, end);
        true
    }

    /// Whether the offset is in the set.
    #[must_use]
    pub fn contains(&self, offset: i64) -> bool {
        self.ranges.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }

    /// Forgets everything below `offset`.
    pub fn forget_below(&mut self, offset: i64) {
        let kept = self.ranges.split_off(&offset);
        let last = self.ranges.pop_last();
        self.ranges = kept;
        if let Some((_, end)) = last.filter(|(_, end)| *end > offset) {
            self.ranges.insert(offset, end);
        }
    }

    /// Number of ranges: the measure of memory.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }
}

/// What a received offset is to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Not seen before: to be worked on.
    New,
    /// Complete before it came: an own duplicate whose visit is recorded.
    Done,
    /// Delivered before within this assignment.
    Repeated,
}

/// One partition's book.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    incomplete: BTreeMap<i64, Moment>,
    ahead: OffsetRanges,
    // One past the highest offset received; `None` before the first.
    end: Option<i64>,
    committed: Option<i64>,
}

impl Ledger {
    /// Enters a message that was read from the log.
    pub fn receive(&mut self, offset: i64, now: Moment) -> Received {
        if self.has_received(offset) && !mutant(Mutant::RepeatsAreNew) {
            return Received::Repeated;
        }
        self.end = Some(offset + 1);
        let done = self.ahead.contains(offset);
        self.ahead.forget_below(offset + 1);
        if done {
            return Received::Done;
        }
        self.incomplete.insert(offset, now);
        Received::New
    }

    /// Whether an offset was read already.
    #[must_use]
    pub fn has_received(&self, offset: i64) -> bool {
        self.end.is_some_and(|end| offset < end)
    }

    /// Completes an offset that was received. Completing twice changes nothing.
    pub fn complete(&mut self, offset: i64) {
        self.incomplete.remove(&offset);
    }

    /// Notes that an offset not yet received needs no work when it comes. `false` when it was
    /// received before: then its completion goes the ordinary way.
    pub fn complete_ahead(&mut self, offset: i64) -> bool {
        if self.has_received(offset) {
            return false;
        }
        self.ahead.insert(offset);
        true
    }

    /// The position that may be committed: the lowest incomplete offset, or the end.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        self.incomplete.keys().next().copied().filter(|_| !mutant(Mutant::CommitOverGap)).or(self.end)
    }

    /// The position, if it lies beyond what was taken before.
    pub fn take_commit(&mut self) -> Option<i64> {
        let position = self.position()?;
        if self.committed.is_some_and(|committed| position <= committed) {
            return None;
        }
        self.committed = Some(position);
        Some(position)
    }

    /// What was taken did not arrive: the position is taken again, also where it has not moved.
    pub fn commit_again(&mut self) {
        self.committed = None;
    }

    /// Received offsets that are still incomplete since before `limit`.
    pub fn held_since(&self, limit: Moment) -> impl Iterator<Item = i64> + '_ {
        self.incomplete.iter().filter(move |(_, since)| **since < limit).map(|(offset, _)| *offset)
    }

    /// How many received offsets are incomplete.
    #[must_use]
    pub fn incomplete_count(&self) -> usize {
        self.incomplete.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const T: Moment = Moment(Duration::ZERO);

    proptest! {
        #[test]
        fn ranges_behave_like_a_set(offsets in prop::collection::vec(0i64..200, 0..300), cut in 0i64..200) {
            let mut ranges = OffsetRanges::default();
            let mut set = BTreeSet::new();
            for offset in offsets {
                prop_assert_eq!(ranges.insert(offset), set.insert(offset));
            }
            ranges.forget_below(cut);
            let set = set.split_off(&cut);
            for offset in 0..200 {
                prop_assert_eq!(ranges.contains(offset), set.contains(&offset), "{}", offset);
            }
        }

        // G5: whatever the order of completions, gaps in the log, redeliveries and own duplicates,
        // the position never passes an incomplete offset and commits never go backwards.
        #[test]
        fn g5_never_commits_over_an_incomplete_offset(
            gaps in prop::collection::vec(1i64..4, 1..60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let mut ledger = Ledger::default();
            let mut log: Vec<i64> = gaps.iter().scan(10, |at, gap| { *at += gap; Some(*at) }).collect();
            log.reverse();
            let mut open: BTreeSet<i64> = BTreeSet::new();
            let mut last = i64::MIN;
            for pick in order {
                match pick.index(4) {
                    0 | 1 => if let Some(offset) = log.pop() {
                        match ledger.receive(offset, T) {
                            Received::New => { open.insert(offset); }
                            Received::Done => {}
                            Received::Repeated => prop_assert!(false, "offset {} was new", offset),
                        }
                        prop_assert_eq!(ledger.receive(offset, T), Received::Repeated);
                    },
                    2 => if let Some(offset) = open.iter().nth(pick.index(open.len().max(1))).copied() {
                        ledger.complete(offset);
                        ledger.complete(offset);
                        open.remove(&offset);
                    },
                    _ => if let Some(offset) = log.get(pick.index(log.len().max(1))) {
                        prop_assert!(ledger.complete_ahead(*offset));
                    },
                }
                if let Some(position) = ledger.take_commit() {
                    prop_assert!(open.iter().all(|offset| *offset >= position));
                    prop_assert!(position > last);
                    last = position;
                }
            }
        }
    }
}
