//! Engines that misbehave: they never come to an end, or never begin.

use std::time::Duration;

use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::TryStreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::DockerError;
use crate::endpoint::Endpoint;
use crate::engine::about;

/// More than an answer may have.
const TOO_MUCH: usize = 260 << 20;

/// An engine that answers everything with a head and then so much white space, and at last closes the connection.
async fn flood(head: &'static str, length: usize) -> Docker {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        let block = vec![b' '; 1 << 20];
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).await;
            let mut sent = 0;
            // Who has had enough does not read all of it.
            while sent < length && stream.write_all(&block).await.is_ok() {
                sent += block.len();
            }
        }
    });
    let connector = Connector::Tcp { host: address.ip().to_string(), port: address.port(), tls: None };
    Transport::new(connector).client(ClientVersion { major_version: 1, minor_version: 41 }).expect("a client")
}

#[tokio::test]
async fn an_answer_without_end_is_an_error_whatever_it_says_that_it_is() {
    for head in [
        "200 OK\r\ncontent-type: application/json",
        "200 OK\r\ncontent-type: application/x-tar\r\ncontent-length: 999999999999",
        "500 Internal Server Error",
    ] {
        let docker = flood(head, usize::MAX).await;
        let error = docker.info().await.expect_err("it has no end");
        let cause = error.source().expect("a cause").to_string();
        assert_eq!(cause, "the answer is longer than 256 MiB", "{head}: {error:?}");
    }
    let docker = flood("404 Not Found", usize::MAX).await;
    let options = DownloadFromContainerOptionsBuilder::default().path("/w").build();
    let error = docker.download_from_container("c", Some(options)).try_for_each(async |_| Ok(())).await;
    assert!(error.is_err(), "that there is no such file takes no more words than another error");
}

#[tokio::test]
async fn what_is_read_piece_by_piece_may_be_of_any_length() {
    let docker = flood("200 OK\r\ncontent-type: application/x-tar", TOO_MUCH).await;
    let options = DownloadFromContainerOptionsBuilder::default().path("/w").build();
    let length = async |length, piece: Bytes| Ok(length + piece.len());
    let taken = docker.download_from_container("c", Some(options)).try_fold(0, length).await;
    assert_eq!(taken.expect("read"), TOO_MUCH);
    let taken = docker.export_container("c").try_fold(0, length).await;
    assert_eq!(taken.expect("read"), TOO_MUCH);
    assert!(is_long("/v1.41/images/create", StatusCode::OK), "a pull goes on for as long as it takes");
    assert!(is_long("/v1.41/exec/e/start", StatusCode::SWITCHING_PROTOCOLS));
    assert!(!is_long("/v1.41/exec/e/start", StatusCode::OK));
}

#[tokio::test]
async fn an_engine_that_does_not_say_what_it_is_is_given_up() {
    for head in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(head.as_bytes()).await.expect("written");
            std::future::pending::<()>().await;
        });
        let connector = Connector::Tcp { host: address.ip().to_string(), port: address.port(), tls: None };
        let version = ClientVersion { major_version: 1, minor_version: 41 };
        let docker = Transport::new(connector).client(version).expect("a client");
        let at = Endpoint { url: "tcp://there".into(), from: "DOCKER_HOST".into() };
        let asking = about(&docker, &at, Duration::from_millis(200));
        let asked = tokio::time::timeout(Duration::from_secs(60), asking).await.expect("given up");
        let error = asked.expect_err("it has not answered");
        assert!(matches!(error, DockerError::Refused { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the Docker Engine cannot say what it is: it has not answered within 0 s"
        );
    }
}
