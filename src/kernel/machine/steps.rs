//! Step commits: group them, write them one after the other, then let their successors go (D5).

use super::partitions::wall;
use super::{Action, Anchor, Batch, Machine, Now, Phase, Run, Step, Visit};
use crate::kernel::document::Document;
use crate::kernel::effects::{ContextWrite, StatusRecord, StoredContext, ToSession};
use crate::kernel::error::FlowError;
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::timer::Timer;

impl Machine {
    /// A session recorded a step.
    pub fn step(&mut self, handle: u32, step: Step, now: Now) {
        let Some(run) = self.runs.get_mut(&handle).filter(|run| run.phase == Phase::Open) else { return };
        let before = run.document.bytes();
        let unchanged = step.changes.is_empty() && step.checkpoint == run.checkpoint && step.outcome.is_some();
        let now_ms = now.wall_ms();
        let changed: Vec<String> = step.changes.iter().map(|(key, _)| key.clone()).collect();
        for (key, raw) in step.changes {
            run.document.apply(key, raw);
        }
        self.loaded_bytes = (self.loaded_bytes + run.document.bytes()).saturating_sub(before);
        run.checkpoint = step.checkpoint;
        for number in &step.done {
            if let Some(visit) = run.visits.get_mut(number) {
                visit.done = true;
            }
        }
        let due: Vec<u32> = step.due.iter().map(|(number, _)| *number).collect();
        for (number, node) in step.due {
            run.visits.insert(number, Visit { node, ..Visit::default() });
        }
        if step.outcome.is_some() {
            run.phase = Phase::Ending;
        }
        let parked = step.parking.map(|parking| Timer::parked(run.partition, &run.id, parking));
        let unparked = step.unparking.map(|parking| Timer::parked(run.partition, &run.id, parking));
        let timers = step.timers.into_iter().map(|alarm| Timer::new(run.partition, &run.id, alarm, now_ms)).chain(parked);
        let first = run.queued.is_none();
        let batch = run.queued.get_or_insert_with(Batch::default);
        batch.unchanged = unchanged && first && run.writing.is_none();
        batch.seq = step.seq;
        batch.changed.extend(changed);
        batch.done.extend(step.done);
        batch.due.extend(due);
        batch.applied.extend(step.applied);
        batch.timers.extend(timers.filter(|_| first || !mutant(Mutant::DropJoinedTimers)));
        batch.unparked = unparked.or(batch.unparked.take());
        batch.outcome = step.outcome;
        self.write_next(handle, now);
    }

    // Takes everything handed over so far as one write; at most one write of a run is in flight.
    fn write_next(&mut self, handle: u32, now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        if run.writing.is_some() && !mutant(Mutant::WritesOverlap) {
            return;
        }
        let Some(batch) = run.queued.take() else { return };
        if batch.unchanged {
            run.writing = Some(batch);
            return self.recorded(handle, now);
        }
        let stale = now.moment.since(run.verified_at) > self.config.verify_after;
        let verify = run.stored_micros.filter(|_| stale && self.config.layout.rewrites());
        let write = ContextWrite {
            run: run.id.clone(),
            document: self.config.layout.text(&run.document, &run.checkpoint),
            changes: values_of(&batch.changed, &run.document),
            checkpoint: run.checkpoint.clone(),
            timestamp_micros: run.clock.next(wall(&self.partitions, run.partition, now)),
            timers: batch.timers.clone(),
        };
        run.writing_micros = write.timestamp_micros;
        run.writing = Some(batch);
        self.counters.writes += 1;
        let partition = run.partition;
        self.actions.push(Action::Write { handle, partition, write, verify });
        if cfg!(feature = "mutants") {
            self.do_too_early(handle, now);
        }
    }

    // The faults against the order of D5.
    fn do_too_early(&mut self, handle: u32, now: Now) {
        let Some(batch) = self.runs.get(&handle).and_then(|run| run.writing.as_ref()) else { return };
        let seq = batch.seq;
        if mutant(if batch.outcome.is_some() { Mutant::PublishBeforeWrite } else { Mutant::RecordBeforeWrite }) {
            return self.recorded(handle, now);
        }
        if mutant(Mutant::SendBeforeWrite) {
            batch.due.clone().into_iter().for_each(|number| self.send_visit(handle, number));
        }
        if mutant(Mutant::StartBeforeWrite) {
            self.tell(ToSession::Durable { handle, seq });
        }
    }

