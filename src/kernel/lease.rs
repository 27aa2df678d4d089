//! The lease of a partition: who may record work for its runs, and until when.
//!
//! Kept as a key in the coordination store (design D3, the variant for the two documented tables). Its
//! promise is weaker than a conditional write in Cassandra: it holds as far as the coordination store
//! keeps its keys. What a paused owner still has in flight loses by write timestamps.

use std::time::Duration;

use super::time::Moment;

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
}
