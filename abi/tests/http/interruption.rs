//! The end of a call ends its request, wherever that is: the server sees the connection close.

use std::time::Duration;

use hm_abi::CallLimits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::guest::{CALL, describe};
use crate::plugin::Plugin;
use crate::server::Server;

/// Longer than any interruption takes.
const HANG: Duration = Duration::from_secs(20);

/// A server that sends this, and then waits for the client; it tells when the request has come, and when the
/// connection is closed.
async fn waiting(answer: &'static [u8]) -> (Server, mpsc::UnboundedReceiver<&'static str>) {
    let (tell, told) = mpsc::unbounded_channel();
    let server = Server::start("127.0.0.1:0", move |mut stream, _| {
        let tell = tell.clone();
        async move {
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(answer).await;
            let _ = tell.send("asked");
            while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
            let _ = tell.send("closed");
        }
    })
    .await;
    (server, told)
}

async fn next(told: &mut mpsc::UnboundedReceiver<&'static str>) -> &'static str {
    tokio::time::timeout(HANG, told.recv()).await.expect("the server is told nothing").unwrap()
}

/// Places in which a request can be: before the response, in its head, in its body, and in the middle of TLS.
const PLACES: &[(&str, &[u8])] = &[
    ("http", b""),
    ("http", b"HTTP/1.1 200 OK\r\na:"),
    ("http", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
    ("https", b""),
];

fn request(scheme: &str, server: &Server) -> String {
    json!({"url": format!("{scheme}://{}/", server.address)}).to_string()
}

/// [http.closed] [cancel.dropped] In each phase of a request.
#[tokio::test]
async fn dropping_the_call() {
    for (scheme, answer) in PLACES {
        let (server, mut told) = waiting(answer).await;
        let mut plugin = Plugin::new(&["127.0.0.1"]);
        let request = request(scheme, &server);
        {
            let call = plugin.call("get", &request);
            tokio::select! {
                found = call => panic!("{found}"),
                event = next(&mut told) => assert_eq!(event, "asked"),
            }
        }
        assert_eq!(next(&mut told).await, "closed", "{scheme} {answer:?}");
        assert_eq!(plugin.call("status", "").await, "number 0");
    }
}

/// [http.closed] [http.deadline] In each phase of a request.
#[tokio::test]
async fn the_deadline() {
    for (scheme, answer) in PLACES {
        let (server, mut told) = waiting(answer).await;
        let mut plugin = Plugin::new(&["127.0.0.1"]);
        let limits = CallLimits { deadline: Duration::from_millis(200), ..CALL };
        assert_eq!(plugin.call_within("get", &request(scheme, &server), &limits).await, "timed out");
        assert_eq!(
            (next(&mut told).await, next(&mut told).await),
            ("asked", "closed"),
            "{scheme} {answer:?}"
        );
        assert_eq!(plugin.call("status", "").await, "number 0");
    }
}

/// [http.closed] [cancel.handle] In each phase of a request.
#[tokio::test]
async fn a_cancel_handle() {
    let (server, mut told) = waiting(b"").await;
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    let handle = plugin.instance.cancel_handle();
    let request = request("http", &server);
    let call = plugin.instance.call("get", request.as_bytes(), &CALL);
    let cancel = async {
        assert_eq!(next(&mut told).await, "asked");
        handle.cancel();
    };
    let (result, ()) = tokio::join!(call, cancel);
    assert!(describe(&result).contains("cancelled"), "{}", describe(&result));
    assert_eq!(next(&mut told).await, "closed");
}
