//! What every job log promises (`JobSource`, `JobSink`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flowcraft_kafka_adapter::kernel::error::FlowError;
use flowcraft_kafka_adapter::kernel::partition::home_partition;
use flowcraft_kafka_adapter::kernel::{error::Code, job};
use flowcraft_kafka_adapter::ports::{DeadLetter, Delivered, JobSink, JobSource, OutboundJob, RawMessage};
use tokio::sync::oneshot;

use super::inbox::Inbox;

/// One topic of one implementation.
#[async_trait]
pub trait Log: Send + Sync {
    /// A new worker in a group.
    fn worker(&self, group: &str) -> Worker;
    /// The dead letters so far, with their headers.
    async fn dead_letters(&self, at_least: usize) -> Vec<Letter>;
    /// The offset a group committed for a partition.
    async fn committed(&self, group: &str, partition: i32) -> Option<i64>;
}

pub struct Worker {
    pub source: Arc<dyn JobSource>,
    pub sink: Arc<dyn JobSink>,
}

#[derive(Debug)]
pub struct Letter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl Worker {
    pub async fn start(&self, eager: bool) -> Inbox {
        let inbox = Inbox::default();
        self.source.prepare().await.unwrap();
        self.source.start(inbox.handle(eager)).await.unwrap();
        inbox
    }

    pub async fn close(&self) {
        self.source.close().await;
        self.sink.close().await;
    }
}

pub fn outbound(run: &str, node: &str, hops: u32) -> OutboundJob {
    OutboundJob { run: run.into(), blueprint: "bp".into(), node: node.into(), hops, ..OutboundJob::default() }
}

pub async fn send(sink: &Arc<dyn JobSink>, job: &OutboundJob) -> Result<Delivered, FlowError> {
    let (done, outcome) = oneshot::channel();
    sink.send(job, Box::new(move |result| drop(done.send(result))));
    tokio::time::timeout(Duration::from_secs(30), outcome).await.expect("no outcome of a send in time").expect("a send was dropped without an outcome")
}

async fn send_all(sink: &Arc<dyn JobSink>, runs: usize, per_run: usize) {
    let mut outcomes = Vec::new();
    for number in 0..per_run {
        for run in 0..runs {
            let (done, outcome) = oneshot::channel();
            sink.send(&outbound(&format!("run-{run}"), &format!("n{number}"), 0), Box::new(move |result| drop(done.send(result))));
            outcomes.push(outcome);
        }
    }
    for outcome in outcomes {
        outcome.await.unwrap().unwrap();
    }
}

fn node(message: &RawMessage) -> String {
    job::decode(message.value.as_ref().unwrap()).unwrap().node
}

/// The partitions a message can lie in, as far as the suite needs to know: topics have three.
pub const PARTITIONS: i32 = 3;

pub async fn delivers_jobs_in_sending_order_to_their_home_partition(log: Arc<dyn Log>) {
    let worker = log.worker("g");
    assert_eq!(worker.source.prepare().await.unwrap().partitions, PARTITIONS);
    let inbox = worker.start(true).await;
    let moved = OutboundJob { sent_ms: Some(1_234), ..outbound("lone", "n", 2) };
    let delivered = send(&worker.sink, &moved).await.unwrap();
    let first = inbox.wait_messages(1).remove(0);
    if let Some((partition, offset)) = delivered {
        assert_eq!((partition, offset), (first.partition, first.offset));
    }
    assert_eq!((first.key.as_deref(), first.hops), (Some(b"lone".as_slice()), 2));
    assert_eq!(first.timestamp_ms, Some(1_234), "as old as the message that it stands for");
    assert_eq!(first.value.as_deref(), Some(job::encode(&outbound("lone", "n", 0)).as_bytes()));

    send_all(&worker.sink, 20, 50).await;
    let messages = inbox.wait_messages(1_001);
    assert!(messages.iter().skip(1).all(|message| message.timestamp_ms.is_some_and(|sent| sent > 1_234)), "by the log, where nothing else is said");
    for run in 0..20 {
        let key = format!("run-{run}").into_bytes();
        let of_run: Vec<_> = messages.iter().filter(|message| message.key.as_ref() == Some(&key)).collect();
        assert!(of_run.iter().all(|message| message.partition == home_partition(&key, PARTITIONS) && message.hops == 0));
        let nodes: Vec<_> = of_run.iter().map(|message| node(message)).collect();
        assert_eq!(nodes, (0..50).map(|number| format!("n{number}")).collect::<Vec<_>>());
    }
    for partition in 0..PARTITIONS {
        let offsets: Vec<_> = messages.iter().filter(|message| message.partition == partition).map(|message| message.offset).collect();
        assert!(offsets.is_sorted(), "{offsets:?}");
    }
    worker.close().await;
}

