//! Client timestamps of a run's writes.

use super::mutant::{Mutant, mutant};

/// The increasing timestamps of one run's writes (design D5): the clock, but always above the last
/// one and above what was found in the store, so that no own write hides behind an older one.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteClock {
    last_micros: i64,
}

impl WriteClock {
    /// Starts above a write time found in the store.
    #[must_use]
    pub fn above(stored_micros: Option<i64>) -> Self {
        Self { last_micros: stored_micros.unwrap_or(0) }
    }

    /// The next timestamp.
    pub fn next(&mut self, wall_micros: i64) -> i64 {
        self.last_micros = if mutant(Mutant::ClockGoesBack) { wall_micros } else { wall_micros.max(self.last_micros.saturating_add(1)) };
        self.last_micros
    }

    /// Notes a foreign write seen in the store.
    pub fn saw(&mut self, stored_micros: i64) {
        self.last_micros = self.last_micros.max(stored_micros);
    }

    /// The last timestamp given out or seen.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last_micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_grows_even_when_the_clock_stands_or_goes_back() {
        let mut clock = WriteClock::above(Some(1_000));
        assert_eq!(clock.next(500), 1_001);
        assert_eq!(clock.next(500), 1_002);
        assert_eq!(clock.next(5_000), 5_000);
        clock.saw(9_000);
        assert_eq!(clock.next(5_001), 9_001);
    }
}
