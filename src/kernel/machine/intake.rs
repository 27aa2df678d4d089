//! From a consumed message to its run.

use super::{Action, Anchor, MAX_HOPS, Machine, Now, PartitionState, Phase, Run, VIRTUAL_PARTITION, Visit, WaitingMessage};
use crate::kernel::document::Document;
use crate::kernel::effects::{DeadLetter, OutboundJob, RawMessage, ToSession};
use crate::kernel::error::{Code, FlowError};
use crate::kernel::job::{self, Job};
use crate::kernel::ledger::Received;
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::partition::home_partition;
use crate::kernel::time::Moment;
use crate::kernel::timestamps::WriteClock;

impl Machine {
    /// Messages arrived.
    pub fn messages(&mut self, batch: Vec<RawMessage>, now: Now) {
        for message in batch {
            match self.partitions.get_mut(&message.partition) {
                None => {}
                Some(partition) if partition.state == PartitionState::Leasing => {
                    // Going backwards means the log was rewound: what lies aside comes again.
                    if partition.aside.last().is_some_and(|last| last.offset >= message.offset) {
                        partition.aside.clear();
                    }
                    partition.aside.push(message);
                }
                Some(_) => self.receive(message, now),
            }
        }
        self.note_ends();
        self.regulate();
        self.pump();
    }

    pub(super) fn receive(&mut self, message: RawMessage, now: Now) {
        let Some(partition) = self.partitions.get_mut(&message.partition) else { return };
        self.counters.received += 1;
        match partition.ledger.receive(message.offset, now.moment) {
            Received::Repeated => {}
            Received::Done => self.counters.own_duplicates += 1,
            // A partition that is given up begins nothing: the message stays incomplete and is
            // delivered to the next owner.
            Received::New if partition.state.is_given_up() => {}
            // Our own message of a visit that is in work: its holders complete it. Where starts are not local,
            // its arrival is what starts the visit.
            Received::New if self.config.local_starts && partition.holds.contains_key(&message.offset) => self.counters.own_duplicates += 1,
            // A command starts no node: it must not wait for one, least of all for the one that it is to end.
            Received::New if self.config.serial && (!is_command(&message) || mutant(Mutant::CommandsQueue)) => self.backlog.push_back(message),
            Received::New => self.admit(message),
        }
        if self.config.serial {
            self.serial_next();
        }
    }

    fn serial_next(&mut self) {
        while self.serial_current.is_none() {
            let Some(message) = self.backlog.pop_front() else { return };
            let Some(epoch) = self.partitions.get(&message.partition).map(|p| p.epoch) else { continue };
            self.serial_current = Some(Anchor::Log { partition: message.partition, epoch, offset: message.offset });
            self.admit(message);
        }
    }

    pub(super) fn serial_done(&mut self, anchor: Anchor) {
        if self.config.serial && self.serial_current == Some(anchor) {
            self.serial_current = None;
            self.serial_next();
            self.note_ends();
            // Perhaps the last message that is read for long: the run that it is for must not wait for another.
            self.pump();
        }
    }

    /// Keeps a message for the outcome of its run. What is to be read until then must not wait for it: of an adopted run
    /// it is what the outcome waits for.
    pub(super) fn hold_for_outcome(&mut self, handle: u32, anchors: Vec<Anchor>) {
        let Some(run) = self.runs.get_mut(&handle) else { return self.release_all(anchors) };
        let is_adopted = run.adoption != super::Adoption::No;
        run.anchors.extend_from_slice(&anchors);
        if is_adopted {
            anchors.into_iter().for_each(|anchor| self.serial_done(anchor));
        }
    }

    pub(super) fn serial_forget(&mut self, partition: i32) {
        self.backlog.retain(|message| message.partition != partition);
        if matches!(self.serial_current, Some(Anchor::Log { partition: current, .. }) if current == partition) {
            self.serial_current = None;
            self.serial_next();
        }
    }

