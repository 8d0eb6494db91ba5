//! The HTTP side of one plug-in: its client, the requests and bytes of its running call, and the head of its last
//! response. Prices are those of the imports.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fault::Fault;
use crate::limits::InstanceLimits;

use super::client::{HttpClient, HttpLimits};

/// HTTP as one plug-in has used it.
pub(crate) struct HttpSession {
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

impl HttpSession {
    pub(crate) fn new(client: Option<Arc<dyn HttpClient>>, limits: &InstanceLimits) -> Self {
        let (max_requests, max_bytes) = (limits.http_requests, limits.http_bytes);
        let limits =
            HttpLimits { body_bytes: limits.http_body_bytes, header_bytes: limits.http_header_bytes };
        Self { client, limits, max_requests, max_bytes, requests: 0, bytes: 0, last: None }
    }

    /// Forgets the last response, and counts one more request: its client, and the limits of its response.
    ///
    /// # Errors
    /// [`Fault::Denied`] without a client, [`Fault::Limit`] over the ceiling on requests.
    pub(crate) fn begin_request(&mut self) -> Result<(Arc<dyn HttpClient>, HttpLimits), Fault> {
        self.last = None;
        let denied = || Fault::Denied { capability: "http_request".to_owned() };
        let client = Arc::clone(self.client.as_ref().ok_or_else(denied)?);
        self.requests += 1;
        if self.requests > self.max_requests {
            return Err(Fault::limit("HTTP requests", self.requests, self.max_requests));
        }
        let left = self.max_bytes.saturating_sub(self.bytes);
        let body_bytes = self.limits.body_bytes.min(left);
        Ok((client, HttpLimits { body_bytes, ..self.limits }))
    }

    /// Keeps the head of a response, and counts the bytes of its body.
    pub(crate) fn end_request(&mut self, status: u16, headers: BTreeMap<String, String>, body_bytes: usize) {
        self.bytes = self.bytes.saturating_add(body_bytes);
        self.last = Some((status, headers));
    }

    /// Status code of the last response; 0 if there is none.
    pub(crate) fn status(&self) -> u16 {
        self.last.as_ref().map_or(0, |(status, _)| *status)
    }

    /// Headers of the last response, empty if there is none. None for a plug-in without HTTP.
    pub(crate) fn headers(&self) -> Option<BTreeMap<&str, &str>> {
        self.client.as_ref()?;
        let headers = self.last.iter().flat_map(|(_, headers)| headers);
        Some(headers.map(|(name, value)| (name.as_str(), value.as_str())).collect())
    }

    /// Starts counting anew. The last response stays readable in the next call.
    pub(crate) fn end_call(&mut self) {
        (self.requests, self.bytes) = (0, 0);
    }
}