pub async fn redelivers_what_was_not_committed_and_nothing_else(log: Arc<dyn Log>) {
    let first = log.worker("g");
    let inbox = first.start(true).await;
    send_all(&first.sink, 1, 10).await;
    let messages = inbox.wait_messages(10);
    let partition = messages[0].partition;
    first.source.commit(&[(partition, messages[2].offset + 1)]);
    first.source.commit_now(&[(partition, messages[3].offset + 1)]).await.unwrap();
    first.close().await;
    assert_eq!(log.committed("g", partition).await, Some(messages[3].offset + 1));

    let second = log.worker("g");
    let inbox = second.start(true).await;
    let again = inbox.wait_messages(6);
    assert_eq!(again.iter().map(|message| message.offset).collect::<Vec<_>>(), messages[4..].iter().map(|message| message.offset).collect::<Vec<_>>());
    second.close().await;
}

pub async fn a_new_group_begins_with_the_oldest_job_and_commits_its_start(log: Arc<dyn Log>) {
    let early = log.worker("unused");
    early.source.prepare().await.unwrap();
    send_all(&early.sink, 30, 1).await;
    early.close().await;
    let worker = log.worker("late");
    let inbox = worker.start(true).await;
    inbox.wait_messages(30);
    for partition in 0..PARTITIONS {
        assert_eq!(log.committed("late", partition).await, Some(0));
    }
    worker.close().await;
}

pub async fn the_end_of_a_partition_is_after_its_last_job(log: Arc<dyn Log>) {
    let worker = log.worker("g");
    worker.source.prepare().await.unwrap();
    let Some((partition, offset)) = send(&worker.sink, &outbound("run", "n", 0)).await.unwrap() else { panic!("the log tells places") };
    assert_eq!(worker.source.end_offset(partition).await.unwrap(), Some(offset + 1));
    worker.close().await;
}

pub async fn every_member_learns_that_it_joined(log: Arc<dyn Log>) {
    let mut members = Vec::new();
    for _ in 0..=PARTITIONS {
        let worker = log.worker("g");
        let inbox = worker.start(true).await;
        inbox.wait("joining", |heard| (heard.joined == 1).then_some(()));
        members.push((worker, inbox));
    }
    for (worker, inbox) in members {
        worker.close().await;
        assert_eq!(inbox.look(|heard| heard.joined), 1);
    }
}

pub async fn an_orderly_revocation_waits_and_counts_commits(log: Arc<dyn Log>) {
    let first = log.worker("g");
    let before = first.start(false).await;
    before.wait_assigned(3);
    send_all(&first.sink, 30, 1).await;
    let messages = before.wait_messages(30);

    let second = log.worker("g");
    let after = second.start(true).await;
    let (partitions, done) = before.wait("a revocation", |heard| heard.revoking.pop());
    assert!(!partitions.is_empty() && partitions.len() < 3, "{partitions:?}");
    // The last moment counts: the new owner must not see what is committed here.
    let positions: Vec<_> = partitions
        .iter()
        .map(|partition| (*partition, messages.iter().filter(|message| message.partition == *partition).map(|message| message.offset + 1).max().unwrap_or(0)))
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(after.look(|heard| heard.assigned.is_empty()), "the partitions moved before `done`");
    first.source.commit_now(&positions).await.unwrap();
    done.send(()).unwrap();
    after.wait_assigned(partitions.len());

    let fresh = send(&second.sink, &outbound(&key_of(partitions[0]), "late", 0)).await.unwrap();
    let seen = after.wait_messages(1);
    assert_eq!((seen.len(), node(&seen[0])), (1, "late".into()), "only what was not committed before the move");
    // A commit of the former owner changes nothing any more.
    first.source.commit(&[(partitions[0], 0)]);
    first.source.commit_now(&[(partitions[0], 0)]).await.unwrap();
    if let Some((partition, _)) = fresh {
        assert_ne!(log.committed("g", partition).await, Some(0));
    }
    first.close().await;
    second.close().await;
}

/// A run id whose home is the partition.
pub fn key_of(partition: i32) -> String {
    (0..).map(|number| format!("key-{number}")).find(|key| home_partition(key.as_bytes(), PARTITIONS) == partition).unwrap()
}

pub async fn a_dropped_done_ends_a_revocation_too(log: Arc<dyn Log>) {
    let first = log.worker("g");
    let before = first.start(false).await;
    before.wait_assigned(3);
    let second = log.worker("g");
    let after = second.start(true).await;
    let (partitions, done) = before.wait("a revocation", |heard| heard.revoking.pop());
    drop(done);
    after.wait_assigned(partitions.len());
    first.close().await;
    second.close().await;
}

pub async fn partitions_of_a_closed_member_move_on(log: Arc<dyn Log>) {
    let first = log.worker("g");
    let second = log.worker("g");
    let one = first.start(true).await;
    one.wait_assigned(3);
    let two = second.start(true).await;
    two.wait("a share", |heard| (!heard.assigned.is_empty()).then_some(()));
    first.close().await;
    two.wait_assigned(3);
    second.close().await;
}

