//! The list of hosts that a plug-in may reach, as its manifest and the user write it. Parsing and deciding only:
//! nothing is looked up or connected to here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::addresses::{AddressClass, classify};

/// Prefixes of entries of the same list that are no hosts, but sockets and directories.
const OTHER_PREFIXES: &[&str] = &["unix:", "dir:", "dir+rw:"];

const LOCALHOST: &str = "localhost";

/// Hosts that may be reached by HTTP. The empty list allows none.
///
/// | entry | grants | at addresses |
/// |---|---|---|
/// | `api.example.com`, `api.example.com:8443` | HTTPS to that host, any port or that one | public |
/// | `*.example.com`, `*.example.com:8443` | HTTPS to any name below it, not to `example.com` | public |
/// | `*`, `*:8443` | HTTPS to any host | public |
/// | `10.0.0.7`, `[fd00::7]:8443` | HTTPS to that address | that one |
/// | `localhost`, `127.0.0.1`, `[::1]`, each with or without a port | HTTP and HTTPS | that one; for `localhost` both |
/// | `http://build.internal:8080` | HTTP to that host and port, 80 if there is none | public or private |
/// | `http://10.0.0.7` | HTTP to that address and port | that one |
///
/// Private are the networks 10/8, 172.16/12, 192.168/16, 100.64/10, 127/8, fc00::/7 and ::1. Neither public nor private
/// are link-local, metadata, documentation, multicast and reserved addresses, and IPv6 addresses that stand for IPv4
/// ones: they can be reached only by an entry that is that very address. So a public name that leads to a
/// private address is of no use, whoever answers for it.
///
/// Names are compared without case and in their ASCII form; an address in any spelling that a URL may have is that
/// address. `localhost` is never looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<HostEntry>,
}

/// An entry that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("allowed host {entry:?}: {reason}")]
pub struct AllowedHostsError {
    /// The entry, as it was given.
    pub entry: String,
    /// The mistake in it, in words.
    pub reason: String,
}

/// A URL that the list does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP to {origin} is not allowed")]
pub struct NotAllowed {
    /// Its scheme, host and port. The rest may be secret.
    pub origin: String,
}

/// To which addresses a request that the list allows may be sent. Later ones reach further into the network of the
/// user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permit {
    /// Those of the public internet.
    Public,
    /// Those, and those of private networks, of this machine too.
    Private,
    /// This machine: 127.0.0.1 and ::1.
    Loopback,
    /// This one address, of whatever class.
    Only(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HostEntry {
    hosts: HostPattern,
    /// Any, if there is none.
    port: Option<u16>,
    http: bool,
    https: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    All,
    /// The names that end so: a dot and a name.
    Below(String),
    One(Host),
}

impl AllowedHosts {
    /// Reads entries, all of which have to be hosts: see [`AllowedHosts::is_host`].
    ///
    /// # Errors
    /// The first entry that is none of the table above.
    pub fn parse(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, AllowedHostsError> {
        let entries = entries
            .into_iter()
            .map(|entry| {
                let entry = entry.as_ref();
                HostEntry::parse(entry)
                    .map_err(|reason| AllowedHostsError { entry: entry.to_owned(), reason })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// True if an entry of a manifest's list is for this type: all are but those that start with `unix:`, `dir:` or
    /// `dir+rw:`.
    pub fn is_host(entry: &str) -> bool {
        !OTHER_PREFIXES.iter().any(|prefix| entry.starts_with(prefix))
    }

    /// The addresses to which a request for this URL may be sent.
    ///
    /// # Errors
    /// [`NotAllowed`] if no entry has its scheme, host and port.
    pub fn check(&self, url: &Url) -> Result<Permit, NotAllowed> {
        let permits = self.entries.iter().filter_map(|entry| entry.permit(url));
        permits.max().ok_or_else(|| NotAllowed { origin: origin(url) })
    }
}

impl Permit {
    /// True if a request may be sent to this address.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => classify(address) == AddressClass::Public,
            Self::Private => classify(address) != AddressClass::Special,
            Self::Loopback => LOOPBACK.contains(&address),
            Self::Only(only) => address == only,
        }
    }
}

/// Addresses of `localhost`, which is never looked up.
pub(super) const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The host of a URL to which requests can be sent, a name without the dot that may end it.
pub(super) fn host_of(url: &Url) -> Option<Host<&str>> {
    url.host().map(|host| match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name)),
        address => address,
    })
}

