//! Tests of what comes out of containers of a real engine, and that nothing else does, whatever an engine sends.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, WaitContainerOptions};

use super::super::transport::{Connector, Transport};
use super::*;
use crate::lab;

/// A container in which this was done.
async fn container(docker: &Docker, name: &str, script: &str) {
    let body = ContainerCreateBody {
        image: Some(lab::IMAGE.to_owned()),
        cmd: Some(["sh", "-euc", script].map(ToOwned::to_owned).into()),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    docker.create_container(Some(options), body).await.unwrap();
    docker.start_container(name, None).await.unwrap();
    let ended = docker.wait_container(name, None::<WaitContainerOptions>).next().await.unwrap();
    assert_eq!(ended.unwrap().status_code, 0, "{script}");
}

async fn collect(
    docker: &Docker,
    workdir: &str,
    patterns: &[&str],
    out: &Path,
) -> Result<Collected, DockerError> {
    let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
    super::collect(docker, "the lab", "step", workdir, &patterns, &out.join("step")).await
}

fn keys(collected: &Collected) -> Vec<&str> {
    collected.artifacts.iter().map(|artifact| artifact.key.as_str()).collect()
}

#[tokio::test]
async fn what_patterns_name_comes_out_and_no_more() {
    let Some(engine) = lab::engine() else { return };
    let docker = lab::client(engine).await;
    let long = "l".repeat(200);
    let script = format!(
        r#"mkdir -p /secret /w/dist/sub /w/a/b /w/{long}/{long} /w/odd /w/empty "/w/[x"; cd /w
        echo secret > /secret/file; echo wheel > dist/x.whl; echo other > dist/x.txt; echo in > dist/sub/in; chmod 755 dist/sub/in
        ln -s /secret out; ln -s /secret/file dist/y.whl; ln -s x.whl dist/sub/link; mkfifo dist/pipe.whl
        ln dist/x.txt hard.whl; ln dist/x.whl dist/zz.whl; ln a/b/../../dist/sub/in a/b/hard
        echo deep > {long}/{long}/deep; echo bracket > "[x/y"; ln -s w /link
        echo > "$(printf 'odd/\377')"; echo ok > "$(printf 'odd/ä \n"')"; : > odd/nothing"#
    );
    container(&docker, "step", &script).await;
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path();
    let read = |name: &str| fs::read_to_string(out.join("step").join(name)).unwrap();

    let collected = collect(&docker, "/w/", &["dist/*.whl", "hard.whl", "dist/sub", "./a/", "no/such"], out)
        .await
        .unwrap();
    assert_eq!(keys(&collected), ["a/b/hard", "dist/sub/in", "dist/x.whl", "dist/zz.whl", "hard.whl"]);
    assert_eq!(
        collected.notes,
        [
            "no file matches the artifacts `no/such`",
            "left out of the artifacts: 2 symbolic links, 1 devices, sockets or pipes"
        ]
    );
    assert_eq!(
        (read("hard.whl"), read("dist/zz.whl"), read("a/b/hard")),
        ("other\n".into(), "wheel\n".into(), "in\n".into())
    );
    let whl = &collected.artifacts[2];
    assert_eq!((whl.mime.as_str(), whl.content.size_bytes, whl.executable), ("application/zip", 6, false));
    assert!(collected.artifacts[0].executable && collected.artifacts[1].executable);
    assert_eq!(fs::metadata(out.join("step/dist/sub/in")).unwrap().permissions().mode() & 0o111, 0o111);
    assert!(!out.join("step/dist/x.txt").exists());

    // Nothing is behind a link, nor below a file, nor where no name can be; what was there is gone.
    let too_long = "x".repeat(300);
    let many = "d/".repeat(2000);
    let patterns =
        ["out/file", "out/*", "dist/x.whl/y", &too_long, &format!("{too_long}/*"), &many, "nul\0/x", "link"];
    let collected = collect(&docker, "/w", &patterns, out).await.unwrap();
    assert!(collected.artifacts.is_empty() && collected.notes.len() == patterns.len(), "{collected:?}");
    assert!(fs::read_dir(out.join("step")).unwrap().next().is_none());
    let collected = collect(&docker, "/w", &["out", "dist/y.whl"], out).await.unwrap();
    assert!(collected.artifacts.is_empty());
    assert_eq!(collected.notes, ["left out of the artifacts: 2 symbolic links"]);

    // Everything, and names as nobody wants them; also where the image has the workspace behind a link.
    let deep = format!("{long}/{long}/deep");
    for workdir in ["/w", "/link"] {
        let collected = collect(&docker, workdir, &["**"], out).await.unwrap();
        let mut expected =
            vec!["[x/y", "a/b/hard", "dist/sub/in", "dist/x.txt", "dist/x.whl", "dist/zz.whl", "hard.whl"];
        expected.extend([deep.as_str(), "odd/nothing", "odd/ä \n\""]);
        assert_eq!(keys(&collected), expected, "{workdir}");
        assert_eq!((read(&deep), read("odd/ä \n\"")), ("deep\n".into(), "ok\n".into()));
        assert_eq!(
            collected.notes,
            [
                "left out of the artifacts: 3 symbolic links, 1 devices, sockets or pipes, 1 with names that are not UTF-8"
            ]
        );
    }
    let collected = collect(&docker, "/", &["w/[[]x", "secret", "*"], out).await.unwrap();
    assert!(keys(&collected).contains(&"secret/file") && read("w/[x/y") == "bracket\n");
    assert!(collect(&docker, "/no/workspace", &["."], out).await.unwrap().artifacts.is_empty());

    assert!(is_directory(&docker, "step", "/w/empty").await.unwrap());
    for path in ["/w/out", "/w/hard.whl", "/w/none", "/w/dist/pipe.whl"] {
        assert!(!is_directory(&docker, "step", path).await.unwrap(), "{path}");
    }
    // Without a container nothing can be said.
    let error = super::collect(&docker, "the lab", "none", "/w", &["**".to_owned()], &out.join("step")).await;
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "the Docker Engine cannot hand out files of `none`: No such container: none");
    assert!(collect(&docker, "/w", &["../x"], out).await.unwrap_err().to_string().contains("artifacts"));
}

