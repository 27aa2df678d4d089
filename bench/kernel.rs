//! What the pure kernel costs, without any service: `npm run bench:micro`, or `cargo bench --bench kernel [-- FILTER]`.
//!
//! Figures are processor time per element (offset, message, job, document), as criterion's throughput has them: on a machine that
//! does other things as well, the clock on the wall would count those.

#![allow(clippy::unwrap_used, reason = "a bench that is wrong should stop")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkId, Throughput};
use flowcraft_kafka_adapter::kernel::document::Document;
use flowcraft_kafka_adapter::kernel::effects::{OutboundJob, RawMessage, StoredContext, ToSession};
use flowcraft_kafka_adapter::kernel::job;
use flowcraft_kafka_adapter::kernel::ledger::Ledger;
use flowcraft_kafka_adapter::kernel::machine::{Action, Config, Machine, Now, Step};
use flowcraft_kafka_adapter::kernel::outcome::Outcome;
use flowcraft_kafka_adapter::kernel::time::Moment;
use rustix::time::{ClockId, clock_gettime};

const T: Moment = Moment(Duration::ZERO);
const OFFSETS: i64 = 10_240;
/// Offsets that are open at once, and complete before the next commit.
const OPEN: i64 = 256;
/// Messages that a poll takes at most.
const POLL: usize = 1_000;
const RUNS: usize = 1_000;
const NODES: u32 = 10;
/// The size of a checkpoint in a chain of ten nodes.
const CHECKPOINT_BYTES: usize = 220;

/// Processor time of this thread.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
    }

    fn end(&self, began: Duration) -> Duration {
        self.start().saturating_sub(began)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

type Criterion = criterion::Criterion<ProcessorTime>;

fn main() {
    let mut criterion = criterion::Criterion::default().with_measurement(ProcessorTime).configure_from_args();
    ledger(&mut criterion);
    decode(&mut criterion);
    document(&mut criterion);
    outcome(&mut criterion);
    machine(&mut criterion);
    criterion.final_summary();
}

fn ledger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    group.throughput(Throughput::Elements(u64::try_from(OFFSETS).unwrap()));
    group.bench_function("offsets in order", |bench| bench.iter(|| through(|block| Box::new(block))));
    group.bench_function("offsets out of order", |bench| bench.iter(|| through(|block| Box::new(block.rev()))));
    group.bench_function("own duplicates, complete before they come", |bench| {
        bench.iter(|| {
            let mut ledger = Ledger::default();
            for block in blocks() {
                block.clone().rev().for_each(|offset| _ = ledger.complete_ahead(offset));
                block.for_each(|offset| _ = black_box(ledger.receive(offset, T)));
                black_box(ledger.take_commit());
            }
            ledger
        });
    });
    group.finish();
}

fn blocks() -> impl Iterator<Item = Range<i64>> {
    (0..OFFSETS / OPEN).map(|block| block * OPEN..(block + 1) * OPEN)
}

/// Receives all offsets, block by block, and completes those of a block in the order that is given.
fn through(order: impl Fn(Range<i64>) -> Box<dyn Iterator<Item = i64>>) -> Ledger {
    let mut ledger = Ledger::default();
    for block in blocks() {
        block.clone().for_each(|offset| _ = black_box(ledger.receive(offset, T)));
        order(block).for_each(|offset| ledger.complete(offset));
        black_box(ledger.take_commit());
    }
    ledger
}

fn outbound(run: &str, node: u32) -> OutboundJob {
    OutboundJob { run: run.to_owned(), blueprint: "chain".into(), node: format!("n{node}"), ..OutboundJob::default() }
}

fn run_id(number: usize) -> String {
    format!("5f0c9a52-1f63-4f0a-9a6c-{number:012}")
}

