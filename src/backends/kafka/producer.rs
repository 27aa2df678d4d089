//! The producing side: jobs and dead letters, acknowledged by all in-sync replicas.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use tokio::sync::watch;

use super::config::{KafkaSettings, TokenSource, fresh_token, make_client};
use super::consumer::{HOPS_HEADER, SENT_HEADER};
use super::lifeline::Lifeline;
use super::{KafkaTopics, errors};
use crate::backends::lock;
use crate::kernel::error::{FlowError, Retry, Service};
use crate::kernel::job;
use crate::ports::{DeadLetter, JobSink, OutboundJob, SendDone};

/// How long one round of serving delivery reports takes; reports are served within it as they come. It
/// bounds how long a full queue or a broken producer waits for its turn.
const ROUND: Duration = Duration::from_millis(100);
/// What is buffered is sent within this time on close, or reported as failed.
const FLUSH_LIMIT: Duration = Duration::from_secs(8);
/// How long `close` waits for the thread.
const CLOSE_LIMIT: Duration = Duration::from_secs(12);
/// See [`Lane::hold_limit`]: a leader that does not answer is no business of the other partitions.
const HOLD_LIMIT: Duration = ROUND;
/// Pause between attempts to make a new producer after a fatal error.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

type Client = BaseProducer<Deliveries>;

/// One message on its way.
struct Outgoing {
    topic: Arc<str>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Option<OwnedHeaders>,
    /// The mutex is there because librdkafka's opaque must be `Sync`; nobody contends for it.
    done: Box<Flight>,
}

/// What librdkafka gives back with a delivery report.
struct Flight {
    done: Mutex<Option<SendDone>>,
    topic: Arc<str>,
}

impl Flight {
    fn finish(&self, outcome: Result<(i32, i64), FlowError>) {
        if let Some(done) = lock(&self.done).take() {
            done(outcome.map(Some));
        }
    }
}

/// Shared by the callers, the thread and the delivery reports.
struct Lane {
    settings: Arc<KafkaSettings>,
    lifeline: Arc<Lifeline>,
    tokens: Option<Arc<dyn TokenSource>>,
    /// How long librdkafka waits for company of a message.
    linger: Duration,
    /// What is on its way holds up what comes after it for this long at most.
    hold_limit: Duration,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    client: Option<Arc<Client>>,
    /// In sending order: what waits for answers to those before it, did not fit into librdkafka's queue, or fell out of a broken
    /// producer.
    waiting: VecDeque<Outgoing>,
    /// Messages that librdkafka has and has not reported on.
    on_their_way: usize,
    /// When the first of those was handed over.
    since: Option<Instant>,
    /// The producer met a fatal error and is to be replaced.
    broken: bool,
    closing: bool,
}

/// Delivery reports of one producer.
struct Deliveries(Arc<Lane>);

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.0.lifeline.shaken(code);
        }
        // Each message learns of its own failure; this is for the log.
        tracing::debug!(target: "librdkafka", %error, reason);
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        fresh_token(self.0.tokens.as_ref())
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Flight>;

    fn delivery(&self, report: &DeliveryResult<'_>, flight: Box<Flight>) {
        match report {
            Ok(message) => flight.finish(Ok((message.partition(), message.offset()))),
            Err((error, message)) => self.0.undelivered(error, message, flight),
        }
        self.0.reported();
    }
}

impl Lane {
    fn new(settings: Arc<KafkaSettings>, lifeline: Arc<Lifeline>, tokens: Option<Arc<dyn TokenSource>>) -> Self {
        Self { linger: settings.linger(), hold_limit: HOLD_LIMIT, settings, lifeline, tokens, state: Mutex::default() }
    }

    /// Sends, or keeps for later.
    fn submit(&self, message: Outgoing) {
        let mut state = lock(&self.state);
        if state.closing {
            drop(state);
            message.done.finish(Err(FlowError::NotRunning { state: "closed".into(), action: "sending".into() }));
            return;
        }
        state.waiting.push_back(message);
        self.hand_over_unless_held(state);
    }

