//! The imports: what they take, in which order, what they leave, and what they cost.

use std::sync::Arc;
use std::sync::Mutex;

use hm_abi::{
    CallLimits, HostError, HttpClient, HttpFuture, HttpLimits, HttpRequest, HttpRequestError, HttpResponse,
    InstanceLimits,
};
use serde_json::json;

use crate::guest::CALL;
use crate::plugin::Plugin;
use crate::server::{Server, ok, status};

/// [http.no-client] Neither request nor answer.
#[tokio::test]
async fn without_a_client_requests_are_denied_and_there_is_nothing_to_ask_about() {
    let mut plugin = Plugin::with_http(None, InstanceLimits::standard());
    assert_eq!(plugin.get("https://example.com/").await, "denied http_request");
    assert_eq!(plugin.call("status", "").await, "number 0");
    assert_eq!(plugin.call("headers", "").await, "output ");
}

/// [http.every-status] Bodies of all kinds and lengths.
#[tokio::test]
async fn every_status_has_its_body_and_nothing_is_offset_0() {
    let server = Server::answering(|request| match request.split(' ').nth(1) {
        Some("/404") => status("404 Not Found", "", "no such page"),
        Some("/500") => status("500 Internal Server Error", "", "broken"),
        Some("/empty") => ok("", ""),
        Some("/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        Some("/chunked") => {
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
                .to_vec()
        }
        Some("/to-the-end") => b"HTTP/1.0 200 OK\r\n\r\nuntil it closes".to_vec(),
        Some("/head") => b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 700\r\n\r\n".to_vec(),
        _ => ok("", "hello"),
    })
    .await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    for (path, expected, code) in [
        ("/", "output hello", 200),
        ("/404", "output no such page", 404),
        ("/500", "output broken", 500),
        ("/empty", "output ", 200),
        ("/204", "output ", 204),
        ("/chunked", "output abcdefg", 200),
        ("/to-the-end", "output until it closes", 200),
    ] {
        assert_eq!(plugin.get(&server.url(path)).await, expected, "{path}");
        assert_eq!(plugin.call("status", "").await, format!("number {code}"), "{path}");
    }
    let head = json!({"url": server.url("/head"), "method": "head"}).to_string();
    assert_eq!(plugin.call("get", &head).await, "output ");
    assert!(server.requests().last().unwrap().starts_with("HEAD /head HTTP/1.1\r\n"));
}

/// [http.forgets] [http.headers] [http.no-response] [http.stays] Through calls, traps and requests that fail.
#[tokio::test]
async fn status_and_headers_stay_until_the_next_request_begins() {
    let server = Server::answering(|request| {
        if request.starts_with("GET /cut ") {
            return b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
        }
        let mut headers =
            b"X-One: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Raw: caf\xc3\xa9\r\nx-quote: \"\r\n"
                .to_vec();
        let mut answer = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n".to_vec();
        answer.append(&mut headers);
        answer.extend(b"\r\nok");
        answer
    })
    .await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    assert_eq!(plugin.call("headers", "").await, "output {}", "before any request");

    assert_eq!(plugin.get(&server.url("/")).await, "output ok");
    let headers = r#"output {"content-length":"2","set-cookie":"b=2","x-one":"1","x-quote":"\""}"#;
    for _ in 0..2 {
        assert_eq!(plugin.call("headers", "").await, headers);
        assert_eq!(plugin.call("status", "").await, "number 201");
    }
    assert!(plugin.call("trap", "").await.starts_with("trap"));
    assert_eq!(plugin.call("status", "").await, "number 201", "the plug-in's, not the wasm instance's");

    for failing in [server.url("/cut"), "http://169.254.169.254/".to_owned(), "nonsense".to_owned()] {
        assert_eq!(plugin.get(&server.url("/")).await, "output ok");
        assert_ne!(plugin.get(&failing).await, "output ok");
        assert_eq!(plugin.call("status", "").await, "number 0", "{failing}");
        assert_eq!(plugin.call("headers", "").await, "output {}", "{failing}");
    }
}

/// [http.body] [owner.request] [argument.unknown] What the blocks of a request may be.
#[tokio::test]
async fn blocks() {
    let server = Server::answering(|_| ok("", "fine")).await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    let request = json!({"url": server.url("/"), "method": "PUT"}).to_string();
    assert_eq!(plugin.call("send", &request).await, "output fine", "both blocks are freed, or it traps");
    assert_eq!(plugin.call("both", &request).await, "output fine");
    assert!(server.requests()[1].ends_with(&format!("\r\n\r\n{request}")));
    let unknown = "trap `http_request` was given offset 5, where no block starts";
    assert_eq!(plugin.call("unknown_request", "").await, unknown);
    assert_eq!(plugin.call("unknown_body", &request).await, unknown);
    assert_eq!(server.connections(), 2);
}

