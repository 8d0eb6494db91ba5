//! One request and its response over one connection that nothing else uses. Where to connect to, and what comes after
//! the response, is up to `client`.

use std::collections::BTreeMap;
use std::pin::Pin;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::host_error::HostError;

use super::body::Body;
use super::client::HttpLimits;
use super::error::HttpError;

/// Most headers of a response.
const MAX_HEADERS: usize = 1024;

/// The smallest read buffer that the HTTP library accepts.
const MIN_BUFFER: usize = 8192;

/// A response whose body is still to come. Dropping it closes the connection.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    connection: Connection,
}

/// The task that moves the bytes, until it has ended.
struct Connection(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Connection {
    /// Runs a task that needs the connection to move.
    async fn drive<R>(&mut self, task: impl Future<Output = R>) -> R {
        tokio::pin!(task);
        if let Some(connection) = &mut self.0 {
            tokio::select! {
                // The task first: what it has finished counts, also where the connection ends in the same moment.
                biased;
                result = &mut task => return result,
                // How it ended, the task is told as well.
                _ = connection => self.0 = None,
            }
        }
        task.await
    }
}

/// Sends a request over a fresh connection, and waits for the head of the response.
pub(super) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    limits: &HttpLimits,
) -> Result<Reply, HostError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(MIN_BUFFER))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error, limits))?;
    let mut connection = Connection(Some(Box::pin(connection)));
    let response =
        connection.drive(sender.send_request(request)).await.map_err(|error| failed(error, limits))?;
    let (head, body) = response.into_parts();
    Ok(Reply { status: head.status, headers: head.headers, body, connection })
}

impl Reply {
    /// Receives the body. With `decode`, gzip is what was asked for, and is taken out if it is there.
    pub(super) async fn body(&mut self, decode: bool, limits: &HttpLimits) -> Result<Vec<u8>, HostError> {
        let gzip = decode && self.headers.get("content-encoding").is_some_and(|value| value == "gzip");
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        // Refused by its announcement, before a byte of it is received.
        limits.check_body(announced)?;
        if gzip {
            // They are those of what was sent.
            self.headers.remove("content-encoding");
            self.headers.remove("content-length");
        }
        let mut body = Body::new(gzip, limits.body_bytes);
        let Self { body: incoming, connection, .. } = self;
        connection
            .drive(async {
                while let Some(frame) = incoming.frame().await {
                    if let Some(data) = frame.map_err(|error| failed(error, limits))?.data_ref() {
                        body.add(data)?;
                    }
                }
                body.finish()
            })
            .await
    }

    /// The headers that are text, with one value for each name.
    pub(super) fn text_headers(&self) -> BTreeMap<String, String> {
        let text = self.headers.iter().filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
        text.map(|(name, value)| (name.as_str().to_owned(), value.to_owned())).collect()
    }
}

fn failed(error: hyper::Error, limits: &HttpLimits) -> HostError {
    if !error.is_parse_too_large() {
        return HostError::failed(HttpError::Exchange(error));
    }
    let allowed = limits.header_bytes.try_into().unwrap_or(u64::MAX);
    HostError::Limit { which: "bytes of HTTP response headers", asked: allowed.saturating_add(1), allowed }
}
