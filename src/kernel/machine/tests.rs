//! The machine under random schedules: completions, redeliveries, delays, crashes, hand-overs.
//!
//! A world of one log, one store and one status table drives it; sessions are simulated for
//! layered graphs. Whatever the schedule, every run must end with one outcome, every visit must be
//! recorded once, and the committed position must reach the end of the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::kernel::effects::StoredContext;
use crate::kernel::job;
use crate::kernel::partition::home_partition;

/// So far from the beginning of time that no skew reaches it.
const EPOCH_MICROS: i64 = 1_000_000_000;
/// How long a lease lives.
const LEASE_MICROS: i64 = 8_000_000;
const PARTITIONS: i32 = 3;

// xorshift: the schedule is a function of the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }
}

// What comes between a layer and the next one.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Pause {
    None,
    // The run awaits a command.
    Command,
    // The run awaits a timer.
    Timer,
    // The run is parked until its worker has a version.
    Version,
    // Each node of the layer fails once, and waits for a timer before its next attempt.
    Retry,
}

impl Pause {
    fn status(self) -> &'static str {
        if self == Self::Version { "parked" } else { "awaiting" }
    }
}

// Layers of nodes; a node is due when the whole layer before it is recorded, and the pause after that is over.
#[derive(Clone)]
struct Graph(Vec<(usize, Pause)>);

impl Graph {
    fn layer(&self, at: usize) -> Vec<String> {
        (0..self.0.get(at).map_or(0, |(nodes, _)| *nodes)).map(|n| format!("l{at}n{n}")).collect()
    }

    // The last layer has nothing to wait for.
    fn pause(&self, at: usize) -> Pause {
        if at + 1 < self.0.len() && !self.retries(at) { self.0[at].1 } else { Pause::None }
    }

    fn retries(&self, layer: usize) -> bool {
        self.0[layer].1 == Pause::Retry
    }

    // Goes on after a layer: what is due, how the run ends or awaits, and its timers.
    fn go_on(&self, state: &mut Checkpoint, layer: usize, now_ms: i64) -> Progress {
        let pause = if state.answered.contains(&layer) { Pause::None } else { self.pause(layer) };
        if pause != Pause::None {
            state.waiting = Some(layer);
            let timers = if pause == Pause::Timer { vec![Alarm(format!("{layer}"), 0, now_ms + 1)] } else { Vec::new() };
            let parking = (pause == Pause::Version).then(|| Parking(format!("{layer}"), now_ms));
            return Progress { due: Vec::new(), outcome: Some(outcome(pause.status())), timers, parking };
        }
        let due: Vec<(u32, String)> = self.layer(layer + 1).into_iter().zip(state.next..).map(|(node, number)| (number, node)).collect();
        state.next += u32::try_from(due.len()).unwrap();
        state.due.clone_from(&due);
        state.ended = due.is_empty();
        Progress { due, outcome: state.ended.then(|| outcome("completed")), ..Progress::default() }
    }
}

#[derive(Default)]
struct Progress {
    due: Vec<(u32, String)>,
    outcome: Option<Outcome>,
    timers: Vec<Alarm>,
    parking: Option<Parking>,
}

