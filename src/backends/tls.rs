//! TLS settings, the same for all three services, in the words of Node's `tls.connect` options.

use serde::Deserialize;

use super::secret::Secret;

/// What a TLS connection needs. All certificates and keys are PEM texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsSettings {
    /// Authorities to trust, one or more certificates. The JavaScript glue fills in Node's own roots
    /// where the user names none, so that both sides trust the same servers.
    #[serde(default)]
    pub ca: Option<String>,
    /// Client certificate chain.
    #[serde(default)]
    pub cert: Option<String>,
    /// Private key of the client certificate.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Passphrase of the private key.
    #[serde(default)]
    pub passphrase: Option<Secret>,
    /// Whether a server certificate that cannot be verified ends the connection.
    #[serde(default = "yes")]
    pub reject_unauthorized: bool,
    /// Name to expect in the server certificate instead of the host connected to.
    #[serde(default)]
    pub servername: Option<String>,
}

fn yes() -> bool {
    true
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { ca: None, cert: None, key: None, passphrase: None, reject_unauthorized: true, servername: None }
    }
}

#[cfg(any(feature = "kafka", feature = "cassandra", feature = "redis"))]
mod pem {
    use openssl::pkey::{PKey, Private};
    use openssl::x509::X509;

    use super::TlsSettings;
    use crate::kernel::error::FlowError;

    /// An error about one PEM text. OpenSSL's own words are left out: they can quote input.
    pub(crate) fn refused(option: &str, field: &str, problem: &str) -> FlowError {
        FlowError::Option {
            path: format!("options.{option}.{field}"),
            problem: problem.into(),
            fix: "Give the content of a PEM file (a text that begins with -----BEGIN)".into(),
        }
    }

    impl TlsSettings {
        /// The private key, decrypted.
        ///
        /// # Errors
        /// `Option` when the PEM or its passphrase is wrong.
        pub(crate) fn private_key(&self, option: &str) -> Result<Option<PKey<Private>>, FlowError> {
            let Some(key) = &self.key else { return Ok(None) };
            let pem = key.reveal().as_bytes();
            // The callback form is never used: without a passphrase OpenSSL would ask on the terminal.
            let passphrase = self.passphrase.as_ref().map_or("", |secret| secret.reveal());
            PKey::private_key_from_pem_passphrase(pem, passphrase.as_bytes())
                .map(Some)
                .map_err(|_| refused(option, "key", "is not a private key in PEM form, or the passphrase does not open it"))
        }

        /// Reads every certificate and the key, for clients that take the texts themselves.
        ///
        /// # Errors
        /// `Option` naming the one that is wrong.
        pub(crate) fn check(&self, option: &str) -> Result<(), FlowError> {
            self.authorities(option)?;
            self.client_chain(option)?;
            self.private_key(option).map(drop)
        }

        /// The client certificate with its chain; empty when there is none.
        ///
        /// # Errors
        /// `Option` when the PEM is wrong.
        pub(crate) fn client_chain(&self, option: &str) -> Result<Vec<X509>, FlowError> {
            stack(self.cert.as_deref(), option, "cert")
        }

        /// The authorities to trust; empty when there are none given.
        ///
        /// # Errors
        /// `Option` when the PEM is wrong.
        pub(crate) fn authorities(&self, option: &str) -> Result<Vec<X509>, FlowError> {
            stack(self.ca.as_deref(), option, "ca")
        }
    }

    fn stack(pem: Option<&str>, option: &str, field: &str) -> Result<Vec<X509>, FlowError> {
        let Some(pem) = pem else { return Ok(Vec::new()) };
        let found = X509::stack_from_pem(pem.as_bytes()).map_err(|_| refused(option, field, "is not a certificate in PEM form"))?;
        if found.is_empty() {
            return Err(refused(option, field, "holds no certificate"));
        }
        Ok(found)
    }
}

#[cfg(any(feature = "cassandra", feature = "redis"))]
pub(crate) use pem::refused;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_verify_the_server() {
        let tls: TlsSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(tls, TlsSettings::default());
        assert!(tls.reject_unauthorized);
    }

    #[test]
    fn debug_output_has_no_key() {
        let tls: TlsSettings = serde_json::from_str(r#"{"key":"KEYTEXT","passphrase":"PASS"}"#).unwrap();
        let shown = format!("{tls:?}");
        assert!(!shown.contains("KEYTEXT") && !shown.contains("PASS"), "{shown}");
    }
}
