//! `NativeWorker`: the engine's door for the glue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{FnArgs, Function, PromiseRaw, Result, Uint32ArraySlice};
use napi_derive::napi;

use super::bridge::{Batch, Bridge};
use super::config::WorkerConfig;
use super::json::read;
use super::outcome::Outcome;
use super::ports::connect;
use super::runtime::{handle, promise};
use super::slot::EngineSlot;
use super::turn;
use crate::engine::{self, Command};
use crate::kernel::error::{Code, FlowError};
use crate::kernel::job::Job;
use crate::ports::{LogLevel, OutboundJob};

/// A worker: one topic, one group.
#[napi]
pub struct NativeWorker {
    config: Arc<WorkerConfig>,
    bridge: Arc<Bridge>,
    engine: Arc<EngineSlot>,
    next_submission: AtomicU64,
}

type Promised<'env, T> = PromiseRaw<'env, Outcome<T>>;

impl Drop for NativeWorker {
    // The environment ended (a worker thread was terminated) or the object was collected while running: nobody
    // can stop it any more, and as a silent member of its group it would keep its partitions from others. Only
    // signals; the loop leaves the group by itself.
    fn drop(&mut self) {
        self.bridge.abandon();
        self.engine.abandon();
    }
}

fn not_running(action: &str) -> FlowError {
    FlowError::NotRunning { state: "not started".into(), action: action.to_owned() }
}

/// A constructor answers no [`Outcome`]: its error carries the code itself.
fn coded(error: FlowError) -> napi::Error<&'static str> {
    napi::Error::new(error.code().as_str(), error.to_string())
}

