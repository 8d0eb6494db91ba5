//! HTTP for plug-ins: the form of requests and responses, the [`HttpClient`] that the embedder provides, and
//! [`AllowedHostsClient`], which keeps to a list of hosts. The functions that a guest imports are in `imports::http`.

mod addresses;
mod allowed_hosts;
mod allowed_hosts_client;
mod body;
mod client;
mod connection;
mod error;
mod hop;
mod request;
mod resolver;
mod session;
mod tls;

pub use allowed_hosts::{AllowedHosts, AllowedHostsError, NotAllowed, Permit};
pub use allowed_hosts_client::AllowedHostsClient;
pub use client::{HttpClient, HttpFuture, HttpLimits, HttpResponse};
pub use error::HttpError;
pub use request::{HttpRequest, HttpRequestError};
pub use resolver::{ResolveFuture, Resolver, SystemResolver};
pub(crate) use session::HttpSession;
pub use tls::{TlsError, TlsRoots};
