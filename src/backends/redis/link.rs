//! One multiplexed connection to a server, a cluster, or the master that Sentinel names.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Client, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind};

use super::settings::{RedisSettings, SentinelSettings};
use crate::backends::lock;
use crate::kernel::error::{FlowError, Retry, Service};

/// Sentinel is asked again at most this often.
const RESOLVE_PAUSE: Duration = Duration::from_millis(500);

/// Where commands go. Each kind keeps itself connected; commands of many callers share the connection.
pub(super) enum Link {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
    Master(Box<Master>),
}

/// The master of a group, found again after a failover.
pub(super) struct Master {
    settings: RedisSettings,
    name: String,
    sentinels: Vec<ConnectionInfo>,
    current: Mutex<Found>,
}

struct Found {
    address: (String, u16),
    manager: ConnectionManager,
    asked: Instant,
}

/// An error on the way to the server, or settings that cannot work.
pub(super) enum LinkError {
    Redis(RedisError),
    Settings(FlowError),
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<FlowError> for LinkError {
    fn from(error: FlowError) -> Self {
        Self::Settings(error)
    }
}

impl Link {
    /// Connects once.
    pub(super) async fn open(settings: &RedisSettings) -> Result<Self, LinkError> {
        settings.check()?;
        if let Some(nodes) = &settings.cluster {
            return Ok(Self::Cluster(open_cluster(settings, settings.cluster_nodes(nodes)?).await?));
        }
        if let Some(sentinel) = &settings.sentinel {
            return Ok(Self::Master(Box::new(Master::find(settings, sentinel).await?)));
        }
        let client = settings.client(settings.single()?)?;
        Ok(Self::Server(open_server(settings, client)?))
    }

    /// Sends a pipeline; several are in flight at once on the same connection.
    pub(super) async fn run<T: FromRedisValue>(&self, pipeline: &Pipeline) -> RedisResult<T> {
        match self {
            Self::Server(manager) => pipeline.query_async(&mut manager.clone()).await,
            Self::Cluster(cluster) => pipeline.query_async(&mut cluster.clone()).await,
            Self::Master(master) => master.run(pipeline).await,
        }
    }
}

fn manager_config(settings: &RedisSettings) -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout()))
        .set_response_timeout(Some(settings.command_timeout()))
        // A command after a failed reconnection begins the next one, so that more attempts would only
        // keep callers, who have a limit of their own, waiting for a refused login.
        .set_number_of_retries(1)
}

/// Connects with the first command.
fn open_server(settings: &RedisSettings, client: Client) -> RedisResult<ConnectionManager> {
    ConnectionManager::new_lazy_with_config(client, manager_config(settings))
}

async fn open_cluster(settings: &RedisSettings, nodes: Vec<ConnectionInfo>) -> RedisResult<ClusterConnection> {
    let builder = ClusterClient::builder(nodes).connection_timeout(settings.connect_timeout()).response_timeout(settings.command_timeout());
    builder.build()?.get_async_connection().await
}

impl Master {
    async fn find(settings: &RedisSettings, sentinel: &SentinelSettings) -> Result<Self, LinkError> {
        let sentinels = settings.sentinels(sentinel)?;
        let address = ask(settings, &sentinels, &sentinel.name).await?;
        let manager = connect_master(settings, &address)?;
        let current = Mutex::new(Found { address, manager, asked: Instant::now() });
        Ok(Self { settings: settings.clone(), name: sentinel.name.clone(), sentinels, current })
    }

    async fn run<T: FromRedisValue>(&self, pipeline: &Pipeline) -> RedisResult<T> {
        let mut manager = lock(&self.current).manager.clone();
        let outcome = pipeline.query_async(&mut manager).await;
        if outcome.as_ref().is_err_and(|error: &RedisError| error.is_io_error() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)) {
            self.look_again().await;
        }
        outcome
    }

    /// After a failure that a failover explains. The failed command itself is the caller's to repeat.
    async fn look_again(&self) {
        {
            let mut current = lock(&self.current);
            if current.asked.elapsed() < RESOLVE_PAUSE {
                return;
            }
            current.asked = Instant::now();
        }
        let Ok(address) = ask(&self.settings, &self.sentinels, &self.name).await else { return };
        if lock(&self.current).address == address {
            return;
        }
        if let Ok(manager) = connect_master(&self.settings, &address) {
            *lock(&self.current) = Found { address, manager, asked: Instant::now() };
        }
    }
}

fn connect_master(settings: &RedisSettings, (host, port): &(String, u16)) -> Result<ConnectionManager, LinkError> {
    let client = settings.client(settings.node(host, *port)?)?;
    Ok(open_server(settings, client)?)
}

/// The first answer any sentinel gives.
async fn ask(settings: &RedisSettings, sentinels: &[ConnectionInfo], name: &str) -> Result<(String, u16), LinkError> {
    let mut failure = RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no sentinel knows the master"));
    for sentinel in sentinels {
        match ask_one(&settings.client(sentinel.clone())?, settings.connect_timeout(), name).await {
            Ok(Some((host, port))) => return Ok((host, port)),
            Ok(None) => {}
            Err(error) => failure = error,
        }
    }
    Err(failure.into())
}

async fn ask_one(client: &Client, limit: Duration, name: &str) -> RedisResult<Option<(String, u16)>> {
    let config = redis::AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(Some(limit));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(name).query_async(&mut connection).await
}

/// Whether the same command can succeed later.
pub(super) fn retry(error: &RedisError) -> Retry {
    match error.kind() {
        ErrorKind::Io | ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel | ErrorKind::ClusterConnectionNotFound => {
            Retry::Later
        }
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly,
        ) => Retry::Later,
        ErrorKind::Server(_) => Retry::Never,
        // Out of memory, not enough replicas, persistence broken: states of the server that pass.
        ErrorKind::Extension if matches!(error.code(), Some("OOM" | "NOREPLICAS" | "MISCONF" | "BUSY" | "UNBLOCKED")) => Retry::Later,
        _ if error.is_timeout() || error.is_connection_dropped() => Retry::Later,
        _ => Retry::Never,
    }
}

/// A failed command.
pub(super) fn store(operation: String, error: &RedisError) -> FlowError {
    FlowError::Store { service: Service::Coordination, operation, cause: error.to_string(), retry: retry(error) }
}