/// An engine that serves one connection after the other: it gets the first line of a request, and where the answer
/// goes. Once it breaks off, it is gone.
fn engine(serve: impl Fn(&str, &mut TcpStream) -> ControlFlow<()> + Send + 'static) -> Docker {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            if serve(request.lines().next().unwrap_or_default(), &mut connection).is_break() {
                break;
            }
        }
    });
    let connector = Connector::Tcp { host: address.ip().to_string(), port: address.port(), tls: None };
    Transport::new(connector).client(bollard::ClientVersion { major_version: 1, minor_version: 41 }).unwrap()
}

/// Sends the beginning of an answer that is so long.
fn send(connection: &mut TcpStream, length: usize, beginning: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // Who has had enough does not read all of it.
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(beginning));
}

/// Answers with these bytes, as an engine would with a tar; asked about a container, it says nothing of it.
fn pretender(answer: Vec<u8>) -> Docker {
    engine(move |asked, connection| {
        let answer = if asked.contains("/json") { b"{}" } else { answer.as_slice() };
        send(connection, answer.len(), answer);
        ControlFlow::Continue(())
    })
}

#[tokio::test]
async fn more_files_or_bytes_than_a_step_may_produce_are_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path();
    let mut directory = Vec::new();
    entry(&mut directory, EntryType::Directory, b"d/", b"", 0, b"");
    let (mut many, mut large) = (directory.clone(), directory);
    for number in 0..=MAX_FILES {
        // Further names of a file count as files, and nothing is written for them yet.
        entry(&mut many, EntryType::Link, format!("d/{number}").as_bytes(), b"d/file", 0, b"");
    }
    entry(&mut large, EntryType::Regular, b"d/file", b"", 5 << 30, b"");
    for (tar, expected) in [(many, "more than 10000 files match"), (large, "more than")] {
        let error = collect(&pretender(tar), "/w", &["d"], out).await.unwrap_err();
        let DockerError::Artifacts(error) = error else { panic!("{error}") };
        assert!(error.to_string().contains(expected), "{error}");
        assert!(fs::read_dir(out.join("step")).unwrap().next().is_none(), "half of it is of no use");
    }
}

/// The beginning of a file of 3 GiB, which takes its time.
fn beginning() -> Vec<u8> {
    let mut tar = Vec::new();
    entry(&mut tar, EntryType::Regular, b"three", b"", 3 << 30, &[0; 1 << 20]);
    tar
}