pub async fn a_paused_partition_rests_until_it_is_resumed(log: Arc<dyn Log>) {
    let worker = log.worker("g");
    let inbox = worker.start(true).await;
    inbox.wait_assigned(3);
    worker.source.pause(&[1, 99]);
    for partition in [1, 0, 2] {
        send(&worker.sink, &outbound(&key_of(partition), "n", 0)).await.unwrap();
    }
    inbox.wait_messages(2);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let seen = inbox.look(|heard| heard.messages.iter().map(|message| message.partition).collect::<Vec<_>>());
    assert!(seen.len() == 2 && !seen.contains(&1), "{seen:?}");
    worker.source.resume(&[1, 99]);
    assert_eq!(inbox.wait_messages(3)[2].partition, 1);
    worker.close().await;
}

pub async fn dead_letters_keep_the_bytes_and_name_the_reason(log: Arc<dyn Log>) {
    let worker = log.worker("g");
    worker.source.prepare().await.unwrap();
    let message = RawMessage {
        partition: 2,
        offset: 77,
        key: Some(b"k\xff".to_vec()),
        value: Some(b"\x00{".to_vec()),
        hops: 0,
        headers: vec![("trace".into(), Some(b"abc".to_vec())), ("empty".into(), None)],
        timestamp_ms: Some(1234),
    };
    let tombstone = RawMessage { key: None, value: None, ..message.clone() };
    for (message, run) in [(message, Some("r1".to_owned())), (tombstone, None)] {
        let letter = DeadLetter { message, code: Code::JobNotJson.as_str(), reason: "not JSON".into(), run };
        let (done, outcome) = oneshot::channel();
        worker.sink.dead_letter(&letter, Box::new(move |result| drop(done.send(result))));
        outcome.await.unwrap().unwrap();
    }
    let letters = log.dead_letters(2).await;
    let full = letters.iter().find(|letter| letter.key.is_some()).unwrap();
    assert_eq!((full.key.as_deref(), full.value.as_deref()), (Some(b"k\xff".as_slice()), Some(b"\x00{".as_slice())));
    for (name, value) in [
        ("flowcraft-reason", "not JSON"),
        ("flowcraft-code", "ERR_JOB_NOT_JSON"),
        ("flowcraft-partition", "2"),
        ("flowcraft-offset", "77"),
        ("flowcraft-run", "r1"),
        ("flowcraft-time", "1234"),
        ("trace", "abc"),
        ("empty", ""),
    ] {
        assert!(full.headers.contains(&(name.to_owned(), value.to_owned())), "{name}: {:?}", full.headers);
    }
    let empty = letters.iter().find(|letter| letter.key.is_none()).unwrap();
    assert!(empty.value.is_none() && !empty.headers.iter().any(|(name, _)| name == "flowcraft-run"), "{empty:?}");
    worker.close().await;
}

pub async fn close_is_idempotent_and_final(log: Arc<dyn Log>) {
    let worker = log.worker("g");
    let inbox = worker.start(true).await;
    inbox.wait_assigned(3);
    tokio::join!(worker.source.close(), worker.source.close());
    let told = inbox.look(|heard| {
        assert!(matches!(heard.ended.as_slice(), [None]), "{:?}", heard.ended);
        heard.order.len()
    });
    send(&worker.sink, &outbound("r", "n", 0)).await.unwrap();
    worker.close().await;
    worker.source.pause(&[0]);
    worker.source.commit(&[(0, 1)]);
    assert!(worker.source.commit_now(&[(0, 1)]).await.is_err());
    assert!(worker.source.prepare().await.is_err());
    assert!(send(&worker.sink, &outbound("r", "n", 0)).await.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(inbox.look(|heard| heard.order.len()), told, "an event came after close");
}

/// Every scenario as a test of one implementation.
macro_rules! job_log_suite {
    ($log:expr) => {
        $crate::ports::job_log::job_log_suite!($log;
            delivers_jobs_in_sending_order_to_their_home_partition, redelivers_what_was_not_committed_and_nothing_else,
            a_new_group_begins_with_the_oldest_job_and_commits_its_start,
            the_end_of_a_partition_is_after_its_last_job, every_member_learns_that_it_joined,
            an_orderly_revocation_waits_and_counts_commits, a_dropped_done_ends_a_revocation_too,
            partitions_of_a_closed_member_move_on, a_paused_partition_rests_until_it_is_resumed,
            dead_letters_keep_the_bytes_and_name_the_reason, close_is_idempotent_and_final);
    };
    ($log:expr; $($name:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(log) = $log {
                $crate::ports::job_log::$name(log).await;
            }
        }
    )+};
}
pub(crate) use job_log_suite;