    /// The write in flight ended. An error here is one that no repeat can mend.
    pub fn written(&mut self, handle: u32, result: Result<(), FlowError>, now: Now) {
        match result {
            Ok(()) => {
                if let Some(run) = self.runs.get_mut(&handle) {
                    run.verified_at = now.moment;
                    run.stored_micros = Some(run.writing_micros);
                }
                self.recorded(handle, now);
            }
            Err(error) => self.refuse(handle, error.code().as_str(), error.to_string(), Some("failed".into()), now),
        }
    }

    // The write is durable: successors go, then the outcome.
    fn recorded(&mut self, handle: u32, now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let Some(batch) = run.writing.take() else { return };
        let (mut inherited, sending) = take_recorded(run, &batch.done);
        self.counters.recorded += batch.done.len() as u64;
        for number in &batch.due {
            if let Some(visit) = run.visits.get_mut(number) {
                visit.durable = true;
            }
        }
        for token in sending {
            if let Some(sending) = self.sending.get_mut(&token) {
                sending.recorded = true;
            }
        }
        inherited.extend(self.applied(handle, &batch.applied));
        self.keep_timers(batch.timers.clone());
        if let Some(timer) = batch.unparked.clone() {
            self.forget_parked(timer);
        }
        self.absolve(handle);
        self.pass_on(handle, inherited, &batch);
        self.tell(ToSession::Durable { handle, seq: batch.seq });
        match batch.outcome {
            Some(outcome) => self.publish(handle, outcome, now),
            None => self.write_next(handle, now),
        }
        self.close_if_drained(handle);
    }

    // Anchors of recorded visits go to the visits they made due; without any, to the outcome.
    fn pass_on(&mut self, handle: u32, inherited: Vec<Anchor>, batch: &Batch) {
        let mut start = Vec::new();
        let alive: Vec<u32> = match self.runs.get(&handle) {
            Some(run) => batch.due.iter().copied().filter(|number| run.visits.contains_key(number)).collect(),
            None => Vec::new(),
        };
        for number in &alive {
            let inherited: &[Anchor] = if mutant(Mutant::ForgetAnchors) { &[] } else { &inherited };
            inherited.iter().for_each(|anchor| self.hold(*anchor));
            if let Some(visit) = self.runs.get_mut(&handle).and_then(|run| run.visits.get_mut(number)) {
                visit.anchors.extend_from_slice(inherited);
                if visit.asked && !self.config.local_starts {
                    start.push(*number);
                }
            }
            if self.config.send_successors {
                self.send_visit(handle, *number);
            }
        }
        if !start.is_empty() {
            self.tell(ToSession::Start { handle, visits: start });
        }
        match self.runs.get_mut(&handle) {
            Some(run) if batch.outcome.is_some() => run.anchors.extend(inherited),
            _ => self.release_all(inherited),
        }
    }

    fn publish(&mut self, handle: u32, outcome: crate::kernel::outcome::Outcome, _now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        // The record's timestamp is that of the step that decided it, also on a repeat.
        let record = StatusRecord {
            run: run.id.clone(),
            status: outcome.status.clone(),
            status_data: outcome.status_data(&run.id, &run.document),
            timestamp_micros: run.stored_micros.unwrap_or_else(|| run.clock.last()),
        };
        run.outcome = Some(outcome);
        let leftover: Vec<Anchor> = run.visits.drain().flat_map(|(_, visit)| visit.anchors).collect();
        run.anchors.extend(leftover);
        let partition = run.partition;
        self.actions.push(Action::Publish { handle, partition, record });
    }

    /// A node is about to read a copy that may be old: has somebody else written the row (D8)?
    pub fn refresh(&mut self, handle: u32, now: Now) {
        let Some(run) = self.runs.get_mut(&handle).filter(|run| run.phase == Phase::Open) else { return };
        let stale = now.moment.since(run.verified_at) > self.config.verify_after;
        // A write on its way has looked itself.
        match run.stored_micros.filter(|_| stale && run.writing.is_none()) {
            Some(expected) => self.actions.push(Action::Look { handle, run: run.id.clone(), expected }),
            None => self.tell(ToSession::Refreshed { handle }),
        }
    }

