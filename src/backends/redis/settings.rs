//! Settings of the Redis connection.

use std::time::Duration;

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates};
use serde::Deserialize;

use crate::backends::secret::Secret;
use crate::backends::tls::{TlsSettings, refused};
use crate::kernel::error::FlowError;

/// The option whose certificates these are.
const TLS: &str = "coordinationStore.tls";
const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26_379;

/// How to reach Redis. One of `url`, `host`, `cluster` or `sentinel`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisSettings {
    /// `redis://` or `rediss://` URL. Secret, because it can hold the password.
    #[serde(default)]
    pub url: Option<Secret>,
    /// Host of a single server.
    #[serde(default)]
    pub host: Option<String>,
    /// Its port.
    #[serde(default)]
    pub port: Option<u16>,
    /// ACL user.
    #[serde(default)]
    pub username: Option<String>,
    /// Password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Database number; a cluster has only 0.
    #[serde(default)]
    pub db: Option<i64>,
    /// TLS.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// Put in front of every key, as ioredis does.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// Some nodes of a Redis cluster.
    #[serde(default)]
    pub cluster: Option<Vec<RedisNode>>,
    /// Sentinels that know the master.
    #[serde(default)]
    pub sentinel: Option<SentinelSettings>,
    /// For opening a connection, milliseconds.
    #[serde(default = "connect_timeout")]
    pub connect_timeout_ms: u64,
    /// For one command, milliseconds; waiting for a reconnection counts.
    #[serde(default = "command_timeout")]
    pub command_timeout_ms: u64,
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RedisNode {
    /// Host name or address.
    pub host: String,
    /// Port; the usual one when absent.
    #[serde(default)]
    pub port: Option<u16>,
}

/// How to ask Sentinel for the master.
#[derive(Debug, Clone, Deserialize)]
pub struct SentinelSettings {
    /// Name of the master group.
    pub name: String,
    /// The sentinels.
    pub nodes: Vec<RedisNode>,
    /// ACL user of the sentinels themselves.
    #[serde(default)]
    pub username: Option<String>,
    /// Password of the sentinels themselves.
    #[serde(default)]
    pub password: Option<Secret>,
}

fn connect_timeout() -> u64 {
    5_000
}

fn command_timeout() -> u64 {
    5_000
}

fn option_error(path: &str, problem: &str, fix: &str) -> FlowError {
    FlowError::Option { path: format!("options.coordinationStore.{path}"), problem: problem.into(), fix: fix.into() }
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            username: None,
            password: None,
            db: None,
            tls: None,
            key_prefix: None,
            cluster: None,
            sentinel: None,
            connect_timeout_ms: connect_timeout(),
            command_timeout_ms: command_timeout(),
        }
    }
}

