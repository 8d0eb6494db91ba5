//! TLS for HTTPS: which certificate authorities are trusted, and a connection that only a server they vouch for can
//! have. There is no way to leave the verification out.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Host;

/// The certificate authorities that vouch for servers. Clones are cheap.
#[derive(Clone)]
pub struct TlsRoots {
    config: Arc<ClientConfig>,
}

/// Failure to find authorities to trust.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system has none, or none that can be read.
    #[error("no certificate authorities found on this system{}", first(.problems))]
    NoSystemRoots {
        /// Errors that were met on the way.
        problems: Vec<String>,
    },
    /// A given certificate is none.
    #[error("certificate {number} cannot be read: {message}")]
    Certificate {
        /// Its number in the list, from 1.
        number: usize,
        /// Message of the certificate parser.
        message: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {message}")]
    Setup {
        /// Message of the TLS library.
        message: String,
    },
}

impl TlsRoots {
    /// Those that the operating system trusts. Reads files: call it once, where blocking is allowed.
    ///
    /// The variables `SSL_CERT_FILE` and `SSL_CERT_DIR` can name another place of them, as for other programs.
    ///
    /// # Errors
    /// [`TlsError::NoSystemRoots`] if there are none.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // What cannot be used is left out, as everywhere: systems have certificates from before the rules.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let problems = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoSystemRoots { problems });
        }
        Self::new(roots)
    }

    /// These, and no others: certificates in DER.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] if one of them is malformed.
    pub fn only(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.into_iter().enumerate() {
            roots
                .add(CertificateDer::from(certificate))
                .map_err(|error| TlsError::Certificate { number: index + 1, message: error.to_string() })?;
        }
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup { message: error.to_string() })?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions that are resumed would tell servers which plug-ins run on one machine.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config) })
    }

    /// Turns a connection into one with `host`, if that is who is at its other end.
    pub(super) async fn connect(
        &self,
        host: Host<&str>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
            Host::Ipv4(address) => ServerName::IpAddress(std::net::IpAddr::from(address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(std::net::IpAddr::from(address).into()),
        };
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

fn first(problems: &[String]) -> String {
    problems.first().map(|problem| format!(": {problem}")).unwrap_or_default()
}