    fn admit(&mut self, message: RawMessage) {
        let Some(epoch) = self.partitions.get(&message.partition).map(|p| p.epoch) else { return };
        let anchor = Anchor::Log { partition: message.partition, epoch, offset: message.offset };
        self.hold(anchor);
        let Some(value) = message.value.as_deref() else {
            self.counters.stale += 1;
            return self.release(anchor);
        };
        let job = match job::decode(value) {
            Ok(job) => job,
            Err(problem) => {
                let reason = problem.problem;
                return self.bury(anchor, DeadLetter { message, code: problem.code.as_str(), reason, run: problem.run });
            }
        };
        let home = home_partition(job.run.as_bytes(), self.partition_count);
        if home != message.partition && message.hops < MAX_HOPS {
            self.counters.rehomed += 1;
            let token = self.token();
            self.pending.insert(token, anchor);
            let sent_ms = message.timestamp_ms.filter(|_| !mutant(Mutant::YoungAtHome));
            let job = OutboundJob { hops: message.hops + 1, sent_ms, ..outbound(job) };
            return self.actions.push(Action::Send { token, job });
        }
        if self.config.hand_over && job.command.is_none() {
            let token = self.token();
            self.pending.insert(token, anchor);
            self.handed.insert(token, (job.run.clone(), message.timestamp_ms));
            return self.actions.push(Action::HandOver { token, job: outbound(job), message });
        }
        self.deliver(job, message.partition, anchor, Some(Box::new(message)));
    }

    /// A job handed in by JavaScript (`processJobs` or `handleJob` overridden).
    pub fn submit(&mut self, submission: u64, job: Job) {
        let partition =
            if self.partitions.contains_key(&VIRTUAL_PARTITION) { VIRTUAL_PARTITION } else { home_partition(job.run.as_bytes(), self.partition_count) };
        let anchor = Anchor::Submitted(submission);
        self.hold(anchor);
        if self.partitions.get(&partition).is_none_or(|p| p.state != PartitionState::Active) {
            let error = FlowError::NotRunning { state: format!("not the owner of partition {partition}"), action: format!("job of run \"{}\"", job.run) };
            return self.reject(anchor, &error);
        }
        self.deliver(job, partition, anchor, None);
        self.pump();
    }

    /// Sends a message away for good; its anchor is released when that is acknowledged.
    pub(super) fn bury(&mut self, anchor: Anchor, letter: DeadLetter) {
        self.counters.dead_letters += 1;
        let token = self.token();
        self.pending.insert(token, anchor);
        self.actions.push(Action::Bury { token, letter });
    }

    /// A dead letter was acknowledged.
    pub fn buried(&mut self, token: u64) {
        if let Some(anchor) = self.pending.remove(&token) {
            self.release(anchor);
            self.regulate();
        }
    }

    /// JavaScript's `handleJob` settled. A rejection buries the message: the hook had its own retries.
    pub fn handled(&mut self, token: u64, message: RawMessage, run: String, result: Result<(), FlowError>) {
        self.handed.remove(&token);
        let Some(anchor) = self.pending.remove(&token) else { return };
        match result {
            Ok(()) => self.release(anchor),
            Err(error) => self.bury(anchor, DeadLetter { message, code: Code::Callback.as_str(), reason: error.to_string(), run: Some(run) }),
        }
    }

    // The anchor is held once by the caller; that hold is passed on or released here.
    pub(super) fn deliver(&mut self, job: Job, partition: i32, anchor: Anchor, message: Option<Box<RawMessage>>) {
        let Some(handle) = self.by_id.get(&job.run).copied() else {
            if self.ended.ids.contains(&job.run) {
                self.counters.stale += 1;
                let anchor = match job.command {
                    Some(text) => self.finish_command(&job.run, &super::PendingCommand { anchor, text, message }),
                    None => anchor,
                };
                return self.release(anchor);
            }
            // A command that its ended run left behind while the partition is being given up: it stays incomplete, and the
            // next owner gets it.
            if self.partitions.get(&partition).is_some_and(|state| state.state.is_given_up()) {
                let error = FlowError::NotRunning { state: "closing".into(), action: format!("run \"{}\"", job.run) };
                return self.reject(anchor, &error);
            }
            return self.enlist(job, partition, anchor, message);
        };
        let Some(run) = self.runs.get_mut(&handle) else { return self.release(anchor) };
        match run.phase {
            Phase::Waiting | Phase::Loading | Phase::Opening => {
                if run.blueprint.is_empty() {
                    run.blueprint = job.blueprint;
                }
                run.waiting.push(WaitingMessage { node: job.node, command: job.command, anchor, message });
                self.waiting_messages += 1;
            }
            Phase::Open | Phase::Ending if job.command.is_some() => self.command(handle, job.command.unwrap_or_default(), anchor, message),
            // The next opening takes them in: nothing in a parked run, or in one that others began, says what they ask for.
            Phase::Ending if run.is_leaving() => {
                run.waiting.push(WaitingMessage { node: job.node, command: None, anchor, message });
                self.waiting_messages += 1;
            }
            // It may be the only message of the run that is left: one that stood on another partition loses its hold with
            // that partition. So it waits for the outcome.
            Phase::Ending => {
                self.counters.stale += 1;
                run.anchors.push(anchor);
            }
            Phase::Open => self.attach(handle, &job.node, anchor),
        }
    }

