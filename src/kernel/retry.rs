//! Back-off between attempts of our own operations.

use std::time::Duration;

/// Exponential back-off with full jitter and a cap.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Upper bound of the first pause.
    pub first: Duration,
    /// Upper bound of every pause.
    pub cap: Duration,
}

impl Backoff {
    /// For stores and brokers: quick at first, then every few seconds.
    pub const STORE: Self = Self { first: Duration::from_millis(20), cap: Duration::from_secs(3) };

    /// The pause before attempt `attempt + 1` (`attempt` counts from 1); `jitter` in `0.0..=1.0` is
    /// passed in so that the kernel draws no random numbers. At least half of the bound is waited.
    #[must_use]
    pub fn pause(self, attempt: u32, jitter: f64) -> Duration {
        let factor = 2u32.saturating_pow(attempt.saturating_sub(1).min(20));
        let bound = self.first.saturating_mul(factor).min(self.cap);
        bound.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_never_overflows() {
        let pauses: Vec<_> = [1, 2, 3, 9, 40, u32::MAX].map(|n| Backoff::STORE.pause(n, 1.0).as_millis()).into();
        assert_eq!(pauses, [20, 40, 80, 3000, 3000, 3000]);
        assert_eq!(Backoff::STORE.pause(1, 0.0).as_millis(), 10);
    }
}
