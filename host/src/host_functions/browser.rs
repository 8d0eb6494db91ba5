//! Host functions for logging in through the person's browser: opening a page, and a server on the loopback that the
//! page sends them back to.

use std::time::Duration;

use hm_abi::HostError;
use hm_plugin_protocol::{CallbackData, Level, LoopbackHandle, LoopbackRecvArgs};
use url::{Host, Url};

use super::PluginState;
use super::handles::count;
use crate::backend::callback::CallbackServer;

/// Most pages that an instance can open.
const MAX_PAGES: u64 = 8;

/// Most bytes of an address.
const MAX_URL: usize = 8 * 1024;

/// `hm_browser_open`: a page over https, or of this machine; true if it was opened.
pub(super) async fn hm_browser_open(state: &mut PluginState, url: String) -> Result<bool, HostError> {
    let url =
        page(&url).map_err(|why| HostError::Denied { capability: format!("hm_browser_open: {why}") })?;
    count(&mut state.handles.pages, "pages opened by an instance", MAX_PAGES)?;
    // What follows the path may be a secret.
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    state.diagnose(Level::Warn, &format!("opens {shown} in the browser")).await;
    Ok(state.context.browser.open(&url).await)
}

/// The address, if it may be opened.
fn page(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_URL {
        return Err("the address is too long");
    }
    let url = Url::parse(text).map_err(|_| "that is no address")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address has a user in it");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("the address names no host"),
    };
    match (url.scheme(), loopback) {
        ("https", _) | ("http", true) => Ok(url),
        _ => Err("only https, and http to this machine, can be opened"),
    }
}

/// `hm_spawn_loopback`: a server for one callback; its port.
pub(super) async fn hm_spawn_loopback(
    state: &mut PluginState,
    port: Option<u16>,
) -> Result<LoopbackHandle, HostError> {
    if state.handles.callback.is_some() {
        return Err(HostError::Limit { which: "callback servers of an instance", asked: 2, allowed: 1 });
    }
    let server = CallbackServer::start(port).await.map_err(HostError::failed)?;
    let handle = LoopbackHandle(server.port().into());
    state.handles.callback = Some(server);
    Ok(handle)
}

/// `hm_loopback_recv`: the callback, if it comes in time.
pub(super) async fn hm_loopback_recv(
    state: &mut PluginState,
    LoopbackRecvArgs { h, timeout_ms }: LoopbackRecvArgs,
) -> Result<Option<CallbackData>, HostError> {
    let server = state.handles.callback.as_mut().filter(|server| u64::from(server.port()) == h.0);
    let server =
        server.ok_or_else(|| HostError::InvalidArgument(format!("there is no callback server {}", h.0)))?;
    Ok(server.receive(Duration::from_millis(timeout_ms.into())).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_over_https_or_of_this_machine_are_opened() {
        for (text, opened) in [
            ("https://a.example/x?y#z", "https://a.example/x?y#z"),
            ("HTTPS://A.EXAMPLE", "https://a.example/"),
            ("https://127.0.0.1:8443/", "https://127.0.0.1:8443/"),
            ("http://localhost:1/cb", "http://localhost:1/cb"),
            ("http://127.8.9.1/", "http://127.8.9.1/"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            // What a shell would read is text like any other.
            ("https://a.example/ $(id)`id`\"'", "https://a.example/%20$(id)%60id%60%22'"),
        ] {
            assert_eq!(page(text).map(String::from).as_deref(), Ok(opened), "{text}");
        }
        for text in [
            "http://a.example/",
            "http://localhost.a.example/",
            "http://127.0.0.1.a.example/",
            "http://localhost./",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
            "https://user@a.example/",
            "https://user:password@a.example/",
            "https://:password@a.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://a.example/",
            "mailto:a@a.example",
            "vscode://a.example/",
            "https:",
            "//a.example/",
            "--version",
            "/etc/passwd",
            "",
        ] {
            assert!(page(text).is_err(), "{text}");
        }
        assert!(page(&format!("https://a.example/{}", "x".repeat(MAX_URL))).is_err());
    }
}
