//! The control loop: the only owner of the machine (house rule 2).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::event::{Command, Event};
use super::groups::{Company, Outcome, Write};
use super::health::{Board, Health};
use super::io::Io;
use super::leases::{LeaseKeeper, LeaseTable};
use super::tells::Tells;
use super::{Ports, Settings, shutdown};
use crate::kernel::error::FlowError;
use crate::kernel::lifecycle::Lifecycle;
use crate::kernel::machine::{Action, Config, Machine, Now, VIRTUAL_PARTITION};
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::pulse::Pulse;
use crate::kernel::time::Moment;
use crate::ports::{JobSink, LogLevel, OutboundJob, RawMessage, SourceEvent};

/// How often offsets are committed, at most.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// How often time-driven decisions are taken.
const TICK_EVERY: Duration = Duration::from_millis(250);
/// How many events are taken before what they caused is carried out. What sessions say in one turn of the event loop can be a step of
/// each run; the store is to write the first of them while the loop still looks at the others.
const EVENTS_PER_TURN: usize = 64;
/// After the abort signal, how long results may still come in.
const ABORT_GRACE: Duration = Duration::from_millis(500);

/// A running worker, as the outside sees it.
#[derive(Clone)]
pub struct Engine {
    commands: Commands,
    board: Board,
    // Of the ports only this one: whoever keeps a stopped engine must not keep its connections open.
    direct_sink: Arc<dyn JobSink>,
    timers_missing: Option<String>,
}

/// The way to the loop, and nothing that belongs to the worker.
#[derive(Clone)]
pub struct Commands(UnboundedSender<Event>);

impl Commands {
    /// Hands a command to the loop. Late ones, after the end, are dropped.
    pub fn send(&self, command: Command) {
        let _ = self.0.send(Event::Command(command));
    }

    /// The same of what sessions have said in a turn of the event loop, in its order.
    pub fn turn(&self, mut said: Vec<Command>) {
        while said.len() > EVENTS_PER_TURN {
            let rest = said.split_off(EVENTS_PER_TURN);
            let _ = self.0.send(Event::Turn(said));
            said = rest;
        }
        let _ = self.0.send(Event::Turn(said));
    }
}

impl Engine {
    /// See [`Commands::send`].
    pub fn command(&self, command: Command) {
        self.commands.send(command);
    }

    /// See [`Commands::turn`].
    pub fn turn(&self, said: Vec<Command>) {
        self.commands.turn(said);
    }

    /// The way to the loop alone.
    #[must_use]
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// The state of the worker.
    #[must_use]
    pub fn health(&self) -> Health {
        self.board.read()
    }

    /// Sends a job on behalf of the user.
    ///
    /// # Errors
    /// What the sink reports.
    pub async fn enqueue(&self, job: OutboundJob) -> Result<(), FlowError> {
        let (sender, receiver) = oneshot::channel();
        self.direct_sink.send(&job, Box::new(move |result| drop(sender.send(result))));
        let gone = |_| FlowError::NotRunning { state: "closed".into(), action: "enqueueJob".into() };
        receiver.await.map_err(gone)?.map(|_| ())
    }

    /// Why a node cannot have a durable timer, if it cannot.
    #[must_use]
    pub fn timers_missing(&self) -> Option<String> {
        self.timers_missing.clone()
    }

    /// Drains and stops; see [`shutdown`].
    pub async fn stop(&self, deadline: Duration) -> shutdown::Report {
        let (sender, receiver) = oneshot::channel();
        self.command(Command::Stop(deadline, sender));
        receiver.await.unwrap_or_default()
    }
}

