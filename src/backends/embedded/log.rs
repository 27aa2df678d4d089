//! A topic with its partitions, the positions and members of its groups, and its dead letters.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::assignment::{MemberId, balance};
use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::job;
use crate::kernel::partition::home_partition;
use crate::ports::{DeadLetter, JobSink, OutboundJob, RawMessage, SendDone};

/// Most messages handed over at once, as with Kafka.
const BATCH: usize = 1_000;

/// A dead letter with the topic it came from.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The job topic.
    pub topic: String,
    /// Message, code, reason and run.
    pub letter: DeadLetter,
}

/// One topic.
pub(super) struct Topic {
    name: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    partitions: Vec<Vec<RawMessage>>,
    groups: HashMap<String, Group>,
    letters: Vec<Letter>,
    next_member: MemberId,
}

#[derive(Default)]
struct Group {
    members: Vec<MemberId>,
    /// Owner of each partition; it may differ from the wanted one while a partition moves.
    owners: Vec<Option<MemberId>>,
    wanted: Vec<Option<MemberId>>,
    committed: BTreeMap<i32, i64>,
}

/// What a member is to do next.
#[derive(Debug)]
pub(super) enum Task {
    /// Hand these back.
    Release(Vec<i32>),
    /// Begin with these, at these positions.
    Take(Vec<(i32, i64)>),
    /// Nothing about the assignment.
    Stay,
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

fn wall_ms() -> Option<i64> {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

impl Topic {
    pub(super) fn new(name: &str, partitions: i32) -> Self {
        let state = State { partitions: vec![Vec::new(); index(partitions.max(1))], ..State::default() };
        Self { name: name.into(), state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn partitions(&self) -> i32 {
        number(lock(&self.state).partitions.len())
    }

    /// Adds partitions; fewer than there are changes nothing.
    pub(super) fn grow(&self, partitions: i32) {
        let mut state = lock(&self.state);
        let wanted = index(partitions).max(state.partitions.len());
        state.partitions.resize_with(wanted, Vec::new);
        state.rebalance_all();
        self.changed.notify_all();
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The offset after the last message of a partition.
    pub(super) fn end(&self, partition: i32) -> Option<i64> {
        lock(&self.state).partitions.get(index(partition)).map(|log| i64::try_from(log.len()).unwrap_or(i64::MAX))
    }

    /// Appends a message; a partition that does not exist is the last one.
    pub(super) fn append(&self, partition: i32, key: Option<Vec<u8>>, value: Option<Vec<u8>>, hops: u32, sent_ms: Option<i64>) -> (i32, i64) {
        let mut state = lock(&self.state);
        let at = index(partition.max(0)).min(state.partitions.len().saturating_sub(1));
        let Some(log) = state.partitions.get_mut(at) else { return (partition, -1) };
        let offset = i64::try_from(log.len()).unwrap_or(i64::MAX);
        log.push(RawMessage { partition: number(at), offset, key, value, hops, headers: Vec::new(), timestamp_ms: sent_ms.or_else(wall_ms) });
        self.changed.notify_all();
        (number(at), offset)
    }

    pub(super) fn messages(&self) -> Vec<RawMessage> {
        lock(&self.state).partitions.concat()
    }

    pub(super) fn bury(&self, letter: DeadLetter) {
        let topic = self.name.clone();
        lock(&self.state).letters.push(Letter { topic, letter });
    }

    pub(super) fn letters(&self) -> Vec<Letter> {
        lock(&self.state).letters.clone()
    }

    pub(super) fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        lock(&self.state).groups.get(group)?.committed.get(&partition).copied()
    }

    /// Adds a member to a group.
    pub(super) fn join(&self, group: &str) -> MemberId {
        let mut state = lock(&self.state);
        state.next_member += 1;
        let member = state.next_member;
        state.groups.entry(group.to_owned()).or_default().members.push(member);
        state.rebalance_all();
        self.changed.notify_all();
        member
    }

    /// Removes a member; what it held is free at once. Answers what that was.
    pub(super) fn leave(&self, group: &str, member: MemberId) -> Vec<i32> {
        let mut state = lock(&self.state);
        let Some(found) = state.groups.get_mut(group) else { return Vec::new() };
        found.members.retain(|known| *known != member);
        let held = found.held(member);
        found.release(&held, member);
        state.rebalance_all();
        self.changed.notify_all();
        held
    }

    /// Gives partitions up.
    pub(super) fn release(&self, group: &str, member: MemberId, partitions: &[i32]) {
        if let Some(found) = lock(&self.state).groups.get_mut(group) {
            found.release(partitions, member);
        }
        self.changed.notify_all();
    }

    /// What the member has to do. Taking is done by this call: the position is committed where there was none.
    pub(super) fn next_task(&self, group: &str, member: MemberId) -> Task {
        let mut state = lock(&self.state);
        let Some(found) = state.groups.get_mut(group) else { return Task::Stay };
        let release = found.moving_away(member);
        if !release.is_empty() {
            return Task::Release(release);
        }
        let taken = found.take(member);
        if taken.is_empty() { Task::Stay } else { Task::Take(taken) }
    }

    /// Commits positions of partitions that the member holds; others are left out.
    pub(super) fn commit(&self, group: &str, member: MemberId, positions: &[(i32, i64)]) {
        let mut state = lock(&self.state);
        let Some(found) = state.groups.get_mut(group) else { return };
        for (partition, offset) in positions {
            if found.owners.get(index(*partition)) == Some(&Some(member)) {
                found.committed.insert(*partition, *offset);
            }
        }
    }

    /// The next messages from these positions, a batch at most. Moves the positions.
    pub(super) fn read(&self, positions: &mut BTreeMap<i32, i64>, paused: impl Fn(i32) -> bool) -> Vec<RawMessage> {
        let state = lock(&self.state);
        let mut batch = Vec::new();
        for (partition, position) in positions.iter_mut().filter(|(partition, _)| !paused(**partition)) {
            let log = state.partitions.get(index(*partition)).map_or(&[][..], Vec::as_slice);
            let from = usize::try_from(*position).unwrap_or(0).min(log.len());
            let ready = log.get(from..).unwrap_or_default();
            let ready = ready.get(..ready.len().min(BATCH - batch.len())).unwrap_or_default();
            batch.extend_from_slice(ready);
            *position = i64::try_from(from + ready.len()).unwrap_or(i64::MAX);
        }
        batch
    }

    /// Sleeps until something changes, unless `ready` holds already; also ends after `limit`.
    pub(super) fn wait(&self, limit: Duration, ready: impl Fn() -> bool, has_more: impl Fn(&Peek<'_>) -> bool) {
        let state = lock(&self.state);
        if ready() || has_more(&Peek(&state)) {
            return;
        }
        drop(self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner));
    }

    /// Wakes every member.
    pub(super) fn wake(&self) {
        let _held: MutexGuard<'_, State> = lock(&self.state);
        self.changed.notify_all();
    }
}

/// A look at a topic under its lock.
pub(super) struct Peek<'a>(&'a State);

impl Peek<'_> {
    /// Whether the partition has messages from there on.
    pub(super) fn has(&self, partition: i32, position: i64) -> bool {
        self.0.partitions.get(index(partition)).is_some_and(|log| usize::try_from(position).unwrap_or(0) < log.len())
    }

    /// Whether the member's assignment is to change.
    pub(super) fn has_task(&self, group: &str, member: MemberId) -> bool {
        self.0.groups.get(group).is_some_and(|found| {
            !found.moving_away(member).is_empty() || found.owners.iter().zip(&found.wanted).any(|(owner, wanted)| owner.is_none() && *wanted == Some(member))
        })
    }
}

impl State {
    fn rebalance_all(&mut self) {
        let partitions = self.partitions.len();
        for group in self.groups.values_mut() {
            group.owners.resize(partitions, None);
            group.wanted = balance(&group.members, &group.owners);
        }
    }
}

impl Group {
    fn held(&self, member: MemberId) -> Vec<i32> {
        self.owners.iter().enumerate().filter(|(_, owner)| **owner == Some(member)).map(|(at, _)| number(at)).collect()
    }

    fn moving_away(&self, member: MemberId) -> Vec<i32> {
        self.held(member).into_iter().filter(|partition| self.wanted.get(index(*partition)) != Some(&Some(member))).collect()
    }

    fn release(&mut self, partitions: &[i32], member: MemberId) {
        for partition in partitions {
            if let Some(owner) = self.owners.get_mut(index(*partition)).filter(|owner| **owner == Some(member)) {
                *owner = None;
            }
        }
    }

    fn take(&mut self, member: MemberId) -> Vec<(i32, i64)> {
        let mut taken = Vec::new();
        for (at, (owner, wanted)) in self.owners.iter_mut().zip(&self.wanted).enumerate() {
            if owner.is_none() && *wanted == Some(member) {
                *owner = Some(member);
                // A new group begins with the oldest message.
                taken.push((number(at), *self.committed.entry(number(at)).or_insert(0)));
            }
        }
        taken
    }
}

/// The producing side.
pub struct EmbeddedSink {
    topic: Arc<Topic>,
    closed: AtomicBool,
}

impl EmbeddedSink {
    pub(super) fn new(topic: Arc<Topic>) -> Self {
        Self { topic, closed: AtomicBool::new(false) }
    }

    fn refuse_when_closed(&self) -> Result<(), FlowError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(FlowError::NotRunning { state: "closed".into(), action: "sending".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl JobSink for EmbeddedSink {
    fn send(&self, job: &OutboundJob, done: SendDone) {
        done(self.refuse_when_closed().map(|()| {
            let value = job::encode(job).into_bytes();
            let partition = home_partition(job.run.as_bytes(), self.topic.partitions());
            Some(self.topic.append(partition, Some(job.run.as_bytes().to_vec()), Some(value), job.hops, job.sent_ms))
        }));
    }

    fn dead_letter(&self, letter: &DeadLetter, done: SendDone) {
        done(self.refuse_when_closed().map(|()| {
            self.topic.bury(letter.clone());
            None
        }));
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}
