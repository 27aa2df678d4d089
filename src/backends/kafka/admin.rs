//! Questions to the cluster and topics to be created.

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::bindings::rd_kafka_oauthbearer_set_token;
use rdkafka::client::OAuthToken;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;

use super::config::{KafkaSettings, TokenSource, fresh_token, make_client};
use super::errors;
use super::group::{Group, Member};
use crate::kernel::error::{FlowError, Retry, Service};
use crate::kernel::retention::Keeps;

/// A metadata question is asked in slices of this, so that a refused login is noticed early.
const QUESTION_SLICE: Duration = Duration::from_millis(1_000);
/// Pause before a question that failed at once is asked again.
const QUESTION_PAUSE: Duration = Duration::from_millis(100);
/// Brokers' default number of partitions or replicas.
const BROKER_DEFAULT: i32 = -1;
/// For creating topics when little of the caller's patience is left.
const SHORTEST_CREATE: Duration = Duration::from_secs(2);

/// For what librdkafka says by words.
const PROBLEM_BYTES: usize = 512;

struct AdminContext;

impl ClientContext for AdminContext {
    // Without it, librdkafka would make an unsigned token of its own.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

/// Checks that the cluster answers, and that both topics exist or can be created. Answers the number of
/// partitions of the job topic.
pub(super) async fn prepare(group: Arc<Group>, member: Arc<Member>, tokens: Option<Arc<dyn TokenSource>>, patience: Duration) -> Result<i32, FlowError> {
    let deadline = Instant::now() + patience;
    let jobs = group.topics.jobs.clone();
    let letters = group.topics.dead_letter_name();
    let found = partitions_of(&group, &member, &jobs, deadline).await?;
    if partitions_of(&group, &member, &letters, deadline).await?.is_none() {
        create_letters(&group, &tokens, &letters, deadline).await;
    }
    if let Some(partitions) = found {
        return Ok(partitions);
    }
    let wanted = group.settings.topic_partitions.unwrap_or(BROKER_DEFAULT);
    create(&group.settings, tokens, &jobs, wanted, deadline).await.map_err(|cause| topic_missing(&jobs, &group.settings, &cause))?;
    await_topic(&group, &member, &jobs, deadline).await
}

/// The job topic's partitions, `None` when it does not exist.
pub(super) async fn partitions(group: Arc<Group>, member: Arc<Member>, patience: Duration) -> Result<Option<i32>, FlowError> {
    let jobs = group.topics.jobs.clone();
    partitions_of(&group, &member, &jobs, Instant::now() + patience).await
}

/// Without the dead-letter topic only a dead letter's own send fails, so this is told and no more.
async fn create_letters(group: &Group, tokens: &Option<Arc<dyn TokenSource>>, topic: &str, deadline: Instant) {
    if let Err(cause) = create(&group.settings, tokens.clone(), topic, BROKER_DEFAULT, deadline).await {
        group.trouble_at_start(topic_missing(topic, &group.settings, &cause));
    }
}

/// A created topic takes a moment until every broker knows it.
async fn await_topic(group: &Arc<Group>, member: &Arc<Member>, topic: &str, deadline: Instant) -> Result<i32, FlowError> {
    loop {
        if let Some(partitions) = partitions_of(group, member, topic, deadline).await? {
            return Ok(partitions);
        }
        if Instant::now() >= deadline {
            return Err(topic_missing(topic, &group.settings, "created, but not visible yet"));
        }
        tokio::time::sleep(QUESTION_PAUSE).await;
    }
}

async fn partitions_of(group: &Arc<Group>, member: &Arc<Member>, topic: &str, deadline: Instant) -> Result<Option<i32>, FlowError> {
    let (group, member, topic) = (Arc::clone(group), Arc::clone(member), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || ask(&group, &member, &topic, deadline));
    asked.await.unwrap_or_else(|_| Err(FlowError::Internal { place: "kafka metadata", detail: "the question panicked".into() }))
}

/// Asks until the deadline; blocking. Gives up early on a refused login, which no waiting mends.
fn ask(group: &Group, member: &Member, topic: &str, deadline: Instant) -> Result<Option<i32>, FlowError> {
    // librdkafka says why it cannot connect when it tries, and tries ever more rarely.
    let mut last = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let cause = match member.fetch_metadata(Some(topic), left.clamp(QUESTION_PAUSE, QUESTION_SLICE)) {
            Ok(metadata) => match answer(&metadata, topic) {
                Ok(found) => return Ok(found),
                Err(code) if errors::retry(code) == Retry::Never => {
                    return Err(errors::store(format!("looking up topic \"{topic}\""), &KafkaError::MetadataFetch(code)));
                }
                Err(code) => code.to_string(),
            },
            Err(error) => error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()),
        };
        last = group.recent_trouble(QUESTION_SLICE * 5).or(last);
        if let Some(refused @ FlowError::Store { retry: Retry::Never, service: Service::Kafka, .. }) = last {
            return Err(refused);
        }
        if group.closing() || Instant::now() >= deadline {
            return Err(match last {
                Some(known @ FlowError::Unreachable { .. }) => known,
                _ => errors::unreachable(&group.settings, cause),
            });
        }
        std::thread::sleep(QUESTION_PAUSE);
    }
}

