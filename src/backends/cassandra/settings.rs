//! Settings of the Cassandra session.

use std::time::Duration;

use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use scylla::statement::{Consistency, SerialConsistency};
use serde::Deserialize;

use crate::backends::secret::Secret;
use crate::backends::tls::{TlsSettings, refused};
use crate::kernel::error::FlowError;

/// The option whose certificates these are.
const TLS: &str = "cassandraClient.sslOptions";
const DEFAULT_PORT: u16 = 9042;
/// `X509_V_ERR_IP_ADDRESS_MISMATCH`, which the openssl crate does not name.
const ADDRESS_MISMATCH: i32 = 64;

/// How to reach a Cassandra cluster. Two users with equal settings share one session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CassandraSettings {
    /// `host` or `host:port` of one or more nodes.
    pub contact_points: Vec<String>,
    /// Port of contact points that name none.
    #[serde(default)]
    pub port: Option<u16>,
    /// Data centre to talk to; needed where the cluster has more than one.
    #[serde(default)]
    pub local_data_center: Option<String>,
    /// User of `PasswordAuthenticator`.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// TLS, when the nodes speak it.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// Consistency of every read and write; `LOCAL_QUORUM` when absent (D5).
    #[serde(default)]
    pub consistency: Option<String>,
    /// Serial consistency; only conditional statements use it.
    #[serde(default)]
    pub serial_consistency: Option<String>,
    /// For opening one connection, milliseconds.
    #[serde(default = "connect_timeout")]
    pub connect_timeout_ms: u64,
    /// For one request, milliseconds. Above the servers' own write and read timeouts (2 s and 5 s by
    /// default), so that normally the server tells what happened.
    #[serde(default = "request_timeout")]
    pub request_timeout_ms: u64,
    /// Name shown in `system_views.clients`.
    #[serde(default)]
    pub application_name: Option<String>,
}

fn connect_timeout() -> u64 {
    5_000
}

fn request_timeout() -> u64 {
    10_000
}

fn option_error(path: &str, problem: String, fix: &str) -> FlowError {
    FlowError::Option { path: format!("options.cassandraClient.{path}"), problem, fix: fix.into() }
}

impl CassandraSettings {
    /// Settings for a cluster without authentication.
    #[must_use]
    pub fn plain(contact_points: Vec<String>) -> Self {
        Self {
            contact_points,
            port: None,
            local_data_center: None,
            username: None,
            password: None,
            tls: None,
            consistency: None,
            serial_consistency: None,
            connect_timeout_ms: connect_timeout(),
            request_timeout_ms: request_timeout(),
            application_name: None,
        }
    }

    /// The contact points as `host:port`.
    ///
    /// # Errors
    /// `Option` naming the entry that is no address.
    pub(super) fn nodes(&self) -> Result<Vec<String>, FlowError> {
        if self.contact_points.is_empty() {
            return Err(option_error("contactPoints", "is empty".into(), "Name at least one node as \"host\" or \"host:port\""));
        }
        self.contact_points.iter().enumerate().map(|(at, point)| self.node(at, point)).collect()
    }

    fn node(&self, at: usize, point: &str) -> Result<String, FlowError> {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let bad = || {
            option_error(&format!("contactPoints[{at}]"), "is not an address".into(), "Write it as \"host\" or \"host:port\", for example \"localhost:9042\"")
        };
        if point.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(format!("[{point}]:{port}"));
        }
        match point.rsplit_once(':') {
            None if point.trim().is_empty() => Err(bad()),
            None => Ok(format!("{point}:{port}")),
            Some((host, _)) if host.ends_with(']') || !host.contains(':') => {
                let parsed = point.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
                parsed.filter(|(host, port)| !host.is_empty() && *port > 0).map(|_| point.to_owned()).ok_or_else(bad)
            }
            Some(_) if point.starts_with('[') && point.ends_with(']') => Ok(format!("{point}:{port}")),
            Some(_) => Err(bad()),
        }
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.max(1))
    }

    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.max(1))
    }

    /// # Errors
    /// `Option` for an unknown level.
    pub(super) fn consistency(&self) -> Result<Consistency, FlowError> {
        let Some(name) = &self.consistency else { return Ok(Consistency::LocalQuorum) };
        Ok(match canonical(name).as_str() {
            "ANY" => return Err(option_error("consistency", "is ANY, which does not make a write readable".into(), "Use LOCAL_QUORUM")),
            "ONE" => Consistency::One,
            "TWO" => Consistency::Two,
            "THREE" => Consistency::Three,
            "QUORUM" => Consistency::Quorum,
            "ALL" => Consistency::All,
            "LOCALQUORUM" => Consistency::LocalQuorum,
            "EACHQUORUM" => Consistency::EachQuorum,
            "LOCALONE" => Consistency::LocalOne,
            _ => return Err(option_error("consistency", "is no consistency level".into(), "Use for example LOCAL_QUORUM, QUORUM or LOCAL_ONE")),
        })
    }

    /// # Errors
    /// `Option` for an unknown level.
    pub(super) fn serial_consistency(&self) -> Result<SerialConsistency, FlowError> {
        match self.serial_consistency.as_deref().map(canonical).as_deref() {
            None | Some("LOCALSERIAL") => Ok(SerialConsistency::LocalSerial),
            Some("SERIAL") => Ok(SerialConsistency::Serial),
            Some(_) => Err(option_error("serialConsistency", "is no serial consistency level".into(), "Use LOCAL_SERIAL or SERIAL")),
        }
    }

    /// The TLS context, if there is to be one.
    ///
    /// The driver connects to nodes by the addresses that the cluster announces and has OpenSSL compare
    /// the certificate with them, as cassandra-driver does in Node; `servername` is compared instead of the address.
    ///
    /// # Errors
    /// `Option` when a certificate or key cannot be read.
    pub(super) fn tls_context(&self) -> Result<Option<SslConnectorBuilder>, FlowError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let internal = |_| FlowError::Internal { place: "cassandra TLS", detail: "OpenSSL refused the settings".into() };
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(internal)?;
        trust(&mut builder, tls)?;
        identify(&mut builder, tls)?;
        if !tls.reject_unauthorized {
            builder.set_verify(SslVerifyMode::NONE);
        } else if let Some(name) = &tls.servername {
            builder.verify_param_mut().set_host(name).map_err(|_| refused(TLS, "servername", "is not a host name"))?;
            builder.set_verify_callback(SslVerifyMode::PEER, |verified, found| verified || found.error().as_raw() == ADDRESS_MISMATCH);
        }
        Ok(Some(builder))
    }
}

