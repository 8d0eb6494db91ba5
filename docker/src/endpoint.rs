//! Search for the engine: where the environment says, else Docker's own settings, else the usual places. An engine
//! counts as found when it has answered.

use std::path::PathBuf;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use url::{Host, Url};

use crate::context::{self, ContextError};
use crate::engine_env::EngineEnv;
use crate::tls::{TlsError, TlsFiles};
use crate::transport::{Connector, Ssh, Transport};

/// Time in which an engine has to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Time in which one has to answer through `ssh`.
const ANSWER_BY_SSH: Duration = Duration::from_secs(30);

/// The oldest API that will do, of Docker 20.10.
const OLDEST: (usize, usize) = (1, 41);

/// Place of an engine, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address, without a password.
    pub url: String,
    /// Setting that says so.
    pub from: String,
}

/// Failure to find an engine. Each variant says what was tried.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The chosen context leads nowhere.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// An address that is none.
    #[error("{} says that the engine is at `{}`: {reason}", .at.from, .at.url)]
    Address {
        /// The address, and who says so.
        at: Endpoint,
        /// Reason why it will not do.
        reason: String,
    },
    /// A file for TLS.
    #[error("{wanted_by} wants TLS with the engine at {url}: {reason}")]
    Tls {
        /// Address of the engine.
        url: String,
        /// Setting that says so.
        wanted_by: String,
        /// File, and what is wrong with it.
        reason: TlsError,
    },
    /// Nobody answers there, or not as an engine would.
    #[error("no engine answers at {} ({}): {reason}", .at.url, .at.from)]
    Silent {
        /// Place that was tried.
        at: Endpoint,
        /// Answer that came instead.
        reason: String,
    },
    /// Nothing says where it is, and it is in none of the usual places.
    #[error("no engine found in any of the usual places: {}", .0.join("; "))]
    Nowhere(
        /// Each place, with what was there.
        Vec<String>,
    ),
}

/// Finds the engine: its address, and a client that speaks its version of the API.
///
/// # Errors
/// There is none, or it does not answer within 10 seconds (30 with `ssh`).
pub(crate) async fn connect(env: &EngineEnv) -> Result<(Endpoint, Docker), EndpointError> {
    if let Some(host) = env.variable("DOCKER_HOST") {
        let from = "DOCKER_HOST".to_owned();
        let verify = "DOCKER_TLS_VERIFY";
        let tls = env.variable(verify).is_some();
        let folder = env.variable("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| env.settings());
        let files = folder.map(|folder| if tls { TlsFiles::with_ca(&folder) } else { TlsFiles::of(&folder) });
        return connect_named(host, from, tls.then_some(verify), &files.unwrap_or_default(), env).await;
    }
    if let Some(context) = context::chosen(env)? {
        let from = format!("the Docker context `{}`", context.name);
        let secure = (!context.tls.is_empty()).then_some(from.as_str());
        return connect_named(&context.host, from.clone(), secure, &context.tls, env).await;
    }
    search(&env.usual_places()).await
}

/// An engine that somebody has named, and no other. `secure` says who wants TCP to be TLS, beside the address itself.
async fn connect_named(
    host: &str,
    from: String,
    secure: Option<&str>,
    files: &TlsFiles,
    env: &EngineEnv,
) -> Result<(Endpoint, Docker), EndpointError> {
    let at = Endpoint { url: without_password(host), from };
    let address = match Address::parse(host, secure.is_some()) {
        Ok(address) => address,
        Err(reason) => return Err(EndpointError::Address { at, reason }),
    };
    let connector = match address {
        Address::Unix(path) => Connector::Unix(path),
        Address::Tcp { host, port, secure: false } => Connector::Tcp { host, port, tls: None },
        Address::Tcp { host, port, secure: true } => match files.load(&host) {
            Ok(tls) => Connector::Tcp { host, port, tls: Some(tls) },
            Err(reason) => {
                let wanted_by = secure.unwrap_or(&at.from).to_owned();
                return Err(EndpointError::Tls { url: at.url, wanted_by, reason });
            }
        },
        Address::Ssh { user, host, port, socket } => {
            Connector::Ssh(Ssh { user, host, port, socket, env: env.env.clone() })
        }
    };
    let limit = if matches!(connector, Connector::Ssh(_)) { ANSWER_BY_SSH } else { ANSWER };
    match answer(connector, limit).await {
        Ok(docker) => Ok((at, docker)),
        Err(reason) => Err(EndpointError::Silent { at, reason }),
    }
}

/// The first engine that answers in one of these places.
async fn search(places: &[PathBuf]) -> Result<(Endpoint, Docker), EndpointError> {
    let mut tried = Vec::new();
    for place in places {
        let url = format!("unix://{}", place.display());
        if matches!(place.try_exists(), Ok(false)) {
            tried.push(format!("{url} is not there"));
            continue;
        }
        match answer(Connector::Unix(place.clone()), ANSWER).await {
            Ok(docker) => return Ok((Endpoint { url, from: "a usual place".into() }, docker)),
            Err(reason) => tried.push(format!("{url}: {reason}")),
        }
    }
    Err(EndpointError::Nowhere(tried))
}

/// A client for whoever answers there as an engine does.
async fn answer(connector: Connector, limit: Duration) -> Result<Docker, String> {
    let transport = Transport::new(connector);
    let Ok(answered) = tokio::time::timeout(limit, transport.ping()).await else {
        return Err(format!("no answer within {} s", limit.as_secs()));
    };
    let (status, headers, text) = answered.map_err(|error| error.to_string())?;
    if status != 200 {
        let text: String = text.chars().filter(|char| !char.is_control()).take(200).collect();
        let hint = if text.contains("HTTP request to an HTTPS server") {
            "; set DOCKER_TLS_VERIFY=1 for TLS"
        } else {
            ""
        };
        return Err(format!("the answer is {status}: {text}{hint}"));
    }
    let version = headers.get("api-version").and_then(|version| version.to_str().ok()).and_then(version);
    let Some((major, minor)) = version else {
        return Err(
            "whoever answers is no engine: the answer says nothing about the version of its API".into()
        );
    };
    if (major, minor) < OLDEST {
        return Err(format!(
            "its API has the version {major}.{minor}; {}.{} is needed, which Docker has since 20.10",
            OLDEST.0, OLDEST.1
        ));
    }
    let newest = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
    let (major_version, minor_version) = newest.min((major, minor));
    transport.client(ClientVersion { major_version, minor_version }).map_err(|error| error.to_string())
}

fn version(text: &str) -> Option<(usize, usize)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Kind of connection that an address asks for.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Unix(PathBuf),
    Tcp { host: String, port: u16, secure: bool },
    Ssh { user: Option<String>, host: String, port: Option<u16>, socket: Option<String> },
}

