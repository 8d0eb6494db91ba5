//! Connections to an engine: over a socket, TCP, TLS or the user's own `ssh`, one for each request as the engine's own
//! client makes them, so that giving up a request ends what it asked for. Where the engine is, is found out elsewhere.

mod bounded;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bollard::{BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use self::bounded::{Bounded, ByteBudget};
use crate::tls::Tls;

/// Time that a request may take. Uploads and steps take long, and whoever asks has a deadline of its own.
const REQUEST_SECONDS: u64 = 24 * 60 * 60;

/// Bytes of what `ssh` says that are kept for an error.
const SAID: u64 = 4096;

/// Time in which `ssh` has to say why it has ended.
const SAYING: Duration = Duration::from_secs(2);

/// A way to an engine.
pub(crate) enum Connector {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port, in the clear or with TLS. The host has no brackets.
    Tcp { host: String, port: u16, tls: Option<Tls> },
    /// A machine that has Docker's client.
    Ssh(Ssh),
}

/// An engine that Docker's client on another machine connects us to.
pub(crate) struct Ssh {
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// The engine's socket there, where it is not where that client looks for it.
    pub(crate) socket: Option<String>,
    /// The environment of `ssh`.
    pub(crate) env: BTreeMap<String, String>,
}

/// HTTP client of one engine.
pub(crate) struct Transport {
    connector: Connector,
    /// Connections over `ssh` that wait for the next request: making one takes long.
    idle: Arc<Mutex<Vec<Connection>>>,
}

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

struct Connection {
    requests: SendRequest<Body>,
    /// Budget of bytes for each answer.
    budget: ByteBudget,
    /// Words of `ssh`, once it has ended.
    said: Option<JoinHandle<String>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Transport {
    /// Connects to nothing yet.
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector, idle: Arc::default() }
    }

    /// Asks whoever answers for a sign of life: the status of the answer, its headers and the beginning of its text.
    ///
    /// # Errors
    /// There is no connection, or no answer in HTTP.
    pub(crate) async fn ping(&self) -> io::Result<(u16, HeaderMap, String)> {
        let request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        let response = self.send(request, "/_ping").await?;
        let (head, body) = response.into_parts();
        let body = http_body_util::Limited::new(body, 4096).collect().await.map(|all| all.to_bytes());
        let text = String::from_utf8_lossy(&body.unwrap_or_default()).trim().to_owned();
        Ok((head.status.as_u16(), head.headers, text))
    }

    /// The client for it, which asks for what it does in the words of that version of the API.
    ///
    /// # Errors
    /// Those of the client's own.
    pub(crate) fn client(self, version: ClientVersion) -> Result<Docker, bollard::errors::Error> {
        let transport = Arc::new(self);
        let send = move |request: BollardRequest| {
            let transport = Arc::clone(&transport);
            async move {
                let request = request.map(BodyExt::boxed_unsync);
                // The client leaves the version out, and then an engine answers as its newest API says.
                let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
                let asked = format!("/v{version}{asked}");
                transport.send(request, &asked).await.map_err(bollard::errors::Error::from)
            }
        };
        Docker::connect_with_custom_transport(send, Some("http://engine"), REQUEST_SECONDS, &version)
    }

    async fn send(&self, mut request: Request<Body>, asked: &str) -> io::Result<Response<Incoming>> {
        let asked = asked.parse::<Uri>().map_err(io::Error::other)?;
        *request.uri_mut() = asked.clone();
        let host = HeaderValue::from_str(&self.connector.host()).map_err(io::Error::other)?;
        request.headers_mut().insert(HOST, host);
        to_url_alphabet(request.headers_mut());
        loop {
            let waiting = self.idle.lock().pop();
            let (mut connection, fresh) = match waiting {
                Some(connection) => (connection, false),
                None => (self.connector.open().await?, true),
            };
            connection.budget.renew();
            match connection.requests.try_send_request(request).await {
                Ok(response) => {
                    if is_long(asked.path(), response.status()) {
                        connection.budget.lift();
                    }
                    self.keep(connection);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // It was closed while it waited.
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(connection.failed(&error.into_error()).await),
                },
            }
        }
    }

    /// Has a connection over `ssh` used again when its answer has been read.
    fn keep(&self, mut connection: Connection) {
        if connection.said.is_none() {
            return;
        }
        let idle = Arc::downgrade(&self.idle);
        tokio::spawn(async move {
            if connection.requests.ready().await.is_ok()
                && let Some(idle) = idle.upgrade()
            {
                idle.lock().push(connection);
            }
        });
    }
}

impl Connection {
    /// Error for an answer that did not come, in words.
    async fn failed(self, error: &hyper::Error) -> io::Error {
        if let Some(said) = self.said
            && let Ok(Ok(said)) = tokio::time::timeout(SAYING, said).await
            && !said.is_empty()
        {
            return io::Error::other(format!("ssh says: {said}"));
        }
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        io::Error::other(text)
    }
}