fn outcome(status: &str) -> Outcome {
    Outcome::parse(&format!(r#"{{"status":"{status}"}}"#)).unwrap()
}

#[derive(Clone, Default, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
struct Checkpoint {
    blueprint: String,
    due: Vec<(u32, String)>,
    done: BTreeSet<String>,
    next: u32,
    ended: bool,
    // The layer after which the run awaits.
    waiting: Option<usize>,
    // Layers whose pause is over, perhaps before it began.
    answered: BTreeSet<usize>,
    // Visits that wait for their next attempt, and when it is due.
    retrying: Vec<(u32, String, i64)>,
    // Nodes whose first attempt has failed.
    failed: BTreeSet<String>,
}

impl Checkpoint {
    // All that is left are attempts that are not due yet.
    fn rests(&self) -> bool {
        self.due.is_empty() && !self.retrying.is_empty()
    }
}

fn layer_of(node: &str) -> usize {
    node[1..node.find('n').unwrap()].parse().unwrap()
}

struct SimSession {
    run: String,
    checkpoint: Checkpoint,
    // Due visits that may start, and those that run.
    ready: Vec<(u32, String)>,
    running: Vec<(u32, String)>,
    announced: HashMap<u32, Vec<(u32, String)>>,
    seq: u32,
    draining: bool,
    drained: bool,
    // It gave an outcome: nothing more comes from it.
    over: bool,
}

struct World {
    dice: Dice,
    graph: Graph,
    log: BTreeMap<i32, Vec<Vec<u8>>>,
    read: BTreeMap<i32, usize>,
    committed: BTreeMap<i32, i64>,
    store: HashMap<String, (String, i64)>,
    statuses: HashMap<String, (String, i64)>,
    executions: HashMap<(String, String), usize>,
    machine: Machine,
    config: Config,
    queue: Vec<Action>,
    sessions: HashMap<u32, SimSession>,
    timers: BTreeSet<Timer>,
    // Not sent yet.
    resumes: Vec<(String, usize)>,
    clock: u64,
    // Of the owner's wall clock, against the first one's.
    skew_micros: i64,
    window: Window,
    // What a former owner sent and what has not arrived yet.
    late: Vec<Action>,
    // Runs, and nodes that were due in them or done, as the store once had them.
    durable: BTreeSet<(String, String)>,
    crashes: usize,
    draining: BTreeSet<i32>,
}

impl World {
    fn new(seed: u64, layers: Vec<(usize, Pause)>, runs: usize, config: Config, crashes: usize) -> Self {
        let mut world = Self {
            dice: Dice(seed | 1),
            graph: Graph(layers),
            log: (0..PARTITIONS).map(|p| (p, Vec::new())).collect(),
            read: BTreeMap::new(),
            committed: BTreeMap::new(),
            store: HashMap::new(),
            statuses: HashMap::new(),
            executions: HashMap::new(),
            machine: Machine::new(config.clone(), PARTITIONS),
            config,
            queue: Vec::new(),
            sessions: HashMap::new(),
            timers: BTreeSet::new(),
            resumes: Vec::new(),
            clock: 1,
            skew_micros: 0,
            window: Window { after_micros: 0, until_micros: 0 },
            late: Vec::new(),
            durable: BTreeSet::new(),
            crashes,
            draining: BTreeSet::new(),
        };
        for run in 0..runs {
            for node in world.graph.layer(0) {
                world.append(&format!("run-{run}"), &node);
            }
        }
        // Resumes come at any time: before their run, in it, and more than once.
        let pauses: Vec<usize> = (0..world.graph.0.len()).filter(|layer| world.graph.pause(*layer) == Pause::Command).collect();
        for (run, layer) in (0..runs).flat_map(|run| pauses.iter().map(move |layer| (run, *layer))) {
            for _ in 0..=world.dice.roll(2) {
                world.resumes.push((format!("run-{run}"), layer));
            }
        }
        // Noise that must not stop anybody.
        world.log.get_mut(&0).unwrap().push(b"garbage".to_vec());
        world.assign_all();
        world
    }

    fn append(&mut self, run: &str, node: &str) -> (i32, i64) {
        self.append_job(&OutboundJob { run: run.into(), blueprint: "bp".into(), node: node.into(), ..OutboundJob::default() })
    }

    fn resume_somebody(&mut self) {
        if !self.resumes.is_empty() {
            let at = self.dice.roll(self.resumes.len());
            let (run, layer) = self.resumes.swap_remove(at);
            // A client writes the row before it sends anything.
            self.store.entry(run.clone()).or_insert_with(|| (r#"{"blueprintId":"bp"}"#.into(), 0));
            let command = Some(format!(r#"{{"kind":"resume","layer":{layer}}}"#));
            self.append_job(&OutboundJob { run, command, ..OutboundJob::default() });
        }
    }

    fn append_job(&mut self, job: &OutboundJob) -> (i32, i64) {
        let run = job.run.as_str();
        // Some producers use a foreign partitioner.
        let home = home_partition(run.as_bytes(), PARTITIONS);
        let partition = if self.dice.roll(12) == 0 { i32::try_from(self.dice.roll(3)).unwrap() } else { home };
        let log = self.log.get_mut(&partition).unwrap();
        log.push(job::encode(job).into_bytes());
        (partition, i64::try_from(log.len() - 1).unwrap())
    }

    fn now(&mut self) -> Now {
        self.clock += 1;
        Now {
            moment: Moment(Duration::from_millis(self.clock * 40)),
            wall_micros: EPOCH_MICROS + i64::try_from(self.clock).unwrap() * 40_000 + self.skew_micros,
        }
    }

    fn renew_leases(&mut self) {
        let until = self.now().wall_micros + LEASE_MICROS;
        self.window.until_micros = self.window.until_micros.max(until);
        for partition in 0..PARTITIONS {
            self.machine.set_window(partition, Some(self.window));
        }
    }

    fn assign_all(&mut self) {
        for partition in 0..PARTITIONS {
            self.machine.assign(partition);
            self.read.insert(partition, usize::try_from(self.committed.get(&partition).copied().unwrap_or(0)).unwrap());
        }
        self.renew_leases();
        let now = self.now();
        for partition in 0..PARTITIONS {
            self.machine.activate(partition, now);
        }
    }

    // kill -9, or a pause that ends later: memory is gone, the log goes on from what was committed. Operations under way
    // may have reached the stores, or never do, or do so later. The clock of the next owner says something else.
    fn crash(&mut self) {
        self.crashes -= 1;
        let lost = std::mem::take(&mut self.queue);
        for action in lost {
            match self.dice.roll(3) {
                0 => drop(self.apply_outside(&action)),
                1 if matches!(action, Action::Write { .. }) => self.late.push(action),
                _ => {}
            }
        }
        self.skew_micros = i64::try_from(self.dice.roll(8_000_000)).unwrap() - 4_000_000;
        self.window = Window { after_micros: self.window.until_micros, until_micros: self.window.until_micros + 1_000_000 };
        self.sessions.clear();
        self.draining.clear();
        self.machine = Machine::new(self.config.clone(), PARTITIONS);
        self.assign_all();
    }

    fn apply_outside(&mut self, action: &Action) -> Delivered {
        match action {
            Action::Write { write, .. } => {
                self.timers.extend(write.timers.iter().cloned());
                let newer = self.store.get(&write.run).is_none_or(|(_, at)| *at < write.timestamp_micros);
                if newer {
                    self.store.insert(write.run.clone(), (write.document.clone().unwrap(), write.timestamp_micros));
                    self.note_durable(&write.run);
                }
                None
            }
            Action::Publish { record, .. } => {
                if let Some((data, at)) = self.statuses.get(&record.run) {
                    assert!(*at <= record.timestamp_micros, "G4: an older outcome replaces a newer one");
                    assert!(*at < record.timestamp_micros || data == &record.status_data, "G4: a repeat differs");
                }
                self.statuses.insert(record.run.clone(), (record.status_data.clone(), record.timestamp_micros));
                None
            }
            Action::Send { job, .. } => {
                if job.hops > 0 {
                    let home = home_partition(job.run.as_bytes(), PARTITIONS);
                    let log = self.log.get_mut(&home).unwrap();
                    log.push(job::encode(job).into_bytes());
                    return Some((home, i64::try_from(log.len() - 1).unwrap()));
                }
                Some(self.append_job(job))
            }
            Action::DropTimer(timer) => {
                self.timers.remove(timer);
                None
            }
            _ => None,
        }
    }

    fn step(&mut self) {
        match self.dice.roll(10) {
            0..=2 => self.poll(),
            3..=5 => self.finish_operation(),
            6 | 7 => self.run_node(),
            8 if self.dice.roll(2) == 0 => self.resume_somebody(),
            8 if self.dice.roll(4) == 0 => {
                // Versions come and go; each comes again.
                let layers = self.graph.0.len();
                let versions = (0..layers).filter(|_| self.dice.roll(2) == 0).map(|layer| format!("{layer}")).collect();
                self.machine.has_versions(versions);
            }
            8 => self.commit(),
            _ if self.crashes > 0 && self.dice.roll(25) == 0 => self.crash(),
            _ if self.dice.roll(30) == 0 => self.give_up_partition(),
            _ if !self.late.is_empty() && self.dice.roll(4) == 0 => {
                let action = self.late.swap_remove(self.dice.roll(self.late.len()));
                self.apply_outside(&action);
            }
            _ => {
                self.renew_leases();
                let now = self.now();
                self.machine.tick(now);
            }
        }
        self.collect();
    }

    fn poll(&mut self) {
        let partition = i32::try_from(self.dice.roll(3)).unwrap();
        if !self.machine.is_known(partition) {
            return;
        }
        let from = self.read[&partition];
        let to = (from + 1 + self.dice.roll(4)).min(self.log[&partition].len());
        let batch: Vec<RawMessage> = (from..to)
            .map(|offset| RawMessage {
                partition,
                offset: i64::try_from(offset).unwrap(),
                value: Some(self.log[&partition][offset].clone()),
                ..RawMessage::default()
            })
            .collect();
        self.read.insert(partition, to);
        let now = self.now();
        self.machine.messages(batch, now);
    }

    // An orderly hand-over to ourselves: drain, commit, assign again.
    fn give_up_partition(&mut self) {
        let partition = i32::try_from(self.dice.roll(3)).unwrap();
        if self.machine.is_active(partition) {
            self.draining.insert(partition);
            self.machine.drain(partition);
        }
    }

    fn finish_operation(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let action = self.queue.swap_remove(self.dice.roll(self.queue.len()));
        let delivered = self.apply_outside(&action);
        let now = self.now();
        match action {
            Action::Load { handle, run } => {
                let stored = self.store.get(&run).map(|(text, at)| StoredContext::document(Some(text.clone()), Some(*at)));
                self.machine.loaded(handle, Ok(stored), now);
            }
            Action::Write { handle, .. } => self.machine.written(handle, Ok(()), now),
            Action::Publish { handle, .. } => self.machine.published(handle, now),
            Action::Send { token, .. } => self.machine.sent(token, delivered),
            Action::FindTimers { partition, epoch, from_ms, until_ms } => {
                let found = self.timers.iter().filter(|timer| timer.shard == partition && !timer.is_parked() && (from_ms..until_ms).contains(&timer.due_ms));
                let found = found.cloned().collect();
                self.machine.timers_found(partition, epoch, found, until_ms);
            }
            Action::FindParked { partition, epoch } => {
                let found = self.timers.iter().filter(|timer| timer.shard == partition && timer.is_parked()).cloned().collect();
                self.machine.parked_found(partition, epoch, found);
            }
            Action::Bury { token, letter } => {
                assert_eq!(letter.code, "ERR_JOB_NOT_JSON");
                self.machine.buried(token);
            }
            Action::Drained(partition) if self.draining.remove(&partition) => {
                self.commit();
                self.machine.forget_partition(partition, "given up");
                self.machine.assign(partition);
                self.renew_leases();
                self.read.insert(partition, usize::try_from(self.committed.get(&partition).copied().unwrap_or(0)).unwrap());
                self.machine.activate(partition, now);
            }
            _ => {}
        }
    }

    fn commit(&mut self) {
        for (partition, position) in self.machine.take_commits() {
            // The coordinator refuses it, as in a rebalance.
            if self.dice.roll(4) == 0 {
                self.machine.commit_again(&[partition]);
                continue;
            }
            let before = self.committed.insert(partition, position);
            assert!(before.is_none_or(|before| before <= position), "G5: committed backwards");
        }
    }

    fn collect(&mut self) {
        loop {
            let actions = self.machine.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Tell(event) => self.on_session(event),
                    Action::Write { handle, ref write, .. } => {
                        let Window { after_micros, until_micros } = self.window;
                        let is_inside = after_micros < write.timestamp_micros && write.timestamp_micros <= until_micros;
                        assert!(is_inside, "G8: a write time outside of the lease's window");
                        let other = self.queue.iter().any(|queued| matches!(queued, Action::Write { handle: h, .. } if *h == handle));
                        assert!(!other, "D5: two writes of one run in flight");
                        self.queue.push(action);
                    }
                    // A message that only moves home is as old as may be.
                    Action::Send { ref job, .. } if job.hops == 0 => {
                        self.assert_durable(&job.run, &job.node);
                        self.queue.push(action);
                    }
                    Action::Publish { ref record, .. } => {
                        let known = (record.run.clone(), if record.status == "completed" { "ended" } else { "rests" }.to_owned());
                        assert!(self.durable.contains(&known), "G2: published before the step is durable");
                        self.queue.push(action);
                    }
                    other => self.queue.push(other),
                }
            }
        }
    }

    // What was durable once stays it, also where a former owner's write comes late.
    fn note_durable(&mut self, run: &str) {
        let text = Document::parse(&self.store[run].0).unwrap().checkpoint.unwrap();
        let state: Checkpoint = serde_json::from_str(&text).unwrap();
        let rests = state.due.is_empty().then(|| "rests".to_owned());
        let ended = state.ended.then(|| "ended".to_owned());
        let nodes = state.due.into_iter().map(|(_, node)| node).chain(state.done);
        self.durable.extend(nodes.chain(rests).chain(ended).map(|known| (run.to_owned(), known)));
    }

    // Messages of the first layer, and commands, come before there is anything to store.
    fn assert_durable(&self, run: &str, node: &str) {
        let is_first = node.is_empty() || node.starts_with("l0");
        let known = (run.to_owned(), node.to_owned());
        assert!(is_first || self.durable.contains(&known), "G2: {node} goes on before its step is durable");
    }

    fn assert_start_durable(&self, handle: u32) {
        let session = &self.sessions[&handle];
        session.running.last().iter().for_each(|(_, node)| self.assert_durable(&session.run, node));
    }

    fn on_session(&mut self, event: ToSession) {
        match event {
            ToSession::Open { handle, run, commands, checkpoint, .. } => self.open(handle, run, commands, checkpoint),
            ToSession::Command { handle, token, command } => self.on_command(handle, token, &command),
            ToSession::Durable { handle, seq } => {
                let local = self.config.local_starts;
                if let Some(session) = self.sessions.get_mut(&handle) {
                    let steps: Vec<u32> = session.announced.keys().copied().filter(|step| *step <= seq).collect();
                    for step in steps {
                        let visits = session.announced.remove(&step).unwrap();
                        if local {
                            session.ready.extend(visits);
                        }
                    }
                }
            }
            ToSession::Start { handle, visits } => {
                if let Some(session) = self.sessions.get_mut(&handle) {
                    for (number, node) in session.checkpoint.due.clone() {
                        if visits.contains(&number) {
                            session.ready.push((number, node));
                        }
                    }
                }
            }
            ToSession::Drain { handle } => {
                if let Some(session) = self.sessions.get_mut(&handle) {
                    session.draining = true;
                }
                self.maybe_drained(handle);
            }
            ToSession::Close { handle, .. } => {
                self.sessions.remove(&handle);
            }
            _ => {}
        }
    }

    // As a session does: applied in a step, or found to change nothing.
    fn on_command(&mut self, handle: u32, token: u32, text: &str) {
        let now = self.now();
        let Some(session) = self.sessions.get_mut(&handle) else { return };
        if session.over {
            return;
        }
        let command: serde_json::Value = serde_json::from_str(text).unwrap();
        if let Some(node) = command["nodeId"].as_str().filter(|node| node.starts_with('l')).map(str::to_owned) {
            return self.retry(handle, token, &node, command["visit"].as_u64().unwrap(), now);
        }
        let Some(session) = self.sessions.get_mut(&handle) else { return };
        let layer = match command["layer"].as_u64() {
            Some(layer) => usize::try_from(layer).unwrap(),
            None => command["nodeId"].as_str().unwrap().parse().unwrap(),
        };
        let state = &mut session.checkpoint;
        if !state.answered.insert(layer) {
            return self.machine.command_done(handle, token);
        }
        let mut progress = Progress::default();
        if state.waiting == Some(layer) {
            state.waiting = None;
            progress = self.graph.go_on(state, layer, now.wall_micros / 1_000);
        }
        self.send_step(handle, Vec::new(), Vec::new(), vec![token], progress, now);
    }

    // The timer of an attempt is due: only now there is a visit again.
    fn retry(&mut self, handle: u32, token: u32, node: &str, visit: u64, now: Now) {
        let state = &mut self.sessions.get_mut(&handle).unwrap().checkpoint;
        let Some(at) = state.retrying.iter().position(|(number, waiting, _)| waiting == node && u64::from(*number) == visit) else {
            return self.machine.command_done(handle, token);
        };
        let (number, node, _) = state.retrying.remove(at);
        state.due.push((number, node.clone()));
        let progress = Progress { due: vec![(number, node)], ..Progress::default() };
        self.send_step(handle, Vec::new(), Vec::new(), vec![token], progress, now);
    }

    fn send_step(&mut self, handle: u32, changes: Vec<(String, Option<String>)>, done: Vec<u32>, applied: Vec<u32>, progress: Progress, now: Now) {
        let session = self.sessions.get_mut(&handle).unwrap();
        let Progress { due, outcome, timers, parking } = progress;
        session.seq += 1;
        session.announced.insert(session.seq, due.clone());
        session.over = outcome.is_some();
        let checkpoint = serde_json::to_string(&session.checkpoint).unwrap();
        let step = Step { seq: session.seq, changes, checkpoint, done, due, applied, timers, parking, unparking: None, outcome };
        self.machine.step(handle, step, now);
    }

    fn open(&mut self, handle: u32, run: String, commands: Vec<(u32, String)>, checkpoint: Option<String>) {
        let fresh = checkpoint.is_none();
        let mut state: Checkpoint = checkpoint.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
        if fresh {
            state.blueprint = "bp".into();
            state.due = self.graph.layer(0).into_iter().enumerate().map(|(n, node)| (u32::try_from(n).unwrap(), node)).collect();
            state.next = u32::try_from(state.due.len()).unwrap();
        }
        let due = state.due.clone();
        let ready = if self.config.local_starts { due.clone() } else { Vec::new() };
        let session =
            SimSession { run, checkpoint: state, ready, running: Vec::new(), announced: HashMap::new(), seq: 0, draining: false, drained: false, over: false };
        let ended = session.checkpoint.ended;
        self.sessions.insert(handle, session);
        self.machine.opened(handle, due);
        if !ended {
            for (token, command) in commands {
                self.on_command(handle, token, &command);
            }
        }
        let session = &self.sessions[&handle];
        if session.over {
            return;
        }
        let rests = session.checkpoint.rests().then_some("running");
        let status = if ended {
            Some("completed")
        } else if rests.is_some() {
            rests
        } else {
            session.checkpoint.waiting.map(|layer| self.graph.pause(layer).status())
        };
        if let Some(status) = status {
            let now = self.now();
            self.send_step(handle, Vec::new(), Vec::new(), Vec::new(), Progress { outcome: Some(outcome(status)), ..Progress::default() }, now);
        }
    }

    fn run_node(&mut self) {
        let mut handles: Vec<u32> = self.sessions.keys().copied().collect();
        handles.sort_unstable();
        if handles.is_empty() {
            return;
        }
        let handle = handles[self.dice.roll(handles.len())];
        let finish = self.dice.roll(2) == 0;
        let session = self.sessions.get_mut(&handle).unwrap();
        if !finish && !session.draining && !session.ready.is_empty() {
            let visit = session.ready.remove(0);
            let attempt = if session.checkpoint.failed.contains(&visit.1) { format!("{} again", visit.1) } else { visit.1.clone() };
            *self.executions.entry((session.run.clone(), attempt)).or_default() += 1;
            session.running.push(visit);
            self.assert_start_durable(handle);
        } else if !session.running.is_empty() {
            let visit = session.running.remove(0);
            self.finish_node(handle, visit);
        }
        self.maybe_drained(handle);
    }

    fn finish_node(&mut self, handle: u32, (number, node): (u32, String)) {
        let now = self.now();
        let session = self.sessions.get_mut(&handle).unwrap();
        let state = &mut session.checkpoint;
        state.due.retain(|(due, _)| *due != number);
        let layer = layer_of(&node);
        if self.graph.retries(layer) && state.failed.insert(node.clone()) {
            let at = now.wall_micros / 1_000 + i64::try_from(self.dice.roll(200)).unwrap();
            state.retrying.push((state.next, node.clone(), at));
            let timers = vec![Alarm(node, state.next, at)];
            state.next += 1;
            let outcome = state.rests().then(|| outcome("running"));
            return self.send_step(handle, Vec::new(), vec![number], Vec::new(), Progress { timers, outcome, ..Progress::default() }, now);
        }
        assert!(state.done.insert(node.clone()), "G1: {node} recorded twice");
        let progress = if state.rests() {
            Progress { outcome: Some(outcome("running")), ..Progress::default() }
        } else if state.due.is_empty() {
            self.graph.go_on(state, layer, now.wall_micros / 1_000)
        } else {
            Progress::default()
        };
        self.send_step(handle, vec![(format!("_outputs.{node}"), Some("1".into()))], vec![number], Vec::new(), progress, now);
    }

    fn maybe_drained(&mut self, handle: u32) {
        if let Some(session) = self.sessions.get_mut(&handle)
            && session.draining
            && session.running.is_empty()
            && !std::mem::replace(&mut session.drained, true)
        {
            self.machine.session_drained(handle);
        }
    }

    fn settled(&self, runs: usize) -> bool {
        self.statuses.len() == runs
            && self.statuses.values().all(|(data, _)| data.contains("completed"))
            && self.resumes.is_empty()
            && self.timers.is_empty()
            && self.log.iter().all(|(partition, log)| self.committed.get(partition).copied().unwrap_or(0) == i64::try_from(log.len()).unwrap())
    }
}

type Delivered = Option<(i32, i64)>;

fn play(seed: u64, layers: &[(usize, Pause)], runs: usize, config: Config, crashes: usize) -> World {
    let mut world = World::new(seed, layers.to_vec(), runs, config, crashes);
    let mut steps = 0;
    while !world.settled(runs) {
        world.step();
        steps += 1;
        assert!(
            steps < 400_000,
            "seed {seed}: no end; statuses {}/{runs}, committed {:?} of {:?}, sessions {}, queue {:?}, machine {:?}, timers {:?}, resumes {:?}, statuses {:?}",
            world.statuses.len(),
            world.committed,
            world.log.iter().map(|(p, l)| (*p, l.len())).collect::<Vec<_>>(),
            world.sessions.len(),
            world.queue,
            world.machine.load(),
            world.timers,
            world.resumes,
            world.statuses,
        );
    }
    for run in 0..runs {
        let (document, _) = &world.store[&format!("run-{run}")];
        let stored = Document::parse(document).unwrap();
        let nodes: usize = layers.iter().map(|(nodes, _)| nodes).sum();
        let outputs = stored.document.entries().filter(|(key, _)| key.starts_with("_outputs.")).count();
        assert_eq!(outputs, nodes, "every output is stored once");
    }
    world
}

// How many schedules each property sees; the long mode asks for more.
fn schedules() -> u32 {
    std::env::var("SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

fn layers() -> impl Strategy<Value = Vec<(usize, Pause)>> {
    let pause = prop_oneof![3 => Just(Pause::None), 1 => Just(Pause::Command), 1 => Just(Pause::Timer), 1 => Just(Pause::Version), 1 => Just(Pause::Retry)];
    prop::collection::vec((1usize..4, pause), 1..5)
}

fn config() -> Config {
    Config { timers: true, ..Config::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: schedules(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g1_g5_every_run_ends_once_under_any_schedule(seed in any::<u64>(), layers in layers(), runs in 1usize..6, loaded in 1usize..4) {
        let world = play(seed, &layers, runs, Config { max_loaded_runs: loaded, ..config() }, 0);
        // Without crashes nothing is executed twice, except what a given-up partition aborted: nothing here.
        prop_assert!(world.executions.values().all(|count| *count == 1), "{:?}", world.executions);
    }

    #[test]
    fn g2_crashes_at_any_point_lose_nothing(seed in any::<u64>(), layers in layers(), runs in 1usize..5, crashes in 1usize..6) {
        play(seed, &layers, runs, config(), crashes);
    }

    #[test]
    fn local_dispatch_keeps_an_anchor_until_the_end(seed in any::<u64>(), layers in layers(), runs in 1usize..5, crashes in 0usize..4) {
        play(seed, &layers, runs, Config { send_successors: false, ..config() }, crashes);
    }

    #[test]
    fn serial_mode_ends_too(seed in any::<u64>(), layers in layers(), runs in 1usize..4, crashes in 0usize..3) {
        play(seed, &layers, runs, Config { serial: true, local_starts: false, ..config() }, crashes);
    }

    #[test]
    fn long_held_offsets_move_to_the_tail(seed in any::<u64>(), layers in layers(), runs in 1usize..4) {
        play(seed, &layers, runs, Config { refresh_after: Duration::from_millis(400), ..config() }, 1);
    }
}

// The runs that fit by number were all read before the first of them was weighed.
#[test]
fn no_more_runs_are_loaded_than_the_bytes_allow() {
    const RUNS: i64 = 20;
    const FITTING: usize = 3;
    let text = format!(r#"{{"blob":"{}"}}"#, "x".repeat(1_000));
    let size = Document::parse(&text).unwrap().document.bytes();
    for poison_openings in [None, Some(3)] {
        let mut machine = Machine::new(Config { max_loaded_bytes: FITTING * size, poison_openings, ..Config::default() }, 1);
        let now = Now::default();
        let message = |offset: i64| {
            let job = OutboundJob { run: format!("run-{offset}"), blueprint: "bp".into(), node: "a".into(), ..OutboundJob::default() };
            RawMessage { offset, value: Some(job::encode(&job).into_bytes()), ..RawMessage::default() }
        };
        machine.assign(0);
        machine.activate(0, now);
        machine.messages((0..RUNS).map(message).collect(), now);
        let (mut reads, mut open, mut ended) = (VecDeque::new(), VecDeque::new(), 0);
        while ended < RUNS {
            for action in machine.take_actions() {
                match action {
                    Action::Load { handle, .. } | Action::LoadCounted { handle, .. } => reads.push_back(handle),
                    Action::Examine { handle, .. } => machine.examined(handle, 0, now),
                    Action::Write { handle, .. } => machine.written(handle, Ok(()), now),
                    Action::Publish { handle, .. } => {
                        machine.published(handle, now);
                        ended += 1;
                    }
                    _ => {}
                }
            }
            assert!(reads.len() + open.len() <= FITTING, "{} reads, {} open", reads.len(), open.len());
            // One that has ended makes room only when nothing else can come.
            if let Some(handle) = reads.pop_front() {
                machine.loaded(handle, Ok(Some(StoredContext::document(Some(text.clone()), Some(1)))), now);
                machine.opened(handle, vec![(1, "a".into())]);
                open.push_back(handle);
            } else if machine.load().0 == open.len() && !open.is_empty() {
                assert!(open.len() == FITTING || ended + FITTING as i64 > RUNS, "{} open, {ended} ended", open.len());
                let handle = open.pop_front().unwrap();
                let done = Step { seq: 1, checkpoint: "{}".into(), done: vec![1], outcome: Some(outcome("completed")), ..Step::default() };
                machine.step(handle, done, now);
            }
        }
    }
}

// Found with the embedded backend, whose acknowledgements are quick: the next message was taken from the backlog, and its
// run was loaded only when the topic had something more.
#[test]
fn serial_mode_loads_the_next_run_when_an_acknowledgement_ends_a_message() {
    let mut machine = Machine::new(Config { serial: true, local_starts: false, ..Config::default() }, 1);
    let now = Now::default();
    let message = |offset: i64, run: &str| {
        let job = OutboundJob { run: run.into(), blueprint: "bp".into(), node: "a".into(), ..OutboundJob::default() };
        RawMessage { offset, value: Some(job::encode(&job).into_bytes()), ..RawMessage::default() }
    };
    let loads = |actions: &[Action]| actions.iter().find_map(|action| if let Action::Load { handle, .. } = action { Some(*handle) } else { None });
    let sends = |actions: &[Action]| actions.iter().find_map(|action| if let Action::Send { token, .. } = action { Some(*token) } else { None });
    machine.assign(0);
    machine.activate(0, now);
    machine.messages(vec![message(0, "first"), message(1, "second")], now);
    let handle = loads(&machine.take_actions()).unwrap();
    machine.loaded(handle, Ok(None), now);
    machine.opened(handle, vec![(1, "a".into())]);
    machine.step(handle, Step { seq: 1, checkpoint: "{}".into(), done: vec![1], due: vec![(2, "b".into())], ..Step::default() }, now);
    machine.written(handle, Ok(()), now);
    let token = sends(&machine.take_actions()).unwrap();
    machine.sent(token, Some((0, 2)));
    assert!(loads(&machine.take_actions()).is_some());
}

// Found by a retry whose timer was due at once: releasing what the run held took its own wake-up from the backlog, and that
// went to the run that was about to be closed.
#[test]
fn serial_mode_keeps_a_command_of_the_run_that_it_closes() {
    let mut machine = Machine::new(Config { serial: true, local_starts: false, ..Config::default() }, 1);
    let now = Now::default();
    let message = |offset: i64, job: &OutboundJob| RawMessage { offset, value: Some(job::encode(job).into_bytes()), ..RawMessage::default() };
    let load = |machine: &mut Machine| {
        let actions = machine.take_actions();
        actions.iter().find_map(|action| if let Action::Load { handle, .. } = action { Some(*handle) } else { None })
    };
    machine.assign(0);
    machine.activate(0, now);
    machine.messages(vec![message(0, &OutboundJob { run: "r".into(), blueprint: "bp".into(), node: "a".into(), ..OutboundJob::default() })], now);
    let handle = load(&mut machine).unwrap();
    machine.loaded(handle, Ok(None), now);
    machine.opened(handle, vec![(1, "a".into())]);
    machine.step(handle, Step { seq: 1, checkpoint: "{}".into(), done: vec![1], outcome: Some(outcome("running")), ..Step::default() }, now);
    machine.written(handle, Ok(()), now);
    let wake = Timer::new(0, "r", Alarm("a".into(), 2, 0), 0).wake();
    machine.messages(vec![message(1, &OutboundJob { run: "r".into(), command: Some(wake), ..OutboundJob::default() })], now);
    machine.published(handle, now);
    assert!(load(&mut machine).is_some(), "the wake-up opens the run again");
    assert_eq!(machine.take_commits(), [(0, 1)]);
}

// A cancel that waits for the node that it is to end does not end it: no command waits for its turn.
#[test]
fn serial_mode_gives_commands_to_the_run_in_work_and_to_runs_behind_it_at_once() {
    let mut machine = Machine::new(Config { serial: true, local_starts: false, ..Config::default() }, 1);
    let now = Now::default();
    let job = |run: &str| OutboundJob { run: run.into(), blueprint: "bp".into(), node: "a".into(), ..OutboundJob::default() };
    let cancel = |run: &str| OutboundJob { run: run.into(), command: Some(r#"{"id":"1","kind":"cancel"}"#.into()), ..OutboundJob::default() };
    let message = |offset: i64, job: &OutboundJob| RawMessage { offset, value: Some(job::encode(job).into_bytes()), ..RawMessage::default() };
    let loads = |actions: &[Action]| actions.iter().find_map(|action| if let Action::Load { handle, .. } = action { Some(*handle) } else { None });
    let stored = || Ok(Some(StoredContext::document(Some(r#"{"blueprintId":"bp"}"#.into()), Some(0))));
    machine.assign(0);
    machine.activate(0, now);
    machine.messages(vec![message(0, &job("first")), message(1, &job("second"))], now);
    let first = loads(&machine.take_actions()).unwrap();
    machine.loaded(first, stored(), now);
    machine.opened(first, vec![(1, "a".into())]);
    machine.take_actions();

    machine.messages(vec![message(2, &cancel("first")), message(3, &cancel("second"))], now);
    let actions = machine.take_actions();
    let told = |action: &Action| matches!(action, Action::Tell(ToSession::Command { handle, .. }) if *handle == first);
    assert!(actions.iter().any(told), "the run in work hears of it while its node runs");
    let second = loads(&actions).unwrap();
    machine.loaded(second, stored(), now);
    machine.opened(second, vec![(1, "a".into())]);
    let starts = |action: &Action| matches!(action, Action::Tell(ToSession::Start { visits, .. }) if !visits.is_empty());
    assert!(!machine.take_actions().iter().any(starts), "a command starts no node beside the one that runs");
}

// After a restart of Kafka: the commits of a worker were refused in the rebalance that followed, and its partitions had nothing more to
// commit.
#[test]
fn a_position_whose_commit_failed_is_committed_again_though_nothing_moves() {
    let mut machine = Machine::new(Config::default(), 1);
    machine.assign(0);
    machine.activate(0, Now::default());
    machine.messages(vec![RawMessage { offset: 0, value: Some(b"no job".to_vec()), ..RawMessage::default() }], Now::default());
    let buried = machine.take_actions().into_iter().find_map(|action| if let Action::Bury { token, .. } = action { Some(token) } else { None });
    machine.buried(buried.unwrap());
    assert_eq!(machine.take_commits(), [(0, 1)]);
    assert_eq!(machine.take_commits(), []);
    machine.commit_again(&[0, 7]);
    assert_eq!(machine.take_commits(), [(0, 1)]);
}