/// [limit.http-requests] Each call has its own.
#[tokio::test]
async fn requests_are_counted_for_each_call() {
    let server = Server::answering(|_| ok("", "")).await;
    let limits = InstanceLimits { http_requests: 2, ..InstanceLimits::standard() };
    let mut plugin = Plugin::with(crate::plugin::client(&["127.0.0.1"]), limits);
    let request = json!({"url": server.url("/")}).to_string();
    for round in 1..=2 {
        assert_eq!(plugin.call("thrice", &request).await, "limit HTTP requests 3 > 2");
        assert_eq!(server.connections(), 2 * round);
    }
    assert_eq!(plugin.call("get", &request).await, "output ");
}

/// [limit.http-bytes] The bodies of a call are counted together; the next call has all of it again.
#[tokio::test]
async fn bodies_are_counted_for_each_call() {
    let server = Server::answering(|_| ok("", "12345")).await;
    let limits = InstanceLimits { http_bytes: 12, ..InstanceLimits::standard() };
    let mut plugin = Plugin::with(crate::plugin::client(&["127.0.0.1"]), limits);
    let request = json!({"url": server.url("/")}).to_string();
    for _ in 0..2 {
        assert_eq!(plugin.call("thrice", &request).await, "limit bytes of an HTTP response 5 > 2");
    }
    assert_eq!(plugin.call("get", &request).await, "output 12345");
}

/// Takes down what it is asked, and answers with as many bytes as it has.
struct Fixed {
    bytes: usize,
    asked: Mutex<Vec<(HttpRequest, HttpLimits)>>,
}

impl HttpClient for Fixed {
    fn send<'a>(&'a self, request: HttpRequest, limits: &'a HttpLimits) -> HttpFuture<'a> {
        Box::pin(async move {
            let path = request.url.clone();
            self.asked.lock().unwrap().push((request, limits.clone()));
            match path.as_str() {
                "http://a.test/denied" => Err(HostError::Denied { capability: "a".to_owned() }),
                "http://a.test/failed" => Err(HostError::failed("on purpose")),
                _ => Ok(HttpResponse { status: 299, headers: [].into(), body: vec![b'x'; self.bytes] }),
            }
        })
    }
}

/// [http.client] [http.method] [limit.http-response] What it is asked, and what becomes of its answers.
#[tokio::test]
async fn a_client_of_the_embedders_own() {
    let client = Arc::new(Fixed { bytes: 1000, asked: Mutex::default() });
    let limits =
        InstanceLimits { http_body_bytes: 1000, http_header_bytes: 77, ..InstanceLimits::standard() };
    let mut plugin = Plugin::with_http(Some(Arc::clone(&client) as _), limits);
    let request = json!({"url": "HTTP://A.test/x#y", "method": "post", "headers": {"X-A": "1"}}).to_string();
    assert_eq!(plugin.call("send", &request).await, format!("output {}", "x".repeat(1000)));
    assert_eq!(plugin.call("status", "").await, "number 299");
    let asked = client.asked.lock().unwrap().remove(0);
    let expected = HttpRequest {
        method: "POST".to_owned(),
        url: "http://a.test/x".to_owned(),
        headers: [("x-a".to_owned(), "1".to_owned())].into(),
        body: b"hello".to_vec(),
    };
    assert_eq!(asked, (expected, HttpLimits { body_bytes: 1000, header_bytes: 77 }));
    assert_eq!(plugin.get("http://a.test/denied").await, "denied a");
    assert_eq!(plugin.get("http://a.test/failed").await, "failed: on purpose");

    let larger = Fixed { bytes: 1001, asked: Mutex::default() };
    let mut plugin =
        Plugin::with(larger, InstanceLimits { http_body_bytes: 1000, ..InstanceLimits::standard() });
    assert_eq!(plugin.get("http://a.test/").await, "limit bytes of an HTTP response 1001 > 1000");
}

