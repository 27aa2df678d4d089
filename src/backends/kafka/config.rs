//! Settings of the Kafka clients and their translation to librdkafka's properties.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use serde::Deserialize;

use crate::backends::secret::Secret;
use crate::backends::tls::TlsSettings;
use crate::kernel::error::FlowError;

/// Prefetched messages per consumer, kilobytes. Bounds memory (G10); a job message has about 150 bytes,
/// so this is far more than a worker takes before it pauses the partition.
const PREFETCH_KILOBYTES: u32 = 16 * 1024;
/// Prefetched messages per partition before fetching stops.
const PREFETCH_MESSAGES: u32 = 10_000;
/// Largest single fetch answer per partition, bytes.
const FETCH_BYTES: u32 = 1024 * 1024;
/// Longest time a broker holds an empty fetch, milliseconds. Messages answer a fetch at once whatever
/// this is; it bounds how long a resumed or new partition waits for the fetch that is under way.
const FETCH_WAIT_MS: u32 = 100;
/// A produce that did not get through is reported after this time, milliseconds, so that the engine can
/// decide (health, pause); librdkafka repeats it until then.
const PRODUCE_TIMEOUT_MS: u32 = 120_000;

/// How to reach a Kafka cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSettings {
    /// `host:port` of one or more brokers.
    pub brokers: Vec<String>,
    /// Name shown in broker logs and quotas.
    #[serde(default)]
    pub client_id: Option<String>,
    /// TLS, when the brokers speak it.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// Authentication.
    #[serde(default)]
    pub sasl: Option<SaslSettings>,
    /// A member that is silent for this long loses its partitions, milliseconds.
    #[serde(default = "session_timeout")]
    pub session_timeout_ms: u32,
    /// Milliseconds between heartbeats.
    #[serde(default = "heartbeat_interval")]
    pub heartbeat_interval_ms: u32,
    /// Where a group begins that has no committed position.
    #[serde(default)]
    pub start_position: StartPosition,
    /// Static membership: a restart within the session timeout moves no partitions.
    #[serde(default)]
    pub group_instance_id: Option<String>,
    /// Milliseconds a produce waits for company, so that runs share requests. Measured in 64 chains of
    /// acknowledged messages: 7 to 15 us of CPU each with 0.5, 9 to 70 us with 0, no gain above. Nothing on the
    /// way of a run waits for it: successors start before their message is acknowledged (D4).
    #[serde(default = "linger")]
    pub linger_ms: f64,
    /// Partitions of a job topic that this package creates; absent is the brokers' default.
    #[serde(default)]
    pub topic_partitions: Option<i32>,
    /// Properties passed to librdkafka as they are, last. May hold secrets, hence no Debug of values.
    #[serde(default)]
    pub properties: BTreeMap<String, Secret>,
}

/// Where consumption begins without a committed position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartPosition {
    /// With the oldest message: jobs sent before the first worker started are done.
    #[default]
    Earliest,
    /// With the next message.
    Latest,
}

/// SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// PLAIN.
    Plain,
    /// SCRAM-SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM-SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// OAUTHBEARER with tokens of a [`TokenSource`].
    Oauthbearer,
}

impl SaslMechanism {
    const fn property(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }
}

/// Authentication by SASL.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaslSettings {
    /// Which mechanism.
    pub mechanism: SaslMechanism,
    /// User, where the mechanism has one.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// An OAUTHBEARER token.
pub struct Token {
    /// The token text.
    pub token: Secret,
    /// When it expires, milliseconds since the epoch.
    pub lifetime_ms: i64,
    /// Principal it belongs to.
    pub principal: String,
}

/// Gives tokens. Called from a client's own thread, so it may block; librdkafka asks again at 80 % of a
/// token's life and ten seconds after a failure.
pub trait TokenSource: Send + Sync + 'static {
    /// A fresh token, or why there is none (shown in errors: no secrets in it).
    fn token(&self) -> Result<Token, String>;
}

fn session_timeout() -> u32 {
    10_000
}

/// A member learns of a rebalance with its next heartbeat, so that this bounds for how long the runs of a moved partition stand still
/// (docs/decisions.md, 64).
fn heartbeat_interval() -> u32 {
    1_000
}

fn linger() -> f64 {
    0.5
}

fn option_error(path: &str, problem: &str, fix: &str) -> FlowError {
    FlowError::Option { path: format!("options.kafka.{path}"), problem: problem.into(), fix: fix.into() }
}

