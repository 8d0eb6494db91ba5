//! Looking names up. What may be done with the addresses is not decided here.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// The addresses of a name, later.
pub type ResolveFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// The look-up of host names.
pub trait Resolver: Send + Sync {
    /// The addresses of a host, best first. The name is in ASCII and lower case, and may still be anything.
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a>;
}

/// Looks names up as the operating system is configured to.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
        Box::pin(
            async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) },
        )
    }
}
