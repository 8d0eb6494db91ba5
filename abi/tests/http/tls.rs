//! HTTPS: with a server that a trusted authority vouches for under the name that was asked for, and with no other.

use std::sync::Arc;

use hm_abi::{AllowedHosts, AllowedHostsClient, InstanceLimits, TlsError, TlsRoots};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::plugin::Plugin;
use crate::server::{Server, ok, read_request, redirect};

/// An authority that only this test has heard of.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> TlsRoots {
        TlsRoots::only([self.0.der().to_vec()]).unwrap()
    }

    /// A server that this authority vouches for under `name`, until the end of `year`.
    async fn server(
        &self,
        name: &str,
        year: i32,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let answer = Arc::new(answer);
        Server::start("127.0.0.1:0", move |stream, log| {
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let name = stream.get_ref().1.server_name().unwrap_or("no name").to_owned();
                let request = read_request(&mut stream).await;
                log.lock().unwrap().push(format!("{name}: {request}"));
                let _ = stream.write_all(&answer(&request)).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }
}

fn plugin(hosts: &[&str], roots: TlsRoots) -> Plugin {
    let client = AllowedHostsClient::new(AllowedHosts::parse(hosts).unwrap(), roots);
    Plugin::with(client, InstanceLimits::standard())
}

/// [http.tls] The certificate has to be for the name of the host.
#[tokio::test]
async fn a_server_that_is_vouched_for() {
    let authority = Authority::new("trusted");
    let server = authority.server("localhost", 2999, |_| ok("", "secure")).await;
    let port = server.port();
    let mut plugin = plugin(&["localhost"], authority.roots());
    for host in ["localhost", "LOCALHOST", "localhost."] {
        assert_eq!(plugin.get(&format!("https://{host}:{port}/a?b")).await, "output secure", "{host}");
        let request = server.requests().pop().unwrap();
        assert!(request.starts_with("localhost: GET /a?b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn an_address_that_is_vouched_for() {
    let authority = Authority::new("trusted");
    let server = authority.server("127.0.0.1", 2999, |_| ok("", "secure")).await;
    let mut plugin = plugin(&["127.0.0.1"], authority.roots());
    assert_eq!(plugin.get(&format!("https://127.0.0.1:{}/", server.port())).await, "output secure");
    assert!(server.requests()[0].starts_with("no name: "), "addresses are not sent as names");
}

/// [http.tls] Strangers, impostors, other names and old certificates.
#[tokio::test]
async fn servers_that_are_not() {
    let authority = Authority::new("trusted");
    let (stranger, impostor) = (Authority::new("stranger"), Authority::new("trusted"));
    let fine = |_: &str| ok("", "never");
    for (what, server) in [
        ("UnknownIssuer", stranger.server("localhost", 2999, fine).await),
        ("BadSignature", impostor.server("localhost", 2999, fine).await),
        ("not valid for name", authority.server("other.test", 2999, fine).await),
        ("not valid for name", authority.server("127.0.0.1", 2999, fine).await),
        ("expired", authority.server("localhost", 2020, fine).await),
    ] {
        let port = server.port();
        let mut plugin = plugin(&["localhost"], authority.roots());
        let found = plugin.get(&format!("https://localhost:{port}/")).await;
        let expected = format!("failed: no TLS connection to https://localhost:{port}: ");
        assert!(found.starts_with(&expected) && found.contains(what), "{what}: {found}");
        assert!(server.requests().is_empty());
    }
    // One that does not even speak it.
    let server = Server::start("127.0.0.1:0", |mut stream, _| async move {
        let _ = stream.write_all(&ok("", "never")).await;
    })
    .await;
    let mut plugin = plugin(&["localhost"], authority.roots());
    let found = plugin.get(&format!("https://localhost:{}/", server.port())).await;
    assert!(found.starts_with("failed: no TLS connection to https://localhost:"), "{found}");
}

/// [http.tls] Not even after a redirect.
#[tokio::test]
async fn plain_http_is_not_used_where_it_is_not_granted() {
    let canary = Server::canary().await;
    let authority = Authority::new("trusted");
    let away = format!("http://127.0.0.1:{}/", canary.port());
    let server = authority.server("localhost", 2999, move |_| redirect("302 Found", &away)).await;
    let url = format!("https://localhost:{}/", server.port());

    let mut strict = plugin(&["localhost"], authority.roots());
    assert_eq!(strict.get(&url).await, format!("denied http_request to http://127.0.0.1:{}", canary.port()));
    assert_eq!(canary.connections(), 0);

    let mut granted = plugin(&["localhost", "127.0.0.1"], authority.roots());
    assert_eq!(granted.get(&url).await, "output the canary");
}

#[test]
fn roots_have_to_be_certificates() {
    let good = Authority::new("trusted").0.der().to_vec();
    let result = TlsRoots::only([good, b"no certificate".to_vec()]);
    assert!(matches!(result, Err(TlsError::Certificate { number: 2, .. })));
}

#[test]
fn the_roots_of_this_system() {
    match TlsRoots::system() {
        Ok(_) => {}
        Err(TlsError::NoSystemRoots { .. }) if std::env::var_os("CI").is_none() => {
            println!("SKIPPED: this system has no certificate authorities");
        }
        Err(error) => panic!("{error}"),
    }
}
