//! The client that keeps to a list of allowed hosts: every hop of a request is checked against it, looked up once, and
//! sent to an address that was checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpStream;
use url::{Host, Position, Url};

use crate::host_function::HostError;

use super::allowed_hosts::{AllowedHosts, LOOPBACK, host_of, is_localhost, origin};
use super::connection::{self, Reply};
use super::request::{HttpRequest, HttpRequestError, check_url};
use super::resolver::{Resolver, SystemResolver};
use super::tls::TlsRoots;
use super::{HttpClient, HttpFuture, HttpLimits, HttpResponse};

/// Most redirects that a request follows.
const MAX_REDIRECTS: usize = 10;

/// What servers are told of who asks, unless the guest says something else.
const AGENT: &str = concat!("hm-abi/", env!("CARGO_PKG_VERSION"));

/// Headers that prove who the guest is to one server and to no other.
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// Headers about a body.
const OF_BODIES: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION];

/// Sends requests to the hosts of a list, and nowhere else.
///
/// For each hop of a request, redirects among them: its URL is checked against the list; its name is looked up, once; if
/// any address is one that the list's entry does not reach, nothing is sent; else the connection is made to one
/// of the very addresses that were checked. Connections are used for one request, never go through a proxy, and verify
/// the server's certificate. Up to 10 redirects are followed, without credentials where the origin changes.
///
/// What the list does not allow is [`HostError::Denied`], and says scheme, host and port, no more. What fails on the
/// way is [`HostError::Failed`] with an [`HttpError`] inside. Needs a tokio runtime with time and I/O.
///
/// ```
/// use std::sync::Arc;
/// use hm_abi::{AllowedHosts, AllowedHostsClient, InstanceOptions, TlsRoots};
/// # use hm_abi::{CallError, CallLimits, Engine, HostFunctions, Module, ModuleLimits};
/// # let wasm = wat::parse_str(r#"(module
/// #     (import "extism:host/env" "input_offset" (func $input (result i64)))
/// #     (import "extism:host/env" "length" (func $length (param i64) (result i64)))
/// #     (import "extism:host/env" "output_set" (func $output (param i64 i64)))
/// #     (import "extism:host/env" "http_request" (func $request (param i64 i64) (result i64)))
/// #     (func (export "fetch") (local $body i64)
/// #       (local.set $body (call $request (call $input) (i64.const 0)))
/// #       (call $output (local.get $body) (call $length (local.get $body)))))"#)?;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let module = Module::load(&Engine::new()?, &wasm, &HostFunctions::new(), &ModuleLimits::standard())?;
/// # let limits = CallLimits { fuel: 10_000_000, deadline: std::time::Duration::from_secs(5) };
/// # let certificates: Vec<Vec<u8>> = Vec::new();
///
/// let hosts = AllowedHosts::parse(["api.example.com", "*.pages.example.com"])?;
/// let roots = TlsRoots::only(certificates)?; // or those of the operating system: TlsRoots::system()
/// let http = Arc::new(AllowedHostsClient::new(hosts, roots));
/// let mut plugin = module.instance((), InstanceOptions { http: Some(http), ..InstanceOptions::standard() });
///
/// let denied = plugin.call("fetch", br#"{"url": "https://example.org/secrets"}"#, &limits).await;
/// assert!(matches!(denied, Err(CallError::Denied { capability, .. })
///     if capability == "http_request to https://example.org"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AllowedHostsClient {
    hosts: AllowedHosts,
    roots: TlsRoots,
    resolver: Arc<dyn Resolver>,
}

