//! TLS to an engine: whom we trust and who we are, from the three files that Docker's own client reads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use hm_disk::read_regular;

/// The largest file of certificates.
const MAX_FILE: usize = 1024 * 1024;

/// Paths of the files for TLS. Those of one's own are both there or none is.
#[derive(Default)]
pub(crate) struct TlsFiles {
    /// Authority that vouches for the engine; without one, those that the system trusts.
    ca: Option<PathBuf>,
    /// Our own certificate, and its key.
    own: Option<(PathBuf, PathBuf)>,
}

/// A file that TLS cannot be done with.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct TlsError {
    path: PathBuf,
    reason: String,
}

/// Proofs of who the engine is, and who we are.
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsFiles {
    /// Files that a folder has of `ca.pem`, `cert.pem` and `key.pem`.
    pub(crate) fn of(folder: &Path) -> Self {
        // What cannot be looked at is an error when it is read.
        let there = |name: &str| {
            let path = folder.join(name);
            path.try_exists().unwrap_or(true).then_some(path)
        };
        let own = match (there("cert.pem"), there("key.pem")) {
            (None, None) => None,
            _ => Some((folder.join("cert.pem"), folder.join("key.pem"))),
        };
        Self { ca: there("ca.pem"), own }
    }

    /// Files of a folder, of which `ca.pem` has to vouch for the engine.
    pub(crate) fn with_ca(folder: &Path) -> Self {
        Self { ca: Some(folder.join("ca.pem")), ..Self::of(folder) }
    }

    /// True if there is none of them.
    pub(crate) fn is_empty(&self) -> bool {
        self.ca.is_none() && self.own.is_none()
    }

    /// Reads them, for an engine of this name or address.
    ///
    /// # Errors
    /// The file that is missing or malformed, or the host's name where that is.
    pub(crate) fn load(&self, host: &str) -> Result<Tls, TlsError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| failed(path, &error))?;
                }
            }
            // What cannot be used is left out, as everywhere: systems have certificates from before the rules.
            None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        }
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(Path::new(host), &error))?
            .with_root_certificates(roots);
        let config = match &self.own {
            Some((certificate, key)) => {
                let bytes = read(key)?;
                let secret = PrivateKeyDer::from_pem_slice(&bytes)
                    .map_err(|_| failed(key, &"there is no key in PEM in it"))?;
                let chain = certificates(certificate)?;
                config.with_client_auth_cert(chain, secret).map_err(|error| failed(key, &error))?
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| failed(Path::new(host), &"it is no name of a machine"))?;
        Ok(Tls { config: Arc::new(config), name })
    }
}

impl Tls {
    /// Makes a connection one that only this engine can read.
    ///
    /// # Errors
    /// Whoever answers does not speak TLS, or is not vouched for.
    pub(crate) async fn secure(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let secured = connector.connect(self.name.clone(), stream).await;
        secured.map_err(|error| {
            let plain = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            match plain {
                Some(rustls::Error::InvalidMessage(_)) => {
                    io::Error::other("whoever answers does not speak TLS")
                }
                _ => io::Error::new(error.kind(), format!("no connection with TLS: {error}")),
            }
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(failed(path, &"there are no certificates in PEM in it")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_regular(path, MAX_FILE).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError { path: path.to_owned(), reason: reason.to_string() }
}
