//! Rust to JavaScript: one weak threadsafe function that carries batches of events (design D7).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use napi::bindgen_prelude::{Array, FnArgs, Function, JsValue, ToNapiValue, TypeName, ValueType};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status, sys};
use serde_json::json;
use tokio::sync::oneshot;

use crate::backends::js::JsCaller;
use crate::engine::{Command, Commands};
use crate::kernel::error::FlowError;
use crate::kernel::lifecycle::Lifecycle;
use crate::ports::{Executor, Host, LogLevel, OutboundJob, ToSession};

/// One event as docs/bridge.md lists them.
pub enum JsEvent {
    Session(ToSession),
    Request { id: u32, operation: &'static str, args: String },
    Log { level: LogLevel, text: String },
    State { state: &'static str, detail: String },
    Pulse,
}

/// A batch of events, converted on the JavaScript thread.
pub struct Batch(Vec<JsEvent>);

type EventFunction = ThreadsafeFunction<Batch, (), FnArgs<(Batch,)>, Status, false, true>;

type Answer = oneshot::Sender<Result<String, FlowError>>;

/// The Rust end of the bridge.
pub struct Bridge {
    events: EventFunction,
    runtime: tokio::runtime::Handle,
    next_request: AtomicU32,
    requests: Mutex<HashMap<u32, (&'static str, Answer)>>,
    submissions: Mutex<HashMap<u64, oneshot::Sender<Result<(), FlowError>>>>,
    // Only the way to the engine: the engine holds the bridge.
    commands: OnceLock<Commands>,
    abandoned: AtomicBool,
}

impl Bridge {
    /// Makes the bridge over the glue's `onBatch`.
    pub fn new(on_batch: &Function<'_, FnArgs<(Batch,)>, ()>, runtime: tokio::runtime::Handle) -> napi::Result<Arc<Self>> {
        let events = on_batch.build_threadsafe_function::<Batch>().weak::<true>().build_callback(|context| Ok(FnArgs::from((context.value,))))?;
        Ok(Arc::new(Self {
            events,
            runtime,
            next_request: AtomicU32::new(1),
            requests: Mutex::default(),
            submissions: Mutex::default(),
            commands: OnceLock::new(),
            abandoned: AtomicBool::new(false),
        }))
    }

    /// Gives the bridge its engine; commands before that are not possible.
    pub fn attach(&self, commands: Commands) {
        let _ = self.commands.set(commands);
    }

    /// Writes a log line.
    pub fn log(&self, level: LogLevel, text: String) {
        self.emit(vec![JsEvent::Log { level, text }]);
    }

    // A closing environment takes no more events; nobody is left to hear them. Answers whether it did.
    fn emit(&self, events: Vec<JsEvent>) -> bool {
        self.events.call(Batch(events), ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok
    }

    /// The environment ends: what was asked of it is never answered.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The answer to a request; late ones are ignored.
    pub fn reply(&self, id: u32, error: Option<String>, result: Option<String>) {
        let Some((operation, answer)) = self.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) else { return };
        let outcome = match error {
            Some(cause) => Err(FlowError::Callback { hook: operation.to_owned(), cause }),
            None => Ok(result.unwrap_or_else(|| "null".to_owned())),
        };
        let _ = answer.send(outcome);
    }

    /// Registers the promise of a submitted job.
    pub fn expect(&self, submission: u64) -> oneshot::Receiver<Result<(), FlowError>> {
        let (sender, receiver) = oneshot::channel();
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner).insert(submission, sender);
        receiver
    }
}

#[async_trait]
impl JsCaller for Bridge {
    async fn call(&self, operation: &'static str, args: String) -> Result<String, FlowError> {
        let id = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (operation, sender));
        let emitted = self.emit(vec![JsEvent::Request { id, operation, args }]);
        if !emitted || self.abandoned.load(Ordering::SeqCst) {
            // The sender goes with it, which is the answer below.
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
        let gone = |_| FlowError::Callback { hook: operation.to_owned(), cause: "the JavaScript environment is gone".into() };
        receiver.await.map_err(gone)?
    }
}

/// Handles of the bridge as the engine's ports.
pub struct BridgePort(pub Arc<Bridge>);

impl Executor for BridgePort {
    fn deliver(&self, batch: Vec<ToSession>) {
        self.0.emit(batch.into_iter().map(JsEvent::Session).collect());
    }
}

impl Host for BridgePort {
    fn log(&self, level: LogLevel, text: String) {
        self.0.log(level, text);
    }

    fn state(&self, state: Lifecycle, detail: &str) {
        self.0.emit(vec![JsEvent::State { state: state.as_str(), detail: json!({ "reason": detail }).to_string() }]);
    }

    fn ask_for_pulse(&self) {
        self.0.emit(vec![JsEvent::Pulse]);
    }

    fn hand_over(&self, token: u64, job: &OutboundJob) {
        let bridge = self.0.clone();
        let args = json!({ "runId": job.run, "blueprintId": job.blueprint, "nodeId": job.node }).to_string();
        self.0.runtime.spawn(async move {
            let result = bridge.call("handle", args).await.map(|_| ());
            if let Some(commands) = bridge.commands.get() {
                commands.send(Command::Handled(token, result));
            }
        });
    }

    fn settle(&self, submission: u64, result: Result<(), FlowError>) {
        if let Some(promise) = self.0.submissions.lock().unwrap_or_else(PoisonError::into_inner).remove(&submission) {
            let _ = promise.send(result);
        }
    }
}

// --- Conversion, on the JavaScript thread ---

impl TypeName for Batch {
    fn type_name() -> &'static str {
        "EventBatch"
    }
    fn value_type() -> ValueType {
        ValueType::Object
    }
}

impl ToNapiValue for Batch {
    #[allow(unsafe_code)]
    unsafe fn to_napi_value(raw: sys::napi_env, batch: Self) -> napi::Result<sys::napi_value> {
        let env = Env::from_raw(raw);
        let mut out = env.create_array(u32::try_from(batch.0.len()).unwrap_or(u32::MAX))?;
        for (at, event) in batch.0.into_iter().enumerate() {
            let event = event.into_array(&env)?;
            out.set(u32::try_from(at).unwrap_or(u32::MAX), event)?;
        }
        Ok(out.raw())
    }
}

impl JsEvent {
    fn into_array<'env>(self, env: &'env Env) -> napi::Result<Array<'env>> {
        match self {
            Self::Session(event) => session_array(env, event),
            Self::Request { id, operation, args } => {
                let mut out = tuple(env, 4, 7, id)?;
                out.set(2, operation)?;
                out.set(3, args)?;
                Ok(out)
            }
            Self::Log { level, text } => {
                let level = match level {
                    LogLevel::Debug => "debug",
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                    LogLevel::Error => "error",
                };
                let mut out = env.create_array(3)?;
                out.set(0, 8u32)?;
                out.set(1, level)?;
                out.set(2, text)?;
                Ok(out)
            }
            Self::Pulse => {
                let mut out = env.create_array(1)?;
                out.set(0, 20u32)?;
                Ok(out)
            }
            Self::State { state, detail } => {
                let mut out = env.create_array(3)?;
                out.set(0, 9u32)?;
                out.set(1, state)?;
                out.set(2, detail)?;
                Ok(out)
            }
        }
    }
}

