//! The runtime everything native runs on: one per process, and it outlives every environment.
//!
//! napi has a runtime of its own, which it shuts down with the last environment that has loaded the addon. A worker
//! thread that is terminated can be that one: the engine's tasks were then dropped half-way, its group member went on
//! polling on its own thread with nobody behind it, and no partition came free. An engine ends by its own stop alone.

use std::io;
use std::sync::LazyLock;

use napi::Env;
use napi::bindgen_prelude::{PromiseRaw, ToNapiValue};
use tokio::runtime::{Builder, Handle, Runtime};

use super::outcome::Outcome;
use crate::kernel::error::FlowError;

// Never dropped: its threads end with the process, and keep no process alive.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    // First of all users of OpenSSL, because rust-openssl registers no clean-up at exit: that would free what the
    // threads of engines and of librdkafka still use when the process exits in the middle of work.
    openssl_sys::init();
    Builder::new_multi_thread().enable_all().thread_name("flowcraft").build()
});

/// The runtime's handle.
///
/// # Errors
/// `Internal` when the system gave no threads.
pub fn handle() -> Result<Handle, FlowError> {
    let failed = |error: &io::Error| FlowError::Internal { place: "native runtime", detail: format!("no threads: {error}") };
    RUNTIME.as_ref().map(|runtime| runtime.handle().clone()).map_err(failed)
}

/// Begins `work` on the runtime and answers with the promise of its outcome.
///
/// The work must own what it uses: an environment that ends frees its native objects while work of theirs goes on.
///
/// # Errors
/// When the environment makes no promise any more.
pub fn promise<T, W>(env: &Env, work: W) -> napi::Result<PromiseRaw<'_, Outcome<T>>>
where
    T: ToNapiValue + Send + 'static,
    W: Future<Output = Result<T, FlowError>> + Send + 'static,
{
    let task = handle().map(|runtime| runtime.spawn(work));
    env.spawn_future(async move {
        let ended = |error: tokio::task::JoinError| FlowError::Internal { place: "native runtime", detail: error.to_string() };
        let result = match task {
            Ok(task) => task.await.map_err(ended).and_then(|result| result),
            Err(error) => Err(error),
        };
        Ok(Outcome(result))
    })
}