/// Starts a worker: reaches the services, joins the group, then answers.
///
/// # Errors
/// Why the services could not be reached in time. Waiting for the group alone is never an error; it is
/// logged every ten seconds.
pub async fn start(ports: Ports, settings: Settings, on_engine: impl FnOnce(&Engine)) -> Result<Engine, FlowError> {
    let settings = Arc::new(settings);
    let board = Board::new();
    set_state(&ports, &board, Lifecycle::Starting, "");
    let limit = &settings.start_limit;
    let facts = limit.wait(ports.host.as_ref(), "reaching Kafka", |_| ports.source.prepare()).await?;
    if let Some(retention) = settings.machine.retention {
        // Of the limit it takes what Kafka has left of it; nothing depends on the answer.
        let asked = tokio::time::timeout(limit.patience(), ports.source.keeps_beyond(retention)).await;
        if let Ok(Some(warning)) = asked {
            ports.host.log(LogLevel::Warn, format!("[KafkaAdapter] {warning}"));
        }
    }
    if let Some(coordination) = &ports.coordination {
        limit.wait(ports.host.as_ref(), "reaching the coordination store", |_| coordination.get("flowcraft:ping")).await?;
    }
    let (events, receiver) = unbounded_channel();
    let timers_missing = ports.timers.as_ref().err().cloned();
    let engine = Engine { commands: Commands(events.clone()), board: board.clone(), direct_sink: ports.direct_sink.clone(), timers_missing };
    // Sessions may answer before the group is joined.
    on_engine(&engine);
    let (joined, group) = oneshot::channel();
    let worker = Worker::new(ports.clone(), settings.clone(), board.clone(), events.clone(), facts.partitions, joined);
    tokio::spawn(worker.run(receiver));
    set_state(&ports, &board, Lifecycle::Joining, "");
    let sink = events.clone();
    ports.source.start(Arc::new(move |event| drop(sink.send(Event::Source(event))))).await?;
    wait_for_group(&ports, &settings, group).await?;
    set_state(&ports, &board, Lifecycle::Running, "");
    Ok(engine)
}

async fn wait_for_group(ports: &Ports, settings: &Settings, mut group: oneshot::Receiver<Result<(), FlowError>>) -> Result<(), FlowError> {
    loop {
        match tokio::time::timeout(Duration::from_secs(10), &mut group).await {
            Ok(Ok(result)) => return result,
            Ok(Err(_)) => return Err(FlowError::NotRunning { state: "closed".into(), action: "start".into() }),
            Err(_) => ports.host.log(LogLevel::Warn, format!("[KafkaAdapter] still waiting to join consumer group \"{}\"", settings.group)),
        }
    }
}

pub(super) fn set_state(ports: &Ports, board: &Board, state: Lifecycle, detail: &str) {
    board.update(|health| health.state = state.as_str());
    ports.host.state(state, detail);
}

struct Revocation {
    partitions: Vec<i32>,
    open: Vec<i32>,
    abort_at: Moment,
    aborted: bool,
    done: std::sync::mpsc::Sender<()>,
}

pub(super) struct Worker {
    pub(super) machine: Machine,
    pub(super) ports: Ports,
    pub(super) settings: Arc<Settings>,
    pub(super) board: Board,
    pub(super) keeper: LeaseKeeper,
    pub(super) pulse: Pulse,
    pub(super) tells: Tells,
    io: Arc<Io>,
    events: UnboundedSender<Event>,
    revocations: Vec<Revocation>,
    handing_over: HashMap<u64, (RawMessage, String)>,
    joined: Option<oneshot::Sender<Result<(), FlowError>>>,
    // An idle member gets nothing that would tell it that the brokers are back.
    looking_for_kafka: bool,
    pub(super) stopping: Option<shutdown::Stopping>,
    ended: Option<Option<FlowError>>,
}