/// `localQuorum`, `LOCAL_QUORUM` and `local-quorum` are the same.
fn canonical(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
}

fn trust(builder: &mut SslConnectorBuilder, tls: &TlsSettings) -> Result<(), FlowError> {
    let authorities = tls.authorities(TLS)?;
    if authorities.is_empty() {
        return Ok(());
    }
    let bad = |_| refused(TLS, "ca", "holds a certificate that cannot be used as an authority");
    let mut store = X509StoreBuilder::new().map_err(bad)?;
    for authority in authorities {
        store.add_cert(authority).map_err(bad)?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

fn identify(builder: &mut SslConnectorBuilder, tls: &TlsSettings) -> Result<(), FlowError> {
    let bad = |_| refused(TLS, "cert", "does not go with the private key");
    let mut chain = tls.client_chain(TLS)?.into_iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&own).map_err(bad)?;
    }
    for link in chain {
        builder.add_extra_chain_cert(link).map_err(bad)?;
    }
    if let Some(key) = tls.private_key(TLS)? {
        builder.set_private_key(&key).map_err(bad)?;
        builder.check_private_key().map_err(bad)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(points: &[&str]) -> CassandraSettings {
        CassandraSettings::plain(points.iter().map(|&point| point.to_owned()).collect())
    }

    #[test]
    fn contact_points_get_their_port() {
        let settings = CassandraSettings { port: Some(9999), ..with(&["a", "b:1", "::1", "[::1]", "[::1]:2"]) };
        assert_eq!(settings.nodes().unwrap(), ["a:9999", "b:1", "[::1]:9999", "[::1]:9999", "[::1]:2"]);
        for bad in ["", ":1", "a:x", "a:0", "a:1:2"] {
            let text = with(&["ok", bad]).nodes().unwrap_err().to_string();
            assert!(text.starts_with("options.cassandraClient.contactPoints[1]:"), "{bad}: {text}");
        }
    }

    #[test]
    fn consistency_is_read_in_every_spelling() {
        for (name, level) in [("LOCAL_ONE", Consistency::LocalOne), ("localQuorum", Consistency::LocalQuorum), ("each-quorum", Consistency::EachQuorum)] {
            assert_eq!(CassandraSettings { consistency: Some(name.into()), ..with(&["a"]) }.consistency().unwrap(), level);
        }
        assert_eq!(with(&["a"]).consistency().unwrap(), Consistency::LocalQuorum);
        assert!(CassandraSettings { consistency: Some("ANY".into()), ..with(&["a"]) }.consistency().is_err());
    }

    #[test]
    fn a_bad_certificate_is_named_without_its_content() {
        for (tls, field) in [
            (TlsSettings { ca: Some("CONTENT".into()), ..TlsSettings::default() }, "ca"),
            (TlsSettings { cert: Some("CONTENT".into()), ..TlsSettings::default() }, "cert"),
            (TlsSettings { key: Some(Secret::new("CONTENT")), ..TlsSettings::default() }, "key"),
        ] {
            let text = CassandraSettings { tls: Some(tls), ..with(&["a"]) }.tls_context().err().unwrap().to_string();
            assert!(text.starts_with(&format!("options.cassandraClient.sslOptions.{field}:")) && !text.contains("CONTENT"), "{text}");
        }
    }
}
