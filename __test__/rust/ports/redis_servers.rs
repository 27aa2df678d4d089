//! Redis as a cluster, behind Sentinel and with TLS: servers of our own, because the shared one is none of these.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flowcraft_kafka_adapter::backends::redis::{RedisCoordination, RedisNode, RedisSettings, SentinelSettings};
use flowcraft_kafka_adapter::backends::secret::Secret;
use flowcraft_kafka_adapter::backends::tls::TlsSettings;
use flowcraft_kafka_adapter::ports::Coordination;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

use super::services::{address, unique};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(unique("redis"));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that ends with the test.
struct Server(Child);

impl Server {
    fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        command.args(arguments).current_dir(&folder.0).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Below the ephemeral range, so that the cluster bus (port + 10000) is a port too.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 11_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    (0..1_000)
        .map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok() && std::net::TcpListener::bind(("127.0.0.1", *port + 10_000)).is_ok())
        .unwrap()
}

fn node(port: u16) -> RedisNode {
    RedisNode { host: "127.0.0.1".into(), port: Some(port) }
}

async fn works(store: &RedisCoordination) {
    for number in 0..50 {
        let key = format!("k{number}");
        assert!(store.set_if_not_exist(&key, "v", 60).await.unwrap());
        assert_eq!(store.increment(&format!("n{number}"), 60).await.unwrap(), 1);
        assert_eq!(store.get(&key).await.unwrap().as_deref(), Some("v"));
    }
}