/// Why a request that may be sent did not get a response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The name cannot be looked up.
    #[error("`{host}` cannot be looked up")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The name exists, and has no address.
    #[error("`{host}` has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// Nothing takes the connection.
    #[error("cannot connect to {origin}")]
    Connect {
        /// Scheme, host and port.
        origin: String,
        /// Why, at the last of its addresses.
        source: io::Error,
    },
    /// The server is not the one it should be, or cannot be understood.
    #[error("no TLS connection to {origin}")]
    Tls {
        /// Scheme, host and port.
        origin: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("the exchange over HTTP failed")]
    Exchange(#[source] hyper::Error),
    /// The body is broken.
    #[error("the response is not the gzip it says it is")]
    Gzip(#[source] io::Error),
    /// A redirect to what is no URL, or to one that cannot be requested.
    #[error("the server redirects to a place that cannot be requested")]
    Redirect(#[source] HttpRequestError),
    /// A redirect after the last one that is followed.
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
}

/// A request on its way: what the next hop will be sent.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl AllowedHostsClient {
    /// A client for these hosts. The system looks their names up.
    pub fn new(hosts: AllowedHosts, roots: TlsRoots) -> Self {
        Self { hosts, roots, resolver: Arc::new(SystemResolver) }
    }

    /// Looks names up in another way.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, ..self }
    }

    async fn request(&self, request: HttpRequest, limits: &HttpLimits) -> Result<HttpResponse, HostError> {
        let mut hop = Hop::first(request)?;
        let decode = !hop.headers.contains_key(ACCEPT_ENCODING);
        if decode {
            hop.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for _ in 0..=MAX_REDIRECTS {
            let mut reply = self.send(&hop, limits).await?;
            if !hop.redirect(&reply)? {
                let body = reply.body(decode, limits).await?;
                return Ok(HttpResponse {
                    status: reply.status.as_u16(),
                    headers: reply.text_headers(),
                    body,
                });
            }
        }
        Err(HostError::failed(HttpError::TooManyRedirects))
    }

    /// Sends one hop, if the list allows it.
    async fn send(&self, hop: &Hop, limits: &HttpLimits) -> Result<Reply, HostError> {
        let url = &hop.url;
        let (host, addresses) = self.addresses(url).await?;
        let request = hop.to_request(&host)?;
        let stream = connect(&addresses)
            .await
            .map_err(|source| HostError::failed(HttpError::Connect { origin: origin(url), source }))?;
        if url.scheme() == "http" {
            return connection::send(stream, request, limits).await;
        }
        let stream = self
            .roots
            .connect(host, stream)
            .await
            .map_err(|source| HostError::failed(HttpError::Tls { origin: origin(url), source }))?;
        connection::send(stream, request, limits).await
    }

    /// The host of a URL that the list allows, and its addresses, all of which the list allows too.
    async fn addresses<'a>(&self, url: &'a Url) -> Result<(Host<&'a str>, Vec<SocketAddr>), HostError> {
        let permit = self.hosts.check(url).map_err(|error| denied(&error.origin))?;
        let (Some(host), Some(port)) = (host_of(url), url.port_or_known_default()) else {
            return Err(denied(&origin(url)));
        };
        let addresses: Vec<IpAddr> =
            match host {
                Host::Ipv4(address) => vec![address.into()],
                Host::Ipv6(address) => vec![address.into()],
                Host::Domain(name) if is_localhost(name) => LOOPBACK.into(),
                Host::Domain(name) => self.resolver.resolve(name).await.map_err(|source| {
                    HostError::failed(HttpError::Resolve { host: name.to_owned(), source })
                })?,
            };
        if let Some(address) = addresses.iter().find(|address| !permit.allows(**address)) {
            return Err(denied(&format!("{} at {address}", origin(url))));
        }
        if addresses.is_empty() {
            return Err(HostError::failed(HttpError::NoAddress { host: host.to_string() }));
        }
        Ok((host, addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()))
    }
}

impl HttpClient for AllowedHostsClient {
    fn send<'a>(&'a self, request: HttpRequest, limits: &'a HttpLimits) -> HttpFuture<'a> {
        Box::pin(self.request(request, limits))
    }
}

impl Hop {
    /// The request as the guest made it. What [`HttpRequest::parse`] has let pass is checked for form again: others
    /// can make requests too.
    fn first(request: HttpRequest) -> Result<Self, HostError> {
        let malformed = |error: HttpRequestError| HostError::InvalidArgument(error.to_string());
        let HttpRequest { method, url, headers, body } = request;
        let url = Url::parse(&url)
            .map_err(|error| malformed(HttpRequestError::Url { message: error.to_string() }))?;
        check_url(&url).map_err(malformed)?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let Ok(typed) = HeaderName::from_bytes(name.as_bytes()) else {
                return Err(malformed(HttpRequestError::HeaderName { name }));
            };
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else {
                return Err(malformed(HttpRequestError::HeaderValue { name }));
            };
            if map.try_insert(typed, value).is_err() {
                return Err(HostError::InvalidArgument("too many headers".to_owned()));
            }
        }
        let Ok(method) = Method::from_bytes(method.as_bytes()) else {
            return Err(malformed(HttpRequestError::Method { method }));
        };
        Ok(Self { method, url, headers: map, body: body.into() })
    }

    /// The message for the server.
    fn to_request(&self, host: &Host<&str>) -> Result<Request<Full<Bytes>>, HostError> {
        let malformed = |error: hyper::http::Error| HostError::InvalidArgument(error.to_string());
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.url[Position::BeforePath..Position::AfterQuery])
            .body(Full::new(self.body.clone()))
            .map_err(malformed)?;
        let authority = match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let host = HeaderValue::from_str(&authority).map_err(|error| malformed(error.into()))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(HOST, host);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        let wants_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if wants_body && self.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(request)
    }

    /// Turns to where the server sends it. False if the reply is the response.
    fn redirect(&mut self, reply: &Reply) -> Result<bool, HostError> {
        let changes_method = match reply.status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => true,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(false),
        };
        let Some(location) = reply.headers.get(LOCATION) else { return Ok(false) };
        let wrong = |error| HostError::failed(HttpError::Redirect(error));
        let url = std::str::from_utf8(location.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|location| self.url.join(location).map_err(|error| error.to_string()))
            .map_err(|message| wrong(HttpRequestError::Url { message }))?;
        check_url(&url).map_err(wrong)?;

        if changes_method && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.remove_headers(OF_BODIES);
        }
        if url.origin() != self.url.origin() {
            self.remove_headers(CREDENTIALS);
        }
        self.url = url;
        Ok(true)
    }

    fn remove_headers(&mut self, names: impl IntoIterator<Item = HeaderName>) {
        for name in names {
            self.headers.remove(name);
        }
    }
}

/// Connects to the first address that takes the connection.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn denied(place: &str) -> HostError {
    HostError::Denied { capability: format!("http_request to {place}") }
}
