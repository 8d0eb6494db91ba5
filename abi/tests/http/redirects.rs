//! Redirects: each place is checked as if the guest had asked for it, and learns no more than it should.

use serde_json::json;

use crate::plugin::{Names, Plugin};
use crate::server::{Server, ok, redirect};

/// The path that a request asks for.
fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

/// [http.redirects] [http.hop] Places a guest could not ask for.
#[tokio::test]
async fn to_where_the_list_does_not_lead() {
    let canary = Server::canary().await;
    let port = canary.port();
    let names = Names::leading_to(&["127.0.0.1"]);
    for (target, expected) in [
        (format!("http://127.0.0.1:{port}/secret"), format!("denied http_request to http://127.0.0.1:{port}")),
        (format!("//127.0.0.1:{port}/"), format!("denied http_request to http://127.0.0.1:{port}")),
        (format!("http://0x7f.1:{port}/"), format!("denied http_request to http://127.0.0.1:{port}")),
        (format!("http://localhost:{port}/"), format!("denied http_request to http://localhost:{port}")),
        (format!("http://[::1]:{port}/"), format!("denied http_request to http://[::1]:{port}")),
        (
            format!("https://api.example.com:{port}/"),
            format!("denied http_request to https://api.example.com:{port} at 127.0.0.1"),
        ),
        (format!("http://api.example.com:{port}/"), format!("denied http_request to http://api.example.com:{port}")),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "denied http_request to http://169.254.169.254".to_owned()),
        (
            "file:///etc/passwd".to_owned(),
            "failed: the server redirects to a place that cannot be requested: the URL's scheme is `file`, which is neither \
             http nor https"
                .to_owned(),
        ),
        (
            "http://u:p@127.0.0.1/".to_owned(),
            "failed: the server redirects to a place that cannot be requested: the URL holds a user name or a password"
                .to_owned(),
        ),
        (
            "http://[nonsense/".to_owned(),
            "failed: the server redirects to a place that cannot be requested: the URL is malformed: invalid IPv6 address"
                .to_owned(),
        ),
    ] {
        for code in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let location = target.clone();
            let server = Server::answering(move |_| redirect(code, &location)).await;
            let hosts = [format!("127.0.0.1:{}", server.port()), "api.example.com".to_owned()];
            let mut plugin = Plugin::resolving(&hosts, &names);
            assert_eq!(plugin.get(&server.url("/")).await, expected, "{code} {target}");
            assert_eq!(plugin.call("status", "").await, "number 0");
        }
    }
    assert_eq!(canary.connections(), 0);
}

/// [http.redirects] Chains and circles.
#[tokio::test]
async fn up_to_ten_and_no_more() {
    let server = Server::answering(|request| match path(request)[1..].parse::<u32>() {
        Ok(0) => ok("", "arrived"),
        Ok(left) => redirect("302 Found", &(left - 1).to_string()),
        Err(_) => redirect("302 Found", "/loop"),
    })
    .await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    assert_eq!(plugin.get(&server.url("/10")).await, "output arrived");
    assert_eq!(server.connections(), 11);
    assert_eq!(plugin.get(&server.url("/11")).await, "failed: more than 10 redirects");
    assert_eq!(plugin.get(&server.url("/loop")).await, "failed: more than 10 redirects");
    assert_eq!(server.connections(), 33);
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_the_response() {
    for answer in [
        "HTTP/1.1 302 Found\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 300 Multiple Choices\r\nlocation: /x\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 304 Not Modified\r\nlocation: /x\r\n\r\n",
    ] {
        let server = Server::answering(|_| answer.as_bytes().to_vec()).await;
        let mut plugin = Plugin::new(&["127.0.0.1"]);
        assert!(plugin.get(&server.url("/")).await.starts_with("output"), "{answer}");
        assert_eq!(server.connections(), 1, "{answer}");
    }
}

/// [http.redirect-method] After each code.
#[tokio::test]
async fn methods_and_bodies() {
    for (code, method, expected) in [
        ("301 Moved Permanently", "POST", "GET"),
        ("302 Found", "POST", "GET"),
        ("303 See Other", "PUT", "GET"),
        ("303 See Other", "HEAD", "HEAD"),
        ("307 Temporary Redirect", "POST", "POST"),
        ("308 Permanent Redirect", "PUT", "PUT"),
    ] {
        let server = Server::answering(move |request| match path(request) {
            "/first" => redirect(code, "/second?a=b"),
            _ => ok("", ""),
        })
        .await;
        let mut plugin = Plugin::new(&["127.0.0.1"]);
        let headers = json!({"content-type": "text/plain", "x-kept": "1"});
        let request = json!({"url": server.url("/first"), "method": method, "headers": headers}).to_string();
        assert_eq!(plugin.call("send", &request).await, "output ", "{code} {method}");
        let second = &server.requests()[1];
        assert!(second.starts_with(&format!("{expected} /second?a=b HTTP/1.1\r\n")), "{second}");
        assert!(second.contains("\r\nx-kept: 1\r\n"), "{second}");
        let keeps_body = expected == method;
        assert_eq!(second.contains("content-length: 5\r\n"), keeps_body, "{second}");
        assert_eq!(second.contains("content-type: text/plain\r\n"), keeps_body, "{second}");
        assert_eq!(second.ends_with("\r\n\r\nhello"), keeps_body, "{second}");
    }
}

/// [http.credentials] To the same origin, and to another.
#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let other = Server::answering(|request| match path(request) {
        "/back" => ok("", "arrived"),
        _ => redirect("307 Temporary Redirect", "/back"),
    })
    .await;
    let elsewhere = other.url("/elsewhere");
    let server = Server::answering(move |request| match path(request) {
        "/first" => redirect("307 Temporary Redirect", "/same"),
        _ => redirect("307 Temporary Redirect", &elsewhere),
    })
    .await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    let headers = json!({"Authorization": "secret-a", "COOKIE": "secret-b", "proxy-authorization": "secret-c", "x-kept": "1"});
    let request = json!({"url": server.url("/first"), "headers": headers}).to_string();
    assert_eq!(plugin.call("get", &request).await, "output arrived");
    for request in server.requests() {
        for secret in ["authorization: secret-a", "cookie: secret-b", "proxy-authorization: secret-c"] {
            assert!(request.contains(secret), "same origin: {request}");
        }
    }
    assert_eq!(other.requests().len(), 2);
    for request in other.requests() {
        assert!(!request.contains("secret"), "{request}");
        assert!(request.contains("x-kept: 1"), "{request}");
        assert!(request.contains(&format!("host: {}\r\n", other.address)), "{request}");
    }
}

#[tokio::test]
async fn bodies_of_redirects_are_not_received() {
    let arrived = "arrived";
    let server = Server::answering(move |request| match path(request) {
        "/first" => {
            b"HTTP/1.1 302 Found\r\nlocation: /second\r\ncontent-length: 99999999999\r\n\r\nxxx".to_vec()
        }
        _ => ok("", arrived),
    })
    .await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    assert_eq!(plugin.get(&server.url("/first")).await, "output arrived");
}