#[tokio::test]
async fn who_waits_no_more_has_nothing_collected() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path();
    let docker = engine(|_, connection| {
        send(connection, 4 << 30, &beginning());
        // Until nobody reads any more.
        let _ = connection.read(&mut [0]);
        ControlFlow::Continue(())
    });
    let waiting =
        tokio::time::timeout(Duration::from_millis(300), collect(&docker, "/w", &["three"], out)).await;
    assert!(waiting.is_err(), "that was quick");
    let end = Instant::now() + Duration::from_secs(60);
    while fs::read_dir(out.join("step")).unwrap().next().is_some() {
        assert!(Instant::now() < end, "it goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_engine_that_dies_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("step");
    let (die, dead) = std::sync::mpsc::channel::<()>();
    let docker = engine(move |_, connection| {
        send(connection, 4 << 30, &beginning());
        let _ = dead.recv();
        ControlFlow::Break(())
    });
    let patterns = ["three".to_owned()];
    let collecting = super::collect(&docker, "the lab", "step", "/w", &patterns, &path);
    let dying = async {
        while fs::read_dir(&path).ok().is_none_or(|mut entries| entries.next().is_none()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(die);
    };
    let (collected, ()) = tokio::join!(collecting, dying);
    let error = collected.unwrap_err();
    assert!(matches!(error, DockerError::Lost { .. }), "{error:?}");
    assert_eq!(error.to_string(), "the Docker Engine at the lab is gone: cannot hand out files of `step`");
    assert!(fs::read_dir(&path).unwrap().next().is_none());
}

fn entry(tar: &mut Vec<u8>, kind: EntryType, name: &[u8], link: &[u8], size: u64, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o4777);
    header.set_size(size);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    tar.extend(header.as_bytes());
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

#[tokio::test]
async fn names_that_an_engine_makes_up_lead_nowhere() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path();
    let mut tar = Vec::new();
    entry(&mut tar, EntryType::Directory, b"d/", b"", 0, b"");
    for name in [&b"d/../../up"[..], b"../up", b"/up", b"d//up", b"e/up", b"d/./.", b"d/..", b"d", b"d/", b""]
    {
        entry(&mut tar, EntryType::Regular, name, b"", 2, b"up");
    }
    entry(&mut tar, EntryType::Symlink, b"d/link", b"../../..", 0, b"");
    entry(&mut tar, EntryType::Regular, b"d/link/up", b"", 2, b"up");
    entry(&mut tar, EntryType::Char, b"d/device", b"", 0, b"");
    for content in [b"one", b"two"] {
        entry(&mut tar, EntryType::Regular, b"d/twice", b"", 3, content);
    }
    tar.extend([0; 1024]);
    let collected = collect(&pretender(tar), "/w", &["d"], out).await.unwrap();
    assert_eq!(keys(&collected), ["d/link/up", "d/twice"]);
    assert_eq!(fs::read(out.join("step/d/twice")).unwrap(), b"two");
    assert!(fs::symlink_metadata(out.join("step/d/link")).unwrap().is_dir());
    let mut there: Vec<_> = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, [".gitignore", "step"]);
}

#[tokio::test]
async fn a_tar_that_is_none_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path();
    let refused = async |tar: Vec<u8>| {
        let error = collect(&pretender(tar), "/w", &["d"], out).await.unwrap_err();
        assert!(matches!(error, DockerError::Artifacts(_)), "{error:?}");
        assert!(fs::read_dir(out.join("step")).unwrap().next().is_none());
    };
    let start = |name: &[u8], size| {
        let mut tar = Vec::new();
        entry(&mut tar, EntryType::Directory, b"d/", b"", 0, b"");
        entry(&mut tar, EntryType::Regular, name, b"", size, b"content");
        tar
    };
    // It ends too soon, it is no tar, and one name takes all memory.
    refused(start(b"d/file", 10_000)).await;
    refused(vec![b'x'; 10_000]).await;
    let mut long = Vec::new();
    entry(&mut long, EntryType::GNULongName, b"././@LongLink", b"", 4 << 20, &vec![b'x'; 4 << 20]);
    entry(&mut long, EntryType::Regular, b"x", b"", 0, b"");
    refused(long).await;
    // A file that is only another name of itself is not asked for again and again.
    let mut link = Vec::new();
    entry(&mut link, EntryType::Link, b"d", b"d", 0, b"");
    link.extend([0; 1024]);
    let collected = collect(&pretender(link), "/w", &["d"], out).await.unwrap();
    assert_eq!(collected.notes, ["left out of the artifacts: 1 devices, sockets or pipes"]);
}