    /// A message is delivered, or not: what waited for the last of those on their way goes together.
    fn reported(&self) {
        let mut state = lock(&self.state);
        state.on_their_way = state.on_their_way.saturating_sub(1);
        if state.on_their_way == 0 {
            hand_over(state);
        }
    }

    /// A report of failure. What a broken producer dropped is sent again by the next one; some of it may
    /// have arrived, which at-least-once allows.
    fn undelivered(&self, error: &KafkaError, message: &BorrowedMessage<'_>, flight: Box<Flight>) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        let mut state = lock(&self.state);
        state.broken |= is_fatal(code);
        // Purged is only what a broken or a closing producer held.
        let fell_out = is_fatal(code) || matches!(code, Code::PurgeQueue | Code::PurgeInflight);
        if fell_out && !state.closing {
            let headers = message.headers().map(rdkafka::message::BorrowedHeaders::detach);
            let (key, value) = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
            state.waiting.push_back(Outgoing { topic: Arc::clone(&flight.topic), key, value, headers, done: flight });
            return;
        }
        drop(state);
        flight.finish(Err(failed(&flight.topic, code)));
    }

    /// Sends what may go and has not. The thread's own.
    fn drain(&self) {
        self.hand_over_unless_held(lock(&self.state));
    }

    /// While messages of a partition are on their way, the idempotent producer of librdkafka sends no more of it, and its thread asks
    /// again and again whether it may (`rd_kafka_toppar_producer_serve`, 2.12): it takes a whole processor. So it gets no more than it
    /// can send. What still lingers takes others along.
    fn hand_over_unless_held(&self, state: MutexGuard<'_, LaneState>) {
        let age = state.since.filter(|_| state.on_their_way > 0).map(|since| since.elapsed());
        if age.is_none_or(|age| age < self.linger || age >= self.hold_limit) {
            hand_over(state);
        }
    }
}

/// Gives librdkafka what waits, as far as there is room: in the order of the calls, because it happens under the lock. It never
/// blocks.
fn hand_over(mut state: MutexGuard<'_, LaneState>) {
    let mut refused = Vec::new();
    while let (Some(client), false) = (state.client.clone(), state.broken) {
        let Some(message) = state.waiting.pop_front() else { break };
        if state.on_their_way == 0 {
            state.since = Some(Instant::now());
        }
        match offer(&client, message) {
            Ok(()) => state.on_their_way += 1,
            Err((error, message)) if error == Code::QueueFull || is_fatal(error) => {
                state.broken |= is_fatal(error);
                state.waiting.push_front(message);
                break;
            }
            Err(failure) => refused.push(failure),
        }
    }
    drop(state);
    for (error, message) in refused {
        message.done.finish(Err(failed(&message.topic, error)));
    }
}

/// Codes after which librdkafka's producer refuses everything.
fn is_fatal(code: Code) -> bool {
    matches!(code, Code::Fatal | Code::Fenced | Code::InvalidProducerEpoch | Code::OutOfOrderSequenceNumber | Code::UnknownProducerId | Code::ProducerFenced)
}

fn failed(topic: &str, code: Code) -> FlowError {
    let (cause, retry) = match code {
        Code::PurgeQueue | Code::PurgeInflight => ("not acknowledged before the producer was closed".to_owned(), Retry::Later),
        _ => (code.to_string(), errors::retry(code)),
    };
    FlowError::Store { service: Service::Kafka, operation: format!("sending to topic \"{topic}\""), cause, retry }
}

/// Puts a message into librdkafka's queue, or gives it back.
fn offer(client: &Client, message: Outgoing) -> Result<(), (Code, Outgoing)> {
    let Outgoing { topic, key, value, headers, done } = message;
    let mut record = BaseRecord::<[u8], [u8], Box<Flight>>::with_opaque_to(&topic, done);
    record.key = key.as_deref();
    record.payload = value.as_deref();
    record.headers = headers;
    let Err((error, record)) = client.send(record) else { return Ok(()) };
    let (headers, done) = (record.headers, record.delivery_opaque);
    Err((error.rdkafka_error_code().unwrap_or(Code::InvalidArgument), Outgoing { topic: Arc::clone(&topic), key, value, headers, done }))
}