impl KafkaSettings {
    /// Whether logging in needs a token of a [`TokenSource`].
    pub(super) fn wants_tokens(&self) -> bool {
        self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Oauthbearer)
    }

    /// For the commands that operators are told.
    pub(super) fn first_broker(&self) -> &str {
        self.brokers.first().map_or("localhost:9092", String::as_str)
    }

    /// Settings for a plain cluster.
    #[must_use]
    pub fn plain(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            client_id: None,
            tls: None,
            sasl: None,
            session_timeout_ms: session_timeout(),
            heartbeat_interval_ms: heartbeat_interval(),
            start_position: StartPosition::default(),
            group_instance_id: None,
            linger_ms: linger(),
            topic_partitions: None,
            properties: BTreeMap::new(),
        }
    }

    /// # Errors
    /// `Option` for what librdkafka would refuse late or not at all.
    pub fn check(&self) -> Result<(), FlowError> {
        if self.brokers.is_empty() {
            return Err(option_error("brokers", "is empty", "Name at least one broker as \"host:port\""));
        }
        for (at, broker) in self.brokers.iter().enumerate() {
            check_broker(at, broker)?;
        }
        if self.heartbeat_interval_ms >= self.session_timeout_ms {
            return Err(option_error("heartbeatIntervalMs", "is not below sessionTimeoutMs", "Use about a third of sessionTimeoutMs"));
        }
        if let Some(tls) = &self.tls {
            tls.check("kafka.ssl")?;
        }
        if self.tls.as_ref().is_some_and(|tls| tls.servername.is_some()) {
            return Err(option_error(
                "ssl.servername",
                "cannot be honoured: librdkafka expects the broker's own host name",
                "Leave it out, or give brokers by the name in their certificates",
            ));
        }
        self.check_sasl()
    }

    fn check_sasl(&self) -> Result<(), FlowError> {
        let Some(sasl) = &self.sasl else { return Ok(()) };
        if sasl.mechanism != SaslMechanism::Oauthbearer && (sasl.username.is_none() || sasl.password.is_none()) {
            return Err(option_error("sasl", "has no username or no password", "Give both, as strings"));
        }
        Ok(())
    }

    /// What every client of this cluster shares.
    pub(super) fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Without a `log` logger installed the crate would ask for emergencies only, and the warning
        // about a vanished offset (see `group.rs`) would be lost.
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", self.client_id.as_deref().unwrap_or("flowcraft"));
        config.set("socket.nagle.disable", "true");
        config.set("socket.keepalive.enable", "true");
        config.set("log.connection.close", "false");
        config.set("reconnect.backoff.ms", "50");
        config.set("reconnect.backoff.max.ms", "2000");
        config.set("security.protocol", self.protocol());
        if let Some(tls) = &self.tls {
            set_tls(&mut config, tls);
        }
        if let Some(sasl) = &self.sasl {
            set_sasl(&mut config, sasl);
        }
        config
    }

    fn protocol(&self) -> &'static str {
        match (self.tls.is_some(), self.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        }
    }

    fn apply_properties(&self, config: &mut ClientConfig) {
        for (name, value) in &self.properties {
            config.set(name, value.reveal());
        }
    }

    /// Properties of the group member.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config.set("group.id", group);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", self.session_timeout_ms.to_string());
        config.set("heartbeat.interval.ms", self.heartbeat_interval_ms.to_string());
        if let Some(instance) = &self.group_instance_id {
            config.set("group.instance.id", instance);
        }
        // The engine's ledger decides what is committed (G5).
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        // Only ever used for an offset that no longer exists: a partition without a committed position
        // gets one before it is consumed. Resuming at the end would lose jobs.
        config.set("auto.offset.reset", "earliest");
        config.set("allow.auto.create.topics", "false");
        config.set("queued.max.messages.kbytes", PREFETCH_KILOBYTES.to_string());
        config.set("queued.min.messages", PREFETCH_MESSAGES.to_string());
        config.set("fetch.message.max.bytes", FETCH_BYTES.to_string());
        config.set("fetch.min.bytes", "1");
        config.set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string());
        // The default second of pause once the prefetch limit was reached would show as stalls.
        config.set("fetch.queue.backoff.ms", "10");
        config.set("fetch.error.backoff.ms", "100");
        // A broker that has just started may not know its topics yet. The client then takes the topic for deleted, gives its
        // partitions up, and looks again at this interval only; new partitions are found at it, too.
        config.set("topic.metadata.refresh.interval.ms", "5000");
        self.apply_properties(&mut config);
        config
    }

    pub(super) fn linger(&self) -> Duration {
        Duration::try_from_secs_f64(self.linger_ms / 1000.0).unwrap_or_default()
    }

    /// Properties of the producer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        // The Java client's and kafkajs's partitioner: a run has one home partition (D3).
        config.set("partitioner", "murmur2_random");
        config.set("linger.ms", self.linger_ms.to_string());
        config.set("message.timeout.ms", PRODUCE_TIMEOUT_MS.to_string());
        config.set("queue.buffering.max.messages", "500000");
        config.set("queue.buffering.max.kbytes", "131072");
        self.apply_properties(&mut config);
        config
    }
}

