//! Keeps the leases of this worker's partitions (design D3).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::Ports;
use super::Settings;
use super::event::Event;
use super::health::Board;
use crate::kernel::error::FlowError;
use crate::kernel::lease::{Bid, Bidder, Lease, LeaseRow, Standing, Window, given_back, lease_key};
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::time::MICROS_PER_MS;
use crate::ports::{Clock, Coordination, LeaseStore, LogLevel};

/// A swap that fails for a row that has changed since is tried again at once, so often.
const SWAPS: usize = 3;

/// Whether a write of a partition may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    Granted,
    // Wait: the lease is to be renewed or lost.
    Withheld,
    // The partition is not ours any more.
    Refused,
}

/// The row of a lease that is held, with its window of write times.
type Tenure = (LeaseRow, Window);

#[derive(Clone)]
pub(super) struct Held {
    lease: Lease,
    // `None` for a key in the coordination store.
    tenure: Option<Tenure>,
}

/// The leases as the IO tasks see them. A partition without one may be written, too, when nothing keeps leases.
#[derive(Clone, Default)]
pub(super) struct LeaseTable(Arc<RwLock<HashMap<i32, Option<Held>>>>);

impl LeaseTable {
    /// Lets a partition without lease be written.
    pub(super) fn grant_unleased(&self, partition: i32) {
        self.set(partition, None);
    }

    fn set(&self, partition: i32, held: Option<Held>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(partition, held);
    }

