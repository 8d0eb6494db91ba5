//! Checks of what decides about HTTP before anything is sent: requests as guests write them, and lists of allowed
//! hosts.

use std::net::IpAddr;

use hm_abi::{AllowedHosts, HttpRequest, Permit};
use hm_plugin_protocol::serde_json::json;
use url::{Host, Url};

/// Any bytes as the JSON of a request: one that is accepted can be sent as it is, and means the same when it is read
/// again.
pub fn http_request(data: &[u8]) {
    let Ok(request) = HttpRequest::parse(data, b"body".to_vec()) else { return };
    let url = Url::parse(&request.url).expect("a URL");
    assert!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{url}");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{url}");
    assert_one_line(&request.url);
    assert!(request.method.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_lowercase()));
    assert!(!request.method.is_empty() && request.method != "CONNECT" && request.method != "TRACE");
    for (name, value) in &request.headers {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        assert_eq!(*name, name.to_ascii_lowercase());
        let framing = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];
        assert!(!framing.contains(&name.as_str()), "{name}");
        assert_one_line(value);
    }
    let again = json!({"url": request.url, "method": request.method, "headers": request.headers}).to_string();
    assert_eq!(HttpRequest::parse(again.as_bytes(), b"body".to_vec()), Ok(request));
}

fn assert_one_line(text: &str) {
    assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
}

/// Any text as a URL and, line by line, a list of hosts: what the list allows is what one of its entries names.
pub fn allowed_hosts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let url = lines.next().and_then(|line| Url::parse(line).ok());
    let entries: Vec<&str> = lines.filter(|entry| AllowedHosts::parse([entry]).is_ok()).collect();
    assert!(entries.iter().all(|entry| AllowedHosts::is_host(entry)));
    let hosts = AllowedHosts::parse(&entries).expect("a list of good entries");
    let Some(mut url) = url else { return };

    let answer = hosts.check(&url);
    let one_by_one = entries
        .iter()
        .filter_map(|entry| AllowedHosts::parse([entry]).expect("a good entry").check(&url).ok());
    assert_eq!(answer.clone().ok(), one_by_one.max(), "{url} {entries:?}");
    if let Ok(permit) = answer {
        assert_named(&url, permit, &entries);
    }
    let _ = url.set_username("user");
    url.set_path("/elsewhere");
    url.set_query(Some("a=b"));
    assert_eq!(hosts.check(&url), answer, "only scheme, host and port matter: {url} {entries:?}");
}

fn assert_named(url: &Url, permit: Permit, entries: &[&str]) {
    let names = |entry: &&str, host: &str| host_of(entry).is_some_and(|named| named.to_string() == host);
    let loopback = ["localhost", "127.0.0.1", "[::1]"];
    let plain = |entry: &&str| entry.starts_with("http://") || loopback.iter().any(|host| names(entry, host));
    match url.scheme() {
        "http" => assert!(entries.iter().any(plain), "plain HTTP: {url} {entries:?}"),
        "https" => {}
        other => panic!("{other} is allowed by {entries:?}"),
    }
    let url_address = url.host().and_then(|host| address_of(&host));
    match permit {
        Permit::Public => assert!(!entries.is_empty()),
        Permit::Private => {
            assert!(entries.iter().any(|entry| entry.starts_with("http://")), "{url} {entries:?}");
        }
        Permit::Loopback => {
            assert!(entries.iter().any(|entry| names(entry, "localhost")), "{url} {entries:?}");
        }
        Permit::Only(address) => assert_eq!(url_address, Some(address), "{url} {entries:?}"),
    }
    // An address in a URL that is not public can be reached only if an entry is that very address.
    if let Some(address) = url_address
        && permit.allows(address)
        && !is_public(address)
    {
        let named = |entry: &&str| host_of(entry).and_then(|host| address_of(&host)) == Some(address);
        assert!(entries.iter().any(named), "{url} {entries:?}");
    }
}

/// The host of an entry, without scheme and port.
fn host_of(entry: &str) -> Option<Host> {
    let entry = entry.strip_prefix("http://").unwrap_or(entry);
    let host = match entry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => entry,
    };
    Host::parse(host).ok()
}

fn address_of<S>(host: &Host<S>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
    }
}

/// Public addresses by the standard library, which knows less of them than the host does.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let private = address.is_private() || address.is_loopback() || address.is_link_local();
            let nobody = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
            !private && !nobody && !address.is_documentation()
        }
        IpAddr::V6(address) => {
            let private =
                address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local();
            let nobody = address.is_unspecified() || address.is_multicast();
            let disguised = address.to_ipv4().is_some();
            !private && !nobody && !disguised
        }
    }
}
