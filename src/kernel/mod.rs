//! Pure decisions. Nothing here reads a clock, draws a random number or does IO: time and
//! randomness are arguments, and what to do is returned as a value.

pub mod document;
pub mod effects;
pub mod error;
pub mod job;
pub mod lease;
pub mod ledger;
pub mod lifecycle;
pub mod machine;
pub(crate) mod mutant;
pub mod outcome;
pub mod partition;
pub mod pulse;
pub mod retention;
pub mod retry;
pub mod stored;
pub mod time;
pub mod timer;
pub mod timestamps;
