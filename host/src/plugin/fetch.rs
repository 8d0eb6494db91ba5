//! Gets the bytes of a plugin that is to be installed: from a file, or over HTTPS. What they are is not looked at here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hm_abi::{
    AllowedHosts, AllowedHostsClient, HostError, HttpClient, HttpLimits, HttpRequest, ModuleLimits, TlsError,
    TlsRoots,
};
use url::{Host, Url};

use hm_disk::read_regular;

/// Time that a download may take.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// Most bytes of the headers of a response.
const HEADER_BYTES: usize = 64 * 1024;

/// Place of a plugin's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    File(PathBuf),
    Url(Url),
}

/// Error of bytes that are not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The URL is one that nothing is fetched from.
    #[error("{url:?} cannot be installed from: {reason}")]
    Url {
        /// URL as it was typed, without its secrets.
        url: String,
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read the plugin {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The system trusts no authority.
    #[error("HTTPS is not to be had")]
    Tls(#[source] TlsError),
    /// There was no response.
    #[error("cannot download {url}")]
    Network { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// It redirects to where no plugin is fetched from.
    #[error(
        "cannot download {url}: {capability} is denied, for it is neither the host that was asked for nor public HTTPS"
    )]
    Denied { url: String, capability: String },
    /// There is too much of it.
    #[error("cannot download {url}: {which}: more than {allowed}")]
    TooLarge {
        url: String,
        /// Name of the limit.
        which: &'static str,
        /// Amount that there may be.
        allowed: u64,
    },
    /// It took too long.
    #[error("cannot download {url}: it took longer than {} s", DOWNLOAD.as_secs())]
    TooSlow { url: String },
    /// The server has something else to say.
    #[error("cannot download {url}: the server answers {status}")]
    Status { url: String, status: u16 },
}

impl Location {
    /// Reads what was typed: a URL, if it looks like one, else a file.
    ///
    /// # Errors
    /// [`FetchError::Url`]
    pub(crate) fn parse(typed: &str) -> Result<Self, FetchError> {
        if !typed.contains("://") {
            return Ok(Self::File(typed.into()));
        }
        let refused = |reason: &str| FetchError::Url { url: without_query(typed), reason: reason.into() };
        let url = Url::parse(typed).map_err(|error| refused(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            let url = format!("{}://…", url.scheme());
            return Err(FetchError::Url { url, reason: "it holds a user name or a password".into() });
        }
        match url.scheme() {
            "https" => Ok(Self::Url(url)),
            "http" if is_loopback(&url) => Ok(Self::Url(url)),
            "http" => Err(refused("plain HTTP is for this machine alone; it has to be https")),
            _ => Err(refused("it is neither a file nor of https")),
        }
    }

    /// The place for the lock file: what is secret in a URL stands in its query.
    #[must_use]
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => without_query(url.as_str()),
        }
    }

    /// Reads the bytes, once, and no more of them than a plugin may have.
    ///
    /// # Errors
    /// [`FetchError`]
    pub(crate) async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let max = ModuleLimits::standard().max_bytes;
        match self {
            Self::File(path) => {
                read_regular(path, max).map_err(|source| FetchError::File { path: path.clone(), source })
            }
            Self::Url(url) => download(url, max).await,
        }
    }
}

/// Gets a URL. The host that was typed may be one of this network, if it is an address; where it redirects to may not.
async fn download(url: &Url, max: usize) -> Result<Vec<u8>, FetchError> {
    let refused = |reason: String| FetchError::Url { url: without_query(url.as_str()), reason };
    let host = url.host_str().unwrap_or_default();
    let hosts = AllowedHosts::parse([host, "*"]).map_err(|error| refused(error.to_string()))?;
    let roots = match url.scheme() {
        "https" => tokio::task::spawn_blocking(TlsRoots::system).await.unwrap_or_else(|_| TlsRoots::only([])),
        _ => TlsRoots::only([]),
    };
    let client: Arc<dyn HttpClient> =
        Arc::new(AllowedHostsClient::new(hosts, roots.map_err(FetchError::Tls)?));
    let json = serde_json::json!({ "url": url.as_str() }).to_string();
    let request =
        HttpRequest::parse(json.as_bytes(), Vec::new()).map_err(|error| refused(error.to_string()))?;
    let limits = HttpLimits { body_bytes: max, header_bytes: HEADER_BYTES };
    let shown = || without_query(url.as_str());
    let response = tokio::time::timeout(DOWNLOAD, client.send(request, &limits)).await;
    let response = response.map_err(|_| FetchError::TooSlow { url: shown() })?;
    let response = response.map_err(|error| match error {
        HostError::Denied { capability } => FetchError::Denied { url: shown(), capability },
        HostError::Limit { which, allowed, .. } => FetchError::TooLarge { url: shown(), which, allowed },
        HostError::InvalidArgument(reason) => FetchError::Network { url: shown(), source: reason.into() },
        HostError::Failed(source) => FetchError::Network { url: shown(), source },
    })?;
    match response.status {
        200 => Ok(response.body),
        status => Err(FetchError::Status { url: shown(), status }),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine() {
        let parse = |typed: &str| match Location::parse(typed) {
            Ok(Location::File(_)) => "file".to_owned(),
            Ok(location) => location.shown(),
            Err(error) => error.to_string(),
        };
        for (typed, expected) in [
            ("greet.wasm", "file"),
            ("./a:b/greet.wasm", "file"),
            ("https://example.com/x.wasm?token=abc#d", "https://example.com/x.wasm"),
            ("http://127.0.0.1:8080/x.wasm", "http://127.0.0.1:8080/x.wasm"),
            ("http://localhost/x.wasm", "http://localhost/x.wasm"),
            ("http://[::1]:1/x.wasm", "http://[::1]:1/x.wasm"),
        ] {
            assert_eq!(parse(typed), expected);
        }
        for (typed, expected) in [
            ("http://example.com/x.wasm", "it has to be https"),
            ("http://localhost.example.com/x.wasm", "it has to be https"),
            ("http://0x7f000001.example/x.wasm", "it has to be https"),
            ("http://10.0.0.1/x.wasm", "it has to be https"),
            ("file:///etc/passwd", "it is neither a file nor of https"),
            ("ftp://example.com/x.wasm", "it is neither a file nor of https"),
            ("https://user:hunter2@example.com/x.wasm", "it holds a user name or a password"),
            ("https://", "empty host"),
        ] {
            let error = parse(typed);
            assert!(error.contains(expected) && !error.contains("hunter2"), "{typed}: {error}");
        }
    }
}