impl RedisSettings {
    /// Settings from a URL.
    #[must_use]
    pub fn from_url(url: &str) -> Self {
        Self { url: Some(Secret::new(url)), ..Self::default() }
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.max(1))
    }

    pub(super) fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms.max(1))
    }

    /// Addresses for errors: hosts and ports only.
    pub(super) fn address(&self) -> String {
        let joined = |nodes: &[RedisNode], port| nodes.iter().map(|node| format!("{}:{}", node.host, node.port.unwrap_or(port))).collect::<Vec<_>>().join(",");
        match (&self.cluster, &self.sentinel) {
            (Some(nodes), _) => joined(nodes, DEFAULT_PORT),
            (_, Some(sentinel)) => joined(&sentinel.nodes, DEFAULT_SENTINEL_PORT),
            _ => self.single().map_or_else(|_| "the configured address".into(), |info| info.addr().to_string()),
        }
    }

    /// The single server.
    ///
    /// # Errors
    /// `Option` when the URL cannot be read; its text is not repeated.
    pub(super) fn single(&self) -> Result<ConnectionInfo, FlowError> {
        let Some(url) = &self.url else { return self.node(self.host.as_deref().unwrap_or("127.0.0.1"), self.port.unwrap_or(DEFAULT_PORT)) };
        let bad = |_| option_error("url", "is no Redis URL", "Write it as \"redis://host:port/db\", or \"rediss://...\" for TLS");
        let mut info = url.reveal().into_connection_info().map_err(bad)?;
        let redis = self.login(info.redis_settings().clone());
        info = info.set_redis_settings(redis);
        // `tls` settings apply to a URL as well; rediss:// without them means their defaults.
        if let ConnectionAddr::Tcp(host, port) = info.addr().clone() {
            let addr = self.place(&host, port);
            info = info.set_addr(addr);
        }
        Ok(info)
    }

    /// One server by host and port.
    pub(super) fn node(&self, host: &str, port: u16) -> Result<ConnectionInfo, FlowError> {
        let bad = |_| option_error("host", "is no address", "Give a host name and a port");
        let info = self.place(host, port).into_connection_info().map_err(bad)?;
        let redis = self.login(info.redis_settings().clone());
        Ok(info.set_redis_settings(redis))
    }

    fn place(&self, host: &str, port: u16) -> ConnectionAddr {
        match &self.tls {
            None => ConnectionAddr::Tcp(host.into(), port),
            Some(tls) => ConnectionAddr::TcpTls { host: host.into(), port, insecure: !tls.reject_unauthorized, tls_params: None },
        }
    }

    fn login(&self, mut redis: RedisConnectionInfo) -> RedisConnectionInfo {
        if let Some(username) = &self.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password.reveal());
        }
        if let Some(db) = self.db {
            redis = redis.set_db(db);
        }
        redis
    }

    /// The cluster's known nodes.
    pub(super) fn cluster_nodes(&self, nodes: &[RedisNode]) -> Result<Vec<ConnectionInfo>, FlowError> {
        if nodes.is_empty() {
            return Err(option_error("cluster", "is empty", "Name at least one node as { host, port }"));
        }
        // The driver hands no certificates on to the nodes it discovers.
        if self.tls.as_ref().is_some_and(|tls| tls.ca.is_some() || tls.cert.is_some()) {
            return Err(option_error(
                "tls",
                "has its own certificates, which the native cluster client cannot use",
                "Use certificates that the system trusts, or pass an ioredis Cluster",
            ));
        }
        nodes.iter().map(|node| self.node(&node.host, node.port.unwrap_or(DEFAULT_PORT))).collect()
    }

    /// The sentinels.
    pub(super) fn sentinels(&self, sentinel: &SentinelSettings) -> Result<Vec<ConnectionInfo>, FlowError> {
        if sentinel.nodes.is_empty() {
            return Err(option_error("sentinels", "is empty", "Name at least one sentinel as { host, port }"));
        }
        let own = Self { username: sentinel.username.clone(), password: sentinel.password.clone(), db: None, tls: self.tls.clone(), ..Self::default() };
        sentinel.nodes.iter().map(|node| own.node(&node.host, node.port.unwrap_or(DEFAULT_SENTINEL_PORT))).collect()
    }

    /// A client for one server, with our certificates.
    ///
    /// # Errors
    /// `Option` when a certificate cannot be read.
    pub(super) fn client(&self, info: ConnectionInfo) -> Result<Client, FlowError> {
        let refuse = |_| option_error("url", "is refused by the Redis client", "Check host, port and tls");
        match &self.tls {
            Some(tls) if tls.reject_unauthorized && (tls.ca.is_some() || tls.cert.is_some()) => {
                Client::build_with_tls(info, certificates(tls)?).map_err(refuse)
            }
            _ => Client::open(info).map_err(refuse),
        }
    }

    /// # Errors
    /// `Option` for settings that cannot be honoured.
    pub(super) fn check(&self) -> Result<(), FlowError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        if tls.servername.is_some() {
            return Err(option_error("tls.servername", "cannot be honoured natively", "Connect by the name in the certificate, or pass an ioredis client"));
        }
        if !tls.reject_unauthorized && tls.cert.is_some() {
            return Err(option_error(
                "tls",
                "has a client certificate together with rejectUnauthorized: false, which cannot be honoured natively",
                "Verify the server, or pass an ioredis client",
            ));
        }
        Ok(())
    }
}

/// The certificates in the forms that the driver accepts: the private key decrypted, in PKCS#8.
fn certificates(tls: &TlsSettings) -> Result<TlsCertificates, FlowError> {
    tls.authorities(TLS)?;
    let key = tls.private_key(TLS)?;
    let client_tls = match (&tls.cert, key) {
        (Some(cert), Some(key)) => {
            let client_key = key.private_key_to_pem_pkcs8().map_err(|_| refused(TLS, "key", "cannot be used as a private key"))?;
            Some(ClientTlsConfig { client_cert: cert.as_bytes().to_vec(), client_key })
        }
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca.as_ref().map(|ca| ca.as_bytes().to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_its_overrides() {
        let settings: RedisSettings = serde_json::from_str(r#"{"url":"redis://u:pw@h:7000/3","db":4,"keyPrefix":"p:"}"#).unwrap();
        let info = settings.single().unwrap();
        assert_eq!(info.addr(), &ConnectionAddr::Tcp("h".into(), 7000));
        assert_eq!((info.redis_settings().db(), info.redis_settings().username(), info.redis_settings().password()), (4, Some("u"), Some("pw")));
        assert!(!format!("{settings:?}").contains("pw"));
        assert_eq!(settings.address(), "h:7000");
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        let text = RedisSettings::from_url("secretpassword").single().unwrap_err().to_string();
        assert!(text.starts_with("options.coordinationStore.url:") && !text.contains("secretpassword"), "{text}");
    }

    #[test]
    fn sentinels_have_their_own_login() {
        let text = r#"{"password":"master","sentinel":{"name":"m","nodes":[{"host":"s"}],"password":"sentinel"}}"#;
        let settings: RedisSettings = serde_json::from_str(text).unwrap();
        let sentinels = settings.sentinels(settings.sentinel.as_ref().unwrap()).unwrap();
        assert_eq!(sentinels[0].addr(), &ConnectionAddr::Tcp("s".into(), 26_379));
        assert_eq!(sentinels[0].redis_settings().password(), Some("sentinel"));
    }
}
