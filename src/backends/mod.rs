//! The implementations of the ports: Kafka, Cassandra, Redis and, in process, all of them.
//!
//! Each folder names its driver crate and nobody else does. Everything a driver reports is turned
//! into a [`FlowError`](crate::kernel::error::FlowError) at the edge of its folder.

pub mod clock;
pub mod js;
pub mod schema_plan;
pub mod secret;
pub mod tables;
pub mod tls;

#[cfg(feature = "ffi")]
pub mod bystander;
#[cfg(feature = "cassandra")]
pub mod cassandra;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "redis")]
pub mod redis;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a holder panicked: every critical section here leaves its data consistent
/// at each step, so the data is fit for use.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
