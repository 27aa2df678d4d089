//! The only module that names napi: convert, call, convert.
//!
//! | file | what crosses there |
//! |---|---|
//! | `worker` | `NativeWorker`: life cycle of a worker, and what sessions tell it |
//! | `turn` | openings and step commits of a turn of the event loop |
//! | `bridge` | events to JavaScript, requests and their answers |
//! | `config` | the worker's configuration |
//! | `ports` | which backend stands behind which port |
//! | `cassandra`, `redis` | tables and keys for the exported classes that work without a worker |
//! | `outcome` | results and errors |
//! | `json` | what the glue hands over as text |
//! | `changes` | changed keys |
//! | `runtime` | where all of it runs |
//! | `slot` | the engine of a worker, which may come up after its environment has ended |

mod bridge;
mod cassandra;
mod changes;
mod config;
mod json;
mod outcome;
mod ports;
mod redis;
mod runtime;
mod slot;
mod token;
mod turn;
mod worker;