/// Waits until nobody refuses any more.
async fn until_ok<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    for _ in 0..200 {
        if let Some(result) = attempt().await {
            return result;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_works_from_any_of_its_nodes() {
    let Some(_) = address("REDIS_URL") else { return };
    let folder = Folder::new();
    let ports = [free_port(), free_port(), free_port()];
    let _servers: Vec<_> = ports
        .iter()
        .map(|port| {
            Server::start(
                &folder,
                &[
                    "--port",
                    &port.to_string(),
                    "--cluster-enabled",
                    "yes",
                    "--cluster-config-file",
                    &format!("{port}.conf"),
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ],
            )
        })
        .collect();
    let nodes: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    until_ok("the cluster", || async {
        let made = Command::new("redis-cli").args(["--cluster", "create"]).args(&nodes).arg("--cluster-yes").output().unwrap();
        made.status.success().then_some(())
    })
    .await;
    let settings = RedisSettings { cluster: Some(vec![node(ports[1])]), key_prefix: Some("p:".into()), ..RedisSettings::default() };
    let store = RedisCoordination::connect(&settings, PATIENCE).await.unwrap();
    works(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed_through_sentinel() {
    let Some(_) = address("REDIS_URL") else { return };
    let folder = Folder::new();
    let (master, replica, sentinel) = (free_port(), free_port(), free_port());
    let mut first = Server::start(&folder, &["--port", &master.to_string(), "--save", "", "--requirepass", "pw", "--masterauth", "pw"]);
    let _second = Server::start(
        &folder,
        &["--port", &replica.to_string(), "--save", "", "--requirepass", "pw", "--masterauth", "pw", "--replicaof", "127.0.0.1", &master.to_string()],
    );
    let config = format!(
        "port {sentinel}\nsentinel monitor mine 127.0.0.1 {master} 1\nsentinel auth-pass mine pw\nsentinel down-after-milliseconds mine 500\nsentinel failover-timeout mine 3000\n"
    );
    let config = folder.write("sentinel.conf", config);
    let _watcher = Server::start(&folder, &[&config, "--sentinel"]);
    let by_sentinel = SentinelSettings { name: "mine".into(), nodes: vec![node(1), node(sentinel)], username: None, password: None };
    let settings = RedisSettings { sentinel: Some(by_sentinel), password: Some(Secret::new("pw")), command_timeout_ms: 1_000, ..RedisSettings::default() };
    let store = RedisCoordination::connect(&settings, PATIENCE).await.unwrap();
    works(&store).await;
    // The sentinel has to know the replica, and the replica the data, before the master dies.
    until_ok("the replica", || async {
        let answer = |arguments: &[&str]| String::from_utf8_lossy(&Command::new("redis-cli").args(arguments).output().unwrap().stdout).into_owned();
        let listed = answer(&["-p", &sentinel.to_string(), "sentinel", "replicas", "mine"]);
        let copied = answer(&["-p", &replica.to_string(), "-a", "pw", "get", "k49"]);
        (listed.contains(&replica.to_string()) && copied.contains('v')).then_some(())
    })
    .await;
    first.end();
    let error = store.get("k0").await.unwrap_err();
    assert!(error.retryable(), "{error}");
    until_ok("the new master", || async { store.set_if_not_exist("after", "v", 60).await.ok() }).await;
    assert_eq!(store.get("k0").await.unwrap().as_deref(), Some("v"), "the replica had it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_is_an_error_that_passes_and_the_store_recovers() {
    let Some(_) = address("REDIS_URL") else { return };
    let (folder, port) = (Folder::new(), free_port());
    let arguments = ["--port", &port.to_string(), "--save", ""];
    let mut server = Server::start(&folder, &arguments);
    let settings = RedisSettings { host: Some("127.0.0.1".into()), port: Some(port), command_timeout_ms: 1_000, ..RedisSettings::default() };
    let store = RedisCoordination::connect(&settings, PATIENCE).await.unwrap();
    works(&store).await;
    server.end();
    for _ in 0..5 {
        let began = std::time::Instant::now();
        assert!(store.increment("n", 60).await.unwrap_err().retryable());
        assert!(began.elapsed() < Duration::from_millis(1_500));
    }
    let _server = Server::start(&folder, &arguments);
    assert_eq!(until_ok("the server", || async { store.increment("n", 60).await.ok() }).await, 1);
}

struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

fn name(common: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", common).unwrap();
    name.build()
}

fn unsigned(common: &str, issuer: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(rand_serial()).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name(common)).unwrap();
    builder.set_issuer_name(&name(issuer)).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

fn rand_serial() -> u32 {
    let mut bytes = [0; 4];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    u32::from_be_bytes(bytes) >> 1
}

fn authority(common: &str) -> Identity {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut builder = unsigned(common, common, &key);
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Identity { certificate: builder.build(), key }
}

fn signed(common: &str, issuer: &str, by: &Identity) -> Identity {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut builder = unsigned(common, issuer, &key);
    let names = SubjectAlternativeName::new().dns("localhost").build(&builder.x509v3_context(Some(&by.certificate), None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&by.key, MessageDigest::sha256()).unwrap();
    Identity { certificate: builder.build(), key }
}

fn pem(certificate: &X509) -> String {
    String::from_utf8(certificate.to_pem().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_verifies_the_server_and_shows_the_client_certificate() {
    let Some(_) = address("REDIS_URL") else { return };
    let (folder, port) = (Folder::new(), free_port());
    let (ours, other) = (authority("ours"), authority("other"));
    let (server, client) = (signed("localhost", "ours", &ours), signed("me", "ours", &ours));
    let ca = folder.write("ca.pem", pem(&ours.certificate));
    let certificate = folder.write("server.pem", pem(&server.certificate));
    let key = folder.write("server.key", server.key.private_key_to_pem_pkcs8().unwrap());
    let _server = Server::start(
        &folder,
        &[
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "yes",
            "--save",
            "",
        ],
    );
    let encrypted = client.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap();
    // Two authorities: a bundle is read to its end.
    let good = TlsSettings {
        ca: Some(format!("{}{}", pem(&other.certificate), pem(&ours.certificate))),
        cert: Some(pem(&client.certificate)),
        key: Some(Secret::new(String::from_utf8(encrypted).unwrap())),
        passphrase: Some(Secret::new("open sesame")),
        ..TlsSettings::default()
    };
    let with = |host: &str, tls: TlsSettings| RedisSettings { host: Some(host.into()), port: Some(port), tls: Some(tls), ..RedisSettings::default() };
    works(&RedisCoordination::connect(&with("localhost", good.clone()), PATIENCE).await.unwrap()).await;
    let short = Duration::from_millis(1_500);
    for (what, settings) in [
        ("an unknown authority", with("localhost", TlsSettings { ca: Some(pem(&other.certificate)), ..good.clone() })),
        ("another name", with("127.0.0.1", good.clone())),
        ("no client certificate", with("localhost", TlsSettings { cert: None, key: None, passphrase: None, ..good.clone() })),
        ("a wrong passphrase", with("localhost", TlsSettings { passphrase: Some(Secret::new("x")), ..good.clone() })),
    ] {
        let refused = RedisCoordination::connect(&settings, short).await;
        assert!(refused.is_err(), "{what} was accepted");
        let text = refused.err().unwrap().to_string();
        assert!(!text.contains("sesame") && !text.contains("BEGIN "), "{what}: {text}");
    }
}
