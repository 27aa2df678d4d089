//! What the driver reports, in the engine's words.

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

use crate::kernel::error::{FlowError, Retry, Service};

/// A failed request. The driver's texts name nodes, levels and the server's words, never bound values.
pub(super) fn store(operation: impl Into<String>, error: &ExecutionError) -> FlowError {
    failed(operation, error.to_string(), retry(error))
}

/// A failed preparation.
pub(super) fn prepare(operation: impl Into<String>, error: &PrepareError) -> FlowError {
    failed(operation, error.to_string(), retry_prepare(error))
}

/// An answer that is not what was asked for: a bug, or a table changed under us.
pub(super) fn unexpected(operation: impl Into<String>, problem: impl ToString) -> FlowError {
    failed(operation, problem.to_string(), Retry::Never)
}

pub(super) fn failed(operation: impl Into<String>, cause: String, retry: Retry) -> FlowError {
    FlowError::Store { service: Service::Cassandra, operation: operation.into(), cause, retry }
}

/// Whether the same request can succeed later. A timeout leaves the outcome unknown; our writes carry
/// their timestamp, so that sending them again is right either way.
pub(super) fn retry(error: &ExecutionError) -> Retry {
    match error {
        ExecutionError::BadQuery(_) => Retry::Never,
        ExecutionError::PrepareError(error) => retry_prepare(error),
        ExecutionError::LastAttemptError(error) => retry_attempt(error),
        _ => Retry::Later,
    }
}

fn retry_prepare(error: &PrepareError) -> Retry {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => retry_attempt(first_attempt),
        _ => Retry::Later,
    }
}

fn retry_attempt(error: &RequestAttemptError) -> Retry {
    match error {
        RequestAttemptError::DbError(error, text) => retry_db(error, text),
        RequestAttemptError::BrokenConnectionError(_)
        | RequestAttemptError::UnableToAllocStreamId
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch => Retry::Later,
        _ => Retry::Never,
    }
}

fn retry_db(error: &DbError, text: &str) -> Retry {
    match error {
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::ProtocolError => Retry::Never,
        // A mutation above half a commit log segment is refused as a server error, again and again.
        DbError::ServerError if text.contains("too large") => Retry::Never,
        _ => Retry::Later,
    }
}
