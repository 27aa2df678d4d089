//! Time as a value.

use std::time::Duration;

/// Microseconds in a millisecond: write times are microseconds, due and lease times are milliseconds.
pub const MICROS_PER_MS: i64 = 1_000;

/// Time since an arbitrary start, on a clock that goes on while the machine is suspended
/// (`CLOCK_BOOTTIME` on Linux): leases are judged by it (G8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// This moment plus a span.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