/// The producer of this worker.
pub struct KafkaSink {
    lane: Arc<Lane>,
    jobs: Arc<str>,
    letters: Arc<str>,
    job_topic: String,
    ended: watch::Receiver<bool>,
}

impl KafkaSink {
    pub(super) fn new(settings: Arc<KafkaSettings>, topics: Arc<KafkaTopics>, tokens: Option<Arc<dyn TokenSource>>) -> Result<Self, FlowError> {
        let lifeline = Lifeline::new(&settings, &topics);
        Self::over(Lane::new(settings, lifeline, tokens), &topics)
    }

    fn over(lane: Lane, topics: &KafkaTopics) -> Result<Self, FlowError> {
        let lane = Arc::new(lane);
        let client = build(&lane).map_err(|error| errors::refused_setting(&error))?;
        lock(&lane.state).client = Some(client);
        let (end, ended) = watch::channel(false);
        let served = Arc::clone(&lane);
        std::thread::Builder::new()
            .name("flowcraft-kafka-producer".into())
            .spawn(move || {
                serve(&served);
                let _ = end.send(true);
            })
            .map_err(|error| FlowError::Internal { place: "kafka producer", detail: format!("no thread: {error}") })?;
        Ok(Self { lane, jobs: topics.jobs.as_str().into(), letters: topics.dead_letter_name().into(), job_topic: topics.jobs.clone(), ended })
    }

    fn submit(&self, topic: &Arc<str>, key: Option<Vec<u8>>, value: Option<Vec<u8>>, headers: Option<OwnedHeaders>, done: SendDone) {
        let flight = Box::new(Flight { done: Mutex::new(Some(done)), topic: Arc::clone(topic) });
        self.lane.submit(Outgoing { topic: Arc::clone(topic), key, value, headers, done: flight });
    }
}

fn build(lane: &Arc<Lane>) -> Result<Arc<Client>, KafkaError> {
    make_client(|| Client::from_config_and_context(&lane.settings.producer(), Deliveries(Arc::clone(lane)))).map(Arc::new)
}

/// The thread: serves delivery reports, sends what waited, replaces a broken producer.
fn serve(lane: &Arc<Lane>) {
    loop {
        let (client, broken, closing) = {
            let state = lock(&lane.state);
            (state.client.clone(), state.broken, state.closing)
        };
        if closing {
            return finish(lane);
        }
        match client {
            Some(client) if !broken && client.client().fatal_error().is_none() => {
                lane.lifeline.hold(&client, |client| client.client());
                client.poll(ROUND);
            }
            Some(client) => replace(lane, client),
            None => std::thread::sleep(ROUND),
        }
        lane.drain();
    }
}

/// Takes what the broken producer still holds out of it and makes a new one.
fn replace(lane: &Arc<Lane>, broken: Arc<Client>) {
    lock(&lane.state).broken = true;
    broken.purge(PurgeConfig::default().queue().inflight());
    let _ = broken.flush(FLUSH_LIMIT);
    let fresh = build(lane);
    let mut state = lock(&lane.state);
    match fresh {
        Ok(fresh) => {
            state.client = Some(fresh);
            state.broken = false;
            state.on_their_way = 0;
        }
        Err(_) => {
            drop(state);
            std::thread::sleep(REBUILD_PAUSE);
        }
    }
}