fn tuple<'env>(env: &'env Env, length: u32, kind: u32, handle: u32) -> napi::Result<Array<'env>> {
    let mut out = env.create_array(length)?;
    out.set(0, kind)?;
    out.set(1, handle)?;
    Ok(out)
}

fn session_array<'env>(env: &'env Env, event: ToSession) -> napi::Result<Array<'env>> {
    match event {
        ToSession::Open { handle, run, blueprint, nodes, commands, entries, checkpoint, existed, more_may_come } => {
            let mut out = tuple(env, 11, 1, handle)?;
            out.set(2, run)?;
            out.set(3, blueprint)?;
            out.set(4, nodes)?;
            out.set(5, entries.into_iter().flat_map(|(key, raw)| [key, raw]).collect::<Vec<_>>())?;
            out.set(6, checkpoint)?;
            out.set(7, existed)?;
            out.set(8, more_may_come)?;
            let (tokens, commands): (Vec<u32>, Vec<String>) = commands.into_iter().unzip();
            out.set(9, tokens)?;
            out.set(10, commands)?;
            Ok(out)
        }
        ToSession::Durable { handle, seq } => {
            let mut out = tuple(env, 3, 2, handle)?;
            out.set(2, seq)?;
            Ok(out)
        }
        ToSession::Merge { handle, changes } => {
            let mut out = tuple(env, 3, 3, handle)?;
            out.set(2, changes.into_iter().flat_map(|(key, raw)| [key, raw.unwrap_or_default()]).collect::<Vec<_>>())?;
            Ok(out)
        }
        ToSession::Stray { handle, node } => text_event(env, 4, handle, node),
        ToSession::Command { handle, token, command } => {
            let mut out = tuple(env, 4, 13, handle)?;
            out.set(2, token)?;
            out.set(3, command)?;
            Ok(out)
        }
        ToSession::Abort { handle, reason } => text_event(env, 5, handle, reason),
        ToSession::Close { handle, reason } => text_event(env, 6, handle, reason),
        ToSession::Start { handle, visits } => {
            let mut out = tuple(env, 3, 10, handle)?;
            out.set(2, visits)?;
            Ok(out)
        }
        ToSession::Drain { handle } => tuple(env, 2, 11, handle),
        ToSession::AllSeen { handle } => tuple(env, 2, 12, handle),
        ToSession::Refreshed { handle } => tuple(env, 2, 14, handle),
    }
}

fn text_event<'env>(env: &'env Env, kind: u32, handle: u32, text: String) -> napi::Result<Array<'env>> {
    let mut out = tuple(env, 3, kind, handle)?;
    out.set(2, text)?;
    Ok(out)
}
