//! Bytes on the wire: nothing a guest says becomes a header or a request it was not asked for.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hm_abi::{HttpClient, HttpLimits, HttpRequest};
use serde_json::json;

use crate::plugin::{Plugin, client};
use crate::server::{Server, ok};

const AGENT: &str = concat!("hm-abi/", env!("CARGO_PKG_VERSION"));

/// The head of a request in parts: the first line, and the headers, sorted.
fn head(request: &str) -> (String, Vec<String>) {
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap();
    let mut headers: Vec<_> = lines.collect();
    headers.sort();
    (first, headers)
}

#[tokio::test]
async fn a_request_is_this_and_no_more() {
    let server = Server::answering(|_| ok("", "")).await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    plugin.get(&server.url("/a/../b c?d=%0d%0a&e=é\"<>^`{|}#fragment")).await;
    let request = &server.requests()[0];
    let (first, headers) = head(request);
    assert_eq!(first, "GET /b%20c?d=%0d%0a&e=%C3%A9%22%3C%3E^`{|} HTTP/1.1");
    let host = format!("host: {}", server.address);
    let agent = format!("user-agent: {AGENT}");
    assert_eq!(headers, ["accept-encoding: gzip", host.as_str(), agent.as_str()]);
    assert!(request.ends_with("\r\n\r\n"));

    plugin.get(&server.url("//evil.test/a")).await;
    let (first, headers) = head(&server.requests()[1]);
    assert_eq!(first, "GET //evil.test/a HTTP/1.1");
    assert!(headers.contains(&host));
}

/// [http.plain] The test above again, in a process whose environment names proxies.
#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let proxy = Server::canary().await;
    let url = proxy.url("");
    let mut test = tokio::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "wire::a_request_is_this_and_no_more"])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        test.env(name, &url);
    }
    let output = test.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(proxy.connections(), 0);
}

/// [http.body] With any method, and none.
#[tokio::test]
async fn bodies_have_their_length_with_any_method() {
    let server = Server::answering(|_| ok("", "")).await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"] {
        let request = json!({"url": server.url("/"), "method": method}).to_string();
        plugin.call("send", &request).await;
        let sent = server.requests().pop().unwrap();
        assert!(sent.starts_with(&format!("{method} / HTTP/1.1\r\n")), "{sent}");
        assert!(sent.contains("\r\ncontent-length: 5\r\n") && sent.ends_with("\r\n\r\nhello"), "{sent}");
        assert!(!sent.contains("transfer-encoding"), "{sent}");

        plugin.call("get", &request).await;
        let sent = server.requests().pop().unwrap();
        let says_none = matches!(method, "POST" | "PUT" | "PATCH");
        assert_eq!(sent.contains("\r\ncontent-length: 0\r\n"), says_none, "{sent}");
        assert!(sent.ends_with("\r\n\r\n") && !sent.contains("transfer-encoding"), "{sent}");
    }
}

#[tokio::test]
async fn the_guests_own_headers() {
    let server = Server::answering(|_| ok("", "")).await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    let headers = json!({"User-Agent": "mine", "Accept-Encoding": "br", "X-Text": "é; \t\"x\""});
    plugin.call("get", &json!({"url": server.url("/"), "headers": headers}).to_string()).await;
    let (_, headers) = head(&server.requests()[0]);
    let host = format!("host: {}", server.address);
    assert_eq!(headers, ["accept-encoding: br", host.as_str(), "user-agent: mine", "x-text: é; \t\"x\""]);
}

/// [http.strict] [http.reserved] Nothing of it reaches the wire.
#[tokio::test]
async fn nothing_can_be_smuggled_in() {
    let server = Server::answering(|_| ok("", "")).await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    let url = server.url("/");
    for request in [
        json!({"url": url, "headers": {"x-a": "b\r\nx-evil: 1"}}),
        json!({"url": url, "headers": {"x-a": "b\nx-evil: 1"}}),
        json!({"url": url, "headers": {"x-a": "b\rx-evil: 1"}}),
        json!({"url": url, "headers": {"x-a": "b\0"}}),
        json!({"url": url, "headers": {"x-a\r\nx-evil": "1"}}),
        json!({"url": url, "headers": {"x-a: b\r\nx-evil": "1"}}),
        json!({"url": url, "headers": {"Host": "evil.test"}}),
        json!({"url": url, "headers": {"content-length": "0"}}),
        json!({"url": url, "headers": {"TRANSFER-ENCODING": "chunked"}}),
        json!({"url": url, "headers": {"connection": "upgrade"}}),
        json!({"url": url, "headers": {"upgrade": "h2c"}}),
        json!({"url": url, "method": "GET / HTTP/1.1\r\nx-evil: 1\r\n\r\nGET"}),
        json!({"url": url, "method": "CONNECT"}),
    ] {
        let found = plugin.call("get", &request.to_string()).await;
        assert!(found.starts_with("trap `http_request`: "), "{request}: {found}");
    }
    assert_eq!(server.connections(), 0);

    // URLs lose such characters, or have them escaped.
    for path in ["/\r\nx-evil: 1\r\n\r\n", "/?\nx-evil:1", "/ HTTP/1.1\r\nx-evil:1", "/\u{2028}\u{10a}x"] {
        plugin.get(&server.url(path)).await;
        let sent = server.requests().pop().unwrap();
        let (first, headers) = head(&sent);
        assert_eq!(first.split(' ').count(), 3, "{sent:?}");
        assert_eq!(headers.len(), 3, "{sent:?}");
        assert!(sent.is_ascii(), "{sent:?}");
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// [http.gzip] And else left as it is.
#[tokio::test]
async fn gzip_is_decoded_if_we_asked_for_it() {
    let server = Server::answering(|request| match request.split(' ').nth(1) {
        Some("/gzip") => ok("content-encoding: gzip\r\n", gzip("much text")),
        Some("/other") => ok("content-encoding: br\r\n", "as it was"),
        _ => ok("content-encoding: gzip\r\n", "no gzip"),
    })
    .await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    assert_eq!(plugin.get(&server.url("/gzip")).await, "output much text");
    assert_eq!(plugin.call("headers", "").await, "output {}", "encoding and length were those of the gzip");
    assert_eq!(plugin.get(&server.url("/other")).await, "output as it was");
    let broken = plugin.get(&server.url("/broken")).await;
    assert!(broken.starts_with("failed: the response is not the gzip it says it is: "), "{broken}");

    let own = json!({"url": server.url("/gzip"), "headers": {"accept-encoding": "gzip"}}).to_string();
    let output = plugin.instance.call("get", own.as_bytes(), &crate::guest::CALL).await.unwrap();
    assert_eq!(output, gzip("much text"), "the guest asked for it and gets it");
    assert!(plugin.call("headers", "").await.contains("content-encoding"));
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let server = Server::answering(|request| ok("", request.split_once("\r\n\r\n").unwrap().1)).await;
    let request = HttpRequest {
        method: "POST".to_owned(),
        url: server.url("/"),
        headers: BTreeMap::new(),
        body: b"abcdefghijklmnopqrstuvw".iter().copied().cycle().take(1_000_000).collect(),
    };
    let limits = HttpLimits { body_bytes: 1_000_000, header_bytes: 1000 };
    let response = client(&["127.0.0.1"]).send(request.clone(), &limits).await.unwrap();
    assert!(response.body == request.body, "{} bytes came back", response.body.len());
}
