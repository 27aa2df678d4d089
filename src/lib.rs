//! The native engine of `@flowcraft/kafka-adapter`.
//!
//! # Layout
//!
//! | module | what it holds | may use |
//! |---|---|---|
//! | [`kernel`] | pure decisions: ledgers, run bookkeeping, documents, timestamps, errors | std, serde, thiserror |
//! | [`ports`] | the traits the engine drives and what each of them guarantees | kernel |
//! | [`engine`] | the one control loop and the IO tasks around it | kernel, ports, tokio |
//! | [`backends`] | Kafka, Cassandra, Redis, the JavaScript-object bridge, in-process | kernel, ports |
//! | `ffi` | napi: convert, call, convert | everything; only here napi is named |
//!
//! The graph of a run (nodes, edges, joins, loops) is decided by Flowcraft's own exports in
//! `src/js`; no module here knows a blueprint (design D1).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod kernel;
pub mod ports;

#[cfg(feature = "engine")]
pub mod backends;
#[cfg(feature = "engine")]
pub mod engine;
// With backends to drive, which no layer below this one may name.
#[cfg(all(test, feature = "embedded"))]
#[path = "../__test__/rust/engine_commits.rs"]
mod engine_commits;
#[cfg(all(test, feature = "embedded"))]
#[path = "../__test__/rust/engine_writes.rs"]
mod engine_writes;
#[cfg(feature = "ffi")]
mod ffi;
