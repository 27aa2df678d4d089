//! The life of a run in this worker: lane, load, open, refuse, end.

use super::intake::submission_of;
use super::partitions::wall;
use super::{Action, Adoption, Anchor, Machine, Now, PartitionState, Phase, Run, VIRTUAL_PARTITION, Visit, WaitingMessage};
use crate::kernel::document::Document;
use crate::kernel::effects::{DeadLetter, OutboundJob, RawMessage, StatusRecord, StoredContext, ToSession};
use crate::kernel::error::{Code, FlowError};
use crate::kernel::job::{self, Job};
use crate::kernel::outcome::Outcome;
use crate::kernel::timestamps::WriteClock;

impl Machine {
    // Loads runs while there is room; one run is always allowed, however large.
    pub(super) fn pump(&mut self) {
        while self.has_room() {
            let Some(handle) = self.lane.pop_front() else { return };
            if self.is_backlog(handle) {
                let Some(run) = self.take_place(handle, 0) else { continue };
                self.actions.push(Action::Examine { handle, run });
                continue;
            }
            let Some(run) = self.begin_load(handle) else { continue };
            self.actions.push(Action::Load { handle, run });
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.loaded < self.config.max_loaded_runs && (self.loaded == 0 || self.loaded_bytes < self.config.max_loaded_bytes)
    }

    // What a read brings is known when it is here: until then it counts as much as the largest of the last ones, and the very first is
    // alone. Otherwise all runs that fit by number would be under way before the first is weighed.
    pub(super) fn begin_load(&mut self, handle: u32) -> Option<String> {
        let run = self.take_place(handle, self.expected_bytes.unwrap_or(self.config.max_loaded_bytes))?;
        self.counters.loads += 1;
        Some(run)
    }

    fn take_place(&mut self, handle: u32, bytes: usize) -> Option<String> {
        let run = self.runs.get_mut(&handle)?;
        run.phase = Phase::Loading;
        run.reserved = bytes;
        self.loaded += 1;
        self.loaded_bytes = self.loaded_bytes.saturating_add(bytes);
        Some(run.id.clone())
    }

    // One large run among small ones is forgotten after some tens of them.
    fn expect(&mut self, bytes: usize) {
        self.expected_bytes = Some(self.expected_bytes.map_or(bytes, |expected| bytes.max(expected - expected / 16)));
    }

    /// The state of a run was read.
    pub fn loaded(&mut self, handle: u32, result: Result<Option<StoredContext>, FlowError>, now: Now) {
        let Some(run) = self.runs.get_mut(&handle).filter(|run| run.phase == Phase::Loading) else { return };
        let stored = match result {
            Ok(stored) => stored,
            Err(error) => return self.refuse(handle, error.code().as_str(), error.to_string(), None, now),
        };
        if stored.is_none() && run.waiting.iter().all(|waiting| waiting.command.is_some()) {
            let reason = "The run has no row in the context table".to_owned();
            return self.refuse(handle, Code::RunUnknown.as_str(), reason, None, now);
        }
        if stored.is_some() || !self.doubt(handle, now) {
            self.open(handle, stored, now);
        }
    }

    // Begins a session for what was read.
    pub(super) fn open(&mut self, handle: u32, stored: Option<StoredContext>, now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let existed = stored.is_some();
        let write_micros = stored.as_ref().and_then(|row| row.write_micros);
        let stored = match stored.map_or_else(|| Ok(self.config.layout.nothing()), StoredContext::read) {
            Ok(stored) => stored,
            Err(cause) => {
                let error = FlowError::StateCorrupt { run: run.id.clone(), cause };
                return self.refuse(handle, Code::StateCorrupt.as_str(), error.to_string(), Some("failed".into()), now);
            }
        };
        run.clock = WriteClock::above(write_micros);
        run.stored_micros = write_micros;
        run.document = stored.document;
        run.checkpoint = stored.checkpoint.clone().unwrap_or_default();
        run.phase = Phase::Opening;
        run.opened_at = now.moment;
        run.verified_at = now.moment;
        let bytes = run.document.bytes();
        self.loaded_bytes = self.loaded_bytes.saturating_sub(std::mem::take(&mut run.reserved)) + bytes;
        let (more_may_come, blueprint) = origin(stored.checkpoint.as_deref(), &run.document);
        // Commands do not name it; a checkpoint stands above what a message says.
        if run.blueprint.is_empty() || stored.checkpoint.is_some() {
            run.blueprint = blueprint.unwrap_or_else(|| std::mem::take(&mut run.blueprint));
        }
        let partition = run.partition;
        if more_may_come {
            run.adoption = Adoption::Asking;
        }
        let commands = self.take_commands(handle);
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let event = ToSession::Open {
            handle,
            commands,
            run: run.id.clone(),
            blueprint: run.blueprint.clone(),
            nodes: run.waiting.iter().map(|waiting| waiting.node.clone()).collect(),
            entries: run.document.entries().map(|(key, raw)| (key.to_owned(), raw.to_owned())).collect(),
            checkpoint: stored.checkpoint,
            existed,
            more_may_come,
        };
        self.tell(event);
        if more_may_come {
            self.actions.push(Action::FindEnd { handle, partition });
        }
        self.expect(bytes);
        self.open_examined(now);
        self.pump();
    }

    /// The end of an adopted run's partition; `None` where the source cannot tell, which then counts as read.
    pub fn end_found(&mut self, handle: u32, end: Option<i64>) {
        let Some(run) = self.runs.get_mut(&handle).filter(|run| run.adoption == Adoption::Asking) else { return };
        run.adoption = Adoption::Until(end.unwrap_or(0));
        self.note_ends();
    }

    // Tells adopted runs whose partition was read far enough, up to what one node at a time has not come to yet.
    pub(super) fn note_ends(&mut self) {
        let mut seen = Vec::new();
        for (handle, run) in &mut self.runs {
            if let Adoption::Until(end) = run.adoption
                && self.partitions.get(&run.partition).is_none_or(|partition| end == 0 || partition.ledger.has_received(end - 1))
                && !self.backlog.iter().any(|message| message.partition == run.partition && message.offset < end)
            {
                run.adoption = Adoption::Complete;
                seen.push(*handle);
            }
        }
        for handle in seen {
            self.tell(ToSession::AllSeen { handle });
        }
    }

    /// A session answered with the visits that are due.
    ///
    /// The messages that brought the run here are held by all of them: each may be the only one that
    /// brings the run back after a crash.
    pub fn opened(&mut self, handle: u32, due: Vec<(u32, String)>) {
        let Some(run) = self.runs.get_mut(&handle).filter(|run| run.phase == Phase::Opening) else { return };
        run.phase = Phase::Open;
        // What came while the session opened.
        let late = self.take_commands(handle);
        for (token, command) in late {
            self.tell(ToSession::Command { handle, token, command });
        }
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let waiting = std::mem::take(&mut run.waiting);
        self.waiting_messages -= waiting.len();
        let anchors: Vec<Anchor> = waiting.iter().map(|message| message.anchor).collect();
        if due.is_empty() {
            // Held until the outcome that follows is published.
            self.hold_for_outcome(handle, anchors);
            return self.close_if_drained(handle);
        }
        let (mut start, mut send) = (Vec::new(), Vec::new());
        for (number, node) in due {
            let asking: Vec<Anchor> = waiting.iter().filter(|message| message.node == node).map(|message| message.anchor).collect();
            let asked = !asking.is_empty();
            if asked {
                start.push(number)
            } else {
                send.push(number)
            }
            let submissions = asking.into_iter().filter_map(submission_of).collect();
            run.visits.insert(number, Visit { node, anchors: anchors.clone(), durable: true, asked, submissions, ..Visit::default() });
        }
        let count = run.visits.len();
        // Commands bring a run here, too; each keeps its own hold until it is answered.
        let commands: Vec<Anchor> = run.commands.values().map(|command| command.anchor).collect();
        for visit in run.visits.values_mut() {
            visit.anchors.extend_from_slice(&commands);
        }
        for anchor in anchors.iter().chain(&commands) {
            (0..count).for_each(|_| self.hold(*anchor));
        }
        self.release_all(anchors);
        if !self.config.local_starts {
            send.into_iter().for_each(|number| self.send_visit(handle, number));
            self.tell(ToSession::Start { handle, visits: start });
        }
        self.regulate();
        // It may have answered a drain before this arrived.
        self.close_if_drained(handle);
    }

    /// A session cannot run this run: the waiting messages go to the dead letters, after the status.
    pub fn refuse(&mut self, handle: u32, code: &'static str, reason: String, status: Option<String>, now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        run.refused = Some((code, reason.clone()));
        match status {
            None => self.bury_run(handle, now),
            Some(status) => {
                let outcome = Outcome::bare(&status, &reason);
                run.phase = Phase::Ending;
                let timestamp_micros = run.clock.next(wall(&self.partitions, run.partition, now));
                let record = StatusRecord { run: run.id.clone(), status, status_data: outcome.status_data(&run.id, &run.document), timestamp_micros };
                let partition = run.partition;
                self.actions.push(Action::Publish { handle, partition, record });
            }
        }
    }

    // Ends a run whose messages nobody can process.
    pub(super) fn bury_run(&mut self, handle: u32, _now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let (code, reason) = run.refused.clone().unwrap_or((Code::Internal.as_str(), "no reason recorded".into()));
        let id = run.id.clone();
        let blueprint = run.blueprint.clone();
        let mut letters: Vec<(Anchor, RawMessage)> = Vec::new();
        let mut commands: Vec<super::PendingCommand> = run.commands.drain().map(|(_, command)| command).collect();
        for waiting in std::mem::take(&mut run.waiting) {
            self.waiting_messages -= 1;
            if let Some(text) = waiting.command {
                commands.push(super::PendingCommand { anchor: waiting.anchor, text, message: waiting.message });
                continue;
            }
            let rebuild = || rebuilt(&id, &blueprint, &waiting.node, None, waiting.anchor);
            letters.push((waiting.anchor, waiting.message.map_or_else(rebuild, |message| *message)));
        }
        let mut seen = std::collections::HashSet::new();
        let mut spare = std::mem::take(&mut run.anchors);
        for visit in run.visits.values_mut() {
            for anchor in std::mem::take(&mut visit.anchors) {
                if seen.insert(anchor) { letters.push((anchor, rebuilt(&id, &blueprint, &visit.node, None, anchor))) } else { spare.push(anchor) }
            }
        }
        let error = FlowError::RunRefused {
            code: Code::ALL.iter().copied().find(|known| known.as_str() == code).unwrap_or(Code::Internal),
            run: id.clone(),
            reason: reason.clone(),
        };
        for (anchor, message) in letters {
            match anchor {
                Anchor::Log { .. } => self.bury(anchor, DeadLetter { message, code, reason: reason.clone(), run: Some(id.clone()) }),
                Anchor::Submitted(_) => self.reject(anchor, &error),
            }
        }
        for command in commands {
            self.bury_command(&id, command, code, reason.clone());
        }
        self.close(handle, &reason);
        self.release_all(spare);
    }

    /// The outcome of a run is published (or can never be: then it is logged by the engine and stands in
    /// the run's checkpoint).
    pub fn published(&mut self, handle: u32, now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        if run.refused.is_some() {
            return self.bury_run(handle, now);
        }
        self.counters.outcomes += u64::from(!run.outcome.as_ref().is_some_and(Outcome::is_resting));
        let anchors = std::mem::take(&mut run.anchors);
        let ended = run.outcome.as_ref().is_some_and(Outcome::is_final);
        let (id, partition) = (run.id.clone(), run.partition);
        let commands = run.commands.drain().map(|(_, command)| command).collect();
        let late = std::mem::take(&mut run.waiting);
        let blueprint = run.blueprint.clone();
        self.waiting_messages -= late.len();
        if ended {
            self.ended.insert(id.clone());
        }
        self.close(handle, "ended");
        self.leave_commands(commands, &id, partition, ended);
        for WaitingMessage { node, command, anchor, message } in late {
            let job = Job { run: id.clone(), blueprint: blueprint.clone(), node, command };
            self.deliver(job, partition, anchor, message);
        }
        // One message after the other: this takes the next one, which must not find the run that is closed here.
        self.release_all(anchors);
        self.pump();
    }

    // Forgets a run; whatever it still holds stays incomplete and is delivered again.
    pub(super) fn close(&mut self, handle: u32, reason: &str) {
        let Some(run) = self.runs.remove(&handle) else { return };
        self.by_id.remove(&run.id);
        self.waiting_messages -= run.waiting.len();
        if run.phase != Phase::Waiting {
            self.loaded -= 1;
            self.loaded_bytes = self.loaded_bytes.saturating_sub(run.reserved + run.document.bytes());
        }
        if matches!(run.phase, Phase::Opening | Phase::Open | Phase::Ending) {
            self.tell(ToSession::Close { handle, reason: reason.to_owned() });
        }
        self.abandon_submissions(&run);
        self.forget_opening(handle);
        if let Some(partition) = self.partitions.get_mut(&run.partition) {
            partition.runs.remove(&handle);
        }
        self.check_drained(run.partition);
        self.regulate();
        self.pump();
    }

    fn abandon_submissions(&mut self, run: &super::Run) {
        let error = FlowError::NotRunning { state: "closing".into(), action: format!("run \"{}\"", run.id) };
        let waiting = run.waiting.iter().map(|message| message.anchor);
        let visits = run.visits.values().flat_map(|visit| visit.anchors.iter().copied());
        let commands = run.commands.values().map(|command| command.anchor);
        let held: Vec<Anchor> = waiting.chain(visits).chain(commands).chain(run.anchors.iter().copied()).collect();
        for anchor in held {
            self.reject(anchor, &error);
        }
    }

    /// Time passed: long-held offsets move to the tail, long-open runs are touched.
    pub fn tick(&mut self, now: Now) {
        self.refresh_held(now);
        self.touch_open(now);
        self.tick_timers(now);
        self.open_examined(now);
    }

    fn refresh_held(&mut self, now: Now) {
        let Some(limit) = now.moment.0.checked_sub(self.config.refresh_after).map(crate::kernel::time::Moment) else { return };
        let mut held: Vec<(i32, u64, i64)> = Vec::new();
        for (number, partition) in self.partitions.iter().filter(|(_, p)| p.state == PartitionState::Active) {
            held.extend(partition.ledger.held_since(limit).take(1_000).map(|offset| (*number, partition.epoch, offset)));
        }
        for (partition, epoch, offset) in held {
            let anchor = Anchor::Log { partition, epoch, offset };
            let visits: Vec<(u32, u32)> = self
                .runs
                .iter()
                .filter(|(_, run)| run.partition == partition && run.phase == Phase::Open)
                .flat_map(|(handle, run)| {
                    run.visits.iter().filter(|(_, v)| v.sending.is_none() && v.anchors.contains(&anchor)).map(|(number, _)| (*handle, *number))
                })
                .collect();
            for (handle, number) in visits {
                self.send_visit(handle, number);
            }
        }
    }

    fn touch_open(&mut self, now: Now) {
        let (config, partitions) = (&self.config, &self.partitions);
        let mut touches = Vec::new();
        for run in self.runs.values_mut().filter(|run| run.phase == Phase::Open) {
            let due = run.touched_at.map_or_else(|| run.opened_at.after(config.touch_first), |last| last.after(config.touch_every));
            if now.moment >= due {
                run.touched_at = Some(now.moment);
                // Below every later write of this run, so that an outcome always wins.
                touches.push(Action::Touch {
                    run: run.id.clone(),
                    partition: run.partition,
                    timestamp_micros: run.clock.next(wall(partitions, run.partition, now)),
                });
            }
        }
        self.actions.append(&mut touches);
    }

    // Sends the message of a due visit; its acknowledgement replaces what the visit inherited.
    pub(super) fn send_visit(&mut self, handle: u32, number: u32) {
        let token = self.token();
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let Some(visit) = run.visits.get_mut(&number) else { return };
        visit.sending = Some(token);
        let job = OutboundJob { run: run.id.clone(), blueprint: run.blueprint.clone(), node: visit.node.clone(), ..OutboundJob::default() };
        self.sending.insert(token, super::Sending { handle, visit: number, recorded: false });
        self.counters.sends += 1;
        self.actions.push(Action::Send { token, job });
    }

    /// A job message was acknowledged, at its place where the log tells.
    pub fn sent(&mut self, token: u64, delivered: Option<(i32, i64)>) {
        if let Some(anchor) = self.pending.remove(&token) {
            self.release(anchor);
            return self.regulate();
        }
        let Some(sending) = self.sending.remove(&token) else { return };
        if sending.recorded {
            return self.forget_duplicate(delivered);
        }
        if let Some(visit) = self.runs.get_mut(&sending.handle).and_then(|run| run.visits.get_mut(&sending.visit)) {
            visit.sending = None;
        }
        let ahead = self.ahead_anchor(delivered);
        let Some(visit) = self.runs.get_mut(&sending.handle).and_then(|run| run.visits.get_mut(&sending.visit)) else { return };
        let (mut own, inherited): (Vec<Anchor>, Vec<Anchor>) =
            std::mem::take(&mut visit.anchors).into_iter().partition(|anchor| match submission_of(*anchor) {
                Some(submission) => visit.submissions.contains(&submission),
                None => is_at(*anchor, delivered),
            });
        own.extend(ahead);
        visit.anchors = own;
        ahead.into_iter().for_each(|anchor| self.hold(anchor));
        self.release_all(inherited);
    }

    // The anchor of a message of ours that was acknowledged and not read yet.
    fn ahead_anchor(&self, delivered: Option<(i32, i64)>) -> Option<Anchor> {
        let (number, offset) = delivered?;
        let partition = self.partitions.get(&number).filter(|partition| !partition.ledger.has_received(offset))?;
        Some(Anchor::Log { partition: number, epoch: partition.epoch, offset })
    }

    // The visit of this message is recorded: when it comes, it costs nothing.
    pub(super) fn forget_duplicate(&mut self, delivered: Option<(i32, i64)>) {
        if let Some((partition, offset)) = delivered
            && partition != VIRTUAL_PARTITION
            && let Some(partition) = self.partitions.get_mut(&partition)
        {
            partition.ledger.complete_ahead(offset);
        }
    }
}

impl Run {
    // Whether the outcome that is on its way leaves questions open that a message may ask: it is parked, rests, or awaits, begun by
    // others.
    pub(super) fn is_leaving(&self) -> bool {
        let given = self.queued.as_ref().and_then(|batch| batch.outcome.as_ref());
        let written = self.writing.as_ref().and_then(|batch| batch.outcome.as_ref());
        let is_adopted = self.adoption != super::Adoption::No;
        given
            .or(written)
            .or(self.outcome.as_ref())
            .is_some_and(|outcome| outcome.status == "parked" || outcome.is_resting() || (is_adopted && !outcome.is_final()))
    }
}

// Whether JavaScript workers began the run, and its blueprint. Outputs without a checkpoint are theirs (or a
// client's own, which costs one look-up); a checkpoint says so itself.
fn origin(checkpoint: Option<&str>, document: &Document) -> (bool, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Mark {
        adopted: Option<u8>,
        blueprint: Option<String>,
    }
    match checkpoint {
        Some(text) => serde_json::from_str::<Mark>(text).map_or((false, None), |mark| (mark.adopted.is_some(), mark.blueprint)),
        None => {
            let blueprint = document.get("blueprintId").and_then(|raw| serde_json::from_str(raw).ok());
            (document.entries().any(|(key, _)| key.starts_with("_outputs.")), blueprint)
        }
    }
}

fn is_at(anchor: Anchor, delivered: Option<(i32, i64)>) -> bool {
    matches!((anchor, delivered), (Anchor::Log { partition, offset, .. }, Some(at)) if at == (partition, offset))
}

pub(super) fn rebuilt(run: &str, blueprint: &str, node: &str, command: Option<String>, anchor: Anchor) -> RawMessage {
    let (partition, offset) = match anchor {
        Anchor::Log { partition, offset, .. } => (partition, offset),
        Anchor::Submitted(_) => (VIRTUAL_PARTITION, 0),
    };
    let job = OutboundJob { run: run.to_owned(), blueprint: blueprint.to_owned(), node: node.to_owned(), command, ..OutboundJob::default() };
    RawMessage { partition, offset, key: Some(run.as_bytes().to_vec()), value: Some(job::encode(&job).into_bytes()), ..RawMessage::default() }
}