impl Worker {
    fn new(
        ports: Ports,
        settings: Arc<Settings>,
        board: Board,
        events: UnboundedSender<Event>,
        partitions: i32,
        joined: oneshot::Sender<Result<(), FlowError>>,
    ) -> Self {
        let leases = LeaseTable::default();
        let keeper = LeaseKeeper::new(ports.clone(), settings.clone(), leases.clone(), board.clone(), events.clone());
        let io = Arc::new(Io {
            ports: ports.clone(),
            leases,
            board: board.clone(),
            events: events.clone(),
            topic: settings.topic.clone(),
            log_outcomes: settings.log_outcomes,
            published: Arc::default(),
            company: Company::default(),
        });
        let config = Config { layout: ports.contexts.layout(), timers: ports.timers.is_ok(), ..settings.machine.clone() };
        let machine = Machine::new(config, partitions);
        let (revocations, handing_over) = (Vec::new(), HashMap::new());
        let pulse = Pulse::new(settings.max_stall);
        Self {
            machine,
            ports,
            settings,
            board,
            keeper,
            pulse,
            tells: Tells::default(),
            io,
            events,
            revocations,
            handing_over,
            joined: Some(joined),
            looking_for_kafka: false,
            stopping: None,
            ended: None,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { moment: self.ports.clock.now(), wall_micros: self.ports.clock.wall_micros() }
    }

    async fn run(mut self, mut receiver: UnboundedReceiver<Event>) {
        if self.settings.virtual_source {
            self.machine.assign(VIRTUAL_PARTITION);
            self.io.leases.grant_unleased(VIRTUAL_PARTITION);
            self.machine.activate(VIRTUAL_PARTITION, self.now());
        }
        let mut tick = tokio::time::interval(TICK_EVERY);
        let mut commit = tokio::time::interval(COMMIT_EVERY);
        commit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(event) = receiver.recv() => {
                    let mut weight = self.on(event);
                    while weight < EVENTS_PER_TURN && let Ok(event) = receiver.try_recv() {
                        weight += self.on(event);
                    }
                    // Progress of the log must not wait for a pause in the events.
                    if is_due(&mut commit).await {
                        self.commit();
                    }
                }
                _ = commit.tick() => self.commit(),
                _ = tick.tick() => self.tick(),
                () = self.tells.wait() => {}
            }
            self.act();
            if let Some(due) = self.tells.take_due(self.machine.load().0, Instant::now()) {
                self.ports.executor.deliver(due);
            }
            if self.may_end() {
                break;
            }
        }
        shutdown::finish(self, receiver).await;
    }

    /// Why the worker ends, if not because it was stopped.
    pub(super) fn failure(&self) -> Option<FlowError> {
        self.ended.clone().flatten()
    }

    fn may_end(&self) -> bool {
        self.ended.is_some() || self.stopping.as_ref().is_some_and(|stopping| stopping.is_drained(self.now().moment))
    }

    // Answers how many events it was.
    fn on(&mut self, event: Event) -> usize {
        let now = self.now();
        match event {
            Event::Turn(said) => {
                let weight = said.len();
                for command in said {
                    self.on_command(command, now);
                }
                return weight;
            }
            Event::Command(command) => self.on_command(command, now),
            Event::Source(event) => self.on_source(event, now),
            Event::Leased(partition, turn, _) | Event::Renewed(partition, turn, _) | Event::LeaseLost(partition, turn)
                if !self.keeper.is_current(partition, turn) => {}
            Event::Leased(partition, _, window) => {
                self.machine.set_window(partition, window);
                match self.machine.leasing(partition) {
                    Some(epoch) if self.counts_openings() => self.io.see_backlog(partition, epoch),
                    _ => self.machine.activate(partition, now),
                }
            }
            Event::Renewed(partition, _, window) => self.machine.set_window(partition, window),
            Event::BacklogSeen(partition, epoch, end) => {
                if self.machine.backlog(partition, epoch, end) {
                    self.machine.activate(partition, now);
                }
            }
            Event::Examined(handle, openings) => self.machine.examined(handle, openings, now),
            Event::LeaseLost(partition, _) => {
                let position = self.machine.position(partition);
                self.machine.assign(partition);
                if let Some(position) = position {
                    self.ports.source.rewind(partition, position);
                }
            }
            Event::Loaded(handle, result) => self.machine.loaded(handle, result, now),
            Event::StatusFound(handle, result) => self.machine.status_found(handle, result, now),
            Event::Written(handle, result) => self.machine.written(handle, result, now),
            Event::Foreign(handle, stored) => self.machine.foreign(handle, stored, now),
            Event::Looked(handle, theirs) => self.machine.looked(handle, theirs, now),
            Event::Published(handle) => self.machine.published(handle, now),
            Event::Facts(facts) => self.machine.set_partition_count(facts.partitions),
            Event::TimersFound(partition, epoch, found, until_ms) => self.machine.timers_found(partition, epoch, found, until_ms),
            Event::ParkedFound(partition, epoch, found) => self.machine.parked_found(partition, epoch, found),
            Event::KafkaAnswers => self.kafka_works(),
            Event::EndFound(handle, end) => self.machine.end_found(handle, end),
            Event::Sent(token, delivered) => {
                // Also the first of those that were tried again: the topic takes messages.
                self.machine.withhold(false);
                self.machine.sent(token, delivered);
            }
            Event::TopicRefuses => self.machine.withhold(true),
            Event::SendAgain(..) if mutant(Mutant::SendOnce) => {}
            Event::SendAgain(token, job, attempt) => self.io.later(attempt, move |io| io.send(token, job, attempt)),
            Event::Buried(token) => self.machine.buried(token),
            Event::BuryAgain(token, letter, attempt) => self.io.later(attempt, move |io| io.bury(token, *letter, attempt)),
            Event::Released(partitions) => self.released(&partitions),
        }
        1
    }

    fn on_source(&mut self, event: SourceEvent, now: Now) {
        match event {
            SourceEvent::Messages(batch) => {
                self.kafka_works();
                self.machine.messages(batch, now);
            }
            SourceEvent::Assigned(partitions) => {
                self.kafka_works();
                self.io.look_at_topic();
                for partition in partitions {
                    self.machine.assign(partition);
                    self.keeper.acquire(partition);
                }
            }
            SourceEvent::Revoking { partitions, done } => self.revoke(partitions, done, now),
            SourceEvent::Lost(partitions) => {
                self.ports
                    .host
                    .log(LogLevel::Warn, format!("[KafkaAdapter] partitions {partitions:?} were lost; their unrecorded work is done again elsewhere"));
                for partition in partitions {
                    self.keeper.release(partition);
                    self.machine.forget_partition(partition, "partition lost");
                }
            }
            SourceEvent::NotCommitted(_) if mutant(Mutant::CommitOnce) => {}
            SourceEvent::NotCommitted(partitions) => self.machine.commit_again(&partitions),
            SourceEvent::Joined => self.joined(Ok(())),
            SourceEvent::Trouble(error) => {
                if self.board.trouble("kafka", error.code().as_str(), &error.to_string()) {
                    self.ports.host.log(LogLevel::Warn, format!("[KafkaAdapter] {error}"));
                }
                if matches!(error, FlowError::Unreachable { .. }) && !std::mem::replace(&mut self.looking_for_kafka, true) {
                    self.io.look_for_kafka();
                }
            }
            SourceEvent::Ended(error) => {
                if let Some(error) = &error {
                    self.joined(Err(error.clone()));
                }
                self.ended = Some(error);
            }
        }
    }

    // librdkafka tells of trouble only: what the brokers hand over, or an answer to a question, says that they are there
    // again.
    fn kafka_works(&mut self) {
        self.looking_for_kafka = false;
        if self.board.well("kafka") {
            self.ports.host.log(LogLevel::Info, "[KafkaAdapter] kafka works again".to_owned());
        }
    }

    fn joined(&mut self, result: Result<(), FlowError>) {
        self.board.well("kafka");
        if let Some(joined) = self.joined.take() {
            let _ = joined.send(result);
        }
    }

    fn on_command(&mut self, command: Command, now: Now) {
        match command {
            Command::Opened(handle, due) => self.machine.opened(handle, due),
            Command::Refused(handle, code, reason, status) => self.machine.refuse(handle, code, reason, status, now),
            Command::Step(handle, step) => self.machine.step(handle, *step, now),
            Command::Drained(handle) => self.machine.session_drained(handle),
            Command::Refresh(handle) => self.machine.refresh(handle, now),
            Command::CommandDone(handle, token) => self.machine.command_done(handle, token),
            Command::CommandRefused(handle, token, code, reason) => self.machine.command_refused(handle, token, code, reason),
            Command::Submit(submission, job) => self.machine.submit(submission, job),
            Command::Handled(token, result) => {
                if let Some((message, run)) = self.handing_over.remove(&token) {
                    self.machine.handled(token, message, run, result);
                }
            }
            Command::Versions(keys) => self.machine.has_versions(keys),
            Command::Alive => self.thread_answered(),
            Command::Stop(deadline, reply) => self.begin_stop(deadline, reply, now),
        }
    }

    fn begin_stop(&mut self, deadline: Duration, reply: oneshot::Sender<shutdown::Report>, now: Now) {
        if let Some(stopping) = &mut self.stopping {
            return stopping.also(reply);
        }
        set_state(&self.ports, &self.board, Lifecycle::Draining, "");
        let mut open = self.machine.owned();
        self.ports.source.pause(&open);
        if self.settings.virtual_source {
            open.push(VIRTUAL_PARTITION);
        }
        if mutant(Mutant::StopAtOnce) {
            open.clear();
        }
        self.stopping = Some(shutdown::Stopping::new(&open, now.moment.after(deadline), reply));
        for partition in open {
            self.machine.drain(partition);
        }
    }

    fn revoke(&mut self, partitions: Vec<i32>, done: std::sync::mpsc::Sender<()>, now: Now) {
        let grace = if self.pulse.is_stalled() { Duration::ZERO } else { self.settings.revoke_grace };
        let abort_at = now.moment.after(grace);
        self.revocations.push(Revocation { open: partitions.clone(), partitions: partitions.clone(), abort_at, aborted: false, done });
        for partition in partitions {
            if self.machine.is_known(partition) && !mutant(Mutant::RevokeAtOnce) {
                self.machine.drain(partition);
            } else {
                self.drained(partition);
            }
        }
    }

    fn drained(&mut self, partition: i32) {
        if let Some(stopping) = &mut self.stopping {
            stopping.drained(partition);
        }
        for revocation in &mut self.revocations {
            revocation.open.retain(|open| *open != partition);
        }
        self.give_up_drained();
    }

    // Commits and gives back what is drained, outside the loop, then lets the source go on.
    fn give_up_drained(&mut self) {
        let (done, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.revocations).into_iter().partition(|revocation| revocation.open.is_empty());
        self.revocations = open;
        for revocation in done {
            // Only of those that go: what is committed here may come after the next usual commit of those that stay.
            let positions = self.machine.take_last_commits(&revocation.partitions);
            let (source, events, partitions) = (self.ports.source.clone(), self.events.clone(), revocation.partitions.clone());
            let leases = self.keeper.detach(&revocation.partitions);
            tokio::spawn(async move {
                if !positions.is_empty() {
                    // One that fails only means redelivery, which changes nothing.
                    let _ = tokio::time::timeout(Duration::from_secs(3), source.commit_now(&positions)).await;
                }
                let _ = tokio::time::timeout(Duration::from_secs(3), leases.give_back()).await;
                let _ = events.send(Event::Released(partitions));
                let _ = revocation.done.send(());
            });
        }
    }

    fn released(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.machine.forget_partition(*partition, "partition given up");
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        self.machine.tick(now);
        self.feel_pulse(now.moment);
        self.overdue_revocations(now.moment);
        if let Some(stopping) = &mut self.stopping {
            let partitions = stopping.take_overdue(now.moment);
            for partition in partitions {
                self.machine.abort(partition, "the worker stops");
            }
        }
        let (loaded_runs, waiting_messages) = self.machine.load();
        let (partitions, counters, paused) = (self.machine.owned(), self.machine.counters(), self.machine.is_paused());
        self.board.update(|health| {
            (health.loaded_runs, health.waiting_messages, health.paused) = (loaded_runs, waiting_messages, paused);
            (health.partitions, health.counters) = (partitions, counters);
        });
    }

    fn overdue_revocations(&mut self, now: Moment) {
        let mut abort = Vec::new();
        let mut forget = Vec::new();
        for revocation in &mut self.revocations {
            if !revocation.aborted && now >= revocation.abort_at {
                revocation.aborted = true;
                abort.extend_from_slice(&revocation.open);
            } else if revocation.aborted && now >= revocation.abort_at.after(ABORT_GRACE) {
                forget.extend_from_slice(&revocation.open);
            }
        }
        for partition in abort {
            self.machine.abort(partition, "the partition moves to another worker");
        }
        for partition in forget {
            // Completed offsets are committed all the same; what still runs is done again elsewhere.
            self.machine.close_partition(partition, "the partition moves to another worker");
            self.drained(partition);
        }
    }

    fn commit(&mut self) {
        let positions = self.machine.take_commits();
        if !positions.is_empty() {
            self.ports.source.commit(&positions);
        }
    }

    pub(super) fn act(&mut self) {
        let (mut writes, mut outcomes) = (Vec::new(), Vec::new());
        // Carrying out an action can make the machine decide something more.
        loop {
            let actions = self.machine.take_actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.carry_out(action, &mut writes, &mut outcomes);
            }
        }
        if !writes.is_empty() {
            self.io.write(writes);
        }
        if !outcomes.is_empty() {
            self.io.publish(outcomes);
        }
    }

    fn carry_out(&mut self, action: Action, writes: &mut Vec<Write>, outcomes: &mut Vec<Outcome>) {
        match action {
            Action::Tell(event) => self.tells.push(event),
            Action::Load { handle, run } => self.io.load(handle, run),
            Action::FindStatus { handle, run } => self.io.find_status(handle, run),
            Action::Examine { handle, run } => self.io.examine(handle, run),
            Action::LoadCounted { handle, run } => self.io.load_counted(handle, run),
            Action::Absolve { run } => self.io.absolve(run),
            Action::Write { handle, partition, write, verify } => writes.push(Write { handle, partition, write, verify }),
            Action::Publish { handle, partition, record } => outcomes.push(Outcome { handle, partition, record }),
            Action::Look { handle, run, expected } => self.io.look(handle, run, expected),
            Action::FindTimers { partition, epoch, from_ms, until_ms } => self.io.find_timers(partition, epoch, from_ms, until_ms),
            Action::FindParked { partition, epoch } => self.io.find_parked(partition, epoch),
            Action::DropTimer(timer) => self.io.drop_timer(timer),
            Action::FindEnd { handle, partition } => self.io.find_end(handle, partition),
            Action::Touch { run, partition, timestamp_micros } => self.io.touch(run, partition, timestamp_micros),
            Action::Send { token, job } => self.io.send(token, job, 0),
            Action::Bury { token, letter } => {
                self.ports.host.log(
                    LogLevel::Error,
                    format!(
                        "[KafkaAdapter] message {}[{}]@{} goes to dead letters: {} {}",
                        self.settings.topic, letter.message.partition, letter.message.offset, letter.code, letter.reason
                    ),
                );
                self.io.bury(token, letter, 0);
            }
            Action::HandOver { token, job, message } => {
                self.handing_over.insert(token, (message, job.run.clone()));
                self.ports.host.hand_over(token, &job);
            }
            Action::Settle { submission, result } => self.ports.host.settle(submission, result),
            Action::Pause(partitions) => self.ports.source.pause(&partitions),
            Action::Resume(partitions) => self.ports.source.resume(&partitions),
            Action::Drained(partition) => self.drained(partition),
        }
    }
}

// Whether an interval is due, without waiting for it.
async fn is_due(interval: &mut tokio::time::Interval) -> bool {
    tokio::select! {
        biased;
        _ = interval.tick() => true,
        () = std::future::ready(()) => false,
    }
}