    /// The answer to [`Action::Look`]: the row as somebody else has written it, or `None` where it is as we know it.
    pub fn looked(&mut self, handle: u32, theirs: Option<StoredContext>, now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        run.verified_at = now.moment;
        let known = |row: &StoredContext| row.write_micros == run.stored_micros;
        // A step that came meanwhile is merged by its own write.
        if let Some(row) = theirs.filter(|row| !known(row) && run.writing.is_none()) {
            self.counters.merges += 1;
            if let Some(micros) = row.write_micros {
                run.clock.saw(micros);
                run.stored_micros = Some(micros);
            }
            let before = run.document.bytes();
            let changes = row.read().map(|stored| merge(run, &stored.document, &Batch::default())).unwrap_or_default();
            self.loaded_bytes = (self.loaded_bytes + run.document.bytes()).saturating_sub(before);
            if !changes.is_empty() {
                self.tell(ToSession::Merge { handle, changes });
            }
        }
        self.tell(ToSession::Refreshed { handle });
    }

    /// The row was written by somebody else since it was read: merge by key, our uncommitted changes
    /// winning, and write again (D8).
    pub fn foreign(&mut self, handle: u32, stored: Option<StoredContext>, now: Now) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let Some(mut batch) = run.writing.take() else { return };
        self.counters.merges += 1;
        run.verified_at = now.moment;
        if let Some(micros) = stored.as_ref().and_then(|row| row.write_micros) {
            run.clock.saw(micros);
            run.stored_micros = Some(micros);
        }
        let theirs = stored.and_then(|row| row.read().ok()).map(|stored| stored.document);
        if let Some(theirs) = theirs {
            let before = run.document.bytes();
            let changes = merge(run, &theirs, &batch);
            self.loaded_bytes = (self.loaded_bytes + run.document.bytes()).saturating_sub(before);
            if !changes.is_empty() {
                self.tell(ToSession::Merge { handle, changes });
            }
        }
        let Some(run) = self.runs.get_mut(&handle) else { return };
        if let Some(later) = run.queued.take() {
            batch.seq = later.seq;
            batch.changed.extend(later.changed);
            batch.done.extend(later.done);
            batch.due.extend(later.due);
            batch.applied.extend(later.applied);
            batch.timers.extend(later.timers);
            batch.unparked = later.unparked.or(batch.unparked);
            batch.outcome = later.outcome;
        }
        batch.unchanged = false;
        run.queued = Some(batch);
        self.write_next(handle, now);
    }
}

// Removes recorded visits: what they held, and which of their messages are still on their way.
fn take_recorded(run: &mut Run, done: &[u32]) -> (Vec<Anchor>, Vec<u64>) {
    let (mut inherited, mut sending) = (Vec::new(), Vec::new());
    for visit in done.iter().filter_map(|number| run.visits.remove(number)) {
        inherited.extend(visit.anchors);
        sending.extend(visit.sending);
    }
    (inherited, sending)
}

// Each key once, in the order of their first changes, with what it holds now; `None` where it is deleted.
fn values_of(changed: &[String], document: &Document) -> Vec<(String, Option<String>)> {
    let mut seen = std::collections::HashSet::with_capacity(changed.len());
    changed.iter().filter(|key| seen.insert(key.as_str())).map(|key| (key.clone(), document.get(key).map(str::to_owned))).collect()
}

// Applies their changes to our copy where we changed nothing ourselves.
fn merge(run: &mut Run, theirs: &Document, batch: &Batch) -> Vec<(String, Option<String>)> {
    let queued = run.queued.iter().flat_map(|batch| batch.changed.iter());
    let own = batch.changed.iter().chain(queued).map(String::as_str).filter(|_| !mutant(Mutant::ForeignOverwrites));
    let own: std::collections::HashSet<&str> = own.collect();
    let mut changes: Vec<(String, Option<String>)> = Vec::new();
    for (key, raw) in theirs.entries().filter(|(key, _)| !own.contains(key)) {
        if run.document.get(key) != Some(raw) {
            changes.push((key.to_owned(), Some(raw.to_owned())));
        }
    }
    for (key, _) in run.document.entries().filter(|(key, _)| !own.contains(key)) {
        if theirs.get(key).is_none() {
            changes.push((key.to_owned(), None));
        }
    }
    for (key, raw) in &changes {
        run.document.apply(key.clone(), raw.clone());
    }
    changes
}
