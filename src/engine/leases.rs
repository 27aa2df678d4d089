//! Keeps the leases of this worker's partitions (design D3).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::Ports;
use super::Settings;
use super::health::Board;
use super::worker::Event;
use crate::kernel::error::FlowError;
use crate::kernel::lease::{Lease, Standing, lease_key};
use crate::ports::{Coordination, LogLevel};

/// Whether a write of a partition may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    Granted,
    // Wait: the lease is to be renewed or lost.
    Withheld,
    // The partition is not ours any more.
    Refused,
}

/// The leases as the IO tasks see them.
#[derive(Clone, Default)]
pub(super) struct LeaseTable(Arc<RwLock<HashMap<i32, Option<Lease>>>>);

impl LeaseTable {
    /// Lets a partition without lease be written.
    pub(super) fn grant_unleased(&self, partition: i32) {
        self.set(partition, None);
    }

    fn set(&self, partition: i32, lease: Option<Lease>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(partition, lease);
    }

    pub(super) fn remove(&self, partition: i32) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// Judged directly before each send (G8).
    pub(super) fn permission(&self, partition: i32, ports: &Ports) -> Permission {
        match self.0.read().unwrap_or_else(PoisonError::into_inner).get(&partition) {
            None => Permission::Refused,
            // No coordination store: the assignment alone decides.
            Some(None) => Permission::Granted,
            Some(Some(lease)) => match lease.standing(ports.clock.now()) {
                Standing::Valid => Permission::Granted,
                Standing::Lapsed => Permission::Withheld,
            },
        }
    }
}

/// One task per assigned partition.
pub(super) struct LeaseKeeper {
    ports: Ports,
    settings: Arc<Settings>,
    table: LeaseTable,
    board: Board,
    events: UnboundedSender<Event>,
    tasks: HashMap<i32, JoinHandle<()>>,
}

impl LeaseKeeper {
    pub(super) fn new(ports: Ports, settings: Arc<Settings>, table: LeaseTable, board: Board, events: UnboundedSender<Event>) -> Self {
        Self { ports, settings, table, board, events, tasks: HashMap::new() }
    }

    /// Asks for a partition's lease; [`Event::Leased`] follows.
    pub(super) fn acquire(&mut self, partition: i32) {
        self.cancel(partition);
        let Some(coordination) = self.ports.coordination.clone() else {
            self.table.set(partition, None);
            let _ = self.events.send(Event::Leased(partition));
            return;
        };
        let holder = Holder {
            key: lease_key(&self.settings.topic, partition),
            me: format!("{} ({})", self.settings.group, self.settings.worker_id),
            ttl: self.settings.lease_ttl,
            partition,
            topic: self.settings.topic.clone(),
            coordination,
            ports: self.ports.clone(),
            table: self.table.clone(),
            board: self.board.clone(),
            events: self.events.clone(),
        };
        self.tasks.insert(partition, tokio::spawn(holder.keep()));
    }

    /// Stops renewing without giving the key back.
    pub(super) fn cancel(&mut self, partition: i32) {
        if let Some(task) = self.tasks.remove(&partition) {
            task.abort();
        }
        self.table.remove(partition);
        self.board.well(&place(partition));
    }

    /// Takes leases out of the keeper, to be given back outside the control loop. Writes of these
    /// partitions are refused from now on.
    pub(super) fn detach(&mut self, partitions: &[i32]) -> Detached {
        partitions.iter().for_each(|partition| self.cancel(*partition));
        let keys = partitions.iter().map(|partition| lease_key(&self.settings.topic, *partition)).collect();
        let me = format!("{} ({})", self.settings.group, self.settings.worker_id);
        Detached { coordination: self.ports.coordination.clone(), keys, me }
    }
}

/// Leases on their way back to the store.
pub(super) struct Detached {
    coordination: Option<Arc<dyn Coordination>>,
    keys: Vec<String>,
    me: String,
}

