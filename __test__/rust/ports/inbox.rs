//! What a job source told, collected and awaited.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use flowcraft_kafka_adapter::kernel::error::FlowError;
use flowcraft_kafka_adapter::ports::{RawMessage, SourceEvent, SourceHandle};

/// Longest wait for anything; real brokers take a second or two for a rebalance.
const LIMIT: Duration = Duration::from_secs(40);

#[derive(Default)]
pub struct Heard {
    pub messages: Vec<RawMessage>,
    pub assigned: Vec<i32>,
    pub revoking: Vec<(Vec<i32>, mpsc::Sender<()>)>,
    pub lost: Vec<i32>,
    pub joined: u32,
    pub troubles: Vec<FlowError>,
    pub ended: Vec<Option<FlowError>>,
    /// Kinds in the order they came.
    pub order: Vec<&'static str>,
}

#[derive(Clone, Default)]
pub struct Inbox(Arc<(Mutex<Heard>, Condvar)>);

impl Inbox {
    /// Answers `done` of a revocation at once when `eager` is set; otherwise the test does.
    pub fn handle(&self, eager: bool) -> SourceHandle {
        let inbox = self.clone();
        Arc::new(move |event| {
            let (heard, changed) = &*inbox.0;
            note(&mut heard.lock().unwrap(), event, eager);
            changed.notify_all();
        })
    }

    pub fn look<R>(&self, at: impl FnOnce(&mut Heard) -> R) -> R {
        at(&mut self.0.0.lock().unwrap())
    }

    /// Waits until `found` answers something.
    #[track_caller]
    pub fn wait<R>(&self, what: &str, mut found: impl FnMut(&mut Heard) -> Option<R>) -> R {
        let (heard, changed) = &*self.0;
        let deadline = Instant::now() + LIMIT;
        let mut heard = heard.lock().unwrap();
        loop {
            if let Some(result) = found(&mut heard) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; heard {:?}, troubles {:?}, {} messages", heard.order, heard.troubles, heard.messages.len());
            heard = changed.wait_timeout(heard, left).unwrap().0;
        }
    }

    /// Waits for that many messages in all.
    #[track_caller]
    pub fn wait_messages(&self, count: usize) -> Vec<RawMessage> {
        self.wait(&format!("{count} messages"), |heard| (heard.messages.len() >= count).then(|| heard.messages.clone()))
    }

    #[track_caller]
    pub fn wait_assigned(&self, count: usize) {
        self.wait(&format!("{count} partitions"), |heard| (heard.assigned.len() == count).then_some(()));
    }
}

fn note(heard: &mut Heard, event: SourceEvent, eager: bool) {
    heard.order.push(match &event {
        SourceEvent::Messages(_) => "messages",
        SourceEvent::Assigned(_) => "assigned",
        SourceEvent::Revoking { .. } => "revoking",
        SourceEvent::Lost(_) => "lost",
        SourceEvent::NotCommitted(_) => "not committed",
        SourceEvent::Joined => "joined",
        SourceEvent::Trouble(_) => "trouble",
        SourceEvent::Ended(_) => "ended",
    });
    match event {
        SourceEvent::Messages(batch) => heard.messages.extend(batch),
        SourceEvent::Assigned(partitions) => heard.assigned.extend(partitions),
        SourceEvent::Revoking { partitions, done } => {
            heard.assigned.retain(|partition| !partitions.contains(partition));
            if eager {
                let _ = done.send(());
            } else {
                heard.revoking.push((partitions, done));
            }
        }
        SourceEvent::Lost(partitions) => {
            heard.assigned.retain(|partition| !partitions.contains(partition));
            heard.lost.extend(partitions);
        }
        // What a port promises is seen on the log itself.
        SourceEvent::NotCommitted(_) => {}
        SourceEvent::Joined => heard.joined += 1,
        SourceEvent::Trouble(error) => heard.troubles.push(error),
        SourceEvent::Ended(failure) => heard.ended.push(failure),
    }
}
