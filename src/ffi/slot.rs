use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::engine::{Command, Engine};
use crate::kernel::error::FlowError;

/// The engine of a worker: absent until it is up, and told to stop when nobody can do so any more.
pub struct EngineSlot {
    engine: Mutex<Option<Engine>>,
    abandoned: watch::Sender<bool>,
}

impl Default for EngineSlot {
    fn default() -> Self {
        Self { engine: Mutex::default(), abandoned: watch::Sender::new(false) }
    }
}

impl EngineSlot {
    /// The engine, if it is up.
    pub fn get(&self) -> Option<Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the engine in.
    pub fn fill(&self, engine: Engine) {
        let mut slot = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(engine);
        // Under the lock: `abandon` sees the engine, or this sees that it came too late.
        if *self.abandoned.borrow()
            && let Some(engine) = slot.as_ref()
        {
            leave(engine);
        }
    }

    /// Nobody is left to stop the engine. Only signals.
    pub fn abandon(&self) {
        let slot = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        self.abandoned.send_replace(true);
        if let Some(engine) = slot.as_ref() {
            leave(engine);
        }
    }

    /// A start, given up as soon as nobody is left who wants it: reaching a service may take for ever.
    ///
    /// # Errors
    /// What the start answers; `NotRunning` when it was given up.
    pub async fn while_wanted<T>(&self, starting: impl Future<Output = Result<T, FlowError>>) -> Result<T, FlowError> {
        let mut abandoned = self.abandoned.subscribe();
        tokio::select! {
            result = starting => result,
            _ = abandoned.wait_for(|abandoned| *abandoned) => Err(FlowError::NotRunning { state: "abandoned".into(), action: "start".into() }),
        }
    }
}

fn leave(engine: &Engine) {
    let (nobody, _) = tokio::sync::oneshot::channel();
    engine.command(Command::Stop(std::time::Duration::ZERO, nobody));
}