impl Connector {
    /// Name of the engine in requests.
    fn host(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
            _ => "engine".into(),
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        let (stream, said): (Box<dyn Stream>, _) = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                (Box::new(stream.map_err(|error| no_socket(path, &error).unwrap_or(in_words(&error)))?), None)
            }
            Self::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(|error| in_words(&error))?;
                notice_the_end(&stream)?;
                match tls {
                    Some(tls) => (Box::new(tls.secure(stream).await?), None),
                    None => (Box::new(stream), None),
                }
            }
            Self::Ssh(ssh) => {
                let (stream, said) = ssh.start()?;
                (Box::new(stream), Some(said))
            }
        };
        let budget = ByteBudget::new();
        let stream = TokioIo::new(Bounded::new(stream, budget.clone()));
        let (requests, talk) = http1::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(talk.with_upgrades());
        Ok(Connection { requests, budget, said })
    }
}

impl Ssh {
    /// Starts `ssh`, which ends when the stream is closed, since nothing then comes any more from either side.
    fn start(&self) -> io::Result<(UnixStream, JoinHandle<String>)> {
        // A socket, and not two pipes, for there each direction can be closed by itself.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let theirs = OwnedFd::from(theirs);
        let mut command = Command::new("ssh");
        command
            .args(self.arguments())
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::from(theirs.try_clone()?))
            .stdout(Stdio::from(theirs))
            .stderr(Stdio::piped())
            // What a person types to stop the build is not for it: containers are still to be ended over it.
            .process_group(0);
        let child = command.spawn();
        let child = child
            .map_err(|error| io::Error::new(error.kind(), format!("`ssh` cannot be started: {error}")))?;
        // The command, and our copies of the other end with it, go here: as long as we had one, its end could not be
        // seen.
        Ok((ours, tokio::spawn(listen(child))))
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        // Nobody is asked for a password for each connection, and a machine that is gone is noticed.
        for option in
            ["BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4"]
        {
            arguments.extend(["-o".into(), option.into()]);
        }
        arguments.push("-T".into());
        if let Some(user) = &self.user {
            arguments.extend(["-l".into(), user.clone()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".into(), port.to_string()]);
        }
        arguments.extend(["--".into(), self.host.clone(), "docker".into()]);
        if let Some(socket) = &self.socket {
            // A shell reads it there.
            let socket = socket.replace('\'', r"'\''");
            arguments.extend(["--host".into(), format!("'unix://{socket}'")]);
        }
        arguments.extend(["system".into(), "dial-stdio".into()]);
        arguments
    }
}

/// Reads what `ssh` has to say until it ends.
async fn listen(mut child: Child) -> String {
    let mut said = Vec::new();
    if let Some(errors) = child.stderr.take() {
        let mut errors = errors.take(SAID);
        let _ = errors.read_to_end(&mut said).await;
        let _ = tokio::io::copy(&mut errors.into_inner(), &mut tokio::io::sink()).await;
    }
    let ended = child.wait().await;
    let said = String::from_utf8_lossy(&said).trim().replace(['\r', '\n'], " ");
    match ended {
        // Otherwise it was `docker` over there that has ended, and a shell says so with these.
        Ok(status) if said.is_empty() && !status.success() => format!("{status}"),
        _ => said,
    }
}

/// A machine that has gone says nothing; after about a minute the kernel then ends the connection.
fn notice_the_end(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}

/// True if an answer is read piece by piece, whatever it says of itself, and not collected whole.
fn is_long(path: &str, status: StatusCode) -> bool {
    let is_stream = ["/archive", "/export", "/images/create"].iter().any(|end| path.ends_with(end));
    status == StatusCode::SWITCHING_PROTOCOLS || status.is_success() && is_stream
}

/// That there is something else where a socket should be.
fn no_socket(path: &Path, error: &io::Error) -> Option<io::Error> {
    let is_socket = path.metadata().ok()?.file_type().is_socket();
    (!is_socket).then(|| io::Error::new(error.kind(), "it is no socket"))
}

/// Error for a connection that did not come about, in words.
fn in_words(error: &io::Error) -> io::Error {
    let words = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file; the engine does not run, or is elsewhere".into(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; who may use it is usually said by the group of the socket (`docker`)".into()
        }
        io::ErrorKind::ConnectionRefused => "connection refused; nothing listens there".into(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), words)
}

/// The client writes credentials in the usual alphabet of base64, but engines read the one for URLs, and what they
/// cannot read they take for none.
fn to_url_alphabet(headers: &mut HeaderMap) {
    let Some(value) = headers.get_mut("x-registry-auth") else { return };
    let text: Vec<u8> = value
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    if let Ok(mut text) = HeaderValue::from_bytes(&text) {
        text.set_sensitive(true);
        *value = text;
    }
}

#[cfg(test)]
mod tests;
