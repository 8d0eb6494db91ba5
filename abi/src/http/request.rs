//! The HTTP request of a guest: JSON and a body, checked for form. Permission is not asked here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

/// Most bytes of the JSON. Reading it, and the URL in it, cannot be interrupted.
const MAX_JSON_BYTES: usize = 256 * 1024;

/// Most bytes of a URL, and most headers: more than servers take, and less than the HTTP library cannot.
const MAX_URL_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 1024;

/// Headers that say how a message is framed, what becomes of the connection, or which of a server's sites is
/// meant. They are the client's.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request: well-formed, and no more than that.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// In upper case; never `CONNECT` or `TRACE`.
    pub method: String,
    /// Absolute, http or https, with a host and without user name and password.
    pub url: String,
    /// By lower-case name. None of them is about the connection or the framing of the message.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body; empty for none.
    pub body: Vec<u8>,
}

/// Mistake in the form of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpRequestError {
    /// The JSON is too long.
    #[error("the request has {bytes} bytes of JSON, more than the {MAX_JSON_BYTES} allowed")]
    TooLong {
        /// Length of the JSON.
        bytes: usize,
    },
    /// It is not JSON, or not the right one.
    #[error("the request is no JSON object of `url`, `method` and `headers`: {message}")]
    Json {
        /// Message of the JSON parser.
        message: String,
    },
    /// The URL is none.
    #[error("the URL is malformed: {message}")]
    Url {
        /// Message of the URL parser.
        message: String,
    },
    /// The URL is too long.
    #[error("the URL has {bytes} bytes, more than the {MAX_URL_BYTES} allowed")]
    LongUrl {
        /// Length of the URL.
        bytes: usize,
    },
    /// The URL is of another kind.
    #[error("the URL's scheme is `{scheme}`, which is neither http nor https")]
    Scheme {
        /// Scheme, as given.
        scheme: String,
    },
    /// The URL holds credentials, which do not belong there.
    #[error("the URL holds a user name or a password")]
    UserInfo,
    /// The method is no token, or `CONNECT` or `TRACE`.
    #[error("{method:?} is not a method that can be sent")]
    Method {
        /// The method, as given.
        method: String,
    },
    /// There are too many headers.
    #[error("{headers} headers, more than the {MAX_HEADERS} allowed")]
    TooManyHeaders {
        /// Number of headers.
        headers: usize,
    },
    /// The name of a header is no token.
    #[error("{name:?} is not the name of a header")]
    HeaderName {
        /// Name, as given.
        name: String,
    },
    /// The value of a header has characters that would end it.
    #[error("the value of header `{name}` has control characters")]
    HeaderValue {
        /// Lower-case name of the header.
        name: String,
    },
    /// The header is the client's to set.
    #[error("header `{name}` is the host's alone")]
    ReservedHeader {
        /// Lower-case name of the header.
        name: String,
    },
    /// Two names differ only in case.
    #[error("header `{name}` is given twice")]
    RepeatedHeader {
        /// Lower-case name of the header.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    url: String,
    method: Option<String>,
    headers: Option<BTreeMap<String, String>>,
}

impl HttpRequest {
    /// Reads the JSON of a request: `{"url": string, "method": string?, "headers": {string: string}?}`, where
    /// `null` is the same as nothing. The method is `GET` if there is none.
    ///
    /// # Errors
    /// See [`HttpRequestError`].
    pub fn parse(json: &[u8], body: Vec<u8>) -> Result<Self, HttpRequestError> {
        if json.len() > MAX_JSON_BYTES {
            return Err(HttpRequestError::TooLong { bytes: json.len() });
        }
        // serde would take an array of the values too.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(HttpRequestError::Json { message: "not an object".to_owned() });
        }
        let json: Json = serde_json::from_slice(json)
            .map_err(|error| HttpRequestError::Json { message: error.to_string() })?;
        let mut url =
            Url::parse(&json.url).map_err(|error| HttpRequestError::Url { message: error.to_string() })?;
        check_url(&url)?;
        url.set_fragment(None);
        Ok(Self {
            method: method(json.method)?,
            url: url.into(),
            headers: headers(json.headers.unwrap_or_default())?,
            body,
        })
    }
}

/// Says where a request goes and which headers it has. Their values, and the rest of the URL, may be secret.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = Url::parse(&self.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        formatter
            .debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("origin", &origin)
            .field("headers", &self.headers.keys())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Checks that requests can be sent there at all.
pub(super) fn check_url(url: &Url) -> Result<(), HttpRequestError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpRequestError::Scheme { scheme: url.scheme().to_owned() });
    }
    if url.as_str().len() > MAX_URL_BYTES {
        return Err(HttpRequestError::LongUrl { bytes: url.as_str().len() });
    }
    if url.username().is_empty() && url.password().is_none() {
        Ok(())
    } else {
        Err(HttpRequestError::UserInfo)
    }
}

fn method(given: Option<String>) -> Result<String, HttpRequestError> {
    let Some(given) = given else { return Ok("GET".to_owned()) };
    match Method::from_bytes(given.to_ascii_uppercase().as_bytes()) {
        Ok(method) if method != Method::CONNECT && method != Method::TRACE => Ok(method.to_string()),
        _ => Err(HttpRequestError::Method { method: given }),
    }
}

fn headers(given: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, HttpRequestError> {
    if given.len() > MAX_HEADERS {
        return Err(HttpRequestError::TooManyHeaders { headers: given.len() });
    }
    let mut headers = BTreeMap::new();
    for (given, value) in given {
        let Ok(name) = HeaderName::from_bytes(given.as_bytes()) else {
            return Err(HttpRequestError::HeaderName { name: given });
        };
        let name = name.as_str().to_owned();
        if RESERVED.contains(&name.as_str()) {
            return Err(HttpRequestError::ReservedHeader { name });
        }
        if HeaderValue::from_bytes(value.as_bytes()).is_err() {
            return Err(HttpRequestError::HeaderValue { name });
        }
        match headers.entry(name) {
            Entry::Vacant(entry) => entry.insert(value),
            Entry::Occupied(entry) => {
                return Err(HttpRequestError::RepeatedHeader { name: entry.key().clone() });
            }
        };
    }
    Ok(headers)
}
