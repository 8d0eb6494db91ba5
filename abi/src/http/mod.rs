//! The HTTP imports: form, number and price of requests, and what a guest sees of a response. Whether a plug-in may
//! send a request, and sending it, is the embedder's [`HttpClient`]; [`AllowedHostsClient`] is the one to use.

mod addresses;
mod allowed_hosts;
mod body;
mod client;
mod connection;
mod request;
mod resolver;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::Caller;

use crate::env::{self, Imports};
use crate::fault::Fault;
use crate::fuel;
use crate::host_function::HostError;
use crate::limits::InstanceLimits;
use crate::state::State;

pub use allowed_hosts::{AllowedHosts, AllowedHostsError, NotAllowed, Permit};
pub use client::{AllowedHostsClient, HttpError};
pub use request::{HttpRequest, HttpRequestError};
pub use resolver::{ResolveFuture, Resolver, SystemResolver};
pub use tls::{TlsError, TlsRoots};

const REQUEST: &str = "http_request";
const STATUS_CODE: &str = "http_status_code";
const HEADERS: &str = "http_headers";

/// What a guest gets for its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The headers that are text, by lower-case name; where there were several of a name, the last.
    pub headers: BTreeMap<String, String>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

/// What one response may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of the body, as sent and decoded.
    pub body_bytes: usize,
    /// Bytes of status line and headers.
    pub header_bytes: usize,
}

/// What a client returns, later.
pub type HttpFuture<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HostError>> + Send + 'a>>;

/// What `http_request` does: the embedder's policy and transport.
pub trait HttpClient: Send + Sync {
    /// Sends a request, if the plug-in may, and reads the response up to the limits.
    ///
    /// It runs inside the guest's call, whose end drops the future: all that it started has to end with it.
    fn send<'a>(&'a self, request: HttpRequest, limits: &'a HttpLimits) -> HttpFuture<'a>;
}

impl fmt::Debug for dyn HttpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HttpClient")
    }
}

/// The HTTP side of one plug-in.
pub(crate) struct Http {
    client: Option<Arc<dyn HttpClient>>,
    limits: HttpLimits,
    max_requests: usize,
    max_bytes: usize,
    /// Requests of the running call, and bytes of their bodies.
    requests: usize,
    bytes: usize,
    /// Status and headers of the last request's response, if it got one.
    last: Option<(u16, BTreeMap<String, String>)>,
}

impl Http {
    pub(crate) fn new(client: Option<Arc<dyn HttpClient>>, limits: &InstanceLimits) -> Self {
        let (max_requests, max_bytes) = (limits.http_requests, limits.http_bytes);
        let limits =
            HttpLimits { body_bytes: limits.http_body_bytes, header_bytes: limits.http_header_bytes };
        Self { client, limits, max_requests, max_bytes, requests: 0, bytes: 0, last: None }
    }

    pub(crate) fn end_call(&mut self) {
        (self.requests, self.bytes) = (0, 0);
    }

    /// Forgets the last response, and counts one more request: what it may use.
    fn begin(&mut self) -> Result<(Arc<dyn HttpClient>, HttpLimits), Fault> {
        self.last = None;
        let denied = || Fault::Denied { capability: REQUEST.to_owned() };
        let client = Arc::clone(self.client.as_ref().ok_or_else(denied)?);
        self.requests += 1;
        if self.requests > self.max_requests {
            return Err(Fault::limit("HTTP requests", self.requests, self.max_requests));
        }
        let left = self.max_bytes.saturating_sub(self.bytes);
        let body_bytes = self.limits.body_bytes.min(left);
        Ok((client, HttpLimits { body_bytes, ..self.limits }))
    }
}

/// Links `http_request`, `http_status_code` and `http_headers`.
pub(crate) fn link<T: Send + 'static>(imports: &mut Imports<'_, T>) -> wasmtime::Result<()> {
    imports.define_async(REQUEST, |caller: Caller<'_, State<T>>, (request, body): (u64, u64)| {
        Box::new(send(caller, request, body))
    })?;
    imports.define(STATUS_CODE, |mut caller: Caller<'_, State<T>>| -> u32 {
        caller.data_mut().count(STATUS_CODE);
        caller.data().http.last.as_ref().map_or(0, |(status, _)| (*status).into())
    })?;
    imports.define(HEADERS, |mut caller: Caller<'_, State<T>>| -> wasmtime::Result<u64> {
        caller.data_mut().count(HEADERS);
        let http = &caller.data().http;
        if http.client.is_none() {
            return Ok(0);
        }
        let none = BTreeMap::new();
        let headers = http.last.as_ref().map_or(&none, |(_, headers)| headers);
        let json = serde_json::to_vec(headers).map_err(wasmtime::Error::new)?;
        fuel::charge(&mut caller, fuel::LOOK_UP, length(&json))?;
        Ok(caller.data_mut().blocks.insert(json)?)
    })
}

/// One `http_request`: the offset of the response's body.
async fn send<T: Send + 'static>(
    mut caller: Caller<'_, State<T>>,
    request: u64,
    body: u64,
) -> wasmtime::Result<u64> {
    caller.data_mut().count(REQUEST);
    fuel::charge(&mut caller, fuel::HTTP, 0)?;
    let (client, limits) = caller.data_mut().http.begin()?;
    // Both are read before either is freed: they may be the same block.
    let json = env::read(&mut caller, REQUEST, request)?;
    let bytes = env::read(&mut caller, REQUEST, body)?;
    let blocks = &mut caller.data_mut().blocks;
    blocks.free(request);
    blocks.free(body);

    let request =
        HttpRequest::parse(&json, bytes).map_err(|error| Fault::Misuse(format!("`{REQUEST}`: {error}")))?;
    let response = client.send(request, &limits).await.map_err(|error| error.into_fault(REQUEST))?;
    if response.body.len() > limits.body_bytes {
        return Err(body::too_large(response.body.len(), limits.body_bytes).into_fault(REQUEST).into());
    }
    fuel::charge(&mut caller, 0, length(&response.body))?;
    let state = caller.data_mut();
    state.http.bytes = state.http.bytes.saturating_add(response.body.len());
    let offset = state.blocks.insert(response.body)?;
    state.http.last = Some((response.status, response.headers));
    Ok(offset)
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len().try_into().unwrap_or(u64::MAX)
}
