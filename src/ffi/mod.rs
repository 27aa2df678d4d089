//! The only module that names napi: convert, call, convert.
//!
//! | file | what crosses there |
//! |---|---|
//! | `worker` | `NativeWorker`: life cycle and step commits of a worker |
//! | `bridge` | events to JavaScript, requests and their answers |
//! | `config` | the worker's configuration |
//! | `ports` | which backend stands behind which port |
//! | `outcome` | results and errors |

mod bridge;
mod config;
mod outcome;
mod ports;
mod token;
mod worker;
