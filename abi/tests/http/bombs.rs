//! Servers that mean harm: whatever they send, a response stays below its ceilings or is a typed error.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use hm_abi::{CallLimits, InstanceLimits};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::guest::CALL;
use crate::plugin::{Plugin, client};
use crate::server::{Server, ok, read_request};

const LIMITS: InstanceLimits =
    InstanceLimits { http_body_bytes: 10_000, http_header_bytes: 2000, ..InstanceLimits::standard() };

/// Longer than any interruption takes.
const HANG: Duration = Duration::from_secs(20);

/// Result of a response, and the status that is left.
async fn outcome(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    let server = Server::answering(move |_| answer.clone()).await;
    let mut plugin = Plugin::with(client(&["127.0.0.1"]), LIMITS);
    let outcome = plugin.get(&server.url("/")).await;
    if !outcome.starts_with("output") {
        assert_eq!(plugin.call("status", "").await, "number 0");
    }
    outcome
}

/// Result of a response that never ends: `head`, and then `again` for ever, with pauses between.
async fn endless(head: &'static str, again: &'static str, pause: Duration) -> String {
    let server = Server::start("127.0.0.1:0", move |mut stream, _| async move {
        read_request(&mut stream).await;
        let mut sent = stream.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            tokio::time::sleep(pause).await;
            sent = stream.write_all(again.as_bytes()).await;
        }
    })
    .await;
    let mut plugin = Plugin::with(client(&["127.0.0.1"]), LIMITS);
    let begin = Instant::now();
    let request = json!({"url": server.url("/")}).to_string();
    let deadline = if pause.is_zero() { CALL.deadline } else { Duration::from_millis(500) };
    let outcome = plugin.call_within("get", &request, &CallLimits { deadline, ..CALL }).await;
    assert!(begin.elapsed() < HANG);
    outcome
}

/// [limit.http-response] [http.counted] As announced, and as received.
#[tokio::test]
async fn bodies_up_to_the_ceiling() {
    let found = outcome(ok("", "x".repeat(10_000))).await;
    assert_eq!(found.len(), "output ".len() + 10_000);
    let limit = |asked| format!("limit bytes of an HTTP response {asked} > 10000");
    assert_eq!(outcome(ok("", "x".repeat(10_001))).await, limit("10001"));
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\nabc";
    assert_eq!(outcome(announced).await, limit("100000000000"), "before it is received");
}

/// [limit.http-response] [http.counted] As decoded.
#[tokio::test]
async fn gzip_that_unfolds() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..100 {
        encoder.write_all(&[0; 100_000]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 10_000, "it is small as sent");
    let found = outcome(ok("content-encoding: gzip\r\n", &bomb)).await;
    assert!(found.starts_with("limit bytes of an HTTP response ") && found.ends_with(" > 10000"), "{found}");
}

#[tokio::test]
async fn bodies_without_end() {
    for (head, again) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxxxxxxxxxx"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "4\r\nxxxx\r\n"),
    ] {
        let found = endless(head, again, Duration::ZERO).await;
        let limit = found.starts_with("limit bytes of an HTTP response ") && found.ends_with(" > 10000");
        assert!(limit, "{head:?}: {found}");
    }
}

/// [limit.http-response] [http.counted] With the status line.
#[tokio::test]
async fn headers_without_end() {
    let limit = "limit bytes of HTTP response headers 2001 > 2000";
    for (head, again) in [
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
        ("HTTP/1.1 200 OK\r\na: ", "bbbbbbbbbbbbb"),
        ("HTTP/1.1 200 OK\r\n", "aaaaaaaaaaaaaaa"),
        ("HTTP/1.1 200 ", "OK OK OK "),
    ] {
        assert_eq!(endless(head, again, Duration::ZERO).await, limit, "{head:?}");
    }
    let many = "a:\r\n".repeat(600);
    assert_eq!(outcome(format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await, limit);
    let long = "b".repeat(2000);
    assert_eq!(outcome(format!("HTTP/1.1 200 OK\r\na: {long}\r\n\r\n")).await, limit);
    let some = "a: b\r\n".repeat(100);
    assert_eq!(
        outcome(format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n{some}\r\nfine")).await,
        "output fine"
    );
}

/// [http.counted] Headers without bytes count by their number.
#[tokio::test]
async fn headers_are_1024_at_most() {
    let limit = "limit bytes of HTTP response headers 65537 > 65536";
    // One more is the length.
    for (headers, expected) in [(1023, "output fine"), (1024, limit)] {
        let many: String = (0..headers).map(|number| format!("a{number}:\r\n")).collect();
        let server = Server::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n{many}\r\nfine").into_bytes()
        })
        .await;
        let mut plugin = Plugin::with(client(&["127.0.0.1"]), InstanceLimits::standard());
        assert_eq!(plugin.get(&server.url("/")).await, expected, "{headers}");
    }
}

#[tokio::test]
async fn trailers_without_end() {
    let found = endless(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nxxxx\r\n0\r\n",
        "a: b\r\n",
        Duration::ZERO,
    )
    .await;
    assert!(
        found.starts_with("failed: the exchange over HTTP failed: ") || found.starts_with("limit"),
        "{found}"
    );
}

/// [http.deadline] However slowly it goes on.
#[tokio::test]
async fn drips_end_at_the_deadline() {
    let pause = Duration::from_millis(20);
    for (head, again) in [
        ("", ""),
        ("", "\r\n"),
        ("HTTP/1.1 200 OK\r\n", "a"),
        ("HTTP/1.1 200 OK\r\n\r\n", "x"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ] {
        assert_eq!(endless(head, again, pause).await, "timed out", "{head:?} {again:?}");
    }
}

#[tokio::test]
async fn interim_responses_without_end() {
    let server = Server::start("127.0.0.1:0", |mut stream, _| async move {
        read_request(&mut stream).await;
        while stream.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)).await.is_ok() {}
    })
    .await;
    let mut plugin = Plugin::with(client(&["127.0.0.1"]), LIMITS);
    let request = json!({"url": server.url("/")}).to_string();
    let limits = CallLimits { deadline: Duration::from_millis(300), ..CALL };
    let begin = Instant::now();
    let found = plugin.call_within("get", &request, &limits).await;
    assert!(found == "timed out" || found.starts_with("limit bytes of HTTP response headers"), "{found}");
    assert!(begin.elapsed() < HANG);
}

#[tokio::test]
async fn what_is_not_http() {
    for answer in [
        "",
        "\r\n",
        "nonsense\r\n\r\n",
        "<html>an answer of HTTP/0.9</html>",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: abc\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let found = outcome(answer).await;
        assert!(found.starts_with("failed: the exchange over HTTP failed: "), "{answer:?}: {found}");
    }
}

#[tokio::test]
async fn more_than_was_announced_is_not_part_of_it() {
    let found = outcome("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 500 Evil\r\n\r\n").await;
    assert_eq!(found, "output abc");
}