/// Partitions, or `None` for a topic that does not exist, or the error that the broker gave.
fn answer(metadata: &rdkafka::metadata::Metadata, topic: &str) -> Result<Option<i32>, Code> {
    // A broker that is just starting: it knows nothing yet, and what it says of topics means nothing.
    if metadata.brokers().is_empty() {
        return Err(Code::BrokerNotAvailable);
    }
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error() {
        None if found.partitions().is_empty() => Err(Code::LeaderNotAvailable),
        None => Ok(i32::try_from(found.partitions().len()).ok()),
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) => Ok(None),
        Some(other) => Err(other.into()),
    }
}

/// Creates a topic; `Err` holds the reason in words. That it exists already is fine: several workers
/// start at once.
async fn create(settings: &KafkaSettings, tokens: Option<Arc<dyn TokenSource>>, topic: &str, partitions: i32, deadline: Instant) -> Result<(), String> {
    let limit = deadline.saturating_duration_since(Instant::now()).max(SHORTEST_CREATE);
    let admin = open(settings, tokens, limit).await?;
    let options = AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit));
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(BROKER_DEFAULT));
    let answered = admin.create_topics([&wanted], &options).await;
    close(admin).await;
    match answered.map_err(|error| error.to_string())?.into_iter().next() {
        Some(Err((_, code))) if code != Code::TopicAlreadyExists => Err(code.to_string()),
        _ => Ok(()),
    }
}

/// How long a topic keeps its messages, as far as the brokers tell.
pub(super) async fn keeps(settings: &KafkaSettings, tokens: Option<Arc<dyn TokenSource>>, topic: &str, limit: Duration) -> Keeps {
    let admin = match open(settings, tokens, limit).await {
        Ok(admin) => admin,
        Err(cause) => return Keeps::Unknown(cause),
    };
    let answered = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new().request_timeout(Some(limit))).await;
    close(admin).await;
    match answered.map(|answers| answers.into_iter().next()) {
        Ok(Some(Ok(found))) => {
            let value = |name: &str| found.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
            Keeps::read(value("cleanup.policy"), value("retention.ms"))
        }
        Ok(Some(Err(code))) => Keeps::Unknown(code.to_string()),
        Ok(None) => Keeps::Unknown("no answer".into()),
        Err(error) => Keeps::Unknown(error.to_string()),
    }
}

async fn open(settings: &KafkaSettings, tokens: Option<Arc<dyn TokenSource>>, limit: Duration) -> Result<AdminClient<AdminContext>, String> {
    let config = settings.base();
    let tokens = tokens.filter(|_| settings.wants_tokens());
    // The user's token provider is waited for.
    let opened = tokio::task::spawn_blocking(move || {
        let admin = make_client(|| AdminClient::from_config_and_context(&config, AdminContext)).map_err(|error| errors::refused_setting(&error).to_string())?;
        tokens.map_or(Ok(()), |tokens| log_in(&admin, &tokens))?;
        Ok::<_, String>(admin)
    });
    let opened = tokio::time::timeout(limit, opened).await.map_err(|_| "the token provider does not answer".to_owned())?;
    opened.map_err(|error| error.to_string())?
}

/// Dropping the client joins its thread.
async fn close(admin: AdminClient<AdminContext>) {
    let _ = tokio::task::spawn_blocking(move || drop(admin)).await;
}

/// Gives a client its token. The crate's admin client serves no events, so that it never asks for one.
fn log_in(admin: &AdminClient<AdminContext>, tokens: &Arc<dyn TokenSource>) -> Result<(), String> {
    let OAuthToken { token, principal_name, lifetime_ms } = fresh_token(Some(tokens)).map_err(|error| error.to_string())?;
    let text = |value: String| CString::new(value).map_err(|_| "a NUL in the token or its principal".to_owned());
    let (token, principal) = (text(token)?, text(principal_name)?);
    let mut problem = [0; PROBLEM_BYTES];
    // SAFETY: the client outlives the call, both texts end with NUL, no extensions are given, and librdkafka writes at most
    // as many bytes as it is told, the NUL included.
    #[allow(unsafe_code)]
    let (code, problem) = unsafe {
        let client = admin.inner().native_ptr();
        let code =
            rd_kafka_oauthbearer_set_token(client, token.as_ptr(), lifetime_ms, principal.as_ptr(), ptr::null_mut(), 0, problem.as_mut_ptr(), problem.len());
        (code, CStr::from_ptr(problem.as_ptr()).to_string_lossy())
    };
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(format!("the token is refused: {problem}")) }
}

/// The error that tells an operator how to create the topic.
pub(super) fn topic_missing(topic: &str, settings: &KafkaSettings, cause: &str) -> FlowError {
    let server = settings.first_broker();
    let partitions = settings.topic_partitions.map(|count| format!(" --partitions {count}")).unwrap_or_default();
    let command = format!("kafka-topics.sh --create --bootstrap-server {server} --topic {topic}{partitions}");
    FlowError::TopicMissing { topic: topic.into(), cause: cause.into(), command }
}
