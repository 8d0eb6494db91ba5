//! A web server for one request: where a browser is sent back to once a person has logged in somewhere. It listens on
//! 127.0.0.1 alone. Who may have one is the policy's business, which lies above.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hm_plugin_protocol::CallbackData;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue};
use hyper::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Lifetime of a server.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Connections that are served at a time; the next ones wait.
const MAX_CONNECTIONS: usize = 64;

/// Time that a connection gets.
#[derive(Clone, Copy)]
struct Patience {
    /// To bring the head of its request.
    request: Duration,
    /// Time for all of a connection.
    connection: Duration,
}

const PATIENCE: Patience = Patience { request: Duration::from_secs(5), connection: Duration::from_secs(10) };

/// Most bytes of a request's head, and most headers in it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// Pause where no connection can be had, for instance because there are too many open files.
const RETRY: Duration = Duration::from_millis(100);

/// A server that waits for its one request. It ends with this value.
#[derive(Debug)]
pub struct CallbackServer {
    port: u16,
    callback: Option<oneshot::Receiver<CallbackData>>,
    /// Its task, which ends when this is dropped, and with it those of its connections.
    _serving: JoinSet<()>,
}

/// Takes the first callback.
type First = Arc<Mutex<Option<oneshot::Sender<CallbackData>>>>;

impl CallbackServer {
    /// A server at this port; at a free one if there is none named, or 0.
    ///
    /// # Errors
    /// The system says no, for instance as the port is taken.
    pub async fn start(port: Option<u16>) -> io::Result<Self> {
        Self::with_patience(port, PATIENCE).await
    }

    async fn with_patience(port: Option<u16>, patience: Patience) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
        let port = listener.local_addr()?.port();
        let (sender, receiver) = oneshot::channel();
        let first = Arc::new(Mutex::new(Some(sender)));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // When the time is over, what waits for the callback sees that the sender is gone.
            let _ = timeout(LIFETIME, serve(listener, port, first, patience)).await;
        });
        Ok(Self { port, callback: Some(receiver), _serving: serving })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The callback, once it has come. None if it has not come in this time, and for ever after it was handed out.
    pub async fn receive(&mut self, longest: Duration) -> Option<CallbackData> {
        let receiver = self.callback.as_mut()?;
        let callback = timeout(longest, receiver).await.ok()?;
        self.callback = None;
        callback.ok()
    }
}

async fn serve(listener: TcpListener, port: u16, first: First, patience: Patience) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let first = first.clone();
                connections
                    .spawn(timeout(patience.connection, connection(stream, port, first, patience.request)));
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

