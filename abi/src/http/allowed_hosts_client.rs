//! The client that keeps to a list of allowed hosts: every hop of a request is checked against it, looked up once, and
//! sent to an address that was checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use url::{Host, Url};

use crate::host_error::HostError;

use super::allowed_hosts::{AllowedHosts, LOOPBACK, host_of, is_localhost, origin};
use super::client::{HttpClient, HttpFuture, HttpLimits, HttpResponse};
use super::connection::{self, Reply};
use super::error::{HttpError, MAX_REDIRECTS};
use super::hop::Hop;
use super::request::HttpRequest;
use super::resolver::{Resolver, SystemResolver};
use super::tls::TlsRoots;

/// Sends requests to the hosts of a list, and nowhere else.
///
/// For each hop of a request, redirects among them: its URL is checked against the list; its name is looked up, once;
/// if any address is one that the list's entry does not reach, nothing is sent; else the connection is made to one of
/// the very addresses that were checked. Connections are used for one request, never go through a proxy, and verify
/// the server's certificate. Up to 10 redirects are followed, without credentials where the origin changes.
///
/// A request that the list does not allow is [`HostError::Denied`], and says scheme, host and port, no more. What
/// fails on the way is [`HostError::Failed`] with an [`HttpError`] inside. Needs a tokio runtime with time and I/O.
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
        let decode = hop.accept_gzip();
        for _ in 0..=MAX_REDIRECTS {
            // Each hop is checked like the first: a server that is allowed must not lead to one that is not.
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
        let url = hop.url();
        let (host, addresses) = self.addresses(url).await?;
        // Made before the connection: what cannot be sent costs no server a connection.
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
        // The list comes first: a name that it does not have is not even looked up, which would tell a name server of
        // it.
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
        // One bad address denies the request: whoever answers for the name could else have the connection fail over
        // to it.
        if let Some(address) = addresses.iter().find(|address| !permit.allows(**address)) {
            return Err(denied(&format!("{} at {address}", origin(url))));
        }
        if addresses.is_empty() {
            return Err(HostError::failed(HttpError::NoAddress { host: host.to_string() }));
        }
        // These very addresses are connected to. A second look-up could be answered otherwise (DNS rebinding).
        Ok((host, addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()))
    }
}

impl HttpClient for AllowedHostsClient {
    fn send<'a>(&'a self, request: HttpRequest, limits: &'a HttpLimits) -> HttpFuture<'a> {
        Box::pin(self.request(request, limits))
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
