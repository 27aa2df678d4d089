//! What the services allow: a loop that does only what durability needs. It consumes the start messages of a topic, reads each
//! run's row, writes the row once per step, one step after the other, then its status, and commits the positions. No blueprint, no node, no
//! JavaScript, no lease, nothing that keeps order or finds a repeat.
//!
//!     limit <topic> <keyspace> <runs> <steps> <runs in flight>
//!
//! Says `ready` when its partitions are assigned; at the end one line of JSON: seconds from the first message to the last write,
//! and milliseconds of processor.

#![allow(clippy::print_stdout, reason = "a program that answers by what it prints")]

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use tokio::sync::{Semaphore, mpsc};

type Failure = Box<dyn Error + Send + Sync>;

const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// The size of a checkpoint of ours in such a run.
const CHECKPOINT_BYTES: usize = 220;

struct Tables {
    session: Session,
    load: PreparedStatement,
    write: PreparedStatement,
    publish: PreparedStatement,
}

fn env(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

fn micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// User and system time of this process, from the kernel's count of hundredths of a second.
fn cpu_ms() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("/proc/self/stat is not as expected")?;
    let ticks: Result<Vec<u64>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<u64>() * 10)
}

impl Tables {
    async fn open(keyspace: &str) -> Result<Self, Failure> {
        let points = env("CASSANDRA_CONTACT_POINTS")?;
        let session = SessionBuilder::new().known_nodes(points.split(',')).build().await?;
        let load = session.prepare(format!("SELECT context_data, WRITETIME(context_data) FROM {keyspace}.contexts WHERE run_id = ?")).await?;
        let write = session.prepare(format!("INSERT INTO {keyspace}.contexts (run_id, context_data) VALUES (?, ?) USING TIMESTAMP ?")).await?;
        let publish = format!("INSERT INTO {keyspace}.statuses (run_id, status, status_data, updated_at) VALUES (?, ?, ?, ?) USING TIMESTAMP ?");
        Ok(Self { load, write, publish: session.prepare(publish).await?, session })
    }

    async fn run(&self, run: &str, steps: u32) -> Result<(), Failure> {
        let row = self.session.execute_unpaged(&self.load, (run,)).await?.into_rows_result()?;
        let (text, _) = row.single_row::<(String, i64)>()?;
        let mut context = text.trim_end_matches('}').to_owned();
        let checkpoint = "x".repeat(CHECKPOINT_BYTES);
        for step in 0..steps {
            write!(context, ",\"_outputs.n{step}\":{}", step + 1)?;
            let text = format!("{context},\"checkpoint\":\"{checkpoint}\"}}");
            self.session.execute_unpaged(&self.write, (run, text, micros())).await?;
        }
        let data = format!("{{\"status\":\"completed\",\"payload\":{{\"context\":{context}}}}}}}");
        let now = micros();
        self.session.execute_unpaged(&self.publish, (run, "completed", data, CqlTimestamp(now / 1000), now)).await?;
        Ok(())
    }
}

fn consume(topic: &str, runs: usize, found: &mpsc::UnboundedSender<String>) -> Result<BaseConsumer, Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", env("KAFKA_BROKERS")?)
        .set("group.id", format!("{topic}-limit"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[topic])?;
    while consumer.assignment()?.count() == 0 {
        drop(consumer.poll(Duration::from_millis(20)));
    }
    println!("ready");
    let (mut seen, mut committed) = (0, Instant::now());
    while seen < runs {
        if let Some(message) = consumer.poll(Duration::from_millis(20)) {
            let key = message?.key().map(|key| String::from_utf8_lossy(key).into_owned());
            found.send(key.ok_or("a message without a key")?)?;
            seen += 1;
        }
        if committed.elapsed() >= COMMIT_EVERY {
            // Nothing to commit is an error of no consequence.
            drop(consumer.commit_consumer_state(CommitMode::Async));
            committed = Instant::now();
        }
    }
    Ok(consumer)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [topic, keyspace, runs, steps, in_flight] = arguments.as_slice() else {
        return Err("limit <topic> <keyspace> <runs> <steps> <runs in flight>".into());
    };
    let (runs, steps, in_flight): (usize, u32, usize) = (runs.parse()?, steps.parse()?, in_flight.parse()?);
    let tables = Arc::new(Tables::open(keyspace).await?);
    let (found, mut starts) = mpsc::unbounded_channel();
    let of = topic.clone();
    let consuming = tokio::task::spawn_blocking(move || consume(&of, runs, &found));
    let places = Arc::new(Semaphore::new(in_flight));
    let mut work = tokio::task::JoinSet::new();
    let mut began = None;
    while let Some(run) = starts.recv().await {
        began.get_or_insert((Instant::now(), cpu_ms()?));
        let place = Arc::clone(&places).acquire_owned().await?;
        let tables = Arc::clone(&tables);
        work.spawn(async move {
            let done = tables.run(&run, steps).await;
            drop(place);
            done
        });
    }
    let consumer = consuming.await??;
    while let Some(done) = work.join_next().await {
        done??;
    }
    let committed = tokio::task::spawn_blocking(move || consumer.commit_consumer_state(CommitMode::Sync)).await?;
    drop(committed);
    let (began, cpu_before) = began.ok_or("no message came")?;
    println!("{{\"seconds\":{},\"cpuMs\":{}}}", began.elapsed().as_secs_f64(), cpu_ms()? - cpu_before);
    Ok(())
}
