//! One suite per port, run against every implementation (design D10).
//!
//! The in-process backends always run. Kafka, Cassandra and Redis run when `KAFKA_BROKERS`,
//! `CASSANDRA_CONTACT_POINTS` and `REDIS_URL` are set (`npm test` sets them); with
//! `REQUIRE_SERVICES=1` their absence is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod ports;
