//! The suites and what they share.

mod cassandra;
mod context_store;
mod coordination;
mod embedded;
mod inbox;
mod job_log;
mod kafka;
mod lease_store;
mod redis;
mod redis_servers;
mod services;
mod status_store;
mod timer_store;
