//! A broker of our own that answers for metadata alone: librdkafka's mock cluster always names its brokers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{KafkaLog, KafkaSettings, KafkaTopics};
use crate::backends::lock;
use crate::ports::{JobSource, TopicFacts};

const PATIENCE: Duration = Duration::from_secs(20);
const ROUNDS: usize = 8;
const JOBS: &str = "jobs";
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

struct Broker {
    port: u16,
    connections: Mutex<Vec<TcpStream>>,
    /// So many answers are to name no broker, like those of one that is just starting.
    nobody: AtomicUsize,
}

impl Broker {
    fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Arc::new(Self { port: listener.local_addr().unwrap().port(), connections: Mutex::default(), nobody: AtomicUsize::new(0) });
        let serving = Arc::clone(&broker);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                lock(&serving.connections).push(stream.try_clone().unwrap());
                let broker = Arc::clone(&serving);
                // Ends with its connection.
                std::thread::spawn(move || broker.serve(stream));
            }
        });
        broker
    }

    fn restart(&self, nobody: usize) {
        self.nobody.store(nobody, Ordering::SeqCst);
        for connection in lock(&self.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size).ok()?;
            let mut request = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
            stream.read_exact(&mut request).ok()?;
            let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
            let mut answer = request[4..8].to_vec();
            answer.extend(match number(0) {
                API_VERSIONS => api_versions(number(2)),
                METADATA => self.metadata(),
                other => panic!("request {other}"),
            });
            stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes()).ok()?;
            stream.write_all(&answer).ok()?;
        }
    }

    /// Version 4.
    fn metadata(&self) -> Vec<u8> {
        let is_nobody = self.nobody.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let mut out = 0_i32.to_be_bytes().to_vec();
        out.extend(i32::from(!is_nobody).to_be_bytes());
        if !is_nobody {
            out.extend(1_i32.to_be_bytes());
            out.extend(text("127.0.0.1"));
            out.extend(i32::from(self.port).to_be_bytes());
            out.extend((-1_i16).to_be_bytes());
        }
        out.extend(text("cluster"));
        out.extend(1_i32.to_be_bytes());
        // One topic, of one partition with the leader 1.
        out.extend(1_i32.to_be_bytes());
        out.extend(0_i16.to_be_bytes());
        out.extend(text(JOBS));
        out.push(0);
        out.extend(1_i32.to_be_bytes());
        out.extend(0_i16.to_be_bytes());
        for number in [0, 1, 1, 1, 1, 1_i32] {
            out.extend(number.to_be_bytes());
        }
        out
    }
}

fn text(words: &str) -> Vec<u8> {
    let mut out = i16::try_from(words.len()).unwrap().to_be_bytes().to_vec();
    out.extend(words.as_bytes());
    out
}

/// Metadata up to version 4, and this. From version 3 on with compact arrays and tags.
fn api_versions(version: i16) -> Vec<u8> {
    let is_compact = version >= 3;
    let mut out = 0_i16.to_be_bytes().to_vec();
    if is_compact {
        out.push(3);
    } else {
        out.extend(2_i32.to_be_bytes());
    }
    for (key, most) in [(METADATA, 4), (API_VERSIONS, 3)] {
        for number in [key, 0, most] {
            out.extend(number.to_be_bytes());
        }
        if is_compact {
            out.push(0);
        }
    }
    if version >= 1 {
        out.extend(0_i32.to_be_bytes());
    }
    if is_compact {
        out.push(0);
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_broker_that_starts_and_knows_no_brokers_is_found_again() {
    let broker = Broker::start();
    let settings: KafkaSettings = serde_json::from_value(serde_json::json!({ "brokers": [format!("127.0.0.1:{}", broker.port)] })).unwrap();
    let topics = KafkaTopics { jobs: JOBS.into(), dead_letters: Some(JOBS.into()), group: "group".into() };
    let log = KafkaLog::new(settings, topics, None, PATIENCE).unwrap();
    assert_eq!(log.source.prepare().await.unwrap(), TopicFacts { partitions: 1 });

    // Whether librdkafka drops its last broker before or after it has begun anew is a race within it.
    for round in 0..ROUNDS {
        broker.restart(1);
        while broker.nobody.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(log.source.facts().await.unwrap(), TopicFacts { partitions: 1 }, "round {round}");
    }
    log.source.close().await;
}