async fn connection(stream: TcpStream, port: u16, first: First, request: Duration) {
    let service = service_fn(move |request: Request<Incoming>| {
        let status = status(&request, port, &first);
        async move { Ok::<_, Infallible>(response(status)) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(request)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false);
    // It is the client's loss if it breaks off or sends nonsense.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// Status that a request gets. The first that is a callback is kept.
fn status<B>(request: &Request<B>, port: u16, first: &First) -> StatusCode {
    // A name that was made to lead here, or a browser that takes us for its proxy.
    if !names_us(request, port) {
        return StatusCode::MISDIRECTED_REQUEST;
    }
    if request.method() != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let path = request.uri().path();
    // Browsers ask for it by themselves.
    if path == "/favicon.ico" {
        return StatusCode::NOT_FOUND;
    }
    // Taken, not looked at: of two requests at the same moment one is the first.
    let Some(sender) = first.lock().take() else {
        return StatusCode::GONE;
    };
    let query = request.uri().query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    // Nobody waits any more only when the server is about to end.
    let _ = sender.send(CallbackData { path: path.to_owned(), query });
    StatusCode::OK
}

/// True if a request is meant for the server at this port and no other.
fn names_us<B>(request: &Request<B>, port: u16) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let ours = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}"));
    request.uri().authority().is_none() && ours.iter().any(|name| host.as_bytes() == name.as_bytes())
}

fn response(status: StatusCode) -> Response<Full<Bytes>> {
    let text = match status {
        StatusCode::OK => "Done. You can close this window.",
        StatusCode::GONE => "This was answered already. You can close this window.",
        _ => "There is nothing here.",
    };
    let page =
        format!("<!DOCTYPE html><html><head><title>hm</title></head><body><p>{text}</p></body></html>\n");
    let mut response = Response::new(Full::new(Bytes::from(page)));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answer of the server to these bytes; a connection that is closed without one gives nothing.
    async fn answer(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("a connection");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).expect("text")
    }

    fn get(port: u16, target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
    }

    const SOON: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn the_first_callback_is_kept_and_the_next_is_told_so() {
        let mut server = CallbackServer::start(None).await.expect("a server");
        let port = server.port();
        assert_eq!(server.receive(SOON).await, None, "nothing has come yet");
        let page = answer(port, &get(port, "/cb?code=a%26b+c&state=%C3%A4&code=d")).await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        let head = page.to_lowercase();
        for header in ["x-content-type-options: nosniff", "cache-control: no-store", "connection: close"] {
            assert!(head.contains(header), "{page}");
        }
        let second = answer(port, &get(port, "/cb?code=evil")).await;
        assert!(second.starts_with("HTTP/1.1 410 Gone\r\n"), "{second}");
        let query =
            BTreeMap::from([("code".to_owned(), "d".to_owned()), ("state".to_owned(), "\u{e4}".to_owned())]);
        assert_eq!(server.receive(LONG).await, Some(CallbackData { path: "/cb".into(), query }));
        assert_eq!(server.receive(LONG).await, None, "there is but one");
    }

    #[tokio::test]
    async fn what_is_no_callback_is_refused_and_uses_nothing_up() {
        let mut server = CallbackServer::start(None).await.expect("a server");
        let port = server.port();
        let host = |host: &str| format!("GET /evil HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let long = "x".repeat(1 << 20);
        for (request, status) in [
            (host("evil.example"), "421"),
            (host(&format!("evil.example:{port}")), "421"),
            (host("127.0.0.1"), "421"),
            (host("127.0.0.1:1"), "421"),
            (host(&format!("127.0.0.1:{port}.evil.example")), "421"),
            (format!("GET /evil HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n"), "421"),
            ("GET /evil HTTP/1.0\r\n\r\n".to_owned(), "421"),
            (format!("GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "421"),
            (format!("POST /evil HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n"), "405"),
            (format!("HEAD /evil HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "405"),
            (get(port, "/favicon.ico"), "404"),
            (format!("GET /evil HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX: {long}\r\n\r\n"), "431"),
            (format!("GET /{long} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "4"),
            (format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{}\r\n", "A: b\r\n".repeat(100)), "431"),
            ("\0\0\0\0\r\n\r\n".to_owned(), "400"),
        ] {
            let shown = &request[..request.len().min(100)];
            let page = answer(port, &request).await;
            // What is far too long may be cut off before the answer is read.
            let cut = request.len() > MAX_HEAD && page.is_empty();
            assert!(
                cut || page.starts_with(&format!("HTTP/1.1 {status}"))
                    || page.starts_with(&format!("HTTP/1.0 {status}")),
                "{shown}: {page}"
            );
        }
        assert_eq!(server.receive(SOON).await, None);
        let good = format!("GET /good HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
        assert!(answer(port, &good).await.starts_with("HTTP/1.1 200"));
        assert_eq!(server.receive(LONG).await.expect("a callback").path, "/good");
    }

    #[tokio::test]
    async fn slow_clients_keep_nobody_else_waiting_for_long() {
        let patience =
            Patience { request: Duration::from_millis(200), connection: Duration::from_millis(400) };
        let mut server = CallbackServer::with_patience(None, patience).await.expect("a server");
        let port = server.port();
        let mut slow = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("a connection");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("written");
            slow.push(stream);
        }
        let page = timeout(LONG, answer(port, &get(port, "/cb"))).await.expect("an answer");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert_eq!(server.receive(LONG).await.expect("a callback").path, "/cb");
    }

    #[tokio::test]
    async fn it_listens_on_the_loopback_alone_and_ends_with_its_owner() {
        let server = CallbackServer::start(None).await.expect("a server");
        let port = server.port();
        assert!(CallbackServer::start(Some(port)).await.is_err(), "the port is taken");
        // Another address of this machine, which a server on every address would answer at.
        assert!(TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), port)).await.is_err());
        drop(server);
        for _ in 0..100 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                return;
            }
            sleep(SOON).await;
        }
        panic!("it is still there");
    }
}