    fn enlist(&mut self, job: Job, partition: i32, anchor: Anchor, message: Option<Box<RawMessage>>) {
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1).max(1);
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.runs.insert(handle);
        }
        self.by_id.insert(job.run.clone(), handle);
        self.runs.insert(
            handle,
            Run {
                id: job.run,
                blueprint: job.blueprint,
                partition,
                phase: Phase::Waiting,
                waiting: vec![WaitingMessage { node: job.node, command: job.command, anchor, message }],
                visits: std::collections::HashMap::new(),
                commands: std::collections::HashMap::new(),
                reserved: 0,
                document: Document::default(),
                checkpoint: String::new(),
                clock: WriteClock::default(),
                stored_micros: None,
                writing_micros: 0,
                queued: None,
                writing: None,
                anchors: Vec::new(),
                outcome: None,
                opened_at: Moment::default(),
                touched_at: None,
                verified_at: Moment::default(),
                drained: false,
                adoption: super::Adoption::No,
                refused: None,
            },
        );
        self.waiting_messages += 1;
        self.lane.push_back(handle);
    }

    // A message for an open run: it belongs to every visit of its node that is due now.
    fn attach(&mut self, handle: u32, node: &str, anchor: Anchor) {
        let Some(run) = self.runs.get_mut(&handle) else { return self.release(anchor) };
        let mut start = Vec::new();
        let mut attached = 0;
        for (number, visit) in run.visits.iter_mut().filter(|(_, visit)| visit.node == node) {
            visit.anchors.push(anchor);
            visit.submissions.extend(submission_of(anchor));
            attached += 1;
            if ask(visit) && !self.config.local_starts {
                start.push(*number);
            }
        }
        if attached == 0 && run.adoption != super::Adoption::No {
            // Perhaps due without our knowing: the session decides, and the message waits for the outcome.
            self.tell(ToSession::Stray { handle, node: node.to_owned() });
            return self.hold_for_outcome(handle, vec![anchor]);
        }
        if attached == 0 {
            self.counters.stale += 1;
        }
        for _ in 0..attached {
            self.hold(anchor);
        }
        if !start.is_empty() {
            start.sort_unstable();
            self.tell(ToSession::Start { handle, visits: start });
        }
        self.release(anchor);
    }

    /// The topic takes no message for now, for a reason that does not pass by itself: what is consumed could not go on.
    pub fn withhold(&mut self, withheld: bool) {
        if std::mem::replace(&mut self.withheld, withheld) != withheld {
            self.regulate();
        }
    }

    /// Whether partitions are paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    // Pauses when too much waits, resumes when half of it is gone: hysteresis against flapping.
    pub(super) fn regulate(&mut self) {
        // What is on its way to the dead letters or another partition is held in memory, too.
        let waiting = self.pending.len() + self.waiting_messages + self.backlog.len() + self.partitions.values().map(|p| p.aside.len()).sum::<usize>();
        let owned = || self.partitions.keys().copied().filter(|p| *p != VIRTUAL_PARTITION).collect::<Vec<_>>();
        if !self.paused && (self.withheld || waiting >= self.config.max_waiting_messages) {
            let partitions = owned();
            self.paused = true;
            self.actions.push(Action::Pause(partitions));
        } else if self.paused && !self.withheld && waiting <= self.config.max_waiting_messages / 2 {
            let partitions = owned();
            self.paused = false;
            self.actions.push(Action::Resume(partitions));
        }
    }
}

fn is_command(message: &RawMessage) -> bool {
    message.value.as_deref().and_then(|value| job::decode(value).ok()).is_some_and(|job| job.command.is_some())
}

// Marks that a message asked for the visit; true when it may start by that.
fn ask(visit: &mut Visit) -> bool {
    let first = !visit.asked;
    visit.asked = true;
    first && visit.durable && !visit.done
}

pub(super) fn submission_of(anchor: Anchor) -> Option<u64> {
    match anchor {
        Anchor::Submitted(submission) => Some(submission),
        Anchor::Log { .. } => None,
    }
}

fn outbound(job: Job) -> OutboundJob {
    OutboundJob { run: job.run, blueprint: job.blueprint, node: job.node, command: job.command, ..OutboundJob::default() }
}