    fn remove(&self, partition: i32) -> Option<Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&partition).flatten()
    }

    /// Judged directly before each send (G8).
    pub(super) fn permission(&self, partition: i32, ports: &Ports) -> Permission {
        match self.0.read().unwrap_or_else(PoisonError::into_inner).get(&partition) {
            None => Permission::Refused,
            // Nothing keeps leases: the assignment alone decides.
            Some(None) => Permission::Granted,
            Some(Some(held)) => match held.lease.standing(ports.clock.now()) {
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
    // Which asking of a partition is the present one: what an earlier one reports late is about another assignment.
    turns: HashMap<i32, u64>,
    last_turn: u64,
}

impl LeaseKeeper {
    pub(super) fn new(ports: Ports, settings: Arc<Settings>, table: LeaseTable, board: Board, events: UnboundedSender<Event>) -> Self {
        Self { ports, settings, table, board, events, tasks: HashMap::new(), turns: HashMap::new(), last_turn: 0 }
    }

    /// Asks for a partition's lease; [`Event::Leased`] follows.
    pub(super) fn acquire(&mut self, partition: i32) {
        self.release(partition);
        self.last_turn += 1;
        let turn = self.last_turn;
        self.turns.insert(partition, turn);
        let Some(register) = Register::of(&self.ports, &self.settings.topic) else {
            self.table.set(partition, None);
            let _ = self.events.send(Event::Leased(partition, turn, None));
            return;
        };
        let me = self.me();
        let holder = Holder {
            bidder: Bidder::new(me.clone(), self.settings.lease_ttl),
            me,
            ttl: self.settings.lease_ttl,
            partition,
            turn,
            topic: self.settings.topic.clone(),
            register,
            ports: self.ports.clone(),
            table: self.table.clone(),
            board: self.board.clone(),
            events: self.events.clone(),
        };
        self.tasks.insert(partition, tokio::spawn(holder.keep()));
    }

    fn me(&self) -> String {
        format!("{} ({})", self.settings.group, self.settings.worker_id)
    }

    /// Whether an event of a lease is about the present assignment of its partition.
    pub(super) fn is_current(&self, partition: i32, turn: u64) -> bool {
        self.turns.get(&partition) == Some(&turn)
    }

    /// Stops renewing, without giving the lease back.
    pub(super) fn release(&mut self, partition: i32) -> Option<Held> {
        self.turns.remove(&partition);
        if let Some(task) = self.tasks.remove(&partition) {
            task.abort();
        }
        self.board.well(&place(partition));
        self.table.remove(partition)
    }

    /// Takes leases out of the keeper, to be given back outside the control loop. Writes of these
    /// partitions are refused from now on.
    pub(super) fn detach(&mut self, partitions: &[i32]) -> Detached {
        let held = partitions.iter().map(|partition| (*partition, self.release(*partition).and_then(|held| held.tenure))).collect();
        Detached { register: Register::of(&self.ports, &self.settings.topic), clock: self.ports.clock.clone(), me: self.me(), held }
    }
}

/// Where leases are kept.
enum Register {
    Rows(Arc<dyn LeaseStore>),
    Keys { coordination: Arc<dyn Coordination>, topic: String },
}

impl Register {
    fn of(ports: &Ports, topic: &str) -> Option<Self> {
        if let Some(leases) = &ports.leases {
            return Some(Self::Rows(leases.clone()));
        }
        ports.coordination.clone().map(|coordination| Self::Keys { coordination, topic: topic.to_owned() })
    }
}

/// Leases on their way back to where they are kept.
pub(super) struct Detached {
    register: Option<Register>,
    clock: Arc<dyn Clock>,
    me: String,
    held: Vec<(i32, Option<Tenure>)>,
}

impl Detached {
    /// Gives back what is ours, so that the next owner need not wait. Best effort: leases end by themselves.
    pub(super) async fn give_back(self) {
        match &self.register {
            _ if mutant(Mutant::KeepLeases) => {}
            None => {}
            Some(Register::Rows(leases)) => {
                for (partition, tenure) in &self.held {
                    if let Some(tenure) = tenure {
                        self.give_row_back(leases.as_ref(), *partition, tenure).await;
                    }
                }
            }
            Some(Register::Keys { coordination, topic }) => {
                for (partition, _) in &self.held {
                    let key = lease_key(topic, *partition);
                    if matches!(coordination.get(&key).await, Ok(Some(holder)) if holder == self.me) {
                        let _ = coordination.delete(&key).await;
                    }
                }
            }
        }
    }

    async fn give_row_back(&self, leases: &dyn LeaseStore, partition: i32, (row, window): &Tenure) {
        let last = given_back(row, *window, self.clock.wall_micros());
        if !matches!(leases.swap(partition, Some(row), &last).await, Ok(false)) {
            return;
        }
        // A renewal that was on its way has been made since.
        let Ok(Some(found)) = leases.find(partition).await else { return };
        if found.epoch == row.epoch && found.holder == self.me {
            let _ = leases.swap(partition, Some(&found), &last).await;
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
    bidder: Bidder,
    me: String,
    ttl: Duration,
    partition: i32,
    turn: u64,
    topic: String,
    register: Register,
    ports: Ports,
    table: LeaseTable,
    board: Board,
    events: UnboundedSender<Event>,
}

enum Attempt {
    Held(Option<Tenure>),
    HeldByOther(String),
}

impl Holder {
    async fn keep(mut self) {
        // The epoch of the tenure that the machine knows of; keys have none.
        let mut known: Option<Option<i64>> = None;
        loop {
            let asked = self.ports.clock.now();
            match self.attempt().await {
                Ok(Attempt::Held(tenure)) => {
                    let (epoch, window) = tenure.as_ref().map(|(row, window)| (row.epoch, *window)).unzip();
                    self.table.set(self.partition, Some(Held { lease: Lease::granted(asked, self.ttl), tenure }));
                    if self.board.well(&place(self.partition)) {
                        self.ports.host.log(LogLevel::Info, format!("[KafkaAdapter] lease of partition {} is held again", self.partition));
                    }
                    self.announce(known.replace(epoch), epoch, window);
                }
                Ok(Attempt::HeldByOther(holder)) => {
                    if known.take().is_some() {
                        self.table.remove(self.partition);
                        let _ = self.events.send(Event::LeaseLost(self.partition, self.turn));
                    }
                    self.complain(&FlowError::LeaseHeld { topic: self.topic.clone(), partition: self.partition, holder });
                }
                Err(error) => self.complain(&error),
            }
            if known.is_some() && mutant(Mutant::NeverRenew) {
                return;
            }
            // A third of the life: two renewals may fail before the lease lapses. Asking is quicker.
            let pause = if known.is_some() { self.ttl / 3 } else { Duration::from_millis(100).min(self.ttl / 10) };
            tokio::time::sleep(pause).await;
        }
    }

    fn announce(&self, before: Option<Option<i64>>, epoch: Option<i64>, window: Option<Window>) {
        if before == Some(epoch) {
            let _ = self.events.send(Event::Renewed(self.partition, self.turn, window));
            return;
        }
        // In between somebody else may have had it.
        if before.is_some() {
            let _ = self.events.send(Event::LeaseLost(self.partition, self.turn));
        }
        let _ = self.events.send(Event::Leased(self.partition, self.turn, window));
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

    async fn attempt(&mut self) -> Result<Attempt, FlowError> {
        match &self.register {
            Register::Rows(leases) => {
                let leases = leases.clone();
                self.ask_for_row(leases.as_ref()).await
            }
            Register::Keys { coordination, topic } => self.ask_for_key(coordination.as_ref(), &lease_key(topic, self.partition)).await,
        }
    }

    async fn ask_for_row(&mut self, leases: &dyn LeaseStore) -> Result<Attempt, FlowError> {
        for _ in 0..SWAPS {
            let wall_ms = self.ports.clock.wall_micros() / MICROS_PER_MS;
            if let Bid::Swap { seen, row } = self.bidder.bid(self.ports.clock.now(), wall_ms)
                && leases.swap(self.partition, seen.as_ref(), &row).await?
            {
                let window = self.bidder.won(seen.as_ref(), row.clone());
                return Ok(Attempt::Held(Some((row, window))));
            }
            let found = leases.find(self.partition).await?;
            let now = self.ports.clock.now();
            self.bidder.looked(found, now);
            if let Some(holder) = self.bidder.other(now, wall_ms) {
                return Ok(Attempt::HeldByOther(holder.to_owned()));
            }
        }
        Ok(Attempt::HeldByOther("another worker".into()))
    }

    // `extend_ttl` would also extend somebody else's key, so the holder is read before and after it.
    async fn ask_for_key(&self, coordination: &dyn Coordination, key: &str) -> Result<Attempt, FlowError> {
        const HELD: Attempt = Attempt::Held(None);
        let ttl = self.ttl.as_secs().max(1);
        match coordination.get(key).await? {
            Some(holder) if holder == self.me => {
                let extended = coordination.extend_ttl(key, ttl).await?;
                if extended && coordination.get(key).await?.as_deref() == Some(&self.me) {
                    return Ok(HELD);
                }
            }
            Some(holder) => return Ok(Attempt::HeldByOther(holder)),
            None => {}
        }
        if coordination.set_if_not_exist(key, &self.me, ttl).await? {
            return Ok(HELD);
        }
        let holder = coordination.get(key).await?.unwrap_or_else(|| "another worker".into());
        Ok(if holder == self.me { HELD } else { Attempt::HeldByOther(holder) })
    }
}
