//! The one error type and the one table of error codes.

use std::fmt;

/// The outside system an operation was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Apache Kafka: consumer, producer, admin.
    Kafka,
    /// Apache Cassandra: context, status and bookkeeping tables.
    Cassandra,
    /// The coordination store, normally Redis.
    Coordination,
    /// A JavaScript object or callback of the user.
    JavaScript,
    /// The in-process backend.
    Embedded,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Cassandra => "Cassandra",
            Self::Coordination => "the coordination store",
            Self::JavaScript => "JavaScript",
            Self::Embedded => "the embedded backend",
        })
    }
}

/// Whether trying the same thing again can help. Decides between waiting and giving up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The cause is expected to pass (a node is down, a timeout); the outcome may be unknown.
    Later,
    /// The same request will fail again.
    Never,
}

/// Everything that can go wrong, by whose fault it is.
///
/// Messages say what, where and what to do next; they never contain passwords, tokens or values
/// of a run's context.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FlowError {
    /// An option has a wrong type or value. `path` is the option as the user wrote it.
    #[error("{path}: {problem}. {fix}")]
    Option {
        /// For example `options.kafka.brokers[1]`.
        path: String,
        /// What is wrong with the value.
        problem: String,
        /// What to write instead.
        fix: String,
    },
    /// No server answered at the address.
    #[error("{service} cannot be reached at {address}: {cause}. Check that it runs and that the address and port are right")]
    Unreachable {
        /// Which system.
        service: Service,
        /// Host and port as configured.
        address: String,
        /// The client's own words.
        cause: String,
    },
    /// A keyspace, table or column is missing.
    #[error("{what} is missing. Create it with: {statement}")]
    SchemaMissing {
        /// For example `table "ks.contexts"`.
        what: String,
        /// The CQL that creates it.
        statement: String,
    },
    /// A table exists with columns nobody here can work with.
    #[error("{what} has a layout this package does not know. A table that works: {statement}")]
    SchemaUnknown {
        /// Which table.
        what: String,
        /// The CQL that would work.
        statement: String,
    },
    /// The job topic does not exist and could not be created.
    #[error("topic \"{topic}\" does not exist and could not be created ({cause}). Create it with: {command}")]
    TopicMissing {
        /// Topic name.
        topic: String,
        /// Why creation failed.
        cause: String,
        /// A command that creates it.
        command: String,
    },
    /// Another member of the consumer group speaks an incompatible assignment protocol.
    #[error(
        "consumer group \"{group}\" has members with another partition assignment protocol, most likely workers of @flowcraft/kafka-adapter 1.x. Stop them first, or use a new groupId"
    )]
    GroupProtocol {
        /// Group id.
        group: String,
    },
    /// `start()` did not reach the services in time.
    #[error("start() gave up after {limit_ms} ms while {waiting_for}. Check the service or raise startTimeoutMs")]
    StartTimeout {
        /// The option's value.
        limit_ms: u64,
        /// What it was waiting for.
        waiting_for: String,
    },
    /// The JavaScript thread does not answer.
    #[error(
        "the JavaScript thread has not answered for {limit_ms} ms (maxStallMs); the worker has left its group until it does. Move long computations to a worker thread, or raise maxStallMs"
    )]
    Stalled {
        /// The option's value.
        limit_ms: u64,
    },
    /// The engine is not running (not started, stopping or stopped).
    #[error("the worker is {state}: {action} needs a running worker. Call start() first")]
    NotRunning {
        /// Life-cycle state.
        state: String,
        /// What was asked for.
        action: String,
    },
    /// A store operation failed.
    #[error("{service}: {operation} failed: {cause}")]
    Store {
        /// Which system.
        service: Service,
        /// What was being done, with the run where there is one.
        operation: String,
        /// The client's own words.
        cause: String,
        /// Whether it can pass.
        retry: Retry,
    },
    /// A job message cannot be understood.
    #[error("job message at {coordinates} refused: {problem}. Expected JSON {{\"runId\",\"blueprintId\",\"nodeId\"}} with non-empty strings")]
    BadJob {
        /// The code of the precise problem (one of the `ERR_JOB_*` codes).
        code: Code,
        /// `topic[partition]@offset`.
        coordinates: String,
        /// What is wrong.
        problem: String,
    },
    /// A run's stored state cannot be read as JSON.
    #[error("stored context of run \"{run}\" is corrupt: {cause}. Repair or delete the row, then replay the dead letter")]
    StateCorrupt {
        /// Run id.
        run: String,
        /// Where and why parsing stopped.
        cause: String,
    },
    /// A write was refused because a value or the whole document is above the limit.
    #[error("run \"{run}\": {what} is {size} bytes, above the limit of {limit} bytes. Keep large values elsewhere and store a reference")]
    TooLarge {
        /// Run id.
        run: String,
        /// Key or document.
        what: String,
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A run was refused by the JavaScript side (unknown blueprint, version mismatch).
    #[error("run \"{run}\" refused: {reason}")]
    RunRefused {
        /// Which of the run codes.
        code: Code,
        /// Run id.
        run: String,
        /// Reason as published.
        reason: String,
    },
    /// The lease of a partition is held by somebody else.
    #[error(
        "partition {partition} of \"{topic}\" is leased by {holder}. Two groups on one topic cannot both run its jobs; stop the other group or use another topic"
    )]
    LeaseHeld {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Owner string found.
        holder: String,
    },
    /// A user's JavaScript object or hook threw or rejected.
    #[error("{hook} failed: {cause}")]
    Callback {
        /// Which hook or method.
        hook: String,
        /// Message of the thrown value.
        cause: String,
    },
    /// A bug of ours.
    #[error("internal error in {place}: {detail}. Please report it")]
    Internal {
        /// Module or step.
        place: &'static str,
        /// What was found.
        detail: String,
    },
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// Stable error codes; this table is the only place where the strings are written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $name),+ }
        impl Code {
            /// The string JavaScript sees as `error.code`.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text),+ } }
            /// Every code, for the documentation test.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

codes! {
    /// An option has a wrong type or value.
    Option = "ERR_OPTION",
    /// No Kafka broker answered.
    KafkaUnreachable = "ERR_KAFKA_UNREACHABLE",
    /// No Cassandra node answered.
    CassandraUnreachable = "ERR_CASSANDRA_UNREACHABLE",
    /// The coordination store did not answer.
    CoordinationUnreachable = "ERR_COORDINATION_UNREACHABLE",
    /// Keyspace, table or column missing.
    SchemaMissing = "ERR_SCHEMA_MISSING",
    /// Table of unknown layout.
    SchemaUnknown = "ERR_SCHEMA_UNKNOWN",
    /// Job topic missing.
    TopicMissing = "ERR_TOPIC_MISSING",
    /// Incompatible members in the consumer group.
    GroupProtocol = "ERR_GROUP_PROTOCOL",
    /// `start()` ran into its time limit.
    StartTimeout = "ERR_START_TIMEOUT",
    /// The JavaScript thread does not answer.
    Stalled = "ERR_STALLED",
    /// Operation needs a running worker.
    NotRunning = "ERR_NOT_RUNNING",
    /// Kafka operation failed.
    Kafka = "ERR_KAFKA",
    /// Cassandra operation failed.
    Cassandra = "ERR_CASSANDRA",
    /// Coordination operation failed.
    Coordination = "ERR_COORDINATION",
    /// Job message is not JSON.
    JobNotJson = "ERR_JOB_NOT_JSON",
    /// Job message is JSON but not an object.
    JobNotObject = "ERR_JOB_NOT_OBJECT",
    /// A field of the job is missing, empty or not a string.
    JobField = "ERR_JOB_FIELD",
    /// The job or one of its fields is too long.
    JobTooLarge = "ERR_JOB_TOO_LARGE",
    /// The job names a blueprint this worker does not have.
    BlueprintUnknown = "ERR_BLUEPRINT_UNKNOWN",
    /// The run was started with another version of its blueprint.
    BlueprintVersion = "ERR_BLUEPRINT_VERSION",
    /// The owners of the run died again and again.
    RunPoison = "ERR_RUN_POISON",
    /// The job names a node its blueprint does not have.
    NodeUnknown = "ERR_NODE_UNKNOWN",
    /// A job is older than rows of ended runs become, and nothing is stored of its run.
    RunExpired = "ERR_RUN_EXPIRED",
    /// A command names a run that has no row.
    RunUnknown = "ERR_RUN_UNKNOWN",
    /// A command is of a kind that this worker does not know.
    CommandUnknown = "ERR_COMMAND_UNKNOWN",
    /// Stored context is not a JSON object.
    StateCorrupt = "ERR_STATE_CORRUPT",
    /// Value or document above the limit.
    TooLarge = "ERR_TOO_LARGE",
    /// Partition leased by another group.
    LeaseHeld = "ERR_LEASE_HELD",
    /// A user hook failed.
    Callback = "ERR_CALLBACK",
    /// A bug of ours.
    Internal = "ERR_INTERNAL",
}

impl FlowError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Option { .. } => Code::Option,
            Self::Unreachable { service, .. } => match service {
                Service::Kafka => Code::KafkaUnreachable,
                Service::Cassandra => Code::CassandraUnreachable,
                Service::Coordination => Code::CoordinationUnreachable,
                Service::JavaScript => Code::Callback,
                Service::Embedded => Code::Internal,
            },
            Self::SchemaMissing { .. } => Code::SchemaMissing,
            Self::SchemaUnknown { .. } => Code::SchemaUnknown,
            Self::TopicMissing { .. } => Code::TopicMissing,
            Self::GroupProtocol { .. } => Code::GroupProtocol,
            Self::StartTimeout { .. } => Code::StartTimeout,
            Self::Stalled { .. } => Code::Stalled,
            Self::NotRunning { .. } => Code::NotRunning,
            Self::Store { service, .. } => match service {
                Service::Kafka => Code::Kafka,
                Service::Cassandra => Code::Cassandra,
                Service::Coordination => Code::Coordination,
                Service::JavaScript => Code::Callback,
                Service::Embedded => Code::Internal,
            },
            Self::BadJob { code, .. } | Self::RunRefused { code, .. } => *code,
            Self::StateCorrupt { .. } => Code::StateCorrupt,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::LeaseHeld { .. } => Code::LeaseHeld,
            Self::Callback { .. } => Code::Callback,
            Self::Internal { .. } => Code::Internal,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::StartTimeout { .. } | Self::LeaseHeld { .. } | Self::Callback { .. } => true,
            Self::Store { retry, .. } => *retry == Retry::Later,
            _ => false,
        }
    }
}