#[napi]
impl NativeWorker {
    /// Takes the configuration and the glue's `onBatch`; touches nothing outside.
    #[napi(constructor, catch_unwind)]
    pub fn new(config_json: String, on_batch: Function<'_, FnArgs<(Batch,)>, ()>) -> Result<Self, &'static str> {
        let config: WorkerConfig = read("worker configuration", &config_json).map_err(coded)?;
        let runtime = handle().map_err(coded)?;
        let bridge = Bridge::new(&on_batch, runtime).map_err(|error| napi::Error::new(Code::Internal.as_str(), error.reason.clone()))?;
        Ok(Self { config: Arc::new(config), bridge, engine: Arc::default(), next_submission: AtomicU64::new(1) })
    }

    /// Reaches the services and joins the group.
    #[napi]
    pub fn start<'env>(&self, env: &'env Env) -> Result<Promised<'env, ()>> {
        let (config, bridge, slot) = (self.config.clone(), self.bridge.clone(), self.engine.clone());
        promise(env, async move {
            let starting = async {
                let settings = config.settings();
                let ports = connect(&config, &bridge, &settings.start_limit).await?;
                engine::start(ports, settings, |engine| {
                    bridge.attach(engine.commands());
                    slot.fill(engine.clone());
                })
                .await
            };
            slot.while_wanted(starting).await.map(|_| ())
        })
    }

    /// Drains and stops within `deadline_ms`; answers with the report as JSON.
    #[napi]
    pub fn stop<'env>(&self, env: &'env Env, deadline_ms: f64) -> Result<Promised<'env, String>> {
        let engine = self.engine.get();
        promise(env, async move {
            // The engine stays reachable meanwhile: draining sessions still record their steps.
            let report = match engine {
                Some(engine) => engine.stop(Duration::from_secs_f64(deadline_ms.clamp(0.0, 1e9) / 1_000.0)).await,
                None => engine::Report { drained: true, abandoned_runs: 0 },
            };
            Ok(serde_json::to_string(&report).unwrap_or_default())
        })
    }

    /// The state of the worker as JSON; `null` before `start`.
    #[napi(catch_unwind)]
    pub fn health(&self) -> Option<String> {
        self.engine.get().and_then(|engine| serde_json::to_string(&engine.health()).ok())
    }

    /// Sends a job; resolves when acknowledged.
    #[napi]
    pub fn enqueue<'env>(&self, env: &'env Env, run: String, blueprint: String, node: String) -> Result<Promised<'env, ()>> {
        let engine = self.engine.get();
        promise(env, async move {
            let engine = engine.ok_or_else(|| not_running("enqueueJob"))?;
            engine.enqueue(OutboundJob { run, blueprint, node, ..OutboundJob::default() }).await
        })
    }

    /// Sends a command (raw JSON) to a run's owner; resolves when acknowledged.
    #[napi]
    pub fn send_command<'env>(&self, env: &'env Env, run: String, command: String) -> Result<Promised<'env, ()>> {
        let engine = self.engine.get();
        promise(env, async move {
            let engine = engine.ok_or_else(|| not_running("sendCommand"))?;
            engine.enqueue(OutboundJob { run, command: Some(command), ..OutboundJob::default() }).await
        })
    }

    /// What nodes that need a durable timer are told where there is no place for one; `null` where there is.
    #[napi(catch_unwind)]
    pub fn timers_missing(&self) -> Option<String> {
        self.engine.get().and_then(|engine| engine.timers_missing())
    }

    /// A node is about to read a copy that may be old; event 14 follows.
    #[napi(catch_unwind)]
    pub fn refresh(&self, handle: u32) {
        self.command(Command::Refresh(handle));
    }

    /// A command of a session changes nothing.
    #[napi(catch_unwind)]
    pub fn command_done(&self, handle: u32, token: u32) {
        self.command(Command::CommandDone(handle, token));
    }

    /// A session cannot make anything of a command.
    #[napi(catch_unwind)]
    pub fn refuse_command(&self, handle: u32, token: u32, code: String, reason: String) {
        self.command(Command::CommandRefused(handle, token, known_code(&code), reason));
    }

    /// Runs a job or a command (raw JSON) handed in by JavaScript; resolves when it is completed.
    #[napi]
    pub fn submit<'env>(&self, env: &'env Env, run: String, blueprint: String, node: String, command: Option<String>) -> Result<Promised<'env, ()>> {
        let submission = self.next_submission.fetch_add(1, Ordering::Relaxed);
        let settled = self.engine.get().map(|engine| {
            let settled = self.bridge.expect(submission);
            engine.command(Command::Submit(submission, Job { run, blueprint, node, command }));
            settled
        });
        promise(env, async move {
            let settled = settled.ok_or_else(|| not_running("handleJob"))?;
            settled.await.unwrap_or_else(|_| Err(not_running("handleJob")))
        })
    }

    /// The answer to a request.
    #[napi(catch_unwind)]
    pub fn reply(&self, request: u32, error: Option<String>, result: Option<String>) {
        self.bridge.reply(request, error, result);
    }

    /// What sessions have said in a turn of the event loop: openings and step commits. Each wake-up of the engine is a system call, in
    /// which the JavaScript thread may lose its processor, so many runs share one.
    #[napi(catch_unwind)]
    pub fn turn(&self, text: String, layout: Uint32ArraySlice<'_>) {
        let Some(engine) = self.engine.get() else { return };
        match turn::commands(&text, &layout) {
            Ok(said) => engine.turn(said),
            Err(error) => self.bridge.log(LogLevel::Error, format!("[KafkaAdapter] {error}")),
        }
    }

    /// A session cannot run its run.
    #[napi(catch_unwind)]
    pub fn refuse(&self, handle: u32, code: String, reason: String, status: Option<String>) {
        self.command(Command::Refused(handle, known_code(&code), reason, status));
    }

    /// The versions of blueprints that this worker has, each as parked runs name it; replaces what was told before.
    #[napi(catch_unwind)]
    pub fn versions(&self, keys: Vec<String>) {
        self.command(Command::Versions(keys));
    }

    /// The JavaScript thread answers.
    #[napi(catch_unwind)]
    pub fn alive(&self) {
        self.command(Command::Alive);
    }

    /// A session that was told to drain has nothing running any more.
    #[napi(catch_unwind)]
    pub fn drained(&self, handle: u32) {
        self.command(Command::Drained(handle));
    }

    fn command(&self, command: Command) {
        if let Some(engine) = self.engine.get() {
            engine.command(command);
        }
    }
}

fn known_code(code: &str) -> &'static str {
    Code::ALL.iter().find(|known| known.as_str() == code).map_or(Code::Internal.as_str(), |known| known.as_str())
}
