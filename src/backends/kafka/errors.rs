//! What librdkafka reports, in the engine's words.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::config::KafkaSettings;
use crate::kernel::error::{FlowError, Retry, Service};

/// Whether the same request can succeed later. Listed is what only an operator or a code change can
/// mend; everything else (elections, timeouts, lost connections) passes.
pub(super) fn retry(code: Code) -> Retry {
    match code {
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedSASLMechanism
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InvalidRequiredAcks
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::SecurityDisabled
        | Code::FencedInstanceId => Retry::Never,
        _ => Retry::Later,
    }
}

/// A failed operation. `cause` is librdkafka's text; its configuration errors, which quote values,
/// never come this way (see [`refused_setting`]).
pub(super) fn store(operation: impl Into<String>, error: &KafkaError) -> FlowError {
    let code = error.rdkafka_error_code();
    let cause = code.map_or_else(|| error.to_string(), |code| code.to_string());
    FlowError::Store { service: Service::Kafka, operation: operation.into(), cause, retry: code.map_or(Retry::Later, retry) }
}

/// No broker answered.
pub(super) fn unreachable(settings: &KafkaSettings, cause: impl Into<String>) -> FlowError {
    FlowError::Unreachable { service: Service::Kafka, address: settings.brokers.join(","), cause: cause.into() }
}

/// librdkafka refused a property or a combination. Its text can quote the value, so for a property
/// only the name is shown.
pub(super) fn refused_setting(error: &KafkaError) -> FlowError {
    let (path, problem) = match error {
        KafkaError::ClientConfig(_, _, key, _) => (format!("options.kafka.properties[\"{key}\"]"), "librdkafka refuses this value".to_owned()),
        KafkaError::ClientCreation(text) => ("options.kafka".to_owned(), text.clone()),
        _ => ("options.kafka".to_owned(), "librdkafka refuses these settings".to_owned()),
    };
    FlowError::Option { path, problem, fix: "See librdkafka's CONFIGURATION.md for what is accepted".into() }
}
