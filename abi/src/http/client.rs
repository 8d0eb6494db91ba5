//! The interface between the HTTP imports and whoever sends their requests: the embedder's policy and transport.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use crate::host_error::HostError;

use super::request::HttpRequest;

/// Response that a guest gets for its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code, such as 200.
    pub status: u16,
    /// The headers that are text, by lower-case name; where there were several of a name, the last.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body, decoded.
    pub body: Vec<u8>,
}

/// Ceilings on one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of the body, as sent and decoded.
    pub body_bytes: usize,
    /// Bytes of status line and headers.
    pub header_bytes: usize,
}

impl HttpLimits {
    /// Checks the length of a body, or the part of it that is known.
    ///
    /// # Errors
    /// [`HostError::Limit`] over the ceiling.
    pub(crate) fn check_body(&self, bytes: usize) -> Result<(), HostError> {
        if bytes > self.body_bytes { Err(body_too_large(bytes, self.body_bytes)) } else { Ok(()) }
    }
}

/// The error of a body that is, or decodes to, more than `allowed` bytes.
pub(super) fn body_too_large(asked: usize, allowed: usize) -> HostError {
    let number = |size: usize| size.try_into().unwrap_or(u64::MAX);
    HostError::Limit { which: "bytes of an HTTP response", asked: number(asked), allowed: number(allowed) }
}

/// Future of a response.
pub type HttpFuture<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HostError>> + Send + 'a>>;

/// Sender of the requests of `http_request`: the embedder's policy and transport.
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