fn decode(criterion: &mut Criterion) {
    let job = outbound(&run_id(1), 1);
    let text = job::encode(&job);
    let command = OutboundJob { command: Some(r#"{"id":"c1","kind":"resume","output":{"approved":true}}"#.into()), ..job.clone() };
    let command = job::encode(&command);
    let mut group = criterion.benchmark_group("messages");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode a job", |bench| bench.iter(|| job::decode(black_box(text.as_bytes()))));
    group.bench_function("decode a command", |bench| bench.iter(|| job::decode(black_box(command.as_bytes()))));
    group.bench_function("encode a job", |bench| bench.iter(|| job::encode(black_box(&job))));
    group.finish();
}

/// A context of so many keys with values of so many bytes.
fn context(keys: usize, bytes: usize) -> String {
    let mut text = String::from("{\"blueprintId\":\"chain\"");
    for key in 0..keys {
        write!(text, ",\"key{key}\":\"{}\"", "x".repeat(bytes)).unwrap();
    }
    text.push('}');
    text
}

const SIZES: [(&str, usize, usize); 3] = [("1 KB in 10 keys", 10, 90), ("100 KB in 100 keys", 100, 1_000), ("1 MB in 10 keys", 10, 100_000)];

fn document(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("document");
    group.throughput(Throughput::Elements(1));
    let checkpoint = "1".repeat(CHECKPOINT_BYTES);
    for (name, keys, bytes) in SIZES {
        let text = context(keys, bytes);
        let document = Document::parse(&text).unwrap().document;
        group.bench_function(BenchmarkId::new("parse", name), |bench| bench.iter(|| Document::parse(black_box(&text))));
        group.bench_function(BenchmarkId::new("assemble", name), |bench| bench.iter(|| document.assemble(Some(&checkpoint))));
        let mut changed = document.clone();
        group.bench_function(BenchmarkId::new("apply a change", name), |bench| {
            bench.iter(|| changed.apply("key1".into(), Some("\"changed\"".into())));
        });
        group.bench_function(BenchmarkId::new("merge a foreign write of one key", name), |bench| {
            let foreign = StoredContext::document(Some(text.replacen("\"x", "\"y", 1)), Some(9));
            bench.iter_batched(
                || (written_over(&text), foreign.clone()),
                |((mut machine, handle), row)| {
                    machine.foreign(handle, Some(row), Now::default());
                    machine
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// A machine whose only run has a write in flight.
fn written_over(text: &str) -> (Machine, u32) {
    let mut worker = Worker::new(Config::default(), text);
    worker.machine.messages(vec![message(0, &run_id(0), 0)], Now::default());
    let actions = worker.machine.take_actions();
    let handle = actions.iter().find_map(|action| if let Action::Load { handle, .. } = action { Some(*handle) } else { None }).unwrap();
    worker.machine.loaded(handle, Ok(Some(StoredContext::document(Some(text.to_owned()), Some(1)))), Now::default());
    worker.machine.opened(handle, vec![(0, "n0".into())]);
    worker.machine.step(handle, step(1), Now::default());
    worker.machine.take_actions();
    (worker.machine, handle)
}

fn outcome(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outcome");
    group.throughput(Throughput::Elements(1));
    let text = r#"{"status":"completed","hidden":["blueprintId"]}"#;
    group.bench_function("parse", |bench| bench.iter(|| Outcome::parse(black_box(text))));
    let completed = Outcome::parse(text).unwrap();
    for (name, keys, bytes) in SIZES {
        let document = Document::parse(&context(keys, bytes)).unwrap().document;
        group.bench_function(BenchmarkId::new("text of the status row", name), |bench| {
            bench.iter(|| completed.status_data(black_box("run"), &document));
        });
    }
    group.finish();
}

fn message(offset: i64, run: &str, node: u32) -> RawMessage {
    let value = job::encode(&outbound(run, node)).into_bytes();
    RawMessage { offset, key: Some(run.as_bytes().to_vec()), value: Some(value), ..RawMessage::default() }
}

/// Step `number` of a chain: what its node wrote, and the next node.
fn step(number: u32) -> Step {
    let is_last = number == NODES;
    Step {
        seq: number,
        changes: vec![(format!("_outputs.n{}", number - 1), Some(number.to_string()))],
        checkpoint: "1".repeat(CHECKPOINT_BYTES),
        done: vec![number - 1],
        due: if is_last { Vec::new() } else { vec![(number, format!("n{number}"))] },
        outcome: is_last.then(|| Outcome::parse(r#"{"status":"completed"}"#).unwrap()),
        ..Step::default()
    }
}

/// The machine of one partition; a log, stores and sessions that answer at once.
struct Worker {
    machine: Machine,
    stored: String,
    end: i64,
    read: Vec<RawMessage>,
}

impl Worker {
    fn new(config: Config, stored: &str) -> Self {
        let mut machine = Machine::new(config, 1);
        machine.assign(0);
        machine.activate(0, Now::default());
        machine.take_actions();
        Self { machine, stored: stored.to_owned(), end: 0, read: Vec::new() }
    }

    fn take(&mut self, starts: Vec<RawMessage>) {
        self.end += i64::try_from(starts.len()).unwrap();
        self.machine.messages(starts, Now::default());
    }

    fn work(&mut self) {
        loop {
            for action in self.machine.take_actions() {
                self.answer(action);
            }
            let read = std::mem::take(&mut self.read);
            if !read.is_empty() {
                self.machine.messages(read, Now::default());
            }
            self.machine.take_commits();
            if self.machine.load() == (0, 0) {
                return;
            }
        }
    }

    fn answer(&mut self, action: Action) {
        let (machine, now) = (&mut self.machine, Now::default());
        match action {
            Action::Load { handle, .. } => machine.loaded(handle, Ok(Some(StoredContext::document(Some(self.stored.clone()), Some(1)))), now),
            Action::Tell(ToSession::Open { handle, .. }) => {
                machine.opened(handle, vec![(0, "n0".into())]);
                machine.step(handle, step(1), now);
            }
            Action::Tell(ToSession::Durable { handle, seq }) if seq < NODES => machine.step(handle, step(seq + 1), now),
            Action::Write { handle, .. } => machine.written(handle, Ok(()), now),
            Action::Publish { handle, .. } => machine.published(handle, now),
            Action::Send { token, job } => {
                machine.sent(token, Some((0, self.end)));
                let value = Some(job::encode(&job).into_bytes());
                self.read.push(RawMessage { offset: self.end, key: Some(job.run.into_bytes()), value, ..RawMessage::default() });
                self.end += 1;
            }
            _ => {}
        }
    }
}

/// Start messages of so many runs, as polls hand them over.
fn polls(runs: usize) -> Vec<Vec<RawMessage>> {
    let starts: Vec<RawMessage> = (0..runs).map(|run| message(i64::try_from(run).unwrap(), &run_id(run), 0)).collect();
    starts.chunks(POLL).map(<[RawMessage]>::to_vec).collect()
}

fn machine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("machine");
    group.throughput(Throughput::Elements(u64::try_from(RUNS * 10).unwrap()));
    group.bench_function("start messages into the lane", |bench| {
        bench.iter_batched(
            || (Worker::new(Config::default(), "{}"), polls(RUNS * 10)),
            |(mut worker, polls)| {
                polls.into_iter().for_each(|poll| worker.take(poll));
                worker
            },
            BatchSize::LargeInput,
        );
    });
    for (dispatch, send_successors) in [("topic", true), ("local", false)] {
        group.throughput(Throughput::Elements(RUNS as u64 * u64::from(NODES)));
        group.bench_function(BenchmarkId::new("jobs of chains from message to offset, dispatch", dispatch), |bench| {
            bench.iter_batched(
                || (Worker::new(Config { send_successors, ..Config::default() }, &context(1, 20)), polls(RUNS)),
                |(mut worker, polls)| {
                    polls.into_iter().for_each(|poll| worker.take(poll));
                    worker.work();
                    worker
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}