/// Sends what is left, within bounds, and reports the rest as failed.
fn finish(lane: &Arc<Lane>) {
    let deadline = Instant::now() + FLUSH_LIMIT;
    hand_over(lock(&lane.state));
    let client = lock(&lane.state).client.take();
    if let Some(client) = client {
        let _ = client.flush(deadline.saturating_duration_since(Instant::now()));
        client.purge(PurgeConfig::default().queue().inflight());
        let _ = client.flush(ROUND);
    }
    let waiting = std::mem::take(&mut lock(&lane.state).waiting);
    for message in waiting {
        message.done.finish(Err(failed(&message.topic, Code::PurgeQueue)));
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

fn letter_headers(letter: &DeadLetter, topic: &str) -> OwnedHeaders {
    let message = &letter.message;
    let mut headers = OwnedHeaders::new_with_capacity(7 + message.headers.len());
    for (key, value) in &message.headers {
        headers = headers.insert(Header { key, value: value.as_ref() });
    }
    let headers = with(headers, "flowcraft-reason", &letter.reason);
    let headers = with(headers, "flowcraft-code", letter.code);
    let headers = with(headers, "flowcraft-topic", topic);
    let headers = with(headers, "flowcraft-partition", &message.partition.to_string());
    let headers = with(headers, "flowcraft-offset", &message.offset.to_string());
    let headers = match &letter.run {
        Some(run) => with(headers, "flowcraft-run", run),
        None => headers,
    };
    with(headers, "flowcraft-time", &message.timestamp_ms.map(|time| time.to_string()).unwrap_or_default())
}

#[async_trait]
impl JobSink for KafkaSink {
    fn send(&self, job: &OutboundJob, done: SendDone) {
        let value = job::encode(job).into_bytes();
        let headers = (job.hops > 0).then(|| {
            let headers = with(OwnedHeaders::new_with_capacity(2), HOPS_HEADER, &job.hops.to_string());
            match job.sent_ms {
                Some(sent) => with(headers, SENT_HEADER, &sent.to_string()),
                None => headers,
            }
        });
        self.submit(&self.jobs, Some(job.run.as_bytes().to_vec()), Some(value), headers, done);
    }

    fn dead_letter(&self, letter: &DeadLetter, done: SendDone) {
        let headers = letter_headers(letter, &self.job_topic);
        self.submit(&self.letters, letter.message.key.clone(), letter.message.value.clone(), Some(headers), done);
    }

    async fn close(&self) {
        lock(&self.lane.state).closing = true;
        let mut ended = self.ended.clone();
        let _ = tokio::time::timeout(CLOSE_LIMIT, ended.wait_for(|ended| *ended)).await;
    }
}

impl Drop for KafkaSink {
    /// Only signals: the thread sends what is left and ends by itself.
    fn drop(&mut self) {
        lock(&self.lane.state).closing = true;
    }
}

#[cfg(test)]
mod tests {
    //! On librdkafka's own in-process brokers, which can be made to fail as real ones rarely do.

    use std::ffi::CString;
    use std::sync::mpsc;

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::RDKafkaRespErr;

    use super::*;

    struct Broken {
        sink: KafkaSink,
        brokers: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
        reports: mpsc::Receiver<Result<Option<(i32, i64)>, FlowError>>,
        report: mpsc::Sender<Result<Option<(i32, i64)>, FlowError>>,
    }

    fn sink() -> Broken {
        sink_holding(HOLD_LIMIT)
    }

    fn sink_holding(hold_limit: Duration) -> Broken {
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("jobs", 3, 1).unwrap();
        let settings = KafkaSettings::plain(vec![brokers.bootstrap_servers()]);
        let topics = KafkaTopics { jobs: "jobs".into(), dead_letters: None, group: "g".into() };
        let lane = Lane::new(Arc::new(settings.clone()), Lifeline::new(&settings, &topics), None);
        let (report, reports) = mpsc::channel();
        Broken { sink: KafkaSink::over(Lane { hold_limit, ..lane }, &topics).unwrap(), brokers, reports, report }
    }

    impl Broken {
        fn send(&self, number: usize) {
            let report = self.report.clone();
            let job = OutboundJob { run: format!("r{number}"), blueprint: "b".into(), node: "n".into(), ..OutboundJob::default() };
            self.sink.send(&job, Box::new(move |outcome| report.send(outcome).unwrap()));
        }

        fn outcomes(&self, count: usize) -> Vec<Result<Option<(i32, i64)>, FlowError>> {
            (0..count).map(|_| self.reports.recv_timeout(Duration::from_secs(30)).unwrap()).collect()
        }

        #[allow(unsafe_code)]
        fn break_producer(&self) {
            let client = lock(&self.sink.lane.state).client.clone().unwrap();
            let reason = CString::new("test").unwrap();
            // SAFETY: the handle lives as long as `client`; the call takes a code and a C string.
            unsafe {
                rdkafka::bindings::rd_kafka_test_fatal_error(
                    client.client().native_ptr(),
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                    reason.as_ptr(),
                );
            }
        }
    }

    #[test]
    fn a_fatal_error_makes_a_new_producer_and_loses_nothing() {
        let broken = sink();
        broken.send(0);
        broken.outcomes(1).remove(0).unwrap();
        for round in 0..3 {
            for number in 0..500 {
                broken.send(number);
            }
            broken.break_producer();
            for number in 500..1_000 {
                broken.send(number);
            }
            let failed: Vec<_> = broken.outcomes(1_000).into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
            assert_eq!(failed, Vec::<String>::new(), "round {round}");
        }
    }

    #[test]
    fn transient_errors_are_repeated_and_permanent_ones_reported() {
        let broken = sink();
        broken.send(0);
        broken.outcomes(1).remove(0).unwrap();
        let produce = rdkafka::types::RDKafkaApiKey::Produce;
        let passing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        broken.brokers.request_errors(produce, &[passing, passing]);
        broken.send(1);
        broken.outcomes(1).remove(0).unwrap();
        broken.brokers.request_errors(produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        broken.send(2);
        let error = broken.outcomes(1).remove(0).unwrap_err();
        assert!(!error.retryable() && error.to_string().contains("jobs"), "{error}");
        // Once the right is granted, sending goes on without a restart.
        let granted = (0..50).any(|_| {
            broken.send(3);
            std::thread::sleep(Duration::from_millis(100));
            broken.outcomes(1).remove(0).is_ok()
        });
        assert!(granted);
    }

    #[test]
    fn what_comes_while_others_are_on_their_way_waits_for_their_reports() {
        let broken = sink_holding(Duration::from_secs(3_600));
        broken.send(0);
        broken.outcomes(1).remove(0).unwrap();
        broken.brokers.broker_down(-1).unwrap();
        broken.send(1);
        while lock(&broken.sink.lane.state).since.is_none_or(|since| since.elapsed() < broken.sink.lane.linger) {
            std::thread::yield_now();
        }
        for number in 2..50 {
            broken.send(number);
        }
        broken.sink.lane.drain();
        {
            let state = lock(&broken.sink.lane.state);
            assert_eq!((state.on_their_way, state.waiting.len()), (1, 48));
        }
        broken.brokers.broker_up(-1).unwrap();
        assert_eq!(broken.outcomes(49).into_iter().filter(Result::is_ok).count(), 49);
        let state = lock(&broken.sink.lane.state);
        assert_eq!((state.on_their_way, state.waiting.len()), (0, 0));
    }

    #[test]
    fn a_leader_that_does_not_answer_holds_nothing_up_for_long() {
        let broken = sink();
        broken.send(0);
        broken.outcomes(1).remove(0).unwrap();
        broken.brokers.broker_down(-1).unwrap();
        for number in 1..50 {
            broken.send(number);
        }
        while lock(&broken.sink.lane.state).on_their_way < 49 {
            std::thread::yield_now();
        }
        broken.brokers.broker_up(-1).unwrap();
        assert_eq!(broken.outcomes(49).into_iter().filter(Result::is_ok).count(), 49);
    }

    #[tokio::test]
    async fn close_reports_every_message() {
        let broken = sink();
        for number in 0..1_000 {
            broken.send(number);
        }
        broken.sink.close().await;
        assert_eq!(broken.reports.try_iter().filter(Result::is_ok).count(), 1_000);
        broken.send(0);
        assert!(broken.outcomes(1).remove(0).is_err());
        broken.sink.close().await;
    }
}
