//! A request on its way: the message for the next server, and the turn that a redirect makes.
//! Connections, and whether a hop is allowed, are the client's.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use url::{Host, Position, Url};

use crate::host_error::HostError;

use super::connection::Reply;
use super::error::HttpError;
use super::request::{HttpRequest, HttpRequestError, check_url};

/// User agent of requests in which the guest names none.
const DEFAULT_USER_AGENT: &str = concat!("hm-abi/", env!("CARGO_PKG_VERSION"));

/// Headers that prove who the guest is to one server and to no other.
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// Headers that describe a body, and go with it.
const BODY_HEADERS: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION];

/// A request on its way, in the form in which the next server gets it.
pub(super) struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Hop {
    /// The request as the guest made it. What [`HttpRequest::parse`] has let pass is checked for form again: others
    /// can make requests too.
    pub(super) fn first(request: HttpRequest) -> Result<Self, HostError> {
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

    /// The URL that this hop is sent to.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Asks for gzip, unless the guest has said which encodings it takes and so decodes itself. True if it was asked
    /// for.
    pub(super) fn accept_gzip(&mut self) -> bool {
        let decode = !self.headers.contains_key(ACCEPT_ENCODING);
        if decode {
            self.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        decode
    }

    /// The message for the server.
    pub(super) fn to_request(&self, host: &Host<&str>) -> Result<Request<Full<Bytes>>, HostError> {
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
        // After the guest's headers, so that none of them can name another host than the one that was checked.
        headers.insert(HOST, host);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(DEFAULT_USER_AGENT));
        let wants_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if wants_body && self.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(request)
    }

    /// Turns to where the server sends it. False if the reply is the response.
    pub(super) fn redirect(&mut self, reply: &Reply) -> Result<bool, HostError> {
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
            self.remove_headers(BODY_HEADERS);
        }
        // Compared before the old URL is overwritten; once dropped, credentials do not come back on a later hop.
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
