//! The clocks of this machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kernel::time::Moment;
use crate::ports::Clock;

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment(since_boot())
    }

    fn wall_micros(&self) -> i64 {
        wall_micros()
    }
}

/// The wall clock, microseconds since the epoch.
pub(crate) fn wall_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

// CLOCK_BOOTTIME counts suspended time; CLOCK_MONOTONIC does not, and a lease must not survive a nap.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

// macOS's and Windows' monotonic clocks behind std are the closest there without a further dependency.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed() + Duration::from_secs(1)
}