/// True if a name is this machine's by definition.
pub(super) fn is_localhost(name: &str) -> bool {
    name == LOCALHOST
}

/// Scheme, host and port of a URL.
pub(super) fn origin(url: &Url) -> String {
    if url.has_host() { url.origin().ascii_serialization() } else { format!("{}:", url.scheme()) }
}

impl HostEntry {
    fn parse(entry: &str) -> Result<Self, String> {
        if !AllowedHosts::is_host(entry) {
            return Err("not a host".to_owned());
        }
        let plain = entry.strip_prefix("http://");
        let (host, port) = split(plain.unwrap_or(entry))?;
        let hosts = HostPattern::parse(host)?;
        let (http, https) = match (&hosts, plain.is_some()) {
            (HostPattern::One(_), true) => (true, false),
            (_, true) => return Err("plain HTTP is granted to one host at a time".to_owned()),
            (_, false) => (hosts.is_loopback(), true),
        };
        // An entry with a scheme is an origin: it means one port.
        let port = if plain.is_some() { Some(port.unwrap_or(80)) } else { port };
        Ok(Self { hosts, port, http, https })
    }

    fn permit(&self, url: &Url) -> Option<Permit> {
        let scheme = match url.scheme() {
            "http" => self.http,
            "https" => self.https,
            _ => false,
        };
        let port = self.port.is_none() || self.port == url.port_or_known_default();
        let host = host_of(url)?;
        (scheme && port && self.hosts.contain(&host)).then(|| match &self.hosts {
            HostPattern::One(Host::Ipv4(address)) => Permit::Only((*address).into()),
            HostPattern::One(Host::Ipv6(address)) => Permit::Only((*address).into()),
            HostPattern::One(Host::Domain(name)) if is_localhost(name) => Permit::Loopback,
            HostPattern::One(Host::Domain(_)) if self.http => Permit::Private,
            _ => Permit::Public,
        })
    }
}

impl HostPattern {
    fn parse(host: &str) -> Result<Self, String> {
        if host == "*" {
            return Ok(Self::All);
        }
        let (below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        // The parser below decodes percent signs and drops nothing else; what it makes of them is no name as written.
        if name.contains(['*', '%']) || name.ends_with('.') {
            return Err("not the name of a host".to_owned());
        }
        match Host::parse(name) {
            Ok(Host::Domain(name)) if below => Ok(Self::Below(format!(".{name}"))),
            Ok(_) if below => Err("there are no names below an address".to_owned()),
            Ok(Host::Ipv4(address)) if address.to_string() != name => {
                Err(format!("an address is written as `{address}`"))
            }
            Ok(host) => Ok(Self::One(host)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// True if it is one of the three that mean this machine, and hence no network that could listen.
    fn is_loopback(&self) -> bool {
        match self {
            Self::One(Host::Domain(name)) => is_localhost(name),
            Self::One(Host::Ipv4(address)) => *address == Ipv4Addr::LOCALHOST,
            Self::One(Host::Ipv6(address)) => *address == Ipv6Addr::LOCALHOST,
            Self::All | Self::Below(_) => false,
        }
    }

    fn contain(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Below(end), Host::Domain(name)) => name.len() > end.len() && name.ends_with(end.as_str()),
            (Self::Below(_), _) => false,
            (Self::One(Host::Domain(one)), Host::Domain(name)) => one == name,
            (Self::One(Host::Ipv4(one)), Host::Ipv4(address)) => one == address,
            (Self::One(Host::Ipv6(one)), Host::Ipv6(address)) => one == address,
            (Self::One(_), _) => false,
        }
    }
}

/// Host and port of an entry, the host with its brackets.
fn split(entry: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (entry, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err("neither a host nor `host:port`; IPv6 addresses are in brackets".to_owned());
    }
    let Some(port) = port else { return Ok((host, None)) };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok((host, Some(port))),
        _ => Err(format!("{port:?} is not a port")),
    }
}