impl Detached {
    /// Deletes the keys that are ours, so that the next owner need not wait. Best effort: they expire by
    /// themselves.
    pub(super) async fn give_back(self) {
        let Some(coordination) = self.coordination else { return };
        for key in self.keys {
            if matches!(coordination.get(&key).await, Ok(Some(holder)) if holder == self.me) {
                let _ = coordination.delete(&key).await;
            }
        }
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

fn place(partition: i32) -> String {
    format!("lease of partition {partition}")
}

struct Holder {
    key: String,
    me: String,
    ttl: Duration,
    partition: i32,
    topic: String,
    coordination: Arc<dyn Coordination>,
    ports: Ports,
    table: LeaseTable,
    board: Board,
    events: UnboundedSender<Event>,
}

enum Attempt {
    Held,
    HeldByOther(String),
    Unknown(FlowError),
}

impl Holder {
    async fn keep(self) {
        let mut leased = false;
        loop {
            let asked = self.ports.clock.now();
            match self.attempt().await {
                Attempt::Held => {
                    self.table.set(self.partition, Some(Lease::granted(asked, self.ttl)));
                    if self.board.well(&place(self.partition)) {
                        self.ports.host.log(LogLevel::Info, format!("[KafkaAdapter] lease of partition {} is held again", self.partition));
                    }
                    if !std::mem::replace(&mut leased, true) {
                        let _ = self.events.send(Event::Leased(self.partition));
                    }
                }
                Attempt::HeldByOther(holder) => {
                    if std::mem::replace(&mut leased, false) {
                        self.table.remove(self.partition);
                        let _ = self.events.send(Event::LeaseLost(self.partition));
                    }
                    self.complain(&FlowError::LeaseHeld { topic: self.topic.clone(), partition: self.partition, holder });
                }
                Attempt::Unknown(error) => self.complain(&error),
            }
            // A third of the life: two renewals may fail before the lease lapses. Asking is quicker.
            let pause = if leased { self.ttl / 3 } else { Duration::from_millis(100).min(self.ttl / 10) };
            tokio::time::sleep(pause).await;
        }
    }

    // A worker of our own group that died leaves its lease behind; that is no second group.
    fn is_former(&self, error: &FlowError) -> bool {
        let group = self.me.rsplit_once(" (").map_or("", |(group, _)| group);
        matches!(error, FlowError::LeaseHeld { holder, .. } if holder.rsplit_once(" (").is_some_and(|(other, _)| other == group))
    }

    fn complain(&self, error: &FlowError) {
        if self.is_former(error) {
            if self.board.trouble(&place(self.partition), error.code().as_str(), &error.to_string()) {
                let text = format!(
                    "[KafkaAdapter] partition {} waits up to {} s for the lease of a worker of this group that ended without giving it back",
                    self.partition,
                    self.ttl.as_secs()
                );
                self.ports.host.log(LogLevel::Info, text);
            }
            return;
        }
        if self.board.trouble(&place(self.partition), error.code().as_str(), &error.to_string()) {
            self.ports.host.log(LogLevel::Warn, format!("[KafkaAdapter] partition {} waits for its lease: {error}", self.partition));
        }
    }

    // `extend_ttl` would also extend somebody else's key, so the holder is read before and after it.
    async fn attempt(&self) -> Attempt {
        match self.try_attempt().await {
            Ok(None) => Attempt::Held,
            Ok(Some(holder)) => Attempt::HeldByOther(holder),
            Err(error) => Attempt::Unknown(error),
        }
    }

    async fn try_attempt(&self) -> Result<Option<String>, FlowError> {
        let ttl = self.ttl.as_secs().max(1);
        match self.coordination.get(&self.key).await? {
            Some(holder) if holder == self.me => {
                let extended = self.coordination.extend_ttl(&self.key, ttl).await?;
                if extended && self.coordination.get(&self.key).await?.as_deref() == Some(&self.me) {
                    return Ok(None);
                }
            }
            Some(holder) => return Ok(Some(holder)),
            None => {}
        }
        if self.coordination.set_if_not_exist(&self.key, &self.me, ttl).await? {
            return Ok(None);
        }
        let holder = self.coordination.get(&self.key).await?.unwrap_or_else(|| "another worker".into());
        Ok((holder != self.me).then_some(holder))
    }
}
