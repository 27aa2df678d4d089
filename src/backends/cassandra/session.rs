//! Sessions: opened once per settings and shared by everybody in the process who wants the same.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::{Duration, Instant};

use scylla::client::SelfIdentity;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError, NewSessionError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::prepared::PreparedStatement;

use super::errors;
use super::settings::CassandraSettings;
use crate::backends::lock;
use crate::kernel::error::{FlowError, Retry, Service};

/// Pause before a cluster that did not answer is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A session and what it was opened with.
pub(super) struct SharedSession {
    pub(super) driver: Session,
    /// As the settings name it.
    pub(super) data_centre: Option<String>,
}

/// The runtime is part of the key: a session's tasks live and die with the runtime it was opened on.
type Key = (CassandraSettings, tokio::runtime::Id);
/// The open session, if somebody still uses it. Locked while it is being opened.
type Slot = Arc<tokio::sync::Mutex<Weak<SharedSession>>>;

static OPEN: LazyLock<Mutex<HashMap<Key, Slot>>> = LazyLock::new(Mutex::default);

/// The session for these settings: an open one, or a new one. It closes when its last user lets go.
///
/// # Errors
/// `Option` for bad settings, `Unreachable` when no node answers before the deadline, `Store` when the
/// login is refused.
pub(super) async fn shared(settings: &CassandraSettings, deadline: Instant) -> Result<Arc<SharedSession>, FlowError> {
    let key = (settings.clone(), tokio::runtime::Handle::current().id());
    let slot = slot_of(key);
    // Held while opening: others who want the same session wait for this one.
    let mut slot = slot.lock().await;
    if let Some(session) = slot.upgrade() {
        return Ok(session);
    }
    let session = Arc::new(SharedSession { driver: open(settings, deadline).await?, data_centre: settings.local_data_center.clone() });
    *slot = Arc::downgrade(&session);
    Ok(session)
}

/// The slot of a key; on the way, slots of closed sessions are removed.
fn slot_of(key: Key) -> Slot {
    let mut open = lock(&OPEN);
    open.retain(|_, slot| slot.try_lock().map_or(true, |session| session.strong_count() > 0));
    Arc::clone(open.entry(key).or_default())
}

impl SharedSession {
    /// Prepares a statement of ours. All of them are idempotent: reads, and writes whose timestamp is
    /// bound, so that a repeat writes the same cells again.
    ///
    /// # Errors
    /// `Store` with what the server said.
    pub(super) async fn prepare(&self, text: String) -> Result<PreparedStatement, FlowError> {
        let operation = format!("preparing \"{text}\"");
        let mut statement = self.driver.prepare(text).await.map_err(|error| errors::prepare(operation, &error))?;
        statement.set_is_idempotent(true);
        Ok(statement)
    }
}

async fn open(settings: &CassandraSettings, deadline: Instant) -> Result<Session, FlowError> {
    let builder = builder(settings)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(RETRY_PAUSE);
        let cause = match tokio::time::timeout(left, builder.build()).await {
            Ok(Ok(session)) => return check_data_centre(settings, session),
            Ok(Err(error)) if login_refused(&error) => {
                return Err(errors::failed(format!("logging in at {}", settings.contact_points.join(",")), innermost(&error), Retry::Never));
            }
            Ok(Err(error)) => innermost(&error),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(FlowError::Unreachable { service: Service::Cassandra, address: settings.contact_points.join(","), cause });
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn builder(settings: &CassandraSettings) -> Result<SessionBuilder, FlowError> {
    let mut builder = SessionBuilder::new()
        .known_nodes(settings.nodes()?)
        .connection_timeout(settings.connect_timeout())
        .default_execution_profile_handle(profile(settings)?.into_handle())
        .custom_identity(SelfIdentity::new().with_application_name(settings.application_name.clone().unwrap_or_else(|| "flowcraft".into())))
        // What the session was configured with is nobody's business on the server.
        .driver_config_reporting(false)
        // Replication is needed, for routing to replicas; columns are not.
        .fetch_full_schema_metadata(false);
    if let (Some(user), Some(password)) = (&settings.username, &settings.password) {
        builder = builder.user(user, password.reveal());
    }
    if let Some(tls) = settings.tls_context()? {
        builder = builder.tls_context(Some(tls));
    }
    Ok(builder)
}

/// Chosen on purpose:
/// - no retries by the driver: the engine repeats a write with the same timestamp until its outcome is
///   known, with back-off and with its lease checked before each attempt, which the driver cannot do;
/// - no speculative execution: it would double the load exactly when the cluster is slow;
/// - never another data centre: `LOCAL_QUORUM` there would be somebody else's quorum;
/// - no timestamps by the driver: each write binds its own.
fn profile(settings: &CassandraSettings) -> Result<ExecutionProfile, FlowError> {
    let mut routing = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(name) = &settings.local_data_center {
        routing = routing.prefer_datacenter(name.clone());
    }
    Ok(ExecutionProfile::builder()
        .consistency(settings.consistency()?)
        .serial_consistency(Some(settings.serial_consistency()?))
        .request_timeout(Some(settings.request_timeout()))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .speculative_execution_policy(None)
        .load_balancing_policy(routing.build())
        .build())
}

/// A wrong data centre would only show as "no nodes" on every request; several without a choice would mix
/// their quorums.
fn check_data_centre(settings: &CassandraSettings, session: Session) -> Result<Session, FlowError> {
    let state = session.get_cluster_state();
    let mut found: Vec<_> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    found.sort_unstable();
    found.dedup();
    let problem = match &settings.local_data_center {
        Some(name) if !found.is_empty() && !found.contains(name) => format!("\"{name}\" is no data centre of this cluster"),
        None if found.len() > 1 => "is missing, and the cluster has several".to_owned(),
        _ => return Ok(session),
    };
    Err(FlowError::Option { path: "options.cassandraClient.localDataCenter".into(), problem, fix: format!("Use one of: {}", found.join(", ")) })
}

fn login_refused(error: &NewSessionError) -> bool {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken { last_connection_error })) = error else { return false };
    let ConnectionError::ConnectionSetupRequestError(setup) = last_connection_error else { return false };
    matches!(
        setup.get_error(),
        ConnectionSetupRequestErrorKind::MissingAuthentication
            | ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError | DbError::Unauthorized, _)
    )
}

/// The text of the last error in the chain: the driver's outer ones only repeat that something failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