fn check_broker(at: usize, broker: &str) -> Result<(), FlowError> {
    let port = broker.rsplit_once(':').and_then(|(host, port)| if host.is_empty() { None } else { port.parse::<u16>().ok() });
    if port.is_none_or(|port| port == 0) || broker.contains(',') {
        return Err(option_error(&format!("brokers[{at}]"), "is not an address", "Write it as \"host:port\", for example \"localhost:9092\""));
    }
    Ok(())
}

fn set_tls(config: &mut ClientConfig, tls: &TlsSettings) {
    if let Some(ca) = &tls.ca {
        config.set("ssl.ca.pem", ca);
    }
    if let Some(cert) = &tls.cert {
        config.set("ssl.certificate.pem", cert);
    }
    if let Some(key) = &tls.key {
        config.set("ssl.key.pem", key.reveal());
    }
    if let Some(passphrase) = &tls.passphrase {
        config.set("ssl.key.password", passphrase.reveal());
    }
    config.set("enable.ssl.certificate.verification", if tls.reject_unauthorized { "true" } else { "false" });
    config.set("ssl.endpoint.identification.algorithm", if tls.reject_unauthorized { "https" } else { "none" });
}

fn set_sasl(config: &mut ClientConfig, sasl: &SaslSettings) {
    config.set("sasl.mechanism", sasl.mechanism.property());
    if let Some(username) = &sasl.username {
        config.set("sasl.username", username);
    }
    if let Some(password) = &sasl.password {
        config.set("sasl.password", password.reveal());
    }
}

/// Answers librdkafka's wish for a token.
pub(super) fn fresh_token(tokens: Option<&Arc<dyn TokenSource>>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
    let source = tokens.ok_or("no token provider is configured")?;
    // A NUL would make the crate's own error path fail.
    let token = source.token().map_err(|problem| problem.replace('\0', " "))?;
    Ok(OAuthToken { token: token.token.reveal().to_owned(), principal_name: token.principal, lifetime_ms: token.lifetime_ms })
}

/// Makes a client of librdkafka.
///
/// Where it reads a PEM text to its end, it leaves OpenSSL's error about that in the queue of the calling thread, and the next TLS
/// connection that runs on this thread, of another service, would take it for its own.
pub(super) fn make_client<T>(make: impl FnOnce() -> T) -> T {
    let made = make();
    drop(openssl::error::ErrorStack::get());
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_bridge_sends() {
        let text = r#"{"brokers":["a:1","b:2"],"clientId":"me","tls":{},"sasl":{"mechanism":"scram-sha-256","username":"u","password":"pw"},
            "sessionTimeoutMs":6000,"startPosition":"latest","properties":{"check.crcs":"true"},"unknown":1}"#;
        let settings: KafkaSettings = serde_json::from_str(text).unwrap();
        settings.check().unwrap();
        let config = settings.consumer("g");
        for (name, value) in [
            ("bootstrap.servers", "a:1,b:2"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.password", "pw"),
            ("enable.ssl.certificate.verification", "true"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "1000"),
            ("check.crcs", "true"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert_eq!(settings.start_position, StartPosition::Latest);
        assert!(!format!("{settings:?}").contains("pw"));
    }

    #[test]
    fn bad_settings_name_their_field() {
        let base = KafkaSettings::plain(vec!["a:1".into()]);
        let cases = [
            (KafkaSettings { brokers: vec![], ..base.clone() }, "options.kafka.brokers:"),
            (KafkaSettings { brokers: vec!["a:1".into(), "b".into()], ..base.clone() }, "options.kafka.brokers[1]:"),
            (KafkaSettings { brokers: vec!["a:99999".into()], ..base.clone() }, "options.kafka.brokers[0]:"),
            (KafkaSettings { heartbeat_interval_ms: 10_000, ..base.clone() }, "options.kafka.heartbeatIntervalMs:"),
            (KafkaSettings { sasl: Some(SaslSettings { mechanism: SaslMechanism::Plain, username: None, password: None }), ..base }, "options.kafka.sasl:"),
        ];
        for (settings, start) in cases {
            let text = settings.check().unwrap_err().to_string();
            assert!(text.starts_with(start), "{text}");
        }
    }
}
