//! The suites and what they share.

mod inbox;
mod job_log;
mod kafka;
mod services;
