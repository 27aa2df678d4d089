pub use crate::kernel::time::Moment;

/// Both clocks of the engine.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic, counting suspended time.
    fn now(&self) -> Moment;
    /// Wall clock in microseconds since the epoch: client timestamps of writes.
    fn wall_micros(&self) -> i64;
}