impl Address {
    /// Reads what `DOCKER_HOST` may say; `secure` if TCP is to be TLS. What is wrong is said in words.
    fn parse(text: &str, secure: bool) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(parts) => parts,
            None => match text.strip_prefix("unix:").unwrap_or(text) {
                path if path.starts_with('/') => return Err(format!("a socket is written unix://{path}")),
                // As Docker's client takes it.
                _ => ("tcp", text),
            },
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix("/var/run/docker.sock".into())),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" | "http" | "https" => Self::tcp(scheme, rest, secure || scheme == "https"),
            "ssh" => Self::ssh(rest),
            "npipe" => Err("pipes are of Windows, and there are none here".into()),
            "fd" => Err("`fd://` is for the engine itself, and no address for others".into()),
            _ => Err("it begins with none of unix://, tcp://, http://, https:// and ssh://".into()),
        }
    }

    fn tcp(scheme: &str, rest: &str, secure: bool) -> Result<Self, String> {
        let rest = if rest.is_empty() || rest.starts_with(':') {
            format!("localhost{rest}")
        } else {
            rest.to_owned()
        };
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| error.to_string())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an engine takes no user and no password over TCP".into());
        }
        if !["", "/"].contains(&url.path()) || url.query().is_some() || url.fragment().is_some() {
            return Err("there is something behind the host and the port".into());
        }
        let port = match (scheme, secure) {
            (_, _) if url.port_or_known_default().is_some() => url.port_or_known_default(),
            (_, true) => Some(2376),
            (_, false) => Some(2375),
        };
        let (Some(host), Some(port)) = (url.host(), port) else { return Err("it names no host".into()) };
        Ok(Self::Tcp { host: bare(&host), port, secure })
    }

    fn ssh(rest: &str) -> Result<Self, String> {
        let url = Url::parse(&format!("ssh://{rest}")).map_err(|error| error.to_string())?;
        if url.password().is_some() {
            return Err("a password in the open is not used; give `ssh` a key".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("there is something behind the path".into());
        }
        let Some(host) = url.host() else { return Err("it names no host".into()) };
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned);
        let socket = Some(url.path()).filter(|path| !["", "/"].contains(path)).map(str::to_owned);
        Ok(Self::Ssh { user, host: bare(&host), port: url.port(), socket })
    }
}

/// A host as programs take it: an address of IPv6 without its brackets.
fn bare(host: &Host<&str>) -> String {
    match host {
        Host::Ipv6(address) => address.to_string(),
        other => other.to_string(),
    }
}

/// An address as it may be shown, also if it is malformed.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned();
    };
    match rest.rsplit_once('@') {
        Some((who, host)) => match who.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:…@{host}"),
            None => format!("{scheme}://{who}@{host}"),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
