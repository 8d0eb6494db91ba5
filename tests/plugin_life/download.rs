//! Plugins from the web: a real HTTPS server of the test, whose authority only the test knows, and what must not be
//! fetched.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::made::{greet, wasm};
use crate::support::{Project, Ran, ran};

/// A server, and how often somebody connected. Its thread ends with the test program.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// Answer of a server to the path of a request.
type Answer = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

impl Server {
    fn start(tls: Option<Arc<ServerConfig>>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                // Whoever leaves early, or does not like our certificate, is answered no more.
                let _ = match &tls {
                    None => exchange(stream, &answer),
                    Some(config) => ServerConnection::new(config.clone())
                        .map_err(std::io::Error::other)
                        .and_then(|connection| exchange(StreamOwned::new(connection, stream), &answer)),
                };
            }
        });
        Self { address, connections }
    }

    fn url(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{host}:{}{path}", self.address.port())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn exchange(mut stream: impl Read + Write, answer: &Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
        request.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    stream.write_all(&answer(path))?;
    stream.flush()
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// TLS for `localhost`, and the authority that vouches for it, as PEM.
fn authority() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "trusted by the test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a server");
    (Arc::new(config), pem(authority.der()))
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn install(project: &Project, url: &str, authority: Option<&str>) -> Ran {
    let mut command = project.hm(&["plugin", "install", url, "--yes"]);
    if let Some(pem) = authority {
        command.env("SSL_CERT_FILE", project.file("authority.pem", pem.as_bytes()));
    }
    ran(command.output().expect("hm starts"))
}

#[test]
fn a_plugin_comes_over_https_and_its_origin_is_kept_without_the_query() {
    let (tls, pem) = authority();
    let bytes = wasm(json!({}));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (body, log) = (bytes.clone(), asked.clone());
    let server = Server::start(
        Some(tls),
        Arc::new(move |path: &str| {
            log.lock().expect("a list").push(path.to_owned());
            match path {
                "/moved" => response("302 Found", "location: /greet.wasm\r\n", b""),
                _ => response("200 OK", "", &body),
            }
        }),
    );
    let project = greet::project();
    for path in ["/greet.wasm?token=hunter2", "/moved"] {
        let url = server.url("https", "localhost", path);
        let installed = install(&project, &url, Some(&pem)).expect_code(0);
        assert!(!installed.stdout.contains("hunter2"), "{}", installed.stdout);
        assert_eq!(project.installed("greet").as_ref(), Some(&bytes));
        assert!(!project.lock().contains("hunter2"), "{}", project.lock());
        let origin = format!("origin = \"{}\"", url.split('?').next().expect("a URL"));
        assert!(project.lock().contains(&origin), "{}", project.lock());
        project.run(&["plugin", "remove", "greet"]).expect_code(0);
    }
    assert_eq!(*asked.lock().expect("a list"), ["/greet.wasm?token=hunter2", "/moved", "/greet.wasm"]);
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_believed() {
    let (tls, _) = authority();
    let (_, other) = authority();
    let bytes = wasm(json!({}));
    let server = Server::start(Some(tls), Arc::new(move |_: &str| response("200 OK", "", &bytes)));
    let project = greet::project();
    let refused =
        install(&project, &server.url("https", "localhost", "/x.wasm"), Some(&other)).expect_code(4);
    assert!(refused.stderr.contains("no TLS connection to https://localhost"), "{}", refused.stderr);
    assert_eq!(project.lock(), "");
}

#[test]
fn where_a_server_sends_us_is_checked() {
    let canary = Server::start(None, Arc::new(|_: &str| response("200 OK", "", b"")));
    let secret = canary.url("http", "127.0.0.1", "/secret");
    let port = canary.address.port();
    let targets = [
        secret,
        format!("https://127.0.0.1:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://0x7f000001:{port}/"),
        "https://169.254.169.254/latest".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "http://example.com/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "https://user:password@localhost/".to_owned(),
    ];
    let project = greet::project();
    for target in targets {
        let location = format!("location: {target}\r\n");
        let server = Server::start(None, Arc::new(move |_: &str| response("302 Found", &location, b"")));
        let refused = install(&project, &server.url("http", "localhost", "/x.wasm"), None);
        assert!([Some(2), Some(4)].contains(&refused.code), "{target}: {}", refused.stderr);
        assert!(refused.stderr.contains("cannot download "), "{target}: {}", refused.stderr);
    }
    assert_eq!(canary.connections(), 0);
    assert_eq!(project.lock(), "");
}

#[test]
fn what_is_not_https_or_is_too_large_or_is_not_there() {
    let huge = vec![b'x'; (32 << 20) + 1];
    let server = Server::start(
        None,
        Arc::new(move |path: &str| match path {
            "/huge" => response("200 OK", "", &huge),
            _ => response("404 Not Found", "", b"no"),
        }),
    );
    let project = greet::project();
    for (url, code, expected) in [
        (server.url("http", "localhost", "/gone"), 4, "the server answers 404"),
        (server.url("http", "localhost", "/huge"), 5, "more than 33554432"),
        ("http://example.com/x.wasm".to_owned(), 2, "plain HTTP is for this machine alone"),
        ("https://a:hunter2@example.com/x.wasm".to_owned(), 2, "it holds a user name or a password"),
        ("ftp://example.com/x.wasm".to_owned(), 2, "it is neither a file nor of https"),
        ("https://name.invalid/x.wasm".to_owned(), 4, "cannot download https://name.invalid/x.wasm"),
    ] {
        let refused = install(&project, &url, None);
        // Without a single authority on the machine it does not come as far as the name.
        let no_authorities = refused.stderr.contains("HTTPS is not to be had");
        assert_eq!(refused.code, Some(code), "{url}: {}", refused.stderr);
        assert!(refused.stderr.contains(expected) || no_authorities, "{url}: {}", refused.stderr);
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let refused = install(&project, &format!("http://{closed}/x.wasm"), None).expect_code(4);
    assert!(refused.stderr.contains("cannot connect to "), "{}", refused.stderr);
    assert_eq!(project.lock(), "");
    assert!(fs::read_dir(project.config().join("plugins")).map_or(0, Iterator::count) == 0);
}