/// [fuel.http] [fuel.bytes] Before a request is sent, and when there is a body.
#[tokio::test]
async fn requests_and_their_bytes_are_paid() {
    let mut used = Vec::new();
    for bytes in [1, 800_001] {
        let client = Fixed { bytes, asked: Mutex::default() };
        let mut plugin = Plugin::with(client, InstanceLimits::standard());
        let _ = plugin.get("http://a.test/").await;
        used.push(plugin.instance.report().fuel_used);
    }
    assert!(used[0] > 10_000, "{used:?}");
    assert!(used[1] - used[0] >= 100_000, "{used:?}");

    let client = Arc::new(Fixed { bytes: 1, asked: Mutex::default() });
    let mut plugin = Plugin::with_http(Some(Arc::clone(&client) as _), InstanceLimits::standard());
    let poor = CallLimits { fuel: 5000, ..CALL };
    assert_eq!(plugin.call_within("get", r#"{"url":"http://a.test/"}"#, &poor).await, "out of fuel");
    assert!(client.asked.lock().unwrap().is_empty(), "paid before it is sent");
}

/// [http.null] [http.method] What requests say.
#[test]
fn requests_are_read_as_they_are_written() {
    for (json, expected) in [
        (r#"{"url":"http://a/"}"#, ("GET", "http://a/", "")),
        (r#"{"url":"http://a","method":null,"headers":null}"#, ("GET", "http://a/", "")),
        (r#"{"headers":{},"method":"patch","url":"https://A:443/b?c#d"}"#, ("PATCH", "https://a/b?c", "")),
        (
            r#"{"url":"http://a/","method":"X-own","headers":{"B-c":"d","Accept":"*/*"}}"#,
            ("X-OWN", "http://a/", "accept=*/* b-c=d"),
        ),
        (r#"{"url":"http://a/","headers":{"a":"é\t!"}}"#, ("GET", "http://a/", "a=é\t!")),
    ] {
        let request = HttpRequest::parse(json.as_bytes(), Vec::new()).unwrap();
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((request.method.as_str(), request.url.as_str(), headers.join(" ").as_str()), expected);
    }
}

/// [http.fields] [http.malformed] [http.strict] [http.reserved] [http.length] What no request may be.
#[test]
fn malformed_requests_are_named() {
    use HttpRequestError as E;
    let error = |json: &str| HttpRequest::parse(json.as_bytes(), Vec::new()).unwrap_err();
    for json in [
        "",
        "[]",
        "null",
        "1",
        "{}",
        r#"{"url":1}"#,
        r#"{"url":"http://a/","body":""}"#,
        r#"{"url":"http://a/"} x"#,
        r#"{"url":"http://a/","url":"http://b/"}"#,
        r#"{"url":"http://a/","headers":{"a":1}}"#,
        r#"{"url":"http://a/","headers":[["a","b"]]}"#,
        r#"["http://a/",null,null]"#,
        "{\"url\":\"http://\u{1}/\"}",
    ] {
        assert!(matches!(error(json), E::Json { .. }), "{json}: {:?}", error(json));
    }
    let with_url = |url: &str| error(&json!({ "url": url }).to_string());
    for url in [
        "",
        "a",
        "/a",
        "//a/",
        "http://",
        "http:///",
        "http://a b/",
        "http://[::1/",
        "http://a:65536/",
        "http://1.2.3.256/",
    ] {
        assert!(matches!(with_url(url), E::Url { .. }), "{url}: {:?}", with_url(url));
    }
    for url in ["ftp://a/", "file:///etc/passwd", "data:,x", "javascript:x", "unix:/run/x"] {
        assert!(matches!(with_url(url), E::Scheme { .. }), "{url}");
    }
    for url in ["http://u@a/", "http://u:p@a/", "http://:p@a/", "https://example.com%40@a/"] {
        assert_eq!(with_url(url), E::UserInfo, "{url}");
    }
    for method in ["", " ", "GET ", "G T", "GET\r\nX: y", "GÉT", "CONNECT", "connect", "Trace", "GET/"] {
        let json = json!({"url": "http://a/", "method": method}).to_string();
        assert_eq!(error(&json), E::Method { method: method.to_owned() }, "{method}");
    }
    let with_header =
        |name: &str, value: &str| error(&json!({"url": "http://a/", "headers": {name: value}}).to_string());
    for name in ["", " ", "a b", "a:", "a\r\nb", "é", "a\0"] {
        assert_eq!(with_header(name, "x"), E::HeaderName { name: name.to_owned() });
    }
    for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\u{7f}"] {
        assert_eq!(with_header("X-A", value), E::HeaderValue { name: "x-a".to_owned() }, "{value:?}");
    }
    for name in [
        "Host",
        "CONTENT-LENGTH",
        "Transfer-Encoding",
        "connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
    ] {
        assert_eq!(with_header(name, "x"), E::ReservedHeader { name: name.to_lowercase() });
    }
    assert_eq!(
        error(r#"{"url":"http://a/","headers":{"X-A":"1","x-a":"2"}}"#),
        E::RepeatedHeader { name: "x-a".to_owned() }
    );
    let long = format!(r#"{{"url":"http://a/{}"}}"#, "x".repeat(300_000));
    assert!(matches!(error(&long), E::TooLong { bytes: 300_019 }), "{:?}", error(&long));
    assert_eq!(with_url(&format!("http://a/{}", "x".repeat(32_760))), E::LongUrl { bytes: 32_769 });
    assert!(
        HttpRequest::parse(
            &json!({"url": format!("http://a/{}", "x".repeat(32_759))}).to_string().into_bytes(),
            vec![]
        )
        .is_ok()
    );
    let headers: std::collections::BTreeMap<_, _> = (0..1025).map(|n| (format!("a{n}"), "")).collect();
    let json = json!({"url": "http://a/", "headers": headers}).to_string();
    assert_eq!(error(&json), E::TooManyHeaders { headers: 1025 });
    let deep = format!(r#"{{"url":{}"#, "[".repeat(100_000));
    assert!(matches!(error(&deep), E::Json { .. }));
}

#[test]
fn a_request_shows_no_secrets() {
    let json = r#"{"url":"http://a.test/secret?secret","headers":{"authorization":"secret"}}"#;
    let request = HttpRequest::parse(json.as_bytes(), b"secret".to_vec()).unwrap();
    let shown = format!("{request:?}");
    assert!(shown.contains("http://a.test") && shown.contains("authorization"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}
