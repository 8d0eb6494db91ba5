//! Host functions for logging in through the person's browser: opening a page, and a server on the loopback that the page sends
//! them back to.

use std::time::Duration;

use hm_abi::{HostError, HostFuture};
use hm_plugin_protocol::{Level, LoopbackHandle, LoopbackRecvArgs};
use url::{Host, Url};

use super::handles::count;
use super::steps::{failed, json, truth};
use super::{Args, PluginState};
use crate::backend::callback::CallbackServer;

/// How many pages an instance can open.
const MAX_PAGES: u64 = 8;

/// Most bytes of an address.
const MAX_URL: usize = 8 * 1024;

/// `hm_browser_open`: a page over https, or of this machine; whether it was opened.
pub(super) fn open(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let url = page(&args[0])
            .map_err(|why| HostError::Denied { capability: format!("hm_browser_open: {why}") })?;
        count(&mut state.handles.pages, "pages opened by an instance", MAX_PAGES)?;
        // What follows the path may be a secret.
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        let text = format!("opens {shown} in the browser");
        state.diagnostics.say(&mut state.said, Level::Warn, &state.plugin, &text).await;
        Ok(truth(state.world.browser.open(&url).await))
    })
}

/// The address, if it may be opened.
fn page(text: &[u8]) -> Result<Url, &'static str> {
    if text.len() > MAX_URL {
        return Err("the address is too long");
    }
    let url = std::str::from_utf8(text).ok().and_then(|text| Url::parse(text).ok());
    let url = url.ok_or("that is no address")?;
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
pub(super) fn spawn_loopback(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let port: Option<u16> = json("hm_spawn_loopback", &args[0])?;
        if state.handles.callback.is_some() {
            return Err(HostError::Limit { which: "callback servers of an instance", asked: 2, allowed: 1 });
        }
        let server = CallbackServer::start(port).await.map_err(failed)?;
        let handle = LoopbackHandle(server.port().into());
        state.handles.callback = Some(server);
        serde_json::to_vec(&handle).map_err(failed)
    })
}

/// `hm_loopback_recv`: the callback, or null if it has not come in time.
pub(super) fn loopback_recv(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let LoopbackRecvArgs { h, timeout_ms } = json("hm_loopback_recv", &args[0])?;
        let server = state.handles.callback.as_mut().filter(|server| u64::from(server.port()) == h.0);
        let server = server
            .ok_or_else(|| HostError::InvalidArgument(format!("there is no callback server {}", h.0)))?;
        let callback = server.receive(Duration::from_millis(timeout_ms.into())).await;
        serde_json::to_vec(&callback).map_err(failed)
    })
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
            assert_eq!(page(text.as_bytes()).map(String::from).as_deref(), Ok(opened), "{text}");
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
            assert!(page(text.as_bytes()).is_err(), "{text}");
        }
        assert!(page(b"https://a.example/\xff").is_err());
        assert!(page(format!("https://a.example/{}", "x".repeat(MAX_URL)).as_bytes()).is_err());
    }
}
