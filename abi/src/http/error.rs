//! Failures of requests that may be sent. Those of requests that may not, or are malformed, have types of their own.

use std::io;

use super::request::HttpRequestError;

/// Most redirects that a request follows.
pub(super) const MAX_REDIRECTS: usize = 10;

/// Failure of a request that may be sent and got no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The name cannot be looked up.
    #[error("`{host}` cannot be looked up")]
    Resolve {
        /// Host name, as in the URL.
        host: String,
        /// Error of the resolver.
        source: io::Error,
    },
    /// The name exists, and has no address.
    #[error("`{host}` has no address")]
    NoAddress {
        /// Host name, as in the URL.
        host: String,
    },
    /// Nothing takes the connection.
    #[error("cannot connect to {origin}")]
    Connect {
        /// Scheme, host and port.
        origin: String,
        /// Error at the last of its addresses.
        source: io::Error,
    },
    /// The server is not the one it should be, or cannot be understood.
    #[error("no TLS connection to {origin}")]
    Tls {
        /// Scheme, host and port.
        origin: String,
        /// Error of the TLS handshake.
        source: io::Error,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("the exchange over HTTP failed")]
    Exchange(#[source] hyper::Error),
    /// The body does not decode.
    #[error("the response is not the gzip it says it is")]
    Gzip(#[source] io::Error),
    /// A redirect to what is no URL, or to one that cannot be requested.
    #[error("the server redirects to a place that cannot be requested")]
    Redirect(#[source] HttpRequestError),
    /// A redirect after the last one that is followed.
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
}
