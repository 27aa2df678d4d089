//! Every port driven through JavaScript objects of the user: mocks, wrappers, overridden hooks, clients
//! with settings that cannot be honoured natively (design D9).

mod log;
mod stores;

use async_trait::async_trait;

pub use log::{JsSink, JsSource};
pub use stores::{JsContexts, JsCoordination, JsStatuses};

use crate::kernel::error::{FlowError, Service};

/// Asks JavaScript to do something and waits for its answer (the requests of docs/bridge.md).
#[async_trait]
pub trait JsCaller: Send + Sync + 'static {
    /// `args` and the answer are JSON texts; the answer of an operation without result is `null`.
    async fn call(&self, operation: &'static str, args: String) -> Result<String, FlowError>;
}

// An answer of the glue that is not what the table of requests says.
fn unexpected(operation: &'static str, error: &serde_json::Error) -> FlowError {
    FlowError::Store {
        service: Service::JavaScript,
        operation: operation.to_owned(),
        cause: format!("unexpected answer: {error}"),
        retry: crate::kernel::error::Retry::Later,
    }
}
